//! The API client: one HTTP client, one token and one request budget for all streams, with retries. Every request is a
//! read or a search and so is safe to repeat.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use tracing::debug;

use crate::core::error_type::chain;
use crate::core::retry::{self, Attempts, sleep_within};
use crate::core::settings::Settings;
use crate::core::time::Millis;
use crate::incydr::api_clock::ApiClock;
use crate::incydr::budget::Budget;
use crate::incydr::connection::Connection;
use crate::incydr::error::{ApiError, FailedAttempt, prefer_api_error};
use crate::incydr::exchange::{Exchange, OpenAnswer};
use crate::incydr::facts::Method;
use crate::incydr::http::whole_answer;
use crate::incydr::lanes::Lanes;
use crate::incydr::request::{Caller, Request};
use crate::incydr::sign_in::{SecretVersion, SignIn};
use crate::incydr::token::Token;

pub struct Api {
    connection: Connection,
    sign_in: SignIn,
}

impl Api {
    pub fn new(
        settings: &Settings,
        http: reqwest::Client,
        exchange: Exchange,
        secrets: aws_sdk_secretsmanager::Client,
    ) -> Self {
        Self { connection: Connection::new(settings, http, exchange), sign_in: SignIn::new(settings, secrets) }
    }

    /// Our clock or the API's, whichever is earlier. The API's is known once it has answered in this run.
    pub fn now(&self) -> Millis {
        self.at(Millis::now())
    }

    /// An instant of our clock, moved back by as much as the API's clock is behind.
    pub fn at(&self, ours: Millis) -> Millis {
        self.connection.clock.at(ours)
    }

    /// Called when a run begins. Sets the budget, and forgets the API's clock and the secret of the last run.
    pub async fn begin_run(&self, requests_per_minute: usize) {
        self.connection.begin_run(requests_per_minute);
        self.sign_in.begin_run().await;
    }

    pub fn clock(&self) -> &ApiClock {
        &self.connection.clock
    }

    pub fn budget(&self) -> &Budget {
        &self.connection.budget
    }

    /// The limit for windows that are read at once.
    pub fn lanes(&self) -> &Lanes {
        &self.connection.lanes
    }

    /// Signs in unless there is a fresh token. Returns the tenant that the token names, if it names one. No later
    /// request is sent with a token of another tenant.
    pub async fn sign_in(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        Ok(self.sign_in.first_token(&self.connection, caller).await?.tenant)
    }

    /// Signs in with the secret as it is now, and returns the tenant that the token names.
    pub async fn sign_in_anew(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        Ok(self.sign_in.sign_in_anew(&self.connection, caller).await?.tenant)
    }

    /// Reads the secret and returns its version. The value is kept for this run's sign-in.
    pub async fn read_secret_version(&self, caller: &Caller<'_>) -> Result<SecretVersion, ApiError> {
        self.sign_in.read_secret_version(caller).await
    }

    /// Whether the process must end, because its AWS credentials have expired.
    pub fn has_expired(&self) -> bool {
        self.sign_in.has_expired()
    }

    /// The version of the secret that was last read.
    pub async fn secret_version(&self) -> Option<String> {
        self.sign_in.secret_version().await
    }

