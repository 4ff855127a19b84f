//! Runs the action that an event asks for. A failure is a function error: `errorType` is one of four, `errorMessage`
//! the whole answer as JSON.

use std::time::Instant;

use futures::future::LocalBoxFuture;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use tokio::sync::OnceCell;
use tracing::{error, info};
use uuid::Uuid;

use crate::actions::answer::{Answer, Status};
use crate::actions::backfill::{Backfilled, merge, plan, shard};
use crate::actions::call::Call;
use crate::actions::clients::Clients;
use crate::actions::collect::collect;
use crate::actions::health::{HealthAnswer, health};
use crate::actions::invocation::{CollectArgs, Invocation};
use crate::actions::probe::{Probed, probe};
use crate::actions::recover::{Recovered, recover};
use crate::actions::restart::restart;
use crate::actions::status::{StatusAnswer, status};
use crate::actions::verify::{Verified, verify};
use crate::bucket::aws::AwsClients;
use crate::collect::Trigger;
use crate::collect::error::{Error, or_panicked};
use crate::core::error_type::ErrorType;
use crate::core::settings::{Settings, SettingsError};
use crate::core::time::Millis;
use crate::edge::event::Event;
use crate::edge::metrics;
use crate::incydr::client::Api;
use crate::incydr::exchange::Exchange;
use crate::incydr::{ca_bundle, http};

/// Lives as long as the process. The first event that needs the clients builds them.
pub struct Handler {
    /// A bad setting is the error of every event.
    settings: Result<Settings, SettingsError>,
    clients: OnceCell<Clients>,
}

/// The answer of an action. In JSON it is the bare answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answered {
    Run(Answer),
    Verify(Box<Verified>),
    Probe(Box<Probed>),
    Health(Box<HealthAnswer>),
    Status(Box<StatusAnswer>),
    Backfill(Backfilled),
    Recover(Box<Recovered>),
}

impl Handler {
    pub fn new(settings: Result<Settings, SettingsError>) -> Self {
        Self { settings, clients: OnceCell::new() }
    }

    /// With existing clients, for tests and simulations.
    pub fn with_clients(settings: Settings, clients: Clients) -> Self {
        Self { settings: Ok(settings), clients: OnceCell::new_with(Some(clients)) }
    }

    /// Whether the process's AWS credentials have expired. No later run of this process can succeed.
    pub fn has_expired(&self) -> bool {
        self.clients.get().is_some_and(|clients| clients.s3.has_expired() || clients.api.has_expired())
    }

    pub async fn handle(&self, event: &Event, deadline: Millis) -> Result<Answered, Diagnostic> {
        self.handle_as(&Uuid::new_v4().to_string(), event, deadline).await
    }

