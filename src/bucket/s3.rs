//! S3: create-only objects, conditional replacement, and reading back. Nothing is ever deleted.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::debug;

pub use crate::bucket::store::{Condition, Object, Stored, Written};
use crate::bucket::store::{Failure, FailureKind, OneBucket, Store};
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Encryption;
use crate::core::time::Millis;

/// The longest that one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that waited less for its answer, when the time was up, tells nothing of S3.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where S3 has answered other requests of the run: it may take some and never answer others.
const LONG_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("S3 {operation} s3://{bucket}/{key} failed: {why}")]
    Failed { operation: &'static str, bucket: String, key: String, why: String },
    /// No other window or key fares better.
    #[error(
        "S3 {operation} s3://{bucket}/{key} failed: {why}: the AWS credentials of this container have expired; it ends, and the next one has new ones"
    )]
    ExpiredCredentials { operation: &'static str, bucket: String, key: String, why: String },
    #[error("s3://{bucket}/{key} is in cold storage ({why}): restore it to have it read")]
    Archived { bucket: String, key: String, why: String },
    #[error("s3://{bucket}/{key} holds something that this collector didn't write: {why}")]
    Foreign { bucket: String, key: String, why: String },
    #[error(
        "s3://{bucket}/{key}, which holds what is known of a list, {why}; the list is stored once more as a whole, and who went meanwhile is not told"
    )]
    Damaged { bucket: String, key: String, why: String },
    #[error("the run's time is up")]
    OutOfTime,
}

/// S3 as one process knows it.
#[derive(Clone, Debug)]
pub struct S3 {
    pub(super) store: Store,
    /// It has answered since the run began, be it with an error.
    is_heard: Arc<AtomicBool>,
    /// The credentials of the process have expired.
    is_over: Arc<AtomicBool>,
}

impl S3 {
    pub fn new(store: Store) -> Self {
        Self { store, is_heard: Arc::default(), is_over: Arc::default() }
    }

    /// Nothing will be answered to this process any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn begin_run(&self) {
        self.is_heard.store(false, Ordering::Relaxed);
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

    /// `None` only when there is no such key: 403 and 500 must fail.
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

    /// Whether there is such an object.
    pub async fn exists(&self, key: &str, until: Millis) -> Result<bool, StoreError> {
        self.retrying("HeadObject", key, until, || self.once().head_once(key)).await
    }

    /// All keys with a prefix, in order.
    pub async fn list(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        self.list_after(prefix, None, until).await
    }

    /// What lies directly below a prefix and ends in a slash.
    pub async fn list_folders(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        self.retrying("ListObjectsV2", prefix, until, || self.once().folders_once(prefix)).await
    }

    /// The same that come after a key.
    pub async fn list_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        until: Millis,
    ) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut next = None;
        loop {
            let attempt = || self.once().list_once(prefix, after, next.as_deref());
            let page = self.retrying("ListObjectsV2", prefix, until, attempt).await?;
            keys.extend(page.keys);
            next = page.next;
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
                self.s3.is_over.store(true, Ordering::Relaxed);
                StoreError::ExpiredCredentials { operation, bucket, key, why }
            }
            FailureKind::Archived => StoreError::Archived { bucket, key, why },
            _ => StoreError::Failed { operation, bucket, key, why },
        }
    }

    /// The time is up. Where S3 should have answered long before, that is the news.
    fn out_of_time(&self, failed: impl Fn(String) -> StoreError, waited: Duration) -> StoreError {
        let patience = if self.s3.is_heard.load(Ordering::Relaxed) { LONG_PATIENCE } else { PATIENCE };
        if waited < patience {
            return StoreError::OutOfTime;
        }
        failed(format!("no answer within {} s, when the run's time was up", waited.as_secs()))
    }

    /// Every attempt, the first as the last, is only sent before `until`, also after the container was frozen.
    async fn retrying<T, F: Future<Output = Result<T, Failure>>>(
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
            let left = until.since(Millis::now());
            if left.is_zero() {
                return Err(last.map_or(StoreError::OutOfTime, failed));
            }
            let attempted = tokio::time::timeout(left.min(ATTEMPT_TIMEOUT), attempt()).await;
            if attempted.is_ok() {
                self.s3.is_heard.store(true, Ordering::Relaxed);
            }
            let why = match attempted {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err((FailureKind::Retry, why))) => why,
                Ok(Err((kind, why))) => return Err(self.refused(kind, operation, key, why)),
                Err(_) if left <= ATTEMPT_TIMEOUT => {
                    return Err(last.map_or_else(|| self.out_of_time(failed, left), failed));
                }
                Err(_) => format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()),
            };
            debug!(operation, key, error = why, "S3 failed, and may do better");
            match attempts.pause(None) {
                Some(pause) if sleep_within(pause, until).await => last = Some(why),
                _ => return Err(failed(why)),
            }
        }
    }
}
