//! Each change of a stream's state is a record below `S3_PREFIX`, so that a SIEM can alert on the collector itself.
//! What is to be told stands on the checkpoint from the commit that changes the states until it is stored: a run that
//! dies in between leaves it to the next, which writes the same object under the same key.

use std::collections::HashMap;

use crate::bucket::ledger::{Ledger, LedgerError};
use crate::bucket::records::base;
use crate::bucket::s3::{Bucket, Condition, Object};
use crate::core::settings::Settings;
use crate::core::time::Millis;

/// Where these records lie, beside those of the streams.
const NAME: &str = "collector_health";

/// Stores what is to be told, the oldest first. That it is stored, the caller's next commit says.
pub async fn store(
    ledger: &Ledger<'_>,
    bucket: &Bucket,
    settings: &Settings,
    until: Millis,
) -> Result<(), LedgerError> {
    while let Some(batch) = ledger.read(|checkpoint| checkpoint.health.unwritten.first().cloned()) {
        ledger.check_lease()?;
        let packed = batch.packed(&settings.packing);
        let key = format!("{}.ndjson.gz", base(&settings.prefix, NAME, batch.at, batch.at));
        let own = [
            ("stream", NAME.to_owned()),
            ("records", packed.records.to_string()),
            ("sha256", packed.sha256),
            ("run-id", batch.run_id),
        ];
        let mut metadata: HashMap<_, _> = settings.metadata.clone().into_iter().collect();
        metadata.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let object = Object { key: &key, bytes: packed.gzip, content_type: "application/x-ndjson", metadata };
        // Refused means that a run which died had stored it.
        bucket.put(&object, Condition::Absent, until).await?;
        ledger.update(|checkpoint| checkpoint.health.unwritten.retain(|unwritten| unwritten.at != batch.at));
    }
    Ok(())
}
