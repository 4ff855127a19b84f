//! One exchange with the API. Reads are retried, because repeating them is safe. A write is sent again only if the API
//! can't have taken it: the connection failed, or the answer was 429.

use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use tracing::debug;

use crate::core::error_type::chain;
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Settings;
use crate::incydr::connection::Connection;
use crate::incydr::error::{ApiError, FailedAttempt, prefer_api_error};
use crate::incydr::exchange;
use crate::incydr::http::{HttpAnswer, whole_answer};
use crate::incydr::request::Caller;
use crate::incydr::sign_in::SignIn;
use crate::respond::connector_answer::ConnectorAnswer;
use crate::respond::error::RespondError;
use crate::respond::goal::{ApiWrite, Verb};

pub struct ResponderApi {
    connection: Connection,
    sign_in: SignIn,
}

/// The result of a write.
pub enum Sent {
    Done(ConnectorAnswer),
    /// The API refused the write and changed nothing.
    Refused(RespondError),
    /// The API may have taken the write: it answered 5xx, half an answer, or nothing.
    Uncertain(RespondError),
    /// The write was never sent.
    NotSent(RespondError),
}

/// An HTTP request without token.
struct ApiExchange<'a> {
    method: Method,
    path: &'a str,
    query: &'a [(String, String)],
    body: &'a Value,
}

impl ResponderApi {
    pub fn new(settings: &Settings, http: reqwest::Client, secrets: aws_sdk_secretsmanager::Client) -> Self {
        Self {
            connection: Connection::new(settings, http, exchange::Exchange::Http),
            sign_in: SignIn::new(settings, secrets),
        }
    }

    /// Called at the start of a request. Forgets the secret, which may have changed since the last one.
    pub async fn begin(&self, requests_per_minute: usize) {
        self.connection.begin_run(requests_per_minute);
        self.sign_in.begin_run().await;
    }

    /// Whether the process must end, because its AWS credentials have expired.
    pub fn has_expired(&self) -> bool {
        self.sign_in.has_expired()
    }

    /// Sends a `GET`. Any status but 2xx is an error.
    pub async fn get(
        &self,
        path: &str,
        query: &[(String, String)],
        caller: &Caller<'_>,
    ) -> Result<ConnectorAnswer, RespondError> {
        let exchange = ApiExchange { method: Method::GET, path, query, body: &Value::Null };
        self.read(&exchange, caller).await
    }

    /// Sends a search, which has its query in the body of a `POST`.
    pub async fn search(&self, path: &str, body: &Value, caller: &Caller<'_>) -> Result<ConnectorAnswer, RespondError> {
        self.read(&ApiExchange { method: Method::POST, path, query: &[], body }, caller).await
    }

    /// Sends a read until it succeeds, fails for good, or the retries or the time are used up.
    async fn read(&self, exchange: &ApiExchange<'_>, caller: &Caller<'_>) -> Result<ConnectorAnswer, RespondError> {
        let what = format!("{} {}", exchange.method, exchange.path);
        let mut attempts = retry::API.begin();
        let mut last = None;
        loop {
            let (error, pause) = match self.exchange(exchange, caller).await {
                Ok(answer) if answer.status.is_success() => return Ok(connector_answer(&answer)),
                Ok(answer) if is_passing(answer.status) => {
                    (RespondError::refused(&what, connector_answer(&answer)), answer.retry_after())
                }
                Ok(answer) => return Err(RespondError::refused(&what, connector_answer(&answer))),
                Err(ApiError::OutOfTime) => return Err(last.unwrap_or_else(|| ApiError::OutOfTime.into())),
                Err(error @ (ApiError::Transport { .. } | ApiError::Unexpected { .. })) => (named(&what, &error), None),
                Err(error) => return Err(error.into()),
            };

            let Some(pause) = attempts.pause(pause) else { return Err(error) };
            debug!(error = error.message, pause_ms = pause.as_millis(), "retrying {what}");
            if !sleep_within(pause, caller.until).await {
                return Err(error);
            }
            caller.calls.retries.add(1);
            last = Some(error);
        }
    }

