//! The four types of errors that callers distinguish, and an error's information.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The `errorType` of a function error. Of several errors, a run returns the first in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErrorType {
    InvalidEvent,
    ThirdPartyConfigError,
    FirstPartyGenericError,
    ThirdPartyGenericError,
}

/// An error in the answer, on the checkpoint and in health records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorInfo {
    #[serde(rename = "type")]
    pub error_type: ErrorType,
    pub message: String,
}

/// Formats an error and its causes in one line: `what happened: why: why that`.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A transparent error has the same text as its source.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
