//! Chooses the next step.

use chrono::TimeDelta;

use super::learn::needs_reading;
use super::split::MOST_STUCK;
use super::step::{Step, Tries, WindowPlan};
use super::{PATIENCE_ENDS_AFTER, Schedule, Task, TaskKind};
use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::density::{Left, NextSpan, first, halves};
use crate::core::drift::FEW;
use crate::core::intervals::{Intervals, Span};
use crate::core::stuck::{Stuck, StuckItem, StuckList};
use crate::core::time::Millis;

/// At most this many windows of minimum length that could not be read stay open.
const MOST_SHORT: usize = 32;

impl Schedule {
    /// The next step, which counts as under way until its outcome is reported.
    pub fn next(&mut self, state: &EventsState, stuck: &StuckList, now: Millis, left: Left) -> Step {
        // An earlier run had too little time for one window: this one reads one at a time.
        let is_small = state.window_rows.is_some() || !state.window_length.is_zero();
        // A second window is begun only if there is time and budget for both.
        let is_scarce = (is_small || left.requests < self.sizes.requests(1)) && !self.under_way.is_empty();
        let is_held_up = is_scarce || self.under_way.iter().any(|task| task.is_alone);
        let chosen = if is_held_up || self.verdict.is_some() { None } else { self.choose(state, stuck, now, left) };
        match chosen {
            Some((mut task, mut step)) => {
                if let Step::Open(plan) = &mut step {
                    task.most_rows = plan.most_rows;
                    plan.alone = task.is_alone;
                    plan.reads_empty |= needs_reading(stuck, plan.span);
                    plan.keeps_shown = may_keep(plan.span, state, stuck);
                    plan.unreadable_beside =
                        if state.is_unreadable() { FEW + 1 } else { stuck.unreadable_around(plan.span) };
                    if let Some(expected) = plan.expected {
                        self.density.note_plan(plan.span, expected);
                    }
                }
                task.requests = self.requests_of(&step);
                self.under_way.push(task);
                let at_once = self.under_way.len();
                for task in &mut self.under_way {
                    task.at_once = task.at_once.max(at_once);
                }
                step
            }
            None if self.under_way.is_empty() => Step::Done,
            None => Step::Wait,
        }
    }

    /// The requests that a step needs, if nothing fails.
    fn requests_of(&self, step: &Step) -> u64 {
        match step {
            Step::Open(plan) => self.sizes.requests(plan.expected.unwrap_or(plan.most_rows)),
            Step::TakeOver(_) | Step::Resume { .. } => self.sizes.requests(self.sizes.most()),
            Step::Count { .. } | Step::Recount(_) => 1,
            Step::Wait | Step::Done => 0,
        }
    }

    /// The next step, in the schedule's order of work. None if nothing may begin now.
    fn choose(&mut self, state: &EventsState, stuck: &StuckList, now: Millis, left: Left) -> Option<(Task, Step)> {
        if let Some(window) = self.take_left(stuck, now) {
            return begin(TaskKind::Gap, false, Step::TakeOver(window));
        }
        let gaps = self.gaps(state, stuck);
        if self.doubt.has_failures() {
            return begin(TaskKind::Gap, false, self.clear_doubt(&gaps, state, stuck, now, left)?);
        }
        if let Some(gap) = gaps.first() {
            let tries = if self.failures < PATIENCE_ENDS_AFTER { Tries::ByPolicy } else { Tries::Once };
            return begin(TaskKind::Gap, false, self.plan(gap, state, tries, left)?);
        }
        // Wait for the gaps' windows: if one fails, its gap comes before the steps below.
        if self.under_way.iter().any(|task| task.kind == TaskKind::Gap) {
            return None;
        }
        if let Some(step) = self.take_died(stuck, now, |stuck| stuck.is_none()) {
            return Some(step);
        }
        if let Some(recount) = self.take_recount(stuck, now) {
            return begin(TaskKind::Recount, false, Step::Recount(recount));
        }
        self.take_died(stuck, now, |stuck| stuck.is_some()).or_else(|| self.try_stuck(state, stuck, now, left))
    }

    fn take_left(&mut self, stuck: &StuckList, now: Millis) -> Option<Window> {
        let at = self.left.iter().position(|window| stuck.is_due(&StuckItem::Span(window.span), now))?;
        self.left.remove(at)
    }

    /// A window that another run left open. If it is not on the stuck list, that run may have died, and the window is
    /// read alone. If it is on that list, that run ended, and the window is read beside others, unless runs died at it
    /// before.
    fn take_died(
        &mut self,
        stuck: &StuckList,
        now: Millis,
        is_wanted: impl Fn(Option<&Stuck>) -> bool,
    ) -> Option<(Task, Step)> {
        let entry = |window: &Window| stuck.holding(window.span);
        let is_due =
            |window: &Window| entry(window).is_none_or(|stuck| stuck.next_try <= now) && is_wanted(entry(window));
        let at = self.died.iter().position(is_due)?;
        let window = &self.died[at];
        let is_alone = window.resumed > 0 || entry(window).is_none_or(|stuck| stuck.alone);
        if is_alone && !self.under_way.is_empty() {
            return None;
        }
        let window = self.died.remove(at)?;
        begin(TaskKind::Stuck, is_alone, Step::Resume { window, alone: is_alone })
    }

    /// One recount at a time.
    fn take_recount(&mut self, stuck: &StuckList, now: Millis) -> Option<Recount> {
        if self.under_way.iter().any(|task| task.kind == TaskKind::Recount) {
            return None;
        }
        let at = self.recounts.iter().position(|recount| stuck.is_due(&StuckItem::Recount(recount.span), now))?;
        self.recounts.remove(at)
    }

