//! What can go wrong in a run, whichever layer it comes from.

use crate::bucket::ledger::LedgerError;
use crate::bucket::s3::StoreError;
use crate::core::error_kind::{ErrorInfo, ErrorType, chain};
use crate::core::panics::caught;
use crate::core::settings::SettingsError;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;
use crate::secrets::SecretError;

/// What a 403 says where others are answered.
const NOT_THIS: &str = "the API client may not read this one";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    InvalidEvent(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Totals(String),
    /// An error that was kept as it is told.
    #[error("{}", .0.message)]
    Told(ErrorInfo),
    /// Spans or ids that can't be read, and hold up nothing else.
    #[error("{told}")]
    Stuck { error_type: ErrorType, told: String },
    /// Told before it happens, with the error that keeps it from being read, if there was one.
    #[error(
        "{from} to {to} is not covered, and the API keeps the oldest of it for {hours_left} more hours only{}",
        because.as_deref().map(|because| format!("; {because}")).unwrap_or_default()
    )]
    Expiring { from: Millis, to: Millis, hours_left: i64, error_type: ErrorType, because: Option<String> },
    #[error(
        "what was done is stored, but not all of it is said on the checkpoint, in a manifest or in a health record, so that the next run does it: {why}"
    )]
    NotCommitted { error_type: ErrorType, why: String },
    #[error("a fault of the collector itself: {0}")]
    Panicked(String),
    #[error("what the backfill's shard {shard} has come to can't be taken over: {why}")]
    NotMerged { error_type: ErrorType, shard: String, why: String },
    #[error("the API client lacks the permission for every stream that was read: {0}")]
    NothingPermitted(String),
    /// `next_try`: of itself, where it is not only a person who mends it.
    #[error(
        "stopped since {since}: {why}; it starts again with other settings, with a new version of the secret, or by {{\"action\": \"restart\"}}{}",
        next_try.map(|at| format!(", and is tried once an hour, next after {at}")).unwrap_or_default()
    )]
    Stopped { since: Millis, next_try: Option<Millis>, why: String },
}

impl Error {
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::InvalidEvent(_) => ErrorType::InvalidEvent,
            Self::Settings(_) | Self::NothingPermitted(_) | Self::Stopped { .. } => ErrorType::ThirdPartyConfigError,
            Self::Api(error) => error.error_type(),
            Self::Ledger(error) => error.error_type(),
            Self::Store(_) | Self::Panicked(_) => ErrorType::FirstPartyGenericError,
            Self::Stuck { error_type, .. }
            | Self::NotCommitted { error_type, .. }
            | Self::NotMerged { error_type, .. }
            | Self::Expiring { error_type, .. } => *error_type,
            Self::Told(told) => told.error_type,
            Self::Totals(_) => ErrorType::ThirdPartyGenericError,
        }
    }

    /// The run's time is up: what is stored is committed, and the next run goes on.
    pub fn is_out_of_time(&self) -> bool {
        matches!(
            self,
            Self::Api(ApiError::OutOfTime)
                | Self::Store(StoreError::OutOfTime)
                | Self::Ledger(LedgerError::Store(StoreError::OutOfTime))
        )
    }

    /// Whether another window or list may fare better: the API fails for this one, or contradicts itself about it.
    pub fn may_be_local(&self) -> bool {
        match self {
            Self::Totals(_) => true,
            Self::Api(error) => !matches!(
                error,
                ApiError::OutOfTime
                    | ApiError::NoAnswer { .. }
                    | ApiError::RefusedForNow { .. }
                    | ApiError::RateLimited { .. }
                    | ApiError::Secret(_)
                    | ApiError::QueryRefused { .. }
                    | ApiError::NoSavedSearch { .. }
                    | ApiError::Forbidden { .. }
                    | ApiError::BadCredentials { .. }
                    | ApiError::Unauthorized { .. }
            ),
            _ => false,
        }
    }

    /// Whether it may be about the one record or list that was asked for, so that others answer.
    pub fn may_be_of_one(&self) -> bool {
        self.may_be_local() || self.is_forbidden()
    }

    /// What only other settings, another secret or a person's word mend: it is not tried again before.
    pub fn stops(&self) -> bool {
        matches!(self, Self::Api(ApiError::BadCredentials { .. } | ApiError::Secret(SecretError::Malformed { .. })))
    }

    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(ApiError::Forbidden { .. }))
    }

    /// A record or a list may be closed to the API client that the stream is open to.
    #[must_use]
    pub fn of_one(self) -> Self {
        match self {
            Self::Api(ApiError::Forbidden { what, said }) => {
                Self::Api(ApiError::Status { what, status: 403, said: format!("{NOT_THIS}: {said}") })
            }
            other => other,
        }
    }

    /// A 403 that doesn't say (yet) that the stream is not permitted.
    #[must_use]
    pub fn not_believed(self) -> Self {
        match self {
            Self::Api(ApiError::Forbidden { what, said }) => {
                let said = format!(
                    "{said}; it was answered before, so that this counts as a missing permission only after three runs"
                );
                Self::Api(ApiError::Status { what, status: 403, said })
            }
            other => other,
        }
    }

    /// As it is told of a record or a list.
    pub fn told_of_one(&self) -> ErrorInfo {
        match self {
            Self::Api(ApiError::Forbidden { what, said }) => {
                ErrorInfo::from(&Self::Api(ApiError::Forbidden { what: what.clone(), said: said.clone() }).of_one())
            }
            other => ErrorInfo::from(other),
        }
    }

    /// Another run holds the lease now: nothing more may be written.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::LeaseLost { .. }))
    }

    pub fn in_stream(self, stream: Stream) -> Failure {
        Failure { stream, error: self }
    }
}

/// One stream's error.
#[derive(Debug, thiserror::Error)]
#[error("{stream} failed: {}", chain(error))]
pub struct Failure {
    pub stream: Stream,
    #[source]
    pub error: Error,
}

impl From<&Error> for ErrorInfo {
    fn from(error: &Error) -> Self {
        Self { error_type: error.error_type(), message: chain(error) }
    }
}

/// A panic is an error with its message.
pub async fn or_panicked<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    caught(work).await.unwrap_or_else(|message| Err(Error::Panicked(message)))
}
