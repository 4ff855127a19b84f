//! What one run counts: its requests to the API, and what it stored.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::core::intervals::Intervals;

/// How often the API was asked, and what came of it.
#[derive(Debug, Default)]
pub struct Calls {
    pub requests: AtomicU64,
    /// What arrived whole, whatever it says.
    pub heard: AtomicU64,
    /// With a 2xx.
    pub answers: AtomicU64,
    pub retries: AtomicU64,
    /// With a 429.
    pub throttles: AtomicU64,
    /// The longest that a request had waited for an answer when the time was up, in milliseconds.
    pub silence: AtomicU64,
}

/// A request that waited less for its answer, when the run's time was up, tells nothing of the API.
pub const PATIENCE: Duration = Duration::from_secs(2);

impl Calls {
    pub fn note_silence(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.silence.fetch_max(waited, Ordering::Relaxed);
    }

    /// How long was waited in vain, where nothing at all was heard.
    pub fn unanswered(&self) -> Option<Duration> {
        let waited = Duration::from_millis(self.silence.load(Ordering::Relaxed));
        (self.heard.load(Ordering::Relaxed) == 0 && waited >= PATIENCE).then_some(waited)
    }
}

/// One stream's figures in one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub records: AtomicU64,
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
    pub calls: Calls,
    pub set_aside: AtomicU64,
    /// Rows of windows of which too many can't be read for these to be set aside one by one.
    pub drift: AtomicU64,
    /// Records that showed up after their window was covered, and how long after their own time that was at the
    /// least, in milliseconds: a settle time as long as the longest would have waited for them all.
    pub late: AtomicU64,
    pub late_by: AtomicI64,
    /// Rows that the API counted when their window was covered, and counts no longer.
    pub vanished: AtomicU64,
    /// What this run had to give up, for the API keeps it no longer.
    pub expired: Mutex<Intervals>,
}
