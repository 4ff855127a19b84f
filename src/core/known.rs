//! The known records of a stream: for each id, the fingerprints of the versions that are stored.

mod gone;
mod lines;
mod memory;
mod version;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::gone::{BELIEVED_AFTER, Gone, Missing};
pub use self::memory::Memory;
pub use self::version::RecordVersion;
use crate::core::ndjson::{FieldPath, Fingerprint};
use crate::core::time::Millis;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known(BTreeMap<String, KnownRecord>);

/// The stored versions under one id. There are several if the API shows several records under it.
#[derive(Clone, Debug, Default, PartialEq)]
struct KnownRecord {
    seen: Vec<RecordVersion>,
    /// The number of whole readings in a row that lacked the record, and the instant of the first of them.
    missed: u32,
    missed_since: Option<Millis>,
    /// The time at which the record began, by its own field. Set for streams that forget records by age.
    began: Option<Millis>,
    asked: Option<LastRequest>,
    /// The end date in the record, and an empty text if it has none. None if no reading has looked for it.
    end: Option<String>,
}

/// The last request for a whole record, of which the list shows only a summary: its instant, and the fingerprint of
/// the summary at that time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LastRequest {
    of: Fingerprint,
    at: Millis,
}

impl KnownRecord {
    /// The fingerprint of all versions under the id, without volatile fields. It doesn't depend on their order.
    fn shown(&self) -> Fingerprint {
        let of = |version: &RecordVersion| version.steady.map_or(version.full, |(steady, _)| steady).0;
        Fingerprint(self.seen.iter().map(of).fold(0, |all, one| all ^ one))
    }
}

impl Known {
    /// The number of known records.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the stored version that this record equals, or none if the record is new or has changed. Older
    /// checkpoints have the fingerprint of a record's bytes, which is compared as well.
    pub fn stored(&self, id: &str, line: &str, version: &RecordVersion) -> Option<RecordVersion> {
        let entry = self.0.get(id)?;
        let said = entry.seen.iter().find(|stored| version.is_same(stored));
        match said {
            Some(stored) if stored.steady.is_some() => Some(stored.clone()),
            Some(_) => Some(version.clone()),
            None => {
                let bytes = Fingerprint::of(line.as_bytes());
                entry.seen.iter().any(|stored| stored.full == bytes).then(|| version.clone())
            }
        }
    }

    pub fn has_id(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Whether the last whole reading showed the record.
    pub fn is_shown(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|entry| entry.missed_since.is_none() && entry.missed == 0)
    }

    /// Whether any record is missed.
    pub fn is_any_missed(&self) -> bool {
        self.0.keys().any(|id| !self.is_shown(id))
    }

    pub fn missed_since(&self, id: &str) -> Option<Millis> {
        self.0.get(id)?.missed_since
    }

    /// Adds a version under this id; the record is no longer missed.
    pub fn add(&mut self, id: &str, record: RecordVersion) {
        let entry = self.0.entry(id.to_owned()).or_default();
        (entry.missed, entry.missed_since) = (0, None);
        if !entry.seen.iter().any(|seen| seen.full == record.full) {
            entry.seen.push(record);
            entry.seen.sort_unstable_by_key(|seen| seen.full);
        }
    }

    /// Replaces all versions under this id by a new one. A change back to an earlier version is a change, too. `began`
    /// is the time at which the record began, for streams that forget records by age.
    pub fn replace(&mut self, id: &str, record: RecordVersion, began: Option<Millis>) {
        let record = KnownRecord { seen: vec![record], began, ..KnownRecord::default() };
        self.0.insert(id.to_owned(), record);
    }

