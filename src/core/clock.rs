//! The clock. In a simulation it is a virtual one, and work that would be another thread's is done at once.

use std::cell::Cell;

use chrono::Utc;

thread_local! {
    static SIMULATED: Cell<Option<fn() -> i64>> = const { Cell::new(None) };
}

/// The machine's clock or the simulation's, in milliseconds since the epoch.
pub fn now() -> i64 {
    SIMULATED.get().map_or_else(|| Utc::now().timestamp_millis(), |now| now())
}

/// Gives this thread a simulated clock. Its timers are tokio's, whose time must be paused.
pub fn simulate(now: fn() -> i64) {
    SIMULATED.set(Some(now));
}

/// Whether this thread's time is simulated. Then every run must do the same things in the same order.
pub fn is_simulated() -> bool {
    SIMULATED.get().is_some()
}

/// Does slow work, such as gzip, outside of the thread that drives all requests.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if is_simulated() {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
