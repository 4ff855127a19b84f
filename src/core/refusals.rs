//! What the API client may not read: plain values, kept on the checkpoint. One 403 says so of a stream that never
//! answered; of another one only several runs do, for what stands between the API and us may say it, too.

use serde::{Deserialize, Serialize};

/// A stream that worked before is not permitted after so many runs in a row.
const RUNS: u32 = 3;

/// The runs in a row in which a stream was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    runs: u32,
    /// What the last answer said.
    pub said: String,
}

/// Notes one more; answers whether it is believed.
pub fn refused(refusals: &mut Option<Refusals>, said: &str, worked_before: bool) -> bool {
    let runs = refusals.as_ref().map_or(0, |before| before.runs) + 1;
    *refusals = Some(Refusals { runs, said: said.to_owned() });
    !worked_before || runs >= RUNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_worked_is_not_permitted_after_three_runs_and_another_at_once() {
        let mut refusals = None;
        assert_eq!([true, true, true].map(|worked| refused(&mut refusals, "no", worked)), [false, false, true]);
        assert!(refused(&mut None, "no", false));
        assert_eq!(refusals.expect("noted").said, "no");
    }
}
