//! One attempt of a request, within the budget and the caller's time. Notes from each answer what the API's clock says,
//! and whether the API can take more requests at once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::header::{AGE, DATE, HeaderMap};
use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::core::retry::sleep_within;
use crate::core::settings::Settings;
use crate::core::shared::{Flag, Shared};
use crate::core::stream::Stream;
use crate::core::tally::SIGNIFICANT_WAIT;
use crate::core::time::{Millis, millis};
use crate::incydr::budget::{Budget, Turn};
use crate::incydr::error::{ApiError, FailedAttempt, broke_off};
use crate::incydr::exchange::{Exchange, OpenAnswer};
use crate::incydr::lanes::Lanes;
use crate::incydr::request::Caller;

/// The greatest difference between the API's clock and ours that is believed. Beyond it one of them is wrong, or the
/// date is a cache's.
const BELIEVED: TimeDelta = TimeDelta::minutes(15);

/// A `Date` header that is not believed, and our clock's time when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DoubtedClock {
    pub api: Millis,
    pub ours: Millis,
}

/// The shortest and the longest pause of all requests after a 429, whatever `Retry-After` says.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

pub struct Connection {
    /// Builds the requests.
    pub http: reqwest::Client,
    exchange: Exchange,
    pub base_url: String,
    budget: Budget,
    pub lanes: Lanes,
    /// The API's clock minus ours at the last answer, in milliseconds. Never positive.
    behind: AtomicI64,
    /// Whether the API has answered in this run.
    has_told_time: Flag,
    /// The first date in this run that was not believed.
    doubted: Shared<Option<DoubtedClock>>,
}

impl Connection {
    pub fn new(settings: &Settings, http: reqwest::Client, exchange: Exchange) -> Self {
        Self {
            http,
            exchange,
            base_url: settings.base_url.clone(),
            budget: Budget::new(settings.requests_per_minute),
            lanes: Lanes::default(),
            behind: AtomicI64::new(0),
            has_told_time: Flag::default(),
            doubted: Shared::default(),
        }
    }

    /// Our clock's instant, moved back by as much as the API's clock is behind.
    pub fn at(&self, ours: Millis) -> Millis {
        ours + millis(self.behind.load(Ordering::Relaxed))
    }

    /// Called when a run begins. Sets the budget, and forgets the API's clock.
    pub fn begin_run(&self, requests_per_minute: usize) {
        self.budget.set(requests_per_minute);
        self.behind.store(0, Ordering::Relaxed);
        self.has_told_time.set(false);
        *self.doubted.lock() = None;
    }

    pub fn limit_requests(&self, requests_per_minute: usize) {
        self.budget.limit(requests_per_minute);
    }

