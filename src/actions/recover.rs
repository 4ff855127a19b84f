//! Restores a checkpoint that is gone, or that was replaced by an older version of itself: takes over what the
//! manifests list, so that nothing is stored twice, and reports it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::PoisonError;

use chrono::TimeDelta;
use serde::Serialize;
use tracing::warn;

use crate::actions::answer::Status;
use crate::actions::clients::Clients;
use crate::actions::request::Collect;
use crate::actions::work::Work;
use crate::bucket::followers::{LinkedManifest, following, read, read_after, read_newest};
use crate::bucket::ledger::{Found, Ledger, LedgerError};
use crate::bucket::s3::{Bucket, StoreError};
use crate::collect::error::Error;
use crate::collect::keys::known_key;
use crate::core::checkpoint::Checkpoint;
use crate::core::identity::normalised;
use crate::core::intervals::Intervals;
use crate::core::known::Known;
use crate::core::manifest::{Manifest, ReadingEntry, StoredObject};
use crate::core::ndjson;
use crate::core::settings::Settings;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

/// A process knows its own last write again for this long.
const KNOWN_FOR: TimeDelta = TimeDelta::minutes(15);
/// If the checkpoint is gone, this many manifests are searched for each stream's end.
const LOOKED_AT: usize = 50;
/// Facts that no manifest holds, so that they can't be recovered. Part of the answer.
const UNKNOWN: [&str; 4] = [
    "records that a run stored before it died without writing a manifest: their windows are cut anew, so they may be stored twice",
    "open readings, stuck spans and records, ids still to be fetched, and recounts",
    "records that one reading of a list lacked, and so might be deleted",
    "the shards of a backfill that were not merged",
];

/// The answer.
#[derive(Debug, Serialize)]
pub struct Recovered {
    pub action: &'static str,
    pub run_id: String,
    pub status: Status,
    pub manifests: u64,
    /// The time of the event streams that is covered now.
    pub covered: BTreeMap<Stream, Intervals>,
    /// Objects that a manifest lists and that don't exist. Their windows are not taken over.
    pub missing: Vec<String>,
    pub unknown: Vec<&'static str>,
}

/// Takes over the whole chain of manifests, oldest first. Sends no request to the API.
pub async fn recover(
    settings: &Settings,
    clients: &Clients,
    run_id: &str,
    deadline: Millis,
) -> Result<Recovered, Error> {
    let asked = Collect::default();
    let work = Work::new(settings, clients, run_id, true, &asked, deadline);
    let state = Bucket::of_state(settings, &clients.s3);
    let admit = async |_: Option<&Found>| Ok(settings.identity(None));
    let nothing = |status| Recovered {
        action: "recover",
        run_id: run_id.to_owned(),
        status,
        manifests: 0,
        covered: BTreeMap::new(),
        missing: Vec::new(),
        unknown: UNKNOWN.to_vec(),
    };
    let Some(ledger) = work.take_lease(&state, admit, |_: &mut Checkpoint| ()).await? else {
        return Ok(nothing(Status::Skipped));
    };
    let taken = work.take_over_all(&state, &ledger).await;
    ledger.release(work.times.commit_until).await?;
    let status = match &taken {
        Ok(_) => Status::Complete,
        Err(error) if error.is_out_of_time() => Status::Partial,
        Err(_) => Status::Failed,
    };
    let (manifests, missing) = match taken {
        Err(error) if !error.is_out_of_time() => return Err(error),
        taken => taken.unwrap_or_default(),
    };
    let covered = ledger
        .read(|checkpoint| checkpoint.events.iter().map(|(stream, state)| (*stream, state.covered.clone())).collect());
    Ok(Recovered { manifests, covered, missing, ..nothing(status) })
}

