//! The operations of S3, each tried once: get, conditional put, list. The AWS SDK performs them; in a simulation,
//! a function does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::core::aws_error::describe;
use crate::core::retry;
use crate::core::settings::Encryption;

/// Error codes that are retried, whatever the status. Sources: AWS SDKs and Tools Reference Guide, "Retry behavior",
/// and S3's own codes for a body that broke off and for a busy key service.
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
/// The code for an object in cold storage.
const ARCHIVED: &str = "InvalidObjectState";

#[derive(Clone)]
pub enum Store {
    Aws(Client),
    Simulated(SimulatedS3),
}

/// The function that performs the operations in a simulation.
pub type SimulatedS3 = Arc<dyn Fn(Operation) -> BoxFuture<'static, Result<Done, SimulatedError>> + Send + Sync>;

/// An object that was read.
pub struct Stored {
    pub bytes: Bytes,
    pub etag: String,
    pub metadata: HashMap<String, String>,
}

/// An object to write.
pub struct Object<'a> {
    pub key: &'a str,
    pub bytes: Bytes,
    pub content_type: &'static str,
    pub metadata: HashMap<String, String>,
}

/// The condition under which a write takes place.
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
    /// The condition didn't hold. After a lost answer, the object may be the write of an earlier attempt of ours.
    ConditionFailed,
}

/// An operation in a simulation, on the named bucket.
pub struct Operation {
    pub bucket: String,
    pub what: S3Call,
}

pub enum S3Call {
    Get {
        key: String,
    },
    Put {
        key: String,
        bytes: Bytes,
        content_type: &'static str,
        metadata: HashMap<String, String>,
        preconditions: Preconditions,
    },
    List {
        prefix: String,
        after: Option<String>,
    },
    Folders {
        prefix: String,
    },
}

/// The headers of a conditional write.
#[derive(Default)]
pub struct Preconditions {
    pub if_none_match: Option<String>,
    pub if_match: Option<String>,
}

/// The result of a simulated operation.
pub enum Done {
    Got(Stored),
    Written { etag: String },
    Listed(Vec<String>),
}

/// An error of a simulated operation: the status and code of S3, or neither if there was no answer.
pub struct SimulatedError {
    pub status: Option<u16>,
    pub code: Option<String>,
}

/// The kind of a failure, and its text for the error message.
pub(super) type FailedOperation = (FailureKind, String);

#[derive(Clone, Copy)]
pub(super) enum FailureKind {
    /// The same request may succeed if repeated.
    Retry,
    /// The condition of a write doesn't hold, or the key of a read is missing.
    ConditionFailed,
    /// The process's credentials have expired.
    Expired,
    /// The object is in cold storage.
    Archived,
    /// Repeating the request is of no use.
    Final,
}

impl Preconditions {
    fn of(condition: Condition<'_>) -> Self {
        match condition {
            Condition::Absent => Self { if_none_match: Some("*".to_owned()), if_match: None },
            Condition::Unchanged { etag } => Self { if_none_match: None, if_match: Some(etag.to_owned()) },
        }
    }
}

impl Encryption {
    fn algorithm(&self) -> Option<ServerSideEncryption> {
        match self {
            Self::BucketDefault => None,
            Self::Aes256 => Some(ServerSideEncryption::Aes256),
            Self::Kms(_) => Some(ServerSideEncryption::AwsKms),
        }
    }

    fn key_id(&self) -> Option<String> {
        match self {
            Self::BucketDefault | Self::Aes256 => None,
            Self::Kms(key) => key.clone(),
        }
    }
}

/// One page of a listing, and the token for the next page.
pub(super) struct ListedPage {
    pub(super) keys: Vec<String>,
    pub(super) next: Option<String>,
}

/// A bucket on which each operation is tried once.
#[derive(Clone, Copy)]
pub(super) struct OneBucket<'a> {
    pub(super) store: &'a Store,
    pub(super) name: &'a str,
    pub(super) owner: Option<&'a String>,
    pub(super) encryption: &'a Encryption,
}

