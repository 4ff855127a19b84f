//! One operation of S3: get, conditional put, head, list, each tried once. By the AWS SDK; in a simulation, with a
//! function of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::core::error_kind::chain;
use crate::core::quote::{beginning, without_secrets};
use crate::core::retry;
use crate::core::settings::Encryption;

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

/// How an operation gets to S3.
#[derive(Clone)]
pub enum Store {
    Aws(Client),
    Simulated(Simulated),
}

/// What answers an operation in a simulation.
pub type Simulated = Arc<dyn Fn(Operation) -> BoxFuture<'static, Result<Done, Refused>> + Send + Sync>;

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

/// An operation of a simulation, on the bucket of this name.
pub struct Operation {
    pub bucket: String,
    pub what: What,
}

pub enum What {
    Get {
        key: String,
    },
    Head {
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

/// The headers of a write that S3 takes under a condition alone.
#[derive(Default)]
pub struct Preconditions {
    pub if_none_match: Option<String>,
    pub if_match: Option<String>,
}

/// What comes of it.
pub enum Done {
    Got(Stored),
    Written { etag: String },
    Listed(Vec<String>),
    There,
}

/// Why nothing does: S3's status and code, and neither where there was no answer.
pub struct Refused {
    pub status: Option<u16>,
    pub code: Option<String>,
}

/// What a failure means, and how it is told.
pub(super) type Failure = (FailureKind, String);

#[derive(Clone, Copy)]
pub(super) enum FailureKind {
    Retry,
    Refused,
    Expired,
    Archived,
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

/// Some keys, and from where the rest goes on.
pub(super) struct ListedPage {
    pub(super) keys: Vec<String>,
    pub(super) next: Option<String>,
}

/// A bucket, where each operation is tried once.
#[derive(Clone, Copy)]
pub(super) struct OneBucket<'a> {
    pub(super) store: &'a Store,
    pub(super) name: &'a str,
    pub(super) owner: Option<&'a String>,
    pub(super) encryption: &'a Encryption,
}

impl OneBucket<'_> {
    /// `None` only when there is no such key: 403 and 500 must fail.
    pub(super) async fn get_once(self, key: &str) -> Result<Option<Stored>, Failure> {
        let client = match self.store {
            Store::Aws(client) => client,
            Store::Simulated(answer) => {
                return match self.simulate(answer, What::Get { key: key.to_owned() }).await {
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
        let (etag, metadata) = (answer.e_tag.unwrap_or_default(), answer.metadata.unwrap_or_default());
        match answer.body.collect().await {
            Ok(body) => Ok(Some(Stored { bytes: body.into_bytes(), etag, metadata })),
            Err(error) => Err((FailureKind::Retry, error.to_string())),
        }
    }

    pub(super) async fn put_once(self, object: &Object<'_>, condition: Condition<'_>) -> Result<Written, Failure> {
        let preconditions = Preconditions::of(condition);
        let client = match self.store {
            Store::Aws(client) => client,
            Store::Simulated(answer) => {
                let what = What::Put {
                    key: object.key.to_owned(),
                    bytes: object.bytes.clone(),
                    content_type: object.content_type,
                    metadata: object.metadata.clone(),
                    preconditions,
                };
                return match self.simulate(answer, what).await {
                    Ok(Done::Written { etag }) => Ok(Written::Now { etag }),
                    other => match other.err().unwrap_or_default().failure() {
                        (FailureKind::Refused, _) => Ok(Written::Refused),
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
            Ok(answer) => Ok(Written::Now { etag: answer.e_tag.unwrap_or_default() }),
            Err(error) => match kind_of(&error) {
                FailureKind::Refused => Ok(Written::Refused),
                kind => Err((kind, describe(&error))),
            },
        }
    }

    pub(super) async fn head_once(self, key: &str) -> Result<bool, Failure> {
        let client = match self.store {
            Store::Aws(client) => client,
            Store::Simulated(answer) => {
                return match self.simulate(answer, What::Head { key: key.to_owned() }).await {
                    Ok(_) => Ok(true),
                    Err(refused) if refused.status == Some(404) => Ok(false),
                    Err(refused) => Err(refused.failure()),
                };
            }
        };
        let request = client.head_object().bucket(self.name).key(key);
        match request.set_expected_bucket_owner(self.owner.cloned()).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(false),
            Err(error) => Err((kind_of(&error), describe(&error))),
        }
    }

    /// What lies directly below a prefix and ends in a slash. A thousand are told at once.
    pub(super) async fn folders_once(self, prefix: &str) -> Result<Vec<String>, Failure> {
        match self.store {
            Store::Aws(client) => {
                let request = client.list_objects_v2().bucket(self.name).prefix(prefix).delimiter("/");
                let folders = self.listed(request).await?.common_prefixes.unwrap_or_default();
                Ok(folders.into_iter().filter_map(|folder| folder.prefix).collect())
            }
            Store::Simulated(answer) => {
                Ok(self.simulated_list(answer, What::Folders { prefix: prefix.to_owned() }).await?.keys)
            }
        }
    }

    /// Some of the keys with a prefix that come after another one, from `next` on.
    pub(super) async fn list_once(
        self,
        prefix: &str,
        after: Option<&str>,
        next: Option<&str>,
    ) -> Result<ListedPage, Failure> {
        let after = after.map(str::to_owned);
        match self.store {
            Store::Aws(client) => {
                let request = client.list_objects_v2().bucket(self.name).prefix(prefix).set_start_after(after);
                let page = self.listed(request.set_continuation_token(next.map(str::to_owned))).await?;
                let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
                Ok(ListedPage { keys, next: page.next_continuation_token })
            }
            Store::Simulated(answer) => {
                self.simulated_list(answer, What::List { prefix: prefix.to_owned(), after }).await
            }
        }
    }

    async fn listed(&self, request: ListObjectsV2FluentBuilder) -> Result<ListObjectsV2Output, Failure> {
        let answered = request.set_expected_bucket_owner(self.owner.cloned()).send().await;
        answered.map_err(|error| (kind_of(&error), describe(&error)))
    }

    async fn simulate(&self, answer: &Simulated, what: What) -> Result<Done, Refused> {
        answer(Operation { bucket: self.name.to_owned(), what }).await
    }

    async fn simulated_list(&self, answer: &Simulated, what: What) -> Result<ListedPage, Failure> {
        match self.simulate(answer, what).await {
            Ok(Done::Listed(keys)) => Ok(ListedPage { keys, next: None }),
            other => Err(other.err().unwrap_or_default().failure()),
        }
    }
}

impl Default for Refused {
    /// No answer.
    fn default() -> Self {
        Self { status: None, code: None }
    }
}

impl Refused {
    fn is_no_such_key(&self) -> bool {
        self.code.as_deref() == Some("NoSuchKey")
    }

    fn failure(&self) -> Failure {
        let kind = kind_by(self.code.as_deref(), self.status).unwrap_or(FailureKind::Retry);
        (kind, self.code.clone().unwrap_or_else(|| "no answer".to_owned()))
    }
}

/// By the error's code, as the AWS SDKs do, and then by its status. 412 says that the condition doesn't hold, and so does
/// a missing key under `If-Match` (AWS answers 404, others 412). 409 says that another write was under way: again. The
/// rest of the 4xx will not change. None where there is neither a code nor a status.
fn kind_by(code: Option<&str>, status: Option<u16>) -> Option<FailureKind> {
    // What the key service said to S3.
    let without_service = code.map(|code| code.strip_prefix("KMS.").unwrap_or(code));
    match without_service {
        Some(code) if TRANSIENT.contains(&code) => return Some(FailureKind::Retry),
        code if retry::are_credentials_expired(code) => return Some(FailureKind::Expired),
        Some(ARCHIVED) => return Some(FailureKind::Archived),
        _ => {}
    }
    Some(match status? {
        412 => FailureKind::Refused,
        404 if code == Some("NoSuchKey") => FailureKind::Refused,
        408 | 409 | 429 | 500.. => FailureKind::Retry,
        _ => FailureKind::Final,
    })
}

fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> FailureKind {
    let status = error.raw_response().map(|response| response.status().as_u16());
    kind_by(error.code(), status).unwrap_or(match error {
        SdkError::ConstructionFailure(_) => FailureKind::Final,
        _ => FailureKind::Retry,
    })
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws(_) => "Aws",
            Self::Simulated(_) => "Simulated",
        })
    }
}
