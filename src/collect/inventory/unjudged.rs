//! The lists that a whole pass can't judge: the records that they lack may still be on them. They are stuck, or have
//! new nameless rows: rows that were set aside, or are hidden by another of the same id. Each may be a known record
//! that is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::key::{Member, list_name, with_member};
use crate::core::known::Known;
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::Millis;
use crate::incydr::facts::Inventory;

/// Numbers of rows or records, by the list's name, for example `members of 42`.
pub type ByList = BTreeMap<String, u64>;

/// The rows and records that a pass found on each list, and the numbers of nameless rows with which it is compared.
pub struct Found<'a> {
    /// Nameless rows of each list when it last lacked no known record.
    pub nameless_before: &'a ByList,
    /// Those of the lists that were read. A list of `nameless_before` that is not among them was not read.
    pub nameless: &'a ByList,
    /// Known records that the pass has not seen.
    pub lacking: ByList,
    /// Records that it has seen, and nobody knew: a nameless row of before may be one of them.
    pub appeared: ByList,
}

#[derive(Default)]
pub struct UnjudgedLists {
    /// By their names. `members` stands for the members of every record.
    stuck: BTreeSet<String>,
    nameless: BTreeSet<String>,
    /// For example `2 of members of 42, where 1 such row is new`.
    doubts: Vec<String>,
}

impl Found<'_> {
    pub fn of<'a>(
        facts: &'static Inventory,
        known: &Known,
        seen: &Known,
        nameless_before: &'a ByList,
        nameless: &'a ByList,
    ) -> Found<'a> {
        let (lacking, appeared) = (by_list(facts, known, seen), by_list(facts, seen, known));
        Found { nameless_before, nameless, lacking, appeared }
    }

    /// The number of nameless rows that may be known records.
    fn new_nameless(&self, list: &str) -> u64 {
        let before = number(self.nameless_before, list).saturating_sub(number(&self.appeared, list));
        number(self.nameless, list).saturating_sub(before)
    }
}

impl UnjudgedLists {
    pub fn of(stuck: &StuckList) -> Self {
        let name = |what: &StuckItem| matches!(what, StuckItem::List { .. }).then(|| what.to_string());
        Self { stuck: stuck.iter().filter_map(|stuck| name(&stuck.what)).collect(), ..Self::default() }
    }

    /// Adds the lists with new nameless rows.
    pub fn add_nameless(&mut self, found: &Found<'_>) {
        for list in found.nameless.keys() {
            let (new, lacking) = (found.new_nameless(list), number(&found.lacking, list));
            if new > 0 {
                self.nameless.insert(list.clone());
                if lacking > new {
                    self.doubts
                        .push(format!("{lacking} known records of {list} are missing, and {new} such rows are new"));
                }
            }
        }
    }

    pub fn is_any_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// The numbers of nameless rows with which the next pass is compared. They grow only while nothing is lacking.
    pub fn nameless_after(&self, found: &Found<'_>) -> ByList {
        let after = |list: &String| {
            let is_kept = self.nameless.contains(list) && number(&found.lacking, list) > 0;
            let now = found.nameless.get(list).filter(|_| !is_kept).copied();
            (list.clone(), now.unwrap_or_else(|| number(found.nameless_before, list)))
        };
        let all = found.nameless_before.keys().chain(found.nameless.keys());
        all.map(after).filter(|(_, rows)| *rows > 0).collect()
    }

    /// The error, if records are gone for certain, but nobody knows which.
    pub fn doubt(&self, stream: impl Display) -> Option<String> {
        (!self.doubts.is_empty()).then(|| {
            format!(
                "rows that can't be read, or that another row of the same id hides, may be missing records, but more are missing: {}; so none counts as deleted, and new and changed records are stored. They count as deleted once these rows can be read, or at once by {{\"action\": \"restart\", \"streams\": [\"{stream}\"], \"accept_deletions\": true}}",
                self.doubts.join(", and ")
            )
        })
    }

    /// Copies from `known` to `seen` the records of these lists that the pass has not seen, and those on the lists of
    /// such records: they don't count as missed once more. If their list can't be found, notes since when.
    pub fn hold_records(
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
            let parent =
                |member: Member<'_>| (is_first(&member) && self.is_unjudged(member)).then(|| member.id.to_owned());
            with_member(facts, key, parent).flatten()
        };
        let held_parents: BTreeSet<String> = missing.iter().filter_map(|key| held_parent(key)).collect();

        let is_held = |member: Member<'_>| {
            self.is_unjudged(member) || member.parent.is_some_and(|parent| held_parents.contains(parent))
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

    fn is_unjudged(&self, member: Member<'_>) -> bool {
        let name = list_name(member.part, member.parent);
        self.stuck.contains(&name) || self.stuck.contains(member.part.name) || self.nameless.contains(&name)
    }
}

/// Counts, list by list, the records that `one` has and `other` has not.
fn by_list(facts: &'static Inventory, one: &Known, other: &Known) -> ByList {
    let mut by_list = ByList::new();
    for key in one.ids().filter(|key| !other.has_id(key)) {
        if let Some(list) = with_member(facts, key, |member| list_name(member.part, member.parent)) {
            *by_list.entry(list).or_default() += 1;
        }
    }
    by_list
}

fn number(of: &ByList, list: &str) -> u64 {
    of.get(list).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(rows: u64) -> ByList {
        by_name("users", rows)
    }

    fn by_name(list: &str, rows: u64) -> ByList {
        ByList::from([(list.to_owned(), rows)])
    }

    /// Whether `users` is unjudged, whether that is an error, and the number with which the next pass is compared.
    fn judged(before: u64, now: u64, lacking: u64, appeared: u64) -> (bool, bool, u64) {
        let (before, now) = (users(before), users(now));
        let found =
            Found { nameless_before: &before, nameless: &now, lacking: users(lacking), appeared: users(appeared) };
        let mut unjudged = UnjudgedLists::default();
        unjudged.add_nameless(&found);
        let after = number(&unjudged.nameless_after(&found), "users");
        (!unjudged.nameless.is_empty(), unjudged.doubt("users").is_some(), after)
    }

    #[test]
    fn a_row_that_was_there_when_nothing_was_lacking_is_none_of_the_missing() {
        assert_eq!(judged(0, 1, 0, 0), (true, false, 1));
        assert_eq!(judged(1, 1, 1, 0), (false, false, 1), "the missing one is gone");
        assert_eq!(judged(2, 1, 3, 0), (false, false, 1));
    }

    #[test]
    fn a_new_row_may_be_one_that_is_missing_and_if_more_are_missing_that_is_an_error() {
        assert_eq!(judged(0, 1, 1, 0), (true, false, 0));
        assert_eq!(judged(0, 1, 2, 0), (true, true, 0));
        assert_eq!(judged(1, 3, 2, 0), (true, false, 1));
        assert_eq!(
            judged(1, 1, 1, 1),
            (true, false, 1),
            "the row of before has its id now, and another one has lost its own"
        );
    }

    #[test]
    fn a_list_that_was_not_read_keeps_its_number() {
        let (before, now) = (by_name("members of 42", 1), ByList::new());
        let (lacking, appeared) = (ByList::new(), ByList::new());
        let found = Found { nameless_before: &before, nameless: &now, lacking, appeared };
        assert_eq!(UnjudgedLists::default().nameless_after(&found), before);
        let read = by_name("members of 42", 0);
        assert!(UnjudgedLists::default().nameless_after(&Found { nameless: &read, ..found }).is_empty());
    }
}
