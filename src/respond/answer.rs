//! The answer: in the shape of the vendor's SOAR connector, with the outcome of the request added.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::respond::connector_answer::ConnectorAnswer;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::ApiWrite;
use crate::respond::request::ActionRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// The wanted state is reached, and this request changed something for it. For an action that only reads: the
    /// answer was read.
    Done,
    /// The wanted state was reached before. Nothing was sent.
    Already,
    DryRun,
    PendingApproval,
    /// The approver refused, or nobody approved in time.
    Rejected,
    Failed,
    /// Something was sent or may have been, and reading back doesn't show it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerError {
    #[serde(rename = "type")]
    pub kind: ErrorCause,
    pub message: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActionAnswer {
    #[serde(flatten)]
    pub told: ConnectorAnswer,
    pub request_id: String,
    pub action: String,
    pub outcome: ActionOutcome,
    pub before: Value,
    pub after: Value,
    pub retries: u64,
    /// The writes that a dry run would send. Empty if the wanted state is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<ApiWrite>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_change: Option<bool>,
    /// The hash that an approval of this request must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AnswerError>,
}

impl ActionAnswer {
    /// `request` is none if the event held no valid request.
    pub fn new(request: Option<&ActionRequest>, outcome: ActionOutcome) -> Self {
        Self {
            told: ConnectorAnswer::message(200, "OK", message_of(outcome)),
            request_id: request.map(|request| request.request_id.clone()).unwrap_or_default(),
            action: request.map(|request| request.name.clone()).unwrap_or_default(),
            outcome,
            before: Value::Null,
            after: Value::Null,
            retries: 0,
            requests: None,
            would_change: None,
            request_hash: None,
            error: None,
        }
    }

    /// The answer if nothing was sent.
    pub fn refused(request: Option<&ActionRequest>, error: &RespondError) -> Self {
        let outcome =
            if error.kind == ErrorCause::ApprovalRejected { ActionOutcome::Rejected } else { ActionOutcome::Failed };
        Self::failed(request, outcome, error)
    }

    pub fn failed(request: Option<&ActionRequest>, outcome: ActionOutcome, error: &RespondError) -> Self {
        let told = error.told.as_deref().cloned();
        Self {
            // Status 0, which can't be confused with one of the API's.
            told: told.unwrap_or_else(|| ConnectorAnswer::message(0, "", &error.message)),
            error: Some(AnswerError { kind: error.kind, message: error.message.clone() }),
            ..Self::new(request, outcome)
        }
    }

    pub fn is_failure(&self) -> bool {
        self.error.is_some()
    }
}

fn message_of(outcome: ActionOutcome) -> &'static str {
    match outcome {
        ActionOutcome::Done => "done",
        ActionOutcome::Already => "nothing was sent: the state is already as asked",
        ActionOutcome::DryRun => "nothing was sent: this is a dry run",
        ActionOutcome::PendingApproval => "nothing was sent: this waits for the approval of another person",
        ActionOutcome::Rejected => "nothing was sent: the approval was refused, or came too late",
        ActionOutcome::Failed => "failed",
        ActionOutcome::Unknown => "whether it took effect is unknown",
    }
}
