//! The end of the chain of manifests.

use serde::{Deserialize, Serialize};

use crate::core::manifest::{Index, Link, ReadingEntry};

/// The end of the chain of manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifests {
    pub head: Option<Link>,
    /// Readings that are done, and that no manifest lists yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<ReadingEntry>,
    /// The ends of the chains of merged shards that no manifest names yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Link>,
    /// The last manifest of each day that is over and has no index yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unindexed: Vec<Link>,
}

impl Manifests {
    /// Called once a manifest is written. The chain now ends at `link`. The days of `indexes` have their index; the day
    /// of the manifest before has none yet, if it is over.
    pub fn append(&mut self, link: &Link, indexes: &[Index]) {
        self.unindexed.retain(|last| indexes.iter().all(|index| index.last != *last));
        if let Some(before) = self.head.replace(link.clone())
            && before.day() != link.day()
        {
            self.unindexed.push(before);
        }
    }

    /// The number of entries that the next manifest would have.
    pub fn unlisted_count(&self) -> usize {
        self.unlisted.len() + self.merged.len()
    }
}
