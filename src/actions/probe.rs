//! Asks each stream for one record, to see what the API client may read. Meant to be run first after a deployment.
//! Writes nothing, takes no lease and reads no checkpoint.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::info;

use crate::actions::answer::Status;
use crate::actions::call::Call;
use crate::actions::clients::Clients;
use crate::collect::error::Error;
use crate::core::dialect::Dialect;
use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::ndjson;
use crate::core::settings::{FileEventQuery, Settings};
use crate::core::stream::Stream;
use crate::core::tally::Calls;
use crate::core::time::{Millis, SECOND};
use crate::core::times::Times;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Kind, List, agents, audit};
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

const STREAMS_AT_ONCE: usize = 4;
/// Limit for one stream, so that it can't use up the others' time. It is longer than the request budget may make a
/// request wait.
const LONGEST_PER_STREAM: TimeDelta = TimeDelta::seconds(90);
/// The newest record is looked for this far back if the API's retention is unknown.
const LOOKS_BACK: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Serialize)]
pub struct Probed {
    pub action: &'static str,
    pub run_id: String,
    /// `Partial` if the time was up before every stream was asked.
    pub status: Status,
    /// The tenant that the token names.
    pub tenant: Option<String>,
    /// The plan level that the tenant seems to have.
    pub access: Option<Access>,
    /// The vendor's plans with that access (developer portal; support articles).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plans: Option<&'static str>,
    pub streams: BTreeMap<Stream, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// `/v2/file-events` is permitted.
    Full,
    /// `/v2/file-events` is not permitted, and other streams are.
    Base,
}

impl Access {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Base => "base",
        }
    }

    fn plans(self) -> &'static str {
        match self {
            Self::Full => "Incydr Advanced, Gov F1, Enterprise, Gov F2 or Horizon",
            Self::Base => {
                "Incydr Basic or Professional; or one with full access, whose API client lacks File Events: Read"
            }
        }
    }
}

/// The result for one stream.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// None if the answer doesn't say.
    pub permitted: Option<bool>,
    /// The missing permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<&'static str>,
    /// The error that leaves `permitted` unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    pub newest: Option<Millis>,
    /// The duration of the slowest request, with its waits and retries.
    pub latency_ms: Option<u64>,
    /// Only for the audit log: whether its search for large result sets works (`AUDIT_SOURCE=export`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

/// The answer of the audit log's search for large result sets, for a span of one second.
#[derive(Debug, Serialize)]
pub struct Export {
    pub answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

/// Fails only if the credentials or the secret do. Every other error is part of the answer. Signs in with the secret as
/// it is now, so that a new secret is tried before the runs need it.
pub async fn probe(call: Call<'_>, streams: Option<&[Stream]>) -> Result<Probed, Error> {
    let Call { settings, clients: Clients { api, .. }, run_id, deadline } = call;
    let until = Times::new(Millis::now(), deadline).read_until;
    let all: Vec<Stream> =
        Stream::ALL.iter().copied().filter(|stream| stream.kind_in(settings.dialect).is_some()).collect();
    let asked = streams.unwrap_or(&all);

    let calls = ProbeCalls::default();
    let signed_in = api.sign_in_anew(&Caller::new(until.min(Millis::now() + LONGEST_PER_STREAM), &calls.calls)).await;
    let (tenant, streams) = match signed_in {
        Ok(tenant) => (tenant, Probe { settings, api, until }.look_at_all(asked).await),
        Err(error @ (ApiError::BadCredentials { .. } | ApiError::Secret(_))) => return Err(error.into()),
        Err(error) => (None, not_asked(asked, settings.dialect, &calls.tell(error))),
    };

    let is_over = |seen: &Seen| {
        seen.latency_ms.is_none() && seen.error.as_ref().is_none_or(|error| error.error_type != ErrorType::InvalidEvent)
    };
    let all_asked = !streams.values().any(is_over);
    let status = if all_asked { Status::Complete } else { Status::Partial };

    let access = access(&streams);
    info!(%status, tenant, access = access.map(Access::name), "probed");
    let plans = access.map(Access::plans);
    Ok(Probed { action: "probe", run_id: run_id.to_owned(), status, tenant, access, plans, streams })
}

fn access(streams: &BTreeMap<Stream, Seen>) -> Option<Access> {
    let any = || streams.values().any(|seen| seen.permitted == Some(true));
    match streams.get(&Stream::FileEvents)?.permitted {
        Some(true) => Some(Access::Full),
        Some(false) if any() => Some(Access::Base),
        _ => None,
    }
}

struct Probe<'a> {
    settings: &'a Settings,
    api: &'a Api,
    until: Millis,
}

/// The request that probes a stream.
struct Question {
    list: &'static List,
    query: Vec<(String, String)>,
    body: Value,
    /// The path to the first record's time, if the newest record comes first.
    time: Option<&'static [&'static str]>,
    /// A list that each record has and that may need another permission, with the statuses that the API answers for a
    /// record without such a list.
    sublist: Option<(&'static List, &'static [u16])>,
}

