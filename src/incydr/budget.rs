//! The request budget that all streams share: at most so many over any 60 seconds, kept from tick to tick.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::core::time::{MINUTE, Millis};

/// What is sent a minute apart may arrive a little less apart.
const SPAN: i64 = MINUTE + 500;

pub struct Budget {
    per_minute: AtomicUsize,
    sent: Mutex<VecDeque<Millis>>,
    /// The API wants to be left alone until then.
    paused_until: AtomicI64,
}

impl Budget {
    pub fn new(per_minute: usize) -> Self {
        Self { per_minute: per_minute.into(), sent: Mutex::default(), paused_until: AtomicI64::new(0) }
    }

    /// A run begins: from now on so many; what was sent counts as before, and a pause is over: the API says so again
    /// where it isn't.
    pub fn set(&self, per_minute: usize) {
        self.paused_until.store(0, Ordering::Relaxed);
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// The API said that there are too many requests: none of this process is sent before then.
    pub fn pause(&self, until: Millis) {
        self.paused_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// Takes one request of the budget at `now`, or answers how long to wait. By the wall clock, which goes on while
    /// the container is frozen; a clock that was set back forgets nothing.
    pub fn take(&self, now: Millis) -> Result<(), Duration> {
        let paused_until = Millis(self.paused_until.load(Ordering::Relaxed));
        if now < paused_until {
            return Err(paused_until.since(now));
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|first| *first + SPAN <= now) {
            sent.pop_front();
        }
        match sent.front() {
            Some(first) if sent.len() >= self.per_minute.load(Ordering::Relaxed) => {
                Err((*first + SPAN).since(now).clamp(Duration::from_millis(1), Duration::from_mins(1)))
            }
            _ => {
                let at = sent.back().map_or(now, |last| now.max(*last));
                sent.push_back(at);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sixty_seconds_ever_hold_more_than_the_budget() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let budget = Budget::new(5);
        let (mut now, mut sent) = (Millis(0), Vec::new());
        for _ in 0..2_000 {
            now = now + random.i64(0..8_000);
            if budget.take(now).is_ok() {
                sent.push(now);
            }
        }
        assert!(sent.windows(6).all(|six| six[5].0 - six[0].0 >= MINUTE), "seed {seed}");
    }

    #[test]
    fn a_pause_is_everybody_s_and_the_longest_counts() {
        let budget = Budget::new(2);
        budget.pause(Millis(5_000));
        budget.pause(Millis(3_000));
        assert_eq!(budget.take(Millis(1_000)), Err(Duration::from_secs(4)));
        assert_eq!(budget.take(Millis(5_000)), Ok(()));
    }

    #[test]
    fn the_wait_is_until_the_oldest_falls_out() {
        let budget = Budget::new(2);
        assert_eq!(budget.take(Millis(0)), Ok(()));
        assert_eq!(budget.take(Millis(10_000)), Ok(()));
        assert_eq!(budget.take(Millis(15_000)), Err(Duration::from_millis(45_500)));
        assert_eq!(budget.take(Millis(60_500)), Ok(()));
        assert_eq!(budget.take(Millis(60_501)), Err(Duration::from_millis(9_999)));
    }
}
