//! The chain of manifests in the bucket.
//!
//! A finished reading stays on the checkpoint until a manifest lists it. A manifest counts once the checkpoint names
//! it. Two runs that overlap may both write a manifest, but the checkpoint names only one. The other is an orphan, so
//! the chain can't fork.

use std::collections::HashMap;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::{info, warn};

use crate::bucket::ledger::Ledger;
use crate::bucket::s3::{Bucket, Condition, Object, StoreError};
use crate::core::checkpoint::{Checkpoint, Manifests};
use crate::core::digest::sha256;
use crate::core::manifest::{self, Index, Link, Manifest, ReadingEntry, day_prefix};
use crate::core::ndjson::{Packer, Packing};
use crate::core::shared::Flag;
use crate::core::time::Millis;

/// A run writes a manifest before its end once this many readings are unlisted.
const LONG: usize = 64;
/// If no manifest can be written, at most this many readings wait on the checkpoint: those of a few days. Beyond that
/// no more windows are read.
const MOST_UNLISTED: usize = 4_096;
/// A manifest that is written during the run may take a quarter of the remaining time: a stream waits for it.
const PART: i32 = 4;
const READS_AT_ONCE: usize = 8;

pub struct Chain<'a> {
    state: &'a Bucket,
    state_prefix: &'a str,
    ledger: &'a Ledger<'a>,
    dry_run: bool,
    /// Held while a manifest is written, because each names the one before it.
    writing: tokio::sync::Mutex<()>,
    /// Set once a manifest could not be written in this run.
    has_failed: Flag,
}

impl<'a> Chain<'a> {
    pub fn new(state: &'a Bucket, state_prefix: &'a str, ledger: &'a Ledger<'a>, dry_run: bool) -> Self {
        let (writing, has_failed) = (tokio::sync::Mutex::new(()), Flag::default());
        Self { state, state_prefix, ledger, dry_run, writing, has_failed }
    }

    /// Adds a finished reading to the unlisted ones and makes `change`, which records what it covered, in the same
    /// update.
    pub fn note<T>(&self, done: ReadingEntry, change: impl FnOnce(&mut Checkpoint) -> T) -> T {
        self.ledger.update(|checkpoint| {
            checkpoint.manifests.unlisted.push(done);
            change(checkpoint)
        })
    }

    /// Keeps the checkpoint small during a run that reads many windows. S3 may never answer for this key, so only the
    /// stream that writes the manifest waits for it, and not for all of the run.
    pub async fn write_if_long(&self, until: Millis) -> Result<(), StoreError> {
        let to_tell = self.ledger.read(|checkpoint| checkpoint.manifests.unlisted_count());
        let may_stay = to_tell < MOST_UNLISTED;
        let is_under_way = || self.writing.try_lock().is_err();
        if to_tell < LONG || may_stay && (self.has_failed.is_set() || is_under_way()) {
            return Ok(());
        }

        let now = Millis::now();
        let until = if may_stay { now + (until - now) / PART } else { until };
        let written = self.write(Vec::new(), LONG, until).await;
        if let Err(error) = &written
            && may_stay
        {
            // `close` tries once more at the run's end. If that fails too, the run fails.
            warn!(%error, readings = to_tell, "no manifest can be written; its readings stay on the checkpoint");
            self.has_failed.set(true);
            return Ok(());
        }
        written
    }

    /// Called at a run's end. Writes a manifest of the remaining readings, and the index of a day that is over.
    pub async fn close(&self, index_until: Millis, until: Millis) -> Result<(), StoreError> {
        let unindexed = self.ledger.read(|checkpoint| {
            let manifests = &checkpoint.manifests;
            manifests.unindexed.first().filter(|_| manifests.unlisted_count() > 0 && !self.dry_run).cloned()
        });
        let index = match unindexed {
            Some(last) => self.index(last, index_until).await.unwrap_or_else(|error| {
                // The chain can be read without the index, and the next run tries again.
                warn!(%error, "a day's manifests have no index yet");
                None
            }),
            None => None,
        };
        self.write(index.into_iter().collect(), 1, until).await
    }