/// The calls of one stream's probe.
#[derive(Default)]
struct ProbeCalls {
    calls: Calls,
    slowest: Option<u64>,
}

impl Probe<'_> {
    async fn look_at_all(&self, streams: &[Stream]) -> BTreeMap<Stream, Seen> {
        stream::iter(streams)
            .map(|stream| async { (*stream, self.look_at(*stream).await) })
            .buffer_unordered(STREAMS_AT_ONCE)
            .collect()
            .await
    }

    async fn look_at(&self, stream: Stream) -> Seen {
        let until = self.until.min(Millis::now() + LONGEST_PER_STREAM);
        let mut asked = ProbeCalls::default();
        if stream.kind_in(self.settings.dialect).is_none() {
            return Seen::not_in_dialect(stream);
        }

        let newest = self.newest(stream, until, &mut asked).await;
        let (permitted, error, newest) = match newest {
            Ok(newest) => (Some(true), None, newest),
            Err(ApiError::Forbidden { .. }) => (Some(false), None, None),
            Err(error) => (None, Some(asked.tell(error)), None),
        };

        let has_export = stream == Stream::Audit && self.settings.dialect == Dialect::Sdk && permitted == Some(true);
        let export = if has_export { Some(self.export(newest, until, &asked).await) } else { None };

        let permission = (permitted == Some(false)).then(|| stream.permission());
        let told = error.as_ref().map(|told| &told.message);
        info!(stream = %stream, permitted, latency_ms = asked.slowest, error = told, "probed {stream}");
        Seen { permitted, permission, error, newest, latency_ms: asked.slowest, export }
    }

    async fn newest(&self, stream: Stream, until: Millis, asked: &mut ProbeCalls) -> Result<Option<Millis>, ApiError> {
        let caller = Caller::new(until, &asked.calls);
        let query = if stream == Stream::FileEvents {
            self.api.file_event_query(&self.settings.file_event_query, &caller).await?
        } else {
            Cow::Owned(FileEventQuery::default())
        };
        match question(stream, self.settings, &query) {
            Some(question) => self.ask(question, until, asked).await,
            None => Ok(None),
        }
    }

    /// Searches the second of the newest event, or the last second if there is no event.
    async fn export(&self, newest: Option<Millis>, until: Millis, asked: &ProbeCalls) -> Export {
        let from = newest.unwrap_or(Millis::now() - SECOND).floor(SECOND);
        let span = Span { from, to: from + SECOND };
        let body = audit::request(&FileEventQuery::default(), span);
        let mut listing = Listing::new(self.api, &audit::EXPORTED, 1, Vec::new(), body);
        let rows = listing.rows(&Caller::new(until, &asked.calls)).await;
        let error = match rows.map(Option::unwrap_or_default) {
            Ok(rows) if newest.is_none() || !rows.is_empty() => None,
            Ok(_) => Some(ErrorInfo {
                error_type: ErrorType::ThirdPartyGenericError,
                message: format!("the search shows an event of {from}, and the export shows none"),
            }),
            Err(error) => Some(asked.tell(error)),
        };
        Export { answers: error.is_none(), error }
    }

    /// Returns the newest record's time if the answer shows it.
    async fn ask(&self, question: Question, until: Millis, asked: &mut ProbeCalls) -> Result<Option<Millis>, ApiError> {
        let Question { list, query, body, time, sublist } = question;
        let first = asked.first(Listing::new(self.api, list, 1, query, body), until).await?;
        let Some(ListRow::Record { line, id }) = first else { return Ok(None) };
        if let Some((list, none)) = sublist {
            let listing = Listing::new(self.api, list, 1, Vec::new(), Value::Null).of(&id);
            match asked.first(listing, until).await {
                Err(ApiError::Status { status, .. }) if none.contains(&status) => {}
                answered => drop(answered?),
            }
        }
        Ok(time.and_then(|path| ndjson::field(&line, path)).and_then(|text| instant(&text)))
    }
}

/// The answer if the sign-in failed.
fn not_asked(streams: &[Stream], dialect: Dialect, why: &ErrorInfo) -> BTreeMap<Stream, Seen> {
    let seen = |stream: Stream| match stream.kind_in(dialect) {
        Some(_) => Seen::unknown(why.clone()),
        None => Seen::not_in_dialect(stream),
    };
    streams.iter().map(|stream| (*stream, seen(*stream))).collect()
}

impl Seen {
    fn unknown(error: ErrorInfo) -> Self {
        Self { permitted: None, permission: None, error: Some(error), newest: None, latency_ms: None, export: None }
    }

    fn not_in_dialect(stream: Stream) -> Self {
        let message = format!("an API of INCYDR_API_DIALECT \"guide\" has no {stream}");
        Self::unknown(ErrorInfo { error_type: ErrorType::InvalidEvent, message })
    }
}

