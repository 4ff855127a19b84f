//! What is known of a stream's records: by id, the fingerprints of what is stored. One line a record:
//! `{"id":"42","seen":["<hex>"],"missed":1}`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::checkpoint::StateObject;
use crate::core::json::is_default;
use crate::core::ndjson::{FieldPath, Fingerprint, Packed, Packer, Packing, canonical};
use crate::core::stream::Stream;
use crate::core::time::{DAY, Millis};

/// For so long a record of which only volatile fields move is not stored again.
const STEADY_FOR: TimeDelta = DAY;

/// Where more than one in so many of a list would be gone at once, it is not believed at once.
const ONE_IN: usize = 5;
/// What all readings of so long were without is gone, however much it is.
pub const BELIEVED_AFTER: TimeDelta = DAY;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known(BTreeMap<String, KnownRecord>);

/// More than one version where the API itself shows several records under one id.
#[derive(Clone, Debug, Default, PartialEq)]
struct KnownRecord {
    seen: Vec<Version>,
    /// How many whole readings in a row were without the record, and since when it is missed.
    missed: u32,
    missed_since: Option<Millis>,
    /// When the record began, where that is what it is forgotten by.
    began: Option<Millis>,
    asked: Option<Asked>,
}

/// When more was asked for than a list shows of a record, and what the list showed then.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    of: Fingerprint,
    at: Millis,
}

/// What a record said when it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Of all that it says, whatever the order.
    full: Fingerprint,
    /// The same without what moves all the time, where its stream has such fields; and when it was stored.
    steady: Option<(Fingerprint, Millis)>,
}

/// A record that was missed by two whole readings, and by all since then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub id: String,
    pub since: Millis,
}

/// What becomes of what a whole reading of a list has missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub believed: Vec<String>,
    /// How many would be gone at once, which is too many to believe it.
    pub doubted: usize,
}

impl Gone {
    /// `known` is how many records of the list were known before. Where more than a fifth would be gone at once, it is the
    /// list that is wrong, unless all readings of a day agree; but one alone may go.
    pub fn of(missing: Vec<Missing>, known: usize, now: Millis) -> Self {
        let (old, new): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|missing| missing.since + BELIEVED_AFTER <= now);
        let is_much = new.len() > 1 && new.len() * ONE_IN > known - old.len();
        let doubted = if is_much { new.len() } else { 0 };
        let believed = old.into_iter().chain(new.into_iter().filter(|_| !is_much));
        Self { believed: believed.map(|missing| missing.id).collect(), doubted }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    seen: Vec<String>,
    /// For each of `seen`.
    #[serde(default, skip_serializing_if = "is_default")]
    steady: Vec<Option<(String, Millis)>>,
    #[serde(default, skip_serializing_if = "is_default")]
    missed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missed_since: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<(String, Millis)>,
}

impl KnownRecord {
    /// All that is shown under the id, whatever the order.
    fn shown(&self) -> Fingerprint {
        let of = |version: &Version| version.steady.map_or(version.full, |(steady, _)| steady).0;
        Fingerprint(self.seen.iter().map(of).fold(0, |all, one| all ^ one))
    }
}

impl Version {
    /// Of a record as it is stored. `volatile` are the fields that move all the time.
    pub fn of(line: &str, volatile: &[FieldPath], at: Millis) -> Self {
        let of = |but_for| Fingerprint::of(&canonical(line.as_bytes(), but_for));
        Self { full: of(&[]), steady: (!volatile.is_empty()).then(|| (of(volatile), at)) }
    }

    /// Whether both say the same, or one said a moment ago what the other says: that is no change.
    fn is_same(&self, stored: &Self) -> bool {
        let moved = self.steady.zip(stored.steady);
        self.full == stored.full || moved.is_some_and(|(now, then)| now.0 == then.0 && now.1 < then.1 + STEADY_FOR)
    }
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

