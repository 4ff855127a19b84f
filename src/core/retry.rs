//! The retry policies for the API and for S3.

use std::time::Duration;

use crate::core::time::Millis;

/// Limits the attempts of one request by number and by elapsed time. The run's deadline limits them as well. Callers
/// decide which errors they retry: `ApiError::may_be_retried` for the API, `classify` in `bucket/store.rs` for S3.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The most attempts, including the first.
    pub attempts: u32,
    /// No attempt begins later than this after the first, unless the server asked for the pause.
    pub elapsed: Duration,
    /// The longest first pause. It doubles with each attempt.
    pub base: Duration,
    /// The longest pause of our own. The server may ask for a longer one.
    pub cap: Duration,
}

/// Six attempts with pauses of up to 0.25, 0.5, 1, 2 and 4 seconds.
pub const API: Policy = Policy {
    attempts: 6,
    elapsed: Duration::from_mins(3),
    base: Duration::from_millis(250),
    cap: Duration::from_secs(20),
};

/// Six attempts with pauses of up to 0.1, 0.2, 0.4, 0.8 and 1.6 seconds.
pub const S3: Policy = Policy {
    attempts: 6,
    elapsed: Duration::from_mins(1),
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};

/// The codes with which AWS says that the container's credentials have expired.
const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"];

pub fn are_credentials_expired(code: Option<&str>) -> bool {
    code.is_some_and(|code| EXPIRED.contains(&code))
}

/// The attempts of one request so far.
#[derive(Debug)]
pub struct Attempts {
    policy: Policy,
    made: u32,
    /// The number of attempts that were answered with 429.
    throttled: u32,
    began: Millis,
}

impl Policy {
    pub fn begin(self) -> Attempts {
        Attempts { policy: self, made: 0, throttled: 0, began: Millis::now() }
    }

    fn pause(&self, nth: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.base.saturating_mul(1 << (nth - 1).min(16)).min(self.cap);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default())
    }
}

impl Attempts {
    /// Returns the pause before the next attempt, or none if there is none. The pause is random, between half and all
    /// of a doubling value, so that callers spread out. It is at least `asked`, the server's `Retry-After`.
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.made += 1;
        let pause = self.policy.pause(self.made, asked);
        let elapsed = Millis::now().since(self.began);
        // If the server asks for a longer pause, it is kept. Only the deadline limits it.
        let in_time = asked.is_some() || elapsed + pause <= self.policy.elapsed;
        let goes_on = self.made < self.policy.attempts && in_time;
        goes_on.then_some(pause)
    }

    /// The pause after a 429. A 429 says nothing about the request itself, so no number of them ends the attempts: only
    /// the deadline does.
    pub fn throttled_pause(&mut self, asked: Option<Duration>) -> Duration {
        self.throttled += 1;
        self.policy.pause(self.throttled, asked)
    }
}

/// Sleeps, unless that would end after `until`. Returns whether it slept.
pub async fn sleep_within(pause: Duration, until: Millis) -> bool {
    if pause >= until.since(Millis::now()) {
        return false;
    }
    tokio::time::sleep(pause).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::MINUTE;

    #[test]
    fn attempts_and_elapsed_time_both_end_it() {
        let mut attempts = API.begin();
        let pauses = std::iter::from_fn(|| attempts.pause(None)).count();
        assert_eq!(pauses, 5);
        let mut long_ago = Attempts { began: Millis::now() - MINUTE * 10, ..API.begin() };
        assert_eq!(long_ago.pause(None), None);
    }

    #[test]
    fn the_server_s_own_wish_is_followed() {
        assert_eq!(API.begin().pause(Some(Duration::from_hours(1))), Some(Duration::from_hours(1)));
        let at_once = API.begin().pause(Some(Duration::ZERO)).expect("one more");
        assert!(at_once >= API.base / 2, "but never sooner than by our own pause: {at_once:?}");
    }

    #[test]
    fn no_number_of_429s_ends_the_attempts_or_takes_one_of_the_others() {
        let mut attempts = API.begin();
        for nth in 0..50 {
            let pause = attempts.throttled_pause(None);
            assert!(pause <= API.cap && (nth < 10 || pause >= API.cap / 2), "{nth}: {pause:?}");
        }
        assert_eq!(attempts.throttled_pause(Some(Duration::from_mins(5))), Duration::from_mins(5));
        assert_eq!(std::iter::from_fn(|| attempts.pause(None)).count(), 5);
    }

    #[test]
    fn a_pause_doubles_and_is_spread() {
        let mut attempts = S3.begin();
        for whole in [100, 200, 400] {
            let pause = attempts.pause(None).expect("one more").as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        }
    }
}
