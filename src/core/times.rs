//! Divides a run's time into phases.

use std::time::Duration;

use chrono::TimeDelta;

use crate::core::time::Millis;

/// At most this much of a run's time is kept back for what follows reading.
const MOST_KEPT: TimeDelta = TimeDelta::seconds(10);
/// The lease ends this long after the deadline, for requests that were sent just before it.
pub const LEASE_AFTER_DEADLINE: TimeDelta = TimeDelta::seconds(5);

/// The ends of a run's phases: reading, storing, writing the manifest and health records, committing.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub began: Millis,
    pub read_until: Millis,
    pub store_until: Millis,
    pub report_until: Millis,
    pub commit_until: Millis,
}

impl Times {
    /// Keeps back at most a fifth of the time, and at most ten seconds.
    pub fn new(began: Millis, deadline: Millis) -> Self {
        let kept = ((deadline - began) / 5).clamp(TimeDelta::zero(), MOST_KEPT);
        Self {
            began,
            read_until: deadline - kept,
            store_until: deadline - kept / 2,
            report_until: deadline - kept * 3 / 10,
            commit_until: deadline - kept / 10,
        }
    }

    /// If S3 takes long over a write, ends storing and reporting so early that the last commit has time for a write,
    /// but not before reading ends: at most a fifth of the time is kept back.
    #[must_use]
    pub fn with_time_to_commit(self, write_takes: Duration) -> Self {
        let needed = TimeDelta::from_std(write_takes * 5 / 4).unwrap_or_default();
        let last = (self.commit_until - needed).max(self.read_until);
        Self { store_until: self.store_until.min(last), report_until: self.report_until.min(last), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_fifth_of_the_time_is_kept_back() {
        let times = Times::new(Millis(0), Millis(4_000));
        assert_eq!(
            (times.read_until, times.store_until, times.report_until, times.commit_until),
            (Millis(3_200), Millis(3_600), Millis(3_760), Millis(3_920))
        );
        let slow = times.with_time_to_commit(Duration::from_millis(400));
        assert_eq!(
            (slow.store_until, slow.report_until, slow.commit_until),
            (Millis(3_420), Millis(3_420), Millis(3_920))
        );
        let slower = times.with_time_to_commit(Duration::from_secs(3));
        assert_eq!((slower.read_until, slower.store_until), (Millis(3_200), Millis(3_200)), "a fifth is the most");
        assert_eq!(times.with_time_to_commit(Duration::from_millis(100)).report_until, times.report_until);
        assert_eq!(Times::new(Millis(0), Millis(900_000)).read_until, Millis(890_000));
        assert_eq!(Times::new(Millis(5_000), Millis(4_000)).read_until, Millis(4_000));
    }
}