    /// What is stored of a record that says the same; none where it is new, or has changed. Until it was known by what it
    /// says, a record was known by its bytes.
    pub fn stored(&self, id: &str, line: &str, version: &Version) -> Option<Version> {
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

    /// One more record under this id.
    pub fn add(&mut self, id: &str, record: Version) {
        let entry = self.0.entry(id.to_owned()).or_default();
        (entry.missed, entry.missed_since) = (0, None);
        if !entry.seen.iter().any(|seen| seen.full == record.full) {
            entry.seen.push(record);
            entry.seen.sort_unstable_by_key(|seen| seen.full);
        }
    }

    /// The record under this id has changed: what it was before may come back as another change. `began` is for one that
    /// is forgotten by when it began.
    pub fn replace(&mut self, id: &str, record: Version, began: Option<Millis>) {
        let record = KnownRecord { seen: vec![record], began, ..KnownRecord::default() };
        self.0.insert(id.to_owned(), record);
    }

    /// More was asked for than the list shows of this record, and answered `at` this instant.
    pub fn note_asked(&mut self, id: &str, at: Millis) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.asked = Some(Asked { of: entry.shown(), at });
        }
    }

    /// When that was, for what the list shows now; none where it shows something new.
    pub fn asked_at(&self, id: &str) -> Option<Millis> {
        let entry = self.0.get(id)?;
        entry.asked.filter(|asked| asked.of == entry.shown()).map(|asked| asked.at)
    }

    /// A reading that sees the record tells nothing of when more of it was asked for: `known` does.
    pub fn keep_asked(&mut self, id: &str, known: &Self) {
        let asked = known.0.get(id).and_then(|entry| entry.asked);
        if let Some(entry) = self.0.get_mut(id) {
            entry.asked = entry.asked.or(asked);
        }
    }

    /// The record is still shown, however long ago it began: it counts as begun `at` this instant, where it would be
    /// forgotten before `from`; and so does what is known by a key that begins with `below`.
    pub fn keep_from(&mut self, id: &str, below: &str, from: Millis, at: Millis) {
        let is_old = |entry: &KnownRecord| entry.began.is_some_and(|began| began < from);
        if !self.0.get(id).is_some_and(is_old) {
            return;
        }
        let keys: Vec<String> = self
            .0
            .range(below.to_owned()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(below))
            .cloned()
            .collect();
        for key in keys.iter().map(String::as_str).filter(|_| !below.is_empty()).chain([id]) {
            if let Some(entry) = self.0.get_mut(key) {
                entry.began = Some(at);
            }
        }
    }

    /// Forgets what began earlier.
    pub fn forget_before(&mut self, from: Millis) {
        self.0.retain(|_, entry| entry.began.is_none_or(|began| began >= from));
    }

    /// What `known` knows of a record that is still there.
    pub fn keep(&mut self, id: &str, known: &Self) {
        if let Some(entry) = known.0.get(id) {
            self.0.insert(id.to_owned(), KnownRecord { missed: 0, missed_since: None, ..entry.clone() });
        }
    }

    /// The same of a record of which this reading can't tell. `missed_at` is where it may well be gone.
    pub fn hold(&mut self, id: &str, known: &Self, missed_at: Option<Millis>) {
        if let Some(entry) = known.0.get(id) {
            let missed_since = entry.missed_since.or(missed_at);
            self.0.insert(id.to_owned(), KnownRecord { missed_since, ..entry.clone() });
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

    /// What a line says that was stored `at` an instant: this is the record now, or it is gone.
    pub fn apply(&mut self, id: &str, line: &str, volatile: &[FieldPath], at: Millis) {
        if is_tombstone(line) {
            self.remove(id);
        } else {
            self.replace(id, Version::of(line, volatile, at), None);
        }
    }

    /// After a reading that was not whole: what it saw is known, and nothing is missed.
    #[must_use]
    pub fn updated_with(mut self, seen: Self) -> Self {
        self.0.extend(seen.0);
        self
    }

    /// After a whole reading `at` an instant that saw `seen`: what it didn't see is missed once more. Answers those that
    /// were missed twice, and so are gone.
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

    /// Reads the lines of such an object; none where one is not a record's.
    pub fn of_lines(lines: &[String]) -> Option<Self> {
        lines.iter().map(|line| Self::entry(line)).collect::<Option<_>>().map(Self)
    }

    /// A line a record.
    pub fn packed(&self) -> Packed {
        let mut lines = Packer::new(&Packing::default());
        for (id, KnownRecord { seen, missed, missed_since, began, asked }) in &self.0 {
            let mut steady: Vec<_> =
                seen.iter().map(|version| version.steady.map(|(steady, at)| (hex_of(steady), at))).collect();
            if steady.iter().all(Option::is_none) {
                steady.clear();
            }
            let seen = seen.iter().map(|version| hex_of(version.full)).collect();
            let (id, missed, missed_since, began) = (id.clone(), *missed, *missed_since, *began);
            let asked = asked.map(|asked| (hex_of(asked.of), asked.at));
            let line = Line { id, seen, steady, missed, missed_since, began, asked };
            lines.push(&serde_json::to_string(&line).unwrap_or_default());
        }
        lines.finish()
    }

    fn entry(line: &str) -> Option<(String, KnownRecord)> {
        let Line { id, seen, steady, missed, missed_since, began, asked } = serde_json::from_str(line).ok()?;
        let mut steady = steady.into_iter();
        let version = |full: &String| {
            let steady = match steady.next().flatten() {
                Some((steady, at)) => Some((of_hex(&steady)?, at)),
                None => None,
            };
            Some(Version { full: of_hex(full)?, steady })
        };
        let seen = seen.iter().map(version).collect::<Option<_>>()?;
        let asked = match asked {
            Some((of, at)) => Some(Asked { of: of_hex(&of)?, at }),
            None => None,
        };
        Some((id, KnownRecord { seen, missed, missed_since, began, asked }))
    }
}

fn hex_of(fingerprint: Fingerprint) -> String {
    format!("{:032x}", fingerprint.0)
}

fn of_hex(hex: &str) -> Option<Fingerprint> {
    u128::from_str_radix(hex, 16).ok().map(Fingerprint)
}

fn is_tombstone(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|record| record.get("_deleted") == Some(&Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::MILLISECOND;

    const NOW: Millis = Millis(TimeDelta::days(40).num_milliseconds());

    fn version(record: u128) -> Version {
        Version { full: Fingerprint(record), steady: None }
    }

    fn known(ids: &[(&str, u128)]) -> Known {
        let mut known = Known::default();
        for (id, record) in ids {
            known.add(id, version(*record));
        }
        known
    }

    fn is_stored(known: &Known, id: &str, line: &str, volatile: &[FieldPath], at: Millis) -> bool {
        known.stored(id, line, &Version::of(line, volatile, at)).is_some()
    }

    #[test]
    fn a_record_is_gone_after_two_whole_readings_without_it() {
        let (once, gone) = known(&[("a", 1), ("b", 2)]).after_whole_reading(known(&[("a", 1)]), NOW);
        assert!(gone.is_empty());
        let (twice, gone) = once.after_whole_reading(known(&[("a", 1)]), NOW + TimeDelta::milliseconds(5));
        assert_eq!(gone, [Missing { id: "b".into(), since: NOW }]);
        assert!(twice.has_id("b"), "kept until its tombstone is stored");
        let (back, gone) = once.after_whole_reading(known(&[("a", 1), ("b", 2)]), NOW + TimeDelta::milliseconds(5));
        assert!(gone.is_empty());
        assert_eq!(back, known(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn a_fifth_of_a_list_may_go_at_once_or_one_alone_and_more_once_it_has_lasted_a_day() {
        let missing = |count: usize, since: Millis| -> Vec<Missing> {
            (0..count).map(|id| Missing { id: id.to_string(), since }).collect()
        };
        let judged = |gone: usize, known: usize, since: Millis| {
            let Gone { believed, doubted } = Gone::of(missing(gone, since), known, NOW);
            (believed.len(), doubted)
        };
        assert_eq!(judged(20, 100, NOW), (20, 0));
        assert_eq!(judged(21, 100, NOW), (0, 21));
        assert_eq!(judged(1, 2, NOW), (1, 0));
        assert_eq!(judged(60, 100, NOW + MILLISECOND - DAY), (0, 60));
        assert_eq!(judged(60, 100, NOW - DAY), (60, 0));
    }

    #[test]
    fn what_a_reading_cannot_tell_of_is_missed_no_more_and_no_less() {
        let (once, _) = known(&[("a", 1), ("b", 2)]).after_whole_reading(known(&[("a", 1)]), NOW);
        let mut seen = known(&[("a", 1)]);
        seen.hold("b", &once, None);
        let (held, gone) = once.after_whole_reading(seen, NOW + TimeDelta::milliseconds(5));
        assert!(gone.is_empty());
        assert_eq!(held, once);
        let mut seen = Known::default();
        seen.hold("a", &held, Some(NOW + TimeDelta::milliseconds(7)));
        assert_eq!((seen.missed_since("a"), seen.is_shown("a")), (Some(NOW + TimeDelta::milliseconds(7)), false));
    }

    #[test]
    fn two_records_under_one_id_are_both_known() {
        let both = known(&[("a", 1), ("a", 2), ("a", 1)]);
        assert_eq!(both.0["a"].seen, [version(1), version(2)]);
        assert_eq!(both.count(), 1);
    }

    #[test]
    fn a_record_that_changes_back_has_changed() {
        let mut known = Known::default();
        known.replace("a", Version::of("{}", &[], NOW), None);
        known.replace("a", Version::of(r#"{"x":1}"#, &[], NOW), None);
        assert!(!is_stored(&known, "a", "{}", &[], NOW));
    }

    #[test]
    fn what_is_still_shown_is_not_forgotten_nor_is_what_stands_below_it() {
        let mut known = Known::default();
        for id in ["a", r#"["a","1"]"#, r#"["a","2"]"#, r#"["ab","1"]"#, "ab"] {
            known.replace(id, version(1), Some(NOW - DAY));
        }
        known.keep_from("a", r#"["a","#, NOW - TimeDelta::days(2), NOW);
        assert!(known.0.values().all(|entry| entry.began == Some(NOW - DAY)), "it is young enough");
        known.keep_from("a", r#"["a","#, NOW, NOW);
        known.forget_before(NOW);
        assert_eq!(known.ids().collect::<Vec<_>>(), [r#"["a","1"]"#, r#"["a","2"]"#, "a"]);
    }

    #[test]
    fn what_a_stored_line_says_is_known() {
        let mut known = known(&[("4\"2", 1), ("43", 1)]);
        known.apply("4\"2", r#"{"userId":"4\"2","_deleted":true,"_deletedAt":"1970-01-01T00:00:00.000Z"}"#, &[], NOW);
        known.apply("43", r#"{"userId":"43","active":false}"#, &[], NOW);
        assert!(!known.has_id("4\"2"));
        assert!(is_stored(&known, "43", r#"{"active":false,"userId":"43"}"#, &[], NOW), "in whatever order");
        assert!(!is_stored(&known, "43", r#"{"active":true,"userId":"43"}"#, &[], NOW));
    }

    #[test]
    fn what_was_known_by_its_bytes_is_known_by_what_it_says_from_now_on() {
        let line = r#"{"b":1,"a":2}"#;
        let mut known = Known::default();
        known.replace("x", Version { full: Fingerprint::of(line.as_bytes()), steady: None }, None);
        let stored = known.stored("x", line, &Version::of(line, &[], NOW)).expect("known");
        assert_eq!(stored, Version::of(r#"{"a":2,"b":1}"#, &[], NOW));
    }

    #[test]
    fn what_only_moves_is_stored_once_a_day() {
        let volatile = [vec!["seen".to_owned()]];
        let mut known = Known::default();
        known.replace("x", Version::of(r#"{"a":1,"seen":1}"#, &volatile, NOW), None);
        let moved = r#"{"seen":2,"a":1}"#;
        let stored =
            known.stored("x", moved, &Version::of(moved, &volatile, NOW + DAY - MILLISECOND)).expect("no change");
        assert_eq!(stored, Version::of(r#"{"a":1,"seen":1}"#, &volatile, NOW), "what is stored, and when");
        assert!(!is_stored(&known, "x", moved, &volatile, NOW + DAY));
        assert!(
            !is_stored(&known, "x", r#"{"seen":2,"a":3}"#, &volatile, NOW + MILLISECOND),
            "a change is stored at once"
        );
        assert!(!is_stored(&known, "x", moved, &[], NOW + MILLISECOND), "and so is all where nothing is volatile");
    }

    #[test]
    fn what_was_asked_for_is_asked_for_again_once_the_list_shows_another_record() {
        let mut known = known(&[("a", 1), ("b", 1)]);
        known.note_asked("a", NOW);
        assert_eq!((known.asked_at("a"), known.asked_at("b"), known.asked_at("c")), (Some(NOW), None, None));
        let shows = |record| {
            let mut seen = Known::default();
            seen.add("a", version(record));
            seen.keep_asked("a", &known);
            seen
        };
        assert_eq!((shows(1).asked_at("a"), shows(2).asked_at("a")), (Some(NOW), None));
        let mut seen = shows(2);
        seen.note_asked("a", NOW + TimeDelta::milliseconds(5));
        assert_eq!(seen.asked_at("a"), Some(NOW + TimeDelta::milliseconds(5)));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = r#"{"id":"a","seen":["000000000000000000000000000000ff"],"missed":1}"#;
        let (id, entry) = Known::entry(line).expect("a line");
        let expected = KnownRecord { seen: vec![version(255)], missed: 1, ..KnownRecord::default() };
        assert_eq!((id.as_str(), entry), ("a", expected));
        assert_eq!(Known::entry(r#"{"id":"a","seen":["xyz"]}"#), None);
        let mut known = known(&[("a", 1), ("a", 2)]);
        known.add("a", Version { full: Fingerprint(3), steady: Some((Fingerprint(4), NOW)) });
        known.hold("a", &known.clone(), Some(NOW));
        known.note_asked("a", NOW);
        let lines = crate::core::ndjson::lines(&known.packed().gzip).expect("gzip");
        assert_eq!(Known::of_lines(&lines), Some(known));
    }
}
