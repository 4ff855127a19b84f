//! The actions: a closed set, with parsers that check each one's input.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::respond::fields::Fields;

/// The names that `ALLOWED_ACTIONS` and `NEEDS_APPROVAL` take. `case.close` and `case.archive` are `case.update` with
/// that status. They have names of their own because they can't be undone and must be allowed separately.
pub const NAMES: [&str; 35] = [
    "session.add_note",
    "session.set_state",
    "session.set_state_where",
    "case.create",
    "case.update",
    "case.close",
    "case.archive",
    "case.delete",
    "case.add_events",
    "case.remove_event",
    "watchlist.add",
    "watchlist.remove",
    "watchlist.exclude",
    "watchlist.unexclude",
    "actor.update",
    "leavers.sync",
    "user.deactivate",
    "user.activate",
    "agent.deactivate",
    "agent.activate",
    "legal_hold.add",
    "legal_hold.remove",
    "trust.add",
    "trust.update",
    "trust.delete",
    "rule.enable",
    "rule.disable",
    "case.list",
    "case.search",
    "case.get",
    "case.events",
    "session.get",
    "session.search",
    "session.events",
    "file_events.search",
];

/// The default: actions that take away evidence, protection or access, or that change many records at once.
pub const NEEDS_APPROVAL: &str = "session.set_state_where,case.close,case.archive,case.delete,case.remove_event,\
                                  user.deactivate,agent.deactivate,legal_hold.remove,trust.add,trust.update,\
                                  trust.delete,rule.disable";

/// From `OpenAPI`, except `CLOSED_TP_BENIGN`, which is in the SDK.
const STATES: [&str; 7] =
    ["OPEN", "IN_PROGRESS", "CLOSED", "CLOSED_TP", "CLOSED_TP_BENIGN", "CLOSED_FP", "OPEN_NEW_DATA"];
const STATUSES: [&str; 3] = ["OPEN", "CLOSED", "ARCHIVED"];
const TRUST_TYPES: [&str; 5] = ["ACCOUNT_NAME", "DOMAIN", "GIT_REPOSITORY_URI", "SLACK", "URL_PATH"];

/// From `OpenAPI`, `GET /v1/sessions`, except `type`, which is in the SDK.
const SESSION_FILTERS: [&str; 11] = [
    "actor_id",
    "on_or_after",
    "before",
    "has_alerts",
    "risk_indicators",
    "state",
    "severity",
    "rule_id",
    "watchlist_id",
    "content_inspection_status",
    "type",
];
const SESSION_PAGING: [&str; 4] = ["order_by", "sort_direction", "page_number", "page_size"];
/// From `OpenAPI`, `GET /v1/cases`.
const CASE_FILTERS: [&str; 8] =
    ["status", "assignee", "isAssigned", "name", "subject", "lastModifiedBy", "createdAt", "updatedAt"];
const CASE_PAGING: [&str; 4] = ["pgNum", "pgSize", "srtKey", "srtDir"];

/// The greatest length of a note (`OpenAPI`).
const NOTE: usize = 2_000;
/// The greatest length of an id, a name or an address.
const ID: usize = 256;

/// The list of a watchlist that the action changes: actors who are on it, or who are kept off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchlistPart {
    Included,
    Excluded,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    AddNote { session: String, content: String },
    SetState { sessions: Vec<String>, state: String },
    SetStateWhere { criteria: Vec<(String, String)>, state: String },
    CreateCase { fields: Map<String, Value> },
    UpdateCase { number: u64, changes: Map<String, Value> },
    DeleteCase { number: u64 },
    CaseEvents { number: u64, events: Vec<String>, present: bool },
    Watch { list: String, people: Vec<String>, part: WatchlistPart, present: bool },
    UpdateActor { actor: String, changes: Map<String, Value> },
    SyncLeavers { key: String, near_days: i64, list: String },
    SetUser { user: String, active: bool },
    SetAgents { agents: Vec<String>, active: bool },
    LegalHold { matter: String, user: String, present: bool },
    AddTrust { fields: Map<String, Value> },
    UpdateTrust { id: u64, changes: Map<String, Value> },
    DeleteTrust { id: u64 },
    SetRule { rule: String, enabled: bool },
    Read(Read),
}

/// An action that changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    Get { path: Vec<String>, query: Vec<(String, String)> },
    FileEvents { filters: Vec<(&'static str, &'static str, String)>, most: u64 },
}

