//! A record: its text as served, and its values for queries.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Dataset, text};

/// The end of a record's hiding, whatever its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    Until(DateTime<Utc>),
    /// Hidden from this many more requests to its dataset.
    Requests(u64),
}

#[derive(Debug, Clone)]
pub struct Record {
    /// `event.id`, `userId`, the case's `number`. For audit events an id that isn't in the text.
    pub id: Arc<str>,
    /// The id of its parent.
    pub parent: Option<Arc<str>>,
    /// The cursor time at full precision: `event.inserted`, `timestamp`, `modificationDate`, `updatedAt`, `beginTime`.
    pub time: DateTime<Utc>,
    /// The text as served.
    pub raw: Arc<str>,
    pub(super) sequence: u64,
    pub(super) hidden: Option<Late>,
    fields: Arc<OnceLock<Value>>,
    compact: Arc<OnceLock<Arc<str>>>,
}

impl Record {
    /// Reads the id and the time from the text unless they are given. The epoch means that there is no time.
    pub(super) fn new(
        dataset: Dataset,
        sequence: u64,
        id: Option<String>,
        time: Option<DateTime<Utc>>,
        raw: String,
        hidden: Option<Late>,
    ) -> Self {
        let id = id.unwrap_or_else(|| id_in(dataset, &raw).unwrap_or_else(|| format!("#{sequence}")));
        let time = time.or_else(|| time_in(dataset, &raw)).unwrap_or_default();
        Self {
            id: id.into(),
            parent: None,
            time,
            raw: raw.into(),
            sequence,
            hidden,
            fields: Arc::default(),
            compact: Arc::default(),
        }
    }

    /// The text without blanks between its tokens, as it is to be stored.
    pub fn compact(&self) -> Arc<str> {
        self.compact.get_or_init(|| text::compact(&self.raw).into()).clone()
    }

    /// Distinguishes records that are equal in every byte.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn shows(&self, now: DateTime<Utc>, asked: u64) -> bool {
        match self.hidden {
            None => true,
            Some(Late::Until(instant)) => now >= instant,
            Some(Late::Requests(requests)) => asked > requests,
        }
    }

    /// The record as a value, for queries only. Bad escapes are repaired. If that isn't enough, the value has only the
    /// id and the time.
    pub(crate) fn fields(&self) -> &Value {
        self.fields.get_or_init(|| {
            serde_json::from_str(&self.raw)
                .or_else(|_| serde_json::from_str(&with_escapes_mended(&self.raw)))
                .unwrap_or_else(|_| json!({"event": {"id": &*self.id, "inserted": self.time.to_rfc3339()}}))
        })
    }
}

pub(super) fn id_in(dataset: Dataset, raw: &str) -> Option<String> {
    let path = dataset.id_path()?;
    text::string_at(raw, path).or_else(|| text::text_at(raw, path).map(str::to_owned))
}

/// RFC 3339; for sessions milliseconds since the epoch (SDK, `sessions/models/response.py`).
pub(super) fn time_in(dataset: Dataset, raw: &str) -> Option<DateTime<Utc>> {
    let path = dataset.time_path();
    if dataset == Dataset::Sessions {
        return DateTime::from_timestamp_millis(text::text_at(raw, path)?.parse().ok()?);
    }
    let text = text::string_at(raw, path).filter(|_| !path.is_empty())?;
    DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc())
}

/// `"\Everyone"` becomes `"\\Everyone"`.
fn with_escapes_mended(raw: &str) -> String {
    let mut mended = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        mended.push(c);
        if c == '\\' {
            match chars.peek() {
                Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u') => {
                    mended.extend(chars.next());
                }
                _ => mended.push('\\'),
            }
        }
    }
    mended
}
