//! Takes in the outcome of a step: changes the stream's part of the checkpoint and the stuck spans, and notes what the
//! later steps of this run need to know.

use chrono::TimeDelta;

use super::outcome::{CutReason, Leftover, Outcome, UnreadReason};
use super::{FAILURES_IN_A_ROW, Proven, Schedule, Task, TaskKind};
use crate::core::checkpoint::{EventsState, Window};
use crate::core::density::{SHORTEST, cut, halves};
use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::{DAY, Millis, millis};

/// A window at which runs died is read in 4 parts.
const DIED_IN: u64 = 4;

impl Schedule {
    /// Applies the outcome of a step to the stream's state and to its stuck spans. The caller, `collect::events`,
    /// covers windows and gives expired ones up.
    pub fn apply(&mut self, state: &mut EventsState, stuck: &mut StuckList, now: Millis, outcome: Outcome) {
        let task = self.under_way.iter().find(|task| outcome.ends(task));
        let (most_rows, at_once) = task.map_or((u64::MAX, 1), |task| (task.most_rows, task.at_once));
        let was_read = matches!(outcome, Outcome::Read { .. });
        match task {
            Some(Task { kind: TaskKind::Sample, .. }) => {
                self.failed_samples = if was_read { 0 } else { self.failed_samples + 1 };
            }
            Some(Task { kind: TaskKind::Stuck, span, .. })
                if halves(*span).is_none() && !matches!(outcome, Outcome::Counted { .. }) =>
            {
                self.is_healing = was_read;
            }
            _ => {}
        }
        self.under_way.retain(|task| !outcome.ends(task));
        match outcome {
            Outcome::Counted { span, rows } => self.counted(state, stuck, now, span, rows),
            Outcome::NotCounted { span, error } => self.fail(stuck, now, span, error, false),
            Outcome::Read { span, rows, inside, bytes, took } => {
                self.note_api_works(stuck, now);
                if bytes > 0 {
                    self.note_s3_works(stuck, now);
                }
                if rows > 0 {
                    self.failures = 0;
                }
                self.pace.note(rows, bytes, took, self.sizes.pages(rows), at_once);
                self.density.note_read(span, inside, self.sizes.most().min(most_rows));
                self.proven.read = self.proven.read.max(span.length());
                self.proven.rows = self.proven.rows.max(rows);
                self.longest_window = self.longest_window.checked_mul(2).unwrap_or(TimeDelta::MAX);
                stuck.cut_out(span);
                state.window_rows = state.window_rows.map(|rows| 2 * rows).filter(|rows| *rows < self.sizes.most());
                let length = state.window_length * 2;
                let is_usual = self.uncounted.is_none_or(|longest| length >= longest);
                state.window_length = if is_usual { TimeDelta::zero() } else { length };
            }
            Outcome::Cut { span, why } => {
                withdraw(state, span);
                self.cut(state, stuck, now, span, why, at_once);
            }
            Outcome::TooEarly { span, leaves } => {
                self.note_api_works(stuck, now);
                if leaves != Leftover::Stored {
                    withdraw(state, span);
                }
            }
            Outcome::Unread { window, error, why } => self.not_read(state, stuck, now, window.span, error, why),
            Outcome::Died { span } => {
                withdraw(state, span);
                stuck.split(span, cut(span, DIED_IN), &died(span), now, true);
            }
            Outcome::NotStored { window, error } => {
                self.note_api_works(stuck, now);
                self.not_stored(stuck, now, window.span, error);
            }
            Outcome::OutOfTime { window, most_rows, leaves } => self.ran_out(state, &window, most_rows, leaves),
            Outcome::Recounted { span } => {
                self.failed_recounts = 0;
                self.note_api_works(stuck, now);
                stuck.heal(&StuckItem::Recount(span));
            }
            Outcome::RecountCut { parts, .. } => {
                self.note_api_works(stuck, now);
                for part in parts.into_iter().rev() {
                    self.recounts.push_front(part);
                }
            }
            Outcome::RecountWaits { .. } => self.stop(),
            Outcome::RecountGoesOn(recount) => self.recounts.push_back(recount),
            Outcome::NotRecounted { span, error } => self.not_recounted(stuck, now, span, error),
        }
        self.pass_over_inner_parts(state, stuck, now);
    }

    /// The API counted a span. One without rows is covered by its count.
    fn counted(&mut self, state: &mut EventsState, stuck: &mut StuckList, now: Millis, span: Span, rows: u64) {
        self.note_api_counts(stuck, now);
        if span.to > self.horizon {
            // The horizon was lowered meanwhile, so the count is of no use.
            return;
        }
        self.density.note_count(span, rows);
        self.proven.counted = self.proven.counted.max(span.length());
        let length = state.window_length * 2;
        state.window_length = if length >= DAY { TimeDelta::zero() } else { length };
        if rows == 0 && !needs_reading(stuck, span) {
            stuck.cut_out(span);
        }
    }

    /// A span is a gap again, of which more is known now.
    fn cut(
        &mut self,
        state: &mut EventsState,
        stuck: &mut StuckList,
        now: Millis,
        span: Span,
        why: CutReason,
        at_once: usize,
    ) {
        match why {
            CutReason::TooLarge { rows } => self.too_large(state, stuck, now, span, rows),
            CutReason::TooDense { rows } => {
                self.note_api_counts(stuck, now);
                self.density.note_too_dense(span, rows);
            }
            CutReason::Capped { cap } => {
                self.note_api_works(stuck, now);
                self.density.note_cap(cap);
                self.density.note_count(span, cap);
            }
            CutReason::TooHeavy { total: ..=1, .. } => {
                // A window with one row can't be cut by its rows, so it is cut by its length.
                self.note_api_works(stuck, now);
                self.split(stuck, now, span, too_heavy(span));
            }
            CutReason::TooHeavy { rows, bytes, total } => {
                self.note_api_works(stuck, now);
                self.pace.note(rows, bytes, millis(1), self.sizes.pages(rows), at_once);
                self.density.note_too_dense(span, total);
            }
        }
    }