impl Action {
    /// Parses an action's input. A note gets the request's id appended, so that it can be recognised.
    pub fn parse(name: &str, input: &Map<String, Value>, request_id: &str) -> Result<Self, String> {
        let mut fields = Fields::new(name, input);
        let action = read(name, &mut fields, request_id)?;
        fields.end()?;
        Ok(action)
    }

    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read(_))
    }

    /// The name that `ALLOWED_ACTIONS` and `NEEDS_APPROVAL` must contain.
    pub fn permission<'a>(&self, name: &'a str) -> &'a str {
        match self {
            Self::UpdateCase { changes, .. } => match changes.get("status").and_then(Value::as_str) {
                Some("CLOSED") => "case.close",
                Some("ARCHIVED") => "case.archive",
                _ => name,
            },
            _ => name,
        }
    }
}

/// Takes the members of an action's input.
fn read(name: &str, fields: &mut Fields<'_>, request_id: &str) -> Result<Action, String> {
    Ok(match name {
        "session.add_note" => {
            let (session, content) = (fields.text("id", ID)?, fields.text("noteContent", NOTE)?);
            let content = format!("{content}\n\n{}", marker(request_id));
            let chars = content.chars().count();
            if chars > NOTE {
                return Err(format!(
                    "\"noteContent\" and the line with the request's id have {chars} characters, but a note may have {NOTE}"
                ));
            }
            Action::AddNote { session, content }
        }
        "session.set_state" => {
            Action::SetState { sessions: fields.texts("ids")?, state: fields.one_of("newState", &STATES)? }
        }
        "session.set_state_where" => {
            let criteria = fields.object("criteria")?;
            let mut inner = Fields::new("session.set_state_where", &criteria);
            let criteria = inner.query(&SESSION_FILTERS)?;
            inner.end()?;
            if criteria.is_empty() {
                return Err("\"criteria\" is empty: it would change every session".into());
            }
            Action::SetStateWhere { criteria, state: fields.one_of("newState", &STATES)? }
        }

        "case.create" => Action::CreateCase { fields: case_fields(fields, true)? },
        "case.update" => {
            let number = fields.number("number")?;
            let mut changes = case_fields(fields, false)?;
            if let Some(status) = fields.optional_one_of("status", &STATUSES)? {
                changes.insert("status".into(), status.into());
            }
            Action::UpdateCase { number, changes: not_empty("case.update", changes)? }
        }
        "case.delete" => Action::DeleteCase { number: fields.number("number")? },
        "case.add_events" => {
            Action::CaseEvents { number: fields.number("number")?, events: fields.texts("events")?, present: true }
        }
        "case.remove_event" => {
            let (number, event) = (fields.number("number")?, fields.text("eventId", ID)?);
            Action::CaseEvents { number, events: vec![event], present: false }
        }

        "watchlist.add" => watch(fields, WatchlistPart::Included, true)?,
        "watchlist.remove" => watch(fields, WatchlistPart::Included, false)?,
        "watchlist.exclude" => watch(fields, WatchlistPart::Excluded, true)?,
        "watchlist.unexclude" => watch(fields, WatchlistPart::Excluded, false)?,
        "actor.update" => {
            let actor = fields.text("actor", ID)?;
            let mut changes = Map::new();
            put(&mut changes, "notes", fields.optional_text_or_null("notes", 10_000)?);
            put(&mut changes, "startDate", fields.optional_date("startDate")?);
            put(&mut changes, "endDate", fields.optional_date("endDate")?);
            Action::UpdateActor { actor, changes: not_empty(name, changes)? }
        }
        "leavers.sync" => Action::SyncLeavers {
            key: fields.text("key", 1_024)?,
            near_days: fields.optional_number("near_days", 0, 3_650)?.map_or(30, u64::cast_signed),
            list: fields.optional_text("watchlist", ID)?.unwrap_or_else(|| "DEPARTING_EMPLOYEE".into()),
        },

        "user.deactivate" => Action::SetUser { user: fields.text("user", ID)?, active: false },
        "user.activate" => Action::SetUser { user: fields.text("user", ID)?, active: true },
        "agent.deactivate" => Action::SetAgents { agents: fields.texts("ids")?, active: false },
        "agent.activate" => Action::SetAgents { agents: fields.texts("ids")?, active: true },
        "legal_hold.add" => legal_hold(fields, true)?,
        "legal_hold.remove" => legal_hold(fields, false)?,

        "trust.add" => Action::AddTrust { fields: trust_fields(fields, true)? },
        "trust.update" => {
            let id = fields.number("id")?;
            Action::UpdateTrust { id, changes: not_empty(name, trust_fields(fields, false)?)? }
        }
        "trust.delete" => Action::DeleteTrust { id: fields.number("id")? },
        "rule.enable" => Action::SetRule { rule: fields.text("id", ID)?, enabled: true },
        "rule.disable" => Action::SetRule { rule: fields.text("id", ID)?, enabled: false },
        _ => Action::Read(read_only(name, fields)?),
    })
}

