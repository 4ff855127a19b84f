//! A run's counters: requests to the API, and stored records.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::core::intervals::Intervals;

/// Counts requests and their results.
#[derive(Debug, Default)]
pub struct Calls {
    pub requests: AtomicU64,
    /// Complete answers of any status.
    pub heard: AtomicU64,
    /// Answers with a 2xx.
    pub answers: AtomicU64,
    pub retries: AtomicU64,
    /// Answers with a 429.
    pub throttles: AtomicU64,
    /// The longest wait for an answer that the end of the time cut off, in milliseconds.
    pub silence: AtomicU64,
    /// The longest wait for an answer that came, in milliseconds.
    pub wait: AtomicU64,
    /// The message of a 429 after which the time was up.
    pub last_throttle: Mutex<Option<String>>,
}

/// A request that the end of the run cut off after less than this says nothing about the API.
pub const PATIENCE: Duration = Duration::from_secs(2);

impl Calls {
    pub fn note_silence(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.silence.fetch_max(waited, Ordering::Relaxed);
    }

    pub fn note_wait(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.wait.fetch_max(waited.max(1), Ordering::Relaxed);
    }

    /// The longest wait for an answer. None if none has come yet.
    pub fn longest_wait(&self) -> Option<Duration> {
        let waited = Duration::from_millis(self.wait.load(Ordering::Relaxed));
        (!waited.is_zero()).then_some(waited)
    }

    /// The longest wait, if the API answered nothing at all.
    pub fn unanswered(&self) -> Option<Duration> {
        let waited = Duration::from_millis(self.silence.load(Ordering::Relaxed));
        (self.heard.load(Ordering::Relaxed) == 0 && waited >= PATIENCE).then_some(waited)
    }
}

/// The counters of one stream in one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub records: AtomicU64,
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
    pub calls: Calls,
    pub set_aside: AtomicU64,
    /// Unreadable rows of windows that failed because too many of their rows can't be read.
    pub drift: AtomicU64,
    /// Late records, and the longest time in milliseconds from a late record's own time until its window was covered.
    /// The record became visible later than that, so a settle time of that length would have been too short.
    pub late: AtomicU64,
    pub late_by: AtomicI64,
    /// Rows that the API counted when their window was covered and doesn't count any more.
    pub vanished: AtomicU64,
    /// Windows, counts and recounts that failed in this run. A part of a window that failed counts again.
    pub failed_windows: AtomicU64,
    /// The spans that expired in this run. If it was asked for a span, also what of that had expired before.
    pub expired: Mutex<Intervals>,
}
