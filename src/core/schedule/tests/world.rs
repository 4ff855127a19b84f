//! A simulated API without I/O: events are in memory, and time is a number. Some of its spans are bad.

use std::collections::VecDeque;

use chrono::TimeDelta;
use serde_json::Value;

use super::super::*;
use crate::core::checkpoint::Lease;
use crate::core::density::{Left, asked, halves};
use crate::core::error_type::ErrorType;
use crate::core::stuck::{Stuck, StuckList};
use crate::core::time::millis;

/// The duration of one exchange with the API.
pub const LATENCY: i64 = 200;
/// The duration of all retries of a request that fails.
pub const RETRIES: i64 = 6_000;

#[derive(Clone, Debug)]
pub struct World {
    /// The times of all rows, in order.
    pub rows: Vec<i64>,
    pub bad: Vec<(Span, Bad)>,
    pub page: u64,
    pub lanes: usize,
    /// The greatest number that the API counts to.
    pub cap: u64,
    /// The requests that a run may send.
    pub budget: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bad {
    /// The API counts rows that it never shows.
    Disagrees,
    /// The API answers neither counts nor pages.
    Fails,
    /// The API answers counts, but no pages.
    PagesFail,
    /// Some rows can't be read, and too many.
    Unreadable,
    /// The API takes too long, however short the span is.
    TooLarge,
    /// The rows need more memory than a window may take, however short the span is.
    TooHeavy,
}

pub const ALL_BAD: [Bad; 6] =
    [Bad::Disagrees, Bad::Fails, Bad::PagesFail, Bad::Unreadable, Bad::TooLarge, Bad::TooHeavy];

#[derive(Debug, Default)]
pub struct Run {
    pub requests: u64,
    /// The number of these that were for bad spans.
    pub on_bad: u64,
    /// The number of these for windows that the run could not end.
    pub in_vain: u64,
    pub busiest: usize,
    pub steps: u64,
    pub is_done: bool,
    pub api_fails: bool,
}

impl World {
    pub fn new(rows: impl IntoIterator<Item = i64>, page: u64) -> Self {
        let mut rows: Vec<i64> = rows.into_iter().collect();
        rows.sort_unstable();
        Self { rows, bad: Vec::new(), page, lanes: 1, cap: u64::MAX, budget: u64::MAX }
    }

    pub fn rows_in(&self, span: Span) -> u64 {
        let before = |at: Millis| self.rows.partition_point(|row| *row < at.0);
        (before(span.to) - before(span.from)) as u64
    }

    pub fn bad_in(&self, window: Span) -> Option<Bad> {
        self.bad.iter().find(|(span, _)| span.intersection(asked(window)).is_some()).map(|(_, bad)| *bad)
    }

    /// Makes pages so large that the densest window of minimum length fits a run.
    pub fn that_fits(mut self, lasts: i64) -> Self {
        let in_short = |from: i64| self.rows_in(Span { from: Millis(from), to: Millis(from + 4_000) });
        let densest = self.rows.iter().map(|from| in_short(*from)).max().unwrap_or(0);
        let pages = u64::try_from(lasts / LATENCY / 5).unwrap();
        self.page = self.page.max(densest.div_ceil(pages));
        self
    }

    /// Returns the outcome of a step, the number of its requests, and its duration.
    pub fn answer(&self, step: &Step) -> (Outcome, u64, i64) {
        match step {
            Step::Count { span, tries } => match self.bad_in(*span) {
                Some(Bad::Fails) => {
                    let (requests, pause) = cost_of(*tries);
                    (Outcome::NotCounted { span: *span, error: error() }, requests, pause)
                }
                Some(Bad::TooLarge) => (Outcome::Cut { span: *span, why: CutReason::TooLarge { rows: None } }, 1, 0),
                bad => {
                    let ghosts = u64::from(bad == Some(Bad::Disagrees));
                    let rows = (self.rows_in(asked(*span)) + ghosts).min(self.cap);
                    (Outcome::Counted { span: *span, rows }, 1, 0)
                }
            },
            Step::Open(plan) => self.read(plan),
            Step::TakeOver(window) | Step::Resume { window, .. } => {
                let sizes = Sizes { full_page: self.page };
                self.read(&WindowPlan::of_left(window.span, sizes))
            }
            Step::Recount(_) | Step::Wait | Step::Done => unreachable!("{step:?}"),
        }
    }

