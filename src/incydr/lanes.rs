//! Limits how many windows all streams together read at once. The limit grows while the API is what we wait for, and
//! halves when the API refuses a request or takes too long.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use crate::core::clock;
use crate::core::shared::Shared;
use crate::core::time::{MINUTE, Millis};

const AT_FIRST: usize = 2;
/// Limits memory: each lane may hold the compressed records of a window.
const AT_MOST: usize = 5;
/// The limit doesn't grow for a minute after a refusal, because the vendor's rate limit is per minute.
const NO_RAISE_AFTER_REFUSAL: TimeDelta = MINUTE;
/// Decay of the running averages, per answer.
const AVERAGE_DECAY: f64 = 0.8;

/// Held by the `Connection` for the life of the process, and shared by all streams.
pub struct Lanes {
    state: Shared<LaneState>,
    /// Notified when there may be room for another lane.
    room: Notify,
    /// Taken by a window that needs more memory than others.
    heavy: Arc<AsyncMutex<()>>,
    /// The machine's cores: beyond them, more answers at once are of use only while the API makes us wait.
    cores: f64,
}

struct LaneState {
    /// The limit of lanes. Each stream's first is granted even beyond it.
    allowed: usize,
    /// The number of lanes, each stream's first included.
    taken: usize,
    /// Running averages of recent answers, in seconds: until the answer began, and from then until it was read.
    waited: f64,
    read: f64,
    /// The last change of the limit since the first refusal. The limit is not raised for a minute after it. None before
    /// the first refusal.
    calm_since: Option<Millis>,
}

/// The right to read one window, until it is dropped.
pub struct Lane<'a>(&'a Lanes);

impl Default for Lanes {
    fn default() -> Self {
        // A simulation must be the same on every machine.
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(if clock::is_simulated() { 2 } else { cores() })
    }
}

impl Lanes {
    #[allow(clippy::cast_precision_loss)]
    fn new(cores: usize) -> Self {
        let state = LaneState { allowed: AT_FIRST, taken: 0, waited: 0.0, read: 0.0, calm_since: None };
        Self { state: Shared::new(state), room: Notify::new(), heavy: Arc::default(), cores: cores as f64 }
    }

    /// A stream's first lane. Streams never wait for each other.
    pub fn first(&self) -> Lane<'_> {
        self.state().taken += 1;
        Lane(self)
    }

    /// Another lane, if the limit allows it.
    pub fn another(&self) -> Option<Lane<'_>> {
        let mut state = self.state();
        let has_room = state.taken < state.allowed;
        has_room.then(|| {
            state.taken += 1;
            Lane(self)
        })
    }

    /// Waits until there may be room for another lane.
    pub async fn room(&self) {
        self.room.notified().await;
    }

    /// Waits for the turn of a window that needs more memory than windows may take: one of them is in memory at a time,
    /// until its guard is dropped.
    pub async fn heavy(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.heavy).lock_owned().await
    }

    /// Called after an answer that began after `waited` and took `read` to be read. Raises the limit if most of the
    /// time was spent waiting for the API. Doesn't raise it if the budget held the request up, or soon after a refusal.
    pub fn note_answer(&self, waited: Duration, read: Duration, was_held_up: bool, now: Millis) {
        let mut state = self.state();
        state.waited = state.waited * AVERAGE_DECAY + waited.as_secs_f64();
        state.read = state.read * AVERAGE_DECAY + read.as_secs_f64();
        let is_calm = state.calm_since.is_none_or(|since| since + NO_RAISE_AFTER_REFUSAL <= now);
        let of_use = self.cores * (1.0 + state.waited / state.read.max(0.001));
        #[allow(clippy::cast_precision_loss)]
        let is_of_use = (state.allowed as f64) < of_use;
        if !was_held_up && is_calm && is_of_use && state.allowed < AT_MOST {
            state.allowed += 1;
            state.calm_since = state.calm_since.map(|_| now);
            self.room.notify_waiters();
        }
    }

    /// Halves the limit, because the API refused a request that was sent at `sent_at`, or took too long. Refusals of
    /// requests sent before the last change of the limit don't count.
    pub fn note_refusal(&self, sent_at: Millis, now: Millis) {
        let mut state = self.state();
        if state.calm_since.is_none_or(|since| since < sent_at) {
            state.allowed = (state.allowed / 2).max(1);
            state.calm_since = Some(now);
        }
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock()
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.0.state().taken -= 1;
        self.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(2);
    const QUICK: Duration = Duration::from_millis(10);

    fn allowed(lanes: &Lanes) -> usize {
        lanes.state().allowed
    }

    #[test]
    fn it_grows_while_the_api_makes_us_wait_and_not_beyond_what_memory_bears() {
        let lanes = Lanes::new(2);
        for _ in 0..20 {
            lanes.note_answer(SLOW, QUICK, false, Millis(0));
        }
        assert_eq!(allowed(&lanes), AT_MOST);
    }

    #[test]
    fn more_than_the_cores_can_take_in_are_of_no_use() {
        let lanes = Lanes::new(2);
        for _ in 0..20 {
            lanes.note_answer(QUICK, SLOW, false, Millis(0));
        }
        assert_eq!(allowed(&lanes), 3);
    }

    #[test]
    fn a_spent_budget_is_no_reason_to_grow() {
        let lanes = Lanes::new(2);
        lanes.note_answer(SLOW, QUICK, true, Millis(0));
        assert_eq!(allowed(&lanes), AT_FIRST);
    }

    #[test]
    fn a_refusal_halves_once_and_is_followed_by_a_minute_of_calm() {
        let lanes = Lanes::new(2);
        for _ in 0..20 {
            lanes.note_answer(SLOW, QUICK, false, Millis(0));
        }
        for _ in 0..5 {
            lanes.note_refusal(Millis(900), Millis(1_000));
        }
        assert_eq!(allowed(&lanes), AT_MOST / 2);
        lanes.note_answer(SLOW, QUICK, false, Millis(30_000));
        assert_eq!(allowed(&lanes), AT_MOST / 2);
        for _ in 0..5 {
            lanes.note_answer(SLOW, QUICK, false, Millis(61_000));
        }
        assert_eq!(allowed(&lanes), AT_MOST / 2 + 1, "one a minute from now on");
        for sent_at in [70_000, 80_000, 90_000] {
            lanes.note_refusal(Millis(sent_at), Millis(sent_at + 10));
        }
        assert_eq!(allowed(&lanes), 1);
    }

    #[test]
    fn a_lane_is_free_again_when_it_is_dropped_and_the_first_is_always_there() {
        let lanes = Lanes::new(1);
        let (_first, second) = (lanes.first(), lanes.another());
        assert!(second.is_some() && lanes.another().is_none());
        let _of_another_stream = lanes.first();
        drop(second);
        assert!(lanes.another().is_none(), "the other stream's counts too");
    }
}
