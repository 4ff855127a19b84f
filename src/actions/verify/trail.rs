//! Verifies the responder's records, if there are any. No manifest lists them. Instead each object holds its own hash,
//! and each request must have an intent and a result.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::Deserialize;

use crate::actions::verify::verification::{Discrepancy, Progress, Verification};
use crate::bucket::records::TRAIL;
use crate::bucket::s3::StoreError;
use crate::core::ndjson;
use crate::core::time::Millis;

/// A younger request may still be running, or wait for its redelivery.
const STILL_AT_WORK: TimeDelta = TimeDelta::hours(6);

#[derive(Deserialize)]
struct TrailLine {
    request_id: String,
    record: String,
    at: Millis,
}

/// The records of one request: how many intents and results, and the time and the key of the first.
struct RequestRecords {
    intents: u64,
    results: u64,
    at: Millis,
    key: String,
}

impl Verification<'_> {
    /// Returns where the next invocation must begin, if the time was up.
    pub(super) async fn trail(&self, progress: &mut Progress) -> Result<Option<Millis>, StoreError> {
        let mut requests = BTreeMap::<String, RequestRecords>::new();
        match self.read_trail(progress, &mut requests).await {
            Err(StoreError::OutOfTime) => return Ok(Some(self.begin())),
            read => read?,
        }
        // With `from` or `to`, the other record of a request may lie outside of the span.
        let is_whole = self.asked.from.is_none() && self.asked.to.is_none();
        for (id, found) in requests.iter().filter(|_| is_whole) {
            let wrong = match (found.intents, found.results) {
                (1, 1) => continue,
                (1, 0) if found.at + STILL_AT_WORK > self.now => continue,
                (1, 0) => "has no result: its run died; send the same request again",
                (0, _) => "has a result without an intent",
                _ => "has more than two records",
            };
            let wrong = format!("the request {id:?} {wrong}");
            progress.findings.push(Discrepancy::of_key(None, &found.key, wrong));
        }
        Ok(None)
    }

    async fn read_trail(
        &self,
        progress: &mut Progress,
        requests: &mut BTreeMap<String, RequestRecords>,
    ) -> Result<(), StoreError> {
        let prefix = format!("{}{TRAIL}/", self.settings.prefix);
        for key in self.records.list(&prefix, self.until).await? {
            let Some(stored) = self.records.get(&key, self.until).await? else { continue };
            let wrong = |wrong: String| Discrepancy::of_key(None, &key, wrong);
            let lines = match ndjson::lines(&stored.bytes) {
                Ok(lines) => lines,
                Err(error) => {
                    progress.findings.push(wrong(format!("it is not gzipped text: {error}")));
                    continue;
                }
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
                let is_asked =
                    self.asked.from.is_none_or(|from| from <= line.at) && self.asked.to.is_none_or(|to| line.at < to);
                if !is_asked {
                    continue;
                }

                let found = requests.entry(line.request_id).or_insert_with(|| RequestRecords {
                    intents: 0,
                    results: 0,
                    at: line.at,
                    key: key.clone(),
                });
                found.intents += u64::from(line.record == "intent");
                found.results += u64::from(line.record == "result");
            }
        }
        Ok(())
    }
}
