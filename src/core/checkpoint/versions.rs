//! The state of a stream of versions on the checkpoint.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::StoredState;
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
    /// Ids that were listed and whose details are still to be fetched.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pending: BTreeSet<String>,
    pub stored: StoredState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

impl VersionsState {
    /// Whether the whole list is to be compared with the known records: once a week, and an hour after one lacked
    /// something.
    pub fn is_to_be_compared(&self, now: Millis) -> bool {
        let every = if self.is_missing { HOUR } else { TimeDelta::days(7) };
        self.listed_to.is_some() && self.compared_at.is_none_or(|at| at + every <= now)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfinishedList {
    pub began: Millis,
    /// The page to continue from.
    pub page: u64,
    /// The ids on the pages before. If a page shifts between two runs, it shows some of them again and hides others.
    pub seen: BTreeSet<String>,
    /// The number of rows without an id on those pages.
    pub odd: u64,
}