    /// Sends a write. Sends it again only while the API can't have taken it: after 429, or if the connection failed.
    pub async fn write(&self, write: &ApiWrite, caller: &Caller<'_>) -> Sent {
        let what = write.what();
        let method = match write.method {
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        };
        let exchange = ApiExchange { method, path: &write.path, query: &[], body: &write.body };

        let mut attempts = retry::API.begin();
        loop {
            let sent_before = caller.calls.requests.get();
            let (error, pause) = match self.exchange(&exchange, caller).await {
                Ok(answer) if answer.status.is_success() => return Sent::Done(connector_answer(&answer)),
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    (RespondError::refused(&what, connector_answer(&answer)), answer.retry_after())
                }
                Ok(answer) if answer.status.is_client_error() && answer.status != StatusCode::REQUEST_TIMEOUT => {
                    return Sent::Refused(RespondError::refused(&what, connector_answer(&answer)));
                }
                Ok(answer) => return Sent::Uncertain(RespondError::refused(&what, connector_answer(&answer))),
                Err(ApiError::Transport { source, .. }) if source.is_connect() => {
                    (named(&what, &ApiError::Transport { what: what.clone(), source }), None)
                }
                Err(error @ (ApiError::Transport { .. } | ApiError::Unexpected { .. })) => {
                    return Sent::Uncertain(named(&what, &error));
                }
                // If no request was counted, nothing was sent. A request that the budget held back may be cut off after
                // it was sent.
                Err(error @ (ApiError::OutOfTime | ApiError::BudgetSpent))
                    if caller.calls.requests.get() > sent_before =>
                {
                    return Sent::Uncertain(named(&what, &error));
                }
                Err(error) => return Sent::NotSent(error.into()),
            };

            match attempts.pause(pause) {
                Some(pause) if sleep_within(pause, caller.until).await => {
                    caller.calls.retries.add(1);
                }
                _ => return Sent::NotSent(error),
            }
        }
    }

    /// Returns the answer, whatever its status. Renews a refused token once.
    async fn exchange(&self, exchange: &ApiExchange<'_>, caller: &Caller<'_>) -> Result<HttpAnswer, ApiError> {
        let mut refused = None;
        loop {
            let token = self.sign_in.token(&self.connection, caller, refused).await?;
            let url = format!("{}{}", self.connection.base_url, exchange.path);
            let mut builder = self.connection.http.request(exchange.method.clone(), url).query(exchange.query);
            if !exchange.body.is_null() {
                builder = builder.json(exchange.body);
            }
            let builder =
                builder.bearer_auth(token.bearer.expose_secret()).header(reqwest::header::ACCEPT, "application/json");

            let whole = async |response| Ok(whole_answer(response).await?);
            match self.connection.attempt(builder, caller, whole).await {
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && refused.is_none() => {
                    refused = Some(token.generation);
                    caller.calls.retries.add(1);
                }
                Ok(mut answer) => {
                    answer.body = without(&token.secrets(), &answer.body).into();
                    return Ok(answer);
                }
                Err(FailedAttempt { error, .. }) => return Err(prefer_api_error(error, None)),
            }
        }
    }
}

/// The body without secrets. Replacing them by `…` keeps it valid JSON.
fn without(secrets: &[&str], body: &[u8]) -> String {
    secrets.iter().fold(String::from_utf8_lossy(body).into_owned(), |body, secret| body.replace(secret, "…"))
}

/// Whether a read may succeed if repeated. 409 for an actor's name means "ask again" (`OpenAPI`, actors).
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT].contains(&status)
}

/// The error of a request without a usable answer. `what` names the request.
fn named(what: &str, error: &ApiError) -> RespondError {
    let mut named = RespondError::new(crate::respond::error::ErrorCause::ThirdPartyGenericError, String::new());
    named.message = match error {
        ApiError::Transport { source, .. } => {
            format!("{what}: the API could not be reached or broke off: {}", chain(source))
        }
        error => format!("{what}: {}", chain(error)),
    };
    named
}

/// Formats an answer as the connector does: a body that isn't JSON becomes a string, and an empty one a message.
fn connector_answer(answer: &HttpAnswer) -> ConnectorAnswer {
    let reason = answer.status.canonical_reason().unwrap_or_default().to_owned();
    let headers = answer.headers.iter().filter(|(name, _)| *name != reqwest::header::SET_COOKIE);
    let response_headers: Map<String, Value> = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    let json_body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.body.is_empty() => serde_json::json!({"message": reason}),
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned().into(),
    };
    ConnectorAnswer { status_code: answer.status.as_u16(), reason, response_headers, json_body }
}
