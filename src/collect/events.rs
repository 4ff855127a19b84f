//! Collects event streams by window: a loop that carries out the steps that [`Schedule`] returns, and reports their
//! outcomes to it.
//!
//! Each window is opened on the checkpoint, read until it agrees with the API's count, stored, and covered. Several
//! windows are read at once.

mod open;
mod read;
mod reading;
mod recount;
mod shown;
mod torn;
mod window;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tracing::warn;

use self::shown::Shown;
use super::suspects::Turn;
use super::{Collector, StreamOutcome};
use crate::collect::error::Error;
use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::density::{Left, Sizes, asked};
use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::{Intervals, Span};
use crate::core::manifest::ReadingEntry;
use crate::core::schedule::{CutReason, Outcome, Schedule, Step, Tries, UnreadReason, WindowPlan, needs_reading};
use crate::core::settings::FileEventQuery;
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::time::{MINUTE, Millis, SECOND};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::lanes::Lane;

/// The outcome of a step, and the reading that it finished, if it did.
struct StepResult {
    outcome: Outcome,
    reading: Option<FinishedReading>,
}

/// A window whose rows agree with the API's count, and are stored.
struct FinishedReading {
    span: Span,
    /// The entry for the next manifest.
    done: ReadingEntry,
    /// The hash of its rows, if they are few.
    rows_hash: Option<String>,
}

/// The change that a finished reading makes on the checkpoint.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Finished {
    /// The span is covered. Its part `gone` has expired instead.
    Covered { span: Span, done: ReadingEntry, recount: Option<Recount>, gone: Option<Span> },
    /// The API keeps none of the span any longer.
    Expired(Span),
}

impl From<Outcome> for StepResult {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, reading: None }
    }
}

/// A span that fails or isn't answered takes at most one of this many parts of a run.
const PARTS_OF_RUN: i32 = 2;