/// S3 names the `ETag` in each answer to a read or write. A success without one is a page of something in front of it,
/// which has stored nothing.
fn require_etag(etag: Option<String>) -> Result<String, FailedOperation> {
    let etag = etag.filter(|etag| !etag.is_empty());
    etag.ok_or_else(|| (FailureKind::Retry, "the answer has no ETag, so it is not S3's".to_owned()))
}

impl OneBucket<'_> {
    /// Returns none only if the key doesn't exist. 403 and 500 are errors.
    pub(super) async fn get_once(self, key: &str) -> Result<Option<Stored>, FailedOperation> {
        let client = match self.store {
            Store::Aws(client) => client,
            Store::Simulated(answer) => {
                return match self.simulate(answer, S3Call::Get { key: key.to_owned() }).await {
                    Ok(Done::Got(stored)) => Ok(Some(stored)),
                    Err(refused) if refused.is_no_such_key() => Ok(None),
                    other => Err(other.err().unwrap_or_default().failure()),
                };
            }
        };

        let request = client.get_object().bucket(self.name).key(key);
        let answer = match request.set_expected_bucket_owner(self.owner.cloned()).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
            Err(error) => return Err((kind_of(&error), describe(&error))),
        };

        let etag = require_etag(answer.e_tag)?;
        let metadata = answer.metadata.unwrap_or_default();
        match answer.body.collect().await {
            Ok(body) => Ok(Some(Stored { bytes: body.into_bytes(), etag, metadata })),
            Err(error) => Err((FailureKind::Retry, error.to_string())),
        }
    }

    /// Writes an object if the condition holds.
    pub(super) async fn put_once(
        self,
        object: &Object<'_>,
        condition: Condition<'_>,
    ) -> Result<Written, FailedOperation> {
        let preconditions = Preconditions::of(condition);
        let client = match self.store {
            Store::Aws(client) => client,
            Store::Simulated(answer) => {
                let what = S3Call::Put {
                    key: object.key.to_owned(),
                    bytes: object.bytes.clone(),
                    content_type: object.content_type,
                    metadata: object.metadata.clone(),
                    preconditions,
                };
                return match self.simulate(answer, what).await {
                    Ok(Done::Written { etag }) => Ok(Written::Now { etag }),
                    other => match other.err().unwrap_or_default().failure() {
                        (FailureKind::ConditionFailed, _) => Ok(Written::ConditionFailed),
                        failure => Err(failure),
                    },
                };
            }
        };

        let request = client
            .put_object()
            .bucket(self.name)
            .key(object.key)
            .content_type(object.content_type)
            .set_metadata(Some(object.metadata.clone()))
            .set_expected_bucket_owner(self.owner.cloned())
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key_id())
            .set_if_none_match(preconditions.if_none_match)
            .set_if_match(preconditions.if_match)
            .body(ByteStream::from(object.bytes.clone()));
        match request.send().await {
            Ok(answer) => Ok(Written::Now { etag: require_etag(answer.e_tag)? }),
            Err(error) => match kind_of(&error) {
                FailureKind::ConditionFailed => Ok(Written::ConditionFailed),
                kind => Err((kind, describe(&error))),
            },
        }
    }

    /// Returns one page of the folders directly below a prefix, each with its slash at the end, starting at the token
    /// `next`.
    pub(super) async fn folders_once(self, prefix: &str, next: Option<&str>) -> Result<ListedPage, FailedOperation> {
        match self.store {
            Store::Aws(client) => {
                let request = client.list_objects_v2().bucket(self.name).prefix(prefix).delimiter("/");
                let page = self.listed(request.set_continuation_token(next.map(str::to_owned))).await?;
                let folders = page.common_prefixes.unwrap_or_default();
                let keys = folders.into_iter().filter_map(|folder| folder.prefix).collect();
                Ok(ListedPage { keys, next: page.next_continuation_token })
            }
            Store::Simulated(answer) => {
                self.simulated_list(answer, S3Call::Folders { prefix: prefix.to_owned() }).await
            }
        }
    }

    /// Returns one page of the keys with a prefix that come after `after`, starting at the token `next`.
    pub(super) async fn list_once(
        self,
        prefix: &str,
        after: Option<&str>,
        next: Option<&str>,
    ) -> Result<ListedPage, FailedOperation> {
        let after = after.map(str::to_owned);
        match self.store {
            Store::Aws(client) => {
                let request = client.list_objects_v2().bucket(self.name).prefix(prefix).set_start_after(after);
                let page = self.listed(request.set_continuation_token(next.map(str::to_owned))).await?;
                let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
                Ok(ListedPage { keys, next: page.next_continuation_token })
            }
            Store::Simulated(answer) => {
                self.simulated_list(answer, S3Call::List { prefix: prefix.to_owned(), after }).await
            }
        }
    }

    async fn listed(&self, request: ListObjectsV2FluentBuilder) -> Result<ListObjectsV2Output, FailedOperation> {
        let answered = request.set_expected_bucket_owner(self.owner.cloned()).send().await;
        answered.map_err(|error| (kind_of(&error), describe(&error)))
    }

    async fn simulate(&self, answer: &SimulatedS3, what: S3Call) -> Result<Done, SimulatedError> {
        answer(Operation { bucket: self.name.to_owned(), what }).await
    }

    async fn simulated_list(&self, answer: &SimulatedS3, what: S3Call) -> Result<ListedPage, FailedOperation> {
        match self.simulate(answer, what).await {
            Ok(Done::Listed(keys)) => Ok(ListedPage { keys, next: None }),
            other => Err(other.err().unwrap_or_default().failure()),
        }
    }
}