    /// Writes the next manifest, if it would list at least `at_least` readings and merged chains.
    async fn write(&self, indexes: Vec<Index>, at_least: usize, until: Millis) -> Result<(), StoreError> {
        let _one_at_a_time = self.writing.lock().await;
        let (Manifests { head: before, unlisted: readings, merged, .. }, identity) =
            self.ledger.read(|checkpoint| (checkpoint.manifests.clone(), checkpoint.identity.clone()));
        let (told, told_merged) = (readings.len(), merged.len());
        if self.dry_run || told + told_merged < at_least || self.ledger.check_lease().is_err() {
            return Ok(());
        }

        let manifest = Manifest {
            format_version: manifest::FORMAT_VERSION,
            number: before.as_ref().map_or(1, |link| link.number + 1),
            written_at: before.as_ref().map_or(Millis::now(), |link| link.written_at.max(Millis::now())),
            previous: before,
            run_id: self.ledger.lease.run_id.clone(),
            identity,
            indexes,
            merged,
            readings,
        };

        let json = manifest.to_json();
        let link = manifest.link(self.state_prefix, &json);
        self.put(&link.key, json.into(), "application/json", until).await?;
        // The log is the second witness of the hash: whoever can write to the bucket can't change the log.
        info!(number = link.number, sha256 = link.sha256, key = link.key, readings = told, "manifest written");

        self.ledger.update(|checkpoint| {
            let manifests = &mut checkpoint.manifests;
            manifests.unlisted.drain(..told);
            manifests.merged.drain(..told_merged);
            manifests.append(&link, &manifest.indexes);
        });
        Ok(())
    }

    /// Puts all manifests of a finished day into one object. `last` is the last of that day.
    async fn index(&self, last: Link, until: Millis) -> Result<Option<Index>, StoreError> {
        let keys = self.state.list(&day_prefix(self.state_prefix, &last.day()), until).await?;
        let found: HashMap<String, Bytes> = stream::iter(keys)
            .map(|key| async move { self.state.get(&key, until).await })
            .buffer_unordered(READS_AT_ONCE)
            .try_filter_map(async |stored| Ok(stored.map(|stored| (sha256(&stored.bytes), stored.bytes))))
            .try_collect()
            .await?;

        // Follows the chain backwards from the last manifest, by hash. A manifest that isn't met on the way is an
        // orphan.
        let mut lines = Vec::new();
        let mut next = Some(last.clone());
        while let Some(link) = next
            && link.day() == last.day()
            && let Some(bytes) = found.get(&link.sha256)
            && let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes)
        {
            lines.push(String::from_utf8_lossy(bytes).into_owned());
            next = manifest.previous;
        }
        if lines.is_empty() {
            return Ok(None);
        }

        let mut packer = Packer::new(&Packing::default());
        for line in lines.iter().rev() {
            packer.push(line);
        }
        let index = packer.finish();
        let key = format!("{}manifests/index/{}-{}.ndjson.gz", self.state_prefix, last.day(), index.sha256);
        self.put(&key, index.gzip, "application/x-ndjson", until).await?;
        Ok(Some(Index { key, sha256: index.sha256, last }))
    }

    /// Does nothing if the key exists: it holds the hash of the content, so the same bytes are there.
    async fn put(&self, key: &str, bytes: Bytes, content_type: &'static str, until: Millis) -> Result<(), StoreError> {
        let object = Object { key, bytes, content_type, metadata: HashMap::new() };
        self.state.put(&object, Condition::Absent, until).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use chrono::TimeDelta;
    use futures::{FutureExt, poll};

    use super::*;
    use crate::bucket::s3::S3;
    use crate::bucket::store::{Done, Operation, SimulatedError, SimulatedS3, Store};
    use crate::core::checkpoint::Lease;
    use crate::core::identity::Identity;
    use crate::core::settings::Encryption;
    use crate::core::stream::Stream;

    #[tokio::test]
    async fn a_manifest_that_s3_never_answers_holds_up_one_stream_and_not_for_all_of_the_run() {
        let never: SimulatedS3 =
            Arc::new(|_: Operation| std::future::pending::<Result<Done, SimulatedError>>().boxed());
        let s3 = S3::new(Store::Simulated(never));
        let state = Bucket { s3, name: "b".into(), owner: None, encryption: Encryption::BucketDefault };
        let identity = Identity::example();
        let until = Millis::now() + TimeDelta::seconds(2);
        let ledger = Ledger::unwritten(&state, "key", None, identity, Lease { run_id: "run".into(), until });
        let chain = Chain::new(&state, "state/", &ledger, false);
        for _ in 0..LONG {
            chain.note(ReadingEntry::of_instant(Stream::Users, Millis(0), Millis(0)), |_| ());
        }
        let mut first = pin!(chain.write_if_long(until));
        assert!(poll!(first.as_mut()).is_pending());
        assert!(poll!(pin!(chain.write_if_long(until))).is_ready(), "nobody waits for another stream's manifest");
        assert!(first.await.is_ok());
        assert!(Millis::now() < until - TimeDelta::seconds(1), "there is time left to read");
    }
}