    /// Handles an event under a run's id, which must be unique. The future is boxed, so that a run is compiled once, in
    /// this library, and not again in each binary and test.
    pub fn handle_as<'a>(
        &'a self,
        run_id: &'a str,
        event: &'a Event,
        deadline: Millis,
    ) -> LocalBoxFuture<'a, Result<Answered, Diagnostic>> {
        Box::pin(async move {
            let began = Instant::now();
            let answered = self.answer(run_id, event, deadline).await;
            if let Answered::Run(answer) = &answered
                && is_measured(answer, event)
            {
                metrics::write(answer, began.elapsed());
            }
            function_result(run_id, answered)
        })
    }

    /// Parses the event and runs its action. Every failure is an answer, a panic too.
    async fn answer(&self, run_id: &str, event: &Event, deadline: Millis) -> Answered {
        let invocation = match event.invocation(Millis::now()) {
            Ok(invocation) => invocation,
            Err(why) => return Answer::failed(None, run_id, &Error::InvalidEvent(why)).into(),
        };
        let done = or_panicked(Box::pin(self.act(run_id, &invocation, deadline))).await;
        done.unwrap_or_else(|error| Answer::failed(invocation.action(), run_id, &error).into())
    }

    async fn act(&self, run_id: &str, invocation: &Invocation, deadline: Millis) -> Result<Answered, Error> {
        let settings = self.settings.as_ref().map_err(Clone::clone)?;
        let clients = self.clients.get_or_try_init(async || clients(settings)).await?;
        clients.begin_run(settings, deadline).await;
        let call = Call { settings, clients, run_id, deadline };

        Ok(match invocation {
            Invocation::Scheduled => Box::pin(collect(call, &CollectArgs::ALL, Trigger::Schedule)).await.into(),
            Invocation::Collect(asked) => Box::pin(collect(call, asked, Trigger::Person)).await.into(),
            Invocation::Replay(asked, prefix) => {
                let bad = |why| Error::InvalidEvent(format!("\"prefix\" is {prefix:?}, but {why}"));
                let settings = settings.for_replay(prefix).map_err(bad)?;
                let answer = Box::pin(collect(Call { settings: &settings, ..call }, asked, Trigger::Person)).await;
                answer.of_action("replay").into()
            }
            Invocation::Verify(asked) => Answered::Verify(Box::new(Box::pin(verify(call, asked)).await?)),
            Invocation::Probe(streams) => {
                let probed = Box::pin(probe(call, streams.as_deref())).await?;
                Answered::Probe(Box::new(probed))
            }
            Invocation::Health(asked) => Answered::Health(Box::new(Box::pin(health(call, asked)).await?)),
            Invocation::Status => Answered::Status(Box::new(Box::pin(status(call)).await?)),
            Invocation::Restart(asked) => Box::pin(restart(call, asked.clone())).await.into(),
            Invocation::Recover => Answered::Recover(Box::new(Box::pin(recover(call)).await?)),
            Invocation::Plan(asked) => Answered::Backfill(Box::pin(plan(call, asked)).await?),
            Invocation::Shard(id) => Box::pin(shard(call, id)).await.into(),
            Invocation::Merge => Answered::Backfill(Box::pin(merge(call)).await?),
        })
    }
}

/// Whether a run counts in the metrics: only one that collects into the live prefix. A replay, a shard or a dry run
/// would hide the live runs' lag and gaps.
fn is_measured(answer: &Answer, event: &Event) -> bool {
    // An event with a source is the schedule's, whatever else it has.
    let is_dry_run = matches!(event, Event::Read(event) if event["dry_run"] == true && event.get("source").is_none());
    answer.action.is_none() && !is_dry_run
}

/// Turns the answer of a failed run into a function error, and logs how the run ended.
fn function_result(run_id: &str, answered: Answered) -> Result<Answered, Diagnostic> {
    match answered {
        Answered::Run(answer) if answer.status == Status::Failed => {
            let told = answer.error.as_ref();
            let error_type = told.map_or(ErrorType::ThirdPartyGenericError, |told| told.error_type);
            error!(run_id, %error_type, error = told.map(|told| &told.message), "the run failed");
            Err(Diagnostic {
                error_type: error_type.to_string(),
                error_message: serde_json::to_string(&answer).unwrap_or_default(),
            })
        }
        Answered::Run(answer) => {
            info!(run_id, status = %answer.status, "the run ended");
            Ok(Answered::Run(answer))
        }
        answered => Ok(answered),
    }
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self::Run(answer)
    }
}

fn clients(settings: &Settings) -> Result<Clients, SettingsError> {
    let var = |name: &str| std::env::var(name).ok().filter(|held| !held.is_empty());
    let ca_bundle = ca_bundle::read(settings)?;
    // Built first, because it reports missing certificate authorities.
    let http = http::client(settings, ca_bundle.as_deref())?;
    let aws = AwsClients::from_vars(var, &settings.proxies, ca_bundle);
    Ok(Clients::new(Api::new(settings, http, Exchange::Http, aws.secrets), aws.s3))
}
