//! A run's counters: requests to the API, and stored records.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Intervals;
use crate::core::shared::{Count, Shared};
use crate::core::stuck::StuckItem;

/// Counts requests and their results.
#[derive(Debug, Default)]
pub struct Calls {
    pub requests: Count,
    /// Complete answers of any status.
    pub responses: Count,
    /// Answers with a 2xx.
    pub successes: Count,
    pub retries: Count,
    /// Answers with a 429.
    pub throttles: Count,
    /// The longest wait for an answer that the end of the time cut off, in milliseconds.
    pub longest_silence_ms: Count,
    /// The longest wait for an answer that came, in milliseconds.
    pub longest_wait_ms: Count,
    /// The message of a 429 after which the time was up. None if none of these requests ended so.
    pub last_throttle: Shared<Option<String>>,
    /// The last error of requests for single records or lists, if the time was up and none was answered after it.
    pub last_failure: Shared<Option<ErrorInfo>>,
    /// Records and lists that were throttled, or failed while nothing showed whether the API works, in this run or before,
    /// and were not answered since.
    pub throttled_items: Shared<BTreeSet<StuckItem>>,
}

/// A request that the end of the run cut off after less than this says nothing about the API.
pub const SIGNIFICANT_WAIT: Duration = Duration::from_secs(2);

impl Calls {
    pub fn note_silence(&self, waited: Duration) {
        self.longest_silence_ms.raise_to_ms(waited);
    }

    pub fn note_wait(&self, waited: Duration) {
        self.longest_wait_ms.raise_to_ms(waited.max(Duration::from_millis(1)));
    }

    /// The longest wait for an answer. None if none has come yet.
    pub fn longest_wait(&self) -> Option<Duration> {
        let waited = Duration::from_millis(self.longest_wait_ms.get());
        (!waited.is_zero()).then_some(waited)
    }

    /// The longest wait, if the API answered nothing at all.
    pub fn unanswered(&self) -> Option<Duration> {
        let waited = Duration::from_millis(self.longest_silence_ms.get());
        (self.responses.get() == 0 && waited >= SIGNIFICANT_WAIT).then_some(waited)
    }
}

/// The counters of one stream in one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub records: Count,
    pub objects: Count,
    pub bytes: Count,
    pub calls: Calls,
    pub set_aside: Count,
    /// Unreadable rows of windows that failed because too many of their rows can't be read.
    pub drift: Count,
    /// Late records, and the longest time in milliseconds from a late record's own time until its window was covered.
    /// The record became visible later than that, so a settle time of that length would have been too short.
    pub late: Count,
    pub late_by: Count,
    /// Rows that the API counted when their window was covered and doesn't count any more.
    pub vanished: Count,
    /// Windows, counts and recounts that failed in this run. A part of a window that failed counts again.
    pub failed_windows: Count,
    /// The spans that expired in this run. If the run was asked for a span, also the parts of it that had expired
    /// before.
    pub expired: Shared<Intervals>,
}
