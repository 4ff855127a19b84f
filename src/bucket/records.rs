//! Writes records under keys that are created and never changed. If a key exists, its object is read back: the records
//! in it count as stored, and missing ones are added in another object beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tracing::info;

use crate::bucket::s3::{Bucket, Condition, Object, StoreError, Stored, Written};
use crate::core::clock::off_thread;
use crate::core::intervals::Span;
use crate::core::manifest::StoredObject;
use crate::core::ndjson::{self, FieldPath, Fingerprint, Packed};
use crate::core::stream::Stream;
use crate::core::time::{HOUR, Millis};

/// The stream that the responder writes: two records a request, the intent and the result.
pub const TRAIL: &str = "response_actions";

/// The part of the records' bucket below `S3_PREFIX`.
pub struct Records<'a> {
    pub bucket: &'a Bucket,
    pub prefix: &'a str,
    pub run_id: &'a str,
    /// Further metadata for each object.
    pub metadata: &'a BTreeMap<String, String>,
    /// A dry run counts the objects that it would write.
    pub dry_run: bool,
}

/// An object that holds some of the records to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub object: StoredObject,
    /// True if this call wrote it, false if it existed before.
    pub is_new: bool,
}

/// The outcome of creating an object.
enum Creation {
    Done(Placed),
    /// Another object stands under the key.
    Occupied(Stored),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Ndjson,
    Csv,
}

impl Form {
    fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson.gz",
            Self::Csv => "csv.gz",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }
}

impl Records<'_> {
    /// Makes sure that the records are stored under a key that only this stream, span and hour have:
    /// `{prefix}{stream}/dt=2026-11-21/hour=13/{from}-{to}.ndjson.gz`, or `-r1`, `-r2`, … beside it. Returns all
    /// objects under these keys.
    pub async fn add(
        &self,
        stream: Stream,
        span: Span,
        packed: Packed,
        until: Millis,
    ) -> Result<Vec<Placed>, StoreError> {
        self.of_span(stream, span, until).add(0, packed).await
    }

    /// Stores a reading at an instant, of versions or inventory. The first `known` objects under its key are already
    /// applied to the known records, so they are not compared: a record that changed back to an earlier version is
    /// stored again. A record that differs from a stored one in `volatile` fields alone counts as stored.
    pub async fn add_at(
        &self,
        stream: Stream,
        at: Millis,
        known: u32,
        packed: Packed,
        volatile: &[FieldPath],
        until: Millis,
    ) -> Result<Vec<Placed>, StoreError> {
        KeySeries { volatile: volatile.into(), ..self.of_instant(stream, at, until) }.add(known, packed).await
    }

    /// Stores a reading that never gets additions: the first object under its key is all of it. Returns that object, or
    /// none if there are no records and nothing is stored.
    pub async fn once_at(
        &self,
        stream: Stream,
        at: Millis,
        packed: Packed,
        form: Form,
        until: Millis,
    ) -> Result<Option<Placed>, StoreError> {
        let series = self.of_instant(stream, at, until);
        let key = format!("{}.{}", series.base, form.extension());
        let stored = if packed.records == 0 {
            self.bucket.get(&key, until).await?
        } else {
            match series.create(&key, &packed, form).await? {
                Creation::Done(placed) => return Ok(Some(placed)),
                Creation::Occupied(stored) => Some(stored),
            }
        };

        let Some(stored) = stored else { return Ok(None) };
        let (object, ()) = series.look(key, stored, |(): &mut (), _| ()).await?;
        Ok(Some(Placed { object, is_new: false }))
    }

    /// Returns the stored objects of a reading at an instant with their lines, oldest first, without the first
    /// `but_for`.
    pub async fn stored_at(
        &self,
        stream: Stream,
        at: Millis,
        but_for: u32,
        until: Millis,
    ) -> Result<Vec<(StoredObject, Vec<String>)>, StoreError> {
        let keep = |lines: &mut Vec<String>, line: &str| lines.push(line.to_owned());
        self.of_instant(stream, at, until).stored(but_for, keep).await
    }

    /// Returns the stored objects of one hour of a window.
    pub async fn stored_in(&self, stream: Stream, hour: Span, until: Millis) -> Result<Vec<Placed>, StoreError> {
        self.of_span(stream, hour, until).placed(0).await
    }

    /// The key of a reading's first object, or of the one that was added as the `n`th.
    pub fn key_at(&self, stream: Stream, at: Millis, n: u32) -> String {
        nth(&base(self.prefix, stream, at, at), n)
    }

    /// Whether any object of a window is stored.
    pub async fn any_of(&self, stream: Stream, window: Span, until: Millis) -> Result<bool, StoreError> {
        for hour in hours(window) {
            if self.bucket.get(&self.of_span(stream, hour, until).key(0), until).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn of_span(&self, stream: Stream, span: Span, until: Millis) -> KeySeries<'_> {
        let base = base(self.prefix, stream, span.from, span.to);
        KeySeries { records: self, stream, base, at: span.from, volatile: Arc::default(), until }
    }

    fn of_instant(&self, stream: Stream, at: Millis, until: Millis) -> KeySeries<'_> {
        let base = base(self.prefix, stream, at, at);
        KeySeries { records: self, stream, base, at, volatile: Arc::default(), until }
    }
}

