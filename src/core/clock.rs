//! The clock. A thread of the simulation has one of its own, and does there what else would be another thread's work.

use std::cell::Cell;

use chrono::Utc;

thread_local! {
    static SIMULATED: Cell<Option<fn() -> i64>> = const { Cell::new(None) };
}

/// This machine's clock, or the simulation's, in milliseconds since the epoch.
pub fn now() -> i64 {
    SIMULATED.get().map_or_else(|| Utc::now().timestamp_millis(), |now| now())
}

/// From now on this thread has that clock. Its timers are tokio's, whose time is to be paused.
pub fn simulate(now: fn() -> i64) {
    SIMULATED.set(Some(now));
}

/// Whether time is simulated on this thread. There the same must happen in the same order whenever it is played.
pub fn is_simulated() -> bool {
    SIMULATED.get().is_some()
}

/// Work that takes long, such as gzip, is done beside the thread that drives all requests: it would hold them all up.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if is_simulated() {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
