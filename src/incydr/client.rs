//! The API client: one HTTP client, one token, one request budget for all streams, and retries. All requests are
//! searches or reads, so that each is safe to repeat.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use tracing::debug;

use crate::core::error_kind::chain;
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::budget::Turn;
use crate::incydr::connection::{Connection, DoubtedClock};
use crate::incydr::error::{ApiError, FailedAttempt, real_error};
use crate::incydr::exchange::{Answer, Exchange};
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

    /// The earlier of our clock and the API's, as far as this run has heard of it.
    pub fn now(&self) -> Millis {
        self.at(Millis::now())
    }

    /// The same for an instant of our clock.
    pub fn at(&self, ours: Millis) -> Millis {
        self.connection.at(ours)
    }

    /// A run begins, with a budget of its own: what the API's clock said in an earlier one counts no longer, nor what the
    /// secret held.
    pub async fn begin_run(&self, requests_per_minute: usize) {
        self.connection.begin_run(requests_per_minute);
        self.sign_in.forget_secret().await;
    }

    /// From now on the run has so many requests a minute.
    pub fn leave_to_others(&self, left: usize) {
        self.connection.limit_requests(left);
    }

    /// A stream is read until the turn is dropped. `stalled` is over how many runs it came no further.
    pub fn enter(&self, stream: Stream, stalled: u32) -> Turn<'_> {
        self.connection.enter(stream, stalled)
    }

    /// Whether the API has answered in this run.
    pub fn has_told_time(&self) -> bool {
        self.connection.has_told_time()
    }

    /// What this run has heard of the API's clock, and does not believe.
    pub fn doubted_clock(&self) -> Option<DoubtedClock> {
        self.connection.doubted_clock()
    }

    /// How many windows may be read at once.
    pub fn lanes(&self) -> &Lanes {
        &self.connection.lanes
    }

    /// Signs in unless a fresh token is at hand; answers the tenant that it belongs to, as far as the token says.
    pub async fn sign_in(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        Ok(self.sign_in.token(&self.connection, caller, None).await?.tenant)
    }

    /// Which version of the secret there is now. What it holds is kept for this run's sign-in.
    pub async fn read_secret_version(&self, caller: &Caller<'_>) -> Result<SecretVersion, ApiError> {
        self.sign_in.read_secret_version(caller).await
    }

    /// No secret will be answered to this process any more.
    pub fn is_over(&self) -> bool {
        self.sign_in.is_over()
    }

    /// Which version of the secret was read last.
    pub async fn secret_version(&self) -> Option<String> {
        self.sign_in.secret_version().await
    }

    /// Sends a request until it succeeds, its retries are used up, or the time is. Anything but a 2xx is an error, and
    /// so is an answer that `check` can't read: it is asked for again like one that broke off.
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

    /// The same, with the answer to a 2xx for `read` to take as it comes.
    pub(super) async fn exchange<T>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        mut read: impl AsyncFnMut(Answer) -> Result<T, ApiError>,
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
                .map_err(|error| real_error(error, last.take()))?;
            let asked = self.connection.attempt(self.http_request(request, &token), caller, async |response| {
                // Nobody asked for a part.
                if response.status.is_success() && response.status != StatusCode::PARTIAL_CONTENT {
                    return Ok(read(response).await?);
                }
                Err(whole_answer(response).await?.refused(&what))
            });
            let (error, pause) = match asked.await {
                Ok(read) => {
                    caller.calls.answers.fetch_add(1, Ordering::Relaxed);
                    return Ok(read);
                }
                Err(FailedAttempt { error: ApiError::Unauthorized { .. }, .. }) if refused.is_none() => {
                    refused = Some(token.generation);
                    caller.calls.retries.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(FailedAttempt { error, retry_after }) => {
                    (error.about(&what).told_without(&token.secrets()), retry_after)
                }
            };
            if matches!(error, ApiError::OutOfTime) {
                return Err(real_error(error, last));
            }
            let is_final = caller.tries_once && !matches!(error, ApiError::RateLimited { .. });
            let may_be_retried =
                error.may_be_retried() || caller.retries_forbidden && matches!(error, ApiError::Forbidden { .. });
            let pause = if may_be_retried && !is_final { attempts.pause(pause) } else { None };
            let time_to_retry = caller.retry_until.since(Millis::now());
            let is_throttled = matches!(error, ApiError::RateLimited { .. });
            let Some(pause) = pause.filter(|pause| is_throttled || *pause < time_to_retry) else { return Err(error) };
            debug!(error = chain(&error), pause_ms = pause.as_millis(), "retrying {what}");
            if !sleep_within(pause, caller.until).await {
                return Err(real_error(ApiError::OutOfTime, Some(error)));
            }
            caller.calls.retries.fetch_add(1, Ordering::Relaxed);
            last = Some(error);
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
