//! The part of the checkpoint of a stream of versions.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::StoredState;
use crate::core::json::is_default;
use crate::core::time::{HOUR, Millis};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VersionsState {
    /// Everything that was updated before is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_to: Option<Millis>,
    /// When the last whole list was opened: what was updated since then is listed next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_to: Option<Millis>,
    /// When the whole list was last compared with what is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<Millis>,
    /// It was without something that is known, which is gone once the next one is, too.
    #[serde(skip_serializing_if = "is_default")]
    pub is_missing: bool,
    /// A list that goes on over several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<PartOfList>,
    /// Listed, but the detail is still to fetch.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pending: BTreeSet<String>,
    pub stored: StoredState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

impl VersionsState {
    /// Whether the whole list is to be compared with what is known: each week, and an hour after something was missing.
    pub fn is_to_be_compared(&self, now: Millis) -> bool {
        let every = if self.is_missing { HOUR } else { TimeDelta::days(7) };
        self.listed_to.is_some() && self.compared_at.is_none_or(|at| at + every <= now)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartOfList {
    pub began: Millis,
    /// The page to go on from.
    pub page: u64,
    /// On the pages before it: a page that shifted between two runs shows some of them again, and hides others.
    pub seen: BTreeSet<String>,
    /// How many rows there had no id.
    pub odd: u64,
}
