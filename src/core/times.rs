//! Divides a run's time into phases.

use chrono::TimeDelta;

use crate::core::time::Millis;

const MOST_KEPT: TimeDelta = TimeDelta::seconds(10);

/// The ends of a run's phases: reading, storing, writing the manifest and health records, committing.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub began: Millis,
    pub read_until: Millis,
    pub store_until: Millis,
    pub tell_until: Millis,
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
            tell_until: deadline - kept * 3 / 10,
            commit_until: deadline - kept / 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_fifth_of_the_time_is_kept_back() {
        let times = Times::new(Millis(0), Millis(4_000));
        assert_eq!(
            (times.read_until, times.store_until, times.tell_until, times.commit_until),
            (Millis(3_200), Millis(3_600), Millis(3_760), Millis(3_920))
        );
        assert_eq!(Times::new(Millis(0), Millis(900_000)).read_until, Millis(890_000));
        assert_eq!(Times::new(Millis(5_000), Millis(4_000)).read_until, Millis(4_000));
    }
}
