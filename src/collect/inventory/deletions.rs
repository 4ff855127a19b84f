//! Decides which of the missed records count as deleted, list by list.

use std::collections::{BTreeMap, BTreeSet};

use super::key::{Member, with_member};
use crate::core::known::{BELIEVED_AFTER, Gone, Known, Missing};
use crate::core::time::Millis;
use crate::incydr::facts::Inventory;

/// A list: the part's name, and the record that it belongs to.
type ListOf = (&'static str, Option<String>);

#[derive(Debug, Default)]
pub struct Deletions {
    pub believed: Vec<String>,
    /// Lists with too many deletions at once: the list, how many records would be deleted, and how many are known.
    pub doubted: Vec<(ListOf, usize, usize)>,
}

impl Deletions {
    /// `known` are the known records before the reading, `next` those after it. `accept` means that a person has
    /// confirmed the deletions.
    pub fn of(
        facts: &'static Inventory,
        known: &Known,
        next: &Known,
        missing: Vec<Missing>,
        now: Millis,
        accept: bool,
    ) -> Self {
        let mut deletions = Self::default();
        if accept {
            deletions.believed = missing.into_iter().map(|missing| missing.id).collect();
            return deletions;
        }

        let (mut lists, mut of_gone) = (BTreeMap::<ListOf, Vec<Missing>>::new(), Vec::<(String, Missing)>::new());
        for missing in missing {
            let Some(list) = list_of(facts, &missing.id) else { continue };
            match list.1.clone().filter(|parent| !next.is_shown(parent)) {
                Some(parent) => of_gone.push((parent, missing)),
                None => lists.entry(list).or_default().push(missing),
            }
        }

        let sizes = sizes(facts, known, lists.keys());
        for (list, missing) in lists {
            let size = sizes.get(&list).copied().unwrap_or(0);
            let gone = Gone::of(missing, size, now);
            if gone.doubted > 0 {
                deletions.doubted.push((list, gone.doubted, size));
            }
            deletions.believed.extend(gone.believed);
        }

        // Records on the list of a deleted record are deleted with it, and not before.
        let gone: BTreeSet<&String> = deletions.believed.iter().collect();
        let with_owner: Vec<String> = of_gone
            .into_iter()
            .filter(|(parent, _)| gone.contains(parent) || !next.has_id(parent))
            .map(|(_, missing)| missing.id)
            .collect();
        deletions.believed.extend(with_owner);
        deletions
    }

    /// For example `60 of 100 known users would be gone at once, so …`. None if no list is doubted.
    pub fn doubt_message(&self, stream: impl std::fmt::Display) -> Option<String> {
        let told: Vec<String> = self
            .doubted
            .iter()
            .map(|((name, parent), gone, size)| match parent {
                Some(parent) => format!("{gone} of {size} known {name} of {parent}"),
                None => format!("{gone} of {size} known {name}"),
            })
            .collect();
        (!told.is_empty()).then(|| {
            format!(
                "{} would be gone at once, so none of them counts as deleted; new and changed records are stored. They count as deleted once all readings of 24 hours agree, or at once by {{\"action\": \"restart\", \"streams\": [\"{stream}\"], \"accept_deletions\": true}}",
                told.join(", and ")
            )
        })
    }
}

/// Returns how many records of a list are known, and since when all of them are missed. None if any was seen since.
/// Called for a list that can't be found.
pub fn missed_since(
    facts: &'static Inventory,
    known: &Known,
    name: &str,
    parent: Option<&str>,
) -> (usize, Option<Millis>) {
    let mut since = Some(Millis(i64::MIN));
    let mut count = 0;
    for key in
        known.ids().filter(|key| list_of(facts, key).is_some_and(|list| list.0 == name && list.1.as_deref() == parent))
    {
        count += 1;
        since = since.zip(known.missed_since(key)).map(|(latest, missed)| latest.max(missed));
    }
    (count, since)
}

/// Whether records that have been missed since then count as deleted now.
pub fn is_believed(since: Millis, now: Millis) -> bool {
    since + BELIEVED_AFTER <= now
}

fn list_of(facts: &'static Inventory, key: &str) -> Option<ListOf> {
    with_member(facts, key, |member: Member<'_>| (member.part.name, member.parent.map(str::to_owned)))
}

fn sizes<'a>(
    facts: &'static Inventory,
    known: &Known,
    lists: impl Iterator<Item = &'a ListOf>,
) -> BTreeMap<ListOf, usize> {
    let mut sizes: BTreeMap<ListOf, usize> = lists.map(|list| (list.clone(), 0)).collect();
    for list in known.ids().filter_map(|key| list_of(facts, key)).filter(|_| !sizes.is_empty()).collect::<Vec<_>>() {
        sizes.entry(list).and_modify(|size| *size += 1);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::core::known::RecordVersion;
    use crate::core::stream::Stream;
    use crate::incydr::facts::Kind;

    const THEN: Millis = Millis(TimeDelta::days(40).num_milliseconds());

    /// 10 watchlists with 20 members each.
    fn watchlists() -> (&'static Inventory, Vec<String>) {
        let Kind::Inventory(facts) = Stream::Watchlists.kind() else { panic!("an inventory") };
        let mut keys: Vec<String> = (0..10).map(|n| format!("w{n}")).collect();
        for n in 0..10 {
            let parent = format!("w{n}");
            let key =
                |id: usize| Member { part: &facts.parts[1], parent: Some(&parent), id: &id.to_string() }.key(facts);
            keys.extend((0..20).map(key));
        }
        (facts, keys)
    }

    fn known_of<'a>(keys: impl Iterator<Item = &'a String>) -> Known {
        let mut known = Known::default();
        keys.for_each(|key| known.add(key, RecordVersion::of("{}", &[], THEN)));
        known
    }

    /// Makes two readings without some records, `hours` apart. Returns how many deletions are believed, and the message
    /// about the others.
    fn judged(is_gone: impl Fn(&str) -> bool, hours: i64, accept: bool) -> (usize, Option<String>) {
        let (facts, keys) = watchlists();
        let seen = || known_of(keys.iter().filter(|key| !is_gone(key)));
        let now = THEN + TimeDelta::hours(hours);
        let (once, _) = known_of(keys.iter()).after_whole_reading(seen(), THEN);
        let (twice, missing) = once.after_whole_reading(seen(), now);
        let deletions = Deletions::of(facts, &once, &twice, missing, now, accept);
        (deletions.believed.len(), deletions.doubt_message("watchlists"))
    }

    #[test]
    fn a_big_watchlist_that_is_deleted_is_no_mass_deletion() {
        assert_eq!(judged(|key| key == "w3" || key.contains("\"w3\""), 1, false), (21, None));
    }

    #[test]
    fn each_list_is_judged_by_itself() {
        let (believed, told) = judged(|key| key.contains("\"w3\"") || key.contains("\"w4\",\"7\""), 1, false);
        assert_eq!(believed, 1, "one member of another list may go");
        assert!(told.expect("doubted").starts_with("20 of 20 known members of w3 would be gone"));
    }

    #[test]
    fn what_is_much_is_believed_after_a_day_or_when_a_person_says_so() {
        let much = |key: &str| key.starts_with('w') && key != "w1" || key.contains("\"w0\"");
        let (believed, told) = judged(much, 23, false);
        assert_eq!(believed, 0, "members of a watchlist in doubt stay");
        assert!(told.expect("doubted").starts_with("9 of 10 known watchlists would be gone"));
        assert_eq!(judged(much, 24, false), (29, None));
        assert_eq!(judged(much, 1, true), (29, None));
    }
}
