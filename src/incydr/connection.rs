//! One attempt of a request, within the budget and the caller's time. Notes from each answer what the API's clock says,
//! and whether the API can take more requests at once.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tracing::info;

use crate::core::retry::sleep_within;
use crate::core::settings::Settings;
use crate::core::tally::SIGNIFICANT_WAIT;
use crate::core::time::Millis;
use crate::incydr::api_clock::ApiClock;
use crate::incydr::budget::Budget;
use crate::incydr::error::{ApiError, FailedAttempt, broke_off};
use crate::incydr::exchange::{Exchange, OpenAnswer};
use crate::incydr::lanes::Lanes;
use crate::incydr::request::Caller;

/// The shortest and the longest pause of all requests after a 429, whatever `Retry-After` says.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

pub struct Connection {
    /// Builds the requests.
    pub http: reqwest::Client,
    exchange: Exchange,
    pub base_url: String,
    pub budget: Budget,
    pub lanes: Lanes,
    pub clock: ApiClock,
}

impl Connection {
    pub fn new(settings: &Settings, http: reqwest::Client, exchange: Exchange) -> Self {
        Self {
            http,
            exchange,
            base_url: settings.base_url.clone(),
            budget: Budget::new(settings.requests_per_minute),
            lanes: Lanes::default(),
            clock: ApiClock::default(),
        }
    }

    /// Called when a run begins. Sets the budget, and forgets the API's clock.
    pub fn begin_run(&self, requests_per_minute: usize) {
        self.budget.set(requests_per_minute);
        self.clock.forget();
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
                _ => caller.calls.responses.add(1),
            }
            let answer = answer?;
            self.lanes.note_answer(waited, began.elapsed().saturating_sub(waited), was_held_up, Millis::now());
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
        let response = match caller.longest_silence {
            Some(longest) => tokio::time::timeout(longest, sent).await.map_err(|_| {
                caller.calls.note_silence(longest);
                ApiError::Silent { what: String::new(), waited_ms: longest.as_millis() }
            })?,
            None => sent.await,
        };
        let mut response = response.map_err(broke_off)?;
        self.clock.note(&response.headers);
        if let Some(longest) = caller.longest_silence {
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
            self.lanes.note_refusal(sent_at, Millis::now());
        }
    }

    /// Takes one request from the budget. Returns whether it had to wait.
    async fn wait_for_budget(&self, caller: &Caller<'_>) -> Result<bool, ApiError> {
        let mut had_to = false;
        while let Err(wait) = self.budget.take(Millis::now(), caller.stream) {
            had_to = true;
            if !sleep_within(wait, caller.until).await {
                info!(
                    wait_ms = wait.as_millis(),
                    "no request may be sent before the run's end: REQUESTS_PER_MINUTE is used up, or a 429 asked for a pause"
                );
                return Err(ApiError::BudgetSpent);
            }
        }
        Ok(had_to)
    }
}

/// The error of a request that the end of the caller's time cut off.
fn cut_off(caller: &Caller<'_>, waited: Duration, was_held_up: bool) -> ApiError {
    caller.calls.note_silence(waited);
    // The budget held the request back until little time was left: blame the budget, not the API.
    let is_late = was_held_up && waited < SIGNIFICANT_WAIT;
    if is_late { ApiError::BudgetSpent } else { ApiError::OutOfTime }
}
