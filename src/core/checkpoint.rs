//! The checkpoint: what is covered, what is being read, and who may write. Plain values that a person can read and
//! mend; `ledger` keeps them in the bucket.

mod check;
mod events;
mod inventory;
mod lease;
mod rescanned;
mod stored;
mod take_over;
mod versions;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

pub use events::{EventsState, Recount, Reserved, Slices, Window};
pub use inventory::{InventoryState, Pass};
pub use lease::Lease;
pub use rescanned::{RescannedState, Sweep, Swept, Tier};
pub use stored::{StateObject, StoredState, WriteOutcome};
pub use versions::{PartOfList, VersionsState};

use crate::core::health_records::HealthRecords;
use crate::core::identity::{Identity, normalised};
use crate::core::json::{is_default, to_json};
use crate::core::manifest::{Index, Link, ReadingEntry};
use crate::core::refusals::Refusals;
use crate::core::sign_ins::SignIns;
use crate::core::states::States;
use crate::core::stream::{Class, Stream};
use crate::core::stuck::StuckList;
use crate::core::time::{Millis, SECOND};

/// 2 added `recount`, `manifests`, `opened_by`, and the ids of a list under way; 3 added `states` and `health`; 4 added
/// `reserved` and `merged`; 5 added `stuck` and a window's `resumed`.
pub const FORMAT_VERSION: u64 = 5;
/// It is read, and written in this format.
const OLDEST_FORMAT_VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub format_version: u64,
    /// Counts the writes of this object.
    pub revision: u64,
    /// The run that wrote it: with the revision this tells a run its own write, whose answer was lost.
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
    /// What can't be read, and when it is tried again.
    #[serde(default, skip_serializing_if = "is_nothing_stuck", serialize_with = "what_is_stuck")]
    pub stuck: BTreeMap<Stream, StuckList>,
    #[serde(default)]
    pub manifests: Manifests,
    /// In how many runs in a row the time ran short, and a stream came no further.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stalled: BTreeMap<Stream, u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub sign_ins: SignIns,
    /// By stream, where its last answer was a 403.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<Stream, Refusals>,
    /// When the first run was attempted of an event stream to which none has come yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attempted: BTreeMap<Stream, Millis>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: States,
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: HealthRecords,
}

/// Tells one write of the checkpoint from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub run_id: String,
    pub revision: u64,
}

