//! The known records of a stream, as an immutable object beside the checkpoint.

use std::fmt;
use std::time::Duration;

use crate::bucket::s3::{Bucket, Condition, Object, StoreError, Written};
use crate::core::checkpoint::StateObject;
use crate::core::clock::off_thread;
use crate::core::known::Known;
use crate::core::ndjson::{self, Packed};
use crate::core::retry::sleep_within;
use crate::core::stream::Stream;
use crate::core::time::Millis;

/// An object with unexpected content is read this many times before it counts as damaged.
pub(super) const TRIES: u32 = 3;
pub(super) const PAUSE: Duration = Duration::from_millis(300);

impl Known {
    /// Loads the known records. Returns [`StoreError::Damaged`] if the object is gone or isn't the one that the
    /// checkpoint names.
    pub async fn load(bucket: &Bucket, at: Option<&StateObject>, until: Millis) -> Result<Self, StoreError> {
        let Some(at) = at else { return Ok(Self::default()) };
        let damaged = |why: String| StoreError::Damaged { bucket: bucket.name.clone(), key: at.key.clone(), why };
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(stored) = bucket.get(&at.key, until).await? else { return Err(damaged("is gone".into())) };
            let expected = at.clone();
            match off_thread(move || Self::read(&stored.bytes, &expected)).await {
                Ok(known) => return Ok(known),
                // The answer may be damaged, and not the object.
                Err(_) if tries < TRIES && sleep_within(PAUSE, until).await => {}
                Err(why) => return Err(damaged(why)),
            }
        }
    }

    /// The error completes the sentence "the object …".
    fn read(gzip: &[u8], expected: &StateObject) -> Result<Self, String> {
        let lines = ndjson::lines(gzip).map_err(|error| format!("can't be read ({error})"))?;
        if lines.len() as u64 != expected.records {
            return Err(format!("has {} lines, and the checkpoint counts {}", lines.len(), expected.records));
        }
        if ndjson::sha256_of(&lines) != expected.sha256() {
            return Err("has another SHA-256 than the checkpoint names".into());
        }
        Self::of_lines(&lines).ok_or_else(|| "has a line that is not a record's".into())
    }

    /// Whether the key names the current month. If not, the object is stored again under this month's.
    pub fn is_of_this_month(at: &StateObject) -> bool {
        at.key.contains(&format!("/{}/", this_month()))
    }

    /// Stores the known records under a key made of the month and the content's hash, unless `before` is that object
    /// already. The month is in the key because a lifecycle rule may delete objects of past months. Returns the known
    /// records and where they are; nowhere if there are none.
    pub async fn store(
        self,
        bucket: &Bucket,
        state_prefix: &str,
        stream: Stream,
        before: Option<&StateObject>,
        until: Millis,
    ) -> Result<(Self, Option<StateObject>), StoreError> {
        if self.count() == 0 {
            return Ok((self, None));
        }

        let (known, packed) = off_thread(move || {
            let packed = self.packed();
            (self, packed)
        })
        .await;
        let Packed { gzip: bytes, records, sha256, .. } = packed;

        let base = format!("{state_prefix}known/{stream}/{}/{sha256}", this_month());
        let mut object = StateObject { key: format!("{base}.ndjson.gz"), records, sha256: Some(sha256) };
        if before == Some(&object) {
            return Ok((known, Some(object)));
        }

        let put = async |key: &str| {
            let (bytes, metadata) = (bytes.clone(), [].into());
            let put = Object { key, bytes, content_type: "application/x-ndjson", metadata };
            bucket.put(&put, Condition::Absent, until).await
        };
        // The same content should be under the key already. If somebody has altered it since, another key is used.
        if put(&object.key).await? == Written::ConditionFailed
            && let Err(StoreError::Damaged { .. }) = Self::load(bucket, Some(&object), until).await
        {
            object.key = format!("{base}-{}.ndjson.gz", Millis::now().compact());
            put(&object.key).await?;
        }
        Ok((known, Some(object)))
    }
}

/// For example `2026-11`.
fn this_month() -> impl fmt::Display {
    Millis::now().date_time().format("%Y-%m")
}
