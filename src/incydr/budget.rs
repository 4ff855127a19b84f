//! The request budget that all streams share: a limit for any 60 seconds, counted on from run to run within the
//! process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;

use crate::core::shared::Shared;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

/// A minute and a margin, because requests that were sent a minute apart may arrive closer together.
const SPAN: TimeDelta = TimeDelta::milliseconds(60_500);
/// While streams of a higher priority are read, those of a lower one may send a fifth of the requests.
const SHARE: usize = 5;
/// A stream that gives way asks again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Held by the `Connection` for the life of the process, because requests of the run before count too.
pub struct Budget {
    /// The most requests in any 60 seconds.
    per_minute: AtomicUsize,
    state: Shared<BudgetState>,
    /// The end of the pause that the API asked for.
    paused_until: AtomicI64,
}

#[derive(Default)]
struct BudgetState {
    /// The instant and priority of each request of the last minute.
    sent: VecDeque<(Millis, Option<Priority>)>,
    /// The streams that are being read.
    streams: BTreeMap<Stream, QueuePlace>,
}

/// The first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Events,
    Versions,
    Inventory,
}

/// A stream's place in the queue. The smallest place is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuePlace {
    /// The number of runs in a row without progress.
    stalled: Reverse<u32>,
    priority: Priority,
    stream: Stream,
    /// The number of requests that a run needs for any progress and has not sent yet.
    least: usize,
    /// The number of requests that its windows under way need.
    planned: usize,
}

/// Holds a stream's place in the queue until it is dropped.
pub struct Turn<'a> {
    budget: &'a Budget,
    stream: Stream,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.budget.state().streams.remove(&self.stream);
    }
}

impl Priority {
    fn of(stream: Stream) -> Self {
        match stream.class() {
            Class::Events => Self::Events,
            Class::Versions | Class::Rescanned => Self::Versions,
            Class::Inventory | Class::Findings => Self::Inventory,
        }
    }

    /// A window of audit needs a count, a page, and a count after it. A list needs one page and one detail.
    fn least(self) -> usize {
        match self {
            Self::Events => 3,
            Self::Versions | Self::Inventory => 2,
        }
    }
}

impl BudgetState {
    fn forget_before(&mut self, now: Millis) {
        while self.sent.front().is_some_and(|(first, _)| *first + SPAN <= now) {
            self.sent.pop_front();
        }
    }

    /// Whether the stream may send the next request. `left` requests of `per_minute` are unsent.
    fn is_its_turn(&self, stream: Stream, left: usize, per_minute: usize) -> bool {
        let Some(ours) = self.streams.get(&stream) else { return true };
        let share = per_minute / SHARE;
        let mut before = self.streams.values().filter(|place| *place < ours);
        let gives_way = before.any(|place| place.priority < ours.priority);
        if gives_way && share > 0 && self.sent_for(ours.priority) >= share {
            return false;
        }
        left > self.kept_for_others(ours, per_minute)
    }

    /// The number of requests that are kept for the streams before this one, and for the shares of lower priorities.
    fn kept_for_others(&self, ours: &QueuePlace, per_minute: usize) -> usize {
        let share = per_minute / SHARE;
        let is_active = |priority: Priority| self.streams.values().any(|place| place.priority == priority);
        let lower = [Priority::Versions, Priority::Inventory].into_iter().filter(|lower| *lower > ours.priority);
        let unsent = |lower: Priority| share.saturating_sub(self.sent_for(lower));
        let shares: usize = lower.filter(|lower| is_active(*lower)).map(unsent).sum();
        let leasts: usize = self.streams.values().filter(|place| *place < ours).map(|place| place.least).sum();
        leasts + shares
    }

    /// The number of requests of this priority in the last minute.
    fn sent_for(&self, priority: Priority) -> usize {
        self.sent.iter().filter(|(_, of)| *of == Some(priority)).count()
    }
}

impl Budget {
    pub fn new(per_minute: usize) -> Self {
        Self { per_minute: per_minute.into(), state: Shared::default(), paused_until: AtomicI64::new(0) }
    }

    /// Called when a run begins. Sets the limit and ends any pause. If the pause should last longer, the API answers
    /// 429 again. Requests sent earlier still count.
    pub fn set(&self, per_minute: usize) {
        self.paused_until.store(0, Ordering::Relaxed);
        self.limit(per_minute);
    }

