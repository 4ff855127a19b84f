//! A pass over all lists of an inventory, as far as it was read.

use std::collections::{BTreeSet, HashSet};

use super::key::{Member, begin_of_keys, with_member};
use super::unjudged::ByList;
use crate::collect::compared::{Record, Snapshot};
use crate::core::checkpoint::{Pass, UnfinishedSublist};
use crate::core::known::Known;
use crate::core::round::Judged;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Part};

pub struct PassReading {
    /// The time at which this run began to read it, by our own clock.
    pub began: Millis,
    /// Contains the records seen so far, by this run and earlier ones.
    pub snapshot: Snapshot,
    pub pass: Pass,
    /// By the list's name, the number of its nameless rows when it last lacked nothing.
    nameless_before: ByList,
    /// The rows that this run set aside.
    pub unreadable: u64,
    /// The lists and records that answered, and those that failed.
    pub judged: Judged,
    /// Lists that this pass couldn't find: the part's name, and the record that the list belongs to.
    pub not_found: BTreeSet<(&'static str, String)>,
}

/// A list that was read to its end.
pub struct FinishedList {
    /// Its name, for example `members of 42`.
    pub list: String,
    pub rows: u64,
    /// The rows that were set aside.
    pub unreadable: u64,
    pub total: Option<u64>,
    /// The number of rows that were set aside or are hidden by another of the same id: each may be any record that the
    /// list lacks. None if that is not known.
    pub nameless: Option<u64>,
}

impl PassReading {
    pub fn new(snapshot: Snapshot, pass: Pass, nameless_before: ByList) -> Self {
        Self {
            began: Millis::now(),
            unreadable: 0,
            snapshot,
            pass,
            nameless_before,
            judged: Judged::default(),
            not_found: BTreeSet::new(),
        }
    }

    /// Notes a list that was read to its end.
    pub fn note(&mut self, whole: &FinishedList) {
        self.pass.rows += whole.rows;
        self.unreadable += whole.unreadable;
        self.pass.counted = self.pass.counted.zip(whole.total).map(|(sum, total)| sum + total);
        match whole.nameless {
            // A zero says that the list was read, as it may have been by an earlier run of this pass.
            Some(0) if !self.nameless_before.contains_key(&whole.list) => drop(self.pass.nameless.remove(&whole.list)),
            Some(rows) => drop(self.pass.nameless.insert(whole.list.clone(), rows)),
            None => self.pass.is_partial = true,
        }
    }

    /// Takes a record, in the form in which it is stored.
    pub fn take(&mut self, key: &str, line: &str, is_index: bool) {
        self.snapshot.take(&Record { key, line, began: None, is_index });
    }

    pub fn seen(&mut self) -> &mut Known {
        self.snapshot.seen.get_or_insert_default()
    }

    /// Takes out the known records and the seen ones.
    pub fn take_compared(&mut self) -> (Known, Known) {
        (std::mem::take(&mut self.snapshot.known), std::mem::take(self.seen()))
    }

    pub fn knows(&mut self, key: &str) -> bool {
        self.snapshot.known.has_id(key) || self.seen().has_id(key)
    }

    /// Notes that a record still exists, though it isn't read. A change that an earlier run of this pass saw is kept.
    pub fn keep(&mut self, key: &str) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        let seen = seen.get_or_insert_default();
        if !seen.has_id(key) {
            seen.keep(key, known);
        }
    }

    /// Notes when the whole of a record was last read.
    pub fn note_requested(&mut self, id: &str, at: Millis) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        match seen.as_mut().filter(|seen| seen.has_id(id)) {
            Some(seen) => seen.note_requested(id, at),
            None => known.note_requested(id, at),
        }
    }

    /// Notes the end date in a record that was taken.
    pub fn note_end(&mut self, key: &str, end: String) {
        self.seen().note_end(key, end);
    }

    /// Has the whole of a record requested again.
    pub fn forget_request(&mut self, id: &str) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        known.forget_request(id);
        if let Some(seen) = seen {
            seen.forget_request(id);
        }
    }

    /// Called before a list is read from its beginning. An earlier reading of this pass may have been cut off.
    pub fn forget_list(&mut self, facts: &'static Inventory, part: &Part, parent: Option<&str>) {
        let is_first = std::ptr::eq(part, &raw const facts.parts[0]);
        let keys: Vec<String> = if is_first {
            self.ids_of(facts, part).collect()
        } else {
            self.seen().ids_below(&begin_of_keys(part, parent)).cloned().collect()
        };
        for key in keys {
            self.forget_seen(&key);
        }
    }

    /// The place in a list of one record from which to continue, and the ids seen before it. None if no list is under
    /// way.
    pub fn list_under_way(
        &self,
        facts: &'static Inventory,
        part: &Part,
    ) -> Option<(UnfinishedSublist, HashSet<String>)> {
        let place = self.pass.list.clone()?;
        let begin = begin_of_keys(part, Some(&place.parent));
        let id = |key: &String| with_member(facts, key, |member| member.id.to_owned());
        let ids = self.snapshot.seen.iter().flat_map(|seen| seen.ids_below(&begin)).filter_map(id).collect();
        Some((place, ids))
    }

    /// Called before a list is read again in the same pass. Moves the record from the seen to the known ones: the
    /// version that was seen will be stored, so a change back to the version before must be stored too.
    pub fn forget_seen(&mut self, key: &str) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        known.take_over(key, seen.get_or_insert_default());
    }

    /// Returns the ids seen on a list that belongs to no record.
    pub fn ids_of(&self, facts: &'static Inventory, part: &Part) -> impl Iterator<Item = String> {
        self.snapshot.seen.iter().flat_map(Known::ids).filter_map(move |key| {
            let id = |member: Member<'_>| std::ptr::eq(member.part, part).then(|| member.id.to_owned());
            with_member(facts, key, id).flatten()
        })
    }
}
