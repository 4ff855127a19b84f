//! One bucket, with retries: create-only writes, conditional replacement, reads and lists. Nothing is ever deleted.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tracing::debug;

pub use crate::bucket::store::{Condition, Object, Stored, Written};
use crate::bucket::store::{FailedOperation, FailureKind, ListedPage, OneBucket, Store};
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Encryption;
use crate::core::shared::Flag;
use crate::core::time::Millis;
use crate::core::times::LEASE_AFTER_DEADLINE;

/// Limit for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// If the run's end cuts off an attempt that has waited for less than this, S3 is not blamed.
const SIGNIFICANT_WAIT: Duration = Duration::from_secs(1);
/// This limit holds once S3 has answered in the run: half of the run, from 2 to 3 s. S3 may answer some requests and
/// never others.
const SIGNIFICANT_WAIT_LATER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(3)];

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("S3 {operation} s3://{bucket}/{key} failed: {why}")]
    Failed { operation: &'static str, bucket: String, key: String, why: String },
    /// S3 answered that it doesn't do this. So it hasn't been done.
    #[error("S3 {operation} s3://{bucket}/{key} failed: {why}")]
    Refused { operation: &'static str, bucket: String, key: String, why: String },
    /// Retrying is pointless: every other key fails in the same way.
    #[error(
        "S3 {operation} s3://{bucket}/{key} failed: {why}: the AWS credentials of this container have expired; the container is replaced, and the next run has new credentials"
    )]
    ExpiredCredentials { operation: &'static str, bucket: String, key: String, why: String },
    #[error("s3://{bucket}/{key} is in cold storage ({why}): restore the object")]
    Archived { bucket: String, key: String, why: String },
    #[error("s3://{bucket}/{key} is not an object that this collector wrote: {why}")]
    Foreign { bucket: String, key: String, why: String },
    #[error(
        "s3://{bucket}/{key}, which holds the known records of a list, {why}; the whole list is stored again, and records that were deleted since its last reading get no tombstone"
    )]
    Damaged { bucket: String, key: String, why: String },
    #[error("the run's time is up")]
    OutOfTime,
}

/// S3, with the state that one process keeps about it. Clones share it.
#[derive(Clone, Debug)]
pub struct S3 {
    pub(super) store: Store,
    /// Whether S3 has answered since the run began, even with an error.
    is_heard: Arc<Flag>,
    /// The length of the run.
    run_ms: Arc<AtomicU64>,
    /// The longest write of the run that S3 answered.
    longest_write_ms: Arc<AtomicU64>,
    /// Whether the process's credentials have expired.
    has_expired: Arc<Flag>,
    fence: Fence,
}

/// The end of the run's lease. After it the HTTP client sends nothing, not even a request that was begun before Lambda
/// froze the container. Clones share it.
#[derive(Clone, Debug)]
pub struct Fence(Arc<AtomicI64>);

impl Default for Fence {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Fence {
    pub fn set(&self, until: Millis) {
        self.0.store(until.0, Ordering::Relaxed);
    }

    pub fn is_passed(&self) -> bool {
        Millis::now().0 > self.0.load(Ordering::Relaxed)
    }
}

impl S3 {
    pub fn new(store: Store) -> Self {
        Self::with_fence(store, Fence::default())
    }

    /// The fence of the HTTP client that the store uses.
    pub fn with_fence(store: Store, fence: Fence) -> Self {
        let (is_heard, has_expired) = (Arc::default(), Arc::default());
        Self { store, is_heard, run_ms: Arc::default(), longest_write_ms: Arc::default(), has_expired, fence }
    }

    /// Whether the process must end: its credentials have expired, and nobody renews them.
    pub fn has_expired(&self) -> bool {
        self.has_expired.is_set()
    }

    pub fn begin_run(&self, deadline: Millis) {
        let length = deadline.since(Millis::now());
        self.is_heard.set(false);
        self.longest_write_ms.store(0, Ordering::Relaxed);
        self.run_ms.store(u64::try_from(length.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.fence.set(deadline + LEASE_AFTER_DEADLINE);
    }

    /// The time that the run's slowest write took.
    pub fn longest_write(&self) -> Duration {
        Duration::from_millis(self.longest_write_ms.load(Ordering::Relaxed))
    }

    fn significant_wait(&self) -> Duration {
        if !self.is_heard.is_set() {
            return SIGNIFICANT_WAIT;
        }
        let [least, most] = SIGNIFICANT_WAIT_LATER;
        (Duration::from_millis(self.run_ms.load(Ordering::Relaxed)) / 2).clamp(least, most)
    }
}

/// One bucket, whose owner is checked on every call when `S3_BUCKET_OWNER` is set.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub s3: S3,
    pub name: String,
    pub owner: Option<String>,
    pub encryption: Encryption,
}

impl Bucket {
    fn once(&self) -> OneBucket<'_> {
        OneBucket { store: &self.s3.store, name: &self.name, owner: self.owner.as_ref(), encryption: &self.encryption }
    }

