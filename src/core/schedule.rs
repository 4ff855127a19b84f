//! What to do next with an event stream: a function of its part of the checkpoint, of what this run has learnt, and of
//! the time that is left. It does no I/O and knows no clock; `collect::events` does what it says, and tells what came of
//! it.
//!
//! The order: windows that an earlier run left, gaps (oldest first), windows at which a run died, recounts, and last what
//! is stuck, the longest spans first. A span that fails is cut in halves until only seconds around the fault are left.

use std::collections::VecDeque;

use chrono::TimeDelta;

use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::density::{Cut, Density, Pace, SHORTEST, Sizes, cut, first, halves};
use crate::core::error_kind::{ErrorInfo, ErrorType};
use crate::core::intervals::{Intervals, Span};
use crate::core::stuck::{Stuck, StuckList, What};
use crate::core::time::{Millis, SECOND, millis, scaled};

/// More spans than this are cut no finer, so that the checkpoint stays small.
const MOST_STUCK: usize = 400;
/// A span that fails is cut no finer in its inside, where it is so many times as long on both sides: only its ends are.
const SOLID: i32 = 16;
/// A span that was tried in an earlier run, and fails again, is tried in so many parts.
const RETRIED_IN: u64 = 4;
/// After a failure, so many short spans elsewhere are read: if none of them can be, the API fails as a whole.
const PROBES: u32 = 6;
/// After so many failures in a row, the next windows are tried once only.
const PATIENCE_ENDS_AFTER: u32 = 3;
/// So many recounts in a row must fail, or windows of a stream whose rows can't be counted, for the API to fail as a whole.
const FAILURES_IN_A_ROW: u32 = 3;

pub struct Schedule {
    horizon: Millis,
    /// Only this span was asked for.
    bounds: Option<Span>,
    /// Windows end here or begin here, but don't reach across.
    edge: Option<Millis>,
    sizes: Sizes,
    /// Windows are cut no longer than this where the API counts nothing.
    uncounted: Option<TimeDelta>,
    /// The API takes too long to count a longer span.
    longest_count: TimeDelta,
    /// The API takes too long over a window of more rows.
    most_rows: u64,
    density: Density,
    pace: Pace,
    left: VecDeque<Window>,
    died: VecDeque<Window>,
    recounts: VecDeque<Recount>,
    /// New failures of recounts in a row.
    failed_recounts: u32,
    /// Stuck spans that were tried as they are in this run.
    tried: Intervals,
    /// Those that failed once more, and are tried in parts.
    retried: Intervals,
    under_way: Vec<Task>,
    doubt: Doubt,
    /// Of spans, since a window with rows was read.
    failures: u32,
    verdict: Option<Verdict>,
}

/// A step that was begun and has not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Task {
    kind: Kind,
    span: Span,
    is_alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gap,
    Recount,
    Stuck,
}

/// New failures since the API last answered as it should.
#[derive(Debug, Default)]
struct Doubt {
    failed: Vec<(Span, ErrorInfo)>,
    /// A span could be counted, but its rows could not be read: another count proves nothing.
    is_of_rows: bool,
    failures: u32,
    probes: u32,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    ApiFails(ErrorInfo),
    Stopped,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask how many rows a span has.
    Count { span: Span, patience: Patience },
    /// Open a window and read it.
    Open(Plan),
    /// Read a window that another run left open.
    Resume { window: Window, may_be_cut: bool },
    /// Count a covered window once more.
    Recount(Recount),
    /// Nothing can be begun before a step that is under way has ended.
    Wait,
    /// Nothing is left for this run.
    Done,
}

/// A window to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub span: Span,
    /// The API's own count of this very span.
    pub count: Option<u64>,
    /// How many rows are taken to lie in it.
    expected: Option<u64>,
    /// How many rows it may hold.
    pub rows: u64,
    /// How large it may become, gzipped; 0 while nothing is known.
    pub bytes: u64,
    pub patience: Patience,
    /// Of what lies in it too many rows could not be read before.
    pub is_suspected: bool,
    /// A window of more rows is cut again, if it may be.
    too_many: u64,
}