/// The objects of one span or instant of a stream: the first, and those that were added later.
struct KeySeries<'a> {
    records: &'a Records<'a>,
    stream: Stream,
    /// The common beginning of the keys.
    base: String,
    /// The time of records without a time field.
    at: Millis,
    /// Fields that make no difference between two records.
    volatile: Arc<[FieldPath]>,
    until: Millis,
}

impl KeySeries<'_> {
    fn key(&self, n: u32) -> String {
        nth(&self.base, n)
    }

    /// Stores the records that the objects from number `from` on lack. Returns all these objects.
    async fn add(&self, from: u32, packed: Packed) -> Result<Vec<Placed>, StoreError> {
        let (stream, mut packed, mut placed) = (self.stream, packed, Vec::new());
        for n in from.. {
            if packed.records == 0 {
                // Nothing is missing. Objects with higher numbers belong to the same reading too.
                if !placed.is_empty() {
                    placed.extend(self.placed(n).await?);
                }
                break;
            }

            let key = self.key(n);
            let stored = match self.create(&key, &packed, Form::Ndjson).await? {
                Creation::Done(created) => {
                    placed.push(created);
                    break;
                }
                Creation::Occupied(stored) => stored,
            };

            let volatile = self.volatile.clone();
            let count = move |counts: &mut HashMap<Fingerprint, u64>, line: &str| {
                *counts.entry(Fingerprint::of_meaning(line, &volatile)).or_default() += 1;
            };
            let (object, mut counts) = self.look(key, stored, count).await?;
            let volatile = self.volatile.clone();
            packed = off_thread(move || packed.without(&mut counts, &volatile, |line| stream.time_of(line)))
                .await
                .map_err(|error| self.foreign(&object.key, &error))?;

            let (key, lacking) = (&object.key, packed.records);
            info!(key, lacking, "the object existed: its records count as stored, and the missing ones are added");
            placed.push(Placed { object, is_new: false });
        }
        Ok(placed)
    }

    /// Returns the stored objects from number `from` on, each with what `take` made of its lines.
    async fn stored<T: Default + Send + 'static>(
        &self,
        from: u32,
        take: fn(&mut T, &str),
    ) -> Result<Vec<(StoredObject, T)>, StoreError> {
        let mut found = Vec::new();
        for n in from.. {
            let key = self.key(n);
            let Some(stored) = self.records.bucket.get(&key, self.until).await? else { break };
            found.push(self.look(key, stored, take).await?);
        }
        Ok(found)
    }

    async fn placed(&self, from: u32) -> Result<Vec<Placed>, StoreError> {
        let stored = self.stored(from, |(): &mut (), _| ()).await?;
        Ok(stored.into_iter().map(|(object, ())| Placed { object, is_new: false }).collect())
    }

    /// Creates an object. Our own write whose answer was lost counts as created.
    async fn create(&self, key: &str, packed: &Packed, form: Form) -> Result<Creation, StoreError> {
        let (bucket, until) = (self.records.bucket, self.until);
        let (first, last) = packed.times.unwrap_or((self.at, self.at));
        let (bytes, records, sha256) = (packed.gzip.len() as u64, packed.records, packed.sha256.clone());
        let ours = StoredObject { key: key.to_owned(), bytes, records, sha256, first, last };
        let metadata = metadata(self.records.metadata, self.stream.name(), packed, self.records.run_id);
        let object = Object { key, bytes: Bytes::clone(&packed.gzip), content_type: form.content_type(), metadata };

        let is_new = if self.records.dry_run {
            bucket.get(key, until).await?.is_none()
        } else {
            bucket.put(&object, Condition::Absent, until).await? != Written::ConditionFailed
        };
        if is_new {
            return Ok(Creation::Done(Placed { object: ours, is_new }));
        }

        let Some(stored) = bucket.get(key, until).await? else {
            return Err(bucket.failed("PutObject", key, "S3 refuses the key as taken, but no object is there".into()));
        };

        let is_ours = ["sha256", "run-id"].iter().all(|name| stored.metadata.get(*name) == object.metadata.get(*name));
        let written = Placed { object: ours, is_new: true };
        Ok(if is_ours { Creation::Done(written) } else { Creation::Occupied(stored) })
    }

    /// Describes a stored object by its content, not by its metadata, with what `take` makes of its lines.
    async fn look<T: Default + Send + 'static>(
        &self,
        key: String,
        stored: Stored,
        take: impl Fn(&mut T, &str) + Send + 'static,
    ) -> Result<(StoredObject, T), StoreError> {
        let (stream, at, of_key) = (self.stream, self.at, key.clone());
        off_thread(move || describe(stream, of_key, &stored, at, take))
            .await
            .map_err(|error| self.foreign(&key, &error))
    }

    fn foreign(&self, key: &str, error: &std::io::Error) -> StoreError {
        let bucket = self.records.bucket.name.clone();
        StoreError::Foreign { bucket, key: key.to_owned(), why: error.to_string() }
    }
}