/// The chain of manifests, of which this is the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifests {
    pub head: Option<Link>,
    /// Done, but not in a manifest yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<ReadingEntry>,
    /// The ends of the chains of shards that were merged, and that no manifest names yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Link>,
    /// The last manifests of days that are over and have no index yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unindexed: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(
        "the checkpoint can't be read ({why}); it is left as it is: mend it, or move it away to start over from LOOKBACK_MINUTES"
    )]
    Unreadable { why: String },
    #[error(
        "the checkpoint has format version {found}, newer than this collector's {FORMAT_VERSION}; deploy the newer collector again"
    )]
    Newer { found: u64 },
    #[error("the checkpoint belongs to another {what} ({theirs:?}, not {ours:?}); give each its own CHECKPOINT_KEY")]
    Foreign { what: &'static str, theirs: String, ours: String },
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
            stalled: BTreeMap::new(),
            sign_ins: SignIns::default(),
            refused: BTreeMap::new(),
            attempted: BTreeMap::new(),
            states: States::new(),
            health: HealthRecords::default(),
        }
    }

    /// The write that it was read from; none where it was not in the bucket. What a run changes doesn't alter it.
    pub fn found(&self) -> Option<Write> {
        (self.revision > 0).then(|| Write { run_id: self.written_by.clone(), revision: self.revision })
    }

    /// A newer format is told from damage before anything else of it is read.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Versioned {
            format_version: u64,
        }

        let unreadable = |error: serde_json::Error| CheckpointError::Unreadable { why: error.to_string() };
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(unreadable)?;
        match versioned.format_version {
            FORMAT_VERSION => serde_json::from_slice(bytes).map_err(unreadable),
            older @ OLDEST_FORMAT_VERSION..FORMAT_VERSION => Self::of_format(older, bytes).map_err(unreadable),
            newer if newer > FORMAT_VERSION => Err(CheckpointError::Newer { found: newer }),
            older => Err(CheckpointError::Unreadable { why: format!("format version {older} never existed") }),
        }
    }

    /// Format 1 counted the ids of a list under way, and didn't name them: such a list is begun anew.
    fn of_format(version: u64, bytes: &[u8]) -> serde_json::Result<Self> {
        let mut json: Value = serde_json::from_slice(bytes)?;
        if version == 1 {
            for versions in json["versions"].as_object_mut().into_iter().flat_map(|streams| streams.values_mut()) {
                if let Some(versions) = versions.as_object_mut() {
                    versions.remove("listing");
                }
            }
        }
        let checkpoint: Self = serde_json::from_value(json)?;
        Ok(Self { format_version: FORMAT_VERSION, ..checkpoint })
    }

    /// For the person who reads it.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Left by a run that could not sign in: nothing was ever collected, and nobody knows for whom.
    pub fn is_blank(&self) -> bool {
        let blank = Self::new(self.identity.clone());
        self.identity.tenant.is_none()
            && self.events == blank.events
            && self.versions == blank.versions
            && self.rescanned == blank.rescanned
            && self.inventory == blank.inventory
            && self.manifests == blank.manifests
    }

    /// A tenant that one side doesn't know (yet) is no contradiction. A blank checkpoint is anybody's: what it was
    /// written for was most likely a mistake, which has been mended since.
    pub fn check_identity(&self, ours: &Identity) -> Result<(), CheckpointError> {
        if self.is_blank() {
            return Ok(());
        }
        let theirs = &self.identity;
        same("INCYDR_BASE_URL", &normalised(&theirs.base_url), &ours.base_url)?;
        same("S3_BUCKET", &theirs.bucket, &ours.bucket)?;
        same("S3_PREFIX", &theirs.prefix, &ours.prefix)?;
        match (&theirs.tenant, &ours.tenant) {
            (Some(theirs), Some(ours)) => same("tenant", theirs, ours),
            _ => Ok(()),
        }
    }

    /// A run of an event stream is attempted `at` this instant, if it is the first one. Answers whether it is.
    pub fn attempt(&mut self, stream: Stream, at: Millis) -> bool {
        if self.events.get(&stream).is_some_and(|state| state.live_from.is_some()) {
            self.attempted.remove(&stream);
            return false;
        }
        let is_first = !self.attempted.contains_key(&stream);
        self.attempted.entry(stream).or_insert(at);
        is_first
    }

    /// Where a run before this one was attempted and came to nothing, the stream begins where that one would have begun.
    /// `now` is the earlier of our clock and the API's.
    pub fn begin_at_first_attempt(&mut self, stream: Stream, lookback: TimeDelta, now: Millis) {
        if let Some(at) = self.attempted.remove(&stream) {
            let from = (at.min(now) - lookback).floor(SECOND);
            self.events(stream).live_from.get_or_insert(from);
        }
    }

    pub fn stuck(&mut self, stream: Stream) -> &mut StuckList {
        self.stuck.entry(stream).or_default()
    }

    /// An event stream's part, and what is stuck of it.
    pub fn events_and_stuck(&mut self, stream: Stream) -> (&mut EventsState, &mut StuckList) {
        (self.events.entry(stream).or_default(), self.stuck.entry(stream).or_default())
    }

    pub fn events(&mut self, stream: Stream) -> &mut EventsState {
        self.events.entry(stream).or_default()
    }

    /// What is left to the shards of a backfill.
    pub fn reserved(&self) -> impl Iterator<Item = (Stream, &Reserved)> {
        self.events.iter().flat_map(|(stream, state)| state.reserved.iter().map(|reserved| (*stream, reserved)))
    }

    /// How many requests a minute the shards of all plans may send together.
    pub fn requests_of_shards(&self) -> usize {
        // A plan's shards are named after its run, and have the same share.
        let mut plans: BTreeMap<&str, (usize, &Reserved)> = BTreeMap::new();
        for (_, reserved) in self.reserved() {
            let plan = reserved.shard.rsplit('-').next().unwrap_or_default();
            plans.entry(plan).or_insert((0, reserved)).0 += 1;
        }
        plans.values().map(|(left, shard)| shard.requests_per_minute * shard.at_once.unwrap_or(*left).min(*left)).sum()
    }

    /// Takes over what a shard has come to, in one go with what tells of it.
    pub fn merge(&mut self, stream: Stream, shard: &str, mut theirs: Self) {
        self.identity.tenant = self.identity.tenant.take().or(theirs.identity.tenant);
        let their_events = theirs.events.remove(&stream).unwrap_or_default();
        let their_stuck = theirs.stuck.remove(&stream).unwrap_or_default();
        let (state, stuck) = self.events_and_stuck(stream);
        // A live run may have failed over it before it was left to the shard.
        for done in their_events.covered.iter().chain(their_events.expired.iter()) {
            stuck.cut_out(done);
        }
        stuck.take_over(their_stuck);
        state.merge(shard, their_events);
        self.manifests.unlisted.append(&mut theirs.manifests.unlisted);
        self.manifests.merged.extend(theirs.manifests.head);
    }

    pub fn versions(&mut self, stream: Stream) -> &mut VersionsState {
        self.versions.entry(stream).or_default()
    }

    pub fn rescanned(&mut self, stream: Stream) -> &mut RescannedState {
        self.rescanned.entry(stream).or_default()
    }

    pub fn inventory(&mut self, stream: Stream) -> &mut InventoryState {
        self.inventory.entry(stream).or_default()
    }

    /// What is stored of a stream that is read as one of this class.
    pub fn stored(&mut self, stream: Stream, class: Class) -> &mut StoredState {
        match class {
            Class::Versions => &mut self.versions(stream).stored,
            Class::Rescanned => &mut self.rescanned(stream).stored,
            Class::Events | Class::Inventory | Class::Findings => &mut self.inventory(stream).stored,
        }
    }

    /// The same, where a run came to it.
    pub fn snapshots(&self, stream: Stream) -> Option<&StoredState> {
        Some(match stream.class() {
            Class::Versions => &self.versions.get(&stream)?.stored,
            Class::Rescanned => &self.rescanned.get(&stream)?.stored,
            Class::Events | Class::Inventory | Class::Findings => &self.inventory.get(&stream)?.stored,
        })
    }

    /// Where a stream notes when it was last told that it is not permitted.
    pub fn not_permitted_at(&mut self, stream: Stream) -> &mut Option<Millis> {
        match stream.class() {
            Class::Events => &mut self.events(stream).not_permitted_at,
            Class::Versions => &mut self.versions(stream).not_permitted_at,
            Class::Rescanned => &mut self.rescanned(stream).not_permitted_at,
            Class::Inventory | Class::Findings => &mut self.inventory(stream).not_permitted_at,
        }
    }

    /// How far a stream has come: whatever it is, it is another after any progress.
    pub fn progress(&self, stream: Stream) -> Value {
        match stream.class() {
            Class::Events => {
                self.events.get(&stream).map_or(Value::Null, |events| json!([events.covered, events.expired]))
            }
            Class::Versions => self.versions.get(&stream).map_or(Value::Null, |versions| {
                json!([versions.covered_to, versions.listed_to, versions.listing, versions.pending])
            }),
            Class::Rescanned => self
                .rescanned
                .get(&stream)
                .map_or(Value::Null, |rescanned| json!([rescanned.covered_to, rescanned.sweeps])),
            Class::Inventory | Class::Findings => self.inventory.get(&stream).map_or(Value::Null, |inventory| {
                let at = inventory
                    .pass
                    .as_ref()
                    .filter(|pass| !pass.is_at_beginning())
                    .map(|pass| (pass.part, &pass.parent, pass.page));
                json!([inventory.covered_to, at])
            }),
        }
    }

    pub fn covered_to(&self, stream: Stream) -> Option<Millis> {
        match stream.class() {
            Class::Events => self.events.get(&stream)?.covered_to(),
            Class::Versions => self.versions.get(&stream)?.covered_to,
            Class::Rescanned => self.rescanned.get(&stream)?.covered_to,
            Class::Inventory | Class::Findings => self.inventory.get(&stream)?.covered_to,
        }
    }
}

