//! The state of a stream of versions on the checkpoint.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::StoredState;
use crate::core::failed_pages::FailedPages;
use crate::core::json::is_default;
use crate::core::time::{HOUR, Millis};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VersionsState {
    /// Everything that was updated before this is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_to: Option<Millis>,
    /// The instant at which the last complete list was opened. The next one lists what was updated since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_to: Option<Millis>,
    /// The instant at which the whole list was last compared with the known records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<Millis>,
    /// The list that was last compared lacked a known record. The record is deleted if the next list lacks it too.
    #[serde(skip_serializing_if = "is_default")]
    pub is_missing: bool,
    /// A list that takes several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<UnfinishedList>,
    /// The whole list, if its comparison with the known records takes several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparing: Option<UnfinishedList>,
    /// A list that lacked rows, until it shows them. Later lists go on from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_list: Option<IncompleteList>,
    /// Ids that were listed and whose details are still to be fetched.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pending: BTreeSet<String>,
    pub stored: StoredState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

impl VersionsState {
    /// Whether the whole list is to be compared with the known records: once a week, and an hour after one lacked
    /// something. Not while a list lacks rows.
    pub fn is_to_be_compared(&self, now: Millis) -> bool {
        let every = if self.is_missing { HOUR } else { TimeDelta::days(7) };
        let is_due = self.compared_at.is_none_or(|at| at + every <= now);
        self.listed_to.is_some() && self.incomplete_list.is_none() && is_due
    }

    /// Covers the time up to the last list, once everything that was listed is stored. `held_up` are the stuck records.
    pub fn cover(&mut self, held_up: &BTreeSet<String>) {
        if self.incomplete_list.is_none() && self.pending.is_subset(held_up) {
            self.covered_to = self.listed_to.or(self.covered_to);
        }
    }

    /// Notes that the list of what was updated after `since` lacks rows, and the ids that it has shown. It may hide an id
    /// that an earlier one has shown, so that doesn't count any more.
    pub fn note_incomplete(&mut self, since: Option<Millis>, shown: BTreeSet<String>) {
        let since = self.incomplete_list.as_ref().map_or(since, |list| list.since.min(since));
        self.incomplete_list = Some(IncompleteList { since, shown, unfinished: None });
    }

    /// Notes what the incomplete list shows now. Ids that it had not shown are pending.
    pub fn note_shown_again(&mut self, shown: &BTreeSet<String>) {
        if let Some(list) = &mut self.incomplete_list {
            self.pending.extend(shown.difference(&list.shown).cloned());
            list.shown.extend(shown.iter().cloned());
        }
    }
}

/// A list that was read to its end and lacks rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncompleteList {
    /// It lists what was updated after this. None if it lists everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// The ids that it has shown.
    pub shown: BTreeSet<String>,
    /// It is being read again, in several runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<UnfinishedList>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfinishedList {
    pub began: Millis,
    /// The page to continue from.
    pub page: u64,
    /// The rows that were asked for in a page. 0 from older versions. A page of another size has another number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub page_size: u64,
    /// Those before it that failed, and are still to be read in smaller pages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_pages: FailedPages,
    /// The ids on the pages before. If a page shifts between two runs, it shows some of them again and hides others.
    pub seen: BTreeSet<String>,
    /// The number of rows without an id on those pages.
    #[serde(rename = "odd")]
    pub without_id: u64,
}

impl UnfinishedList {
    pub fn new(began: Millis, page_size: u64) -> Self {
        Self { began, page: 0, page_size, failed_pages: FailedPages::default(), seen: BTreeSet::new(), without_id: 0 }
    }

    /// Whether it can be continued in pages of this size.
    pub fn fits(&self, page_size: u64) -> bool {
        [0, page_size].contains(&self.page_size)
    }

    /// The number of rows so far.
    pub fn rows(&self) -> u64 {
        self.seen.len() as u64 + self.without_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn time_is_covered_once_every_list_is_whole_and_all_but_stuck_records_are_stored() {
        let mut state =
            VersionsState { listed_to: Some(Millis(9)), pending: ids(&["1", "2"]), ..VersionsState::default() };
        state.cover(&ids(&["1"]));
        assert_eq!(state.covered_to, None);
        state.note_incomplete(None, ids(&["1", "2"]));
        state.cover(&ids(&["1", "2"]));
        assert_eq!(state.covered_to, None, "the list lacks rows");
        state.incomplete_list = None;
        state.cover(&ids(&["1", "2"]));
        assert_eq!(state.covered_to, Some(Millis(9)));
    }

    #[test]
    fn what_an_incomplete_list_shows_for_the_first_time_is_pending() {
        let mut state = VersionsState::default();
        state.note_incomplete(Some(Millis(5)), ids(&["1", "2"]));
        state.note_shown_again(&ids(&["1", "3"]));
        state.note_shown_again(&ids(&["3"]));
        assert_eq!(std::mem::take(&mut state.pending), ids(&["3"]));
        // A later list hides a record that may have changed.
        state.note_incomplete(Some(Millis(8)), ids(&["3"]));
        state.note_shown_again(&ids(&["1", "2", "3"]));
        assert_eq!(state.pending, ids(&["1", "2"]));
        state.note_incomplete(None, ids(&[]));
        assert_eq!(state.incomplete_list.expect("it lacks rows").since, None, "the one that lists most");
    }
}
