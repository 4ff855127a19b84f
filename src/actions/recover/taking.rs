//! Takes over manifests, oldest first, from where the checkpoint's recovery has come. If the time is over, or a request
//! fails, the progress is committed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::TimeDelta;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::actions::leased_run::LeasedRun;
use crate::bucket::ledger::Ledger;
use crate::bucket::manifests::{LinkedManifest, days, is_orphan, read, read_day, read_named};
use crate::bucket::records::bounds_of;
use crate::bucket::s3::{Bucket, StoreError};
use crate::collect::error::Error;
use crate::collect::keys::known_key;
use crate::core::checkpoint::{Checkpoint, Recovery};
use crate::core::identity::{Identity, normalised};
use crate::core::intervals::Span;
use crate::core::known::Known;
use crate::core::manifest::{Link, Manifest, ReadingEntry};
use crate::core::ndjson;
use crate::core::stream::Stream;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::{Events, Kind};

const REQUESTS_AT_ONCE: usize = 8;
/// Objects of lists are read ahead, each of which may be some MB.
const OBJECTS_AT_ONCE: usize = 4;
/// The most windows of one stream that a recovery opens on the checkpoint, for objects that no manifest lists.
const MOST_OPENED: usize = 1_000;

/// The result of one run's part of a recovery.
#[derive(Debug, Default)]
pub struct Taken {
    pub manifests: u64,
    /// The keys of objects that a manifest lists and that don't exist.
    pub missing: Vec<String>,
    /// The manifests that another one names and that don't exist.
    pub missing_manifests: Vec<Link>,
    /// The time at which the oldest manifest was written, if it isn't the first of the chain.
    pub begins_at: Option<Millis>,
    /// Objects in gaps whose windows did not fit on the checkpoint.
    pub not_opened: usize,
}

struct Taking<'t> {
    work: &'t LeasedRun<'t>,
    state: &'t Bucket,
    records: Bucket,
    changed: Checkpoint,
    recovery: Recovery,
    /// The known records of the lists that changed.
    known: BTreeMap<Stream, Known>,
    /// The keys below a stream's day, as they were listed.
    listed: HashMap<String, BTreeSet<String>>,
    taken: Taken,
}

impl LeasedRun<'_> {
    /// Continues the recovery that is on the checkpoint, and commits its progress. Returns what this call took over,
    /// and an error if it stopped early. Without an error the recovery is complete.
    pub(super) async fn take_over(&self, state: &Bucket, ledger: &Ledger<'_>) -> (Taken, Result<(), Error>) {
        // A later run may have merged shards that this checkpoint still reserves, and live runs may have read the time
        // that these gave back. A shard is sealed before it is merged. So a shard that is still reserved after this was
        // never merged.
        let (_, failed) = Box::pin(self.merge_shards(state, ledger, |_| true)).await;
        if let Some(error) = failed {
            return (Taken::default(), Err(error));
        }
        let changed = ledger.read(Checkpoint::clone);
        let recovery = *changed.recovery.clone().unwrap_or_default();
        let records = Bucket::of_records(self.settings, &self.clients.s3);
        let (known, listed, taken) = (BTreeMap::new(), HashMap::new(), Taken::default());
        let mut taking = Taking { work: self, state, records, changed, recovery, known, listed, taken };
        let done = Box::pin(taking.take_all()).await;
        // Manifests of somebody else end the recovery. Otherwise every run would fail by them.
        let is_over = matches!(done, Ok(()) | Err(Error::InvalidEvent(_)));
        let stored = Box::pin(taking.commit(ledger, is_over)).await;
        (taking.taken, done.and(stored))
    }

    /// Whether the manifest is this collector's. Others may keep their state beside it.
    pub(super) fn is_ours(&self, manifest: &Manifest) -> bool {
        let (theirs, ours) = (&manifest.identity, self.settings.identity(None));
        (normalised(&theirs.base_url), &theirs.bucket, &theirs.prefix) == (ours.base_url, &ours.bucket, &ours.prefix)
    }
}

