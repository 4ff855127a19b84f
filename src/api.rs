//! The API client: one HTTP client, one token, one request budget for all streams, and retries. All requests are
//! searches or reads, so that each is safe to repeat.

mod budget;
mod error;
mod http;
mod lanes;
mod listing;
mod page;
mod sign_in;
mod token;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{DATE, HeaderMap};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, info};

pub use error::ApiError;
pub use lanes::{Lane, Lanes};
pub use listing::{ListRow, Listing, escape};
pub use page::Rows;

use crate::error::chain;
use crate::retry::{self, sleep_within};
use crate::settings::{Settings, SettingsError};
use crate::stream::{Dialect, Method, guide};
use crate::time::Millis;
use budget::Budget;
use error::{Refused, broke_off, real_error};
use http::whole_answer;
use sign_in::SignedIn;
use token::Token;

/// What is asked, without its page.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub body: Value,
}

/// Who asks: until when it may wait, and where its requests are counted.
pub struct Caller<'a> {
    pub until: Millis,
    pub calls: &'a Calls,
    /// What fails is not sent again, unless the API only asked to wait.
    pub tries_once: bool,
}

impl<'a> Caller<'a> {
    pub fn new(until: Millis, calls: &'a Calls) -> Self {
        Self { until, calls, tries_once: false }
    }
}

/// How often the API was asked, and what came of it.
#[derive(Debug, Default)]
pub struct Calls {
    pub requests: AtomicU64,
    /// With a 2xx.
    pub answers: AtomicU64,
    pub retries: AtomicU64,
    /// With a 429.
    pub throttles: AtomicU64,
}

pub struct Api {
    http: reqwest::Client,
    secrets: aws_sdk_secretsmanager::Client,
    base_url: String,
    secret_id: String,
    sign_in_path: &'static str,
    budget: Budget,
    lanes: Lanes,
    signed_in: Mutex<SignedIn>,
    /// How far the API's clock was behind ours when it last answered, in milliseconds; never positive.
    behind: AtomicI64,
    has_told_time: AtomicBool,
}

impl Api {
    pub fn new(settings: &Settings, secrets: aws_sdk_secretsmanager::Client) -> Result<Self, SettingsError> {
        Ok(Self {
            http: http::client(settings)?,
            secrets,
            base_url: settings.base_url.clone(),
            secret_id: settings.secret_id.clone(),
            budget: Budget::new(settings.requests_per_minute),
            lanes: Lanes::default(),
            signed_in: Mutex::default(),
            behind: AtomicI64::new(0),
            has_told_time: AtomicBool::new(false),
            sign_in_path: match settings.dialect {
                Dialect::Sdk => token::PATH,
                Dialect::Guide => guide::SIGN_IN,
            },
        })
    }

    /// The earlier of our clock and the API's, as far as this run has heard of it.
    pub fn now(&self) -> Millis {
        self.at(Millis::now())
    }

    /// The same for an instant of our clock.
    pub fn at(&self, ours: Millis) -> Millis {
        ours + self.behind.load(Ordering::Relaxed)
    }

    /// A run begins, with a budget of its own: what the API's clock said in an earlier one counts no longer, nor what the
    /// secret held.
    pub async fn begin_run(&self, requests_per_minute: usize) {
        self.budget.set(requests_per_minute);
        self.behind.store(0, Ordering::Relaxed);
        self.signed_in.lock().await.forget_secret();
        self.has_told_time.store(false, Ordering::Relaxed);
    }

    /// Whether the API has answered in this run.
    pub fn has_told_time(&self) -> bool {
        self.has_told_time.load(Ordering::Relaxed)
    }

