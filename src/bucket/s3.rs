//! S3: create-only objects, conditional replacement, and reading back. Nothing is ever deleted.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use tracing::debug;

use crate::core::error_kind::chain;
use crate::core::quote::{beginning, without_secrets};
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Encryption;
use crate::core::time::Millis;

/// The longest that one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// What waited less for its answer, when the time was up, tells nothing of S3.
const PATIENCE: Duration = Duration::from_secs(1);

/// Codes of errors that pass, whatever their status (AWS SDKs and Tools Reference Guide, "Retry behavior"; those of S3
/// itself: a body that broke off on its way, and a key service that is busy).
const TRANSIENT: [&str; 18] = [
    "BadDigest",
    "BandwidthLimitExceeded",
    "IncompleteBody",
    "InternalError",
    "LimitExceededException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];
/// An object in cold storage.
const ARCHIVED: &str = "InvalidObjectState";

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
    pub client: Client,
    /// It has answered since the run began, be it with an error.
    is_heard: Arc<AtomicBool>,
    /// The credentials of the process have expired.
    is_over: Arc<AtomicBool>,
}

impl S3 {
    pub fn new(client: Client) -> Self {
        Self { client, is_heard: Arc::default(), is_over: Arc::default() }
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

pub struct Stored {
    pub bytes: Bytes,
    pub etag: String,
    pub metadata: HashMap<String, String>,
}

pub struct Object<'a> {
    pub key: &'a str,
    pub bytes: Bytes,
    pub content_type: &'static str,
    pub metadata: HashMap<String, String>,
}

/// Under which condition a write takes place.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    Absent,
    Unchanged { etag: &'a str },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Now {
        etag: String,
    },
    /// The condition didn't hold. After an answer that was lost this may have been an attempt of our own.
    Refused,
}

#[derive(Clone, Copy)]
enum FailureKind {
    Retry,
    Refused,
    Expired,
    Archived,
    Final,
}

impl Encryption {
    fn algorithm(&self) -> Option<ServerSideEncryption> {
        match self {
            Self::OfBucket => None,
            Self::Aes256 => Some(ServerSideEncryption::Aes256),
            Self::Kms(_) => Some(ServerSideEncryption::AwsKms),
        }
    }

    fn key_id(&self) -> Option<String> {
        match self {
            Self::OfBucket | Self::Aes256 => None,
            Self::Kms(key) => key.clone(),
        }
    }
}

impl Bucket {
    /// `None` only when there is no such key: 403 and 500 must fail.
    pub async fn get(&self, key: &str, until: Millis) -> Result<Option<Stored>, StoreError> {
        let attempt = || async {
            let request = self.s3.client.get_object().bucket(&self.name).key(key);
            let answer = match request.set_expected_bucket_owner(self.owner.clone()).send().await {
                Ok(answer) => answer,
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
                Err(error) => return Err((kind_of(&error), describe(&error))),
            };
            let (etag, metadata) = (answer.e_tag.unwrap_or_default(), answer.metadata.unwrap_or_default());
            match answer.body.collect().await {
                Ok(body) => Ok(Some(Stored { bytes: body.into_bytes(), etag, metadata })),
                Err(error) => Err((FailureKind::Retry, error.to_string())),
            }
        };
        self.retrying("GetObject", key, until, attempt).await
    }

    pub async fn put(
        &self,
        object: &Object<'_>,
        condition: Condition<'_>,
        until: Millis,
    ) -> Result<Written, StoreError> {
        let attempt = || async {
            let request = self
                .s3
                .client
                .put_object()
                .bucket(&self.name)
                .key(object.key)
                .content_type(object.content_type)
                .set_metadata(Some(object.metadata.clone()))
                .set_expected_bucket_owner(self.owner.clone())
                .set_server_side_encryption(self.encryption.algorithm())
                .set_ssekms_key_id(self.encryption.key_id())
                .body(ByteStream::from(object.bytes.clone()));
            let request = match condition {
                Condition::Absent => request.if_none_match("*"),
                Condition::Unchanged { etag } => request.if_match(etag),
            };
            match request.send().await {
                Ok(answer) => Ok(Written::Now { etag: answer.e_tag.unwrap_or_default() }),
                Err(error) => match kind_of(&error) {
                    FailureKind::Refused => Ok(Written::Refused),
                    kind => Err((kind, describe(&error))),
                },
            }
        };
        self.retrying("PutObject", object.key, until, attempt).await
    }