impl Taking<'_> {
    async fn take_all(&mut self) -> Result<(), Error> {
        let (prefix, until) = (self.work.settings.state_prefix(), self.until());
        let first = self.recovery.after.as_ref().map(Link::day).unwrap_or_default();

        let mut theirs = None;
        // The hashes of the day before.
        let mut before = HashSet::new();
        for (day, indexes) in days(self.state, prefix, until).await?.range(first..) {
            let of_day = read_day(self.state, prefix, day, indexes, until).await?;
            let (mut ours, others): (Vec<_>, Vec<_>) =
                of_day.into_iter().partition(|found| self.work.is_ours(&found.manifest));
            theirs = theirs.or(others.into_iter().next());
            let sha256 = |found: &LinkedManifest| found.link.sha256.clone();
            let of_day: HashSet<String> = ours.iter().map(sha256).collect();
            let orphans: HashSet<String> = ours.iter().filter(|found| is_orphan(found, &ours)).map(sha256).collect();
            // The run that used a number again came later, whatever the clocks said: it may have added to what the
            // orphan's run stored.
            ours.sort_by_key(|found| (found.link.number, !orphans.contains(&found.link.sha256)));

            let links: Vec<&Link> = ours.iter().map(|found| &found.link).collect();
            for found in ours.iter().skip(self.recovery.taken_of(&links)) {
                if let Some(previous) = &found.manifest.previous
                    && !of_day.contains(&previous.sha256)
                    && !before.contains(&previous.sha256)
                    && read(self.state, prefix, &previous.key, until).await?.is_none()
                {
                    self.go_past(previous, found).await?;
                }

                self.take(found).await?;
                if orphans.contains(&found.link.sha256) {
                    self.changed.forget_listed(&found.manifest);
                } else {
                    self.changed.take_over_manifest(&found.link, &found.manifest);
                }
                self.recovery.after = Some(found.link.clone());
                self.taken.manifests += 1;
            }

            before = of_day;
            self.listed.clear();
        }

        match (&self.recovery.after, theirs) {
            // There are manifests, and none is ours: an empty result would be wrong.
            (None, Some(other)) => {
                let Identity { base_url, bucket, prefix, .. } = &other.manifest.identity;
                let whose = format!("of {base_url}, which stores records in s3://{bucket}/{prefix}");
                return Err(Error::InvalidEvent(format!("the manifests belong to another collector, {whose}")));
            }
            (None, None) => {}
            (Some(newest), _) => {
                let newest = newest.written_at;
                self.apply_unlisted(newest, Millis::now()).await?;
                if self.recovery.afresh {
                    self.changed.begin_where_covered();
                }
                self.open_unlisted().await?;
            }
        }
        Ok(())
    }

    /// Takes over a manifest. If a request failed in the middle of it before, its beginning is done again, which
    /// changes nothing.
    async fn take(&mut self, found: &LinkedManifest) -> Result<(), Error> {
        let entries = self.entries_of(&found.manifest).await?;
        let windows: Vec<(&ReadingEntry, Span)> = entries
            .iter()
            .filter_map(|entry| Some((entry, entry.window?)))
            .filter(|(entry, window)| !self.changed.is_left_to_a_shard(entry.stream, *window))
            .collect();
        let folders = windows.iter().flat_map(|(entry, _)| &entry.objects).filter_map(|object| folder_of(&object.key));
        self.list(folders.map(str::to_owned).collect()).await?;

        for (entry, window) in windows {
            let lacking: Vec<String> = entry
                .objects
                .iter()
                .filter(|object| !self.is_listed(&object.key))
                .map(|object| object.key.clone())
                .collect();
            if lacking.is_empty() {
                self.changed.take_over_window(entry, &self.work.settings.reconcile);
            } else if self.is_past(entry.stream, window) {
                self.changed.give_up_window(entry.stream, window);
            } else {
                self.recovery.note_damaged(entry);
            }
            self.taken.missing.extend(lacking);
        }

        let lists: Vec<(&ReadingEntry, Millis)> = entries
            .iter()
            .filter_map(|entry| Some((entry, entry.at?)))
            // A list of versions is a reading of its own, and later than the one that stores its records.
            .filter(|(entry, at)| !entry.objects.is_empty() && self.recovery.is_due(entry.stream, *at))
            .collect();
        let objects = lists.iter().flat_map(|(entry, at)| {
            let keys = in_order(entry.objects.iter().map(|object| object.key.clone()).collect());
            keys.into_iter().map(|key| (entry.stream, *at, key))
        });
        self.apply(objects.collect()).await?;

        for (entry, at) in lists {
            // The pass is forgotten. The records that it has seen are loaded with the known ones before that.
            if self.changed.inventory.get(&entry.stream).is_some_and(|state| state.pass.is_some()) {
                self.known_of(entry.stream).await?;
            }
            self.changed.take_over_snapshot(entry.stream, at);
            self.note_applied(entry.stream, at);
        }
        Ok(())
    }

    /// Returns the readings of a manifest, after those of the shards' chains that it merged.
    async fn entries_of(&mut self, manifest: &Manifest) -> Result<Vec<ReadingEntry>, StoreError> {
        let (state, until) = (self.state, self.until());
        let chains: Vec<(Vec<ReadingEntry>, Option<Link>)> = stream::iter(manifest.merged.clone())
            .map(|end| async move { chain_of(state, end, until).await })
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await?;
        let mut entries = Vec::new();
        for (of_shard, missing) in chains {
            entries.extend(of_shard);
            self.note_missing_manifest(missing.as_ref());
        }
        entries.extend(manifest.readings.iter().cloned());
        Ok(entries)
    }

    /// Notes a manifest that is missing before `next`. The readings of lists that it named are taken from the objects
    /// themselves.
    async fn go_past(&mut self, missing: &Link, next: &LinkedManifest) -> Result<(), Error> {
        if let Some(after) = self.recovery.after.as_ref().map(|after| after.written_at) {
            self.note_missing_manifest(Some(missing));
            self.apply_unlisted(after, next.link.written_at).await?;
        } else {
            self.taken.begins_at = Some(next.link.written_at);
            self.note_missing_manifest(Some(missing));
        }
        Ok(())
    }

    fn note_missing_manifest(&mut self, missing: Option<&Link>) {
        if let Some(missing) = missing.filter(|missing| !self.taken.missing_manifests.contains(missing)) {
            self.taken.missing_manifests.push(missing.clone());
        }
    }

    /// Applies the objects of lists that no manifest lists: a manifest is missing, or a run died before it wrote one.
    /// They were stored between two instants, and their own instants may be somewhat earlier. The newest reading that
    /// was applied is applied again: a part of it may be unlisted.
    async fn apply_unlisted(&mut self, from: Millis, to: Millis) -> Result<(), Error> {
        let is_list = |stream: &&Stream| stream.class().is_compared();
        let streams: Vec<Stream> = Stream::ALL
            .iter()
            .filter(is_list)
            .filter(|stream| self.work.settings.streams.contains(stream) || self.recovery.lists.contains_key(stream))
            .copied()
            .collect();

        let since = |recovery: &Recovery, stream: &Stream| {
            let earliest = from - DAY;
            recovery.lists.get(stream).map_or(earliest, |newest| earliest.max(*newest))
        };
        let folders = streams.iter().flat_map(|stream| self.folders(*stream, since(&self.recovery, stream), to));
        self.list(folders.collect()).await?;

        let mut objects = Vec::new();
        for stream in streams {
            let since = since(&self.recovery, &stream);
            let keys =
                self.folders(stream, since, to).into_iter().filter_map(|folder| self.listed.get(&folder)).flatten();
            let at = |key: &String| Some((stream, bounds_of(key)?.0, key.clone()));
            let mut of_stream: Vec<_> = keys.filter_map(at).filter(|(_, at, _)| *at >= since && *at < to).collect();
            of_stream.sort_by(|(_, a, one), (_, b, other)| (a, one.len(), one).cmp(&(b, other.len(), other)));
            objects.extend(of_stream);
        }
        self.apply(objects).await
    }

    /// Applies stored records to the known records of their lists.
    async fn apply(&mut self, objects: Vec<(Stream, Millis, String)>) -> Result<(), Error> {
        let (records, until) = (self.records.clone(), self.until());
        let read = |(stream, at, key): (Stream, Millis, String)| {
            let records = &records;
            async move { Ok::<_, StoreError>((stream, at, records.get(&key, until).await?, key)) }
        };

        let mut read = stream::iter(objects).map(read).buffered(OBJECTS_AT_ONCE);
        while let Some((stream, at, stored, key)) = read.try_next().await? {
            let Some(stored) = stored else {
                self.taken.missing.push(key);
                continue;
            };

            let settings = self.work.settings;
            let Some(known) = self.known_of(stream).await? else { continue };
            let Ok(lines) = ndjson::lines(&stored.bytes) else {
                self.taken.missing.push(key);
                continue;
            };
            for line in lines {
                let line = ndjson::bare(&line);
                if let Some(key) = known_key(settings.dialect, stream, &line) {
                    known.apply(&key, &line, settings.volatile(stream), at);
                }
            }
            self.note_applied(stream, at);
        }
        Ok(())
    }

    /// Returns the known records of a list. None if they are damaged: the stream notices that itself, and stores the
    /// whole list again.
    async fn known_of(&mut self, stream: Stream) -> Result<Option<&mut Known>, StoreError> {
        let until = self.until();
        let vacant = match self.known.entry(stream) {
            Entry::Occupied(loaded) => return Ok(Some(loaded.into_mut())),
            Entry::Vacant(vacant) => vacant,
        };
        let is_new = self.recovery.afresh && !self.recovery.lists.contains_key(&stream);
        match known_before(self.state, &mut self.changed, stream, is_new, until).await {
            Err(StoreError::Damaged { .. }) => Ok(None),
            known => Ok(Some(vacant.insert(known?))),
        }
    }

    fn note_applied(&mut self, stream: Stream, at: Millis) {
        let newest = self.recovery.lists.entry(stream).or_insert(at);
        *newest = at.max(*newest);
    }

    /// Opens the windows of objects that lie in gaps and that no manifest lists.
    async fn open_unlisted(&mut self) -> Result<(), Error> {
        let now = Millis::now();
        let streams: Vec<Stream> = self.changed.events.keys().copied().collect();
        for stream in streams {
            let gaps = self.changed.events(stream).unopened_gaps(now);
            let folders: BTreeSet<String> =
                gaps.iter().flat_map(|gap| self.folders(stream, gap.from, gap.to)).collect();
            self.list(folders.clone()).await?;
            let keys = folders.iter().filter_map(|folder| self.listed.get(folder)).flatten();
            let stored: BTreeSet<Span> =
                keys.filter_map(|key| bounds_of(key)).filter_map(|(from, to)| Span::new(from, to)).collect();
            let lease = self.work.lease();
            self.taken.not_opened += self.changed.open_stored(stream, &stored, MOST_OPENED, &lease);
        }
        Ok(())
    }

    /// Writes the known records and the checkpoint.
    async fn commit(&mut self, ledger: &Ledger<'_>, is_over: bool) -> Result<(), Error> {
        let (prefix, times) = (self.work.settings.state_prefix(), self.work.times);
        for (stream, of_stream) in std::mem::take(&mut self.known) {
            let (_, at) = of_stream.store(self.state, prefix, stream, None, times.store_until).await?;
            self.changed.stored(stream, self.changed.class(stream)).known = at;
        }
        for entry in &self.recovery.damaged {
            self.changed.reopen_window(entry, self.work.run_id);
        }
        self.changed.recovery = (!is_over).then(|| Box::new(std::mem::take(&mut self.recovery)));
        ledger.update(|checkpoint| checkpoint.clone_from(&self.changed));
        Ok(ledger.commit(times.commit_until).await?)
    }

    /// Whether the API no longer keeps a window, so that it can't be read again.
    fn is_past(&self, stream: Stream, window: Span) -> bool {
        let settings = self.work.settings;
        let Some(Kind::Events(Events { retention, .. })) = stream.kind_in(settings.dialect) else { return false };
        window.to < Millis::now() - retention.unwrap_or(settings.file_events_retention)
    }

    fn until(&self) -> Millis {
        self.work.times.read_until
    }

    /// The folders of a stream's days.
    fn folders(&self, stream: Stream, from: Millis, to: Millis) -> Vec<String> {
        let mut days = Vec::new();
        let mut day = from.floor(DAY);
        while day <= to {
            days.push(format!("{}{stream}/{}", self.work.settings.prefix, day.date_time().format("dt=%Y-%m-%d/")));
            day = day + TimeDelta::days(1);
        }
        days
    }

    /// Lists the keys of folders, unless they are listed.
    async fn list(&mut self, folders: BTreeSet<String>) -> Result<(), StoreError> {
        let (records, until) = (self.records.clone(), self.until());
        let new: Vec<String> = folders.into_iter().filter(|folder| !self.listed.contains_key(folder)).collect();
        let list = |folder: String| {
            let records = &records;
            async move {
                let keys = records.list(&folder, until).await?;
                Ok::<_, StoreError>((folder, keys.into_iter().collect::<BTreeSet<String>>()))
            }
        };
        let listed: Vec<_> = stream::iter(new).map(list).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await?;
        self.listed.extend(listed);
        Ok(())
    }

    fn is_listed(&self, key: &str) -> bool {
        folder_of(key).and_then(|folder| self.listed.get(folder)).is_some_and(|keys| keys.contains(key))
    }
}

