//! The state of an event stream on the checkpoint.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::checkpoint::lease::{LONG_OVER, Lease};
use crate::core::drift::FEW;
use crate::core::intervals::{Intervals, Span};
use crate::core::json::is_default;
use crate::core::stuck::LONGEST_PAUSE;
use crate::core::time::{Millis, as_millis};

/// Once this many windows wait for a recount, an old window gets none. A window is old if it ended longer before it was
/// covered than the longest delay of `RECONCILE_MINUTES`, 24 hours by default: by then its late records were visible.
const MANY_RECOUNTS: usize = 600;
/// A window at which this many runs have died is left alone for 15 minutes, and after each further death for twice as
/// long. The pause doubles at most `MOST_DOUBLINGS` times.
const MOST_DEATHS: u32 = 3;
const MOST_DOUBLINGS: u32 = 5;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsState {
    /// Time from here on is to be collected: the first scheduled run's time minus `LOOKBACK_MINUTES`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_from: Option<Millis>,
    /// Older spans that somebody asked for and that are not covered yet.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub asked: Intervals,
    pub covered: Intervals,
    /// Spans that were never covered, and whose records the API no longer keeps.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub expired: Intervals,
    /// Spans that shards of a backfill read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reserved>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Window>,
    /// The planned recounts, in the order in which the windows were covered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recount: Vec<Recount>,
    /// Set after a window didn't fit a run: the limit for the rows of a window is lower than usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_rows: Option<u64>,
    /// Set after a window or a count took the API, or the run, too long: the limit for the length of a window. Zero is
    /// the usual limit.
    #[serde(with = "as_millis", skip_serializing_if = "TimeDelta::is_zero")]
    pub window_length: TimeDelta,
    /// The rows that were set aside since the last one that could be read.
    #[serde(skip_serializing_if = "is_default")]
    pub unreadable_in_a_row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

/// A window that was opened and is not covered yet. A run that reads it again sends the same request and writes the
/// same keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub span: Span,
    pub request: Value,
    pub opened_at: Millis,
    pub opened_by: Lease,
    /// The number of runs that continued it after its opener had died.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resumed: u32,
}

/// A covered window whose rows are to be counted again. Rows that became visible meanwhile are late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recount {
    pub span: Span,
    pub request: Value,
    /// The API's last count.
    pub count: u64,
    /// A hash of the rows last shown, if they are few. Then a recount compares the rows too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_hash: Option<String>,
    pub covered_at: Millis,
    /// The times of the recounts, the next one first.
    pub due: Vec<Millis>,
    /// The run that is reading the window again: because the API counted more, or after a run that died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by: Option<Lease>,
    /// The number of runs that died while they counted it again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deaths: u32,
    /// The window was read again before. It may have objects under its key, so its bounds stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_key: bool,
    /// Set if the window has grown too large for one reading: the slices read so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Slices>,
}

/// The progress of reading a window again that has grown, and the API's count when that began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    pub done_to: Millis,
    pub count: u64,
}

/// A span that one shard of a backfill covers, on a checkpoint of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// The shard's id, which is unique.
    pub shard: String,
    pub span: Span,
    /// The shard's share of the request budget.
    pub requests_per_minute: usize,
    /// The number of shards of its plan that run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<usize>,
    /// The end of the reservation. After it the live runs read the span.
    pub until: Millis,
}

impl Recount {
    /// Whether the API counted more rows than have been read.
    pub fn has_more(&self) -> bool {
        self.read_by.is_some() || self.slices.is_some()
    }
}

impl EventsState {
    /// Notes how many rows of a covered window could be read, and how many were set aside.
    pub fn note_rows(&mut self, readable: u64, set_aside: u64) {
        self.unreadable_in_a_row = if readable > 0 { 0 } else { self.unreadable_in_a_row + set_aside };
    }

