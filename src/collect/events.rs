//! Events: closed windows, oldest first. A gap is counted, windows are cut from it, and each window is opened on the
//! checkpoint, read until it agrees with the API's own count, stored, and covered. Several are read at once.

mod backlog;
mod plan;
mod read;
mod reading;
mod recount;
mod window;

use std::sync::PoisonError;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::warn;

use self::backlog::{Backlog, Planned};
use self::plan::{MARGIN, Pace, Sizes, asked};
use self::window::{Done, Opened};
use super::{Collector, Outcome};
use crate::collect::error::Error;
use crate::core::checkpoint::EventsState;
use crate::core::intervals::Span;
use crate::core::time::{Millis, SECOND};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::lanes::Lane;
use crate::incydr::request::Caller;

impl Collector<'_> {
    pub(super) async fn events(&self, facts: &'static Events) -> Result<Outcome, Error> {
        let due = self.due_recounts();
        let horizon = self.horizon();
        self.events_state(|state| self.owe(facts, state, horizon));
        let backlog = Mutex::new(Backlog::new(horizon, self.look(|state| state.open.clone())));
        let ended = self.read_in_lanes(facts, &backlog).await;
        match (ended, backlog.into_inner().failed) {
            (Err(error), Some(failed)) if error.is_out_of_time() => Err(failed),
            (Err(error), _) => Err(error),
            (Ok(()), failed) => {
                let recounted = self.recount(facts, due).await;
                failed.map_or(recounted, Err).map(|()| self.outcome())
            }
        }
    }

    /// Of what was asked for a part may be left to the shards of a backfill.
    fn outcome(&self) -> Outcome {
        let is_left = |span: Span| {
            self.look(|state| state.reserved.iter().any(|reserved| reserved.span.intersection(span).is_some()))
        };
        if self.run.span.is_some_and(is_left) { Outcome::Partial } else { Outcome::Complete }
    }

    /// Window after window, in as many lanes as there is use in. After an error none is begun, and those under way
    /// are finished.
    async fn read_in_lanes(&self, facts: &'static Events, backlog: &Mutex<Backlog>) -> Result<(), Error> {
        let lanes = self.run.api.lanes();
        // Where a run's time or requests were too few for one window, they are none the more for two.
        let is_scarce = || self.look(|state| state.window_rows.is_some());
        let mut under_way = FuturesUnordered::new();
        let (mut failed, mut is_all_begun) = (None::<Error>, false);
        loop {
            while failed.is_none() && !is_all_begun {
                let lane = match under_way.is_empty() {
                    true => Some(lanes.first()),
                    false if is_scarce() => None,
                    false => lanes.another(),
                };
                let Some(lane) = lane else { break };
                under_way.push(self.next_window(facts, backlog, lane));
            }
            let is_waiting = failed.is_none() && !is_all_begun;
            tokio::select! {
                done = under_way.next() => match done {
                    None => return failed.map_or(Ok(()), Err),
                    // What was read may have been cut again.
                    Some(Ok(was_there_one)) => is_all_begun = !was_there_one,
                    Some(Err(error)) if failed.as_ref().is_none_or(Error::is_out_of_time) => failed = Some(error),
                    Some(Err(_)) => {}
                },
                () = lanes.room(), if is_waiting => {}
            }
        }
    }

    /// Plans a window, opens it and reads it; answers whether there was one.
    async fn next_window(
        &self,
        facts: &'static Events,
        backlog: &Mutex<Backlog>,
        _lane: Lane<'_>,
    ) -> Result<bool, Error> {
        let opened = {
            let mut backlog = backlog.lock().await;
            let opened = self.open_next(facts, &mut backlog).await;
            backlog.is_over |= opened.is_err();
            opened?
        };
        let Some(opened) = opened else { return Ok(false) };
        let rows = opened.planned.rows;
        let done = self.finish(facts, opened).await;
        let mut backlog = backlog.lock().await;
        if let Err(error) = &done {
            backlog.is_over = true;
            if error.is_out_of_time() && backlog.pace.is_unknown() {
                // Not even the first one fitted: the next run begins with a smaller one.
                self.events_state(|state| {
                    let most = state.window_rows.unwrap_or(rows).min(rows);
                    state.window_rows = Some((most / 2).max(1));
                });
            }
        }
        self.note_window(&mut backlog, done?)?;
        Ok(true)
    }

    /// Withdraws a window in one go with what is noted of it, so that nobody takes it for a gap like any other.
    fn note_window(&self, backlog: &mut Backlog, done: Done) -> Result<(), Error> {
        match &done {
            Done::CutAgain { window, .. } | Done::Failed { window, is_withdrawn: true, .. } => self.withdraw(window),
            Done::Covered { .. } | Done::Failed { .. } => {}
        }
        backlog.note(done)
    }

    async fn open_next(&self, facts: &'static Events, backlog: &mut Backlog) -> Result<Option<Opened>, Error> {
        if backlog.is_over {
            return Ok(None);
        }
        if let Some(left_open) = backlog.left_open(self.sizes(facts).most()) {
            return self.take_over(left_open).await.map(Some);
        }
        match self.plan(facts, backlog).await? {
            Some(planned) => self.open(facts, planned).await.map(Some),
            None => Ok(None),
        }
    }

    /// The oldest that is owed and that no window holds, or as much of it as one may.
    async fn plan(&self, facts: &'static Events, backlog: &mut Backlog) -> Result<Option<Planned>, Error> {
        loop {
            if let Some(part) = backlog.part() {
                return Ok(Some(part));
            }
            let Some(gap) = self.next_gap(backlog) else { return Ok(None) };
            if let Some(planned) = backlog.of_counted(gap, |count, pace| self.window_rows(facts, count, pace)) {
                return Ok(Some(planned));
            }
            if let Total::Nowhere { longest, .. } = facts.total {
                self.hear_clock(facts, gap).await?;
                backlog.horizon = backlog.horizon.min(self.horizon());
                if gap.to <= backlog.horizon {
                    let to = gap.to.min(gap.from + longest);
                    return Ok(Some(Planned::uncounted(Span { to, ..gap }, self.sizes(facts).most())));
                }
                continue;
            }
            // The first of several failures in a row was retried for long enough.
            let caller = Caller { tries_once: backlog.has_just_failed, ..self.caller() };
            let (span, count) = match self.count_gap(facts, gap, &caller).await {
                (span, Ok(count)) => (span, count),
                (_, Err(error @ Error::Api(ApiError::RateLimited { .. }))) => return Err(error),
                (span, Err(error)) if error.may_be_local() => {
                    backlog.uncounted(span, error)?;
                    continue;
                }
                (_, Err(error)) => return Err(error),
            };
            // In a warm container this was the first answer, and so the first word of the API's clock.
            backlog.horizon = backlog.horizon.min(self.horizon());
            if span.to > backlog.horizon {
                continue;
            }
            backlog.counted(span, count);
            if count == 0 {
                self.cover_empty(facts, span);
            }
        }
    }

    /// The stream's part of the checkpoint, to look at.
    fn look<T>(&self, look: impl FnOnce(&EventsState) -> T) -> T {
        self.run.ledger.read(|checkpoint| match checkpoint.events.get(&self.stream) {
            Some(state) => look(state),
            None => look(&EventsState::default()),
        })
    }

    /// The same, to change it.
    fn events_state<T>(&self, change: impl FnOnce(&mut EventsState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.events(self.stream)))
    }

    /// Windows end here at the latest, so that what is asked for, margin and all, lies before now minus settle.
    fn horizon(&self) -> Millis {
        (self.run.api.now() - self.run.settings.settle(self.stream)).floor(SECOND) - MARGIN
    }

    fn owe(&self, facts: &Events, state: &mut EventsState, horizon: Millis) {
        if let Some(span) = self.run.span {
            state.asked.insert(span);
        } else {
            let lookback = self.run.settings.lookback;
            state.live_from.get_or_insert((self.run.api.now() - lookback).floor(SECOND));
        }
        if let Some(retention) = facts.retention {
            let gone = state.expire(horizon.min(self.run.api.now() - retention));
            for span in gone.iter() {
                warn!(stream = %self.stream, from = %span.from, to = %span.to, "expired: the API keeps {} no longer", self.stream);
            }
            *self.tally.expired.lock().unwrap_or_else(PoisonError::into_inner) = gone;
        }
    }

    /// The request for a window, margin and all.
    fn request(&self, facts: &Events, span: Span) -> Value {
        (facts.request)(&self.run.settings.file_event_query, asked(span))
    }

    /// The oldest gap; but first what is left of the newest piece of one that could not be counted.
    fn next_gap(&self, backlog: &mut Backlog) -> Option<Span> {
        let owed = self.look(|state| state.gaps(backlog.horizon)).without(&backlog.skipped);
        let owed = match self.run.span {
            Some(span) => owed.within(span),
            None => owed,
        };
        backlog.first_of_pieces(&owed).or_else(|| owed.first())
    }

    fn sizes(&self, facts: &Events) -> Sizes {
        Sizes::new(self.run.settings.page_size(self.stream, facts.list.max_page_size))
    }

    /// How many of `count` rows the next window should hold; fewer where a larger one didn't fit a run before.
    fn window_rows(&self, facts: &Events, count: u64, pace: Pace) -> u64 {
        let left = self.run.times.read_until.0 - Millis::now().0;
        let hint = self.look(|state| state.window_rows);
        self.sizes(facts).next(count, left, pace).min(hint.unwrap_or(u64::MAX)).max(1)
    }
}