    /// The next stuck span that is due. Order: untried before tried, then longer before shorter, then newer before
    /// older.
    fn try_stuck(&self, state: &EventsState, list: &StuckList, now: Millis, left: Left) -> Option<(Task, Step)> {
        let unread = self.unread(state);
        let due = list.iter().filter(|stuck| stuck.next_try <= now);
        // Some windows of a long span may be read already.
        let due = due.filter_map(|stuck| Some((stuck, unread.within(stuck.span()?).first()?)));
        let due = due.filter(|(_, gap)| self.tried.within(*gap).is_empty());
        let (stuck, gap) = due.max_by_key(|(stuck, gap)| (stuck.attempts == 0, gap.length(), gap.from))?;
        let sample = self.sample(list).filter(|sample| {
            stuck.attempts == 0
                && unread.within(*sample).first() == Some(*sample)
                && self.tried.within(*sample).is_empty()
        });
        let is_alone = sample.and_then(|sample| list.holding(sample)).unwrap_or(stuck).alone;
        if is_alone && !self.under_way.is_empty() {
            return None;
        }
        if let Some(sample) = sample {
            let step = self.open(sample, None, Some(1), self.sizes.most(), Tries::Once);
            return begin(TaskKind::Sample, is_alone, step);
        }

        // A window of minimum length can't be cut, so its count only tells whether the API answers again.
        let step = if self.is_healing && halves(gap).is_none() {
            self.open(gap, None, Some(1), self.sizes.most(), Tries::Once)
        } else {
            self.plan(gap, state, Tries::Once, left)?
        };
        begin(TaskKind::Stuck, is_alone, step)
    }

    /// Gaps that no step reads, and that are neither stuck nor in doubt.
    pub(super) fn gaps(&self, state: &EventsState, stuck: &StuckList) -> Intervals {
        self.unread(state).without(&stuck.spans()).without(&self.doubt.spans().collect())
    }

    /// Gaps that no step reads.
    pub(super) fn unread(&self, state: &EventsState) -> Intervals {
        let gaps = state.unopened_gaps(self.horizon);
        let gaps = match self.bounds {
            Some(bounds) => gaps.within(bounds),
            None => gaps,
        };
        gaps.without(
            &self.under_way.iter().filter(|task| task.kind != TaskKind::Recount).map(|task| task.span).collect(),
        )
    }

    /// The next step for a gap: count it, or open its first window. `None` while the window's end depends on a step
    /// under way, or while such a step leaves too little time.
    pub(super) fn plan(&self, gap: Span, state: &EventsState, tries: Tries, left: Left) -> Option<Step> {
        let gap = self.edge.filter(|edge| gap.contains(*edge) && *edge > gap.from).map_or(gap, |to| Span { to, ..gap });
        // An earlier run lowered this limit: a longer window took the API, or the run, too long.
        let hint = if state.window_length.is_zero() { TimeDelta::MAX } else { state.window_length };
        let gap = first(gap, self.longest_window.min(hint));
        if let Some(longest) = self.uncounted {
            let span = Span { to: gap.to.min(gap.from + longest), ..gap };
            return Some(self.open(span, None, None, self.sizes.most(), tries));
        }
        let hint = state.window_rows.unwrap_or(u64::MAX).min(self.most_rows);
        let (mut most, mut can_end) = (self.sizes.most(), true);
        let cut = self.density.cut(gap, self.is_reading(), |rows| {
            let next = self.sizes.next(rows, left, self.pace, self.under_way.len());
            can_end = next.is_some();
            most = next.unwrap_or(1).min(hint).max(1);
            most
        });
        match cut {
            _ if !can_end => None,
            NextSpan::Wait => None,
            NextSpan::Count(span) => Some(Step::Count { span: first(span, self.longest_count), tries }),
            NextSpan::Read { span, count, expected } => Some(self.open(span, count, expected, most, tries)),
        }
    }

    /// The step that opens a window and reads it.
    pub(super) fn open(
        &self,
        span: Span,
        counted: Option<u64>,
        expected: Option<u64>,
        most_rows: u64,
        tries: Tries,
    ) -> Step {
        // A window of minimum length can't be cut, so it gets all retries.
        let is_last_try = tries == Tries::Once && halves(span).is_none() && self.failures < PATIENCE_ENDS_AFTER;
        let tries = if is_last_try { Tries::ByPolicy } else { tries };
        Step::Open(WindowPlan {
            span,
            counted,
            expected,
            most_rows,
            bytes: self.pace.bytes(expected.unwrap_or(0)),
            tries,
            reads_empty: tries == Tries::Probe,
            unreadable_beside: 0,
            keeps_shown: true,
            cut_above: self.sizes.limit_for(most_rows),
            alone: false,
        })
    }
}

/// Whether a window that isn't read may stay open. Windows of minimum length come in great numbers if the API
/// contradicts itself for a while, and each is then read again by itself.
fn may_keep(span: Span, state: &EventsState, stuck: &StuckList) -> bool {
    let is_short = halves(span).is_none();
    stuck.len() < MOST_STUCK && (!is_short || state.open.len() < MOST_SHORT)
}

fn begin(kind: TaskKind, is_alone: bool, step: Step) -> Option<(Task, Step)> {
    Some((Task { kind, span: step.span()?, is_alone, most_rows: u64::MAX, requests: 0, at_once: 1 }, step))
}
