//! Decides whether the API's refusal of the credentials is believed. It must have lasted, because an API in trouble may
//! answer anything.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::time::{HOUR, Millis};

/// A refusal of credentials that worked before is believed after this long and this many runs.
const LASTS: TimeDelta = TimeDelta::minutes(30);
const RUNS: u32 = 3;
/// Credentials that are believed to be refused are tried at this interval.
const TRY_EVERY: TimeDelta = HOUR;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignIns {
    /// The version of the secret that the last token was granted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_to: Option<String>,
    /// The refusals since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<SignInRefusals>,
}

/// Refusals in a row of one version of the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInRefusals {
    secret_version: Option<String>,
    since: Millis,
    last: Millis,
    /// The number of runs that were refused.
    runs: u32,
}

impl SignIns {
    pub fn note_grant(&mut self, secret_version: Option<String>) {
        *self = Self { granted_to: secret_version, refused: None };
    }

    /// Notes that a run was refused. Returns whether that is believed. `worked_before` means that this process was
    /// granted a token earlier.
    pub fn note_refusal(&mut self, secret_version: Option<String>, worked_before: bool, now: Millis) -> bool {
        let worked = worked_before || self.granted_to.is_some() && self.granted_to == secret_version;
        let before = self.refused.take().filter(|before| before.secret_version == secret_version);
        let (since, runs) = before.map_or((now, 0), |before| (before.since, before.runs));
        let runs = runs + 1;
        self.refused = Some(SignInRefusals { secret_version, since, last: now, runs });
        !worked || runs >= RUNS && now >= since + LASTS
    }

    /// Called by `restart`: the credentials are to be tried again.
    pub fn restart(&mut self) {
        self.refused = None;
    }

    /// Returns when streams that a refusal stopped at `stopped` are tried again. At once if this version was granted a
    /// token since.
    pub fn next_try(&self, secret_version: Option<&str>, stopped: Millis) -> Millis {
        let refused = self.refused.as_ref().filter(|refused| refused.secret_version.as_deref() == secret_version);
        match refused {
            Some(refused) => refused.last + TRY_EVERY,
            None if secret_version.is_some() && self.granted_to.as_deref() == secret_version => stopped,
            None => stopped + TRY_EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn the_first_answer_that_a_secret_ever_gets_is_believed() {
        let mut sign_ins = SignIns::default();
        assert!(sign_ins.note_refusal(Some(version("1")), false, Millis(0)));
        sign_ins.note_grant(Some(version("1")));
        assert!(sign_ins.note_refusal(Some(version("2")), false, Millis(0)), "another secret than the one that worked");
    }

    #[test]
    fn what_worked_before_is_refused_once_that_has_lasted_in_time_and_in_runs() {
        let mut sign_ins = SignIns::default();
        sign_ins.note_grant(Some(version("1")));
        let mut refused =
            |minutes: i64| sign_ins.note_refusal(Some(version("1")), false, Millis(0) + TimeDelta::minutes(minutes));
        assert_eq!([refused(0), refused(1), refused(2), refused(29), refused(30)], [false, false, false, false, true]);
        sign_ins.note_grant(Some(version("1")));
        let mut refused =
            |minutes: i64| sign_ins.note_refusal(Some(version("1")), false, Millis(0) + TimeDelta::minutes(minutes));
        assert_eq!(
            [refused(60), refused(120), refused(180)],
            [false, false, true],
            "a grant in between begins it anew"
        );
    }

    #[test]
    fn what_is_stopped_is_tried_once_an_hour_and_at_once_where_a_token_was_granted() {
        let mut sign_ins = SignIns::default();
        assert_eq!(sign_ins.next_try(Some("1"), Millis(5)), Millis(5) + HOUR);
        sign_ins.note_refusal(Some(version("1")), false, Millis(7));
        assert_eq!(sign_ins.next_try(Some("1"), Millis(5)), Millis(7) + HOUR);
        sign_ins.note_grant(Some(version("1")));
        assert_eq!(sign_ins.next_try(Some("1"), Millis(5)), Millis(5));
        assert_eq!(sign_ins.next_try(Some("2"), Millis(5)), Millis(5) + HOUR);
    }
}