impl Manifests {
    /// The chain ends with this one now, which made these indexes.
    pub fn go_on(&mut self, link: &Link, indexes: &[Index]) {
        self.unindexed.retain(|last| indexes.iter().all(|index| index.last != *last));
        if let Some(before) = self.head.replace(link.clone())
            && before.day() != link.day()
        {
            self.unindexed.push(before);
        }
    }

    /// How much the next manifest would tell.
    pub fn to_tell(&self) -> usize {
        self.unlisted.len() + self.merged.len()
    }
}

fn is_nothing_stuck(stuck: &BTreeMap<Stream, StuckList>) -> bool {
    stuck.values().all(StuckList::is_empty)
}

fn what_is_stuck<S: Serializer>(stuck: &BTreeMap<Stream, StuckList>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stuck.iter().filter(|(_, list)| !list.is_empty()))
}

fn same(what: &'static str, theirs: &str, ours: &str) -> Result<(), CheckpointError> {
    if theirs == ours {
        return Ok(());
    }
    Err(CheckpointError::Foreign { what, theirs: theirs.to_owned(), ours: ours.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error_kind::{ErrorInfo, ErrorType};
    use crate::core::intervals::Span;
    use crate::core::stuck::What;

    fn identity(prefix: &str, tenant: Option<&str>) -> Identity {
        Identity {
            tenant: tenant.map(str::to_owned),
            base_url: "https://api.us.code42.com".into(),
            bucket: "records".into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn the_shards_of_each_plan_send_no_more_together_than_it_has_shards_at_once() {
        let mut checkpoint = Checkpoint::new(identity("code42/", None));
        let mut reserve = |shard: &str, at_once| {
            let span = Span::new(Millis(0), Millis(1)).expect("not empty");
            let reserved = Reserved { shard: shard.into(), span, requests_per_minute: 25, at_once, until: Millis(9) };
            checkpoint.events(Stream::Audit).reserved.push(reserved);
        };
        for day in 1..=5 {
            reserve(&format!("audit-2026110{day}-a"), Some(2));
        }
        reserve("audit-20261101-b", Some(4));
        reserve("audit-20261101-c", None);
        assert_eq!(checkpoint.requests_of_shards(), 25 * (2 + 1 + 1));
    }

    #[test]
    fn what_a_shard_has_read_is_stuck_no_longer_and_what_it_could_not_read_is_as_it_says() {
        let span = |from, to| Span::new(Millis(from), Millis(to)).expect("not empty");
        let error =
            |message: &str| ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: message.into() };
        let mut live = Checkpoint::new(identity("code42/", None));
        live.events(Stream::Audit).reserved.push(Reserved {
            shard: "a".into(),
            span: span(0, 100),
            requests_per_minute: 1,
            at_once: None,
            until: Millis(9),
        });
        live.stuck(Stream::Audit).fail(What::Span(span(0, 60)), error("500"), Millis(1));
        live.stuck(Stream::Audit).fail(What::Span(span(200, 300)), error("500"), Millis(1));
        let mut theirs = Checkpoint::new(identity("code42/", None));
        theirs.events(Stream::Audit).cover(span(0, 50));
        theirs.stuck(Stream::Audit).fail(What::Span(span(50, 100)), error("502"), Millis(5));
        live.merge(Stream::Audit, "a", theirs);
        assert_eq!(live.check(), Ok(()));
        let stuck: Vec<_> = live.stuck(Stream::Audit).iter().map(|stuck| (stuck.span(), stuck.since)).collect();
        assert_eq!(stuck, [(Some(span(200, 300)), Millis(1)), (Some(span(50, 100)), Millis(5))]);
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
        checkpoint.lease = Some(Lease { run_id: "r".into(), until: Millis(5) });
        let events = checkpoint.events(Stream::Audit);
        events.live_from = Some(Millis(0));
        events.cover(Span::new(Millis(0), Millis(10)).expect("not empty"));
        checkpoint.versions(Stream::Cases).pending.insert("7".into());
        assert_eq!(Checkpoint::parse(&checkpoint.to_json()), Ok(checkpoint));
    }

    #[test]
    fn damage_a_newer_format_and_another_owner_are_told_apart() {
        let mut checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
        assert!(matches!(Checkpoint::parse(b"{"), Err(CheckpointError::Unreadable { .. })));
        assert!(matches!(Checkpoint::parse(b"{}"), Err(CheckpointError::Unreadable { .. })));
        assert!(matches!(Checkpoint::parse(br#"{"format_version":0}"#), Err(CheckpointError::Unreadable { .. })));
        assert_eq!(Checkpoint::parse(br#"{"format_version":6,"new":[]}"#), Err(CheckpointError::Newer { found: 6 }));
        let foreign = checkpoint.check_identity(&identity("other/", None)).expect_err("refused").to_string();
        assert!(foreign.contains("S3_PREFIX") && foreign.contains("CHECKPOINT_KEY"), "{foreign}");
        assert!(checkpoint.check_identity(&identity("code42/", Some("t-2"))).is_err());
        assert_eq!(checkpoint.check_identity(&identity("code42/", None)), Ok(()));
        checkpoint.identity.tenant = None;
        assert_eq!(checkpoint.check_identity(&identity("other/", None)), Ok(()), "nothing was ever collected");
        checkpoint.events(Stream::Audit).live_from = Some(Millis(0));
        assert!(checkpoint.check_identity(&identity("other/", None)).is_err());
    }

    #[test]
    fn what_an_older_format_wrote_is_read_and_written_as_this_one() {
        let checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
        let json = String::from_utf8(checkpoint.to_json()).expect("text");
        assert!(!json.contains("states") && !json.contains("health"), "what need not be written is not: {json}");
        for version in [2, 3, 4] {
            let older = json.replacen("\"format_version\": 5", &format!("\"format_version\": {version}"), 1);
            assert_ne!(older, json);
            assert_eq!(Checkpoint::parse(older.as_bytes()).as_ref(), Ok(&checkpoint));
        }
    }

    #[test]
    fn a_stream_begins_where_its_first_attempt_would_have_begun_and_such_a_checkpoint_is_anybody_s() {
        let mut checkpoint = Checkpoint::new(identity("code42/", None));
        assert!(checkpoint.attempt(Stream::Audit, Millis(100_000)));
        assert!(!checkpoint.attempt(Stream::Audit, Millis(200_000)), "the first one counts");
        assert!(checkpoint.is_blank());
        checkpoint.begin_at_first_attempt(Stream::Audit, TimeDelta::minutes(1), Millis(300_000));
        assert_eq!(checkpoint.events(Stream::Audit).live_from, Some(Millis(40_000)));
        assert!(!checkpoint.attempt(Stream::Audit, Millis(400_000)) && checkpoint.attempted.is_empty());
        checkpoint.begin_at_first_attempt(Stream::Audit, TimeDelta::minutes(1), Millis(500_000));
        assert_eq!(checkpoint.events(Stream::Audit).live_from, Some(Millis(40_000)));
    }

    #[test]
    fn a_misspelt_field_is_damage_and_not_ignored() {
        let mut json = Checkpoint::new(identity("code42/", None)).to_json();
        let at = String::from_utf8(json.clone()).expect("text").find("\"events\"").expect("there");
        json.splice(at..at + 8, *b"\"evetns\"");
        let error = Checkpoint::parse(&json).expect_err("refused").to_string();
        assert!(error.contains("evetns"), "{error}");
    }
}
