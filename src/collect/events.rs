//! Events, read by window: the loop around [`Schedule`]. It does the step that the schedule answers, and tells it what
//! came of it. Each window is opened on the checkpoint, read until it agrees with the API's own count, stored, and
//! covered. Several are read at once.

mod open;
mod read;
mod reading;
mod recount;
mod window;

use std::sync::PoisonError;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tracing::warn;

use super::{Collector, Outcome as StreamOutcome};
use crate::collect::error::Error;
use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::density::{Sizes, asked};
use crate::core::error_kind::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::manifest::ReadingEntry;
use crate::core::schedule::{Outcome, Patience, Schedule, Step, Why};
use crate::core::settings::FileEventQuery;
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::time::{Millis, SECOND};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::lanes::Lane;
use crate::incydr::request::Caller;

/// A step that has ended: what came of it, and the reading that the next manifest tells of.
struct Ended {
    outcome: Outcome,
    done: Option<ReadingEntry>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, done: None }
    }
}

/// After so many runs that died over a window the next ones leave it alone for a while.
const MOST_DEATHS: u32 = 3;

impl Collector<'_> {
    pub(super) async fn events(&self, facts: &'static Events) -> Result<StreamOutcome, Error> {
        if self.stream == Stream::FileEvents {
            let source = &self.run.settings.file_event_query;
            let query = self.run.api.file_event_query(source, &self.caller()).await?;
            self.query.get_or_init(|| query.into_owned());
        }
        let recounts = self.due_recounts();
        let horizon = self.horizon();
        self.update_events(|state, stuck| {
            self.owe(facts, state, horizon);
            // What was covered or has expired since is stuck no longer, nor is what waits for no recount any more.
            stuck.keep_within(&state.due(horizon));
            stuck.keep_recounts(|span| state.recount.iter().any(|recount| recount.span == span));
        });
        let longest_uncounted = match facts.total {
            Total::Nowhere { longest, .. } => {
                self.hear_clock(facts, horizon).await?;
                Some(longest)
            }
            Total::InPage | Total::Endpoint { .. } => None,
        };
        let mut schedule = self.look(|state, _| {
            Schedule::new(state, self.sizes(facts), self.horizon(), self.run.span, longest_uncounted, recounts)
        });
        let ended = self.follow(facts, &mut schedule).await;
        let failed = schedule.api_failure().or(schedule.unclear()).cloned().map(Error::Told);
        match (ended, failed) {
            (Err(error), Some(failed)) if error.is_out_of_time() => Err(failed),
            (Err(error), _) => Err(error),
            (Ok(()), failed) => failed.map_or_else(|| Ok(self.outcome()), Err),
        }
    }

    /// Step after step, in as many lanes as there is use in. After an error that is not one window's none is begun, and
    /// those under way are finished.
    async fn follow(&self, facts: &'static Events, schedule: &mut Schedule) -> Result<(), Error> {
        let lanes = self.run.api.lanes();
        let mut under_way = FuturesUnordered::new();
        let mut failed = None::<Error>;
        loop {
            let mut needs_lane = false;
            loop {
                let lane = if under_way.is_empty() { Some(lanes.first()) } else { lanes.another() };
                let Some(lane) = lane else {
                    needs_lane = true;
                    break;
                };
                let (now, left) = (Millis::now(), self.run.times.read_until.0 - Millis::now().0);
                match self.look(|state, stuck| schedule.next(state, stuck, now, left)) {
                    Step::Wait | Step::Done => break,
                    step => under_way.push(self.step(facts, step, lane)),
                }
            }
            tokio::select! {
                biased;
                ended = under_way.next() => match ended {
                    None => return failed.map_or(Ok(()), Err),
                    Some(Ok(ended)) => {
                        if matches!(ended.outcome, Outcome::OutOfTime { .. }) {
                            failed.get_or_insert(ApiError::OutOfTime.into());
                        }
                        self.tell(facts, schedule, ended);
                    }
                    Some(Err(error)) => {
                        schedule.stop();
                        if failed.as_ref().is_none_or(Error::is_out_of_time) {
                            failed = Some(error);
                        }
                    }
                },
                () = lanes.room(), if needs_lane => {}
            }
        }
    }

    /// Does one step. An error is not this step's alone, and ends the stream's work in this run.
    async fn step(&self, facts: &'static Events, step: Step, _lane: Lane<'_>) -> Result<Ended, Error> {
        match step {
            Step::Count { span, patience } => self.count_gap(facts, span, patience).await,
            Step::Open(plan) => {
                let window = self.open(facts, plan.span).await?;
                self.finish(facts, &window, &plan).await
            }
            Step::Resume { window, may_be_cut } => self.resume(facts, window, may_be_cut).await,
            Step::Recount(recount) => self.recount(facts, recount).await,
            Step::Wait | Step::Done => unreachable!("nothing to do"),
        }
    }

    /// Puts what came of a step on the checkpoint, in one change with the reading that a manifest tells of.
    fn tell(&self, facts: &Events, schedule: &mut Schedule, ended: Ended) {
        let now = Millis::now();
        // In a warm container the first answer is the first word of the API's clock.
        schedule.lower_horizon(self.horizon());
        let Ended { outcome, done } = ended;
        let done = match (&outcome, done) {
            (Outcome::Counted { span, rows: 0 }, None) if span.to <= schedule.horizon() => {
                Some(self.empty(facts, *span))
            }
            (_, done) => done,
        };
        let covered = match &outcome {
            Outcome::Read { span, .. } | Outcome::Counted { span, rows: 0 } => done.as_ref().map(|_| *span),
            _ => None,
        };
        let recount = covered.and(done.as_ref()).and_then(|done| self.recount_of(done));
        let change = |state: &mut EventsState, stuck: &mut StuckList| {
            if let Some(span) = covered {
                state.cover(span);
                state.count_again(recount);
            }
            schedule.took(state, stuck, now, outcome);
        };
        match done {
            Some(done) => self.note(done, |checkpoint| {
                let (state, stuck) = checkpoint.events_and_stuck(self.stream);
                change(state, stuck);
            }),
            None => self.update_events(change),
        }
    }

    /// Counts a gap, to plan how it is cut.
    async fn count_gap(&self, facts: &'static Events, span: Span, patience: Patience) -> Result<Ended, Error> {
        let request = self.request(facts, span);
        Ok(match self.count(facts, &request, &self.patient(patience)).await {
            Ok(rows) => Outcome::Counted { span, rows },
            Err(ApiError::TooLarge { .. }) => Outcome::TooLarge { span, rows: None },
            Err(error) => {
                let error = Error::from(error);
                if !error.may_be_local() {
                    return Err(error);
                }
                Outcome::NotCounted { span, error: ErrorInfo::from(&error) }
            }
        }
        .into())
    }

    /// Reads a window that another run left open.
    async fn resume(&self, facts: &'static Events, window: Window, may_be_cut: bool) -> Result<Ended, Error> {
        let span = window.span;
        let plan = Schedule::plan_of(span, self.sizes(facts));
        if window.opened_by.is_of_nobody() {
            let window = self.take_over(window).await?;
            return self.finish(facts, &window, &plan).await;
        }
        if window.resumed >= MOST_DEATHS && !window.is_abandoned(Millis::now()) {
            let message = format!(
                "{} runs died while they read {} to {}; it is left alone until nothing that they sent can arrive any more, and is read in parts then",
                window.resumed, span.from, span.to
            );
            let error = ErrorInfo { error_type: ErrorType::FirstPartyGenericError, message };
            return Ok(Outcome::Unread { window, error, why: Why::KeepsBounds }.into());
        }
        let window = self.note_resumed(window).await?;
        if may_be_cut && self.may_be_cut(&window).await? {
            return Ok(Outcome::Died { span }.into());
        }
        self.finish(facts, &window, &plan).await
    }

    /// Of the span that was asked for, some may be left to the shards of a backfill. In a run for all that is owed, a
    /// recount may know of rows of a covered window that are not stored yet.
    fn outcome(&self) -> StreamOutcome {
        let is_partial = self.look(|state, _| match self.run.span {
            Some(span) => state.reserved.iter().any(|reserved| reserved.span.intersection(span).is_some()),
            None => state.recount.iter().any(Recount::has_more),
        });
        if is_partial { StreamOutcome::Partial } else { StreamOutcome::Complete }
    }

    /// The stream's part of the checkpoint, and what is stuck of it, to look at.
    fn look<T>(&self, look: impl FnOnce(&EventsState, &StuckList) -> T) -> T {
        self.run.ledger.read(|checkpoint| {
            let (nothing, none) = (EventsState::default(), StuckList::default());
            let state = checkpoint.events.get(&self.stream).unwrap_or(&nothing);
            look(state, checkpoint.stuck.get(&self.stream).unwrap_or(&none))
        })
    }

    /// The same, to change it.
    fn update_events<T>(&self, change: impl FnOnce(&mut EventsState, &mut StuckList) -> T) -> T {
        self.run.ledger.update(|checkpoint| {
            let (state, stuck) = checkpoint.events_and_stuck(self.stream);
            change(state, stuck)
        })
    }

    /// Windows end here at the latest, so that what is asked for lies before now minus settle.
    fn horizon(&self) -> Millis {
        (self.run.api.now() - self.run.settings.settle(self.stream)).floor(SECOND)
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
        (facts.request)(self.query.get_or_init(FileEventQuery::default), asked(span))
    }

    fn sizes(&self, facts: &Events) -> Sizes {
        Sizes { full_page: self.run.settings.page_size(self.stream, facts.list.max_page_size) }
    }

    /// Retries take at most half of the time that is left, so that a span that fails leaves time for others.
    fn patient(&self, patience: Patience) -> Caller<'_> {
        let now = Millis::now();
        let left = (self.run.times.read_until.0 - now.0).max(0);
        Caller { tries_once: patience != Patience::Full, retry_until: now + left / 2, ..self.caller() }
    }
}
