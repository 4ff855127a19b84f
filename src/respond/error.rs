//! The errors of a request, with the type that callers see.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::s3::StoreError;
use crate::core::error_type::{ErrorType, chain};
use crate::core::settings::SettingsError;
use crate::incydr::error::ApiError;
use crate::respond::connector_answer::ConnectorAnswer;

/// The `errorType` of a function error. The first six are the responder's own refusals: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCause {
    InvalidEvent,
    ActionNotAllowed,
    TooManyTargets,
    LimitReached,
    IdempotencyConflict,
    ApprovalRejected,
    /// Status 400, 404 or 409. The message contains the vendor's text.
    ThirdPartyRefused,
    ThirdPartyConfigError,
    ThirdPartyGenericError,
    FirstPartyGenericError,
}

/// An error, with the API's answer that caused it, if any.
#[derive(Clone, Debug)]
pub struct RespondError {
    pub kind: ErrorCause,
    pub message: String,
    pub told: Option<Box<ConnectorAnswer>>,
}

impl RespondError {
    pub fn new(kind: ErrorCause, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), told: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCause::InvalidEvent, message)
    }

    /// The error for a status other than 2xx.
    pub fn refused(what: &str, told: ConnectorAnswer) -> Self {
        let (kind, why) = match told.status_code {
            401 | 403 => {
                (ErrorCause::ThirdPartyConfigError, "the API client lacks the permission, or may not do it to this one")
            }
            429 => (ErrorCause::ThirdPartyGenericError, "too many requests"),
            400..=499 => (ErrorCause::ThirdPartyRefused, ""),
            _ => (ErrorCause::ThirdPartyGenericError, ""),
        };
        let words = said(&told.json_body);
        let parts: Vec<&str> = [why, &words].into_iter().filter(|part| !part.is_empty()).collect();
        let message = format!("{what}: the API answers {}: {}", told.status_code, parts.join(": "));
        Self { kind, message, told: Some(Box::new(told)) }
    }
}

/// The vendor's text in an error body, whose form varies (SDK, py42, `OpenAPI`).
fn said(body: &Value) -> String {
    const NAMES: [&str; 7] = ["problem", "msg", "message", "code", "reason", "description", "error"];
    let words: Vec<String> = match body {
        Value::Object(members) => {
            let named = NAMES.iter().filter_map(|name| members.get(*name)?.as_str().map(str::to_owned));
            named.chain(members.get("agentsNotFound").map(|ids| format!("agentsNotFound {ids}"))).collect()
        }
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    };
    words.join(": ").split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

impl std::fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::fmt::Display for RespondError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for RespondError {}

impl From<StoreError> for RespondError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorCause::FirstPartyGenericError, chain(&error))
    }
}

impl From<SettingsError> for RespondError {
    fn from(error: SettingsError) -> Self {
        Self::new(ErrorCause::ThirdPartyConfigError, error.to_string())
    }
}

impl From<ApiError> for RespondError {
    fn from(error: ApiError) -> Self {
        let kind = match error.error_type() {
            ErrorType::InvalidEvent => ErrorCause::InvalidEvent,
            ErrorType::ThirdPartyConfigError => ErrorCause::ThirdPartyConfigError,
            ErrorType::FirstPartyGenericError => ErrorCause::FirstPartyGenericError,
            ErrorType::ThirdPartyGenericError => ErrorCause::ThirdPartyGenericError,
        };
        Self::new(kind, chain(&error))
    }
}
