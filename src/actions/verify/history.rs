//! The contents of the manifests, which are followed backwards from the checkpoint by their hashes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono::TimeDelta;

use crate::actions::verify::verification::{Discrepancy, Progress, Verification};
use crate::bucket::records::{base, bounds_of, hours};
use crate::bucket::s3::StoreError;
use crate::core::checkpoint::Checkpoint;
use crate::core::digest::sha256;
use crate::core::intervals::{Intervals, Span};
use crate::core::manifest::{Index, Link, Manifest, ReadingEntry, StoredObject};
use crate::core::ndjson;
use crate::core::stream::Stream;
use crate::core::time::{DAY, HOUR, MILLISECOND, Millis};

/// Tolerance for the dates of manifests, whose clock may be wrong.
const CLOCKS_DIFFER: TimeDelta = DAY;

#[derive(Default)]
pub struct History {
    /// The objects that manifests list, by stream and hour.
    objects: BTreeMap<(Stream, Millis), Vec<ListedObject>>,
    /// The windows that manifests list.
    windows: HashMap<Stream, Intervals>,
    /// The beginning of each stream's oldest reading.
    oldest: HashMap<Stream, Millis>,
    /// Prefixes of keys that belong to a reading that is not finished.
    open: Vec<String>,
    /// The spans that shards of a backfill read. Their manifests are not merged yet.
    reserved: Vec<(Stream, Span)>,
}

/// An object as a manifest lists it, with its window.
#[derive(Clone)]
pub struct ListedObject {
    pub object: StoredObject,
    pub window: Option<Span>,
}

impl History {
    pub async fn load(
        verification: &Verification<'_>,
        checkpoint: &Checkpoint,
        progress: &mut Progress,
    ) -> Result<Self, StoreError> {
        let mut history = Self::default();
        history.note_open(verification, checkpoint);
        let manifests = &checkpoint.manifests;
        history.take(verification, &manifests.unlisted, progress).await?;
        let mut chain = Walk { verification, indexes: HashMap::new(), lines: HashMap::new() };
        let mut ends: Vec<Link> = manifests.head.iter().chain(&manifests.merged).cloned().collect();
        while let Some(link) = ends.pop() {
            // A manifest from before the span can't list anything in it.
            if verification.asked.from.is_some_and(|from| link.written_at < from - CLOCKS_DIFFER) {
                continue;
            }
            let Some(manifest) = chain.manifest(&link, progress).await? else { continue };
            progress.checked.manifests += 1;
            history.take(verification, &manifest.readings, progress).await?;
            ends.extend(manifest.merged.into_iter().chain(manifest.previous));
        }
        Ok(history)
    }

    pub fn oldest(&self, stream: Stream) -> Option<Millis> {
        self.oldest.get(&stream).copied()
    }

    pub fn windows(&self, stream: Stream) -> Intervals {
        self.windows.get(&stream).cloned().unwrap_or_default()
    }

    pub fn objects(&self, stream: Stream, hour: Millis) -> &[ListedObject] {
        self.objects.get(&(stream, hour)).map_or(&[], Vec::as_slice)
    }

    /// Whether an object under this key may not be listed yet.
    pub fn is_open(&self, stream: Stream, key: &str) -> bool {
        let is_reserved = |(other, span): &(Stream, Span)| {
            *other == stream && bounds_of(key).is_some_and(|(at, _)| span.contains(at))
        };
        self.open.iter().any(|open| key.starts_with(open)) || self.reserved.iter().any(is_reserved)
    }

    /// Notes the readings that lie in the span, and checks them for contradictions.
    async fn take(
        &mut self,
        verification: &Verification<'_>,
        readings: &[ReadingEntry],
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let asked = verification.asked;
        let span = Span::new(asked.from.unwrap_or(Millis(i64::MIN)), asked.to.unwrap_or(Millis(i64::MAX)));
        let in_scope = |entry: &&ReadingEntry| {
            verification.streams().contains(&entry.stream) && span.is_some_and(|span| entry.touches(span))
        };
        for entry in readings.iter().filter(in_scope) {
            progress.findings.extend(contradiction(entry));
            for key in &entry.set_aside {
                progress.findings.extend(verification.set_aside(entry.stream, key).await?);
            }

            if let Some(window) = entry.window {
                self.windows.entry(entry.stream).or_default().insert(window);
            }
            if let Some(from) = entry.window.map(|window| window.from).or(entry.at) {
                let oldest = self.oldest.entry(entry.stream).or_insert(from);
                *oldest = from.min(*oldest);
            }

            for object in &entry.objects {
                let told = self.objects.entry((entry.stream, object.first.floor(HOUR))).or_default();
                // A window that was read again lists objects that an earlier manifest has listed.
                if !told.iter().any(|told| told.object == *object) {
                    told.push(ListedObject { object: object.clone(), window: entry.window });
                }
            }
        }
        Ok(())
    }