impl ProbeCalls {
    async fn first(&mut self, listing: Listing<'_>, until: Millis) -> Result<Option<ListRow>, ApiError> {
        let began = Instant::now();
        let first = listing.first(&Caller::new(until, &self.calls)).await;
        if self.calls.requests.get() > 0 {
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.slowest = self.slowest.max(Some(took));
        }
        first
    }

    fn tell(&self, error: ApiError) -> ErrorInfo {
        let throttled = || self.calls.last_throttle.lock().clone();
        let message = match (&error, self.slowest) {
            (ApiError::OutOfTime | ApiError::BudgetSpent, None) => "it was not asked: the time was up".to_owned(),
            (ApiError::OutOfTime, Some(_)) => throttled().unwrap_or_else(|| "no answer came in time".to_owned()),
            _ => return ErrorInfo::from(&Error::from(error)),
        };
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message }
    }
}

/// The request that probes a stream. None if the dialect doesn't have the stream.
fn question(stream: Stream, settings: &Settings, query: &FileEventQuery) -> Option<Question> {
    let of = |list, sublist| Question { list, query: Vec::new(), body: Value::Null, time: None, sublist };
    let question = match stream.kind_in(settings.dialect)? {
        Kind::Events(facts) => {
            let now = Millis::now();
            let body =
                Span::new(now - facts.retention.unwrap_or(LOOKS_BACK), now).map(|span| (facts.request)(query, span));
            let mut body = body.unwrap_or_default();
            for (key, value) in facts.newest_first {
                body[*key] = Value::from(*value);
            }
            Question { body, time: Some(facts.list.field), ..of(&facts.list, None) }
        }
        Kind::Versions(facts) => of(&facts.list, None),
        Kind::Rescanned(facts) => {
            let (parameter, values) = facts.views;
            let query = values.last().map(|value| (parameter.to_owned(), (*value).to_owned())).into_iter().collect();
            Question { query, ..of(&facts.list, facts.sublist.as_ref().map(|sublist| (&sublist.list, &[][..]))) }
        }
        Kind::Inventory(facts) => {
            let sublist = facts.parts.iter().find(|part| part.parent.is_some());
            of(&facts.parts[0].list, sublist.map(|part| (&part.list, part.no_list_statuses)))
        }
        // Findings have no list of their own. Most are about agents.
        Kind::Findings(_) => of(&agents::LIST, None),
    };

    match &stream.facts().newest {
        Some(newest) if settings.dialect == Dialect::Sdk => {
            Some(Question { list: &newest.list, time: Some(newest.time), ..question })
        }
        _ => Some(question),
    }
}

/// Parses RFC 3339 or milliseconds since the epoch.
fn instant(text: &str) -> Option<Millis> {
    Millis::parse(text).or_else(|| text.parse().ok().map(Millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_text_or_a_number() {
        assert_eq!(instant("2026-11-21T13:00:00.042123Z"), Millis::parse("2026-11-21T13:00:00.042Z"));
        assert_eq!(instant("1704067200000"), Some(Millis(1_704_067_200_000)));
        assert_eq!((instant("soon"), instant("")), (None, None));
    }

    #[test]
    fn the_plan_is_told_by_file_events_and_by_what_else_is_permitted() {
        let seen =
            |permitted| Seen { permitted, permission: None, error: None, newest: None, latency_ms: None, export: None };
        let of = |file_events, audit| {
            access(&BTreeMap::from([(Stream::FileEvents, seen(file_events)), (Stream::Audit, seen(audit))]))
        };
        assert_eq!(of(Some(true), None), Some(Access::Full));
        assert_eq!(of(Some(false), Some(true)), Some(Access::Base));
        for (file_events, audit) in [(Some(false), Some(false)), (Some(false), None), (None, Some(true))] {
            assert_eq!(of(file_events, audit), None);
        }
        assert_eq!(access(&BTreeMap::from([(Stream::Audit, seen(Some(true)))])), None);
    }

    #[test]
    fn a_list_is_asked_for_with_the_newest_first_where_it_can_be() {
        let settings = Settings::from_vars(|name| {
            let held = match name {
                "INCYDR_BASE_URL" => "https://api.us.code42.com",
                "INCYDR_SECRET_ID" => "incydr/api",
                "S3_BUCKET" => "records",
                _ => return None,
            };
            Some(held.to_owned())
        });
        let settings = settings.expect("good settings");

        let of = |stream| question(stream, &settings, &FileEventQuery::default()).expect("a stream of the API");
        assert_eq!(of(Stream::FileEvents).body["srtDir"], "desc");
        assert!(of(Stream::Cases).list.fixed.contains(&("srtKey", "updatedAt")));
        assert_eq!(of(Stream::SessionEvents).query, [("has_alerts".to_owned(), "true".to_owned())]);

        for stream in [Stream::SessionEvents, Stream::CaseFileEvents, Stream::UserRoles, Stream::Watchlists] {
            assert!(of(stream).sublist.is_some_and(|(list, _)| list.path.contains("{}")), "{stream}");
        }
        assert!(of(Stream::Users).sublist.is_none() && of(Stream::Users).time.is_none());
    }
}
