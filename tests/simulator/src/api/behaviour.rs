//! The settings of the simulated API.

use std::time::Duration;

use chrono::TimeDelta;

use super::EdgePolicy;

/// The form in which the last page says that there is no next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    Null,
    Absent,
    Empty,
}

/// The member that `on_or_after` and `before` of a list of sessions compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionFilter {
    BeginTime,
    EndTime,
    LastUpdated,
    /// The parameters are ignored.
    Nothing,
}

/// The settings of the API; see [`Api::change`](super::Api::change).
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each off or on")]
pub struct Behaviour {
    pub client_id: String,
    pub client_secret: String,
    pub tenant: String,
    /// 900 s (SDK, `core/auth.py`).
    pub token_lifetime: Duration,
    /// Whether each sign-in adds a `logged_in` event to the audit log, as the real one does.
    pub sign_ins_are_audited: bool,
    /// Answers to clients that accept gzip are gzipped.
    pub gzip: bool,
    /// Gzips the body in members of this many bytes, like a server that flushes.
    pub gzip_member: Option<usize>,
    /// The value of the `Content-Encoding` header.
    pub gzip_name: &'static str,
    /// The API's clock is this far ahead of ours, in the `Date` header and in `WITHIN_THE_LAST`.
    pub clock_offset: TimeDelta,
    pub edges: EdgePolicy,
    pub token_end: TokenEnd,
    /// `beginTime` (SDK, `sessions/client.py`).
    pub session_filter: SessionFilter,
    /// Gives a full last page a token too, which leads to an empty page.
    pub token_after_full_page: bool,
    /// Limits the rows of every page, whatever the request asks for. Pages are numbered by this size.
    pub page_cap: Option<usize>,
    /// The log keeps the answers that are no longer than this.
    pub longest_kept: usize,
    /// The audit log's export is a bare list.
    pub export_is_bare: bool,
    pub latency: Duration,
    /// Limits the requests in any 60 seconds. The vendor allows a tenant 120.
    pub requests_per_minute: Option<usize>,
    /// The endpoints exist that only the guide prints.
    pub guide_endpoints: bool,
    /// If these exist, `GET /v1/users` and `GET /v1/cases` without a page number speak the guide's dialect: `pageToken`
    /// and `nextPageToken`, no total. The real API ignores the token.
    pub guide_lists: bool,
    /// The member that names the next page in the guide's dialect.
    pub guide_token: &'static str,
    /// Puts `nextPageToken` into an object `file_events` in the guide's search.
    pub guide_nested_token: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            client_id: "key-42-simulated".to_owned(),
            client_secret: "simulated-client-secret".to_owned(),
            tenant: "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42".to_owned(),
            token_lifetime: Duration::from_mins(15),
            sign_ins_are_audited: false,
            gzip: true,
            gzip_member: None,
            gzip_name: "gzip",
            clock_offset: TimeDelta::zero(),
            edges: EdgePolicy::default(),
            token_end: TokenEnd::Null,
            session_filter: SessionFilter::BeginTime,
            token_after_full_page: false,
            page_cap: None,
            longest_kept: 0,
            export_is_bare: false,
            latency: Duration::ZERO,
            requests_per_minute: None,
            guide_endpoints: false,
            guide_lists: true,
            guide_token: "nextPageToken",
            guide_nested_token: false,
        }
    }
}