    /// Notes the keys that a run that died, or one that is running, may have written without listing them yet.
    fn note_open(&mut self, verification: &Verification<'_>, checkpoint: &Checkpoint) {
        let prefix = &verification.settings.prefix;
        self.reserved = checkpoint.reserved().map(|(stream, reserved)| (stream, reserved.span)).collect();
        for (stream, state) in &checkpoint.events {
            let recounts = state.recount.iter().filter(|recount| recount.read_by.is_some());
            for window in state.open.iter().map(|window| window.span).chain(recounts.map(|recount| recount.span)) {
                self.open.extend(hours(window).map(|hour| base(prefix, *stream, hour.from, hour.to)));
            }
        }
        let versions = checkpoint.versions.iter().map(|(stream, state)| (stream, &state.stored));
        let rescanned = checkpoint.rescanned.iter().map(|(stream, state)| (stream, &state.stored));
        let inventory = checkpoint.inventory.iter().map(|(stream, state)| (stream, &state.stored));
        for (stream, stored) in versions.chain(rescanned).chain(inventory) {
            self.open.extend(stored.open.map(|at| base(prefix, *stream, at, at)));
        }
    }
}

/// Finds a reading whose rows differ from the API's count. Such a reading should never have been finished.
fn contradiction(entry: &ReadingEntry) -> Option<Discrepancy> {
    let total = entry.total.filter(|total| entry.rows != *total)?;
    let span = match (entry.window, entry.at) {
        (Some(window), _) => window,
        (None, at) => Span::new(at?, at? + MILLISECOND)?,
    };
    let wrong = format!("{} rows were read, but the API counted {total}", entry.rows);
    Some(Discrepancy::of_span(entry.stream, span, wrong))
}

/// Walks the chain backwards. Takes a day's manifests from its index if there is one.
struct Walk<'a> {
    verification: &'a Verification<'a>,
    /// By the hash of the last manifest in the index.
    indexes: HashMap<String, Index>,
    /// Manifests from an index, by hash.
    lines: HashMap<String, String>,
}

impl Walk<'_> {
    /// Returns none if the chain is broken here, and adds a finding.
    async fn manifest(&mut self, link: &Link, progress: &mut Progress) -> Result<Option<Manifest>, StoreError> {
        if let Some(index) = self.indexes.remove(&link.sha256) {
            let wrong = self.open(&index).await?;
            progress.findings.extend(wrong.map(|wrong| Discrepancy::of_key(None, &index.key, wrong)));
        }

        let stored: Option<Bytes> = match self.lines.remove(&link.sha256) {
            Some(text) => Some(text.into()),
            None => match self.verification.state.get(&link.key, self.verification.until).await {
                Err(error @ StoreError::Archived { .. }) => {
                    let wrong =
                        format!("this manifest can't be read, so the manifests before it can't be verified: {error}");
                    progress.findings.push(Discrepancy::of_key(None, &link.key, wrong));
                    return Ok(None);
                }
                stored => stored?.map(|stored| stored.bytes),
            },
        };
        let Some(bytes) = stored else {
            let wrong = "this manifest is missing, so the manifests before it can't be verified";
            progress.findings.push(Discrepancy::of_key(None, &link.key, wrong));
            return Ok(None);
        };

        let wrong = match serde_json::from_slice::<Manifest>(&bytes) {
            _ if sha256(&bytes) != link.sha256 => {
                "its content is not what the manifest after it, or the checkpoint, names by its hash".to_owned()
            }
            Ok(manifest) if manifest.number != link.number => {
                format!("it has number {}, not {}", manifest.number, link.number)
            }
            Ok(manifest) => {
                self.indexes.extend(manifest.indexes.iter().map(|index| (index.last.sha256.clone(), index.clone())));
                return Ok(Some(manifest));
            }
            Err(error) => format!("it can't be read: {error}"),
        };
        progress.findings.push(Discrepancy::of_key(None, &link.key, wrong));
        Ok(None)
    }

    /// Reads an index. Each of its manifests is checked by its own hash. Without the index the manifests are read one
    /// by one. Returns the fault of the index, if it has one.
    async fn open(&mut self, index: &Index) -> Result<Option<&'static str>, StoreError> {
        let stored = match self.verification.state.get(&index.key, self.verification.until).await {
            // The manifests of the day are read one by one instead.
            Err(StoreError::Archived { .. }) => return Ok(Some("this index of a day's manifests is in cold storage")),
            stored => stored?,
        };
        let Some(stored) = stored else {
            return Ok(Some("this index of a day's manifests is missing"));
        };
        let lines = ndjson::lines(&stored.bytes).unwrap_or_default();
        if ndjson::sha256_of(&lines) != index.sha256 {
            return Ok(Some("its content has another SHA-256 than its manifest says"));
        }
        self.lines = lines.into_iter().map(|line| (sha256(line.as_bytes()), line)).collect();
        Ok(None)
    }
}
