//! What can go wrong with a request to the API.

use std::time::Duration;

use crate::core::error_kind::ErrorType;
use crate::secrets::SecretError;

/// Of an error's body, so much is told.
const EXCERPT: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "the API refuses the credentials ({status}): the client id or secret is wrong, or INCYDR_BASE_URL is another region's"
    )]
    BadCredentials { status: u16 },
    #[error("{what}: the API answers 403: the API client lacks the permission")]
    Forbidden { what: String },
    #[error("{what}: the API answers 401, also to a new token")]
    Unauthorized { what: String },
    #[error("{what}: the API answers {status}: {said}")]
    Status { what: String, status: u16, said: String },
    #[error("{what}: the API still answers 429 (too many requests)")]
    RateLimited { what: String },
    #[error("{what}: {why}")]
    Unexpected { what: String, why: String },
    #[error("{what}: the API could not be reached or broke off")]
    Transport { what: String, source: reqwest::Error },
    #[error("{what}: the query takes the API too long")]
    TooLarge { what: String },
    #[error("{what}: the page token is no longer valid")]
    InvalidPageToken { what: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the run's time is up")]
    OutOfTime,
}

impl ApiError {
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::BadCredentials { .. } | Self::Forbidden { .. } => ErrorType::ThirdPartyConfigError,
            Self::Secret(error) => error.error_type(),
            _ => ErrorType::ThirdPartyGenericError,
        }
    }

    /// Whether the API is asked for more at once than it bears.
    pub(super) fn is_too_much(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::TooLarge { .. } => true,
            Self::Transport { source, .. } => source.is_timeout(),
            _ => false,
        }
    }

    /// Whether the very same request may fare better in a moment.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::RateLimited { .. } | Self::Unexpected { .. } => true,
            Self::Status { status, .. } => *status == 408 || *status >= 500,
            _ => false,
        }
    }

    /// What the API said, in one line, without the secrets that it may echo, and cut to what a log line bears.
    pub(super) fn told_without(self, redact: impl Fn(&str) -> String) -> Self {
        let tell = |said: String| {
            let words: Vec<&str> = said.split_whitespace().collect();
            redact(&words.join(" ")).chars().take(EXCERPT).collect()
        };
        match self {
            Self::Status { what, status, said } => Self::Status { what, status, said: tell(said) },
            Self::Unexpected { what, why } => Self::Unexpected { what, why: tell(why) },
            other => other,
        }
    }

    pub(super) fn about(self, request: &str) -> Self {
        match self {
            Self::Transport { source, .. } => Self::Transport { what: request.to_owned(), source },
            Self::Unexpected { what, why } if what.is_empty() => Self::Unexpected { what: request.to_owned(), why },
            other => other,
        }
    }
}

/// An attempt that came to nothing, and how long the API wants to be left alone.
pub struct FailedAttempt {
    pub error: ApiError,
    pub retry_after: Option<Duration>,
}

pub fn broke_off(source: reqwest::Error) -> ApiError {
    ApiError::Transport { what: String::new(), source: source.without_url() }
}

impl From<ApiError> for FailedAttempt {
    fn from(error: ApiError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Where the time ran out between retries, what the API did is the news, unless it only asked to wait.
pub fn real_error(error: ApiError, last: Option<ApiError>) -> ApiError {
    match (error, last) {
        (ApiError::OutOfTime, Some(last)) if !matches!(last, ApiError::RateLimited { .. }) => last,
        (error, _) => error,
    }
}
