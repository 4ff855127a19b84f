//! Decides whether a 403 means that the API client lacks a permission. If the stream has never answered, one 403 is
//! enough. Otherwise it takes several runs, because a proxy or firewall may have sent it.

use serde::{Deserialize, Serialize};

use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::stream::Stream;

/// A stream that worked before counts as not permitted after this many runs in a row.
const RUNS: u32 = 3;

/// The runs in a row in which a stream was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRefusals {
    runs: u32,
    /// The text of the last refusal.
    pub said: String,
}

/// Notes a refusal. Returns whether it is believed.
pub fn note_refusal(refusals: &mut Option<StreamRefusals>, said: &str, worked_before: bool) -> bool {
    let runs = refusals.as_ref().map_or(0, |before| before.runs) + 1;
    *refusals = Some(StreamRefusals { runs, said: said.to_owned() });
    !worked_before || runs >= RUNS
}

/// The error of a stream that is not permitted. `refusals` are those of the last runs, if any are noted.
pub fn not_permitted(stream: Stream, refusals: Option<&StreamRefusals>) -> ErrorInfo {
    let said = refusals.map(|refusals| format!("; the API answers: {}", refusals.said)).unwrap_or_default();
    let permission = stream.permission();
    ErrorInfo {
        error_type: ErrorType::ThirdPartyConfigError,
        message: format!("the API client lacks the permission {permission:?}; it is tried again once an hour{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_worked_is_not_permitted_after_three_runs_and_another_at_once() {
        let mut refusals = None;
        assert_eq!([true, true, true].map(|worked| note_refusal(&mut refusals, "no", worked)), [false, false, true]);
        assert!(note_refusal(&mut None, "no", false));
        assert_eq!(refusals.expect("noted").said, "no");
    }
}
