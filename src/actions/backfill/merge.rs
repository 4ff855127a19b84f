//! What shards have come to is taken over, once nobody can add to it.

use futures::stream::{self, StreamExt};
use tracing::info;

use crate::actions::backfill::Work;
use crate::bucket::ledger::{self, Ledger};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Lease, Reserved};
use crate::core::error_kind::ErrorInfo;
use crate::core::identity::Identity;
use crate::core::stream::Stream;
use crate::core::time::Millis;

const SEALED_AT_ONCE: usize = 8;
/// The end of a lease that nobody gets after: the last instant that RFC 3339 can say.
const FOR_EVER: Millis = Millis(253_402_300_799_999);

impl Work<'_> {
    /// Those that go on are left to go on. Answers which were merged, and how the first failed that could not be.
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

    /// What nobody has merged in time is the live runs' again.
    pub async fn merge_overdue(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let now = Millis::now();
        let (_, failed) = self.merge_shards(state, ledger, |reserved| reserved.until <= now).await;
        failed.map_or(Ok(()), Err)
    }

    /// Takes a shard's lease for ever, so that what it has come to stays as it is, and answers that. None while it is
    /// running, and while it is neither done nor overdue.
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
        if now < reserved.until && !theirs.is_some_and(|theirs| reserved.is_covered_by(theirs)) {
            return Ok(None);
        }
        let lease = Lease { run_id: self.run_id.to_owned(), until: FOR_EVER };
        let sealed = Ledger::acquire(state, &key, found, identity.clone(), lease, |_| {}, until).await?;
        Ok(sealed.map(|sealed| sealed.read(Checkpoint::clone)))
    }
}
