//! The time that the surroundings go by: this machine's, or on a thread of a simulation that of its runtime, which is
//! paused and goes on by itself whenever nobody has anything to do.

use std::cell::Cell;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

thread_local! {
    static BEGAN: Cell<Option<(Instant, DateTime<Utc>)>> = const { Cell::new(None) };
    /// How far the clock of the container that is running now is ahead.
    static AHEAD: Cell<TimeDelta> = const { Cell::new(TimeDelta::zero()) };
}

pub fn now() -> DateTime<Utc> {
    match BEGAN.get() {
        None => Utc::now(),
        Some((began, at)) => at + TimeDelta::from_std(began.elapsed()).expect("no simulation lasts for so long"),
    }
}

/// From now on this thread's time is that of its runtime, and it is `at` now.
pub fn simulate(at: DateTime<Utc>) {
    BEGAN.set(Some((Instant::now(), at)));
}

pub fn is_simulated() -> bool {
    BEGAN.get().is_some()
}

/// What the container that is running now takes for the time.
pub fn now_in_container() -> DateTime<Utc> {
    now() + AHEAD.get()
}

/// What a container does while its clock is ahead by so much.
pub(crate) fn ahead_by<T>(ahead: TimeDelta, act: impl FnOnce() -> T) -> T {
    let before = AHEAD.replace(ahead);
    let done = act();
    AHEAD.set(before);
    done
}