    pub fn read(&self, plan: &WindowPlan) -> (Outcome, u64, i64) {
        let span = plan.span;
        let shown = self.rows_in(asked(span));
        let counted = (shown + u64::from(self.bad_in(span) == Some(Bad::Disagrees))).min(self.cap);
        let cut = |why| Outcome::Cut { span, why };
        let unread = |why| Outcome::Unread { window: window(span), error: error(), why };
        let pages = shown.div_ceil(self.page).max(1);
        match self.bad_in(span) {
            Some(Bad::Fails | Bad::PagesFail) => {
                let (requests, pause) = cost_of(plan.tries);
                (unread(UnreadReason::Failed), requests, pause)
            }
            Some(Bad::TooLarge) if halves(span).is_some() => {
                (cut(CutReason::TooLarge { rows: Some(plan.likely_rows()) }), 1, 0)
            }
            Some(Bad::TooLarge) => (unread(UnreadReason::Failed), 1, 0),
            _ if halves(span).is_some() && counted > plan.cut_above => {
                (cut(CutReason::TooDense { rows: counted }), 1, 0)
            }
            _ if counted < shown && halves(span).is_some() => {
                (cut(CutReason::Capped { cap: counted }), counted.div_ceil(self.page) + 1, 0)
            }
            Some(Bad::Disagrees) => {
                let times = if plan.tries == Tries::ByPolicy { 2 } else { 1 };
                let is_kept = plan.keeps_shown && shown > 0 && halves(span).is_none();
                let why = if is_kept { UnreadReason::Kept { unreadable: 0 } } else { UnreadReason::Disagreed };
                (unread(why), times * pages, 0)
            }
            Some(Bad::Unreadable) => {
                let why = if plan.keeps_shown {
                    UnreadReason::Kept { unreadable: 4 }
                } else {
                    UnreadReason::Unreadable { rows: 4 }
                };
                (unread(why), pages, 0)
            }
            Some(Bad::TooHeavy) if halves(span).is_some() && shown > 0 => {
                (cut(CutReason::TooHeavy { rows: shown, bytes: 17 << 20, total: shown }), pages, 0)
            }
            Some(Bad::TooHeavy) if shown > 0 => (unread(UnreadReason::Disagreed), pages, 0),
            Some(Bad::TooHeavy) | None => {
                let inside = self.rows_in(span);
                let bytes = shown * 300;
                (Outcome::Read { span, rows: shown, inside, bytes, took: TimeDelta::zero() }, pages, 0)
            }
        }
    }

    /// Plays one run at the instant `horizon`.
    pub fn run(&self, state: &mut EventsState, stuck: &mut StuckList, horizon: Millis, lasts: i64) -> Run {
        self.run_at(state, stuck, horizon, horizon, lasts)
    }

