//! Snapshots: the readings of streams that are compared with their known records.
//!
//! A snapshot is opened on the checkpoint. It takes over what a run that died stored under its key, stores the new and
//! changed records, and closes with the known records after it.

use tracing::warn;

use super::Collector;
use crate::bucket::records::Placed;
use crate::bucket::s3::StoreError;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, StateObject, StoredState, WriteOutcome};
use crate::core::known::{Known, RecordVersion};
use crate::core::manifest::{ReadingEntry, StoredObject};
use crate::core::ndjson::{self, FieldPath, Packed, Packer};
use crate::core::stream::Class;
use crate::core::time::Millis;

/// An open snapshot.
pub struct Snapshot {
    class: Class,
    pub at: Millis,
    opened_at: Millis,
    volatile: Vec<FieldPath>,
    pub known: Known,
    /// For a stream that is compared as a whole at its end: the records seen so far, including earlier runs. None if
    /// each record is compared by itself.
    pub seen: Option<Known>,
    /// The new and changed records.
    packer: Packer,
    found: FoundStored,
    set_aside: Vec<String>,
}

/// A record to compare.
pub struct Record<'a> {
    /// The key among the known records.
    pub key: &'a str,
    /// The line as it is stored.
    pub line: &'a str,
    /// The time at which the record began, if known records are forgotten by that time.
    pub began: Option<Millis>,
    /// It is not stored, only known, so that its list can be compared.
    pub is_index: bool,
}

/// The rows that a snapshot read, and the API's total.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    pub rows: u64,
    pub total: Option<u64>,
}

/// The objects under the key of a reading that an earlier run left open.
struct FoundStored {
    /// The number of objects, including those that were found before.
    count: u32,
    objects: Vec<StoredObject>,
}

impl Snapshot {
    /// Compares a record, and keeps it for storing if it is new or changed.
    pub fn take(&mut self, record: &Record<'_>) {
        let Record { key, line, began, is_index } = *record;
        let version = self.version(line);
        let seen = self.seen.as_ref().and_then(|seen| seen.stored(key, line, &version));
        let stored = seen.or_else(|| self.known.stored(key, line, &version));
        if !is_index && stored.is_none() {
            self.packer.push(line);
        }
        match (&mut self.seen, stored) {
            (Some(seen), stored) => {
                seen.add(key, stored.unwrap_or(version));
                if is_index {
                    seen.keep_request(key, &self.known);
                }
            }
            (None, Some(_)) => {}
            (None, None) => self.known.replace(key, version, began),
        }
    }

    /// Whether a record equals the stored one.
    pub fn is_stored(&self, key: &str, line: &str) -> bool {
        self.known.stored(key, line, &self.version(line)).is_some()
    }

    fn version(&self, line: &str) -> RecordVersion {
        RecordVersion::of(line, &self.volatile, self.opened_at)
    }

    /// Adds a tombstone.
    pub fn push(&mut self, tombstone: &str) {
        self.packer.push(tombstone);
    }

    /// Notes the key of a record that was set aside.
    pub fn set_aside(&mut self, key: String) {
        self.set_aside.push(key);
    }

    /// Whether it has records to store.
    pub fn has_changes(&self) -> bool {
        self.packer.records() > 0
    }

    /// The gzipped size of the records to store.
    pub fn bytes(&self) -> u64 {
        self.packer.bytes()
    }
}

