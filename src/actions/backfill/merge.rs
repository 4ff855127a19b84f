//! Takes the results of shards over into the live checkpoint, once nobody can change them any more.

use futures::stream::{self, StreamExt};
use tracing::info;

use crate::actions::backfill::LeasedRun;
use crate::bucket::ledger::{self, Ledger};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Lease, Reserved};
use crate::core::error_type::ErrorInfo;
use crate::core::identity::Identity;
use crate::core::stream::Stream;
use crate::core::time::Millis;

const SEALED_AT_ONCE: usize = 8;
/// The end of the lease on a sealed checkpoint: the last instant that RFC 3339 can express.
const FOR_EVER: Millis = Millis(253_402_300_799_999);

impl LeasedRun<'_> {
    /// Merges those chosen shards that are done or overdue. Returns the merged shards, and the first error if any shard
    /// could not be merged.
    pub async fn merge_shards(
        &self,
        state: &Bucket,
        ledger: &Ledger<'_>,
        which: impl Fn(&Reserved) -> bool,
    ) -> (Vec<String>, Option<Error>) {
        let (identity, chosen) = ledger.read(|checkpoint| {
            let chosen = checkpoint.reserved().filter(|(_, reserved)| which(reserved));
            let chosen: Vec<_> = chosen.map(|(stream, reserved)| (stream, reserved.clone())).collect();
            (checkpoint.identity.clone(), chosen)
        });

        let identity = &identity;
        let seal = |(stream, reserved): (Stream, Reserved)| async move {
            let sealed = self.seal(state, identity, stream, &reserved).await;
            (stream, reserved.shard, sealed)
        };
        let sealed: Vec<_> = stream::iter(chosen).map(seal).buffered(SEALED_AT_ONCE).collect().await;

        let (mut merged, mut failed) = (Vec::new(), None);
        for (stream, shard, sealed) in sealed {
            match sealed {
                Ok(Some(theirs)) => {
                    ledger.update(|checkpoint| checkpoint.merge(stream, &shard, theirs));
                    info!(shard = shard.as_str(), "merged");
                    merged.push(shard);
                }
                Ok(None) => {}
                Err(error) if error.is_out_of_time() => failed = failed.or(Some(error)),
                Err(error) => {
                    let ErrorInfo { error_type, message } = ErrorInfo::from(&error);
                    failed = failed.or(Some(Error::NotMerged { error_type, shard, why: message }));
                }
            }
        }

        (merged, failed)
    }

    /// Gives the time of shards that nobody merged before their reservation ended back to the live runs.
    pub async fn merge_overdue(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let now = Millis::now();
        let (_, failed) = self.merge_shards(state, ledger, |reserved| reserved.until <= now).await;
        failed.map_or(Ok(()), Err)
    }

    /// Takes a shard's lease for ever, so that its checkpoint never changes again, and returns that checkpoint. None
    /// while the shard is running, or while it is neither done nor overdue.
    async fn seal(
        &self,
        state: &Bucket,
        identity: &Identity,
        stream: Stream,
        reserved: &Reserved,
    ) -> Result<Option<Checkpoint>, Error> {
        let (now, until) = (Millis::now(), self.times.store_until);
        let key = self.settings.shard_checkpoint_key(&reserved.shard);
        let found = ledger::load(state, &key, identity, until).await?;
        if let Some(found) = &found {
            let checkpoint = &found.checkpoint;
            if checkpoint.lease.as_ref().is_some_and(|lease| lease.until == FOR_EVER) {
                return Ok(Some(checkpoint.clone()));
            }
            if found.is_leased(now) {
                return Ok(None);
            }
        }

        let theirs = found.as_ref().and_then(|found| found.checkpoint.events.get(&stream));
        if now < reserved.until && !theirs.is_some_and(|theirs| theirs.has_covered(reserved.span)) {
            return Ok(None);
        }

        let lease = Lease { run_id: self.run_id.to_owned(), until: FOR_EVER };
        let sealed = Ledger::acquire(state, &key, found, identity.clone(), lease, |_| {}, until).await?;
        Ok(sealed.map(|sealed| sealed.read(Checkpoint::clone)))
    }
}