    /// Notes that the whole record was requested `at` this instant.
    pub fn note_requested(&mut self, id: &str, at: Millis) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.asked = Some(LastRequest { of: entry.shown(), at });
        }
    }

    /// The instant at which the whole record was last requested, or none if its summary has changed since.
    pub fn asked_at(&self, id: &str) -> Option<Millis> {
        let entry = self.0.get(id)?;
        entry.asked.filter(|asked| asked.of == entry.shown()).map(|asked| asked.at)
    }

    /// Makes the next pass request the whole record again.
    pub fn forget_request(&mut self, id: &str) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.asked = None;
        }
    }

    /// Copies from `known` the last request for the whole record.
    pub fn keep_request(&mut self, id: &str, known: &Self) {
        let asked = known.0.get(id).and_then(|entry| entry.asked);
        if let Some(entry) = self.0.get_mut(id) {
            entry.asked = entry.asked.or(asked);
        }
    }

    /// Notes the end date in a record, or an empty text if it has none.
    pub fn note_end(&mut self, id: &str, end: String) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.end = Some(end);
        }
    }

    /// Returns the id and the noted end date of each record in which a reading has looked for it. The date is empty if
    /// the record has none.
    pub fn ends(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(id, entry)| Some((id.as_str(), entry.end.as_deref()?)))
    }

    /// Keeps a record that the API still shows from being forgotten. If it began before `from`, it counts as begun `at`
    /// this instant, and so do the records whose keys begin with `below`.
    pub fn keep_from(&mut self, id: &str, below: &str, from: Millis, at: Millis) {
        let is_old = |entry: &KnownRecord| entry.began.is_some_and(|began| began < from);
        if !self.0.get(id).is_some_and(is_old) {
            return;
        }
        let keys: Vec<String> = self.ids_below(below).cloned().collect();
        for key in keys.iter().map(String::as_str).filter(|_| !below.is_empty()).chain([id]) {
            if let Some(entry) = self.0.get_mut(key) {
                entry.began = Some(at);
            }
        }
    }

    /// Forgets the records that began before `from`.
    pub fn forget_before(&mut self, from: Millis) {
        self.0.retain(|_, entry| entry.began.is_none_or(|began| began >= from));
    }

    /// Copies a record from `known`, because the list still has it.
    pub fn keep(&mut self, id: &str, known: &Self) {
        if let Some(entry) = known.0.get(id) {
            self.0.insert(id.to_owned(), KnownRecord { missed: 0, missed_since: None, ..entry.clone() });
        }
    }

    /// Copies a record from `known` if this reading can't tell whether the list still has it. `missed_at` is set if the
    /// record may be gone.
    pub fn hold(&mut self, id: &str, known: &Self, missed_at: Option<Millis>) {
        if let Some(entry) = known.0.get(id) {
            let missed_since = entry.missed_since.or(missed_at);
            self.0.insert(id.to_owned(), KnownRecord { missed_since, ..entry.clone() });
        }
    }

    /// Moves a record here from `seen`, so that a later reading is compared with it.
    pub fn take_over(&mut self, id: &str, seen: &mut Self) {
        if let Some(entry) = seen.0.remove(id) {
            self.0.insert(id.to_owned(), entry);
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Returns the ids that begin with `below`.
    pub fn ids_below<'a>(&'a self, below: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.range(below.to_owned()..).map(|(id, _)| id).take_while(move |id| id.starts_with(below))
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }

    /// Applies a line that was stored `at` an instant: a new version of the record, or its tombstone.
    pub fn apply(&mut self, id: &str, line: &str, volatile: &[FieldPath], at: Millis) {
        if is_tombstone(line) {
            self.remove(id);
        } else {
            self.replace(id, RecordVersion::of(line, volatile, at), None);
        }
    }

    /// After an incomplete reading: adds the records that it saw. None counts as missed.
    #[must_use]
    pub fn updated_with(mut self, seen: Self) -> Self {
        self.0.extend(seen.0);
        self
    }

    /// After a whole reading that saw `seen`: counts every other record as missed once more. Also returns the records
    /// that were missed at least twice in a row.
    pub fn after_whole_reading(&self, seen: Self, at: Millis) -> (Self, Vec<Missing>) {
        let mut next = seen;
        let mut gone = Vec::new();
        for (id, entry) in &self.0 {
            if next.has_id(id) {
                continue;
            }
            let (missed, since) = (entry.missed + 1, entry.missed_since.unwrap_or(at));
            if missed >= 2 {
                gone.push(Missing { id: id.clone(), since });
            }
            next.0.insert(id.clone(), KnownRecord { missed, missed_since: Some(since), ..entry.clone() });
        }
        (next, gone)
    }
}

fn is_tombstone(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|record| record.get("_deleted") == Some(&Value::Bool(true)))
}

#[cfg(test)]
mod tests;
