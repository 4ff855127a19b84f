//! The errors of a run, from all layers.

use crate::bucket::ledger::LedgerError;
use crate::bucket::s3::StoreError;
use crate::core::error_type::{ErrorInfo, ErrorType, chain};
use crate::core::panics::caught;
use crate::core::settings::SettingsError;
use crate::core::time::Millis;
use crate::incydr::error::{ApiError, Scope};
use crate::secrets::SecretError;

/// Added to a 403 for one record if others are answered.
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
    Inconsistent(String),
    /// An error that was stored as text.
    #[error("{}", .0.message)]
    Noted(ErrorInfo),
    /// Some rows of a list could not be read. The other ones were, as far as there was time.
    #[error("{}", .0.message)]
    IncompleteList(ErrorInfo),
    /// Spans, records or lists that can't be read and hold up nothing else.
    #[error("{told}")]
    Stuck { error_type: ErrorType, told: String },
    /// Reported before a gap expires, with the error that keeps it from being read, if any.
    #[error(
        "{from} to {to} is not covered, and the API keeps the oldest of it for {hours_left} more hours only{}",
        because.as_deref().map(|because| format!("; {because}")).unwrap_or_default()
    )]
    Expiring { from: Millis, to: Millis, hours_left: i64, error_type: ErrorType, because: Option<String> },
    #[error(
        "the checkpoint, a manifest or a health record could not be written; the next run writes it, and nothing that is stored is lost: {why}"
    )]
    NotCommitted { error_type: ErrorType, why: String },
    #[error(
        "{runs} runs in a row made no progress: the API still answers 429 (too many requests); other clients use up the tenant's limit, or REQUESTS_PER_MINUTE is too high"
    )]
    Throttled { runs: u32 },
    #[error(
        "{runs} runs in a row were answered and made no progress: not even the smallest window fits a run; raise the function's Timeout, or REQUESTS_PER_MINUTE if the budget is used up"
    )]
    NoProgress { runs: u32 },
    /// An earlier run's clock was ahead of the present one.
    #[error(
        "the covered time ends in the future, at {covered_to}: the clock of an earlier run was ahead, and the API's was not believed; soon after {covered_to} a recount adds the records that become visible until then"
    )]
    CoveredAhead { covered_to: Millis },
    #[error("a fault of the collector itself: {0}")]
    Panicked(String),
    #[error("the backfill's shard {shard} can't be merged: {why}")]
    NotMerged { error_type: ErrorType, shard: String, why: String },
    #[error("the API client lacks the permission for every stream that was read: {0}")]
    NothingPermitted(String),
    /// `next_try` is when it is tried again without any change. None if only a person can mend it.
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
            Self::Store(_) | Self::CoveredAhead { .. } | Self::Panicked(_) => ErrorType::FirstPartyGenericError,
            Self::Stuck { error_type, .. }
            | Self::NotCommitted { error_type, .. }
            | Self::NotMerged { error_type, .. }
            | Self::Expiring { error_type, .. } => *error_type,
            Self::Noted(told) | Self::IncompleteList(told) => told.error_type,
            Self::Inconsistent(_) | Self::Throttled { .. } | Self::NoProgress { .. } => {
                ErrorType::ThirdPartyGenericError
            }
        }
    }

    /// Whether the run's time is up. What is stored is committed, and the next run continues.
    pub fn is_out_of_time(&self) -> bool {
        match self {
            Self::Api(error) => error.is_out_of_time(),
            Self::Store(error) | Self::Ledger(LedgerError::Store(error)) => matches!(error, StoreError::OutOfTime),
            _ => false,
        }
    }

    /// Whether a request was not sent, because the run ends before the budget allows it.
    pub fn is_budget_spent(&self) -> bool {
        matches!(self, Self::Api(ApiError::BudgetSpent))
    }

    /// Whether the known records of a list were found gone or altered.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Damaged { .. }))
    }

    /// Whether other windows or lists may succeed: the API fails for this one, or contradicts itself about it.
    pub fn may_be_local(&self) -> bool {
        match self {
            Self::Inconsistent(_) | Self::IncompleteList(_) => true,
            Self::Api(error) => error.scope() == Scope::Request,
            _ => false,
        }
    }

    /// Whether other pages of the same list may succeed.
    pub fn may_be_of_one_page(&self) -> bool {
        match self {
            Self::Api(error) if error.is_not_found() || matches!(error, ApiError::Silent { .. }) => false,
            error => error.may_be_local(),
        }
    }

    /// Whether the error may be about the one record or list that was requested.
    pub fn may_be_local_or_refused(&self) -> bool {
        match self {
            Self::Inconsistent(_) | Self::IncompleteList(_) => true,
            Self::Api(error) => error.scope() != Scope::Run,
            _ => false,
        }
    }

    /// Whether S3 failed for one object, and may take others.
    pub fn may_be_of_one_key(&self) -> bool {
        use StoreError::{Archived, Failed, Foreign, Refused};
        matches!(self, Self::Store(Failed { .. } | Refused { .. } | Archived { .. } | Foreign { .. }))
    }

    /// Whether only new settings, a new secret or a `restart` can mend it. Until then it is tried once an hour.
    pub fn stops(&self) -> bool {
        matches!(self, Self::Api(ApiError::BadCredentials { .. } | ApiError::Secret(SecretError::Malformed { .. })))
    }

    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(ApiError::Forbidden { .. }))
    }

    /// Turns a 403 for one record or list into an ordinary error. The stream itself may be permitted.
    #[must_use]
    pub fn as_failure_of_one(self) -> Self {
        match self {
            Self::Api(ApiError::Forbidden { what, status, said }) => {
                Self::Api(ApiError::Status { what, status, said: format!("{NOT_THIS}: {said}") })
            }
            other => other,
        }
    }

    /// Turns a 403 into an ordinary error, because it doesn't prove yet that the stream isn't permitted.
    #[must_use]
    pub fn not_believed(self) -> Self {
        match self {
            Self::Api(ApiError::Forbidden { what, status, said }) => {
                let said = format!(
                    "{said}; the stream was answered before, so this counts as a missing permission only after three runs"
                );
                Self::Api(ApiError::Status { what, status, said })
            }
            other => other,
        }
    }

    /// The error information for one record or list.
    pub fn info_for_one(&self) -> ErrorInfo {
        match self {
            Self::Api(ApiError::Forbidden { what, status, said }) => {
                let refused = ApiError::Forbidden { what: what.clone(), status: *status, said: said.clone() };
                ErrorInfo::from(&Self::Api(refused).as_failure_of_one())
            }
            other => ErrorInfo::from(other),
        }
    }

    /// Whether another run holds the lease. Then nothing more may be written.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::LeaseLost { .. }))
    }
}

impl From<&Error> for ErrorInfo {
    fn from(error: &Error) -> Self {
        Self { error_type: error.error_type(), message: chain(error) }
    }
}

/// Turns a panic into an error with its message.
pub async fn or_panicked<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    caught(work).await.unwrap_or_else(|message| Err(Error::Panicked(message)))
}
