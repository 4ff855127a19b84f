//! What is stored of a stream that is not read by windows.

use serde::{Deserialize, Serialize};

use crate::core::checkpoint::lease::Lease;
use crate::core::json::is_default;
use crate::core::time::{MILLISECOND, Millis};

/// What is stored of versions or inventory, and what is being stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoredState {
    /// The instant, and so the key, of the reading that is open. Whoever finds it open writes under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Millis>,
    /// The runs that opened it and didn't close it: what they sent may still be on its way into the bucket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened_by: Vec<Lease>,
    /// Of what was found under its key, so many objects are part of what is known.
    #[serde(skip_serializing_if = "is_default")]
    pub applied: u32,
    /// The instant of the last reading: the next one is later, so that no key is ever two readings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<StateObject>,
}

/// What became of the write of a reading's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// There was nothing to write.
    Nothing,
    /// It was written.
    Written,
    /// Under its key stood an object that was not there when the reading was opened.
    Unexpected,
}

/// State too big for the checkpoint: an immutable object beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateObject {
    pub key: String,
    pub records: u64,
    /// Of the uncompressed bytes, in hex. Without it the key holds it.
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
    /// Opens a reading: the one that a run left open, or a new one.
    pub fn open(&mut self, now: Millis, by: &Lease) -> Millis {
        let at = self.open.unwrap_or_else(|| self.last.map_or(now, |last| now.max(last + MILLISECOND)));
        (self.open, self.last) = (Some(at), Some(at));
        if !self.opened_by.contains(by) {
            self.opened_by.push(by.clone());
        }
        at
    }

    /// Closes the reading, after `by` wrote an object under its key or found nothing to write. Who writes takes the
    /// key that others may be about to. Where nothing was written, it stays open as long as another's may still land.
    /// `applied` is how many objects under its key are part of what is known now; of others that were met there, whose
    /// records are not, the next run learns.
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
        assert_eq!(stored.open, None, "nobody else writes under it");
    }
}
