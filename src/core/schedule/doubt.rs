//! Decides whether one span fails or the whole API. After a new failure, short spans elsewhere are read. Where one of
//! them can be read, the span that failed is stuck. Where none can, the API fails as a whole, and nothing is stuck.

use chrono::TimeDelta;

use super::step::{Step, Tries};
use super::{Doubt, FAILURES_IN_A_ROW, Halt, Schedule};
use crate::core::checkpoint::EventsState;
use crate::core::density::{Left, SHORTEST};
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::{Intervals, Span};
use crate::core::stuck::{Stuck, StuckItem, StuckList};
use crate::core::time::{Millis, SECOND, scaled};

/// The API fails as a whole when 6 probes in a row fail.
const PROBES: u32 = 6;

impl Doubt {
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The spans that failed.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.failed.iter().map(|(span, _)| *span)
    }
}

impl Schedule {
    /// Called at the end of a run. Returns the error of the first failed span of which the run could not find out
    /// whether the span fails by itself, or the API or S3 as a whole.
    pub fn unclear(&self) -> Option<&ErrorInfo> {
        self.doubt.failed.first().or(self.unstored.first()).map(|(_, error)| error)
    }

    /// Whether a span failed and no other answer has explained it yet.
    pub fn is_unclear_about(&self, what: &StuckItem) -> bool {
        let unstored = self.unstored.iter().map(|(span, _)| *span);
        self.doubt.spans().chain(unstored).any(|failed| *what == StuckItem::Span(failed))
    }

    /// The API failed for one span. Only a new failure raises the doubt.
    pub(super) fn fail(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo, is_of_rows: bool) {
        if stuck.holding(span).is_some() {
            return self.split(stuck, now, span, error);
        }
        self.doubt.is_of_rows |= is_of_rows;
        self.doubt.failures += 1;
        if !self.doubt.spans().any(|failed| failed.intersection(span).is_some()) {
            self.doubt.failed.push((span, error.clone()));
        }
        if self.uncounted.is_some() && self.doubt.failures >= FAILURES_IN_A_ROW {
            self.verdict.get_or_insert(Halt::Fails(error));
        }
    }

    /// The API answered, so each span that failed meanwhile fails by itself.
    pub(super) fn note_api_works(&mut self, stuck: &mut StuckList, now: Millis) {
        for (span, error) in std::mem::take(&mut self.doubt).failed {
            self.split(stuck, now, span, error);
        }
    }

    /// S3 failed for one window. If it has taken another one in this run, the window is stuck.
    pub(super) fn not_stored(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
        if stuck.holding(span).is_some() {
            return stuck.fail(StuckItem::Span(span), error, now);
        }
        self.unstored.push((span, error.clone()));
        self.failed_writes += 1;
        if self.failed_writes >= FAILURES_IN_A_ROW {
            self.verdict.get_or_insert(Halt::Fails(error));
        }
        if self.has_stored {
            self.leave_unstored(stuck, now);
        }
    }

    /// S3 took an object, so each window for which it failed meanwhile is stuck.
    pub(super) fn note_s3_works(&mut self, stuck: &mut StuckList, now: Millis) {
        (self.has_stored, self.failed_writes) = (true, 0);
        self.leave_unstored(stuck, now);
    }

    fn leave_unstored(&mut self, stuck: &mut StuckList, now: Millis) {
        for (span, error) in self.unstored.drain(..) {
            stuck.fail(StuckItem::Span(span), error, now);
        }
    }

    /// The API counted. That proves that it works where only counts had failed.
    pub(super) fn note_api_counts(&mut self, stuck: &mut StuckList, now: Millis) {
        if !self.doubt.is_of_rows {
            self.note_api_works(stuck, now);
        }
    }

    /// The next probe, or the verdict that the API fails. None with the verdict, and while a step is under way whose
    /// outcome may clear the doubt.
    pub(super) fn clear_doubt(
        &mut self,
        gaps: &Intervals,
        state: &EventsState,
        stuck: &StuckList,
        now: Millis,
        left: Left,
    ) -> Option<Step> {
        if self.is_reading() {
            // The outcome of a step under way may clear the doubt.
            return None;
        }
        if self.uncounted.is_some() {
            let newest = gaps.iter().last()?;
            return self.plan(newest, state, Tries::Once, left);
        }
        if self.doubt.probes >= PROBES {
            let error = self.unclear().cloned()?;
            self.verdict.get_or_insert(Halt::Fails(error));
            return None;
        }
        let due = stuck.iter().filter(|stuck| stuck.next_try <= now).filter_map(Stuck::span);
        let unread = self.unread(state);
        let unread: Intervals =
            due.flat_map(|span| unread.within(span).iter().collect::<Vec<_>>()).chain(gaps.iter()).collect();
        let span = self.probe(&unread, now)?;
        self.doubt.probes += 1;
        Some(self.open(span, None, None, self.sizes.most(), Tries::Probe))
    }

    /// A span of minimum length to probe: first at the end of all unread time, then at its beginning, then at points
    /// that depend on the clock, so that the next run probes others.
    fn probe(&self, unread: &Intervals, now: Millis) -> Option<Span> {
        // The horizon may have been lowered since a span failed.
        let failed = self.doubt.spans().filter_map(|failed| Span::new(failed.from, failed.to.min(self.horizon)));
        let unread: Intervals = unread.iter().chain(failed).collect();
        let length: TimeDelta = unread.iter().map(Span::length).sum();
        let permille = match self.doubt.probes {
            0 => 1_000,
            1 => 0,
            // Steps of 0.618 of the length give evenly spread points.
            n => (now.0 / 1_000 + i64::from(n)).rem_euclid(1_000).unsigned_abs() * 618 % 1_000,
        };
        let mut before = scaled(length, permille, 1_000);
        for span in unread.iter() {
            if before <= span.length() {
                let offset = before.min(span.length() - SHORTEST).max(TimeDelta::zero());
                let at = (span.from + offset).floor(SECOND).max(span.from);
                return Some(Span { from: at, to: (at + SHORTEST).min(span.to) });
            }
            before -= span.length();
        }
        None
    }
}
