//! The API client: one HTTP client, one token, one request budget for all streams, and retries. All requests are
//! searches or reads, so that each is safe to repeat.

mod budget;
mod http;
mod listing;
mod page;
mod token;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, info};

pub use listing::{ListRow, Listing};
pub use page::Rows;

use crate::error::{ErrorType, chain};
use crate::retry::{self, sleep_within};
use crate::secrets::{self, Credentials, SecretError};
use crate::settings::{Settings, SettingsError};
use crate::stream::Method;
use crate::time::Millis;
use budget::Budget;
use http::whole_answer;
use token::Token;

/// Of an error's body, so much is told.
const EXCERPT: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "the API refuses the credentials ({status}): the client id or secret is wrong, or INCYDR_BASE_URL is another region's"
    )]
    BadCredentials { status: u16 },
    #[error("{what}: the API answers 403: the API client lacks the permission")]
    Forbidden { what: String },
    #[error("{what}: the API answers 401, also to a new token")]
    Unauthorized { what: String },
    #[error("{what}: the API answers {status}: {said}")]
    Status { what: String, status: u16, said: String },
    #[error("{what}: the API still answers 429 (too many requests)")]
    RateLimited { what: String },
    #[error("{what}: {why}")]
    Unexpected { what: String, why: String },
    #[error("{what}: the API could not be reached or broke off")]
    Transport { what: String, source: reqwest::Error },
    #[error("{what}: the query takes the API too long")]
    TooLarge { what: String },
    #[error("{what}: the page token is no longer valid")]
    InvalidPageToken { what: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the run's time is up")]
    OutOfTime,
}

impl ApiError {
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::BadCredentials { .. } | Self::Forbidden { .. } => ErrorType::ThirdPartyConfigError,
            Self::Secret(error) => error.error_type(),
            _ => ErrorType::ThirdPartyGenericError,
        }
    }

    /// Whether the very same request may fare better in a moment.
    fn may_be_retried(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::RateLimited { .. } | Self::Unexpected { .. } => true,
            Self::Status { status, .. } => *status == 408 || *status >= 500,
            _ => false,
        }
    }
}

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
    pub requests: &'a AtomicU64,
    pub retries: &'a AtomicU64,
}

pub struct Api {
    http: reqwest::Client,
    secrets: aws_sdk_secretsmanager::Client,
    base_url: String,
    secret_id: String,
    budget: Budget,
    signed_in: Mutex<SignedIn>,
    /// How far the API's clock was behind ours when it last answered, in milliseconds; never positive.
    behind: AtomicI64,
}

#[derive(Default)]
struct SignedIn {
    credentials: Option<Credentials>,
    token: Option<Token>,
    /// How many tokens were granted so far.
    granted: u64,
}

