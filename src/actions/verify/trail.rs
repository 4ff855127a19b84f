//! Verifies the responder's records, if there are any. No manifest lists them. Instead each object holds its own hash,
//! and each request must have an intent and a result.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;

use crate::actions::verify::hour::READS_AT_ONCE;
use crate::actions::verify::verification::{Discrepancy, Progress, Verification};
use crate::bucket::records::{TRAIL, bounds_of};
use crate::bucket::s3::{StoreError, Stored};
use crate::core::intervals::Span;
use crate::core::ndjson;
use crate::core::time::{HOUR, Millis};

/// A younger request may still be running, or wait for its redelivery.
const STILL_AT_WORK: TimeDelta = TimeDelta::hours(6);

/// The objects of the trail that are to be verified, and the requests that were found in them so far.
#[derive(Default)]
pub(super) struct Trail {
    by_hour: BTreeMap<Millis, Vec<String>>,
    requests: BTreeMap<String, RequestRecords>,
}

/// The records of one request: how many intents and results, and the time and the key of the first.
struct RequestRecords {
    intents: u64,
    results: u64,
    at: Millis,
    key: String,
}

#[derive(Deserialize)]
struct TrailLine {
    request_id: String,
    record: String,
    at: Millis,
}

impl Trail {
    /// The hours from the first object to the last.
    pub fn span(&self) -> Option<Span> {
        let (first, last) = (self.by_hour.first_key_value()?.0, self.by_hour.last_key_value()?.0);
        Span::new(*first, *last + HOUR)
    }

    /// The time of the oldest request after `since` that has no result.
    fn waits_since(&self, since: Millis) -> Option<Millis> {
        let waiting = self.requests.values().filter(|found| (found.intents, found.results) == (1, 0));
        waiting.map(|found| found.at).filter(|at| *at > since).min()
    }
}

impl Verification<'_> {
    /// Lists the trail, unless the event names streams.
    pub(super) async fn list_trail(&self, progress: &mut Progress) -> Result<Trail, StoreError> {
        let mut trail = Trail::default();
        if self.asked.streams.is_some() {
            return Ok(trail);
        }
        let prefix = format!("{}{TRAIL}/", self.settings.prefix);
        for key in self.records.list(&prefix, self.until).await? {
            let Some((at, _)) = bounds_of(&key) else {
                progress.findings.push(Discrepancy::of_key(
                    None,
                    &key,
                    "it is not the responder's: its name has no time",
                ));
                continue;
            };
            if self.asked.from.is_none_or(|from| from <= at) && self.asked.to.is_none_or(|to| at < to) {
                trail.by_hour.entry(at.floor(HOUR)).or_default().push(key);
            }
        }
        Ok(trail)
    }

    /// Reads the trail's objects of one hour, and notes the requests that they are about.
    pub(super) async fn hour_of_trail(
        &self,
        hour: Millis,
        trail: &mut Trail,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let keys = trail.by_hour.get(&hour).cloned().unwrap_or_default();
        let read = |key: String| async move {
            match self.records.get(&key, self.until).await {
                Err(error @ StoreError::Archived { .. }) => Ok((key, Err(error.to_string()))),
                stored => Ok::<_, StoreError>((key, Ok(stored?))),
            }
        };
        let read: Vec<(String, Result<Option<Stored>, String>)> =
            stream::iter(keys).map(read).buffered(READS_AT_ONCE).try_collect().await?;

        for (key, stored) in read {
            match stored {
                Ok(Some(stored)) => trail.take(&key, &stored, progress),
                // It was deleted since it was listed. Its request lacks a record now.
                Ok(None) => {}
                Err(why) => {
                    let wrong = format!("it can't be verified: {why}");
                    progress.findings.push(Discrepancy::of_key(None, &key, wrong));
                }
            }
        }
        Ok(())
    }

    /// Finds the requests that lack a record, or have one too many. `next_from` is where the time was up. Returns where
    /// the next invocation must begin: earlier, if a request before it may still get its result.
    pub(super) fn compare_trail(
        &self,
        trail: &Trail,
        next_from: Option<Millis>,
        progress: &mut Progress,
    ) -> Option<Millis> {
        let read_to = next_from.or(self.asked.to).map_or(self.now, |to| to.min(self.now));
        for (id, found) in &trail.requests {
            let wrong = match (found.intents, found.results) {
                (1, 1) => continue,
                (1, 0) if found.at + STILL_AT_WORK > read_to => continue,
                (1, 0) => "has no result: its run died; send the same request again",
                // The intent may lie before the span.
                (0, 1) if self.asked.from.is_some() => continue,
                (0, _) => "has a result without an intent",
                _ => "has more than two records",
            };
            let wrong = format!("the request {id:?} {wrong}");
            progress.findings.push(Discrepancy::of_key(None, &found.key, wrong));
        }

        // Older unfinished requests are findings already. Never returns to the span's beginning, or a repeated call
        // would get no further.
        let waits_since = trail.waits_since(self.begin().max(read_to - STILL_AT_WORK));
        next_from.map(|next| waits_since.map_or(next, |since| next.min(since)))
    }
}

impl Trail {
    fn take(&mut self, key: &str, stored: &Stored, progress: &mut Progress) {
        let wrong = |wrong: String| Discrepancy::of_key(None, key, wrong);
        let lines = match ndjson::lines(&stored.bytes) {
            Ok(lines) => lines,
            Err(error) => return progress.findings.push(wrong(format!("it is not gzipped text: {error}"))),
        };
        if stored.metadata.get("sha256") != Some(&ndjson::sha256_of(&lines)) {
            progress.findings.push(wrong("its content has another SHA-256 than its metadata".into()));
        }
        progress.checked.objects += 1;
        progress.checked.records += lines.len() as u64;
        progress.checked.bytes += stored.bytes.len() as u64;

        for line in &lines {
            let Ok(line) = serde_json::from_str::<TrailLine>(ndjson::bare(line).as_ref()) else {
                progress.findings.push(wrong("it holds a line that is not a request's record".into()));
                continue;
            };
            let (at, key) = (line.at, key.to_owned());
            let new = || RequestRecords { intents: 0, results: 0, at, key };
            let found = self.requests.entry(line.request_id).or_insert_with(new);
            found.intents += u64::from(line.record == "intent");
            found.results += u64::from(line.record == "result");
        }
    }
}