    /// Called if the API took too long over a span. If it answered an equally large request in this run, or the span is
    /// stuck, only this span is slow: it is tried in parts. Otherwise the next counts (or windows) of this run are half
    /// as long. A span of minimum length can't be halved: it fails like any other.
    fn too_large(
        &mut self,
        state: &mut EventsState,
        stuck: &mut StuckList,
        now: Millis,
        span: Span,
        rows: Option<u64>,
    ) {
        let Some([half, _]) = halves(span) else {
            // The limits were lowered step by step because of this one span, so they are lifted.
            (self.longest_count, self.most_rows, self.longest_window) = (TimeDelta::MAX, u64::MAX, TimeDelta::MAX);
            return self.fail(stuck, now, span, takes_too_long(span), rows.is_some());
        };
        let Proven { counted, read, rows: most_rows } = self.proven;
        let is_its_own = rows.map_or(span.length() <= counted, |rows| span.length() <= read && rows <= most_rows);
        if is_its_own || stuck.holding(span).is_some() {
            return self.split(stuck, now, span, takes_too_long(span));
        }
        match rows {
            None => self.longest_count = half.length(),
            Some(rows) => {
                self.most_rows = self.most_rows.min((rows / 2).max(1));
                self.longest_window = half.length();
            }
        }
        if self.pace.is_unknown() {
            // A run that ends before it has read anything leaves this to the next one.
            state.window_length = half.length();
        }
    }

    /// A window that was not read is tried in parts, unless it keeps its bounds or its rows can't be read.
    fn not_read(
        &mut self,
        state: &mut EventsState,
        stuck: &mut StuckList,
        now: Millis,
        span: Span,
        error: ErrorInfo,
        why: UnreadReason,
    ) {
        if !matches!(why, UnreadReason::Kept { .. } | UnreadReason::KeepsBounds) {
            withdraw(state, span);
        }
        if !matches!(why, UnreadReason::Failed | UnreadReason::KeepsBounds) {
            self.note_api_works(stuck, now);
        }
        let mut unreadable = 0;
        match why {
            UnreadReason::Kept { unreadable: rows } => {
                self.failures += 1;
                stuck.fail(StuckItem::Span(span), error, now);
                unreadable = rows;
            }
            UnreadReason::KeepsBounds => stuck.fail(StuckItem::Span(span), error, now),
            UnreadReason::Unreadable { rows } => {
                self.leave_stuck(stuck, now, span, error);
                unreadable = rows;
            }
            UnreadReason::Disagreed => self.split(stuck, now, span, error),
            UnreadReason::Failed => self.fail(stuck, now, span, error, true),
        }
        if unreadable > 0 {
            stuck.note_unreadable(span, unreadable);
        }
    }

    fn not_recounted(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
        let is_new = stuck.get(&StuckItem::Recount(span)).is_none();
        stuck.fail(StuckItem::Recount(span), error, now);
        self.failed_recounts += u32::from(is_new);
        if self.failed_recounts >= FAILURES_IN_A_ROW {
            // The other recounts may fail for the same reason. The next run tries them.
            self.recounts.clear();
        }
    }

    /// The run's time was over before a window was read.
    fn ran_out(&mut self, state: &mut EventsState, window: &Window, rows: u64, leaves: Leftover) {
        self.stop();
        match leaves {
            Leftover::Stored => {}
            // It is already smaller than usual. The next run reads it first, without planning.
            Leftover::Planned if state.window_rows.is_some() => leave(state, window),
            Leftover::Planned | Leftover::Found => withdraw(state, window.span),
        }
        if self.pace.is_unknown() {
            // Not even the first window fitted: the next run begins with one of half as many rows, or half as long.
            let before = state.window_rows;
            state.window_rows = Some((before.unwrap_or(rows).min(rows) / 2).max(1));
            if self.uncounted.is_some() {
                state.window_length = (window.span.length() / 2).max(SHORTEST);
            }
        }
    }
}

/// Whether a count of 0 is not enough to cover a span. That is so for a stuck span: it may show rows that the API
/// doesn't count.
pub fn needs_reading(stuck: &StuckList, span: Span) -> bool {
    stuck.holding(span).is_some()
}

/// Leaves a window of which nothing is stored to the next run.
fn leave(state: &mut EventsState, window: &Window) {
    for open in state.open.iter_mut().filter(|open| *open == window) {
        open.opened_by = window.opened_by.clone().of_nobody();
    }
}

/// Closes a window of which nothing is stored: its span is a gap again.
fn withdraw(state: &mut EventsState, span: Span) {
    state.open.retain(|window| window.span != span);
}

fn takes_too_long(span: Span) -> ErrorInfo {
    ErrorInfo {
        error_type: ErrorType::ThirdPartyGenericError,
        message: format!("the API takes too long over {} to {}, and it can't be cut shorter", span.from, span.to),
    }
}

fn too_heavy(span: Span) -> ErrorInfo {
    ErrorInfo {
        error_type: ErrorType::ThirdPartyGenericError,
        message: format!("one record of {} to {} is larger than a window may be", span.from, span.to),
    }
}

fn died(span: Span) -> ErrorInfo {
    ErrorInfo {
        error_type: ErrorType::FirstPartyGenericError,
        message: format!("more than one run died while it read {} to {}, so it is read in parts", span.from, span.to),
    }
}