    /// Whether there is such an object.
    pub async fn exists(&self, key: &str, until: Millis) -> Result<bool, StoreError> {
        let attempt = || async {
            let request = self.s3.client.head_object().bucket(&self.name).key(key);
            match request.set_expected_bucket_owner(self.owner.clone()).send().await {
                Ok(_) => Ok(true),
                Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(false),
                Err(error) => Err((kind_of(&error), describe(&error))),
            }
        };
        self.retrying("HeadObject", key, until, attempt).await
    }

    /// All keys with a prefix, in order.
    pub async fn list(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        self.list_after(prefix, None, until).await
    }

    /// What lies directly below a prefix and ends in a slash.
    pub async fn list_folders(&self, prefix: &str, until: Millis) -> Result<Vec<String>, StoreError> {
        let attempt = || async {
            let request = self.s3.client.list_objects_v2().bucket(&self.name).prefix(prefix).delimiter("/");
            match request.set_expected_bucket_owner(self.owner.clone()).send().await {
                Ok(answer) => Ok(answer),
                Err(error) => Err((kind_of(&error), describe(&error))),
            }
        };
        // A thousand days are told at once.
        let page = self.retrying("ListObjectsV2", prefix, until, attempt).await?;
        Ok(page.common_prefixes.unwrap_or_default().into_iter().filter_map(|folder| folder.prefix).collect())
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
            let attempt = || async {
                let request = self.s3.client.list_objects_v2().bucket(&self.name).prefix(prefix);
                let request = request.set_start_after(after.map(str::to_owned)).set_continuation_token(next.clone());
                match request.set_expected_bucket_owner(self.owner.clone()).send().await {
                    Ok(answer) => Ok(answer),
                    Err(error) => Err((kind_of(&error), describe(&error))),
                }
            };
            let page = self.retrying("ListObjectsV2", prefix, until, attempt).await?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
            next = page.next_continuation_token;
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

    /// The time is up. Where S3 has not answered at all since the run began, that is the news.
    fn out_of_time(&self, failed: impl Fn(String) -> StoreError, waited: Duration) -> StoreError {
        if self.s3.is_heard.load(Ordering::Relaxed) || waited < PATIENCE {
            return StoreError::OutOfTime;
        }
        failed(format!("no answer within {} s, when the run's time was up", waited.as_secs()))
    }

    /// Every attempt, the first as the last, is only sent before `until`, also after the container was frozen.
    async fn retrying<T, F: Future<Output = Result<T, (FailureKind, String)>>>(
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

/// By the error's code, as the AWS SDKs do, and then by its status. 412 says that the condition doesn't hold, and so does
/// a missing key under `If-Match` (AWS answers 404, others 412). 409 says that another write was under way: again. The
/// rest of the 4xx will not change.
fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> FailureKind {
    // What the key service said to S3.
    let code = error.code().map(|code| code.strip_prefix("KMS.").unwrap_or(code));
    match code {
        Some(code) if TRANSIENT.contains(&code) => return FailureKind::Retry,
        code if retry::are_credentials_expired(code) => return FailureKind::Expired,
        Some(ARCHIVED) => return FailureKind::Archived,
        _ => {}
    }
    match error.raw_response().map(|response| response.status().as_u16()) {
        Some(412) => FailureKind::Refused,
        Some(404) if error.code() == Some("NoSuchKey") => FailureKind::Refused,
        Some(408 | 409 | 429 | 500..) => FailureKind::Retry,
        Some(_) => FailureKind::Final,
        None if matches!(error, SdkError::ConstructionFailure(_)) => FailureKind::Final,
        None => FailureKind::Retry,
    }
}

fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => match error.raw_response() {
            Some(response) => {
                let said = beginning(response.body().bytes().unwrap_or_default());
                format!("HTTP status {}: {}", response.status(), without_secrets(&said, &[]))
            }
            None => chain(error),
        },
    }
}
