//! What is known of a stream's records: by id, the fingerprints of what is stored. One line a record:
//! `{"id":"42","seen":["<hex>"],"missed":1}`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::checkpoint::StateObject;
use crate::core::json::is_default;
use crate::core::ndjson::{Fingerprint, Packed, Packer, Packing};
use crate::core::stream::Stream;
use crate::core::time::Millis;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known(BTreeMap<String, KnownRecord>);

/// More than one fingerprint where the API itself shows several records under one id.
#[derive(Clone, Debug, Default, PartialEq)]
struct KnownRecord {
    seen: Vec<Fingerprint>,
    /// How many whole readings in a row were without the record.
    missed: u32,
    /// When the record began, where that is what it is forgotten by.
    began: Option<Millis>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    seen: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    missed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Millis>,
}

/// What is known of the streams that every run reads, kept from run to run as long as the process lives.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<Stream, (StateObject, Known)>>);

impl Memory {
    /// Hands over what is known by the object `at`, if that is what was kept.
    pub fn take(&self, stream: Stream, at: &StateObject) -> Option<Known> {
        let (kept_at, known) = self.kept().remove(&stream)?;
        (kept_at == *at).then_some(known)
    }

    pub fn keep(&self, stream: Stream, at: StateObject, known: Known) {
        self.kept().insert(stream, (at, known));
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Stream, (StateObject, Known)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// How many records are known.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, id: &str, record: Fingerprint) -> bool {
        self.0.get(id).is_some_and(|entry| entry.seen.contains(&record))
    }

    pub fn has_id(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// One more record under this id.
    pub fn add(&mut self, id: &str, record: Fingerprint) {
        let entry = self.0.entry(id.to_owned()).or_default();
        entry.missed = 0;
        if !entry.seen.contains(&record) {
            entry.seen.push(record);
            entry.seen.sort_unstable();
        }
    }

    /// The record under this id has changed: what it was before may come back as another change. `began` is for one that
    /// is forgotten by when it began.
    pub fn replace(&mut self, id: &str, record: Fingerprint, began: Option<Millis>) {
        self.0.insert(id.to_owned(), KnownRecord { seen: vec![record], missed: 0, began });
    }

    /// Forgets what began earlier.
    pub fn forget_before(&mut self, from: Millis) {
        self.0.retain(|_, entry| entry.began.is_none_or(|began| began >= from));
    }

    /// What `known` knows of a record.
    pub fn keep(&mut self, id: &str, known: &Self) {
        if let Some(entry) = known.0.get(id) {
            self.0.insert(id.to_owned(), KnownRecord { missed: 0, ..entry.clone() });
        }
    }

    /// What `seen` has of a record counts as stored from now on: to see it once more is another matter.
    pub fn take_over(&mut self, id: &str, seen: &mut Self) {
        if let Some(entry) = seen.0.remove(id) {
            self.0.insert(id.to_owned(), entry);
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }

    /// What a stored line says: this is the record now, or it is gone.
    pub fn apply(&mut self, id: &str, line: &str) {
        if is_tombstone(line) {
            self.remove(id);
        } else {
            self.replace(id, Fingerprint::of(line.as_bytes()), None);
        }
    }

    /// After a reading that was not whole: what it saw is known, and nothing is missed.
    #[must_use]
    pub fn updated_with(mut self, seen: Self) -> Self {
        self.0.extend(seen.0);
        self
    }

    /// After a whole reading that saw `seen`: what it didn't see is missed once more. Answers the ids of those that
    /// were missed twice, and so are gone.
    pub fn after_whole_reading(&self, seen: Self) -> (Self, Vec<String>) {
        let mut next = seen;
        let mut gone = Vec::new();
        for (id, entry) in &self.0 {
            if next.has_id(id) {
                continue;
            }
            let missed = entry.missed + 1;
            if missed >= 2 {
                gone.push(id.clone());
            }
            next.0.insert(id.clone(), KnownRecord { missed, ..entry.clone() });
        }
        (next, gone)
    }

    /// Reads the lines of such an object; none where one is not a record's.
    pub fn of_lines(lines: &[String]) -> Option<Self> {
        lines.iter().map(|line| Self::entry(line)).collect::<Option<_>>().map(Self)
    }

    /// A line a record.
    pub fn packed(&self) -> Packed {
        let mut lines = Packer::new(&Packing::default());
        for (id, entry) in &self.0 {
            let seen = entry.seen.iter().map(|record| format!("{:032x}", record.0)).collect();
            let line = Line { id: id.clone(), seen, missed: entry.missed, began: entry.began };
            lines.push(&serde_json::to_string(&line).unwrap_or_default());
        }
        lines.finish()
    }

    fn entry(line: &str) -> Option<(String, KnownRecord)> {
        let Line { id, seen, missed, began } = serde_json::from_str(line).ok()?;
        let seen = seen.iter().map(|hex| u128::from_str_radix(hex, 16).ok().map(Fingerprint)).collect::<Option<_>>()?;
        Some((id, KnownRecord { seen, missed, began }))
    }
}

fn is_tombstone(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|record| record.get("_deleted") == Some(&Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(ids: &[(&str, u128)]) -> Known {
        let mut known = Known::default();
        for (id, record) in ids {
            known.add(id, Fingerprint(*record));
        }
        known
    }

    #[test]
    fn a_record_is_gone_after_two_whole_readings_without_it() {
        let (once, gone) = known(&[("a", 1), ("b", 2)]).after_whole_reading(known(&[("a", 1)]));
        assert!(gone.is_empty());
        let (twice, gone) = once.after_whole_reading(known(&[("a", 1)]));
        assert_eq!(gone, ["b"]);
        assert!(twice.has_id("b"), "kept until its tombstone is stored");
        let (back, gone) = once.after_whole_reading(known(&[("a", 1), ("b", 2)]));
        assert!(gone.is_empty());
        assert_eq!(back, known(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn two_records_under_one_id_are_both_known() {
        let both = known(&[("a", 1), ("a", 2), ("a", 1)]);
        assert!(both.has("a", Fingerprint(1)) && both.has("a", Fingerprint(2)));
        assert_eq!(both.count(), 1);
    }

    #[test]
    fn a_record_that_changes_back_has_changed() {
        let mut known = known(&[("a", 1)]);
        known.replace("a", Fingerprint(2), None);
        assert!(!known.has("a", Fingerprint(1)));
    }

    #[test]
    fn what_a_stored_line_says_is_known() {
        let mut known = known(&[("4\"2", 1), ("43", 1)]);
        known.apply("4\"2", r#"{"userId":"4\"2","_deleted":true,"_deletedAt":"1970-01-01T00:00:00.000Z"}"#);
        known.apply("43", r#"{"userId":"43","active":false}"#);
        assert!(!known.has_id("4\"2") && known.has_id("43") && !known.has("43", Fingerprint(1)));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = r#"{"id":"a","seen":["000000000000000000000000000000ff"],"missed":1}"#;
        let (id, entry) = Known::entry(line).expect("a line");
        assert_eq!((id.as_str(), entry), ("a", KnownRecord { seen: vec![Fingerprint(255)], missed: 1, began: None }));
        assert_eq!(Known::entry(r#"{"id":"a","seen":["xyz"]}"#), None);
    }
}
