//! A recovery that is not finished: manifests are being taken over, and no run collects before all of them are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::manifest::{Link, ReadingEntry};
use crate::core::stream::Stream;
use crate::core::time::Millis;

/// The progress of a recovery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// The last manifest that was taken over. None before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Link>,
    /// Whether the checkpoint had been gone, so that the known records begin from nothing and the event streams where
    /// the manifests begin.
    pub afresh: bool,
    /// The instant of the newest reading of each list that is in its known records.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<Stream, Millis>,
    /// Windows of which objects are missing, without their objects. They are opened again whenever the checkpoint is
    /// written, because a later reading of the same window may cover it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<ReadingEntry>,
}

impl Recovery {
    /// The recovery of a checkpoint that is gone: all manifests are taken over.
    pub fn afresh() -> Self {
        Self { afresh: true, ..Self::default() }
    }

    /// How many of a day's manifests, in the order in which they are taken over, were taken over before.
    pub fn taken_of(&self, day: &[&Link]) -> usize {
        let Some(after) = &self.after else { return 0 };
        let order = |link: &Link| (link.day(), link.number, link.written_at, link.sha256.clone());
        match day.iter().position(|link| *link == after) {
            Some(last) => last + 1,
            None => day.iter().filter(|link| order(link) <= order(after)).count(),
        }
    }

    /// Whether a list's reading at an instant is to be applied to its known records. The newest one that was applied is
    /// applied again: it may have been stored in several parts.
    pub fn is_due(&self, stream: Stream, at: Millis) -> bool {
        self.lists.get(&stream).is_none_or(|newest| at >= *newest)
    }

    pub fn note_damaged(&mut self, entry: &ReadingEntry) {
        let is_it = |other: &ReadingEntry| (other.stream, other.window) == (entry.stream, entry.window);
        if !self.damaged.iter().any(is_it) {
            self.damaged.push(ReadingEntry { objects: Vec::new(), ..entry.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_taken_over_by_day_then_number_then_time() {
        let link = |day: i64, number, sha256: &str| Link {
            number,
            key: String::new(),
            sha256: sha256.into(),
            written_at: Millis(day * 86_400_000 + i64::try_from(number).unwrap_or(0)),
        };

        let recovery = Recovery { after: Some(link(2, 7, "b")), ..Recovery::default() };
        let day = [link(2, 6, "z"), link(2, 7, "b"), link(2, 7, "c"), link(2, 8, "a")];
        assert_eq!(recovery.taken_of(&day.each_ref()), 2);
        let [before, after] = [link(1, 9, "a"), link(3, 1, "a")];
        assert_eq!((recovery.taken_of(&[&before]), recovery.taken_of(&[&after])), (1, 0));
        assert_eq!(Recovery::afresh().taken_of(&day.each_ref()), 0);
    }

    #[test]
    fn an_orphan_that_was_written_by_a_clock_that_was_ahead_comes_before_the_one_that_used_its_number_again() {
        let link = |sha256: &str, written_at| Link {
            number: 7,
            key: String::new(),
            sha256: sha256.into(),
            written_at: Millis(written_at),
        };
        let (orphan, ours) = (link("a", 900), link("b", 100));
        let recovery = Recovery { after: Some(orphan.clone()), ..Recovery::default() };
        assert_eq!(recovery.taken_of(&[&orphan, &ours]), 1, "the other one is next");
    }
}