    /// Sends a request until it succeeds, the retries are used up, or the time is up. Any status but 2xx is an error.
    /// If `check` fails, the request is retried as if the answer had broken off.
    pub async fn send<T>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        check: impl Fn(&Bytes) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let read = async |response| {
            let body = whole_answer(response).await?.body;
            check(&body).map_err(|error| error.with_beginning(&body))
        };
        self.exchange(request, caller, read).await
    }

    /// Like `send`, but `read` takes the body of a 2xx while it arrives.
    pub(super) async fn exchange<T>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        mut read: impl AsyncFnMut(OpenAnswer) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let what = request.what();
        let mut attempts = retry::API.begin();
        let mut refused = None;
        let mut last: Option<ApiError> = None;
        loop {
            let token = self
                .sign_in
                .token(&self.connection, caller, refused)
                .await
                .map_err(|error| prefer_api_error(error, last.take()))?;

            let asked = self.connection.attempt(self.http_request(request, &token), caller, async |response| {
                // We never ask for a range, so 206 is an error.
                if response.status.is_success() && response.status != StatusCode::PARTIAL_CONTENT {
                    return Ok(read(response).await?);
                }
                Err(whole_answer(response).await?.refused(&what))
            });
            let (error, retry_after) = match asked.await {
                Ok(read) => {
                    caller.calls.successes.add(1);
                    self.sign_in.note_token_works();
                    return Ok(read);
                }
                Err(FailedAttempt { error: ApiError::Unauthorized { .. }, .. })
                    if refused.is_none() && self.sign_in.may_renew() =>
                {
                    refused = Some(token.generation);
                    caller.calls.retries.add(1);
                    continue;
                }
                Err(FailedAttempt { error, retry_after }) => {
                    if refused.is_some() && matches!(error, ApiError::Unauthorized { .. }) {
                        self.sign_in.note_useless_renewal();
                    }
                    (error.about(&what).told_without(&token.secrets()), retry_after)
                }
            };

            let has_expired = !token.is_fresh(Millis::now());
            if error.is_out_of_time() {
                return Err(out_of_time(error, last, caller));
            }
            let Some(pause) = pause_before_retry(&error, retry_after, has_expired, &mut attempts, caller) else {
                return Err(error);
            };

            debug!(error = chain(&error), pause_ms = pause.as_millis(), "retrying {what}");
            if !sleep_within(pause, caller.until).await {
                return Err(out_of_time(ApiError::OutOfTime, Some(error), caller));
            }
            caller.calls.retries.add(1);
            last = Some(error);
        }
    }

    /// An error about an answer that arrived whole, with the answer's beginning. Without the token nobody knows which
    /// of its words are secret, and nothing is quoted.
    pub fn quoted(&self, error: ApiError, body: &[u8]) -> ApiError {
        match self.sign_in.present_token() {
            Some(token) => error.with_beginning(body).told_without(&token.secrets()),
            None => error,
        }
    }

    fn http_request(&self, request: &Request, token: &Token) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.connection.base_url, request.path);
        let builder = match request.method {
            Method::Get => self.connection.http.get(url).query(&request.query),
            Method::Post => self.connection.http.post(url).query(&request.query).json(&request.body),
        };
        builder.bearer_auth(token.bearer.expose_secret()).header(reqwest::header::ACCEPT, "application/json")
    }
}

/// Returns the error of a request whose time is up: the last error of the API, unless that was a 429, which is noted.
fn out_of_time(error: ApiError, last: Option<ApiError>, caller: &Caller<'_>) -> ApiError {
    if let Some(throttled @ ApiError::RateLimited { .. }) = &last {
        let mut noted = caller.calls.last_throttle.lock();
        *noted = Some(throttled.to_string());
    }
    prefer_api_error(error, last)
}

/// Returns the pause before the next attempt. None if the error can't pass, the caller tries once, or the attempts or
/// the caller's time for retries are used up. A 429 says nothing about the request, so only the run's deadline ends its
/// retries. A 401 may pass if the token expired while the answer was awaited.
fn pause_before_retry(
    error: &ApiError,
    retry_after: Option<Duration>,
    has_expired: bool,
    attempts: &mut Attempts,
    caller: &Caller<'_>,
) -> Option<Duration> {
    let is_throttled = matches!(error, ApiError::RateLimited { .. });
    let is_forbidden = matches!(error, ApiError::Forbidden { .. });
    let is_unauthorized = matches!(error, ApiError::Unauthorized { .. });
    let may_pass = error.may_be_retried() || is_forbidden && caller.retries_forbidden || is_unauthorized && has_expired;
    if is_throttled {
        return Some(attempts.throttled_pause(retry_after));
    }
    let until = caller.retry_until.filter(|_| may_pass)?;
    let pause = attempts.pause(retry_after)?;
    (pause < until.since(Millis::now())).then_some(pause)
}
