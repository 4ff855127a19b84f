//! The log of requests to S3.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use crate::clock;
use crate::http::Request;

#[derive(Debug, Clone)]
pub struct S3Request {
    pub method: String,
    pub bucket: String,
    /// Decoded. Empty for a request to the bucket.
    pub key: String,
    /// As sent: `uploads`, `partNumber=1&uploadId=…`, `list-type=2&prefix=…`.
    pub query: String,
    pub if_none_match: Option<String>,
    pub if_match: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    pub metadata: BTreeMap<String, String>,
    /// `x-amz-expected-bucket-owner`.
    pub expected_owner: Option<String>,
    /// Every header except the signature.
    pub headers: BTreeMap<String, String>,
    pub bytes: usize,
    /// The answer's status, of the store or of a fault. None while there is no answer.
    pub status: Option<u16>,
    /// Whether the client got that answer.
    pub answered: bool,
    pub at: DateTime<Utc>,
    /// Whether the store itself answered.
    pub(super) applied: bool,
}

impl S3Request {
    pub(super) fn of(request: &Request) -> Self {
        let header = |name| request.header(name).map(str::to_owned);
        let path = percent_decode_str(request.path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let headers: BTreeMap<String, String> = request
            .headers
            .iter()
            .filter(|(name, _)| *name != "authorization")
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let metadata = headers.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.clone()))
        });
        Self {
            method: request.method.to_string(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query: request.query.clone(),
            if_none_match: header("if-none-match"),
            if_match: header("if-match"),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            metadata: metadata.collect(),
            expected_owner: header("x-amz-expected-bucket-owner"),
            bytes: request.body.len(),
            status: None,
            answered: false,
            at: clock::now(),
            applied: false,
            headers,
        }
    }

    /// Whether the store carried it out with success.
    pub fn succeeded(&self) -> bool {
        self.applied && self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether it created or replaced an object: a whole PUT, or the completion of a multipart upload.
    pub fn wrote(&self) -> bool {
        let whole = self.method == "PUT" && !self.key.is_empty() && !self.query.contains("uploadId=");
        let completed = self.method == "POST" && self.query.contains("uploadId=");
        self.succeeded() && (whole || completed)
    }
}

pub(super) fn overwritten_or_deleted(log: &[S3Request], prefix: &str) -> Vec<String> {
    let mut written = BTreeSet::new();
    let mut wrong = Vec::new();
    for request in log.iter().filter(|request| request.succeeded()) {
        // A request that deletes several keys names them in its body. There must be none.
        if request.method == "POST" && request.query.split('&').any(|part| part.trim_end_matches('=') == "delete") {
            wrong.push(format!("{}: several were deleted", request.bucket));
        }
        if !request.key.starts_with(prefix) {
            continue;
        }
        let aborts_upload = request.query.contains("uploadId=");
        if request.method == "DELETE" && !aborts_upload {
            wrong.push(format!("{}: deleted", request.key));
        }
        if request.wrote() && !written.insert((request.bucket.clone(), request.key.clone())) {
            wrong.push(format!("{}: overwritten", request.key));
        }
    }
    wrong
}
