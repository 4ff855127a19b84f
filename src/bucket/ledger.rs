//! The checkpoint as one run holds it: loaded, leased, changed in memory, and committed by conditional writes. The
//! checkpoint's write is the only commit there is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tracing::{debug, info};

use crate::bucket::s3::{Bucket, Condition, Object, StoreError, Written};
use crate::core::checkpoint::{Checkpoint, CheckpointError, Lease, Write};
use crate::core::error_kind::ErrorType;
use crate::core::identity::Identity;
use crate::core::time::Millis;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the lease is lost: {by} wrote the checkpoint meanwhile; this run writes nothing more, and the next one goes on"
    )]
    LeaseLost { by: String },
    #[error(
        "a change of the checkpoint broke off half-way by a panic; this run writes nothing more, and the next one goes on"
    )]
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

/// The checkpoint as it was found, with the tag that its next write must match.
#[derive(Clone)]
pub struct Found {
    pub checkpoint: Checkpoint,
    etag: String,
}

pub struct Ledger<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    pub lease: Lease,
    state: Mutex<HeldCheckpoint>,
    /// Held over each write, so that writes follow one another and those who wait are served by one.
    written: tokio::sync::Mutex<WrittenState>,
    lost: AtomicBool,
    dry_run: bool,
}

struct HeldCheckpoint {
    checkpoint: Checkpoint,
    changes: u64,
}

struct WrittenState {
    etag: Option<String>,
    revision: u64,
    /// How many of the changes are committed.
    changes: u64,
    commits: u64,
}

/// Only a missing key is a first run.
pub async fn load(
    bucket: &Bucket,
    key: &str,
    identity: &Identity,
    until: Millis,
) -> Result<Option<Found>, LedgerError> {
    let Some(stored) = bucket.get(key, until).await? else { return Ok(None) };
    let checkpoint = Checkpoint::parse(&stored.bytes)?;
    checkpoint.check_identity(identity)?;
    Ok(Some(Found { checkpoint, etag: stored.etag }))
}

impl Found {
    /// Whether a run may be writing now.
    pub fn is_leased(&self, now: Millis) -> bool {
        self.checkpoint.lease.as_ref().is_some_and(|lease| now < lease.until)
    }
}

impl<'a> Ledger<'a> {
    /// Takes the lease, unless another run was faster. `found` is none on the first run. What `prepare` changes is
    /// committed with it.
    pub async fn acquire(
        bucket: &'a Bucket,
        key: &'a str,
        found: Option<Found>,
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

    /// For a dry run: changes stay in memory.
    pub fn unwritten(bucket: &'a Bucket, key: &'a str, found: Option<Found>, identity: Identity, lease: Lease) -> Self {
        Self::new(bucket, key, found, identity, lease, true)
    }

    fn new(
        bucket: &'a Bucket,
        key: &'a str,
        found: Option<Found>,
        identity: Identity,
        lease: Lease,
        dry_run: bool,
    ) -> Self {
        let ours = identity.clone();
        let (mut checkpoint, etag) = match found {
            Some(Found { checkpoint, etag }) => (checkpoint, Some(etag)),
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
            // Taking the lease is the first change.
            state: Mutex::new(HeldCheckpoint { checkpoint, changes: 1 }),
            written: tokio::sync::Mutex::new(written),
            lost: AtomicBool::new(false),
            dry_run,
        }
    }

    /// The last write of this run.
    pub async fn last_write(&self) -> Write {
        Write { run_id: self.lease.run_id.clone(), revision: self.written.lock().await.revision }
    }

    /// Another run holds the lease, as a commit of this one was told: nothing more may be written, records neither.
    pub fn check_lease(&self) -> Result<(), LedgerError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(LedgerError::LeaseLost { by: "another run".into() });
        }
        // Only a change panics while it holds the checkpoint.
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

    /// Writes all changes so far, unless somebody else's commit has just done it.
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
        // Counted up also when a write failed: it may have landed all the same.
        written.revision += 1;
        checkpoint.revision = written.revision;
        checkpoint.written_by.clone_from(&self.lease.run_id);
        let etag = self.write(&checkpoint, written.etag.clone(), until).await.inspect_err(|error| {
            let lost = matches!(error, LedgerError::LeaseLost { .. });
            self.lost.fetch_or(lost, Ordering::Relaxed);
        })?;
        written.etag = Some(etag);
        written.changes = changes;
        written.commits += 1;
        debug!(revision = checkpoint.revision, "committed");
        Ok(())
    }

    /// Commits what is left and gives the lease back.
    pub async fn release(&self, until: Millis) -> Result<(), LedgerError> {
        self.update(|checkpoint| checkpoint.lease = None);
        self.commit(until).await
    }

    /// Whether this run committed anything since it took the lease.
    pub async fn has_committed(&self) -> bool {
        self.written.lock().await.commits > 0
    }

    async fn write(&self, checkpoint: &Checkpoint, etag: Option<String>, until: Millis) -> Result<String, LedgerError> {
        let mut etag = etag;
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
            let Some(stored) = self.bucket.get(self.key, until).await? else {
                return Err(LedgerError::LeaseLost { by: "somebody who removed it".into() });
            };
            let theirs = Checkpoint::parse(&stored.bytes)?;
            if theirs.written_by != self.lease.run_id || Some(&stored.etag) == etag.as_ref() {
                info!(revision = theirs.revision, by = theirs.written_by, "the checkpoint was written by another run");
                return Err(LedgerError::LeaseLost { by: format!("run {}", theirs.written_by) });
            }
            if let Some(lease) = theirs.lease.as_ref().filter(|lease| lease.run_id != self.lease.run_id) {
                return Err(LedgerError::LeaseLost { by: format!("run {}", lease.run_id) });
            }
            // A write of our own whose answer was lost: this one, or one before it.
            if theirs.revision == checkpoint.revision {
                return Ok(stored.etag);
            }
            etag = Some(stored.etag);
        }
    }

    fn state(&self) -> MutexGuard<'_, HeldCheckpoint> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
