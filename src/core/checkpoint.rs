//! The checkpoint: the time that is covered, the readings under way, and the lease. Plain values that a person can read
//! and mend; `ledger` keeps them in the bucket.

mod check;
mod events;
mod format;
mod inventory;
mod lease;
mod manifests;
mod recovery;
mod rescanned;
mod shards;
mod stored;
mod streams;
mod take_over;
mod throttled;
mod versions;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize, Serializer};

pub use events::{EventsState, Recount, Reserved, Slices, Window};
pub use format::CheckpointError;
pub use inventory::{InventoryState, Pass, UnfinishedSublist};
pub use lease::Lease;
pub use manifests::Manifests;
pub use recovery::Recovery;
pub use rescanned::{RescannedState, Sweep, SweepProgress, Tier};
pub use stored::{StateObject, StoredState, WriteOutcome};
pub use throttled::Throttled;
pub use versions::{UnfinishedList, VersionsState};

use crate::core::health_records::HealthRecords;
use crate::core::identity::Identity;
use crate::core::json::is_default;
use crate::core::refusals::StreamRefusals;
use crate::core::sign_ins::SignIns;
use crate::core::states::States;
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::time::{Millis, SECOND};

/// 2 added `recount`, `manifests`, `opened_by`, and the ids of a list under way; 3 added `states` and `health`; 4 added
/// `reserved` and `merged`; 5 added `stuck` and a window's `resumed`.
pub const FORMAT_VERSION: u64 = 5;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub format_version: u64,
    /// Counts the writes of this object.
    pub revision: u64,
    /// The run that wrote it. With the revision, a run recognises its own write whose answer was lost.
    pub written_by: String,
    pub identity: Identity,
    #[serde(default)]
    pub lease: Option<Lease>,
    #[serde(default)]
    pub events: BTreeMap<Stream, EventsState>,
    #[serde(default)]
    pub versions: BTreeMap<Stream, VersionsState>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rescanned: BTreeMap<Stream, RescannedState>,
    #[serde(default)]
    pub inventory: BTreeMap<Stream, InventoryState>,
    /// The spans and records that can't be read, and when each is tried again.
    #[serde(default, skip_serializing_if = "is_nothing_stuck", serialize_with = "what_is_stuck")]
    pub stuck: BTreeMap<Stream, StuckList>,
    #[serde(default)]
    pub manifests: Manifests,
    /// A recovery that is not finished. The next run continues it before it collects anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Box<Recovery>>,
    /// The number of runs in a row in which a stream ran out of time without any progress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stalled: BTreeMap<Stream, u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttled: BTreeMap<Stream, Throttled>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub sign_ins: SignIns,
    /// The streams whose last answer was a 403.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<Stream, StreamRefusals>,
    /// The instant at which an event stream's first run was attempted, while `live_from` is not set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attempted: BTreeMap<Stream, Millis>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: States,
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: HealthRecords,
}

/// Tells one write of the checkpoint from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointWrite {
    pub run_id: String,
    pub revision: u64,
}

impl Checkpoint {
    pub fn new(identity: Identity) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            revision: 0,
            written_by: String::new(),
            identity,
            lease: None,
            events: BTreeMap::new(),
            versions: BTreeMap::new(),
            rescanned: BTreeMap::new(),
            inventory: BTreeMap::new(),
            stuck: BTreeMap::new(),
            manifests: Manifests::default(),
            recovery: None,
            stalled: BTreeMap::new(),
            throttled: BTreeMap::new(),
            sign_ins: SignIns::default(),
            refused: BTreeMap::new(),
            attempted: BTreeMap::new(),
            states: States::new(),
            health: HealthRecords::default(),
        }
    }

    /// The write that it was read from; `None` if it was not in the bucket. A run's own changes don't alter it.
    pub fn found(&self) -> Option<CheckpointWrite> {
        (self.revision > 0).then(|| CheckpointWrite { run_id: self.written_by.clone(), revision: self.revision })
    }

    /// Notes `at` as the instant at which the stream's first run was attempted, unless an earlier one is noted. A noted
    /// instant after `at` is of a clock that was ahead, so `at` replaces it. Returns whether it noted anything.
    pub fn attempt(&mut self, stream: Stream, at: Millis) -> bool {
        if self.events.get(&stream).is_some_and(|state| state.live_from.is_some()) {
            self.attempted.remove(&stream);
            return false;
        }
        let is_first = self.attempted.get(&stream).is_none_or(|noted| at < *noted);
        if is_first {
            self.attempted.insert(stream, at);
        }
        is_first
    }

    /// After a first run that came to nothing, the stream begins where that run would have begun. `now` is the earlier
    /// of our clock and the API's.
    pub fn begin_at_first_attempt(&mut self, stream: Stream, lookback: TimeDelta, now: Millis) {
        if let Some(at) = self.attempted.remove(&stream) {
            let from = (at.min(now) - lookback).floor(SECOND);
            self.events(stream).live_from.get_or_insert(from);
        }
    }
}

fn is_nothing_stuck(stuck: &BTreeMap<Stream, StuckList>) -> bool {
    stuck.values().all(StuckList::is_empty)
}

fn what_is_stuck<S: Serializer>(stuck: &BTreeMap<Stream, StuckList>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stuck.iter().filter(|(_, list)| !list.is_empty()))
}

#[cfg(test)]
mod tests;
