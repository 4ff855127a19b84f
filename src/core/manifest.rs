//! Manifests: what was read and where it is stored, so that anybody can check it later. A manifest is one line of JSON
//! that names the one before it by its hash. The checkpoint names the newest. `bucket::chain` stores them beside the
//! checkpoint.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::digest::sha256;
use crate::core::identity::Identity;
use crate::core::intervals::Span;
use crate::core::stream::Stream;
use crate::core::time::{DAY, Millis};

pub const FORMAT_VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: u64,
    /// Counts from 1 without gaps.
    pub number: u64,
    pub previous: Option<Link>,
    pub run_id: String,
    /// Never earlier than the previous manifest's.
    pub written_at: Millis,
    pub identity: Identity,
    /// The indexes that were made since the previous manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    /// The newest manifests of shards' chains. Their readings count from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Link>,
    pub readings: Vec<ReadingEntry>,
}

/// Names a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub number: u64,
    pub key: String,
    /// The SHA-256 of the object's bytes, in hex.
    pub sha256: String,
    pub written_at: Millis,
}

/// All manifests of one day in one object, unchanged and in order, one per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    pub key: String,
    /// The SHA-256 of the uncompressed bytes, in hex.
    pub sha256: String,
    /// The day's last manifest, which is the last line.
    pub last: Link,
}

/// A finished reading: its request, the API's total, and its objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingEntry {
    pub stream: Stream,
    /// Only for event streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Only for versions and inventory: the instant in its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Millis>,
    /// The request without its paging.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub request: Value,
    pub opened_at: Millis,
    pub closed_at: Millis,
    /// The number of rows that were read, including those in the margin and those set aside.
    pub rows: u64,
    /// The API's total. Absent if the reading is only a part, or if the API can't count its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The keys of the rows that were set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<StoredObject>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredObject {
    pub key: String,
    /// The gzipped size.
    pub bytes: u64,
    pub records: u64,
    /// The SHA-256 of the uncompressed bytes, in hex.
    pub sha256: String,
    /// The times of its first and last record. For versions and inventory the reading's instant.
    pub first: Millis,
    pub last: Millis,
}

impl Manifest {
    /// Returns the object's content, which is also the line in an index.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The link by which the next manifest, or the checkpoint, names this one. `json` is its content.
    pub fn link(&self, state_prefix: &str, json: &str) -> Link {
        let sha256 = sha256(json);
        let day = day(self.written_at);
        let key = format!("{}{:010}-{sha256}.json", day_prefix(state_prefix, &day), self.number);
        Link { number: self.number, key, sha256, written_at: self.written_at }
    }
}

impl Link {
    pub fn day(&self) -> String {
        day(self.written_at)
    }
}

impl ReadingEntry {
    /// An entry for a window's reading that ends now, without any rows.
    pub fn of_window(stream: Stream, window: Span, opened_at: Millis) -> Self {
        Self { window: Some(window), ..Self::of(stream, opened_at) }
    }

    /// An entry for a reading of versions or inventory that ends now, without any rows.
    pub fn of_instant(stream: Stream, at: Millis, opened_at: Millis) -> Self {
        Self { at: Some(at), ..Self::of(stream, opened_at) }
    }

    fn of(stream: Stream, opened_at: Millis) -> Self {
        Self {
            stream,
            window: None,
            at: None,
            request: Value::Null,
            opened_at,
            closed_at: Millis::now(),
            rows: 0,
            total: None,
            set_aside: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Whether the reading is about any part of `span`.
    pub fn touches(&self, span: Span) -> bool {
        match (self.window, self.at) {
            (Some(window), _) => window.intersection(span).is_some(),
            (None, Some(at)) => span.contains(at),
            (None, None) => false,
        }
    }
}

/// The prefix of the manifests written on a day.
pub fn day_prefix(state_prefix: &str, day: &str) -> String {
    format!("{state_prefix}manifests/dt={day}/")
}

/// For example `2026-11-21`.
fn day(at: Millis) -> String {
    at.floor(DAY).date_time().format("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dialect::Dialect;

    #[test]
    fn a_manifest_is_one_line_and_its_key_holds_day_number_and_hash() {
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            number: 7,
            previous: None,
            run_id: "r".into(),
            written_at: Millis(1) + DAY,
            identity: Identity {
                tenant: None,
                base_url: "https://api.us.code42.com".into(),
                bucket: "records".into(),
                prefix: "code42/".into(),
                dialect: Dialect::Sdk,
            },
            indexes: Vec::new(),
            merged: Vec::new(),
            readings: Vec::new(),
        };
        let json = manifest.to_json();
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<Manifest>(&json).expect("JSON"), manifest);
        let link = manifest.link("state/", &json);
        assert_eq!(link.key, format!("state/manifests/dt=1970-01-02/0000000007-{}.json", sha256(json.as_bytes())));
        assert_eq!(link.day(), "1970-01-02");
    }
}