    /// Returns none only if the key doesn't exist. 403 and 500 are errors.
    pub async fn get(&self, key: &str, until: Millis) -> Result<Option<Stored>, StoreError> {
        self.retrying("GetObject", key, until, || self.once().get_once(key)).await
    }

    pub async fn put(
        &self,
        object: &Object<'_>,
        condition: Condition<'_>,
        until: Millis,
    ) -> Result<Written, StoreError> {
        self.retrying("PutObject", object.key, until, || self.once().put_once(object, condition)).await
    }

    /// Returns all keys with a prefix, in order.
    pub async fn list(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        self.list_after(prefix, None, until).await
    }

    /// Returns all keys with a prefix that come after another key.
    pub async fn list_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        until: Millis,
    ) -> Result<Vec<String>, StoreError> {
        self.all_pages(prefix, until, async |next| self.once().list_once(prefix, after, next).await).await
    }

    /// Returns the folders directly below a prefix, each with its slash at the end.
    pub async fn list_folders(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        self.all_pages(prefix, until, async |next| self.once().folders_once(prefix, next).await).await
    }

    /// Asks for one page after the other. `page` takes the token of the page before.
    async fn all_pages(
        &self,
        prefix: &str,
        until: Millis,
        page: impl AsyncFn(Option<&str>) -> Result<ListedPage, FailedOperation>,
    ) -> Result<Vec<String>, StoreError> {
        let (mut keys, mut next) = (Vec::new(), None);
        loop {
            let listed = self.retrying("ListObjectsV2", prefix, until, || page(next.as_deref())).await?;
            keys.extend(listed.keys);
            next = listed.next;
            if next.is_none() {
                return Ok(keys);
            }
        }
    }

    pub(super) fn failed(&self, operation: &'static str, key: &str, why: String) -> StoreError {
        StoreError::Failed { operation, bucket: self.name.clone(), key: key.to_owned(), why }
    }

    fn refused(&self, kind: FailureKind, operation: &'static str, key: &str, why: String) -> StoreError {
        let (bucket, key) = (self.name.clone(), key.to_owned());
        match kind {
            FailureKind::Expired => {
                self.s3.has_expired.set(true);
                StoreError::ExpiredCredentials { operation, bucket, key, why }
            }
            FailureKind::Archived => StoreError::Archived { bucket, key, why },
            _ => StoreError::Refused { operation, bucket, key, why },
        }
    }

    /// Returns the error of an attempt that the end of the time cut off. It blames S3 if the attempt `waited` for at
    /// least `significant_wait`; otherwise it is `OutOfTime`.
    fn out_of_time(&self, failed: impl Fn(String) -> StoreError, waited: Duration) -> StoreError {
        if waited < self.s3.significant_wait() {
            return StoreError::OutOfTime;
        }
        failed(format!("no answer within {} s, then the run's time was up", waited.as_secs()))
    }

    /// Makes attempts until one succeeds, fails for good, or the retries or the time are used up. The time is checked
    /// before each attempt, because Lambda may have frozen the container meanwhile.
    async fn retrying<T, F: Future<Output = Result<T, FailedOperation>>>(
        &self,
        operation: &'static str,
        key: &str,
        until: Millis,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let failed = |why| self.failed(operation, key, why);
        let mut attempts = retry::S3.begin();
        let mut last = None;
        loop {
            let began = Millis::now();
            let left = until.since(began);
            if left.is_zero() {
                return Err(last.map_or(StoreError::OutOfTime, failed));
            }

            let attempted = tokio::time::timeout(left.min(ATTEMPT_TIMEOUT), attempt()).await;
            if attempted.is_ok() {
                self.s3.is_heard.set(true);
            }
            let why = match attempted {
                Ok(Ok(done)) => {
                    if operation == "PutObject" {
                        let took = u64::try_from(Millis::now().since(began).as_millis()).unwrap_or(u64::MAX);
                        self.s3.longest_write_ms.fetch_max(took, Ordering::Relaxed);
                    }
                    return Ok(done);
                }
                Ok(Err((FailureKind::Retry, why))) => why,
                Ok(Err((kind, why))) => return Err(self.refused(kind, operation, key, why)),
                Err(_) if left <= ATTEMPT_TIMEOUT => {
                    return Err(last.map_or_else(|| self.out_of_time(failed, left), failed));
                }
                Err(_) => format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()),
            };

            debug!(operation, key, error = why, "an S3 request failed and may be retried");
            match attempts.pause(None) {
                Some(pause) if sleep_within(pause, until).await => last = Some(why),
                _ => return Err(failed(why)),
            }
        }
    }
}
