//! The keys by which the records of an inventory are distinguished.

use serde_json::Value;

use crate::core::ndjson;
use crate::core::stuck::StuckItem;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Part};

/// A record of an inventory: its part, the record that its list belongs to, and its id.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub part: &'static Part,
    pub parent: Option<&'a str>,
    pub id: &'a str,
}

impl Member<'_> {
    /// The key among the known records. For a record of the first part this is its id.
    pub fn key(self, facts: &Inventory) -> String {
        if std::ptr::eq(self.part, &raw const facts.parts[0]) {
            return self.id.to_owned();
        }
        format!("{}{}]", begin_of_keys(self.part, self.parent), Value::from(self.id))
    }

    /// Returns the line as it is stored. A record on the list of another one gets that one's id:
    /// `{"_list":"members","_watchlistId":"…",…}`. `_list` is left out if only one list is stored.
    pub fn line(self, facts: &Inventory, line: String) -> String {
        let (Some(key), Some(parent)) = (self.part.parent, self.parent) else { return line };
        // The record contains the id itself.
        if self.part.every.is_some() {
            return line;
        }
        let (parent, rest) = (Value::from(parent), line.trim_start_matches('{'));
        if is_only_one(facts) {
            return format!(r#"{{"{key}":{parent},{rest}"#);
        }
        format!(r#"{{"_list":{},"{key}":{parent},{rest}"#, Value::from(self.part.name))
    }

    /// The tombstone: the id, and when the record was found deleted.
    pub fn tombstone(self, facts: &Inventory, at: Millis) -> String {
        let (name, id) = (Value::from(self.part.list.id()), Value::from(self.id));
        self.line(facts, format!(r#"{{{name}:{id},"_deleted":true,"_deletedAt":"{at}"}}"#))
    }
}

/// The beginning of the keys of one list, other than the first.
pub fn begin_of_keys(part: &Part, parent: Option<&str>) -> String {
    format!("[{},{},", Value::from(part.name), Value::from(parent))
}

/// Whether only one of the lists is stored.
fn is_only_one(facts: &Inventory) -> bool {
    facts.parts.iter().filter(|part| !part.is_index).count() == 1
}

/// For example `users`, or `members of 42`.
pub fn list_name(part: &Part, parent: Option<&str>) -> String {
    let name = part.name;
    parent.map_or_else(|| name.to_owned(), |parent| format!("{name} of {parent}"))
}

/// Splits a key into part and ids, and passes them to `look`. None if the inventory has no such part.
pub fn with_member<T>(facts: &'static Inventory, key: &str, look: impl FnOnce(Member<'_>) -> T) -> Option<T> {
    let named = serde_json::from_str::<(String, Option<String>, String)>(key).ok();
    let Some((name, parent, id)) = named else {
        return Some(look(Member { part: facts.parts.first()?, parent: None, id: key }));
    };
    let part = facts.parts.iter().find(|part| part.name == name)?;
    Some(look(Member { part, parent: parent.as_deref(), id: &id }))
}

/// Returns the key of a stored line. None if the line names no part, or has no id.
pub fn key_of(facts: &'static Inventory, line: &str) -> Option<String> {
    let id = |part: &Part| ndjson::field(line, part.stored_id());
    let list = ndjson::field(line, &["_list"]);
    let is_of = |part: &&Part| match &list {
        Some(name) => part.name == name,
        None => is_only_one(facts) && !part.is_index,
    };
    if let Some(part) = facts.parts.iter().filter(|part| part.parent.is_some()).find(is_of) {
        let parent = ndjson::field(line, &[part.parent?])?;
        return Some(Member { part, parent: Some(&parent), id: &id(part)? }.key(facts));
    }
    let part = facts.parts.iter().find(|part| part.parent.is_none() && !part.is_index && id(part).is_some())?;
    Some(Member { part, parent: None, id: &id(part)? }.key(facts))
}

/// The stuck list's item for a list that belongs to no record, or for the lists of this name of all records.
pub fn alone(part: &Part) -> StuckItem {
    StuckItem::List { list: part.name.to_owned(), id: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stream::Stream;
    use crate::incydr::facts::Kind;

    fn facts(stream: Stream) -> &'static Inventory {
        let Kind::Inventory(facts) = stream.kind() else { panic!("an inventory") };
        facts
    }

    #[test]
    fn a_record_of_a_list_carries_whose_list_it_is() {
        let facts = facts(Stream::Watchlists);
        let member = Member { part: &facts.parts[1], parent: Some("w\"1"), id: "4" };
        let line = member.line(facts, r#"{"addedTime":"x","actorId":"4"}"#.into());
        assert_eq!(line, r#"{"_list":"members","_watchlistId":"w\"1","addedTime":"x","actorId":"4"}"#);
        let gone = member.tombstone(facts, Millis(0));
        let expected = r#"{"_list":"members","_watchlistId":"w\"1","actorId":"4","_deleted":true,"_deletedAt":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(gone, expected);
        for line in [line, gone] {
            assert_eq!(key_of(facts, &line), Some(member.key(facts)));
        }
    }

    #[test]
    fn where_only_one_list_is_stored_its_name_is_left_out() {
        let facts = facts(Stream::CaseFileEvents);
        let member = Member { part: &facts.parts[1], parent: Some("7"), id: "e" };
        let line = member.line(facts, r#"{"event":{"id":"e"}}"#.into());
        assert_eq!(line, r#"{"_caseNumber":"7","event":{"id":"e"}}"#);
        assert_eq!(key_of(facts, &line), Some(member.key(facts)));
    }

    #[test]
    fn the_whole_of_a_record_is_stored_as_it_is() {
        let facts = facts(Stream::ActorProfiles);
        let member = Member { part: &facts.parts[1], parent: Some("4"), id: "4" };
        let line = r#"{"title":"x","actorId":"4"}"#;
        assert_eq!(member.line(facts, line.into()), line);
        let gone = member.tombstone(facts, Millis(0));
        assert_eq!(gone, r#"{"actorId":"4","_deleted":true,"_deletedAt":"1970-01-01T00:00:00.000Z"}"#);
        for line in [line, &gone] {
            assert_eq!(key_of(facts, line), Some(member.key(facts)));
        }
    }

    #[test]
    fn a_key_leads_back_to_its_record() {
        let facts = facts(Stream::LegalHold);
        for (part, parent, id) in [(0, None, "m"), (1, Some("m"), "u"), (2, None, "p"), (2, None, "[]")] {
            let member = Member { part: &facts.parts[part], parent, id };
            let found = with_member(facts, &member.key(facts), |found| {
                assert_eq!((found.part.name, found.parent, found.id), (facts.parts[part].name, parent, id));
            });
            assert!(found.is_some());
        }
    }

    #[test]
    fn records_that_stand_by_themselves_are_told_by_their_ids() {
        let facts = facts(Stream::LegalHold);
        assert_eq!(key_of(facts, r#"{"matterId":"m","policyId":"p"}"#).as_deref(), Some("m"));
        assert_eq!(key_of(facts, r#"{"policyId":"p"}"#).as_deref(), Some(r#"["policies",null,"p"]"#));
        assert_eq!(key_of(facts, r#"{"name":"x"}"#), None);
    }
}
