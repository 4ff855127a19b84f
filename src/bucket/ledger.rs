//! The checkpoint as one run holds it: loaded, leased, changed in memory, and committed by conditional writes. The
//! write of the checkpoint is the only commit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tracing::{debug, info};

use crate::bucket::s3::{Bucket, Condition, Object, StoreError, Written};
use crate::core::checkpoint::{Checkpoint, CheckpointError, CheckpointWrite, Lease};
use crate::core::error_type::ErrorType;
use crate::core::identity::Identity;
use crate::core::shared::Flag;
use crate::core::time::Millis;

/// S3 contradicts itself if it refuses a write this many times in a row without a reason.
const REFUSALS: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the lease is lost: {why}; this run writes nothing more, and the next run continues")]
    LeaseLost { why: String },
    #[error("a panic interrupted a change of the checkpoint; this run writes nothing more, and the next run continues")]
    Broken,
}

impl LedgerError {
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Checkpoint(CheckpointError::Foreign { .. }) => ErrorType::ThirdPartyConfigError,
            _ => ErrorType::FirstPartyGenericError,
        }
    }
}

/// A checkpoint as it was loaded, with the `ETag` that its next write must match.
#[derive(Clone)]
pub struct LoadedCheckpoint {
    pub checkpoint: Checkpoint,
    etag: String,
}

/// The checkpoint of one run. All streams of the run share it: they change it in memory, and `commit` writes it.
pub struct Ledger<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    pub lease: Lease,
    /// The lease that the run before did not give back: that run died, or could not commit.
    pub died: Option<Lease>,
    /// A std mutex, because it is held for a change in memory and never across an `.await`.
    state: Mutex<HeldCheckpoint>,
    /// Held over each write. Writes follow one another, and one write serves all callers that wait for it.
    written: tokio::sync::Mutex<WrittenState>,
    /// Whether a commit found that another run wrote the checkpoint. Nothing is written after that.
    lost: Flag,
    /// Whether `commit` does nothing.
    dry_run: bool,
}

/// The checkpoint in memory, which may be ahead of the written one.
struct HeldCheckpoint {
    checkpoint: Checkpoint,
    /// The number of changes made in this run, committed or not.
    changes: u64,
}

/// The checkpoint as this run last wrote or loaded it.
struct WrittenState {
    /// The `ETag` that the next write must match. None if the object must not exist yet.
    etag: Option<String>,
    /// The revision of the last write that was tried, even if it failed.
    revision: u64,
    /// The number of changes that are committed.
    changes: u64,
    /// The number of successful writes since the lease was taken.
    commits: u64,
}

/// Returns none only if the key is missing: that is a first run.
pub async fn load(
    bucket: &Bucket,
    key: &str,
    identity: &Identity,
    until: Millis,
) -> Result<Option<LoadedCheckpoint>, LedgerError> {
    let Some(stored) = bucket.get(key, until).await? else { return Ok(None) };
    let mut checkpoint = Checkpoint::parse(&stored.bytes)?;
    checkpoint.check_identity(identity)?;
    checkpoint.identity.dialect = identity.dialect;
    Ok(Some(LoadedCheckpoint { checkpoint, etag: stored.etag }))
}

impl LoadedCheckpoint {
    /// Whether a run may still be writing.
    pub fn is_leased(&self, now: Millis) -> bool {
        self.checkpoint.lease.as_ref().is_some_and(|lease| now < lease.until)
    }
}

