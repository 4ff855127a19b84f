//! Answers an event. A refusal or failure is a function error: `errorType` is the kind, `errorMessage` the whole answer
//! as one line of JSON. Of a batch, the answer lists the failed messages; the others are done.

use futures::future::LocalBoxFuture;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tracing::{error, info};
use uuid::Uuid;

use crate::bucket::aws::AwsClients;
use crate::bucket::s3::{Bucket, S3};
use crate::core::panics::caught;
use crate::core::settings::SettingsError;
use crate::core::tally::Calls;
use crate::core::time::Millis;
use crate::core::times::Times;
use crate::incydr::request::Caller;
use crate::incydr::{ca_bundle, http};
use crate::respond::act::ActionRun;
use crate::respond::answer::{ActionAnswer, ActionOutcome};
use crate::respond::api::ResponderApi;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::event::{self, Delivery};
use crate::respond::request::ActionRequest;
use crate::respond::settings::RespondSettings;
use crate::respond::store::ActionStore;

/// Lives as long as the process. The first event that needs the clients builds them.
pub struct Responder {
    settings: Result<RespondSettings, SettingsError>,
    clients: OnceCell<ResponderClients>,
}

struct ResponderClients {
    api: ResponderApi,
    s3: S3,
}

impl Responder {
    pub fn new(settings: Result<RespondSettings, SettingsError>) -> Self {
        Self { settings, clients: OnceCell::new() }
    }

    /// Whether the process's AWS credentials have expired. No later request of this process can succeed.
    pub fn has_expired(&self) -> bool {
        self.clients.get().is_some_and(|clients| clients.s3.has_expired() || clients.api.has_expired())
    }

    /// `arn` is the ARN of the invocation, with the alias if there is one.
    pub async fn handle(&self, event: &Value, deadline: Millis, arn: &str) -> Result<Value, Diagnostic> {
        match event::parse(event) {
            Err(error) => Err(diagnostic(&log_outcome(&ActionAnswer::refused(None, &error)))),
            Ok(Delivery::One(request)) => {
                let answer = log_outcome(&self.answer(Ok(*request), deadline, arn).await);
                if answer.is_failure() { Err(diagnostic(&answer)) } else { Ok(json!(answer)) }
            }
            Ok(Delivery::Each(requests)) => {
                let mut answers = Vec::new();
                for request in requests {
                    answers.push(log_outcome(&self.answer(request, deadline, arn).await));
                }

                match answers.iter().find(|answer| answer.is_failure()) {
                    Some(answer) => Err(diagnostic(answer)),
                    None => Ok(json!(answers)),
                }
            }
            Ok(Delivery::Batch(messages)) => {
                let mut failures = Vec::new();
                for (id, request) in messages {
                    if log_outcome(&self.answer(request, deadline, arn).await).is_failure() {
                        failures.push(json!({"itemIdentifier": id}));
                    }
                }

                Ok(json!({"batchItemFailures": failures}))
            }
        }
    }

    /// Boxed, so that an action is compiled once, in this library, and not again in the binary.
    fn answer<'a>(
        &'a self,
        request: Result<ActionRequest, RespondError>,
        deadline: Millis,
        arn: &'a str,
    ) -> LocalBoxFuture<'a, ActionAnswer> {
        Box::pin(self.act(request, deadline, arn))
    }

    async fn act(&self, request: Result<ActionRequest, RespondError>, deadline: Millis, arn: &str) -> ActionAnswer {
        let request = match request {
            Ok(request) => request,
            Err(error) => return ActionAnswer::refused(None, &error),
        };
        match caught(Box::pin(self.respond(&request, deadline, arn))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => ActionAnswer::refused(Some(&request), &error),
            Err(panic) => {
                let told = format!(
                    "a fault of the responder itself: {panic}; send the same request_id again to read back its result"
                );
                let error = RespondError::new(ErrorCause::FirstPartyGenericError, told);
                ActionAnswer::failed(Some(&request), ActionOutcome::Unknown, &error)
            }
        }
    }

    async fn respond(
        &self,
        request: &ActionRequest,
        deadline: Millis,
        arn: &str,
    ) -> Result<ActionAnswer, RespondError> {
        let settings = self.settings.as_ref().map_err(Clone::clone)?;
        let ResponderClients { api, s3 } = self.clients.get_or_try_init(async || clients(settings)).await?;
        api.begin(settings.shared.requests_per_minute).await;
        s3.begin_run(deadline);

        let (calls, run_id) = (Calls::default(), Uuid::new_v4().to_string());
        let times = Times::new(Millis::now(), deadline);
        let run = ActionRun {
            settings,
            api,
            store: ActionStore {
                records: Bucket::of_records(&settings.shared, s3),
                state: Bucket::of_state(&settings.shared, s3),
                settings,
                run_id: &run_id,
            },
            caller: Caller::new(times.read_until, &calls),
            times,
            may_approve: arn.rsplit_once(':').is_some_and(|(_, alias)| alias == settings.approvals_alias),
        };
        Ok(Box::pin(run.respond(request)).await)
    }
}

fn clients(settings: &RespondSettings) -> Result<ResponderClients, SettingsError> {
    let var = |name: &str| std::env::var(name).ok().filter(|held| !held.is_empty());
    let ca_bundle = ca_bundle::read(&settings.shared)?;
    let http = http::client(&settings.shared, ca_bundle.as_deref())?;
    let aws = AwsClients::from_vars(var, &settings.shared.proxies, ca_bundle);
    Ok(ResponderClients { api: ResponderApi::new(&settings.shared, http, aws.secrets), s3: aws.s3 })
}

/// Logs one line per request. What was read or written is in the answer and the trail, not in the log.
fn log_outcome(answer: &ActionAnswer) -> ActionAnswer {
    let outcome = json!(answer.outcome).as_str().unwrap_or_default().to_owned();
    let (request_id, action) = (&answer.request_id, &answer.action);
    if let Some(told) = &answer.error {
        error!(request_id, action, outcome, error_type = %told.kind, error = told.message, "the request failed");
    } else {
        info!(request_id, action, outcome, "the request ended");
    }
    answer.clone()
}

fn diagnostic(answer: &ActionAnswer) -> Diagnostic {
    let kind = answer.error.as_ref().map_or(ErrorCause::FirstPartyGenericError, |told| told.kind);
    Diagnostic { error_type: kind.to_string(), error_message: json!(answer).to_string() }
}
