//! The state of an inventory on the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::{StateObject, StoredState};
use crate::core::error_type::ErrorInfo;
use crate::core::failed_pages::FailedPages;
use crate::core::json::is_default;
use crate::core::time::Millis;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryState {
    /// The instant at which the last complete reading was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_to: Option<Millis>,
    /// A reading that takes several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    pub stored: StoredState,
    /// The number of readings to come whose deletions are believed, however many they are: `restart` asked for it.
    #[serde(skip_serializing_if = "is_default")]
    pub accept_deletions: u32,
    /// Lists that could not be found for so long that they count as empty: the parents' ids, by the list's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_found: BTreeMap<String, BTreeSet<String>>,
    /// By the list's name, the number of its nameless rows when it last lacked no known record. If it has no more of
    /// them now, none of them is a record that it lacks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nameless: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    pub began: Millis,
    /// The index of the list to continue with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub part: usize,
    /// The record whose list was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The page to continue from.
    pub page: u64,
    /// The rows that were asked for in a page. 0 from older versions. A page of another size has another number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub page_size: u64,
    /// Those before it that failed, and are still to be read in smaller pages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_pages: FailedPages,
    /// The greatest total of the present list's pages so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The records seen so far.
    pub seen: Option<StateObject>,
    /// The number of rows of the present list that were set aside.
    pub set_aside: u64,
    /// The list's rows have another form than documented, so the list ends with an error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_drifted: bool,
    /// The number of rows of the lists before the present one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rows: u64,
    /// The API's total for these lists, if it has one for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// By the list's name, the number of its nameless rows so far: set aside, or hidden by another of the same id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nameless: BTreeMap<String, u64>,
    /// One of the lists wasn't complete, so nothing counts as missed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_partial: bool,
    /// One of the lists failed and was passed over, so the stream isn't covered when the reading ends. Only from format
    /// 4 and before: now such a list is stuck.
    #[serde(default, skip_serializing_if = "is_default")]
    #[serde(rename = "lacks")]
    pub passed_over_a_list: bool,
    /// The record's list that is under way. None unless its pages have numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<UnfinishedSublist>,
    /// The number of runs that ended before the reading did, since a list disagreed with its total and was begun again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_since_restart: Option<u32>,
}

/// A list of one record that didn't fit a run, and the page to continue it from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfinishedSublist {
    /// The record that the list belongs to.
    pub parent: String,
    pub page: u64,
    /// The rows that were asked for in a page. 0 from older versions. A page of another size has another number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub page_size: u64,
    /// Those before it that failed, and are still to be read in smaller pages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_pages: FailedPages,
    /// The number of its rows that were set aside.
    #[serde(default, skip_serializing_if = "is_default")]
    pub set_aside: u64,
}

impl UnfinishedSublist {
    /// Whether it is the list of this record, in pages of this size.
    pub fn is_of(&self, parent: &str, page_size: u64) -> bool {
        self.parent == parent && [0, page_size].contains(&self.page_size)
    }
}

impl InventoryState {
    /// Whether this list of a record could not be found for so long that it counts as empty.
    pub fn counts_as_empty(&self, list: &str, parent: &str) -> bool {
        self.not_found.get(list).is_some_and(|parents| parents.contains(parent))
    }

    /// Notes that a list could not be found and counts as empty.
    pub fn believe_empty(&mut self, list: &str, parent: &str) {
        self.not_found.entry(list.to_owned()).or_default().insert(parent.to_owned());
    }

    /// Whether a record that the pass lacks may still be on this list.
    pub fn may_lack(&self, pass: &Pass, list: &str) -> bool {
        let rows = |of: &BTreeMap<String, u64>| of.get(list).copied().unwrap_or_default();
        pass.is_partial || rows(&pass.nameless) > rows(&self.nameless)
    }

    /// Of the lists that count as empty, keeps those of the parents that satisfy `keep`.
    pub fn keep_empty(&mut self, list: &str, keep: impl Fn(&str) -> bool) {
        if let Some(parents) = self.not_found.get_mut(list) {
            parents.retain(|parent| keep(parent));
        }
        self.not_found.retain(|_, parents| !parents.is_empty());
    }
}

impl Pass {
    pub fn new(began: Millis) -> Self {
        let (seen, counted) = (None, Some(0));
        Self {
            began,
            part: 0,
            parent: None,
            page: 0,
            page_size: 0,
            failed_pages: FailedPages::default(),
            total: None,
            seen,
            set_aside: 0,
            is_drifted: false,
            rows: 0,
            counted,
            nameless: BTreeMap::new(),
            is_partial: false,
            passed_over_a_list: false,
            list: None,
            runs_since_restart: None,
        }
    }

    pub fn next_part(&mut self) {
        self.part += 1;
        self.parent = None;
        self.begin_list();
    }

    /// Whether the present list can be continued at its page, in pages of this size.
    pub fn is_within_list(&self, page_size: u64) -> bool {
        self.page > 0 && [0, page_size].contains(&self.page_size)
    }

    /// Has the present list read from its first page.
    pub fn begin_list(&mut self) {
        (self.page, self.failed_pages, self.total) = (0, FailedPages::default(), None);
        (self.set_aside, self.is_drifted, self.list, self.runs_since_restart) = (0, false, None, None);
    }

    /// The error of a page that failed, of the list under way.
    pub fn failed_page(&self) -> Option<&ErrorInfo> {
        let list = self.list.iter().map(|list| &list.failed_pages);
        list.chain([&self.failed_pages]).find_map(FailedPages::error)
    }

    /// Notes the place in a record's list. If another record's list is under way, that one is continued first.
    pub fn note_list(&mut self, place: UnfinishedSublist) {
        if self.list.as_ref().is_none_or(|list| list.parent == place.parent) {
            self.list = Some(place);
        }
    }

    /// Called when a record's list was read to its end, failed, or is begun again.
    pub fn end_list(&mut self, parent: &str) {
        self.list.take_if(|list| list.parent == parent);
    }

    pub fn is_at_beginning(&self) -> bool {
        self.part == 0 && self.page == 0 && self.runs_since_restart.is_none()
    }
}
