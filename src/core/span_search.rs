//! Finds the parts of a failing span that can't be read, by halving it. Used for sessions, which are read by the time
//! at which they began. Does no I/O.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Span;
use crate::core::stuck::{Stuck, StuckItem, StuckList};
use crate::core::time::{HOUR, MINUTE, Millis, scaled};

/// A span that fails is cut down to 2 s; to a minute once 100 spans are stuck, and to an hour once 300 are. That bounds
/// the number of stuck spans.
const FINEST: TimeDelta = TimeDelta::seconds(2);
const FINER_THAN_A_MINUTE: usize = 100;
const FINER_THAN_AN_HOUR: usize = 300;
/// If this many spans fail and none is answered, the API fails as a whole.
const FAILURES: u32 = 6;

pub struct SpanSearch {
    /// The stuck spans when the search began, or when `apply_to` was last called. `give_up` restores them.
    before: StuckList,
    /// The spans that can't be read, or that are parts of one and are still to be tried.
    stuck: StuckList,
    /// Tried in this run, and not to be cut further.
    tried: BTreeSet<Span>,
    has_answered: bool,
    failures: u32,
    /// The end of the youngest span that this run reads.
    pub end: Option<Millis>,
}

impl SpanSearch {
    pub fn new(stuck: &StuckList) -> Self {
        let mut stuck = stuck.clone();
        stuck.retain(|stuck| stuck.span().is_some());
        Self { before: stuck.clone(), stuck, tried: BTreeSet::new(), has_answered: false, failures: 0, end: None }
    }

    /// The first stuck span that ends after this instant.
    pub fn stuck_after(&self, at: Millis) -> Option<Span> {
        self.stuck.spans().iter().find(|span| span.to > at)
    }

    /// The beginning of the first stuck span.
    pub fn oldest(&self) -> Option<Millis> {
        self.stuck.iter().filter_map(Stuck::span).map(|span| span.from).min()
    }

    pub fn note_answer(&mut self, span: Span) {
        self.has_answered = true;
        self.stuck.cut_out(span);
    }

    /// Leaves a span stuck that was answered, but not with all its rows. The next run tries it again. It is not halved:
    /// if a total is always wrong, so are those of its parts.
    pub fn note_lacking(&mut self, span: Span) {
        self.has_answered = true;
        self.tried.insert(span);
    }

    /// Cuts a stuck span that has too many rows into halves.
    pub fn note_too_many(&mut self, span: Span, now: Millis) {
        self.has_answered = true;
        if let Some(error) = self.stuck.holding(span).map(|stuck| stuck.error.clone()) {
            self.stuck.split(span, halves(span), &error, now, false);
        }
    }

    pub fn note_failure(&mut self, span: Span, error: ErrorInfo, now: Millis) {
        self.failures += 1;
        if span.length() > self.finest() {
            self.stuck.split(span, halves(span), &error, now, false);
        } else {
            self.stuck.fail(StuckItem::Span(span), error, now);
            self.tried.insert(span);
        }
    }

    /// Notes that the API works, though a span failed.
    pub fn note_api_works(&mut self) {
        self.has_answered = true;
    }

    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether many fail and none answers. Then nothing is known of any of them.
    pub fn is_api_failing(&self) -> bool {
        !self.has_answered && self.failures >= FAILURES
    }

    /// The next span to try: the longest, because it may hold the most. While nothing has answered, a short part of it:
    /// several faults may lie in every long one.
    pub fn next(&self, now: Millis) -> Option<Span> {
        let due = self.stuck.iter().filter(|stuck| stuck.next_try <= now).filter_map(Stuck::span);
        let longest = due.filter(|span| !self.tried.contains(span)).max_by_key(|span| (span.length(), span.to))?;
        if self.has_answered || longest.length() <= self.finest() {
            return Some(longest);
        }
        // Steps of 0.618 of the length give evenly spread points.
        let permille = u64::from(self.failures) * 618 % 1_000;
        let from = longest.from + scaled(longest.length() - self.finest(), permille, 1_000);
        Some(Span { from, to: from + self.finest() })
    }

    /// Forgets what this run found out.
    pub fn give_up(&mut self) {
        self.stuck = self.before.clone();
        self.tried.extend(self.before.spans().iter());
    }

