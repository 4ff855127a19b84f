//! The simulator's clock. It is the machine's, or, on a thread of a simulation, the runtime's paused clock, which
//! advances whenever nobody has anything to do.

use std::cell::Cell;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

thread_local! {
    static BEGAN: Cell<Option<(Instant, DateTime<Utc>)>> = const { Cell::new(None) };
    /// The clock of the running container is this far ahead.
    static AHEAD: Cell<TimeDelta> = const { Cell::new(TimeDelta::zero()) };
}

pub fn now() -> DateTime<Utc> {
    match BEGAN.get() {
        None => Utc::now(),
        Some((began, at)) => at + TimeDelta::from_std(began.elapsed()).expect("no simulation lasts for so long"),
    }
}

/// Uses the runtime's time on this thread from now on, starting at `at`.
pub fn simulate(at: DateTime<Utc>) {
    BEGAN.set(Some((Instant::now(), at)));
}

pub fn is_simulated() -> bool {
    BEGAN.get().is_some()
}

/// The time by the running container's clock.
pub fn now_in_container() -> DateTime<Utc> {
    now() + AHEAD.get()
}

/// Calls `act` with a container's clock that is ahead.
pub(crate) fn ahead_by<T>(ahead: TimeDelta, act: impl FnOnce() -> T) -> T {
    let before = AHEAD.replace(ahead);
    let done = act();
    AHEAD.set(before);
    done
}