/// How often a step tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As often as the retry policy says, and until rows and count agree.
    Full,
    /// Once: the span failed before, and is tried in smaller parts or later.
    Once,
    /// Once, and its rows are asked for even where the API counts none: does the API answer at all?
    Probe,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Counted {
        span: Span,
        rows: u64,
    },
    /// The API takes too long over this span. `rows` is how many were expected of a window; none where it was counted.
    TooLarge {
        span: Span,
        rows: Option<u64>,
    },
    NotCounted {
        span: Span,
        error: ErrorInfo,
    },
    /// A window is stored and covered.
    Read {
        span: Span,
        rows: u64,
        inside: u64,
        bytes: u64,
        took: TimeDelta,
    },
    /// A window holds more rows than it may, and nothing of it is stored.
    TooDense {
        span: Span,
        rows: u64,
    },
    /// The API showed more rows than it counts: its counts stop at `cap`. Nothing of the window is stored.
    Capped {
        span: Span,
        cap: u64,
    },
    /// A window's records are larger than memory bears. `rows` of the API's `total` made up `bytes`.
    TooHeavy {
        span: Span,
        rows: u64,
        bytes: u64,
        total: u64,
    },
    /// A window was not read.
    Unread {
        window: Window,
        error: ErrorInfo,
        why: Why,
    },
    /// A run died at this window more than once. Nothing of it is stored, and it is read in parts, alone.
    Died {
        span: Span,
    },
    /// The run's time was over before the window was read.
    OutOfTime {
        window: Window,
        /// How many rows it might have held.
        rows: u64,
        /// It was cut in this run, and not left by one before.
        was_planned: bool,
        /// Nothing of it is stored, and nobody else is storing it.
        may_be_withdrawn: bool,
    },
    Recounted {
        span: Span,
    },
    /// It is counted in parts instead.
    RecountCut {
        span: Span,
        parts: Vec<Recount>,
    },
    /// There was no time for it.
    RecountWaits {
        span: Span,
    },
    /// A part of it was read; the rest is done after the other recounts.
    RecountGoesOn(Recount),
    NotRecounted {
        span: Span,
        error: ErrorInfo,
    },
}

/// Why a window was not read, and whether it may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its rows don't agree with the API's count. Nothing of it is stored.
    Disagreed,
    /// Too many of its rows can't be read, or, where it is not mixed, all of them. Nothing of it is stored.
    Unreadable { is_mixed: bool },
    /// The API fails for it. Nothing of it is stored.
    Failed,
    /// Some of it may be stored under its own keys, so it keeps its bounds.
    KeepsBounds,
}

