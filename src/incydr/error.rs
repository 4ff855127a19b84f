//! The errors of a request to the API.

use std::time::Duration;

use crate::core::error_type::ErrorType;
use crate::core::quote::{beginning, without_secrets};
use crate::incydr::exchange::BrokenOff;
use crate::secrets::SecretError;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API refused the credentials with an OAuth 2 error. `worked_before` means that it granted this process a
    /// token for them earlier.
    #[error(
        "the API refuses the credentials ({status}: {said}): the client id or secret is wrong, or INCYDR_BASE_URL is another region's"
    )]
    BadCredentials { status: u16, said: String, worked_before: bool },
    #[error(
        "sign-in: the API refuses the credentials ({status}: {said}), which worked before: they count as wrong once that has lasted for half an hour"
    )]
    RefusedForNow { status: u16, said: String },
    #[error(
        "the credentials in the secret are those of another tenant since this run began: {theirs} instead of {ours}; nothing is requested with them"
    )]
    OtherTenant { ours: String, theirs: String },
    /// The sign-in failed otherwise. That says nothing of the request that needed the token: a 404 here is no missing
    /// record.
    #[error(transparent)]
    NotSignedIn(Box<ApiError>),
    /// The API client lacks a permission. The API says so by 403, for legal hold by 401.
    #[error("{what}: the API answers {status}: {said}")]
    Forbidden { what: String, status: u16, said: String },
    #[error("{what}: the API answers 401, also to a new token: {said}")]
    Unauthorized { what: String, said: String },
    #[error("{what}: the API answers {status}: {said}")]
    Status { what: String, status: u16, said: String },
    #[error("{what}: the API still answers 429 (too many requests): {said}")]
    RateLimited { what: String, said: String },
    #[error("{what}: {why}")]
    Unexpected { what: String, why: String },
    #[error("{what}: the API could not be reached or broke off")]
    Transport { what: String, source: BrokenOff },
    /// No answer began within `Caller::longest_silence`, or it stopped for so long: ten times the longest wait of other
    /// requests, or a half or a quarter of the run. So this request is slow, not the API.
    #[error("{what}: no answer within {waited_ms} ms")]
    Silent { what: String, waited_ms: u128 },
    /// `said` is empty if no single answer says so.
    #[error("{what}: the API takes too long over this query{}", after_colon(said))]
    TooLarge { what: String, said: String },
    /// Every window's query fails in the same way, until somebody shortens `FE_QUERY_JSON`.
    #[error(
        "{what}: the API answers {problem}: FE_QUERY_JSON has more filters or groups than the API takes (1,024 filters, two of which the window needs): {said}"
    )]
    QueryRefused { what: String, problem: &'static str, said: String },
    #[error(
        "{what}: FE_QUERY_JSON names the saved search {id:?}, which doesn't exist ({said}); the stream saved_searches lists those that do"
    )]
    NoSavedSearch { what: String, id: String, said: String },
    #[error("{what}: the page token is no longer valid: {said}")]
    InvalidPageToken { what: String, said: String },
    /// The API answered nothing at all, to any request of the stream or to the sign-in.
    #[error("{what}: the API gave no answer within {waited_s} s, then the run's time was up")]
    NoAnswer { what: String, waited_s: u64 },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the run's time is up")]
    OutOfTime,
    #[error(
        "no request may be sent before the run's end: REQUESTS_PER_MINUTE is used up, or the API asked for a pause (429)"
    )]
    BudgetSpent,
}

/// The reach of an error: one request, the stream, or the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Perhaps nothing else: the API fails for this span, list or record.
    Request,
    /// Perhaps nothing else, perhaps all of the stream: the API refuses.
    RequestOrStream,
    /// All of the stream, and mostly of the run.
    Run,
}