/// The metadata of an object of records: the operator's, and our own.
pub fn metadata(
    settings: &BTreeMap<String, String>,
    stream: &str,
    packed: &Packed,
    run_id: &str,
) -> HashMap<String, String> {
    let own = [
        ("stream", stream.to_owned()),
        ("records", packed.records.to_string()),
        ("sha256", packed.sha256.clone()),
        ("run-id", run_id.to_owned()),
    ];
    let theirs = settings.iter().map(|(name, value)| (name.clone(), value.clone()));
    theirs.chain(own.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// The common beginning of the keys of all objects of a span.
pub fn base(prefix: &str, stream: impl std::fmt::Display, from: Millis, to: Millis) -> String {
    let partition = from.date_time().format("dt=%Y-%m-%d/hour=%H");
    format!("{prefix}{stream}/{partition}/{}-{}", from.compact(), to.compact())
}

/// Returns the beginning and the end of the span that a key names. None if it names none.
pub fn bounds_of(key: &str) -> Option<(Millis, Millis)> {
    let mut bounds = key.rsplit('/').next()?.split(['-', '.']).map(|bound| {
        let bound = chrono::NaiveDateTime::parse_from_str(bound, "%Y%m%dT%H%M%S%3fZ").ok()?;
        Some(Millis(bound.and_utc().timestamp_millis()))
    });
    Some((bounds.next()??, bounds.next()??))
}

fn describe<T: Default>(
    stream: Stream,
    key: String,
    stored: &Stored,
    at: Millis,
    take: impl Fn(&mut T, &str),
) -> std::io::Result<(StoredObject, T)> {
    let (mut taken, mut records, mut times) = (T::default(), 0, None);
    let sha256 = ndjson::each_line(&stored.bytes, |line| {
        let time = stream.time_of(line).unwrap_or(at);
        let (first, last) = times.unwrap_or((time, time));
        times = Some((time.min(first), time.max(last)));
        records += 1;
        take(&mut taken, line);
    })?;

    let (first, last) = times.unwrap_or((at, at));
    let bytes = stored.bytes.len() as u64;
    Ok((StoredObject { key, bytes, records, sha256, first, last }, taken))
}

/// The key of the first object, or of the one that was added as the `n`th.
pub fn nth(base: &str, n: u32) -> String {
    match n {
        0 => format!("{base}.ndjson.gz"),
        n => format!("{base}-r{n}.ndjson.gz"),
    }
}

/// Cuts a window at full hours.
pub fn hours(window: Span) -> impl Iterator<Item = Span> {
    let mut from = window.from;
    std::iter::from_fn(move || {
        let hour = Span::new(from, window.to.min(from.floor(HOUR) + HOUR))?;
        from = hour.to;
        Some(hour)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_cut_at_full_hours_and_keeps_its_own_ends() {
        let at = |text| Millis::parse(text).expect("a time");
        let window = Span::new(at("2026-11-21T13:59:30Z"), at("2026-11-21T15:00:00Z")).expect("not empty");
        let cut: Vec<String> =
            hours(window).map(|hour| format!("{}-{}", hour.from.compact(), hour.to.compact())).collect();
        assert_eq!(cut, ["20261121T135930000Z-20261121T140000000Z", "20261121T140000000Z-20261121T150000000Z"]);
    }

    #[test]
    fn a_key_tells_its_bounds() {
        let span = Span::new(Millis(1_000), Millis(2_001)).expect("not empty");
        let base = base("code42/", Stream::Audit, span.from, span.to);
        for n in [0, 2] {
            assert_eq!(bounds_of(&nth(&base, n)), Some((span.from, span.to)));
        }
        for other in ["code42/audit/dt=1970-01-01/hour=00/note.txt", "", "19700101T000001000Z.ndjson.gz"] {
            assert_eq!(bounds_of(other), None);
        }
    }

    #[test]
    fn what_is_added_later_stands_beside_what_was_there() {
        assert_eq!(nth("a", 0), "a.ndjson.gz");
        assert_eq!(nth("a", 2), "a-r2.ndjson.gz");
    }
}