impl Collector<'_> {
    pub(super) async fn events(&self, facts: &'static Events) -> Result<StreamOutcome, Error> {
        // Read before the first request: all windows of the run use the same query.
        if self.stream == Stream::FileEvents {
            let source = &self.run.settings.file_event_query;
            let query = self.run.api.file_event_query(source, &self.caller()).await?;
            self.query.get_or_init(|| query.into_owned());
        }

        let recounts = self.due_recounts(facts);
        let horizon = self.horizon();
        self.update_events(|state, stuck| {
            self.note_gaps(facts, state, horizon);
            // A span that was covered or has expired isn't stuck any more, nor is a recount that is no longer planned.
            stuck.keep_within(&state.due(horizon));
            let counts = counts(facts);
            stuck.keep_recounts(|span| counts && state.recount.iter().any(|recount| recount.span == span));
        });

        let longest_uncounted = match facts.total {
            Total::Nowhere { longest, .. } => {
                self.learn_api_clock(facts, horizon).await?;
                Some(longest)
            }
            Total::InPage | Total::Endpoint { .. } => None,
        };
        let mut schedule = self.read_state(|state, _| {
            Schedule::new(state, self.sizes(facts), self.horizon(), self.run.span, longest_uncounted, recounts)
        });
        schedule.cut_at(self.kept_from(facts));

        let ended = self.follow(facts, &mut schedule).await;
        let failed = schedule.failure().or(schedule.unclear()).map(|told| self.of_api(told));
        match (ended, failed) {
            (Err(error), Some(failed)) if error.is_out_of_time() => Err(failed),
            (Err(error), _) => Err(error),
            (Ok(()), Some(failed)) => Err(failed),
            (Ok(()), None) => match self.covered_ahead() {
                Some(covered_to) => Err(Error::CoveredAhead { covered_to }),
                None => Ok(self.outcome(facts)),
            },
        }
    }

    /// The end of the covered time, if it is still to come.
    fn covered_ahead(&self) -> Option<Millis> {
        let end = self.read_state(|state, _| state.covered.end()).filter(|_| self.run.span.is_none())?;
        (end > Millis::now() + MINUTE).then_some(end)
    }

    /// Does one step after the other, in as many lanes as the limit allows. After an error that isn't about one window
    /// it begins no more steps and finishes those that run.
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

                let (now, until) = (Millis::now(), self.run.times.read_until);
                let planned = usize::try_from(schedule.requests_under_way()).unwrap_or(usize::MAX);
                let requests = self.run.api.budget().plan(self.stream, planned, now, until) as u64;
                let left = Left { time: until - now, requests };
                match self.read_state(|state, stuck| schedule.next(state, stuck, now, left)) {
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
                        self.apply(facts, schedule, ended);
                    }
                    Some(Err(error)) => {
                        schedule.stop();
                        if !error.is_out_of_time() {
                            self.tally.failed_windows.add(1);
                        }
                        if failed.as_ref().is_none_or(Error::is_out_of_time) {
                            failed = Some(error);
                        } else if !error.is_out_of_time() {
                            warn!(stream = %self.stream, %error, "a further window failed; only the first failure is in the answer");
                        }
                    }
                },
                () = lanes.room(), if needs_lane => {}
            }
        }
    }

    /// Does one step. Returns an error only if it ends the stream's work in this run.
    async fn step(&self, facts: &'static Events, step: Step, _lane: Lane<'_>) -> Result<StepResult, Error> {
        match step {
            Step::Count { span, tries } => self.count_gap(facts, span, tries).await,
            Step::Open(plan) => {
                let _turn = self.last_turn(plan.alone, 1).await;
                let window = self.open(facts, plan.span).await?;
                self.finish(facts, &window, &plan).await
            }
            Step::TakeOver(window) => {
                let plan = WindowPlan::of_left(window.span, self.sizes(facts));
                let request = self.request_for(facts, &window);
                let window = self.take_over(window, request).await?;
                self.finish(facts, &window, &plan).await
            }
            Step::Resume { window, alone } => {
                let _turn = self.last_turn(alone, window.resumed).await;
                self.resume(facts, window).await
            }
            Step::Recount(recount) => self.recount(facts, recount).await,
            Step::Wait | Step::Done => unreachable!("nothing to do"),
        }
    }

    /// Puts a step's outcome on the checkpoint, in the same update as the reading for the manifest.
    fn apply(&self, facts: &Events, schedule: &mut Schedule, ended: StepResult) {
        let now = Millis::now();
        // A warm container learns the API's clock from the run's first answer.
        schedule.lower_horizon(self.horizon());
        let StepResult { outcome, reading } = ended;
        let failed = outcome.failed().map(|(what, error)| (what, error.clone()));
        let reading = reading.or_else(|| self.empty_reading(facts, schedule, &outcome));

        match reading.map(|reading| self.finished(schedule, reading)) {
            Some(Finished::Covered { span, done, recount, gone }) => {
                if let Some(gone) = gone {
                    self.report_newly_expired(gone);
                }
                let set_aside = done.set_aside.len() as u64;
                let readable = done.rows.saturating_sub(set_aside);
                self.note(done, |checkpoint| {
                    let (state, stuck) = checkpoint.events_and_stuck(self.stream);
                    if let Some(gone) = gone {
                        state.give_up(gone);
                    }
                    state.cover(span);
                    state.count_again(recount);
                    state.note_rows(readable, set_aside);
                    schedule.apply(state, stuck, now, outcome);
                });
            }
            Some(Finished::Expired(span)) => {
                self.report_newly_expired(span);
                self.update_events(|state, stuck| {
                    state.give_up(span);
                    schedule.apply(state, stuck, now, outcome);
                });
            }
            None => self.update_events(|state, stuck| schedule.apply(state, stuck, now, outcome)),
        }

        let Some((what, error)) = failed else { return };
        self.tally.failed_windows.add(1);
        // A span that is cut further is logged once its parts are known.
        if schedule.is_unclear_about(&what) || self.read_state(|_, stuck| stuck.get(&what).is_some()) {
            warn!(stream = %self.stream, what = %what, error = error.message, "the span can't be read");
        }
    }

    /// A span that the API counts as empty is finished without a request for its rows.
    fn empty_reading(&self, facts: &Events, schedule: &Schedule, outcome: &Outcome) -> Option<FinishedReading> {
        let Outcome::Counted { span, rows: 0 } = *outcome else { return None };
        let is_finished = span.to <= schedule.horizon() && !self.read_state(|_, stuck| needs_reading(stuck, span));
        is_finished.then(|| {
            let (done, rows_hash) = (self.empty(facts, span), Shown::default().hash());
            FinishedReading { span, done, rows_hash }
        })
    }

    fn finished(&self, schedule: &Schedule, reading: FinishedReading) -> Finished {
        let FinishedReading { span, done, rows_hash } = reading;
        let gone = schedule.before_edge(span).and_then(|before_edge| expired_part(before_edge, &done));
        if gone == Some(span) {
            return Finished::Expired(span);
        }
        let recount = self.recount_of(&done, rows_hash);
        Finished::Covered { span, done, recount, gone }
    }

    /// Whether an error may be about one span only. A refusal may be if the stream was answered before.
    fn may_be_of_one_span(&self, error: &Error) -> bool {
        error.may_be_local() || self.has_worked && error.may_be_local_or_refused()
    }

    /// Returns an error that may be about one span only; any other ends the stream's run. A refusal is kept, in case
    /// that all of the stream turns out to be refused.
    fn of_one_span(&self, error: Error) -> Result<Error, Error> {
        if error.may_be_local() {
            return Ok(error);
        }
        if !self.may_be_of_one_span(&error) {
            return Err(error);
        }
        let info = error.info_for_one();
        self.refusals.lock().push(error);
        Ok(Error::Noted(info))
    }

    /// Returns the error of an API that fails as a whole. If it is a refusal that was kept, returns the refusal, which
    /// is judged for the stream.
    fn of_api(&self, told: &ErrorInfo) -> Error {
        let mut refusals = self.refusals.lock();
        match refusals.iter().position(|refusal| refusal.info_for_one() == *told) {
            Some(at) => refusals.swap_remove(at),
            None => Error::Noted(told.clone()),
        }
    }

    /// Counts a gap, to plan how to cut it.
    async fn count_gap(&self, facts: &'static Events, span: Span, tries: Tries) -> Result<StepResult, Error> {
        let request = self.request(facts, span);
        Ok(match self.count(facts, &request, &self.patient(tries, PARTS_OF_RUN, self.attempts(span))).await {
            Ok(rows) => Outcome::Counted { span, rows },
            Err(ApiError::TooLarge { .. }) => Outcome::Cut { span, why: CutReason::TooLarge { rows: None } },
            Err(error) => {
                let error = self.of_one_span(error.into())?;
                Outcome::NotCounted { span, error: ErrorInfo::from(&error) }
            }
        }
        .into())
    }

    /// Waits for the turn of a window at which runs died (`is_suspect`). `more` is how many died there after the first.
    /// None at once for other windows.
    async fn last_turn(&self, is_suspect: bool, more: u32) -> Option<Turn<'_>> {
        if !is_suspect {
            return None;
        }
        let left = self.run.times.read_until.since(Millis::now());
        Some(self.run.suspects.turn(self.throttled.last_run, more > 0, left / PARTS_OF_RUN.unsigned_abs()).await)
    }

    /// Reads a window that a run left open when it died or failed.
    async fn resume(&self, facts: &'static Events, window: Window) -> Result<StepResult, Error> {
        let span = window.span;
        if let Some(until) = window.rests_until().filter(|until| Millis::now() <= *until) {
            let message = format!(
                "{} runs died while they read {} to {}; the window is left alone until {until}, when none of their requests can still arrive, and then read in parts",
                window.resumed, span.from, span.to
            );
            let error = ErrorInfo { error_type: ErrorType::FirstPartyGenericError, message };
            return Ok(Outcome::Unread { window, error, why: UnreadReason::KeepsBounds }.into());
        }
        let request = self.request_for(facts, &window);
        let has_killed_several = window.resumed > 0;
        let window = self.note_resumed(window, request).await?;
        if has_killed_several && self.may_be_cut(&window).await? {
            return Ok(Outcome::Died { span }.into());
        }
        let plan = WindowPlan::of_left(span, self.sizes(facts));
        let ended = self.finish(facts, &window, &plan).await;
        self.note_survived(&window);
        ended
    }

    /// The result if all steps succeeded. Partial if shards of a backfill read a part of the span that was asked for,
    /// or if a recount found rows that aren't stored yet.
    fn outcome(&self, facts: &Events) -> StreamOutcome {
        let is_partial = self.read_state(|state, _| match self.run.span {
            Some(span) => state.reserved.iter().any(|reserved| reserved.span.intersection(span).is_some()),
            None => counts(facts) && state.recount.iter().any(Recount::has_more),
        });
        if is_partial { StreamOutcome::Partial } else { StreamOutcome::Complete }
    }

    /// Looks at the stream's state and stuck list on the checkpoint.
    fn read_state<T>(&self, look: impl FnOnce(&EventsState, &StuckList) -> T) -> T {
        self.run.ledger.read(|checkpoint| {
            let (nothing, none) = (EventsState::default(), StuckList::default());
            let state = checkpoint.events.get(&self.stream).unwrap_or(&nothing);
            look(state, checkpoint.stuck.get(&self.stream).unwrap_or(&none))
        })
    }

    /// Changes the stream's state and stuck list on the checkpoint.
    fn update_events<T>(&self, change: impl FnOnce(&mut EventsState, &mut StuckList) -> T) -> T {
        self.run.ledger.update(|checkpoint| {
            let (state, stuck) = checkpoint.events_and_stuck(self.stream);
            change(state, stuck)
        })
    }

    /// The latest end of a window: now minus settle, in whole seconds.
    fn horizon(&self) -> Millis {
        (self.run.api.now() - self.run.settings.settle(self.stream)).floor(SECOND)
    }

    fn note_gaps(&self, facts: &Events, state: &mut EventsState, horizon: Millis) {
        if let Some(span) = self.run.span {
            state.asked.insert(span);
        } else {
            let lookback = self.run.settings.lookback;
            state.live_from.get_or_insert((self.run.api.now() - lookback).floor(SECOND));
        }
        if facts.retention.is_some() {
            self.report_expired(&state.expire(horizon.min(self.kept_from(facts))));
        }
        // A run that is asked for a span reports its expired parts again.
        if let Some(span) = self.run.span {
            self.report_expired(&state.expired.within(span));
        }
    }

    /// Returns the time before which the API keeps no records: by its own rule, or by the tenant's plan.
    fn kept_from(&self, facts: &Events) -> Millis {
        let retention = facts.retention.unwrap_or(self.run.settings.file_events_retention);
        (self.run.api.now() - retention).floor(SECOND)
    }

    /// Reports the part of a newly expired span that no run has reported.
    fn report_newly_expired(&self, span: Span) {
        let gone = Intervals::from(vec![span]);
        self.report_expired(&self.read_state(|state, _| gone.without(&state.expired)));
    }

    fn report_expired(&self, gone: &Intervals) {
        let mut expired = self.tally.expired.lock();
        for span in gone.iter() {
            warn!(stream = %self.stream, from = %span.from, to = %span.to, "expired: the span was not collected in time, and the API no longer keeps it");
            expired.insert(span);
        }
    }

    /// The request for a window, including its margin.
    fn request(&self, facts: &Events, span: Span) -> Value {
        (facts.request)(self.query.get_or_init(FileEventQuery::default), asked(span))
    }

    /// The request with which a window was opened. A recovery opens windows without one, and `INCYDR_API_DIALECT` may
    /// have been another: then the present one.
    fn request_for(&self, facts: &Events, window: &Window) -> Value {
        let present = self.request(facts, window.span);
        let is_alike = match (&window.request, &present) {
            (Value::Object(opened), Value::Object(present)) => opened.keys().eq(present.keys()),
            _ => false,
        };
        if is_alike { window.request.clone() } else { present }
    }

    fn sizes(&self, facts: &Events) -> Sizes {
        Sizes { full_page: self.page_size(&facts.list) }
    }
}

/// Whether the API counts anything. If not, recounts wait until the other dialect is set.
fn counts(facts: &Events) -> bool {
    !matches!(facts.total, Total::Nowhere { .. })
}

/// Returns `before_edge`, the part of a window that the API no longer keeps, if the reading showed none of its records.
/// That part has expired: whether it ever had records is unknown.
fn expired_part(before_edge: Span, done: &ReadingEntry) -> Option<Span> {
    let shows_none = done.set_aside.is_empty() && done.objects.iter().all(|object| object.first >= before_edge.to);
    shows_none.then_some(before_edge)
}
