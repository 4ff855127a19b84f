//! The lists that a whole pass can't judge: what they lack may still be on them. They are stuck, or have new rows without an id
//! of their own (set aside, or hidden by another of the same id), each of which may be a known record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::key::{Member, list_name, with_member};
use crate::core::known::Known;
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::Millis;
use crate::incydr::facts::Inventory;

/// Numbers of rows or records, by the list's name, for example `members of 42`.
pub type ByList = BTreeMap<String, u64>;

#[derive(Default)]
pub struct StuckLists {
    /// By their names. `members` stands for the members of every record.
    stuck: BTreeSet<String>,
    nameless: BTreeSet<String>,
    /// For example `2 of members of 42 (1 row)`: more records are lacking than there are new rows without an id.
    doubts: Vec<String>,
}

impl StuckLists {
    pub fn of(stuck: &StuckList) -> Self {
        let name = |what: &StuckItem| match what {
            StuckItem::List { list, id: Some(id) } => Some(format!("{list} of {id}")),
            StuckItem::List { list, id: None } => Some(list.clone()),
            _ => None,
        };
        Self { stuck: stuck.iter().filter_map(|stuck| name(&stuck.what)).collect(), ..Self::default() }
    }

    /// Adds the lists that have more rows without an id of their own than `before`, when they lacked nothing.
    pub fn add_nameless(&mut self, before: &ByList, now: &ByList, lacking: &ByList) {
        for (list, rows) in now {
            let new = rows.saturating_sub(number(before, list));
            if new > 0 {
                self.nameless.insert(list.clone());
            }
            if new > 0 && number(lacking, list) > new {
                self.doubts.push(format!("{} of {list} ({rows} such rows)", number(lacking, list)));
            }
        }
    }

    pub fn is_any_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// The numbers of rows without an id to compare the next pass with. They grow only while nothing is lacking.
    pub fn nameless_after(&self, before: &ByList, now: &ByList, lacking: &ByList) -> ByList {
        let after = |list: &String| {
            let is_kept = self.stuck.contains(list) || self.nameless.contains(list) && number(lacking, list) > 0;
            (list.clone(), number(if is_kept { before } else { now }, list))
        };
        before.keys().chain(now.keys()).map(after).filter(|(_, rows)| *rows > 0).collect()
    }

    /// The error, if records are gone for certain, but nobody knows which.
    pub fn doubt(&self, stream: impl Display) -> Option<String> {
        (!self.doubts.is_empty()).then(|| {
            format!(
                "known records are missing: {}; more than there are new rows without an id of their own, each of which may be one of them, so none counts as deleted; new and changed records are stored. They count as deleted once these rows can be read, or at once by {{\"action\": \"restart\", \"streams\": [\"{stream}\"], \"accept_deletions\": true}}",
                self.doubts.join(", and ")
            )
        })
    }

    /// Copies from `known` to `seen` the records of these lists that the pass has not seen, and those on the lists of such
    /// records: they don't count as missed once more. If their list can't be found, notes since when.
    pub fn keep(
        &self,
        facts: &'static Inventory,
        known: &Known,
        seen: &mut Known,
        not_found: &BTreeSet<(&'static str, String)>,
    ) {
        if self.stuck.is_empty() && self.nameless.is_empty() {
            return;
        }
        let now = Millis::now();
        let missing: Vec<&str> = known.ids().filter(|key| !seen.has_id(key)).collect();
        let is_first = |member: &Member<'_>| std::ptr::eq(member.part, &raw const facts.parts[0]);
        let held_parent = |key: &str| {
            let parent = |member: Member<'_>| (is_first(&member) && self.holds(member)).then(|| member.id.to_owned());
            with_member(facts, key, parent).flatten()
        };
        let held_parents: BTreeSet<String> = missing.iter().filter_map(|key| held_parent(key)).collect();

        let is_held = |member: Member<'_>| {
            self.holds(member) || member.parent.is_some_and(|parent| held_parents.contains(parent))
        };
        let is_not_found = |member: Member<'_>| {
            member.parent.is_some_and(|parent| not_found.contains(&(member.part.name, parent.to_owned())))
        };
        for key in missing {
            if with_member(facts, key, is_held) == Some(true) {
                let is_missed = with_member(facts, key, is_not_found) == Some(true);
                seen.hold(key, known, is_missed.then_some(now));
            }
        }
    }

    fn holds(&self, member: Member<'_>) -> bool {
        let name = list_name(member.part, member.parent);
        self.stuck.contains(&name) || self.stuck.contains(member.part.name) || self.nameless.contains(&name)
    }
}

/// The known records that the pass has not seen.
pub fn lacking(facts: &'static Inventory, known: &Known, seen: &Known) -> ByList {
    let mut lacking = ByList::new();
    for key in known.ids().filter(|key| !seen.has_id(key)) {
        if let Some(list) = with_member(facts, key, |member| list_name(member.part, member.parent)) {
            *lacking.entry(list).or_default() += 1;
        }
    }
    lacking
}

fn number(of: &ByList, list: &str) -> u64 {
    of.get(list).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_list(rows: u64) -> ByList {
        ByList::from([("users".to_owned(), rows)])
    }

    /// Whether `users` is held, whether that is an error, and the number that the next pass is compared with.
    fn judged(before: u64, now: u64, lacking: u64) -> (bool, bool, u64) {
        let (before, now, lacking) = (by_list(before), by_list(now), by_list(lacking));
        let mut held = StuckLists::default();
        held.add_nameless(&before, &now, &lacking);
        let after = number(&held.nameless_after(&before, &now, &lacking), "users");
        (!held.nameless.is_empty(), held.doubt("users").is_some(), after)
    }

    #[test]
    fn a_row_that_was_there_when_nothing_was_lacking_is_none_of_the_missing() {
        assert_eq!(judged(0, 1, 0), (true, false, 1));
        assert_eq!(judged(1, 1, 1), (false, false, 1), "the missing one is gone");
        assert_eq!(judged(2, 1, 3), (false, false, 1));
    }

    #[test]
    fn a_new_row_may_be_one_that_is_missing_and_if_more_are_missing_that_is_an_error() {
        assert_eq!(judged(0, 1, 1), (true, false, 0));
        assert_eq!(judged(0, 1, 2), (true, true, 0));
        assert_eq!(judged(1, 3, 2), (true, false, 1));
    }
}