    /// Whether more than three rows in a row couldn't be read, window by window. Then the API has probably changed, and
    /// a window is not covered, however few rows it has.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable_in_a_row > FEW
    }

    /// Returns the gaps before `horizon`, including those that shards read.
    pub fn gaps(&self, horizon: Millis) -> Intervals {
        let mut gaps = self.asked.clone();
        if let Some(live) = self.live_from.and_then(|from| Span::new(from, horizon)) {
            gaps.insert(live);
        }
        let Some(settled) = Span::new(Millis(i64::MIN), horizon) else { return Intervals::default() };
        gaps.within(settled).without(&self.covered).without(&self.expired)
    }

    /// Returns the gaps before `horizon` without those that shards read.
    pub fn due(&self, horizon: Millis) -> Intervals {
        let reserved = self.reserved.iter().map(|reserved| reserved.span).collect();
        self.gaps(horizon).without(&reserved)
    }

    /// Returns the parts of the due gaps that are in no open window, so that they may be cut at will.
    pub fn unopened_gaps(&self, horizon: Millis) -> Intervals {
        let open = self.open.iter().map(|window| window.span).collect();
        self.due(horizon).without(&open)
    }

    /// Returns the parts of a span that nobody has covered, opened or reserved, whether or not they are to be
    /// collected.
    pub fn free_within(&self, span: Span) -> Intervals {
        let open = self.open.iter().map(|window| window.span);
        let reserved = self.reserved.iter().map(|reserved| reserved.span);
        let taken = open.chain(reserved).collect();
        Intervals::from(vec![span]).without(&self.covered).without(&self.expired).without(&taken)
    }

    pub fn has_covered(&self, span: Span) -> bool {
        Intervals::from(vec![span]).without(&self.covered).without(&self.expired).is_empty()
    }

    /// Covers a span. Removes it from the open windows and from the spans that were asked for. Expired time stays
    /// expired.
    pub fn cover(&mut self, span: Span) {
        for covered in Intervals::from(vec![span]).without(&self.expired).iter() {
            self.covered.insert(covered);
        }
        self.asked.remove(span);
        self.open.retain(|window| window.span != span);
    }

    /// Notes windows that are to be counted again.
    pub fn count_again(&mut self, recounts: impl IntoIterator<Item = Recount>) {
        for recount in recounts {
            let delay = recount.due.last().map_or(TimeDelta::zero(), |due| *due - recount.covered_at);
            let is_long_gone = recount.span.to + delay < recount.covered_at;
            if self.recount.len() < MANY_RECOUNTS || !is_long_gone {
                self.recount.push(recount);
            }
        }
    }

    /// Takes over the results of a shard. What it didn't cover becomes a gap again. Windows that it left open stay
    /// open, with its requests and keys.
    pub fn merge(&mut self, shard: &str, theirs: Self) {
        let Some(at) = self.reserved.iter().position(|reserved| reserved.shard == shard) else { return };
        let span = self.reserved.remove(at).span;
        for covered in theirs.covered.within(span).iter() {
            self.cover(covered);
        }
        for expired in theirs.expired.within(span).iter() {
            self.expired.insert(expired);
            self.asked.remove(expired);
        }
        self.open.extend(theirs.open);
        self.count_again(theirs.recount);
    }

    /// Lets the gaps before `oldest` expire, because the API no longer keeps their records. Returns them.
    pub fn expire(&mut self, oldest: Millis) -> Intervals {
        let gone = self.due(oldest);
        for span in gone.iter() {
            self.give_up(span);
        }
        self.open.retain(|window| window.span.to > oldest);
        gone
    }

    /// Marks a span as expired, because the API no longer keeps its records, and closes its window.
    pub fn give_up(&mut self, span: Span) {
        for expired in Intervals::from(vec![span]).without(&self.covered).iter() {
            self.expired.insert(expired);
        }
        self.asked.remove(span);
        self.open.retain(|window| window.span != span);
    }

    /// The end of the covered time before the first gap. None if nothing is covered.
    pub fn covered_to(&self) -> Option<Millis> {
        let end = self.covered.end()?;
        Some(self.due(end).first().map_or(end, |gap| gap.from))
    }
}

impl Window {
    /// Whether the run that opened it can no longer be storing it.
    pub fn is_abandoned(&self, now: Millis) -> bool {
        self.opened_by.is_long_over(now)
    }

    /// The instant until which no run reads the window, because three runs or more died at it: first until none of
    /// their requests can still arrive, and after each further death twice as long, 6 hours at most. None below three.
    pub fn rests_until(&self) -> Option<Millis> {
        let further = self.resumed.checked_sub(MOST_DEATHS)?;
        let rest = LONG_OVER * 2_i32.pow(further.min(MOST_DOUBLINGS));
        Some(self.opened_by.until + rest.min(LONGEST_PAUSE))
    }