impl Schedule {
    /// `longest_uncounted` is set for a stream whose rows the API doesn't count. Open windows are those that a run left on
    /// purpose, or those of runs that died.
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
        // The one at which most runs died comes last.
        died.sort_by_key(|window| window.resumed);
        Self {
            horizon,
            bounds,
            edge: None,
            sizes,
            uncounted: longest_uncounted,
            longest_count: TimeDelta::MAX,
            most_rows: u64::MAX,
            density: Density::default(),
            pace: Pace::default(),
            left: left.into(),
            died: died.into(),
            recounts,
            failed_recounts: 0,
            tried: Intervals::default(),
            retried: Intervals::default(),
            under_way: Vec::new(),
            doubt: Doubt::default(),
            failures: 0,
            verdict: None,
        }
    }

    /// How a window is read that another run left.
    pub fn plan_of(span: Span, sizes: Sizes) -> Plan {
        let (rows, too_many) = (sizes.most(), sizes.too_many(sizes.most()));
        let patience = Patience::Full;
        Plan { span, count: None, expected: None, rows, bytes: 0, patience, is_suspected: false, too_many }
    }

    /// No window reaches from before this instant to after it.
    pub fn cut_at(&mut self, edge: Millis) {
        self.edge = Some(edge);
    }

    /// Now is earlier than this run believed.
    pub fn lower_horizon(&mut self, horizon: Millis) {
        self.horizon = self.horizon.min(horizon);
    }

    pub fn horizon(&self) -> Millis {
        self.horizon
    }

    /// Whether the pace of this run is still unknown, because no window was read.
    pub fn has_read_nothing(&self) -> bool {
        self.pace.is_unknown()
    }

    /// Begins nothing more in this run.
    pub fn stop(&mut self) {
        self.verdict.get_or_insert(Verdict::Stopped);
    }

    /// The API fails as a whole.
    pub fn api_failure(&self) -> Option<&ErrorInfo> {
        match &self.verdict {
            Some(Verdict::ApiFails(error)) => Some(error),
            _ => None,
        }
    }

    /// The next step, which is under way from now on. `left` is the run's time to read.
    pub fn next(&mut self, state: &EventsState, stuck: &StuckList, now: Millis, left: TimeDelta) -> Step {
        // Where a run's time was too short for one window, it is none the longer for two.
        let is_scarce = state.window_rows.is_some() && !self.under_way.is_empty();
        let is_held_up = is_scarce || self.under_way.iter().any(|task| task.is_alone);
        let chosen = if is_held_up || self.verdict.is_some() { None } else { self.choose(state, stuck, now, left) };
        match chosen {
            Some((task, mut step)) => {
                if let Step::Open(plan) = &mut step {
                    plan.is_suspected = stuck.is_suspected(plan.span);
                    if let Some(expected) = plan.expected {
                        self.density.planned(plan.span, expected);
                    }
                }
                self.under_way.push(task);
                step
            }
            None if self.under_way.is_empty() => Step::Done,
            None => Step::Wait,
        }
    }

    fn choose(&mut self, state: &EventsState, stuck: &StuckList, now: Millis, left: TimeDelta) -> Option<(Task, Step)> {
        if let Some(window) = self.take_left(stuck, now) {
            let task = Task { kind: Kind::Gap, span: window.span, is_alone: false };
            return Some((task, Step::Resume { window, may_be_cut: true }));
        }
        let of_gap = |step: Step| (Task { kind: Kind::Gap, span: step.span(), is_alone: false }, step);
        let gaps = self.gaps(state, stuck);
        if !self.doubt.failed.is_empty() {
            return self.clear_doubt(&gaps, state, stuck, now, left).map(of_gap);
        }
        if let Some(gap) = gaps.first() {
            let patience = if self.failures < PATIENCE_ENDS_AFTER { Patience::Full } else { Patience::Once };
            return self.plan(gap, state, patience, left).map(of_gap);
        }
        // What is under way may leave a gap, which comes first.
        if self.under_way.iter().any(|task| task.kind == Kind::Gap) {
            return None;
        }
        if let Some(window) = self.take_died(stuck, now) {
            let task = Task { kind: Kind::Stuck, span: window.span, is_alone: true };
            let may_be_cut = window.resumed > 0;
            return Some((task, Step::Resume { window, may_be_cut }));
        }
        if let Some(recount) = self.take_recount(stuck, now) {
            return Some((Task { kind: Kind::Recount, span: recount.span, is_alone: false }, Step::Recount(recount)));
        }
        self.try_stuck(state, stuck, now, left)
    }

    fn take_left(&mut self, stuck: &StuckList, now: Millis) -> Option<Window> {
        let at = self.left.iter().position(|window| stuck.is_due(&What::Span(window.span), now))?;
        self.left.remove(at)
    }

    fn take_died(&mut self, stuck: &StuckList, now: Millis) -> Option<Window> {
        if !self.under_way.is_empty() {
            return None;
        }
        let at = self.died.iter().position(|window| stuck.is_due(&What::Span(window.span), now))?;
        self.died.remove(at)
    }

    fn take_recount(&mut self, stuck: &StuckList, now: Millis) -> Option<Recount> {
        if self.under_way.iter().any(|task| task.kind == Kind::Recount) {
            return None;
        }
        let at = self.recounts.iter().position(|recount| stuck.is_due(&What::Recount(recount.span), now))?;
        self.recounts.remove(at)
    }

    /// Time that is owed and that nobody reads, but for what is stuck.
    fn gaps(&self, state: &EventsState, stuck: &StuckList) -> Intervals {
        let doubtful = self.doubt.failed.iter().map(|(span, _)| *span).collect();
        self.unread(state).without(&stuck.spans()).without(&doubtful)
    }

    fn unread(&self, state: &EventsState) -> Intervals {
        let owed = state.gaps(self.horizon);
        let owed = match self.bounds {
            Some(bounds) => owed.within(bounds),
            None => owed,
        };
        owed.without(&self.under_way.iter().filter(|task| task.kind != Kind::Recount).map(|task| task.span).collect())
    }

    /// The first step at the beginning of a gap.
    fn plan(&self, gap: Span, state: &EventsState, patience: Patience, left: TimeDelta) -> Option<Step> {
        let gap = self.edge.filter(|edge| gap.contains(*edge) && *edge > gap.from).map_or(gap, |to| Span { to, ..gap });
        if let Some(longest) = self.uncounted {
            let span = Span { to: gap.to.min(gap.from + longest), ..gap };
            return Some(self.open(span, None, None, self.sizes.most(), patience));
        }
        let hint = state.window_rows.unwrap_or(u64::MAX).min(self.most_rows);
        let mut most = self.sizes.most();
        let is_busy = self.under_way.iter().any(|task| task.kind != Kind::Recount);
        let cut = self.density.cut(gap, is_busy, |rows| {
            most = self.sizes.next(rows, left, self.pace).min(hint).max(1);
            most
        });
        match cut {
            Cut::Wait => None,
            Cut::Count(span) => Some(Step::Count { span: first(span, self.longest_count), patience }),
            Cut::Read { span, count, expected } => Some(self.open(span, count, expected, most, patience)),
        }
    }

    fn open(&self, span: Span, count: Option<u64>, expected: Option<u64>, rows: u64, patience: Patience) -> Step {
        // The shortest window is cut no further: it is worth all tries.
        let is_last_try = patience == Patience::Once && halves(span).is_none() && self.failures < PATIENCE_ENDS_AFTER;
        let patience = if is_last_try { Patience::Full } else { patience };
        let too_many = self.sizes.too_many(rows);
        let bytes = self.pace.bytes(expected.unwrap_or(0));
        Step::Open(Plan { span, count, expected, rows, bytes, patience, is_suspected: false, too_many })
    }

    /// After a failure short spans elsewhere are read. Where one of them can be, what failed is stuck; where none can, the
    /// API fails as a whole.
    fn clear_doubt(
        &mut self,
        gaps: &Intervals,
        state: &EventsState,
        stuck: &StuckList,
        now: Millis,
        left: TimeDelta,
    ) -> Option<Step> {
        if self.under_way.iter().any(|task| task.kind != Kind::Recount) {
            // Its outcome tells more.
            return None;
        }
        if self.uncounted.is_some() {
            let newest = gaps.iter().last()?;
            return self.plan(newest, state, Patience::Once, left);
        }
        if self.doubt.probes >= PROBES {
            let error = self.doubt.failed.first().map(|(_, error)| error.clone())?;
            self.verdict.get_or_insert(Verdict::ApiFails(error));
            return None;
        }
        let due = stuck.iter().filter(|stuck| stuck.next_try <= now).filter_map(Stuck::span);
        let owed = self.unread(state);
        let unread: Intervals =
            due.flat_map(|span| owed.within(span).iter().collect::<Vec<_>>()).chain(gaps.iter()).collect();
        let span = self.probe(&unread, now)?;
        self.doubt.probes += 1;
        Some(self.open(span, None, None, self.sizes.most(), Patience::Probe))
    }

    /// One of the shortest spans of all that is unread: at the ends first, then anywhere, and elsewhere in another run.
    fn probe(&self, unread: &Intervals, now: Millis) -> Option<Span> {
        let failed = self.doubt.failed.iter().map(|(span, _)| *span);
        let unread: Intervals = unread.iter().chain(failed).collect();
        let length: TimeDelta = unread.iter().map(Span::length).sum();
        let permille = match self.doubt.probes {
            0 => 1_000,
            1 => 0,
            // Multiples of the golden ratio spread out.
            n => (now.0 / 1_000 + i64::from(n)).rem_euclid(1_000).unsigned_abs() * 618 % 1_000,
        };
        let mut before = scaled(length, permille, 1_000);
        for span in unread.iter() {
            if before <= span.length() {
                let at = (span.from + before.min(span.length() - SHORTEST).max(TimeDelta::zero()))
                    .floor(SECOND)
                    .max(span.from);
                return Some(Span { from: at, to: (at + SHORTEST).min(span.to) });
            }
            before -= span.length();
        }
        None
    }

    /// A span that is stuck and due: first what was not tried yet, the longest first, and of several the newest.
    fn try_stuck(&self, state: &EventsState, stuck: &StuckList, now: Millis, left: TimeDelta) -> Option<(Task, Step)> {
        let unread = self.unread(state);
        let due = stuck.iter().filter(|stuck| stuck.next_try <= now);
        // A long one is read in several windows, of which some may be read already.
        let due = due.filter_map(|stuck| Some((stuck, unread.within(stuck.span()?).first()?)));
        let due = due.filter(|(_, gap)| self.tried.within(*gap).is_empty());
        let (stuck, gap) = due.max_by_key(|(stuck, gap)| (stuck.attempts == 0, gap.length(), gap.from))?;
        if stuck.alone && !self.under_way.is_empty() {
            return None;
        }
        let step = self.plan(gap, state, Patience::Once, left)?;
        Some((Task { kind: Kind::Stuck, span: step.span(), is_alone: stuck.alone }, step))
    }

    /// What lies deep inside of a long span that fails everywhere is not tried piece by piece.
    fn leave_solid(&mut self, stuck: &mut StuckList, now: Millis) {
        let untried: Vec<(Span, ErrorInfo)> = stuck
            .iter()
            .filter(|stuck| stuck.attempts == 0)
            .filter_map(|stuck| Some((stuck.span()?, stuck.error.clone())))
            .collect();
        let Some(longest) = untried.iter().map(|(span, _)| span.length()).max() else { return };
        let whole = stuck.spans();
        let is_inside = |span: Span| {
            let around = whole.iter().find(|whole| whole.contains(span.from));
            around.is_some_and(|whole| {
                let depth = (span.from - whole.from).min(whole.to - span.to);
                depth >= span.length() * SOLID
            })
        };
        let inside = untried.into_iter().filter(|(span, _)| span.length() == longest && is_inside(*span));
        for (span, error) in inside.collect::<Vec<_>>() {
            stuck.fail(What::Span(span), error, now);
            self.tried.insert(span);
        }
        stuck.merge_tried();
    }

    /// A window of which nothing is stored: what may be sound in it is read in parts.
    fn not_read(
        &mut self,
        state: &mut EventsState,
        stuck: &mut StuckList,
        now: Millis,
        span: Span,
        error: ErrorInfo,
        why: Why,
    ) {
        if !matches!(why, Why::KeepsBounds) {
            withdraw(state, span);
        }
        if matches!(why, Why::Unreadable { .. } | Why::Disagreed) {
            self.works(stuck, now);
        }
        match why {
            Why::KeepsBounds => stuck.fail(What::Span(span), error, now),
            Why::Unreadable { is_mixed: true } | Why::Disagreed => self.split(stuck, now, span, error),
            Why::Unreadable { is_mixed: false } => self.leave_stuck(stuck, now, span, error),
            Why::Failed => self.fail(stuck, now, span, error, true),
        }
        if matches!(why, Why::Unreadable { .. }) {
            stuck.suspect(span);
        }
    }

    /// Notes what came of a step, with all that follows from it for the checkpoint but for what a window's cover changes.
    pub fn took(&mut self, state: &mut EventsState, stuck: &mut StuckList, now: Millis, outcome: Outcome) {
        self.under_way.retain(|task| !outcome.ends(task));
        match outcome {
            // Where now turned out to be earlier, it counts for nothing.
            Outcome::Counted { span, .. } if span.to > self.horizon => self.counts(stuck, now),
            Outcome::Counted { span, rows } => {
                self.counts(stuck, now);
                self.density.counted(span, rows);
                if rows == 0 {
                    // It is covered by that.
                    stuck.cut_out(span);
                }
            }
            Outcome::TooLarge { span, rows } => {
                withdraw(state, span);
                match (halves(span), rows) {
                    // Even the shortest span: it fails like any other.
                    (None, _) => self.fail(stuck, now, span, too_large(span), rows.is_some()),
                    (Some([half, _]), None) => self.longest_count = half.length(),
                    (Some([half, _]), Some(rows)) => {
                        self.most_rows = self.most_rows.min((rows / 2).max(1));
                        self.uncounted = self.uncounted.map(|_| half.length());
                    }
                }
            }
            Outcome::NotCounted { span, error } => self.fail(stuck, now, span, error, false),
            Outcome::Read { span, rows, inside, bytes, took } => {
                self.works(stuck, now);
                if rows > 0 {
                    self.failures = 0;
                }
                self.pace.note(rows, bytes, took);
                self.density.read(span, inside, self.sizes.most());
                stuck.cut_out(span);
                state.window_rows = state.window_rows.map(|rows| 2 * rows).filter(|rows| *rows < self.sizes.most());
            }
            Outcome::TooDense { span, rows } => {
                self.counts(stuck, now);
                withdraw(state, span);
                self.density.too_dense(span, rows);
            }
            Outcome::Capped { span, cap } => {
                self.works(stuck, now);
                withdraw(state, span);
                self.density.capped(cap);
                self.density.counted(span, cap);
            }
            Outcome::TooHeavy { span, rows, bytes, total } => {
                self.works(stuck, now);
                withdraw(state, span);
                self.pace.note(rows, bytes, millis(1));
                self.density.too_dense(span, total);
            }
            Outcome::Unread { window, error, why } => self.not_read(state, stuck, now, window.span, error, why),
            Outcome::Died { span } => {
                withdraw(state, span);
                stuck.split(span, cut(span, 4), &died(span), now, true);
            }
            Outcome::OutOfTime { window, rows, was_planned, may_be_withdrawn } => {
                self.ran_out(state, &window, rows, was_planned, may_be_withdrawn);
            }
            Outcome::Recounted { span } => {
                self.failed_recounts = 0;
                self.works(stuck, now);
                stuck.heal(&What::Recount(span));
            }
            Outcome::RecountCut { parts, .. } => {
                self.works(stuck, now);
                for part in parts.into_iter().rev() {
                    self.recounts.push_front(part);
                }
            }
            Outcome::RecountWaits { .. } => self.stop(),
            Outcome::RecountGoesOn(recount) => self.recounts.push_back(recount),
            Outcome::NotRecounted { span, error } => {
                let is_new = stuck.get(&What::Recount(span)).is_none();
                stuck.fail(What::Recount(span), error, now);
                self.failed_recounts += u32::from(is_new);
                if self.failed_recounts >= FAILURES_IN_A_ROW {
                    // The others may fail just so, and are the next run's.
                    self.recounts.clear();
                }
            }
        }
        self.leave_solid(stuck, now);
    }

    /// The run's time was over before a window was read.
    fn ran_out(&mut self, state: &mut EventsState, window: &Window, rows: u64, was_planned: bool, is_unstored: bool) {
        self.stop();
        if !is_unstored {
            // Whoever finds it open must know that some of it may be stored.
        } else if was_planned && state.window_rows.is_some() {
            // It was cut smaller than usual. The next run has nothing to plan, and so more time for it.
            leave(state, window);
        } else {
            withdraw(state, window.span);
        }
        if self.pace.is_unknown() {
            // Not even the first window fitted: the next run begins with a smaller one.
            let before = state.window_rows;
            state.window_rows = Some((before.unwrap_or(rows).min(rows) / 2).max(1));
        }
    }

    /// The API answers, so what failed meanwhile fails by itself.
    fn works(&mut self, stuck: &mut StuckList, now: Millis) {
        for (span, error) in std::mem::take(&mut self.doubt).failed {
            self.split(stuck, now, span, error);
        }
    }

    /// The API counts. Where its counts failed, they fail by themselves.
    fn counts(&mut self, stuck: &mut StuckList, now: Millis) {
        if !self.doubt.is_of_rows {
            self.works(stuck, now);
        }
    }

    /// A failure of the API for one span. Only a new one raises the question whether all of the API fails.
    fn fail(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo, is_of_rows: bool) {
        if stuck.holding(span).is_some() {
            return self.split(stuck, now, span, error);
        }
        self.doubt.is_of_rows |= is_of_rows;
        self.doubt.failures += 1;
        if !self.doubt.failed.iter().any(|(failed, _)| failed.intersection(span).is_some()) {
            self.doubt.failed.push((span, error.clone()));
        }
        if self.uncounted.is_some() && self.doubt.failures >= FAILURES_IN_A_ROW {
            self.verdict.get_or_insert(Verdict::ApiFails(error));
        }
    }

    /// A span that fails by itself is tried in halves, down to the shortest, which waits for a later run. One that was
    /// tried in an earlier run is tried in a few parts, once.
    fn split(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
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

    /// It is tried again by a later run.
    fn leave_stuck(&mut self, stuck: &mut StuckList, now: Millis, span: Span, error: ErrorInfo) {
        stuck.split(span, vec![span], &error, now, false);
        stuck.fail(What::Span(span), error, now);
        self.tried.insert(span);
    }

    /// At the end of a run: what failed last and was never cleared up is neither stuck nor read.
    pub fn unclear(&self) -> Option<&ErrorInfo> {
        self.doubt.failed.first().map(|(_, error)| error)
    }
}

