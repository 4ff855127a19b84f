//! A verification: its scope, and its findings so far.

use std::collections::HashMap;

use serde::Serialize;

use crate::actions::invocation::VerifyArgs;
use crate::bucket::s3::Bucket;
use crate::core::intervals::Span;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;

pub struct Verification<'a> {
    pub settings: &'a Settings,
    pub records: Bucket,
    pub state: Bucket,
    pub asked: &'a VerifyArgs,
    pub now: Millis,
    pub until: Millis,
}

/// The progress of a verification.
#[derive(Default)]
pub struct Progress {
    pub findings: Vec<Discrepancy>,
    pub checked: CheckedTotals,
    /// The keys of a stream's day. Each day is listed once.
    pub listed: HashMap<(Stream, Millis), Vec<String>>,
}

impl Verification<'_> {
    pub fn streams(&self) -> &[Stream] {
        self.asked.streams.as_deref().unwrap_or(&self.settings.streams)
    }
}

/// Something wrong with an object or a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discrepancy {
    /// Null for a manifest.
    pub stream: Option<Stream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Millis>,
    pub wrong: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CheckedTotals {
    pub manifests: u64,
    pub objects: u64,
    pub records: u64,
    /// The gzipped size.
    pub bytes: u64,
}

impl Discrepancy {
    pub fn of_key(stream: Option<Stream>, key: &str, wrong: impl Into<String>) -> Self {
        Self { stream, key: Some(key.to_owned()), from: None, to: None, wrong: wrong.into() }
    }

    pub fn of_span(stream: Stream, span: Span, wrong: impl Into<String>) -> Self {
        Self { stream: Some(stream), key: None, from: Some(span.from), to: Some(span.to), wrong: wrong.into() }
    }
}