impl Default for SimulatedError {
    /// An operation without any answer.
    fn default() -> Self {
        Self { status: None, code: None }
    }
}

impl SimulatedError {
    fn is_no_such_key(&self) -> bool {
        self.code.as_deref() == Some("NoSuchKey")
    }

    fn failure(&self) -> FailedOperation {
        let kind = classify(self.code.as_deref(), self.status).unwrap_or(FailureKind::Retry);
        (kind, self.code.clone().unwrap_or_else(|| "no answer".to_owned()))
    }
}

/// Classifies an error by its code, as the AWS SDKs do, then by its status.
///
/// * 412: the condition doesn't hold.
/// * 404 with `NoSuchKey`: the same. AWS answers so if the key is missing under `If-Match`; others answer 412.
/// * 409: another write was under way, so try again.
/// * 408, 429 and 5xx: try again.
/// * A success that can't be read: it is not S3's, so try again.
/// * Other 3xx and 4xx: final.
/// * Neither code nor status: none.
fn classify(code: Option<&str>, status: Option<u16>) -> Option<FailureKind> {
    // S3 puts `KMS.` before the codes that the key service returned.
    let without_service = code.map(|code| code.strip_prefix("KMS.").unwrap_or(code));
    match without_service {
        Some(code) if TRANSIENT.contains(&code) => return Some(FailureKind::Retry),
        code if retry::are_credentials_expired(code) => return Some(FailureKind::Expired),
        Some(ARCHIVED) => return Some(FailureKind::Archived),
        _ => {}
    }
    Some(match status? {
        412 => FailureKind::ConditionFailed,
        404 if code == Some("NoSuchKey") => FailureKind::ConditionFailed,
        200..300 | 408 | 409 | 429 | 500.. => FailureKind::Retry,
        _ => FailureKind::Final,
    })
}

fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> FailureKind {
    match error {
        SdkError::ConstructionFailure(_) => FailureKind::Final,
        SdkError::ServiceError(refused) => {
            classify(error.code(), Some(refused.raw().status().as_u16())).unwrap_or(FailureKind::Retry)
        }
        // There was no answer, or it broke off.
        _ => FailureKind::Retry,
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws(_) => "Aws",
            Self::Simulated(_) => "Simulated",
        })
    }
}
