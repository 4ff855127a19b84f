//! When a request that failed is sent again: plain data, the same for the API and S3.

use std::time::Duration;

use crate::core::time::Millis;

/// Bounded by attempts and by elapsed time; the deadline bounds it besides.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub attempts: u32,
    pub elapsed: Duration,
    /// The longest first pause; it doubles with each attempt.
    pub base: Duration,
    pub cap: Duration,
}

pub const API: Policy = Policy {
    attempts: 6,
    elapsed: Duration::from_mins(3),
    base: Duration::from_millis(250),
    cap: Duration::from_secs(20),
};

pub const S3: Policy = Policy {
    attempts: 6,
    elapsed: Duration::from_mins(1),
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};

/// Codes by which AWS says that the credentials with which the container began are over.
const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"];

pub fn are_credentials_expired(code: Option<&str>) -> bool {
    code.is_some_and(|code| EXPIRED.contains(&code))
}

/// One request's attempts so far.
#[derive(Debug)]
pub struct Attempts {
    policy: Policy,
    made: u32,
    began: Millis,
}

impl Policy {
    pub fn begin(self) -> Attempts {
        Attempts { policy: self, made: 0, began: Millis::now() }
    }
}

impl Attempts {
    /// How long to pause before the next attempt, or `None` when that was the last: between half and the whole of a
    /// doubling pause, so that callers spread out, and no shorter than the server's own wish, `asked` (`Retry-After`).
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.made += 1;
        let doubled = self.policy.base.saturating_mul(1 << (self.made - 1).min(16)).min(self.policy.cap);
        let pause = doubled.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default());
        let elapsed = Millis::now().since(self.began);
        // A server that says for how long it wants to be left alone is left alone; the deadline bounds that.
        let in_time = asked.is_some() || elapsed + pause <= self.policy.elapsed;
        let goes_on = self.made < self.policy.attempts && in_time;
        goes_on.then_some(pause)
    }
}

/// Sleeps, unless that would last beyond `until`; answers whether it slept.
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
        let mut long_ago = Attempts { policy: API, made: 0, began: Millis::now() - MINUTE * 10 };
        assert_eq!(long_ago.pause(None), None);
    }

    #[test]
    fn the_server_s_own_wish_is_followed() {
        assert_eq!(API.begin().pause(Some(Duration::from_hours(1))), Some(Duration::from_hours(1)));
        let at_once = API.begin().pause(Some(Duration::ZERO)).expect("one more");
        assert!(at_once >= API.base / 2, "but never sooner than by our own pause: {at_once:?}");
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
