//! Cuts a span that fails by itself, until only its bad part is stuck.

use super::Schedule;
use crate::core::checkpoint::EventsState;
use crate::core::density::{SHORTEST, cut, halves};
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::{Intervals, Span};
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::{Millis, SECOND};

/// Once a stream has 400 stuck spans and recounts, a span that fails is no longer cut, and one with unreadable rows
/// is no longer kept open, so that the checkpoint stays small.
pub(super) const MOST_STUCK: usize = 400;
/// An inner part of a stuck span has stuck time on each side that is at least 16 times as long as itself. If samples of
/// the inner parts fail, only the parts near the ends of a long stuck span are requested.
const SOLID: i32 = 16;
/// This many samples in a row must fail.
const SAMPLES: usize = 3;
/// A span that an earlier run has tried, and that fails again, is tried in 4 parts.
const RETRIED_IN: u64 = 4;

impl Schedule {
    /// A new failure is tried in halves, down to the minimum length, and then waits for a later run. A span that an
    /// earlier run has tried is tried in a few parts, once.
    pub(super) fn split(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
        self.failures += 1;
        let is_retry = stuck.holding(span).is_some_and(|held| held.attempts > 0);
        let parts = match halves(span) {
            Some(halves) if !is_retry => halves.to_vec(),
            Some(_) if self.retried.within(span).is_empty() => cut(span, RETRIED_IN),
            _ => Vec::new(),
        };
        if parts.is_empty() || stuck.len() >= MOST_STUCK {
            return self.leave_stuck(stuck, now, span, error);
        }
        if is_retry {
            self.retried.insert(span);
        }
        stuck.split(span, parts, &error, now, false);
    }

    /// A later run tries the span again.
    pub(super) fn leave_stuck(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
        stuck.split(span, vec![span], &error, now, false);
        stuck.fail(StuckItem::Span(span), error, now);
        self.tried.insert(span);
    }

    /// Counts the inner parts of a long stuck span as tried, once some samples of them have failed.
    pub(super) fn pass_over_inner_parts(&mut self, state: &EventsState, stuck: &mut StuckList, now: Millis) {
        if stuck.iter().all(|stuck| stuck.attempts > 0 || stuck.span().is_none()) {
            return;
        }
        let inner = inner_parts(stuck);
        if self.failed_samples >= SAMPLES.min(inner.len()) {
            for (span, error) in inner {
                stuck.fail(StuckItem::Span(span), error, now);
                self.tried.insert(span);
            }
            self.failed_samples = 0;
        }
        stuck.merge_tried(now, &state.open.iter().map(|window| window.span).collect());
    }

    /// A short span to sample, in the middle of one of the inner parts of a long stuck span. If it can be read, what
    /// fails is scattered, and the parts beside it are tried as well.
    pub(super) fn sample(&self, stuck: &StuckList) -> Option<Span> {
        let inner = inner_parts(stuck);
        let at = match self.failed_samples {
            0 => inner.len().checked_sub(1)?,
            1 => 0,
            _ => inner.len() / 2,
        };
        let (part, _) = inner.get(at)?;
        let from = (part.from + part.length() / 2).floor(SECOND).max(part.from);
        Span::new(from, part.to.min(from + SHORTEST))
    }
}

/// Returns the longest of the parts that have not been tried, if stuck time goes on far on both sides of them, and
/// their errors.
fn inner_parts(stuck: &StuckList) -> Vec<(Span, ErrorInfo)> {
    let untried: Vec<(Span, &ErrorInfo)> = stuck
        .iter()
        .filter(|stuck| stuck.attempts == 0)
        .filter_map(|stuck| Some((stuck.span()?, &stuck.error)))
        .collect();
    let Some(longest) = untried.iter().map(|(span, _)| span.length()).max() else { return Vec::new() };
    let whole = stuck.spans();
    let inner = untried.into_iter().filter(|(span, _)| span.length() == longest && is_deep(*span, &whole));
    inner.map(|(span, error)| (span, error.clone())).collect()
}

fn is_deep(span: Span, stuck: &Intervals) -> bool {
    let around = stuck.iter().find(|around| around.contains(span.from));
    around.is_some_and(|around| (span.from - around.from).min(around.to - span.to) >= span.length() * SOLID)
}
