//! An event in, an answer out. A failure is a function error: its type one of four, its message the whole answer.

use std::time::Instant;

use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::{error, info};
use uuid::Uuid;

use crate::answer::{Answer, Status};
use crate::api::Api;
use crate::aws;
use crate::error::{Error, ErrorType};
use crate::event::{self, Collect, Invocation};
use crate::health::{Checked, health};
use crate::known::Memory;
use crate::metrics;
use crate::probe::{Probed, probe};
use crate::run::{Backfilled, Clients, merge, plan, restart, run, shard};
use crate::settings::{Settings, SettingsError};
use crate::time::Millis;
use crate::verify::{Verified, verify};

/// What lives as long as the process. Clients are built by the first event that needs them.
pub struct Handler {
    settings: Result<Settings, SettingsError>,
    clients: OnceCell<Clients>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answered {
    Run(Answer),
    Verify(Box<Verified>),
    Probe(Box<Probed>),
    Health(Box<Checked>),
    Backfill(Box<Backfilled>),
}

impl Handler {
    pub fn new(settings: Result<Settings, SettingsError>) -> Self {
        Self { settings, clients: OnceCell::new() }
    }

    pub async fn handle(&self, event: &Value, deadline: Millis) -> Result<Answered, Diagnostic> {
        let run_id = Uuid::new_v4().to_string();
        let began = Instant::now();
        let answered = self.answer(&run_id, event, deadline).await;
        if let Answered::Run(answer) = &answered
            && answer.action.is_none()
            && event["dry_run"] != true
        {
            metrics::tell(answer, began.elapsed());
        }
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

    async fn answer(&self, run_id: &str, event: &Value, deadline: Millis) -> Answered {
        let invocation = match event::parse(event, Millis::now()) {
            Ok(invocation) => invocation,
            Err(why) => return Answer::failed(None, run_id, &Error::InvalidEvent(why)).into(),
        };
        let action = invocation.action();
        let settings = match &self.settings {
            Ok(settings) => settings,
            Err(error) => return Answer::failed(action, run_id, &error.clone().into()).into(),
        };
        let clients = match self.clients.get_or_try_init(async || clients(settings)).await {
            Ok(clients) => clients,
            Err(error) => return Answer::failed(action, run_id, &error.into()).into(),
        };
        match &invocation {
            Invocation::Scheduled => {
                Box::pin(run(settings, clients, run_id, false, &Collect::default(), deadline)).await.into()
            }
            Invocation::Collect(asked) => Box::pin(run(settings, clients, run_id, true, asked, deadline)).await.into(),
            Invocation::Replay(asked, prefix) => match settings.for_replay(prefix) {
                Ok(settings) => {
                    let answer = Box::pin(run(&settings, clients, run_id, true, asked, deadline)).await;
                    answer.of_action("replay").into()
                }
                Err(why) => {
                    let why = format!("\"prefix\" is {prefix:?}, but {why}");
                    Answer::failed(action, run_id, &Error::InvalidEvent(why)).into()
                }
            },
            Invocation::Restart(streams) => {
                Box::pin(restart(settings, clients, run_id, streams.clone(), deadline)).await.into()
            }
            Invocation::Verify(asked) => match Box::pin(verify(settings, &clients.s3, run_id, asked, deadline)).await {
                Ok(answer) => Answered::Verify(Box::new(answer)),
                Err(error) => Answer::failed(action, run_id, &error).into(),
            },
            Invocation::Probe(streams) => {
                match Box::pin(probe(settings, &clients.api, run_id, streams.as_deref(), deadline)).await {
                    Ok(answer) => Answered::Probe(Box::new(answer)),
                    Err(error) => Answer::failed(action, run_id, &error).into(),
                }
            }
            Invocation::Health(asked) => match Box::pin(health(settings, clients, run_id, asked, deadline)).await {
                Ok(answer) => Answered::Health(Box::new(answer)),
                Err(error) => Answer::failed(action, run_id, &error).into(),
            },
            Invocation::Plan(asked) => match Box::pin(plan(settings, clients, run_id, asked, deadline)).await {
                Ok(answer) => Answered::Backfill(Box::new(answer)),
                Err(error) => Answer::failed(action, run_id, &error).into(),
            },
            Invocation::Shard(id) => Box::pin(shard(settings, clients, run_id, id, deadline)).await.into(),
            Invocation::Merge => match Box::pin(merge(settings, clients, run_id, deadline)).await {
                Ok(answer) => Answered::Backfill(Box::new(answer)),
                Err(error) => Answer::failed(action, run_id, &error).into(),
            },
        }
    }
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self::Run(answer)
    }
}

fn clients(settings: &Settings) -> Result<Clients, SettingsError> {
    let var = |name: &str| std::env::var(name).ok().filter(|held| !held.is_empty());
    let aws = aws::Clients::from_vars(var);
    Ok(Clients { api: Api::new(settings, aws.secrets)?, s3: aws.s3, memory: Memory::default() })
}
