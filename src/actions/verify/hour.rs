//! Verifies one hour of one stream: every listed object exists unchanged, no other object does, and no record is stored
//! twice.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::actions::verify::history::{History, ListedObject};
use crate::actions::verify::verification::{Discrepancy, Progress, Verification};
use crate::bucket::records::bounds_of;
use crate::bucket::s3::{StoreError, Stored};
use crate::core::clock::off_thread;
use crate::core::digest::sha256;
use crate::core::intervals::Span;
use crate::core::ndjson::{self, Fingerprint};
use crate::core::stream::Stream;
use crate::core::time::{DAY, HOUR, Millis};
use crate::incydr::facts::{Events, Kind, Total};

pub(super) const READS_AT_ONCE: usize = 4;

/// The content of an object.
struct Inspected {
    findings: Vec<Discrepancy>,
    records: u64,
    bytes: u64,
    fingerprints: Vec<Fingerprint>,
}

impl Verification<'_> {
    pub(super) async fn hour(
        &self,
        stream: Stream,
        hour: Millis,
        span: Span,
        history: &History,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let told: BTreeMap<&str, &ListedObject> =
            history.objects(stream, hour).iter().map(|told| (told.object.key.as_str(), told)).collect();
        for key in self.listed(stream, hour, progress).await? {
            if !told.contains_key(key.as_str()) && !history.is_open(stream, &key) && is_within(&key, hour, span) {
                progress.findings.push(Discrepancy::of_key(Some(stream), &key, "no manifest names it"));
            }
        }

        let inspect = |told: ListedObject| async move {
            let stored = match self.records.get(&told.object.key, self.until).await {
                Err(error @ StoreError::Archived { .. }) => Err(error.to_string()),
                stored => Ok(stored?),
            };
            let window = told.window;
            Ok::<_, StoreError>((window, off_thread(move || inspect(stream, &told, stored)).await))
        };
        let told: Vec<ListedObject> = told.into_values().cloned().collect();
        let inspected: Vec<(Option<Span>, Inspected)> =
            stream::iter(told.clone()).map(inspect).buffered(READS_AT_ONCE).try_collect().await?;

        let mut seen = HashMap::<Fingerprint, Option<Span>>::new();
        for (told, (window, inspected)) in told.iter().zip(inspected) {
            progress.checked.objects += 1;
            progress.checked.records += inspected.records;
            progress.checked.bytes += inspected.bytes;
            progress.findings.extend(inspected.findings);

            let twice = inspected.fingerprints.into_iter().filter(|record| {
                let before = seen.insert(*record, window);
                before.is_some_and(|before| may_not_be_alike(stream, before, window))
            });
            match twice.count() {
                0 => {}
                twice => {
                    let wrong = format!("{twice} of its records are stored elsewhere, too");
                    progress.findings.push(Discrepancy::of_key(Some(stream), &told.object.key, wrong));
                }
            }
        }
        Ok(())
    }

    /// Returns the keys of one hour. Lists its day once.
    async fn listed(&self, stream: Stream, hour: Millis, progress: &mut Progress) -> Result<Vec<String>, StoreError> {
        let day = hour.floor(DAY);
        let prefix = |unit: Millis, format: &str| {
            format!("{}{stream}/{}/", self.settings.prefix, unit.date_time().format(format))
        };
        if let std::collections::hash_map::Entry::Vacant(entry) = progress.listed.entry((stream, day)) {
            entry.insert(self.records.list(&prefix(day, "dt=%Y-%m-%d"), self.until).await?);
        }
        let of_hour = prefix(hour, "dt=%Y-%m-%d/hour=%H");
        let of_day = progress.listed.get(&(stream, day)).map_or(&[][..], Vec::as_slice);
        Ok(of_day.iter().filter(|key| key.starts_with(&of_hour)).cloned().collect())
    }

    /// Checks an object that was set aside: its key holds the hash of its content. None if it is as it should be.
    pub(super) async fn set_aside(&self, stream: Stream, key: &str) -> Result<Option<Discrepancy>, StoreError> {
        let stored = match self.state.get(key, self.until).await {
            Err(error @ StoreError::Archived { .. }) => {
                let wrong = format!("it can't be verified: {error}");
                return Ok(Some(Discrepancy::of_key(Some(stream), key, wrong)));
            }
            stored => stored?,
        };
        let wrong = match stored {
            None => "the object that was set aside is missing",
            Some(stored) if !key.contains(&sha256(&stored.bytes)) => "its content is not the one that was set aside",
            Some(_) => return Ok(None),
        };
        Ok(Some(Discrepancy::of_key(Some(stream), key, wrong)))
    }
}

/// Compares a stored object with its entry in a manifest.
fn inspect(stream: Stream, told: &ListedObject, stored: Result<Option<Stored>, String>) -> Inspected {
    let ListedObject { object, window } = told;
    let mut inspected = Inspected { findings: Vec::new(), records: 0, bytes: 0, fingerprints: Vec::new() };
    let mut wrong = |wrong: String| inspected.findings.push(Discrepancy::of_key(Some(stream), &object.key, wrong));

    let stored = match stored {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            wrong("it is missing".into());
            return inspected;
        }
        Err(archived) => {
            wrong(format!("it can't be verified: {archived}"));
            return inspected;
        }
    };

    inspected.bytes = stored.bytes.len() as u64;
    let window = window.filter(|_| matches!(stream.kind(), Kind::Events(_)));
    let is_of_hour = |time: Millis, window: Span| window.contains(time) && time.floor(HOUR) == object.first.floor(HOUR);
    let (mut fingerprints, mut outside) = (Vec::new(), 0);
    let sha256 = ndjson::each_line(&stored.bytes, |line| {
        fingerprints.push(Fingerprint::of(ndjson::bare(line).as_bytes()));
        if window.is_some_and(|window| !stream.time_of(line).is_some_and(|time| is_of_hour(time, window))) {
            outside += 1;
        }
    });
    let sha256 = match sha256 {
        Ok(sha256) => sha256,
        Err(error) => {
            wrong(format!("it is not gzipped text: {error}"));
            return inspected;
        }
    };

    inspected.records = fingerprints.len() as u64;
    if inspected.records != object.records {
        wrong(format!("it holds {} records, but its manifest says {}", inspected.records, object.records));
    }
    if sha256 != object.sha256 {
        wrong("its content has another SHA-256 than its manifest says".into());
    } else if inspected.bytes != object.bytes {
        wrong(format!("it has {} bytes, but its manifest says {}", inspected.bytes, object.bytes));
    }
    if outside > 0 {
        wrong(format!("{outside} of its records lie outside of its window or its hour"));
    }

    inspected.fingerprints = fingerprints;
    inspected
}

/// Whether two equal records in different objects are an error. Audit rows have no id, and one window may hold equal
/// rows if the API counts them so. A version may change back to an earlier one.
fn may_not_be_alike(stream: Stream, before: Option<Span>, window: Option<Span>) -> bool {
    match stream.kind() {
        Kind::Events(Events { total: Total::InPage, .. }) => true,
        Kind::Events(_) => before != window,
        Kind::Versions(_) | Kind::Rescanned(_) | Kind::Inventory(_) | Kind::Findings(_) => false,
    }
}

/// Whether the beginning that a key names lies in the span. Also true if it names none, or one that isn't in its hour:
/// such a key can't be the collector's, and is reported.
fn is_within(key: &str, hour: Millis, span: Span) -> bool {
    let begin = bounds_of(key).map(|(begin, _)| begin).filter(|begin| begin.floor(HOUR) == hour);
    begin.is_none_or(|begin| span.contains(begin))
}