impl Collector<'_> {
    /// Opens a snapshot, or continues one that a run left open. `known` are the known records after an earlier snapshot
    /// of this run. If none, they are loaded, and the objects under the open key are applied to them. `key_of` returns
    /// the key of a stored line.
    pub(super) async fn open_snapshot(
        &self,
        class: Class,
        known: Option<Known>,
        seen: Option<Known>,
        key_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Snapshot, Error> {
        let stored = self.stored(class, |stored| stored.clone());
        let mut seen = seen;
        let mut found = FoundStored { count: stored.applied, objects: Vec::new() };

        let known = if let Some(known) = known {
            known
        } else {
            let mut known = self.load_known(stored.known.as_ref()).await?;
            let volatile = self.run.settings.volatile(self.stream);
            let at = stored.open.unwrap_or_else(Millis::now);
            let apply = |key: &str, line: &str| {
                known.apply(key, line, volatile, at);
                // The run that died stored this record after it was seen.
                if let Some(seen) = seen.as_mut().filter(|seen| seen.has_id(key)) {
                    seen.apply(key, line, volatile, at);
                }
            };
            self.apply_stored(&stored, &mut found, key_of, apply).await?;
            known
        };

        // The commit that took the lease may have opened the reading too.
        let is_ours = stored.open.is_some() && stored.opened_by.contains(&self.run.ledger.lease);
        let at = self.stored(class, |stored| stored.open(Millis::now(), &self.run.ledger.lease));
        if !is_ours {
            self.commit().await?;
        }

        let packer = Packer::new(&self.run.settings.packing);
        let (opened_at, volatile) = (Millis::now(), self.run.settings.volatile(self.stream).to_vec());
        Ok(Snapshot { class, at, opened_at, volatile, known, seen, packer, found, set_aside: Vec::new() })
    }

    /// Stores the new and changed records. Commits the new known records together with `change`, and returns them.
    pub(super) async fn close_snapshot(
        &self,
        snapshot: Snapshot,
        counted: Counted,
        change: impl FnOnce(&mut Checkpoint),
    ) -> Result<Known, Error> {
        let Snapshot { class, at, opened_at, known, packer, found, set_aside, .. } = snapshot;
        let (applied, has_objects) = (found.count, !found.objects.is_empty());
        let stored = Box::pin(self.store_snapshot(at, packer.finish(), found)).await;
        if let Err(Error::Store(StoreError::Refused { operation: "PutObject", key, .. })) = &stored
            && !has_objects
            && *key == self.run.records.key_at(self.stream, at, applied)
        {
            // Nothing new is under the key, and this run has not written it. So the next reading gets another one: S3
            // may refuse only this.
            let (by, now) = (&self.run.ledger.lease, Millis::now());
            self.stored(class, |stored| stored.close(by, WriteOutcome::Nothing, applied, now));
        }
        let (objects, outcome) = stored?;
        let before = self.stored(class, |stored| stored.known.clone());
        let (known, after) = self.store_known(known, before.as_ref()).await?;
        let Counted { rows, total } = counted;
        let done =
            ReadingEntry { rows, total, set_aside, objects, ..ReadingEntry::of_instant(self.stream, at, opened_at) };
        self.note(done, |checkpoint| {
            let stored = checkpoint.stored(self.stream, class);
            stored.known = after;
            stored.close(&self.run.ledger.lease, outcome, applied, Millis::now());
            change(checkpoint);
        });
        Ok(known)
    }

    pub(super) async fn store_known(
        &self,
        known: Known,
        before: Option<&StateObject>,
    ) -> Result<(Known, Option<StateObject>), Error> {
        if self.run.records.dry_run {
            return Ok((known, before.cloned()));
        }
        self.run.ledger.check_lease()?;
        // The damaged object may have the key that we are about to write: keys are hashes of the content.
        let is_damaged = self.damaged.lock().is_some();
        let before = before.filter(|_| !is_damaged);
        let prefix = self.run.settings.state_prefix();
        Ok(known.store(self.run.state, prefix, self.stream, before, self.run.times.store_until).await?)
    }

    /// Returns the known records, from memory if this process stored them itself. If the object is damaged, notes the
    /// damage and returns no records.
    pub(super) async fn load_known(&self, at: Option<&StateObject>) -> Result<Known, Error> {
        if let Some(known) = at.and_then(|at| self.run.memory.take(self.stream, at)) {
            return Ok(known);
        }
        match Known::load(self.run.state, at, self.run.times.store_until).await {
            Err(error @ StoreError::Damaged { .. }) => {
                self.forget(error.into());
                Ok(Known::default())
            }
            known => Ok(known?),
        }
    }

    /// Forgets the known records, so that everything is read and stored again.
    fn forget(&self, why: Error) {
        warn!(stream = %self.stream, "{why}");
        if self.stream.class_in(self.run.settings.dialect) == Class::Versions {
            self.run.ledger.update(|checkpoint| {
                let state = checkpoint.versions(self.stream);
                (state.listed_to, state.listing) = (None, None);
            });
        }
        self.damaged.lock().get_or_insert(why);
    }

    /// Keeps the known records in memory for the next run, if every run reads the stream. A dry run has stored nothing
    /// of what it knows.
    pub(super) fn remember(&self, class: Class, known: Known) {
        if self.run.records.dry_run {
            return;
        }
        if let Some(at) = self.stored(class, |stored| stored.known.clone()) {
            self.run.memory.keep(self.stream, at, known);
        }
    }

    fn stored<T>(&self, class: Class, change: impl FnOnce(&mut StoredState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.stored(self.stream, class)))
    }

    /// Applies the objects under the open key, which a run that died may have stored without a commit. `apply` takes a
    /// record's key and line. If only this run has opened the reading, there are none.
    async fn apply_stored(
        &self,
        stored: &StoredState,
        found: &mut FoundStored,
        key_of: impl Fn(&str) -> Option<String>,
        mut apply: impl FnMut(&str, &str),
    ) -> Result<(), Error> {
        let Some(at) = stored.open else { return Ok(()) };
        let is_only_ours = stored.opened_by == [self.run.ledger.lease.clone()];
        if is_only_ours {
            return Ok(());
        }
        let until = self.run.times.store_until;
        for (object, lines) in self.run.records.stored_at(self.stream, at, stored.applied, until).await? {
            for line in lines {
                let line = ndjson::bare(&line);
                if let Some(key) = key_of(&line) {
                    apply(&key, &line);
                }
            }
            found.count += 1;
            found.objects.push(object);
        }
        Ok(())
    }

    /// Stores the packed records, and returns all objects under the snapshot's key.
    async fn store_snapshot(
        &self,
        at: Millis,
        packed: Packed,
        found: FoundStored,
    ) -> Result<(Vec<StoredObject>, WriteOutcome), Error> {
        self.run.ledger.check_lease()?;
        let (volatile, until) = (self.run.settings.volatile(self.stream), self.run.times.store_until);
        let placed = self.run.records.add_at(self.stream, at, found.count, packed, volatile, until).await?;
        self.tally.add(&placed);
        let outcome = if placed.is_empty() {
            WriteOutcome::Nothing
        } else if placed.iter().all(|placed| placed.is_new) {
            WriteOutcome::Written
        } else {
            WriteOutcome::Unexpected
        };
        let placed = placed.into_iter().map(|Placed { object, .. }| object);
        Ok((found.objects.into_iter().chain(placed).collect(), outcome))
    }
}