impl Plan {
    /// It was cut by this run, and not left by one before.
    pub fn is_planned(&self) -> bool {
        self.expected.is_some()
    }

    /// A window of more rows is cut again, if it may be.
    pub fn too_many(&self) -> u64 {
        self.too_many
    }
}

impl Step {
    /// The span that is asked for. A step without one is never begun.
    fn span(&self) -> Span {
        match self {
            Self::Count { span, .. } => *span,
            Self::Open(plan) => plan.span,
            Self::Resume { window, .. } => window.span,
            Self::Recount(recount) => recount.span,
            Self::Wait | Self::Done => Span { from: Millis(0), to: Millis(1) },
        }
    }
}

impl Outcome {
    fn ends(&self, task: &Task) -> bool {
        let (span, is_recount) = match self {
            Self::Counted { span, .. }
            | Self::TooLarge { span, .. }
            | Self::NotCounted { span, .. }
            | Self::Read { span, .. }
            | Self::TooDense { span, .. }
            | Self::Capped { span, .. }
            | Self::TooHeavy { span, .. }
            | Self::Died { span } => (*span, false),
            Self::Unread { window, .. } | Self::OutOfTime { window, .. } => (window.span, false),
            Self::Recounted { span }
            | Self::RecountCut { span, .. }
            | Self::RecountWaits { span }
            | Self::NotRecounted { span, .. } => (*span, true),
            Self::RecountGoesOn(recount) => (recount.span, true),
        };
        task.span == span && (task.kind == Kind::Recount) == is_recount
    }
}

/// Leaves a window of which nothing is stored to the next run.
fn leave(state: &mut EventsState, window: &Window) {
    for open in state.open.iter_mut().filter(|open| *open == window) {
        open.opened_by = window.opened_by.clone().of_nobody();
    }
}

fn withdraw(state: &mut EventsState, span: Span) {
    state.open.retain(|window| window.span != span);
}

fn too_large(span: Span) -> ErrorInfo {
    ErrorInfo {
        error_type: ErrorType::ThirdPartyGenericError,
        message: format!("the API takes too long over {} to {}, and it can't be cut shorter", span.from, span.to),
    }
}

fn died(span: Span) -> ErrorInfo {
    ErrorInfo {
        error_type: ErrorType::FirstPartyGenericError,
        message: format!("more than one run died while it read {} to {}, so it is read in parts", span.from, span.to),
    }
}

#[cfg(test)]
mod tests;