/// The folder of the day: the key up to its hour.
fn folder_of(key: &str) -> Option<&str> {
    Some(&key[..=key.rfind("/hour=")?])
}

/// Sorts the keys of a reading in the order in which they were stored. As text, `-r1` would come before its base.
fn in_order(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    keys
}

/// Returns the readings of a shard's chain, newest manifest first, and the manifest that is missing in it, if any.
async fn chain_of(state: &Bucket, end: Link, until: Millis) -> Result<(Vec<ReadingEntry>, Option<Link>), StoreError> {
    let mut entries = Vec::new();
    let mut next = Some(end);
    while let Some(link) = next {
        let Some(manifest) = read_named(state, &link, until).await? else { return Ok((entries, Some(link))) };
        entries.extend(manifest.readings);
        next = manifest.previous;
    }
    Ok((entries, None))
}

/// Returns the known records that the checkpoint names, with the changes that an unfinished pass has stored since.
/// Empty if the list is new to the recovery.
async fn known_before(
    state: &Bucket,
    checkpoint: &mut Checkpoint,
    stream: Stream,
    is_new: bool,
    until: Millis,
) -> Result<Known, StoreError> {
    if is_new {
        return Ok(Known::default());
    }
    let known = Known::load(state, checkpoint.stored(stream, checkpoint.class(stream)).known.as_ref(), until).await?;
    let pass = checkpoint.inventory.get(&stream).and_then(|state| state.pass.as_ref());
    Ok(known.updated_with(Known::load(state, pass.and_then(|pass| pass.seen.as_ref()), until).await?))
}