    pub fn run_at(
        &self,
        state: &mut EventsState,
        stuck: &mut StuckList,
        horizon: Millis,
        began: Millis,
        lasts: i64,
    ) -> Run {
        let sizes = Sizes { full_page: self.page };
        stuck.keep_within(&state.due(horizon));
        let mut schedule = Schedule::new(state, sizes, horizon, None, None, VecDeque::new());
        let (mut run, mut at) = (Run::default(), 0);
        let mut under_way: Vec<(i64, Option<Outcome>)> = Vec::new();
        loop {
            let now = began + millis(at);
            let has_room = under_way.len() < self.lanes;
            // What was begun counts as sent.
            let left = Left { time: millis(lasts - at), requests: self.budget - run.requests };
            let step = if has_room { schedule.next(state, stuck, now, left) } else { Step::Wait };
            match step {
                Step::Wait if under_way.is_empty() => return run,
                Step::Done => {
                    run.is_done = schedule.gaps(state, stuck).is_empty();
                    run.api_fails = schedule.failure().is_some();
                    assert!(under_way.is_empty());
                    return run;
                }
                Step::Wait => {
                    let next = (0..under_way.len()).min_by_key(|at| under_way[*at].0).expect("somebody to wait for");
                    let (ended, outcome) = under_way.remove(next);
                    at = ended;
                    let Some(outcome) = outcome else {
                        schedule.stop();
                        continue;
                    };
                    if let Outcome::Read { span, .. } = outcome {
                        state.cover(span);
                    }
                    if let Outcome::Counted { span, rows: 0 } = outcome
                        && !needs_reading(stuck, span)
                    {
                        state.cover(span);
                    }
                    schedule.apply(state, stuck, began + millis(at), outcome);
                    check(state, stuck);
                }
                step => {
                    run.steps += 1;
                    assert!(run.steps < 100_000, "each step must do something: {step:?}");
                    let span = step.span().expect("a step that is begun");
                    if let Step::Open(_) | Step::TakeOver(_) | Step::Resume { .. } = &step {
                        state.open.retain(|open| open.span != span);
                        state.open.push(window(span));
                    }
                    let (mut outcome, mut requests, pause) = self.answer(&step);
                    // Retries take at most half of the time that is left.
                    let pause = pause.min((lasts - at) / 2);
                    let requests_at_most = u64::try_from((pause / LATENCY).max(1)).unwrap();
                    if pause > 0 {
                        requests = requests.min(requests_at_most);
                    }
                    let lasted = (i64::try_from(requests).unwrap() * LATENCY).max(pause);
                    if let Outcome::Read { took, .. } = &mut outcome {
                        *took = millis(lasted);
                    }
                    let mut ended = at + lasted;
                    let in_budget = self.budget - run.requests;
                    if ended > lasts || requests > in_budget {
                        requests = u64::try_from((lasts - at) / LATENCY).unwrap_or(0).min(requests).min(in_budget);
                        run.in_vain += requests;
                        ended = lasts;
                        let rows = if let Step::Open(plan) = &step { plan.most_rows } else { 4 * self.page };
                        let leaves = if matches!(step, Step::Open(_)) { Leftover::Planned } else { Leftover::Found };
                        outcome = Outcome::OutOfTime { window: window(span), most_rows: rows, leaves };
                    }
                    let is_lost = ended >= lasts && matches!(step, Step::Count { .. });
                    run.requests += requests;
                    if self.bad_in(span).is_some() {
                        run.on_bad += requests;
                    }
                    under_way.push((ended, if is_lost { None } else { Some(outcome) }));
                    run.busiest = run.busiest.max(under_way.len());
                }
            }
        }
    }
}

pub fn check(state: &EventsState, stuck: &StuckList) {
    let open: Intervals = state.open.iter().map(|window| window.span).collect();
    let length = |spans: &Intervals| spans.iter().map(Span::length).sum::<TimeDelta>();
    assert_eq!(length(&open), state.open.iter().map(|window| window.span.length()).sum::<TimeDelta>(), "disjoint");
    let spans = stuck.spans();
    assert_eq!(length(&spans), stuck.iter().filter_map(Stuck::span).map(Span::length).sum::<TimeDelta>(), "disjoint");
    assert_eq!(length(&spans.without(&state.covered)), length(&stuck.spans()), "what is covered is not stuck");
}

pub fn cost_of(tries: Tries) -> (u64, i64) {
    if tries == Tries::ByPolicy { (6, RETRIES) } else { (1, 0) }
}

pub fn error() -> ErrorInfo {
    ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "500".into() }
}

pub fn window(span: Span) -> Window {
    let opened_by = Lease { run_id: "ours".into(), until: Millis(i64::MAX / 2) };
    Window { span, request: Value::Null, opened_at: span.from, opened_by, resumed: 0 }
}

pub fn recount(span: Span) -> Recount {
    Recount {
        span,
        request: Value::Null,
        count: 1,
        rows_hash: None,
        covered_at: span.to,
        due: vec![span.to],
        read_by: None,
        deaths: 0,
        has_key: false,
        slices: None,
    }
}