    /// Changes the limit during a run.
    pub fn limit(&self, per_minute: usize) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// Adds a stream to the queue until the returned turn is dropped. `stalled` is the number of runs in a row without
    /// progress: the stream with the most is served first.
    pub fn enter(&self, stream: Stream, stalled: u32) -> Turn<'_> {
        let priority = Priority::of(stream);
        let place = QueuePlace { stalled: Reverse(stalled), priority, stream, least: priority.least(), planned: 0 };
        self.state().streams.insert(stream, place);
        Turn { budget: self, stream }
    }

    /// Called after a 429: no request of this process is sent before `until`.
    pub fn pause(&self, until: Millis) {
        self.paused_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// Takes one request from the budget, or returns how long to wait. Uses the wall clock, because Lambda freezes the
    /// container while time goes on. If the clock is set back, no request is forgotten.
    pub fn take(&self, now: Millis, stream: Option<Stream>) -> Result<(), Duration> {
        let paused_until = Millis(self.paused_until.load(Ordering::Relaxed));
        if now < paused_until {
            return Err(paused_until.since(now));
        }
        let per_minute = self.per_minute.load(Ordering::Relaxed);
        let mut state = self.state();
        state.forget_before(now);
        if let Some((first, _)) = state.sent.front()
            && state.sent.len() >= per_minute
        {
            return Err((*first + SPAN).since(now).clamp(Duration::from_millis(1), Duration::from_mins(1)));
        }
        let left = per_minute - state.sent.len();
        if stream.is_some_and(|stream| !state.is_its_turn(stream, left, per_minute)) {
            return Err(ASK_AGAIN_AFTER);
        }
        let at = state.sent.back().map_or(now, |(last, _)| now.max(*last));
        state.sent.push_back((at, stream.map(Priority::of)));
        if let Some(place) = stream.and_then(|stream| state.streams.get_mut(&stream)) {
            place.least = place.least.saturating_sub(1);
        }
        Ok(())
    }

    /// Notes how many requests the stream's windows under way need, sent or not. Returns how many more the stream may
    /// plan to send before `until`: those that no stream has planned and that are not kept for others.
    pub fn plan(&self, stream: Stream, planned: usize, now: Millis, until: Millis) -> usize {
        let now = now.max(Millis(self.paused_until.load(Ordering::Relaxed)));
        let per_minute = self.per_minute.load(Ordering::Relaxed);
        let mut state = self.state();
        state.forget_before(now);
        if let Some(place) = state.streams.get_mut(&stream) {
            place.planned = planned;
        }
        let length = until.since(now);
        if length.is_zero() {
            return 0;
        }
        let [length, minute] = [length, SPAN.to_std().unwrap_or_default()].map(|length| length.as_millis());
        let rest = until - TimeDelta::milliseconds(i64::try_from(length / minute * minute).unwrap_or(i64::MAX));
        let unsent = per_minute.saturating_sub(state.sent.len());
        let forgotten = state.sent.iter().filter(|(sent, _)| *sent + SPAN < rest).count();
        let minutes = usize::try_from(length / minute).unwrap_or(usize::MAX);
        let allowed = per_minute.saturating_mul(minutes).saturating_add(per_minute.min(unsent + forgotten));
        let kept = state.streams.get(&stream).map_or(0, |ours| state.kept_for_others(ours, per_minute));
        let planned: usize = state.streams.values().map(|place| place.planned).sum();
        allowed.saturating_sub(kept + planned)
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sixty_seconds_ever_hold_more_than_the_budget() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let budget = Budget::new(5);
        let (mut now, mut sent) = (Millis(0), Vec::new());
        for _ in 0..2_000 {
            now = now + TimeDelta::milliseconds(random.i64(0..8_000));
            if budget.take(now, None).is_ok() {
                sent.push(now);
            }
        }
        assert!(sent.windows(6).all(|six| six[5] - six[0] >= TimeDelta::minutes(1)), "seed {seed}");
    }

    #[test]
    fn a_pause_is_everybody_s_and_the_longest_counts() {
        let budget = Budget::new(2);
        budget.pause(Millis(5_000));
        budget.pause(Millis(3_000));
        assert_eq!(budget.take(Millis(1_000), None), Err(Duration::from_secs(4)));
        assert_eq!(budget.take(Millis(5_000), None), Ok(()));
    }

    #[test]
    fn the_wait_is_until_the_oldest_falls_out() {
        let budget = Budget::new(2);
        assert_eq!(budget.take(Millis(0), None), Ok(()));
        assert_eq!(budget.take(Millis(10_000), None), Ok(()));
        assert_eq!(budget.take(Millis(15_000), None), Err(Duration::from_millis(45_500)));
        assert_eq!(budget.take(Millis(60_500), None), Ok(()));
        assert_eq!(budget.take(Millis(60_501), None), Err(Duration::from_millis(9_999)));
    }

    /// Returns how many requests each stream gets if all of them always want another.
    fn taken(per_minute: usize, streams: &[(Stream, u32)]) -> Vec<usize> {
        let budget = Budget::new(per_minute);
        let turns: Vec<Turn<'_>> = streams.iter().map(|(stream, stalled)| budget.enter(*stream, *stalled)).collect();
        let mut taken = vec![0; turns.len()];
        for _ in 0..per_minute {
            for (turn, taken) in turns.iter().zip(&mut taken).rev() {
                *taken += usize::from(budget.take(Millis(0), Some(turn.stream)).is_ok());
            }
        }
        taken
    }

    #[test]
    fn what_may_be_planned_is_what_can_be_sent_until_the_end_without_what_others_have_planned_or_keep() {
        let (budget, second) = (Budget::new(10), TimeDelta::seconds(1));
        let _events = budget.enter(Stream::FileEvents, 0);
        let plan = |planned, now: i64, until: i64| {
            budget.plan(
                Stream::FileEvents,
                planned,
                Millis(0) + second * i32::try_from(now).expect("small"),
                Millis(0) + second * i32::try_from(until).expect("small"),
            )
        };
        assert_eq!((plan(0, 0, 20), plan(4, 0, 20), plan(0, 0, 61), plan(0, 0, 130)), (10, 6, 20, 30));
        for _ in 0..4 {
            assert_eq!(budget.take(Millis(0), Some(Stream::FileEvents)), Ok(()));
        }
        assert_eq!((plan(0, 1, 20), plan(0, 50, 70)), (6, 10), "after a minute they may be sent again");
        let _audit = budget.enter(Stream::Audit, 0);
        assert_eq!(budget.plan(Stream::Audit, 3, Millis(1_000), Millis(20_000)), 3);
        assert_eq!(plan(0, 1, 20), 3, "three are planned by the other");
        budget.pause(Millis(15_000));
        assert_eq!(plan(0, 1, 10), 0);
    }

    #[test]
    fn lists_have_a_share_while_events_are_read_and_all_of_it_afterwards() {
        let (events, users) = ((Stream::FileEvents, 0), (Stream::Users, 0));
        assert_eq!(taken(100, &[events, users]), [80, 20]);
        assert_eq!(taken(100, &[events, (Stream::Cases, 0), users]), [60, 20, 20]);
        assert_eq!(taken(100, &[(Stream::Cases, 0), users]), [80, 20]);
        assert_eq!(taken(100, &[users]), [100]);
        let budget = Budget::new(100);
        let (of_events, _of_users) = (budget.enter(Stream::FileEvents, 0), budget.enter(Stream::Users, 0));
        assert!((0..20).all(|_| budget.take(Millis(0), Some(Stream::Users)).is_ok()));
        assert_eq!(budget.take(Millis(0), Some(Stream::Users)), Err(ASK_AGAIN_AFTER));
        drop(of_events);
        assert!((0..80).all(|_| budget.take(Millis(0), Some(Stream::Users)).is_ok()));
    }

    #[test]
    fn a_budget_too_small_for_all_serves_in_turn_and_whole() {
        let (events, audit) = (Stream::FileEvents, Stream::Audit);
        let first = taken(3, &[(events, 0), (audit, 0)]);
        assert!(first == [3, 0] || first == [0, 3], "{first:?}");
        assert_eq!(taken(3, &[(events, 0), (audit, 1)]), [0, 3]);
        assert_eq!(taken(3, &[(events, 2), (audit, 1)]), [3, 0]);
        let six = [Stream::Audit, Stream::FileEvents, Stream::Cases, Stream::Sessions, Stream::Users, Stream::Agents];
        let mut stalled = [0; 6];
        let mut waited = [0; 6];
        for _ in 0..40 {
            let streams: Vec<(Stream, u32)> = six.into_iter().zip(stalled).collect();
            for (n, taken) in taken(6, &streams).into_iter().enumerate() {
                let is_served = taken >= Priority::of(six[n]).least();
                stalled[n] = if is_served { 0 } else { stalled[n] + 1 };
                waited[n] = stalled[n].max(waited[n]);
            }
        }
        assert!(waited.iter().all(|runs| *runs <= 4), "{waited:?}");
    }
}
