//! The objects of a request, which are created once and never changed. Below `REQUESTS_PREFIX`: the claim, the locks,
//! the pending approval and the result. Below `S3_PREFIX`: the trail, two records a request.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bucket::records::{TRAIL, base, metadata, nth};
use crate::bucket::s3::{Bucket, Condition, Object, StoreError, Written};
use crate::core::digest::sha256;
use crate::core::json::to_json;
use crate::core::ndjson::{self, Packer};
use crate::core::time::Millis;
use crate::respond::answer::ActionAnswer;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::Goal;
use crate::respond::request::ActionRequest;
use crate::respond::settings::RespondSettings;

pub struct ActionStore<'a> {
    pub records: Bucket,
    pub state: Bucket,
    pub settings: &'a RespondSettings,
    pub run_id: &'a str,
}

/// The first delivery of a request: who asked for what, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    pub request_id: String,
    pub hash: String,
    pub action: String,
    pub requested_by: String,
    pub reason: String,
    pub at: Millis,
}

/// The right to send a request's writes, until a time. Only its holder sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lock {
    pub run_id: String,
    pub at: Millis,
    pub until: Millis,
    pub goal: Goal,
    /// The first record of the trail.
    pub intent: Value,
}

/// The result of a request, with the two records of the trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    pub at: Millis,
    pub answer: ActionAnswer,
    pub intent: Value,
    pub result: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    at: Millis,
    hash: String,
}