fn read_only(name: &str, fields: &mut Fields<'_>) -> Result<Read, String> {
    let get = |path: &[&str], query| Read::Get { path: path.iter().map(ToString::to_string).collect(), query };
    Ok(match name {
        "case.list" => get(&["v1", "cases"], fields.query(&CASE_PAGING)?),
        "case.search" => {
            let mut query = fields.query(&CASE_FILTERS)?;
            query.extend(fields.query(&CASE_PAGING)?);
            get(&["v1", "cases"], query)
        }
        "case.get" => get(&["v1", "cases", &fields.number("number")?.to_string()], Vec::new()),
        "case.events" => {
            let number = fields.number("number")?.to_string();
            get(&["v1", "cases", &number, "fileevent"], fields.query(&["pgNum", "pgSize"])?)
        }

        "session.get" => get(&["v1", "sessions", &fields.text("id", ID)?], Vec::new()),
        "session.events" => get(&["v1", "sessions", &fields.text("id", ID)?, "events"], Vec::new()),
        "session.search" => {
            let mut query = fields.query(&SESSION_FILTERS)?;
            query.extend(fields.query(&SESSION_PAGING)?);
            get(&["v1", "sessions"], query)
        }

        "file_events.search" => {
            const TERMS: [(&str, &str, &str); 6] = [
                ("user", "user.email", "IS"),
                ("device", "user.deviceUid", "IS"),
                ("sha256", "file.hash.sha256", "IS"),
                ("md5", "file.hash.md5", "IS"),
                ("from", "@timestamp", "ON_OR_AFTER"),
                ("to", "@timestamp", "ON_OR_BEFORE"),
            ];

            let mut filters = Vec::new();
            for (name, term, operator) in TERMS {
                filters.extend(fields.optional_text(name, ID)?.map(|value| (term, operator, value)));
            }
            if filters.is_empty() {
                return Err("\"file_events.search\" needs at least one of \"user\", \"device\", \"sha256\", \"md5\", \
                            \"from\" and \"to\""
                    .into());
            }
            Read::FileEvents { filters, most: fields.optional_number("limit", 1, 1_000)?.unwrap_or(100) }
        }
        _ => return Err(format!("{name:?} is not an action; the actions are {}", NAMES.join(", "))),
    })
}

/// The mark of a request in a note. The API has no idempotency key, so reading back looks for this text.
pub fn marker(request_id: &str) -> String {
    format!("[request {request_id}]")
}

fn watch(fields: &mut Fields<'_>, part: WatchlistPart, present: bool) -> Result<Action, String> {
    Ok(Action::Watch { list: fields.text("watchlist", ID)?, people: fields.texts("people")?, part, present })
}

fn legal_hold(fields: &mut Fields<'_>, present: bool) -> Result<Action, String> {
    Ok(Action::LegalHold { matter: fields.text("matter", ID)?, user: fields.text("user", ID)?, present })
}

/// Limits the lengths to those of the API (`OpenAPI` and the developer portal's guide).
fn case_fields(fields: &mut Fields<'_>, is_new: bool) -> Result<Map<String, Value>, String> {
    let mut case = Map::new();
    let name = if is_new { Some(fields.text("name", 50)?) } else { fields.optional_text("name", 50)? };
    put(&mut case, "name", name.map(Value::from));
    for (name, most) in [("description", 250), ("findings", 30_000), ("subject", ID), ("assignee", ID)] {
        let held = if is_new {
            fields.optional_text(name, most)?.map(Value::from)
        } else {
            fields.optional_text_or_null(name, most)?
        };
        put(&mut case, name, held);
    }
    Ok(case)
}