    /// How many windows may be read at once.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Sends a request until it succeeds, its retries are used up, or the time is. Anything but a 2xx is an error, and
    /// so is an answer that `check` can't read: it is asked for again like one that broke off.
    pub async fn send<T>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        check: impl Fn(&Bytes) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.exchange(request, caller, async |response| check(&whole_answer(response).await.map_err(broke_off)?.body))
            .await
    }

    /// The same, with the answer to a 2xx for `read` to take as it comes.
    async fn exchange<T>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        mut read: impl AsyncFnMut(reqwest::Response) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let what = request.what();
        let mut attempts = retry::API.begin();
        let mut refused = None;
        let mut last: Option<ApiError> = None;
        loop {
            let token = self.token(caller, refused).await.map_err(|error| real_error(error, last.take()))?;
            let asked = self.attempt(self.http_request(request, &token), caller, async |response| {
                if response.status().is_success() {
                    return Ok(read(response).await?);
                }
                Err(whole_answer(response).await.map_err(broke_off)?.refused(&what))
            });
            let (error, pause) = match asked.await {
                Ok(read) => {
                    caller.calls.answers.fetch_add(1, Ordering::Relaxed);
                    return Ok(read);
                }
                Err(Refused { error: ApiError::Unauthorized { .. }, .. }) if refused.is_none() => {
                    refused = Some(token.generation);
                    caller.calls.retries.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(Refused { error, retry_after }) => (error.about(&what).told_without(&token), retry_after),
            };
            if matches!(error, ApiError::OutOfTime) {
                return Err(real_error(error, last));
            }
            let is_final = caller.tries_once && !matches!(error, ApiError::RateLimited { .. });
            let pause = if error.may_be_retried() && !is_final { attempts.pause(pause) } else { None };
            let Some(pause) = pause else { return Err(error) };
            debug!(error = chain(&error), pause_ms = pause.as_millis(), "retrying {what}");
            if !sleep_within(pause, caller.until).await {
                return Err(real_error(ApiError::OutOfTime, Some(error)));
            }
            caller.calls.retries.fetch_add(1, Ordering::Relaxed);
            last = Some(error);
        }
    }

    fn http_request(&self, request: &Request, token: &Token) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.base_url, request.path);
        let builder = match request.method {
            Method::Get => self.http.get(url).query(&request.query),
            Method::Post => self.http.post(url).query(&request.query).json(&request.body),
        };
        builder.bearer_auth(token.bearer.expose_secret()).header(reqwest::header::ACCEPT, "application/json")
    }

    /// One try, within the budget and the caller's time.
    async fn attempt<T>(
        &self,
        request: reqwest::RequestBuilder,
        caller: &Caller<'_>,
        read: impl AsyncFnOnce(reqwest::Response) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        if Millis::now() >= caller.until {
            return Err(ApiError::OutOfTime.into());
        }
        let was_held_up = self.wait_for_budget(caller).await?;
        caller.calls.requests.fetch_add(1, Ordering::Relaxed);
        let (sent_at, began) = (Millis::now(), Instant::now());
        let answered = async {
            let response = request.send().await.map_err(broke_off)?;
            self.note_date(response.headers());
            let waited = began.elapsed();
            let answer = read(response).await?;
            self.lanes.answered(waited, began.elapsed().saturating_sub(waited), was_held_up, Millis::now());
            Ok(answer)
        };
        let answered: Result<T, Refused> = tokio::time::timeout(caller.until.since(sent_at), answered)
            .await
            .unwrap_or_else(|_| Err(ApiError::OutOfTime.into()));
        if matches!(&answered, Err(Refused { error: ApiError::RateLimited { .. }, .. })) {
            caller.calls.throttles.fetch_add(1, Ordering::Relaxed);
        }
        if answered.as_ref().is_err_and(|refused| refused.error.is_too_much()) {
            self.lanes.refused(sent_at, Millis::now());
        }
        answered
    }

    /// Takes one request of the budget; answers whether it had to wait for it.
    async fn wait_for_budget(&self, caller: &Caller<'_>) -> Result<bool, ApiError> {
        let mut had_to = false;
        while let Err(wait) = self.budget.take(Millis::now()) {
            had_to = true;
            if !sleep_within(wait, caller.until).await {
                info!(wait_ms = wait.as_millis(), "the request budget is spent for longer than the run has time");
                return Err(ApiError::OutOfTime);
            }
        }
        Ok(had_to)
    }

    /// A `Date` is in whole seconds, cut down, so that it is never later than the API's clock.
    fn note_date(&self, headers: &HeaderMap) {
        let date =
            headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(date) = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()) {
            let api = i64::try_from(date.as_millis()).unwrap_or(i64::MAX);
            self.behind.store((api - Millis::now().0).min(0), Ordering::Relaxed);
            self.has_told_time.store(true, Ordering::Relaxed);
        }
    }
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), query: Vec::new(), body: Value::Null }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::Post, path: path.into(), query: Vec::new(), body }
    }

    /// As an error names it: `POST /v2/file-events`.
    pub fn what(&self) -> String {
        let method = match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        format!("{method} {}", self.path)
    }
}
