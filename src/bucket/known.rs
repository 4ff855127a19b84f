//! What is known of a stream's records, kept as an immutable object beside the checkpoint.

use std::fmt;

use crate::bucket::s3::{Bucket, Condition, Object, StoreError};
use crate::core::checkpoint::StateObject;
use crate::core::known::Known;
use crate::core::ndjson;
use crate::core::stream::Stream;
use crate::core::time::Millis;

impl Known {
    pub async fn load(bucket: &Bucket, at: Option<&StateObject>, until: Millis) -> Result<Self, StoreError> {
        let Some(at) = at else { return Ok(Self::default()) };
        let foreign = |why: String| StoreError::Foreign { bucket: bucket.name.clone(), key: at.key.clone(), why };
        let stored = bucket
            .get(&at.key, until)
            .await?
            .ok_or_else(|| foreign("the checkpoint names it, but it is gone".into()))?;
        let lines = ndjson::lines(&stored.bytes).map_err(|error| foreign(error.to_string()))?;
        Self::of_lines(&lines).ok_or_else(|| foreign("a line of it is not a record's".into()))
    }

    /// Whether it lies under the key that it would have today.
    pub fn is_of_this_month(at: &StateObject) -> bool {
        at.key.contains(&format!("/{}/", this_month()))
    }

    /// Stores it under a key made of its content and of the month, unless it is what `before` names already. What stands
    /// under the key of a month long gone is of no use to anybody, and a lifecycle rule may sweep it.
    pub async fn store(
        &self,
        bucket: &Bucket,
        state_prefix: &str,
        stream: Stream,
        before: Option<&StateObject>,
        until: Millis,
    ) -> Result<Option<StateObject>, StoreError> {
        if self.count() == 0 {
            return Ok(None);
        }
        let packed = self.packed();
        let key = format!("{state_prefix}known/{stream}/{}/{}.ndjson.gz", this_month(), packed.sha256);
        let object = StateObject { key, records: packed.records };
        if before != Some(&object) {
            let bytes = Object {
                key: &object.key,
                bytes: packed.gzip,
                content_type: "application/x-ndjson",
                metadata: [].into(),
            };
            // Refused means that the very same content is there.
            bucket.put(&bytes, Condition::Absent, until).await?;
        }
        Ok(Some(object))
    }
}

/// `2026-11`.
fn this_month() -> impl fmt::Display {
    Millis::now().date_time().format("%Y-%m")
}
