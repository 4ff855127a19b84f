//! The schedule of an event stream: it decides what a run does next, from the stream's part of the checkpoint, from the
//! outcomes of this run, and from the time that is left. It does no I/O and reads no clock: `collect::events` carries
//! out each step and reports its outcome.
//!
//! Order of work: windows that an earlier run left, gaps (oldest first), windows at which a run died, recounts, and
//! last stuck spans, the longest first. A span that fails is halved until only seconds around the fault are left.

mod choose;
mod doubt;
mod learn;
mod outcome;
mod split;
mod step;

use std::collections::VecDeque;

use chrono::TimeDelta;

pub use self::learn::needs_reading;
pub use self::outcome::{CutReason, Leftover, Outcome, UnreadReason};
pub use self::step::{Step, Tries, WindowPlan};
use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::density::{Density, Pace, Sizes};
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::{Intervals, Span};
use crate::core::time::Millis;

/// After 3 failed spans in a row, windows are tried once only.
const PATIENCE_ENDS_AFTER: u32 = 3;
/// After 3 failed recounts in a row this run makes no more of them. After 3 failed windows in a row of a stream whose
/// rows the API doesn't count, the API fails as a whole. After 3 windows in a row that S3 doesn't take, S3 does.
const FAILURES_IN_A_ROW: u32 = 3;

pub struct Schedule {
    horizon: Millis,
    /// The run was asked for this span only.
    bounds: Option<Span>,
    /// The API may not keep records before this instant. A gap is cut here, so that a planned window lies on one side
    /// of it.
    edge: Option<Millis>,
    sizes: Sizes,
    /// Maximum length of a window, where the API counts no rows.
    uncounted: Option<TimeDelta>,
    /// Maximum length of a span to count: the API takes too long over a longer one.
    longest_count: TimeDelta,
    /// Maximum rows and length of a window: the API takes too long over more.
    most_rows: u64,
    longest_window: TimeDelta,
    /// The most that the API has answered in this run.
    proven: Proven,
    density: Density,
    pace: Pace,
    /// Open windows of which a run stored nothing.
    left: VecDeque<Window>,
    /// Open windows of runs that died.
    died: VecDeque<Window>,
    recounts: VecDeque<Recount>,
    /// New failures of recounts in a row.
    failed_recounts: u32,
    /// Stuck spans that this run has tried, and does not try again.
    tried: Intervals,
    /// Stuck spans that failed again in this run, and are tried in parts.
    retried: Intervals,
    /// The number of inner parts of a long stuck span that were sampled and failed, in a row.
    failed_samples: usize,
    /// Set if the last stuck span of minimum length that this run tried could be read. Then the others are read without
    /// a count.
    is_healing: bool,
    under_way: Vec<Task>,
    doubt: Doubt,
    /// S3 has taken an object of the stream in this run.
    has_stored: bool,
    /// Windows for which S3 failed before it took any object.
    unstored: Vec<(Span, ErrorInfo)>,
    /// New windows in a row for which S3 failed.
    failed_writes: u32,
    /// Failed spans since the last window that had rows.
    failures: u32,
    verdict: Option<Halt>,
}

/// The longest span that was counted, the longest that was read, and the most rows.
#[derive(Clone, Copy, Debug, Default)]
struct Proven {
    counted: TimeDelta,
    read: TimeDelta,
    rows: u64,
}

/// A step that was begun and has not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Task {
    kind: TaskKind,
    span: Span,
    /// No other step may run beside it.
    is_alone: bool,
    /// Maximum rows of a window that this run planned.
    most_rows: u64,
    /// The requests that it needs, sent or not.
    requests: u64,
    /// The greatest number of steps that were under way together with it, itself included.
    at_once: usize,
}

/// New failures since the API last answered as it should.
#[derive(Debug, Default)]
struct Doubt {
    failed: Vec<(Span, ErrorInfo)>,
    /// Set if a span was counted and its rows could not be read. Then another count doesn't clear the doubt.
    is_of_rows: bool,
    failures: u32,
    probes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskKind {
    Gap,
    Recount,
    Stuck,
    /// A short span within a long stuck one, to see whether all of that fails.
    Sample,
}

/// The reason for which the run begins no further step.
#[derive(Debug, PartialEq)]
enum Halt {
    Fails(ErrorInfo),
    Stopped,
}

impl Schedule {
    /// `longest_uncounted` is set for a stream whose rows the API doesn't count. The open windows of `state` belong to
    /// no live run: an earlier run left them, or died.
    pub fn new(
        state: &EventsState,
        sizes: Sizes,
        horizon: Millis,
        bounds: Option<Span>,
        longest_uncounted: Option<TimeDelta>,
        recounts: VecDeque<Recount>,
    ) -> Self {
        let mut open = state.open.clone();
        open.sort_by_key(|window| window.span);
        let (left, mut died): (Vec<_>, Vec<_>) = open.into_iter().partition(|window| window.opened_by.is_of_nobody());
        // The window at which most runs died comes last.
        died.sort_by_key(|window| window.resumed);
        Self {
            horizon,
            bounds,
            edge: None,
            sizes,
            uncounted: longest_uncounted,
            longest_count: TimeDelta::MAX,
            most_rows: u64::MAX,
            longest_window: TimeDelta::MAX,
            proven: Proven::default(),
            density: Density::default(),
            pace: Pace::default(),
            left: left.into(),
            died: died.into(),
            recounts,
            failed_recounts: 0,
            tried: Intervals::default(),
            retried: Intervals::default(),
            failed_samples: 0,
            is_healing: false,
            under_way: Vec::new(),
            doubt: Doubt::default(),
            has_stored: false,
            unstored: Vec::new(),
            failed_writes: 0,
            failures: 0,
            verdict: None,
        }
    }

    /// Windows end or begin at this instant, and don't reach across.
    pub fn cut_at(&mut self, edge: Millis) {
        self.edge = Some(edge);
    }

    /// Returns the part of a span before that instant. The instant stays what it was when the run began: by the end of
    /// a reading the API's clock may be known to be behind.
    pub fn before_edge(&self, span: Span) -> Option<Span> {
        Span::new(span.from, span.to.min(self.edge?))
    }

    /// The API's clock turned out to be behind: no window may end after this instant.
    pub fn lower_horizon(&mut self, horizon: Millis) {
        self.horizon = self.horizon.min(horizon);
    }

    pub fn horizon(&self) -> Millis {
        self.horizon
    }

    /// The requests that the steps under way need, sent or not.
    pub fn requests_under_way(&self) -> u64 {
        self.under_way.iter().map(|task| task.requests).sum()
    }

    /// Begins no further step in this run.
    pub fn stop(&mut self) {
        self.verdict.get_or_insert(Halt::Stopped);
    }

    /// The error by which the API or S3 fails as a whole; `None` where neither does.
    pub fn failure(&self) -> Option<&ErrorInfo> {
        match &self.verdict {
            Some(Halt::Fails(error)) => Some(error),
            _ => None,
        }
    }

    fn is_reading(&self) -> bool {
        self.under_way.iter().any(|task| task.kind != TaskKind::Recount)
    }
}

#[cfg(test)]
mod tests;
