//! An event in, an answer out. A failure is a function error: its type one of four, its message the whole answer.

use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::{error, info};
use uuid::Uuid;

use crate::answer::{Answer, Status};
use crate::api::Api;
use crate::error::{Error, ErrorType};
use crate::event;
use crate::run::{Clients, run};
use crate::settings::{Settings, SettingsError};
use crate::time::Millis;

/// What lives as long as the process. Clients are built by the first event that needs them.
pub struct Handler {
    settings: Result<Settings, SettingsError>,
    clients: OnceCell<Clients>,
}

impl Handler {
    pub fn new(settings: Result<Settings, SettingsError>) -> Self {
        Self { settings, clients: OnceCell::new() }
    }

    pub async fn handle(&self, event: &Value, deadline: Millis) -> Result<Answer, Diagnostic> {
        let run_id = Uuid::new_v4().to_string();
        let answer = self.answer(&run_id, event, deadline).await;
        match (&answer.status, &answer.error) {
            (Status::Failed, told) => {
                let error_type = told.as_ref().map_or(ErrorType::ThirdPartyGenericError, |told| told.error_type);
                error!(run_id, %error_type, error = told.as_ref().map(|told| &told.message), "the run failed");
                Err(Diagnostic {
                    error_type: error_type.to_string(),
                    error_message: serde_json::to_string(&answer).unwrap_or_default(),
                })
            }
            (status, _) => {
                info!(run_id, %status, "the run ended");
                Ok(answer)
            }
        }
    }

    async fn answer(&self, run_id: &str, event: &Value, deadline: Millis) -> Answer {
        let invocation = match event::parse(event, Millis::now()) {
            Ok(invocation) => invocation,
            Err(why) => return Answer::ended(run_id, &[], &Error::InvalidEvent(why)),
        };
        let settings = match &self.settings {
            Ok(settings) => settings,
            Err(error) => return Answer::ended(run_id, &[], &error.clone().into()),
        };
        match self.clients.get_or_try_init(|| clients(settings)).await {
            Ok(clients) => Box::pin(run(settings, clients, run_id, &invocation, deadline)).await,
            Err(error) => Answer::ended(run_id, &settings.streams, &error.into()),
        }
    }
}

/// The SDK's own retries are off: ours look at the lease before each attempt.
async fn clients(settings: &Settings) -> Result<Clients, SettingsError> {
    let config = aws_config::load_from_env().await;
    let has_endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
    let s3 = aws_sdk_s3::config::Builder::from(&config)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .force_path_style(has_endpoint)
        .build();
    Ok(Clients {
        api: Api::new(settings, aws_sdk_secretsmanager::Client::new(&config))?,
        s3: aws_sdk_s3::Client::from_conf(s3),
    })
}