    /// Ends the rest: the next run reads the window, however many runs died at it.
    pub fn end_rest(&mut self) {
        self.resumed = self.resumed.min(MOST_DEATHS - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn a_gap_lies_between_the_start_and_the_horizon_and_is_not_covered() {
        let mut state = EventsState { live_from: Some(Millis(100)), ..EventsState::default() };
        assert_eq!(state.gaps(Millis(200)), [span(100, 200)].into_iter().collect());
        assert_eq!(state.gaps(Millis(50)), Intervals::default());
        state.cover(span(100, 150));
        state.asked.insert(span(0, 20));
        assert_eq!(state.gaps(Millis(200)), [span(0, 20), span(150, 200)].into_iter().collect());
        assert_eq!(state.covered_to(), Some(Millis(0)));
        state.cover(span(0, 20));
        assert!(state.asked.is_empty());
        assert_eq!(state.covered_to(), Some(Millis(150)));
    }

    #[test]
    fn what_expired_is_never_covered_also_where_a_window_reaches_into_it() {
        let window = |span| Window {
            span,
            request: Value::Null,
            opened_at: Millis(0),
            opened_by: Lease { run_id: "a".into(), until: Millis(0) },
            resumed: 0,
        };
        let mut state = EventsState { live_from: Some(Millis(0)), ..EventsState::default() };
        state.cover(span(0, 10));
        state.open = vec![window(span(10, 20)), window(span(20, 40))];
        assert_eq!(state.expire(Millis(30)), [span(10, 30)].into_iter().collect());
        assert_eq!(state.open, [window(span(20, 40))]);
        state.cover(span(20, 40));
        assert_eq!(state.covered, [span(0, 10), span(30, 40)].into_iter().collect());
        assert_eq!(state.expire(Millis(30)), Intervals::default(), "returned once");
    }

    fn reserved(shard: &str, span: Span) -> Reserved {
        Reserved { shard: shard.into(), span, requests_per_minute: 1, at_once: None, until: Millis(9_000) }
    }

    #[test]
    fn a_reserved_gap_is_not_due() {
        let mut state = EventsState { live_from: Some(Millis(100)), ..EventsState::default() };
        state.cover(span(100, 200));
        state.asked.insert(span(0, 50));
        state.reserved = vec![reserved("a", span(0, 20)), reserved("b", span(20, 50))];
        assert_eq!(state.gaps(Millis(200)), [span(0, 50)].into_iter().collect());
        assert!(state.due(Millis(200)).is_empty() && state.unopened_gaps(Millis(200)).is_empty());
        assert_eq!(state.covered_to(), Some(Millis(200)), "reserved, so no lag");
        assert!(state.expire(Millis(10)).is_empty(), "the shard may have covered it");
        assert_eq!(state.free_within(span(0, 300)), [span(50, 100), span(200, 300)].into_iter().collect());
    }

    #[test]
    fn what_a_shard_came_to_is_taken_over_and_the_rest_is_due() {
        let lease = Lease { run_id: "a".into(), until: Millis(0) };
        let window =
            |span| Window { span, request: Value::Null, opened_at: Millis(0), opened_by: lease.clone(), resumed: 0 };

        let mut state = EventsState::default();
        state.asked.insert(span(0, 100));
        state.reserved = vec![reserved("a", span(0, 60)), reserved("b", span(60, 100))];

        let mut theirs = EventsState { open: vec![window(span(30, 40))], ..EventsState::default() };
        theirs.cover(span(10, 30));
        theirs.expired.insert(span(0, 10));
        assert!(!theirs.has_covered(state.reserved[0].span));

        state.merge("a", theirs.clone());
        assert_eq!(state.covered, [span(10, 30)].into_iter().collect());
        assert_eq!(state.expired, [span(0, 10)].into_iter().collect());
        assert_eq!(state.open, [window(span(30, 40))]);
        assert_eq!(state.due(Millis(200)), [span(30, 60)].into_iter().collect());
        assert_eq!(state.unopened_gaps(Millis(200)), [span(40, 60)].into_iter().collect());

        let merged = state.clone();
        state.merge("a", theirs);
        assert_eq!(state, merged, "once");
    }

    #[test]
    fn where_many_windows_wait_those_long_gone_do_not() {
        let recount = |to: i64| Recount {
            span: span(to - 1, to),
            request: Value::Null,
            count: 0,
            rows_hash: None,
            covered_at: Millis(1_000),
            due: vec![Millis(1_010), Millis(1_100)],
            read_by: None,
            deaths: 0,
            has_key: false,
            slices: None,
        };

        let mut state = EventsState { recount: vec![recount(1); MANY_RECOUNTS - 1], ..EventsState::default() };
        state.count_again([recount(1)]);
        assert_eq!(state.recount.len(), MANY_RECOUNTS);
        state.count_again([recount(899)]);
        assert_eq!(state.recount.len(), MANY_RECOUNTS);
        state.count_again([recount(900)]);
        assert_eq!(state.recount.len(), MANY_RECOUNTS + 1);
    }

    #[test]
    fn a_window_is_abandoned_long_after_its_opener_s_lease() {
        let opened_by = Lease { run_id: "a".into(), until: Millis(1_000) };
        let window = Window { span: span(0, 1), request: Value::Null, opened_at: Millis(0), opened_by, resumed: 0 };
        assert!(!window.is_abandoned(Millis(1_000) + TimeDelta::minutes(15)));
        assert!(window.is_abandoned(Millis(1_001) + TimeDelta::minutes(15)));
    }

    #[test]
    fn a_window_at_which_runs_die_again_and_again_rests_twice_as_long_each_time() {
        let opened_by = Lease { run_id: "a".into(), until: Millis(0) };
        let mut window = Window { span: span(0, 1), request: Value::Null, opened_at: Millis(0), opened_by, resumed: 0 };
        let minutes = [2, 3, 4, 5, 7, 8, 900].map(|resumed| {
            window.resumed = resumed;
            window.rests_until().map(|until| (until - Millis(0)).num_minutes())
        });
        assert_eq!(minutes, [None, Some(15), Some(30), Some(60), Some(240), Some(360), Some(360)]);
        window.end_rest();
        assert_eq!((window.resumed, window.rests_until()), (2, None));
    }
}
