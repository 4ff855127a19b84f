//! Writes the collector's own health records, one for each change of a stream's state, so that a SIEM can alert on
//! them.
//!
//! A record is on the checkpoint from the commit that changes the state until it is stored. If a run dies in between,
//! the next run writes the same object under the same key.

use crate::bucket::ledger::{Ledger, LedgerError};
use crate::bucket::records::{base, metadata, nth};
use crate::bucket::s3::{Bucket, Condition, Object};
use crate::core::settings::Settings;
use crate::core::time::Millis;

/// The folder of these records, beside those of the streams.
const NAME: &str = "collector_health";

/// Stores the records that wait on the checkpoint, oldest first, and removes them from it. The caller commits.
pub async fn store(
    ledger: &Ledger<'_>,
    bucket: &Bucket,
    settings: &Settings,
    until: Millis,
) -> Result<(), LedgerError> {
    while let Some(batch) = ledger.read(|checkpoint| checkpoint.health.unwritten.first().cloned()) {
        ledger.check_lease()?;
        let packed = batch.packed(&settings.packing);
        let key = nth(&base(&settings.prefix, NAME, batch.at, batch.at), 0);

        let metadata = metadata(&settings.metadata, NAME, &packed, &batch.run_id);
        let object = Object { key: &key, bytes: packed.gzip, content_type: "application/x-ndjson", metadata };

        // A refused write means that an earlier run stored it and died before its commit.
        bucket.put(&object, Condition::Absent, until).await?;
        ledger.update(|checkpoint| checkpoint.health.unwritten.retain(|unwritten| unwritten.at != batch.at));
    }
    Ok(())
}