impl ActionStore<'_> {
    /// Claims the request's id. Returns the claim, which may be an earlier delivery's with the same input. Another
    /// input is an error.
    pub async fn claim(&self, request: &ActionRequest, until: Millis) -> Result<Claim, RespondError> {
        let claim = Claim {
            request_id: request.request_id.clone(),
            hash: request.hash.clone(),
            action: request.name.clone(),
            requested_by: request.requested_by.clone(),
            reason: request.reason.clone(),
            at: Millis::now(),
        };

        let key = self.key(&request.request_id, "json");
        let claim = self.create(&key, &claim, until).await?.unwrap_or(claim);
        if claim.hash == request.hash {
            return Ok(claim);
        }

        let why = format!(
            "request_id {:?} was used on {} for another input ({}): take a new one",
            request.request_id, claim.at, claim.action
        );
        Err(RespondError::new(ErrorCause::IdempotencyConflict, why))
    }

    /// Returns the stored result of a request, or none if it has none yet.
    pub async fn ended(&self, request_id: &str, until: Millis) -> Result<Option<Ended>, RespondError> {
        self.read(&self.key(request_id, "result.json"), until).await
    }

    /// Stores the result unless there is one, and returns the stored result, which may be another delivery's.
    pub async fn end(&self, request_id: &str, ended: Ended, until: Millis) -> Result<Ended, RespondError> {
        Ok(self.create(&self.key(request_id, "result.json"), &ended, until).await?.unwrap_or(ended))
    }

    /// Notes that the request waits for approval. Returns when it was first noted.
    pub async fn wait_for_approval(&self, request: &ActionRequest, until: Millis) -> Result<Millis, RespondError> {
        let pending = Pending { at: Millis::now(), hash: request.hash.clone() };
        let key = self.key(&request.request_id, "pending.json");
        Ok(self.create(&key, &pending, until).await?.unwrap_or(pending).at)
    }

    /// Returns when the request first asked for approval. None if it never did.
    pub async fn waits_since(&self, request: &ActionRequest, until: Millis) -> Result<Option<Millis>, RespondError> {
        let pending: Option<Pending> = self.read(&self.key(&request.request_id, "pending.json"), until).await?;
        Ok(pending.map(|pending| pending.at))
    }

    /// Returns the newest lock and its number, which counts from 0. None if nobody has taken one.
    pub async fn newest_lock(&self, request_id: &str, until: Millis) -> Result<Option<(u32, Lock)>, RespondError> {
        let mut newest = None;
        for n in 0.. {
            match self.read(&self.key(request_id, &format!("sending-{n}.json")), until).await? {
                Some(lock) => newest = Some((n, lock)),
                None => break,
            }
        }
        Ok(newest)
    }

    /// Tries to create the lock with this number. Returns whether this run holds it.
    pub async fn lock(&self, request_id: &str, n: u32, lock: &Lock, until: Millis) -> Result<bool, RespondError> {
        let key = self.key(request_id, &format!("sending-{n}.json"));
        let held = self.create(&key, lock, until).await?;
        // The lock may be our own write whose answer was lost.
        Ok(held.is_none_or(|held| held.run_id == lock.run_id && held.at == lock.at))
    }

    /// Takes one of the day's places. An error if `DAILY_LIMIT` are taken.
    pub async fn take_place(&self, request_id: &str, now: Millis, until: Millis) -> Result<(), RespondError> {
        let day = now.date_time().format("%Y-%m-%d");
        let prefix = format!("{}daily/{day}/", self.settings.requests_prefix);
        let taken = self.state.list(&prefix, until).await?.len() as u64;
        for place in taken..self.settings.daily_limit {
            let key = format!("{prefix}{place:06}.json");
            if self
                .put(&self.state, &key, to_json(&json!({"request_id": request_id})), "application/json", until)
                .await?
            {
                return Ok(());
            }
        }

        let why = format!(
            "today {} requests have changed something, and DAILY_LIMIT allows no more",
            self.settings.daily_limit
        );
        Err(RespondError::new(ErrorCause::LimitReached, why))
    }

    /// Makes sure that a record is in the trail, in an object of its own. If another request has the same instant, the
    /// key gets `-r1`, `-r2`, ….
    pub async fn record(&self, at: Millis, record: &Value, until: Millis) -> Result<(), RespondError> {
        let base = base(&self.settings.shared.prefix, TRAIL, at, at);
        let mut lines = Packer::new(&self.settings.shared.packing);
        lines.push(&record.to_string());
        let packed = lines.finish();

        let metadata = metadata(&self.settings.shared.metadata, TRAIL, &packed, self.run_id);

        for n in 0.. {
            let key = nth(&base, n);
            let object = Object {
                key: &key,
                bytes: packed.gzip.clone(),
                content_type: "application/x-ndjson",
                metadata: metadata.clone(),
            };
            if matches!(self.records.put(&object, Condition::Absent, until).await?, Written::Now { .. }) {
                return Ok(());
            }

            let Some(stored) = self.records.get(&key, until).await? else { continue };
            let lines =
                ndjson::lines(&stored.bytes).map_err(|error| foreign(&self.records, &key, error.to_string()))?;
            let is_same = |line: &String| {
                serde_json::from_str::<Value>(ndjson::bare(line).as_ref())
                    .is_ok_and(|held| held["request_id"] == record["request_id"] && held["record"] == record["record"])
            };
            if lines.iter().any(is_same) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns the text of the list of leavers.
    pub async fn leavers(&self, key: &str, until: Millis) -> Result<String, RespondError> {
        let stored = self.records.get(key, until).await?;
        let stored =
            stored.ok_or_else(|| RespondError::invalid(format!("there is no s3://{}/{key}", self.records.name)))?;
        String::from_utf8(stored.bytes.into())
            .map_err(|_| RespondError::invalid(format!("s3://{}/{key} is not UTF-8", self.records.name)))
    }

    /// Returns the file events of a case that are not in the bucket. Searches the newest objects first.
    pub async fn not_collected(
        &self,
        number: u64,
        mut events: Vec<String>,
        until: Millis,
    ) -> Result<Vec<String>, RespondError> {
        if events.is_empty() {
            return Ok(events);
        }

        let prefix = format!("{}case_file_events/", self.settings.shared.prefix);
        for key in self.records.list(&prefix, until).await?.iter().rev() {
            let Some(stored) = self.records.get(key, until).await? else { continue };
            for line in ndjson::lines(&stored.bytes).unwrap_or_default() {
                if ndjson::field(&line, &["_caseNumber"]).as_deref() == Some(&*number.to_string())
                    && let Some(id) = ndjson::field(&line, &["event", "id"])
                {
                    events.retain(|event| *event != id);
                }
            }
            if events.is_empty() {
                break;
            }
        }
        Ok(events)
    }

    fn key(&self, request_id: &str, suffix: &str) -> String {
        format!("{}{}.{suffix}", self.settings.requests_prefix, sha256(request_id))
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, key: &str, until: Millis) -> Result<Option<T>, RespondError> {
        let Some(stored) = self.state.get(key, until).await? else { return Ok(None) };
        let read = serde_json::from_slice(&stored.bytes);
        read.map(Some).map_err(|error| foreign(&self.state, key, error.to_string()))
    }

    /// Creates an object unless it exists, and returns the existing one.
    async fn create<T>(&self, key: &str, value: &T, until: Millis) -> Result<Option<T>, RespondError>
    where
        T: Serialize + for<'de> Deserialize<'de>,
    {
        loop {
            if self.put(&self.state, key, to_json(value), "application/json", until).await? {
                return Ok(None);
            }
            if let Some(held) = self.read(key, until).await? {
                return Ok(Some(held));
            }
        }
    }

    async fn put(
        &self,
        bucket: &Bucket,
        key: &str,
        bytes: impl Into<Bytes>,
        content_type: &'static str,
        until: Millis,
    ) -> Result<bool, StoreError> {
        let object = Object { key, bytes: bytes.into(), content_type, metadata: HashMap::new() };
        Ok(matches!(bucket.put(&object, Condition::Absent, until).await?, Written::Now { .. }))
    }
}

fn foreign(bucket: &Bucket, key: &str, why: String) -> RespondError {
    StoreError::Foreign { bucket: bucket.name.clone(), key: key.to_owned(), why }.into()
}