    /// Adds a stream to the queue until the turn is dropped. `stalled` is the number of runs in a row without progress.
    pub fn enter(&self, stream: Stream, stalled: u32) -> Turn<'_> {
        self.budget.enter(stream, stalled)
    }

    /// See [`Budget::plan`].
    pub fn plan_requests(&self, stream: Stream, planned: usize, until: Millis) -> usize {
        self.budget.plan(stream, planned, Millis::now(), until)
    }

    /// The API's clock and ours, if their difference is too great.
    pub fn doubted_clock(&self) -> Option<DoubtedClock> {
        *self.doubted.lock()
    }

    /// Whether the API has answered in this run.
    pub fn has_told_time(&self) -> bool {
        self.has_told_time.is_set()
    }

    /// Makes one attempt, once the budget allows it.
    pub async fn attempt<T>(
        &self,
        request: reqwest::RequestBuilder,
        caller: &Caller<'_>,
        read: impl AsyncFnOnce(OpenAnswer) -> Result<T, FailedAttempt>,
    ) -> Result<T, FailedAttempt> {
        if Millis::now() >= caller.until {
            return Err(ApiError::OutOfTime.into());
        }
        let was_held_up = self.wait_for_budget(caller).await?;
        caller.calls.requests.add(1);

        let (sent_at, began) = (Millis::now(), Instant::now());
        let answer = async {
            let response = self.send(request, caller).await?;
            let waited = began.elapsed();
            caller.calls.note_wait(waited);

            let answer = read(response).await;
            match answer.as_ref().map_err(|failed: &FailedAttempt| &failed.error) {
                Err(ApiError::Silent { .. }) => caller.calls.note_silence(began.elapsed()),
                Err(ApiError::Transport { .. }) => {}
                _ => caller.calls.heard.add(1),
            }
            let answer = answer?;
            self.lanes.answered(waited, began.elapsed().saturating_sub(waited), was_held_up, Millis::now());
            Ok(answer)
        };
        let answer = match tokio::time::timeout(caller.until.since(sent_at), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(cut_off(caller, began.elapsed(), was_held_up).into()),
        };
        if let Err(failed) = &answer {
            self.note_refusal(failed, sent_at, caller);
        }
        answer
    }

    /// Sends a request and waits for the answer's headers, as long as the caller waits for a silent API.
    async fn send(&self, request: reqwest::RequestBuilder, caller: &Caller<'_>) -> Result<OpenAnswer, FailedAttempt> {
        let sent = self.exchange.send(request);
        let response = match caller.silent_for {
            Some(longest) => tokio::time::timeout(longest, sent).await.map_err(|_| {
                caller.calls.note_silence(longest);
                ApiError::Silent { what: String::new(), waited_ms: longest.as_millis() }
            })?,
            None => sent.await,
        };
        let mut response = response.map_err(broke_off)?;
        self.note_date(&response.headers);
        if let Some(longest) = caller.silent_for {
            response.no_slower_than(longest);
        }
        Ok(response)
    }

    /// After a 429 all requests pause. After any answer that says "too much" fewer are made at once.
    fn note_refusal(&self, failed: &FailedAttempt, sent_at: Millis, caller: &Caller<'_>) {
        if matches!(failed.error, ApiError::RateLimited { .. }) {
            caller.calls.throttles.add(1);
            let pause = failed.retry_after.unwrap_or_default().clamp(THROTTLED_PAUSE, LONGEST_PAUSE);
            self.budget.pause(Millis::now() + TimeDelta::from_std(pause).unwrap_or_default());
        }
        if failed.error.is_too_much() {
            self.lanes.refused(sent_at, Millis::now());
        }
    }

    /// Takes one request from the budget. Returns whether it had to wait.
    async fn wait_for_budget(&self, caller: &Caller<'_>) -> Result<bool, ApiError> {
        let mut had_to = false;
        while let Err(wait) = self.budget.take(Millis::now(), caller.stream) {
            had_to = true;
            if !sleep_within(wait, caller.until).await {
                info!(wait_ms = wait.as_millis(), "the request budget is used up until after the run's end");
                return Err(ApiError::BudgetSpent);
            }
        }
        Ok(had_to)
    }

    /// Notes the `Date` header. It is cut to whole seconds, so it is never ahead of the API's clock. Ignores it if
    /// there is an `Age` header: then it is a cache's (RFC 9111).
    fn note_date(&self, headers: &HeaderMap) {
        self.has_told_time.set(true);
        let date =
            headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(|date| httpdate::parse_http_date(date).ok());
        let date = date.filter(|_| !headers.contains_key(AGE));
        let Some(date) = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()) else { return };
        let (api, ours) = (Millis(i64::try_from(date.as_millis()).unwrap_or(i64::MAX)), Millis::now());
        let ahead = api - ours;
        if ahead.abs() <= BELIEVED {
            self.behind.store(ahead.num_milliseconds().min(0), Ordering::Relaxed);
            return;
        }
        let mut doubted = self.doubted.lock();
        if doubted.is_none() {
            warn!(%api, %ours, "the API's clock differs from ours by more than 15 minutes, and is not believed");
            *doubted = Some(DoubtedClock { api, ours });
        }
    }
}

/// The error of a request that the end of the caller's time cut off.
fn cut_off(caller: &Caller<'_>, waited: Duration, was_held_up: bool) -> ApiError {
    caller.calls.note_silence(waited);
    // The budget held the request back until little time was left: blame the budget, not the API.
    let is_late = was_held_up && waited < SIGNIFICANT_WAIT;
    if is_late { ApiError::BudgetSpent } else { ApiError::OutOfTime }
}