impl Api {
    pub fn new(settings: &Settings, secrets: aws_sdk_secretsmanager::Client) -> Result<Self, SettingsError> {
        Ok(Self {
            http: http::client(settings)?,
            secrets,
            base_url: settings.base_url.clone(),
            secret_id: settings.secret_id.clone(),
            budget: Budget::new(settings.requests_per_minute),
            signed_in: Mutex::default(),
            behind: AtomicI64::new(0),
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

    /// A run begins: what the API's clock said in an earlier one counts no longer.
    pub fn forget_clock(&self) {
        self.behind.store(0, Ordering::Relaxed);
    }

    /// Signs in unless a fresh token is at hand; answers the tenant that it belongs to, as far as the token says.
    pub async fn sign_in(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        Ok(self.token(caller, None).await?.tenant)
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
                Ok(read) => return Ok(read),
                Err(Refused { error: ApiError::Unauthorized { .. }, .. }) if refused.is_none() => {
                    refused = Some(token.generation);
                    caller.retries.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(Refused { error, retry_after }) => (error.about(&what).told_without(&token), retry_after),
            };
            if matches!(error, ApiError::OutOfTime) {
                return Err(real_error(error, last));
            }
            let pause = if error.may_be_retried() { attempts.pause(pause) } else { None };
            let Some(pause) = pause else { return Err(error) };
            debug!(error = chain(&error), pause_ms = pause.as_millis(), "retrying {what}");
            if !sleep_within(pause, caller.until).await {
                return Err(real_error(ApiError::OutOfTime, Some(error)));
            }
            caller.retries.fetch_add(1, Ordering::Relaxed);
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
        while let Err(wait) = self.budget.take(Millis::now()) {
            if !sleep_within(wait, caller.until).await {
                info!(wait_ms = wait.as_millis(), "the request budget is spent for longer than the run has time");
                return Err(ApiError::OutOfTime.into());
            }
        }
        caller.requests.fetch_add(1, Ordering::Relaxed);
        let left = caller.until.since(Millis::now());
        let answered = async {
            let response = request.send().await.map_err(broke_off)?;
            self.note_date(response.headers());
            read(response).await
        };
        tokio::time::timeout(left, answered).await.unwrap_or_else(|_| Err(ApiError::OutOfTime.into()))
    }

    /// A `Date` is in whole seconds, cut down, so that it is never later than the API's clock.
    fn note_date(&self, headers: &HeaderMap) {
        let date =
            headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(date) = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()) {
            let api = i64::try_from(date.as_millis()).unwrap_or(i64::MAX);
            self.behind.store((api - Millis::now().0).min(0), Ordering::Relaxed);
        }
    }

    /// The token at hand, or a new one when there is none, it is about to expire, or it is the one of `refused`.
    /// The lock is held over the sign-in, so that only one caller renews and the others get what it got.
    async fn token(&self, caller: &Caller<'_>, refused: Option<u64>) -> Result<Token, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        if let Some(token) = &signed_in.token
            && token.is_fresh(Millis::now())
            && refused != Some(token.generation)
        {
            return Ok(token.clone());
        }
        signed_in.token = None;
        signed_in.granted += 1;
        let generation = signed_in.granted;
        let at_hand = signed_in.credentials.clone();
        let credentials = match &at_hand {
            Some(credentials) => credentials.clone(),
            None => self.credentials(caller).await?,
        };
        let (credentials, token) = match self.grant(&credentials, generation, caller).await {
            Err(ApiError::BadCredentials { .. }) if at_hand.is_some() => {
                info!("the API refuses the credentials at hand: reading the secret again");
                signed_in.credentials = None;
                let read_again = self.credentials(caller).await?;
                let token = self.grant(&read_again, generation, caller).await?;
                (read_again, token)
            }
            granted => (credentials, granted?),
        };
        signed_in.credentials = Some(credentials);
        signed_in.token = Some(token.clone());
        Ok(token)
    }

    async fn credentials(&self, caller: &Caller<'_>) -> Result<Credentials, ApiError> {
        let left = caller.until.since(Millis::now());
        match tokio::time::timeout(left, secrets::load(&self.secrets, &self.secret_id)).await {
            Ok(loaded) => Ok(loaded?),
            Err(_) => Err(ApiError::OutOfTime),
        }
    }

    async fn grant(&self, credentials: &Credentials, generation: u64, caller: &Caller<'_>) -> Result<Token, ApiError> {
        let mut attempts = retry::API.begin();
        loop {
            let sent_at = Millis::now();
            let request = token::request(&self.http, &self.base_url, credentials);
            let whole = async |response| Ok(whole_answer(response).await.map_err(broke_off)?);
            let asked = self.attempt(request, caller, whole).await;
            let (error, retry_after) = match asked {
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    (ApiError::RateLimited { what: "sign-in".into() }, answer.retry_after())
                }
                Ok(answer) => match token::read(&answer, credentials, sent_at, generation) {
                    Ok(token) => return Ok(token),
                    Err(error) => (error, None),
                },
                Err(refused) => (refused.error.about("sign-in"), None),
            };
            let pause = if error.may_be_retried() { attempts.pause(retry_after) } else { None };
            let Some(pause) = pause else { return Err(error) };
            if !sleep_within(pause, caller.until).await {
                return Err(real_error(ApiError::OutOfTime, Some(error)));
            }
            caller.retries.fetch_add(1, Ordering::Relaxed);
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

struct Refused {
    error: ApiError,
    retry_after: Option<Duration>,
}

fn broke_off(source: reqwest::Error) -> ApiError {
    ApiError::Transport { what: String::new(), source: source.without_url() }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, retry_after: None }
    }
}

impl ApiError {
    /// What the API said, in one line, without the secrets that it may echo, and cut to what a log line bears.
    fn told_without(self, token: &Token) -> Self {
        let tell = |said: String| {
            let words: Vec<&str> = said.split_whitespace().collect();
            token.redact(&words.join(" ")).chars().take(EXCERPT).collect()
        };
        match self {
            Self::Status { what, status, said } => Self::Status { what, status, said: tell(said) },
            Self::Unexpected { what, why } => Self::Unexpected { what, why: tell(why) },
            other => other,
        }
    }

    fn about(self, request: &str) -> Self {
        match self {
            Self::Transport { source, .. } => Self::Transport { what: request.to_owned(), source },
            Self::Unexpected { what, why } if what.is_empty() => Self::Unexpected { what: request.to_owned(), why },
            other => other,
        }
    }
}

/// Where the time ran out between retries, what the API did is the news, unless it only asked to wait.
fn real_error(error: ApiError, last: Option<ApiError>) -> ApiError {
    match (error, last) {
        (ApiError::OutOfTime, Some(last)) if !matches!(last, ApiError::RateLimited { .. }) => last,
        (error, _) => error,
    }
}