impl ApiError {
    /// Whether the request was not answered because the run ends.
    pub fn is_out_of_time(&self) -> bool {
        matches!(self, Self::OutOfTime | Self::BudgetSpent)
    }

    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::BadCredentials { .. }
            | Self::OtherTenant { .. }
            | Self::Forbidden { .. }
            | Self::QueryRefused { .. }
            | Self::NoSavedSearch { .. } => ErrorType::ThirdPartyConfigError,
            Self::Secret(error) => error.error_type(),
            Self::NotSignedIn(error) => error.error_type(),
            Self::RefusedForNow { .. }
            | Self::Unauthorized { .. }
            | Self::Status { .. }
            | Self::RateLimited { .. }
            | Self::Unexpected { .. }
            | Self::Transport { .. }
            | Self::Silent { .. }
            | Self::TooLarge { .. }
            | Self::InvalidPageToken { .. }
            | Self::NoAnswer { .. }
            | Self::OutOfTime
            | Self::BudgetSpent => ErrorType::ThirdPartyGenericError,
        }
    }

    pub fn scope(&self) -> Scope {
        match self {
            Self::Status { .. }
            | Self::Unexpected { .. }
            | Self::Transport { .. }
            | Self::Silent { .. }
            | Self::TooLarge { .. }
            | Self::InvalidPageToken { .. } => Scope::Request,
            Self::Forbidden { .. } | Self::Unauthorized { .. } => Scope::RequestOrStream,
            Self::BadCredentials { .. }
            | Self::RefusedForNow { .. }
            | Self::NotSignedIn(_)
            | Self::OtherTenant { .. }
            | Self::RateLimited { .. }
            | Self::QueryRefused { .. }
            | Self::NoSavedSearch { .. }
            | Self::NoAnswer { .. }
            | Self::Secret(_)
            | Self::OutOfTime
            | Self::BudgetSpent => Scope::Run,
        }
    }

    /// Whether the API says that it doesn't have the requested record or list.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }

    /// Whether the error means that too much is asked for at once.
    pub(super) fn is_too_much(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::TooLarge { .. } => true,
            Self::Transport { source, .. } => source.is_timeout(),
            _ => false,
        }
    }

    /// Whether the same request may succeed if repeated: no answer or only a part of one, a 2xx that isn't the expected
    /// JSON, 408, 429 and 5xx. The API's own 403 is not among these. A caller with `retries_forbidden` retries it all
    /// the same.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::RateLimited { .. } | Self::Unexpected { .. } => true,
            // 206 is a part of the answer. A 403 here is a page of some proxy or firewall, not the API's.
            Self::Status { status, .. } => matches!(status, 206 | 403 | 408 | 500..),
            _ => false,
        }
    }

    /// Removes secrets that the API's text may contain.
    pub(super) fn told_without(self, secrets: &[&str]) -> Self {
        let tell = |said: String| without_secrets(&said, secrets);
        match self {
            Self::BadCredentials { status, said, worked_before } => {
                Self::BadCredentials { status, said: tell(said), worked_before }
            }
            Self::Forbidden { what, status, said } => Self::Forbidden { what, status, said: tell(said) },
            Self::Unauthorized { what, said } => Self::Unauthorized { what, said: tell(said) },
            Self::Status { what, status, said } => Self::Status { what, status, said: tell(said) },
            Self::RateLimited { what, said } => Self::RateLimited { what, said: tell(said) },
            Self::TooLarge { what, said } => Self::TooLarge { what, said: tell(said) },
            Self::InvalidPageToken { what, said } => Self::InvalidPageToken { what, said: tell(said) },
            Self::QueryRefused { what, problem, said } => Self::QueryRefused { what, problem, said: tell(said) },
            Self::Unexpected { what, why } => Self::Unexpected { what, why: tell(why) },
            other => other,
        }
    }

    /// Adds the beginning of the body to the error.
    pub(super) fn with_beginning(self, body: &[u8]) -> Self {
        match self {
            Self::Unexpected { what, why } => {
                Self::Unexpected { what, why: format!("{why}; it begins: {}", beginning(body)) }
            }
            other => other,
        }
    }

    /// Notes that a token was granted for these credentials before.
    pub(super) fn after_a_grant(self) -> Self {
        match self {
            Self::BadCredentials { status, said, .. } => Self::BadCredentials { status, said, worked_before: true },
            other => other,
        }
    }

    /// The error of a sign-in, if this one reaches no further than a request.
    pub(super) fn of_sign_in(self) -> Self {
        match self.scope() {
            Scope::Request | Scope::RequestOrStream => Self::NotSignedIn(Box::new(self)),
            Scope::Run => self,
        }
    }

    pub(super) fn about(self, request: &str) -> Self {
        match self {
            Self::Transport { source, .. } => Self::Transport { what: request.to_owned(), source },
            Self::Silent { waited_ms, .. } => Self::Silent { what: request.to_owned(), waited_ms },
            Self::Unexpected { what, why } if what.is_empty() => Self::Unexpected { what: request.to_owned(), why },
            other => other,
        }
    }
}

/// A failed attempt, and the pause that the API asked for.
pub struct FailedAttempt {
    pub error: ApiError,
    pub retry_after: Option<Duration>,
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

pub fn broke_off(source: BrokenOff) -> ApiError {
    match source {
        BrokenOff::Stalled(longest) => ApiError::Silent { what: String::new(), waited_ms: longest.as_millis() },
        source => ApiError::Transport { what: String::new(), source },
    }
}

impl From<ApiError> for FailedAttempt {
    fn from(error: ApiError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Returns the last error of the API instead of `OutOfTime`, `BudgetSpent` or `NoAnswer`, unless that error was a 429.
pub fn prefer_api_error(error: ApiError, last: Option<ApiError>) -> ApiError {
    match (error, last) {
        (ApiError::OutOfTime | ApiError::BudgetSpent | ApiError::NoAnswer { .. }, Some(last))
            if !matches!(last, ApiError::RateLimited { .. }) =>
        {
            last
        }
        (error, _) => error,
    }
}