impl<'a> Ledger<'a> {
    /// Takes the lease. Returns none if another run was faster. `found` is none on the first run. The changes that
    /// `prepare` makes are committed with the lease.
    pub async fn acquire(
        bucket: &'a Bucket,
        key: &'a str,
        found: Option<LoadedCheckpoint>,
        identity: Identity,
        lease: Lease,
        prepare: impl FnOnce(&mut Checkpoint),
        until: Millis,
    ) -> Result<Option<Self>, LedgerError> {
        let mut ledger = Self::new(bucket, key, found, identity, lease.clone(), false);
        let checkpoint = &mut ledger.state.get_mut().unwrap_or_else(PoisonError::into_inner).checkpoint;
        checkpoint.lease = Some(lease);
        prepare(checkpoint);

        match ledger.commit(until).await {
            Ok(()) => {
                ledger.written.get_mut().commits = 0;
                Ok(Some(ledger))
            }
            Err(LedgerError::LeaseLost { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A ledger for a dry run: changes stay in memory.
    pub fn unwritten(
        bucket: &'a Bucket,
        key: &'a str,
        found: Option<LoadedCheckpoint>,
        identity: Identity,
        lease: Lease,
    ) -> Self {
        Self::new(bucket, key, found, identity, lease, true)
    }

    fn new(
        bucket: &'a Bucket,
        key: &'a str,
        found: Option<LoadedCheckpoint>,
        identity: Identity,
        lease: Lease,
        dry_run: bool,
    ) -> Self {
        let ours = identity.clone();
        let (mut checkpoint, etag) = match found {
            Some(LoadedCheckpoint { checkpoint, etag }) => (checkpoint, Some(etag)),
            None => (Checkpoint::new(identity), None),
        };

        if checkpoint.is_blank() {
            checkpoint.identity = ours;
        } else {
            checkpoint.identity.tenant = checkpoint.identity.tenant.or(ours.tenant);
        }

        let written = WrittenState { etag, revision: checkpoint.revision, changes: 0, commits: 0 };
        Self {
            bucket,
            key,
            lease,
            died: checkpoint.lease.clone(),
            // Taking the lease is the first change.
            state: Mutex::new(HeldCheckpoint { checkpoint, changes: 1 }),
            written: tokio::sync::Mutex::new(written),
            lost: Flag::default(),
            dry_run,
        }
    }

    /// The last write of this run.
    pub async fn last_write(&self) -> CheckpointWrite {
        CheckpointWrite { run_id: self.lease.run_id.clone(), revision: self.written.lock().await.revision }
    }

    /// An error once a commit of this run found another run's lease. After that the run must not write records either.
    pub fn check_lease(&self) -> Result<(), LedgerError> {
        if self.lost.is_set() {
            return Err(LedgerError::LeaseLost { why: "another run wrote the checkpoint meanwhile".into() });
        }
        // The lock is poisoned only if a change of the checkpoint panicked.
        if self.state.is_poisoned() { Err(LedgerError::Broken) } else { Ok(()) }
    }

    /// Reads the checkpoint as it stands in memory.
    pub fn read<T>(&self, read: impl FnOnce(&Checkpoint) -> T) -> T {
        read(&self.state().checkpoint)
    }

    /// Changes the checkpoint in memory; the next commit writes it.
    pub fn update<T>(&self, change: impl FnOnce(&mut Checkpoint) -> T) -> T {
        let mut state = self.state();
        state.changes += 1;
        change(&mut state.checkpoint)
    }

    /// Writes all changes so far, unless a concurrent commit has just written them.
    pub async fn commit(&self, until: Millis) -> Result<(), LedgerError> {
        if self.dry_run {
            return Ok(());
        }
        self.check_lease()?;

        let wanted = self.state().changes;
        let mut written = self.written.lock().await;
        if written.changes >= wanted {
            return Ok(());
        }

        let (mut checkpoint, changes) = {
            let state = self.state();
            (state.checkpoint.clone(), state.changes)
        };
        debug_assert_eq!(checkpoint.check(), Ok(()));

        // The revision goes up even if the write fails, because a failed write may have landed.
        written.revision += 1;
        checkpoint.revision = written.revision;
        checkpoint.written_by.clone_from(&self.lease.run_id);
        let etag = self.write(&checkpoint, written.etag.clone(), until).await.inspect_err(|error| {
            if matches!(error, LedgerError::LeaseLost { .. }) {
                self.lost.set(true);
            }
        })?;

        written.etag = Some(etag);
        written.changes = changes;
        written.commits += 1;
        debug!(revision = checkpoint.revision, "committed");
        Ok(())
    }

    /// Commits the remaining changes and gives the lease back.
    pub async fn release(&self, until: Millis) -> Result<(), LedgerError> {
        self.update(|checkpoint| checkpoint.lease = None);
        self.commit(until).await
    }

    /// Whether this run committed anything since it took the lease.
    pub async fn has_committed(&self) -> bool {
        self.written.lock().await.commits > 0
    }

    /// Writes the checkpoint if the stored one still has `etag`, or is absent without one. Returns the new `ETag`.
    async fn write(&self, checkpoint: &Checkpoint, etag: Option<String>, until: Millis) -> Result<String, LedgerError> {
        let (mut etag, mut refused) = (etag, 0);
        loop {
            let object = Object {
                key: self.key,
                bytes: Bytes::from(checkpoint.to_json()),
                content_type: "application/json",
                metadata: HashMap::new(),
            };
            let condition = etag.as_deref().map_or(Condition::Absent, |etag| Condition::Unchanged { etag });
            if let Written::Now { etag } = self.bucket.put(&object, condition, until).await? {
                return Ok(etag);
            }

            // The stored checkpoint is our own write, whose answer was lost: this one, or one before it.
            let Some((stored, revision)) = self.own_write(etag.as_deref(), until).await? else {
                refused += 1;
                if refused == REFUSALS {
                    let why =
                        "412 (a condition failed), again and again, although it is the one that the condition names";
                    return Err(self.bucket.failed("PutObject", self.key, why.into()).into());
                }
                continue;
            };
            if revision == checkpoint.revision {
                return Ok(stored);
            }
            debug_assert!(revision < checkpoint.revision, "revisions grow");
            etag = Some(stored);
        }
    }

    /// Called after a write whose condition failed. Reads the checkpoint. Returns its `ETag` and revision if this run
    /// wrote it; otherwise the lease is lost. None if it is the one with `etag` after all.
    async fn own_write(&self, etag: Option<&str>, until: Millis) -> Result<Option<(String, u64)>, LedgerError> {
        let lost = |why: String| Err(LedgerError::LeaseLost { why });
        let Some(stored) = self.bucket.get(self.key, until).await? else {
            return if etag.is_none() { Ok(None) } else { lost("the checkpoint was removed meanwhile".into()) };
        };
        if Some(&*stored.etag) == etag {
            return Ok(None);
        }

        let theirs = Checkpoint::parse(&stored.bytes)?;
        if theirs.written_by != self.lease.run_id {
            info!(revision = theirs.revision, by = theirs.written_by, "the checkpoint was written by another run");
            return lost(format!("run {} wrote the checkpoint meanwhile", theirs.written_by));
        }
        match &theirs.lease {
            Some(lease) if lease.run_id != self.lease.run_id => {
                lost(format!("run {} took the lease meanwhile", lease.run_id))
            }
            _ => Ok(Some((stored.etag, theirs.revision))),
        }
    }

    fn state(&self) -> MutexGuard<'_, HeldCheckpoint> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
