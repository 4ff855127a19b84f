//! A pass over all lists of an inventory, as far as a run came with it.

use std::collections::BTreeSet;

use super::key::{Member, with_member};
use crate::collect::compared::{Record, Snapshot};
use crate::core::checkpoint::Pass;
use crate::core::known::Known;
use crate::core::round::Judged;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Part};

pub struct PassReading {
    /// With what was seen on the pages so far, this run's and those of the runs before it.
    pub snapshot: Snapshot,
    pub pass: Pass,
    /// What answered, and what failed.
    pub judged: Judged,
    /// Lists that this reading couldn't find: the part's name, and the record whose list it is.
    pub not_found: BTreeSet<(&'static str, String)>,
}

/// What came of a list.
pub struct Whole {
    pub rows: u64,
    pub total: Option<u64>,
    /// What it doesn't show isn't there. A record that was set aside, or is hidden, could be any of those missing.
    pub is_exact: bool,
}

impl PassReading {
    pub fn new(snapshot: Snapshot, pass: Pass) -> Self {
        Self { snapshot, pass, judged: Judged::default(), not_found: BTreeSet::new() }
    }

    pub fn note(&mut self, whole: &Whole) {
        self.pass.rows += whole.rows;
        self.pass.counted = self.pass.counted.zip(whole.total).map(|(sum, total)| sum + total);
        self.pass.is_partial |= !whole.is_exact;
    }

    /// A record, as it is stored.
    pub fn take(&mut self, key: &str, line: &str, is_index: bool) {
        self.snapshot.take(&Record { key, line, began: None, is_index });
    }

    pub fn seen(&mut self) -> &mut Known {
        self.snapshot.seen.get_or_insert_default()
    }

    /// What is known, and what was seen.
    pub fn take_compared(&mut self) -> (Known, Known) {
        (std::mem::take(&mut self.snapshot.known), std::mem::take(self.seen()))
    }

    pub fn knows(&mut self, key: &str) -> bool {
        self.snapshot.known.has_id(key) || self.seen().has_id(key)
    }

    /// A record that never changes is still there.
    pub fn keep(&mut self, key: &str) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        seen.get_or_insert_default().keep(key, known);
    }

    /// The whole of a record was asked for, and answered.
    pub fn note_asked(&mut self, id: &str, at: Millis) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        match seen.as_mut().filter(|seen| seen.has_id(id)) {
            Some(seen) => seen.note_asked(id, at),
            None => known.note_asked(id, at),
        }
    }

    /// The list is read once more: what it showed will be stored, and may have changed back by now.
    pub fn forget_seen(&mut self, key: &str) {
        let Snapshot { known, seen, .. } = &mut self.snapshot;
        known.take_over(key, seen.get_or_insert_default());
    }

    /// The ids on a list that stands by itself, as far as it was read.
    pub fn ids_of(&self, facts: &'static Inventory, part: &Part) -> impl Iterator<Item = String> {
        self.snapshot.seen.iter().flat_map(Known::ids).filter_map(move |key| {
            let id = |member: Member<'_>| std::ptr::eq(member.part, part).then(|| member.id.to_owned());
            with_member(facts, key, id).flatten()
        })
    }
}