    /// Puts the spans that are stuck now into the stream's list. `give_up` returns to them from now on.
    pub fn apply_to(&mut self, list: &mut StuckList) {
        list.retain(|stuck| stuck.span().is_none());
        list.take_over(self.stuck.clone());
        self.before = self.stuck.clone();
    }

    fn finest(&self) -> TimeDelta {
        match self.stuck.len() {
            FINER_THAN_AN_HOUR.. => HOUR,
            FINER_THAN_A_MINUTE.. => MINUTE,
            _ => FINEST,
        }
    }
}

fn halves(span: Span) -> Vec<Span> {
    let middle = Millis(span.from.0.midpoint(span.to.0));
    [Span::new(span.from, middle), Span::new(middle, span.to)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error_type::ErrorType;

    const DAYS: i64 = 3 * 24 * 3_600_000;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    fn error() -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "500".into() }
    }

    /// Tries everything that is due. Returns the number of requests.
    fn walk(search: &mut SpanSearch, fails: impl Fn(Span) -> bool) -> usize {
        let mut requests = 0;
        while let Some(span) = search.next(Millis(0)) {
            if search.is_api_failing() {
                break;
            }
            requests += 1;
            if fails(span) { search.note_failure(span, error(), Millis(0)) } else { search.note_answer(span) }
        }
        requests
    }

    #[test]
    fn a_span_that_lacks_rows_stays_stuck_and_is_tried_again_by_the_next_run() {
        let mut search = SpanSearch::new(&StuckList::default());
        search.note_failure(span(0, 8_000), error(), Millis(0));
        search.note_api_works();
        let half = search.next(Millis(0)).expect("a half");
        search.note_lacking(half);
        assert_eq!(walk(&mut search, |_| false), 1, "the other half");
        let mut list = StuckList::default();
        search.apply_to(&mut list);
        assert_eq!(list.spans(), [half].into_iter().collect());
        assert!(walk(&mut SpanSearch::new(&list), |_| false) > 0, "due at once");
    }

    #[test]
    fn all_is_read_but_the_seconds_that_fail() {
        for seed in 1..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let bad: Vec<i64> = (0..random.usize(1..=12)).map(|_| random.i64(0..DAYS)).collect();
            let fails = |span: Span| bad.iter().any(|at| span.contains(Millis(*at)));
            let mut search = SpanSearch::new(&StuckList::default());
            search.note_failure(span(0, DAYS), error(), Millis(0));
            let requests = walk(&mut search, fails);
            let mut list = StuckList::default();
            search.apply_to(&mut list);
            assert!(requests <= 2 * 18 * bad.len() + 12, "seed {seed}: {requests}");
            assert!(list.spans().iter().all(fails), "seed {seed}");
            assert!(bad.iter().all(|at| list.iter().any(|stuck| stuck.span().expect("one").contains(Millis(*at)))));
            assert!(list.iter().all(|stuck| stuck.span().expect("one").length() <= FINEST), "seed {seed}");
        }
    }

    #[test]
    fn where_nothing_answers_it_is_the_api_and_nothing_is_stuck() {
        let mut search = SpanSearch::new(&StuckList::default());
        search.note_failure(span(0, DAYS), error(), Millis(0));
        assert_eq!(walk(&mut search, |_| true), 5);
        search.give_up();
        let mut list = StuckList::default();
        search.apply_to(&mut list);
        assert!(list.is_empty() && search.next(Millis(0)).is_none());
    }

    #[test]
    fn hours_that_fail_are_stuck_in_a_bounded_number_of_pieces() {
        let mut search = SpanSearch::new(&StuckList::default());
        search.note_failure(span(0, DAYS), error(), Millis(0));
        let fails = |asked: Span| asked.intersection(span(DAYS / 3, DAYS / 2)).is_some();
        let requests = walk(&mut search, fails);
        assert!(requests < 1_000 && search.stuck.len() < 2 * FINER_THAN_AN_HOUR, "{requests}, {}", search.stuck.len());
    }

    #[test]
    fn what_is_stuck_is_tried_again_once_a_run_and_heals() {
        let mut list = StuckList::default();
        list.fail(StuckItem::Span(span(0, 2_000)), error(), Millis(0));
        let mut search = SpanSearch::new(&list);
        assert_eq!((walk(&mut search, |_| true), search.stuck.len()), (1, 1));
        let mut search = SpanSearch::new(&list);
        assert_eq!(walk(&mut search, |_| false), 1);
        search.apply_to(&mut list);
        assert!(list.is_empty());
    }
}
