//! The state of storing a stream that is not read by windows.

use serde::{Deserialize, Serialize};

use crate::core::checkpoint::lease::Lease;
use crate::core::json::is_default;
use crate::core::time::{MILLISECOND, Millis};

/// The stored records of versions or inventory, and the reading that is being stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoredState {
    /// The instant of the open reading, which makes its key. A run that continues it writes under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Millis>,
    /// The runs that opened it and haven't closed it. Their writes may still arrive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened_by: Vec<Lease>,
    /// The number of objects under its key that have been applied to the known records.
    #[serde(skip_serializing_if = "is_default")]
    pub applied: u32,
    /// The instant of the last reading. The next one is later, so no two readings have the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<StateObject>,
}

/// The result of writing a reading's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// There was nothing to write.
    Nothing,
    /// The object was written.
    Written,
    /// The key had an object that wasn't there when the reading was opened.
    Unexpected,
}

/// State that is too big for the checkpoint, in an immutable object beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateObject {
    pub key: String,
    pub records: u64,
    /// The SHA-256 of the uncompressed bytes, in hex. None in old checkpoints: then the key contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl StateObject {
    pub fn sha256(&self) -> &str {
        let in_key = || self.key.rsplit('/').next()?.split('.').next();
        self.sha256.as_deref().or_else(in_key).unwrap_or_default()
    }
}

impl StoredState {
    /// Opens a reading: the one that an earlier run left open, or a new one. Returns its instant.
    pub fn open(&mut self, now: Millis, by: &Lease) -> Millis {
        let at = self.open.unwrap_or_else(|| self.last.map_or(now, |last| now.max(last + MILLISECOND)));
        (self.open, self.last) = (Some(at), Some(at));
        if !self.opened_by.contains(by) {
            self.opened_by.push(by.clone());
        }
        at
    }

    /// Closes the reading, after `by` has written an object or found nothing to write.
    ///
    /// A written object takes the key, so no later write of another run can. If nothing was written, the reading stays
    /// open as long as another run's write may arrive. `applied` is the number of objects under the key whose records
    /// are in the known ones. The next run applies any others.
    pub fn close(&mut self, by: &Lease, outcome: WriteOutcome, applied: u32, now: Millis) {
        self.applied = applied;
        if outcome == WriteOutcome::Unexpected {
            return;
        }
        self.opened_by.retain(|other| outcome != WriteOutcome::Written && other != by && !other.is_long_over(now));
        if self.opened_by.is_empty() {
            (self.open, self.applied) = (None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_reading_left_open_keeps_its_key_and_the_next_gets_a_later_one() {
        let run = |id: &str, until| Lease { run_id: id.into(), until: Millis(until) };
        let (dead, alive) = (run("dead", 50), run("alive", 300));
        let mut stored = StoredState::default();
        assert_eq!(stored.open(Millis(100), &dead), Millis(100));
        assert_eq!(stored.open(Millis(200), &alive), Millis(100));

        let mut unwritten = stored.clone();
        unwritten.close(&alive, WriteOutcome::Nothing, 1, Millis(250));
        assert_eq!((unwritten.open, &unwritten.opened_by[..]), (Some(Millis(100)), &[dead][..]), "it may still land");
        assert_eq!(unwritten.applied, 1);
        unwritten.close(&alive, WriteOutcome::Nothing, 1, Millis(51) + TimeDelta::minutes(15));
        assert_eq!((unwritten.open, unwritten.applied), (None, 0));

        stored.close(&alive, WriteOutcome::Unexpected, 0, Millis(250));
        assert_eq!(stored.open, Some(Millis(100)), "the next run learns of it");
        stored.close(&alive, WriteOutcome::Written, 0, Millis(250));
        assert_eq!((stored.open, stored.opened_by.len()), (None, 0), "the key is taken");

        assert_eq!(stored.open(Millis(100), &alive), Millis(101));
        stored.close(&alive, WriteOutcome::Nothing, 0, Millis(250));
        assert_eq!(stored.open, None, "no other run writes it");
    }
}