impl Work<'_> {
    /// Compares the checkpoint with the last one that this process wrote. If they differ, the checkpoint may be an
    /// older version, or gone, and the manifests are followed.
    pub(super) async fn catch_up(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        if ledger.read(|checkpoint| self.knows(checkpoint)) || !self.keeps_states() {
            return Ok(());
        }
        if ledger.read(Checkpoint::knows_nothing) {
            return self.begin_after_manifests(state, ledger).await;
        }
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let head = ledger.read(|checkpoint| checkpoint.manifests.head.clone());
        let mut later = read_after(state, prefix, head.as_ref(), until).await?;
        later.retain(|found| self.is_ours(&found.manifest));
        let chain = following(&later, head.as_ref(), false);
        if !chain.iter().any(|found| ledger.read(|checkpoint| checkpoint.is_behind(&found.manifest))) {
            return Ok(());
        }
        let (manifests, missing) = self.take_over(state, ledger, &chain, false).await?;
        let note = format!(
            "the checkpoint was an older version of itself, and {manifests} later manifests were taken over{}",
            told(&missing)
        );
        warn!("{note}");
        self.note_all(ledger, &note);
        Ok(ledger.commit(until).await?)
    }

    /// Remembers this run's last write, so that the process's next run can recognise the checkpoint.
    pub(super) async fn remember_written(&self, ledger: &Ledger<'_>) {
        let written = (ledger.last_write().await, Millis::now());
        *self.clients.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
    }

    /// Whether the checkpoint is the one that this process wrote last, a short time ago. Later that says nothing: others may
    /// have written since, and that very version may have been put back.
    pub(super) fn knows(&self, checkpoint: &Checkpoint) -> bool {
        let written = self.clients.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.as_ref().filter(|(_, at)| Millis::now() - *at < KNOWN_FOR).map(|(write, _)| write.clone());
        known.is_some() && known == checkpoint.found()
    }

    /// Called if the checkpoint is gone and manifests exist. The event streams begin where the newest manifests end.
    async fn begin_after_manifests(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let Some(newest) = read_newest(state, prefix, |manifest| self.is_ours(manifest), until).await? else {
            return Ok(());
        };
        if newest.manifest.run_id == ledger.read(|checkpoint| checkpoint.written_by.clone()) {
            return Ok(());
        }
        let mut ends: BTreeMap<Stream, Millis> = BTreeMap::new();
        let mut next = Some(newest.clone());
        for _ in 0..LOOKED_AT {
            let Some(LinkedManifest { manifest, .. }) = next.take() else { break };
            for entry in &manifest.readings {
                if let Some(window) = entry.window {
                    let end = ends.entry(entry.stream).or_insert(window.to);
                    *end = window.to.max(*end);
                }
            }
            let is_looked_for = |stream: &Stream| stream.class() == Class::Events && !ends.contains_key(stream);
            if !self.streams.iter().any(is_looked_for) {
                break;
            }
            if let Some(previous) = manifest.previous {
                next = read(state, prefix, &previous.key, until).await?;
            }
        }
        let note = format!(
            "the checkpoint is gone, and manifests are there: audit and file_events begin where the newest ({}) end, lists are stored again as a whole, and earlier gaps are not known; {{\"action\": \"recover\"}} takes over what the manifests list",
            newest.link.key
        );
        warn!("{note}");
        ledger.update(|checkpoint| {
            for (stream, end) in ends {
                checkpoint.attempted.remove(&stream);
                checkpoint.health.notes.remove(&stream);
                checkpoint.events(stream).live_from = Some(end);
            }
            checkpoint.manifests.head = Some(newest.link);
        });
        self.note_all(ledger, &note);
        Ok(ledger.commit(until).await?)
    }

    async fn take_over_all(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(u64, Vec<String>), Error> {
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let all = read_after(state, prefix, None, until).await?;
        let (ours, theirs): (Vec<_>, Vec<_>) = all.into_iter().partition(|found| self.is_ours(&found.manifest));
        if let (true, Some(other)) = (ours.is_empty(), theirs.first()) {
            // Somebody did collect, so an empty result would be wrong.
            let theirs = &other.manifest.identity;
            return Err(Error::InvalidEvent(format!("the manifests belong to another collector ({theirs:?})")));
        }
        let chain = following(&ours, None, true);
        let taken = self.take_over(state, ledger, &chain, true).await?;
        let note = format!("recovered from {} manifests{}", taken.0, told(&taken.1));
        warn!("{note}");
        self.note_all(ledger, &note);
        Ok(taken)
    }

    /// Takes over a chain, oldest first. With `afresh` the known records on the checkpoint are ignored. Returns the
    /// number of manifests, and the objects that don't exist.
    async fn take_over(
        &self,
        state: &Bucket,
        ledger: &Ledger<'_>,
        chain: &[LinkedManifest],
        afresh: bool,
    ) -> Result<(u64, Vec<String>), Error> {
        let records = Bucket::of_records(self.settings, &self.clients.s3);
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let mut known: BTreeMap<Stream, Known> = BTreeMap::new();
        let before = ledger.read(Checkpoint::clone);
        let mut changed = before.clone();
        let (mut missing, mut damaged) = (Vec::new(), Vec::new());
        for found in chain {
            let entries = self.entries_of(state, &found.manifest).await?;
            for entry in entries.iter().filter(|entry| afresh || before.lacks(entry)) {
                let (stream, class) = (entry.stream, entry.stream.class());
                if entry.window.is_some() {
                    let lacking = lacking(&records, entry, until).await?;
                    if lacking.is_empty() {
                        changed.take_over_window(entry, &self.settings.reconcile);
                    } else {
                        damaged.push(entry.clone());
                    }
                    missing.extend(lacking);
                } else if let Some(at) = entry.at {
                    let of_stream = match known.entry(stream) {
                        Entry::Occupied(loaded) => loaded.into_mut(),
                        Entry::Vacant(vacant) => match self.known_before(state, &mut changed, stream, afresh).await {
                            // The stream notices the damage itself, and stores the whole list again.
                            Err(StoreError::Damaged { .. }) => continue,
                            known => vacant.insert(known?),
                        },
                    };
                    missing.extend(self.apply_snapshot(&records, entry, at, of_stream).await?);
                    changed.take_over_snapshot(stream, class, at);
                }
            }
            changed.take_over_manifest(&found.link, &found.manifest);
        }
        // A later reading of the same window may have all its objects.
        for entry in &damaged {
            changed.reopen_window(entry, self.run_id);
        }
        if afresh {
            changed.begin_where_covered();
        }
        for (stream, of_stream) in known {
            let (_, at) = of_stream.store(state, prefix, stream, None, until).await?;
            changed.stored(stream, stream.class()).known = at;
        }
        ledger.update(|checkpoint| *checkpoint = changed);
        ledger.commit(until).await?;
        Ok((chain.len() as u64, missing))
    }

    /// Whether the manifest is this collector's. Others may keep their state beside it.
    fn is_ours(&self, manifest: &Manifest) -> bool {
        let (theirs, ours) = (&manifest.identity, self.settings.identity(None));
        (normalised(&theirs.base_url), &theirs.bucket, &theirs.prefix) == (ours.base_url, &ours.bucket, &ours.prefix)
    }

    /// Returns the readings of a manifest, after those of the shards' chains that it merged.
    async fn entries_of(&self, state: &Bucket, manifest: &Manifest) -> Result<Vec<ReadingEntry>, Error> {
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let mut entries: Vec<ReadingEntry> = Vec::new();
        for end in &manifest.merged {
            let mut next = read(state, prefix, &end.key, until).await?;
            while let Some(LinkedManifest { manifest, .. }) = next {
                entries.extend(manifest.readings);
                next = match manifest.previous {
                    Some(previous) => read(state, prefix, &previous.key, until).await?,
                    None => None,
                };
            }
        }
        entries.extend(manifest.readings.iter().cloned());
        Ok(entries)
    }

    /// Returns the known records that the checkpoint names, with the changes that an unfinished pass has stored since.
    /// Empty with `afresh`.
    async fn known_before(
        &self,
        state: &Bucket,
        checkpoint: &mut Checkpoint,
        stream: Stream,
        afresh: bool,
    ) -> Result<Known, StoreError> {
        if afresh {
            return Ok(Known::default());
        }
        let until = self.times.store_until;
        let known = Known::load(state, checkpoint.stored(stream, stream.class()).known.as_ref(), until).await?;
        let pass = checkpoint.inventory.get(&stream).and_then(|state| state.pass.as_ref());
        Ok(known.updated_with(Known::load(state, pass.and_then(|pass| pass.seen.as_ref()), until).await?))
    }

    /// Applies the stored records of a snapshot to the known records. Returns the objects that don't exist.
    async fn apply_snapshot(
        &self,
        records: &Bucket,
        entry: &ReadingEntry,
        at: Millis,
        known: &mut Known,
    ) -> Result<Vec<String>, StoreError> {
        // `-r1` sorts before its base but was stored after it.
        let mut objects: Vec<&StoredObject> = entry.objects.iter().collect();
        objects.sort_by_key(|object| (object.key.len(), &object.key));
        let mut missing = Vec::new();
        for object in objects {
            let Some(stored) = records.get(&object.key, self.times.store_until).await? else {
                missing.push(object.key.clone());
                continue;
            };
            for line in ndjson::lines(&stored.bytes).unwrap_or_default() {
                let line = ndjson::bare(&line);
                if let Some(key) = known_key(self.settings.dialect, entry.stream, &line) {
                    known.apply(&key, &line, self.settings.volatile(entry.stream), at);
                }
            }
        }
        Ok(missing)
    }

    fn note_all(&self, ledger: &Ledger<'_>, note: &str) {
        ledger.update(|checkpoint| {
            for stream in &self.settings.streams {
                checkpoint.health.note(*stream, note);
            }
        });
    }
}

/// Returns the objects of a reading that don't exist.
async fn lacking(records: &Bucket, entry: &ReadingEntry, until: Millis) -> Result<Vec<String>, LedgerError> {
    let mut lacking = Vec::new();
    for object in &entry.objects {
        if !records.exists(&object.key, until).await? {
            lacking.push(object.key.clone());
        }
    }
    Ok(lacking)
}

fn told(missing: &[String]) -> String {
    match missing.first() {
        None => String::new(),
        Some(first) => format!(", without {} objects that no longer exist, among them {first}", missing.len()),
    }
}