fn trust_fields(fields: &mut Fields<'_>, is_new: bool) -> Result<Map<String, Value>, String> {
    let mut trust = Map::new();
    let (kind, value, groups) = if is_new {
        (
            Some(fields.one_of("type", &TRUST_TYPES)?),
            Some(fields.text("value", 2_048)?),
            Some(fields.list("activityActionGroups")?),
        )
    } else {
        (
            fields.optional_one_of("type", &TRUST_TYPES)?,
            fields.optional_text("value", 2_048)?,
            fields.optional_list("activityActionGroups")?,
        )
    };

    put(&mut trust, "type", kind.map(Value::from));
    put(&mut trust, "value", value.map(Value::from));
    put(&mut trust, "activityActionGroups", groups);
    put(&mut trust, "description", fields.optional_text("description", 250)?.map(Value::from));
    put(&mut trust, "isHighValueSource", fields.optional_bool("isHighValueSource")?.map(Value::from));
    Ok(trust)
}

fn put(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

fn not_empty(name: &str, changes: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if changes.is_empty() { Err(format!("{name:?} needs at least one member to change")) } else { Ok(changes) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(name: &str, input: Value) -> Result<Action, String> {
        let Value::Object(input) = input else { panic!("no object") };
        Action::parse(name, &input, "r-1")
    }

    #[test]
    fn a_note_carries_the_id_of_its_request_and_stays_within_its_length() {
        let Ok(Action::AddNote { content, .. }) = parse("session.add_note", json!({"id": "s", "noteContent": "seen"}))
        else {
            panic!("refused")
        };
        assert_eq!(content, "seen\n\n[request r-1]");
        let error = parse("session.add_note", json!({"id": "s", "noteContent": "x".repeat(1_990)})).expect_err("long");
        assert!(error.contains("but a note may have 2000"), "{error}");
    }

    #[test]
    fn what_can_not_be_taken_back_is_allowed_by_a_name_of_its_own() {
        for (status, permission) in [("OPEN", "case.update"), ("CLOSED", "case.close"), ("ARCHIVED", "case.archive")] {
            let action = parse("case.update", json!({"number": 7, "status": status})).expect("an action");
            assert_eq!(action.permission("case.update"), permission);
            assert!(NAMES.contains(&permission));
        }
    }

    #[test]
    fn every_name_that_is_known_is_an_action_or_a_status_of_one() {
        for name in NAMES {
            let error = parse(name, json!({"?": 1})).expect_err(name);
            assert_eq!(error.contains("is not an action"), ["case.close", "case.archive"].contains(&name), "{error}");
        }
        for name in NEEDS_APPROVAL.split(',') {
            assert!(NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (name, input, named) in [
            ("case.destroy", json!({}), "the actions are"),
            ("session.add_note", json!({"id": "s"}), "needs \"input\".\"noteContent\""),
            ("session.add_note", json!({"id": "s", "note": "x", "noteContent": "x"}), "\"note\" is not a member"),
            ("session.set_state", json!({"ids": [], "newState": "OPEN"}), "at least one"),
            ("session.set_state", json!({"ids": ["s"], "newState": "DONE"}), "must be one of OPEN"),
            ("session.set_state_where", json!({"criteria": {}, "newState": "OPEN"}), "every session"),
            ("session.set_state_where", json!({"criteria": {"who": 1}, "newState": "OPEN"}), "\"who\" is not a member"),
            ("case.create", json!({"name": "x".repeat(51)}), "51 characters"),
            ("case.update", json!({"number": 7}), "needs at least one member to change"),
            ("case.update", json!({"number": 0, "name": "n"}), "whole number from 1"),
            ("actor.update", json!({"actor": "a", "endDate": "30.11.2026"}), "must be a date"),
            ("user.deactivate", json!({"user": ""}), "not empty"),
            ("trust.add", json!({"type": "DOMAIN", "value": "a.com", "activityActionGroups": []}), "not empty"),
            ("rule.disable", json!({}), "needs \"input\".\"id\""),
            ("file_events.search", json!({}), "at least one of"),
            ("file_events.search", json!({"user": "a@b.c", "limit": 1_001}), "from 1 to 1000"),
        ] {
            let error = parse(name, input).expect_err(name);
            assert!(error.contains(named), "{name}: {error}");
        }
    }
}
