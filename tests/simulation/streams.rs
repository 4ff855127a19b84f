//! The streams whose records may change, disappear or belong to other records, and their form in the bucket.

use serde_json::Value;
use simulator::{Dataset, Endpoint, Record, actor_item, compact};

pub struct Stream {
    pub name: &'static str,
    pub parts: &'static [Part],
    /// Whether a record that the API no longer shows gets a tombstone.
    pub tells_deleted: bool,
    /// The endpoints that it requests.
    pub endpoints: &'static [Endpoint],
}

pub struct Part {
    pub dataset: Dataset,
    /// The path of the id in a line.
    id: &'static [&'static str],
    /// For a list of another record: the value of `_list`, empty if the line needs none, and the key of the other
    /// record's id.
    list: Option<(&'static str, &'static str)>,
    /// Returns the part of a record that is stored, if it isn't all of it.
    shows: Option<fn(&str) -> String>,
}

const fn own(dataset: Dataset, id: &'static [&'static str]) -> Part {
    Part { dataset, id, list: None, shows: None }
}

const fn summary(dataset: Dataset, id: &'static [&'static str], shows: fn(&str) -> String) -> Part {
    Part { dataset, id, list: None, shows: Some(shows) }
}

const fn list(dataset: Dataset, name: &'static str, parent: &'static str, id: &'static [&'static str]) -> Part {
    Part { dataset, id, list: Some((name, parent)), shows: None }
}

const fn stream(name: &'static str, parts: &'static [Part], endpoints: &'static [Endpoint]) -> Stream {
    Stream { name, parts, tells_deleted: true, endpoints }
}

const fn lasting(name: &'static str, parts: &'static [Part], endpoints: &'static [Endpoint]) -> Stream {
    Stream { name, parts, tells_deleted: false, endpoints }
}

/// The streams in every schedule.
pub static ALWAYS: [Stream; 2] = [
    stream("users", &[own(Dataset::Users, &["userId"])], &[Endpoint::Users]),
    lasting("cases", &[own(Dataset::Cases, &["number"])], &[Endpoint::CaseList, Endpoint::CaseDetail]),
];

/// The streams that a seed picks from.
pub static FURTHER: [Stream; 18] = [
    lasting("sessions", &[own(Dataset::Sessions, &["sessionId"])], &[Endpoint::Sessions]),
    lasting(
        "session_events",
        &[list(Dataset::SessionEvents, "", "_sessionId", &["event", "id"])],
        &[Endpoint::Sessions, Endpoint::SessionEvents],
    ),
    lasting(
        "case_file_events",
        &[list(Dataset::CaseFileEvents, "", "_caseNumber", &["event", "id"])],
        &[Endpoint::CaseFileEvents, Endpoint::CaseFileEventDetail],
    ),
    stream("agents", &[own(Dataset::Agents, &["agentId"])], &[Endpoint::Agents]),
    stream("devices", &[own(Dataset::Devices, &["deviceId"])], &[Endpoint::Devices]),
    stream("actors", &[summary(Dataset::Actors, &["actorId"], actor_item)], &[Endpoint::Actors]),
    stream("actor_profiles", &[own(Dataset::Actors, &["actorId"])], &[Endpoint::Actors, Endpoint::ActorDetail]),
    stream("departments", &[own(Dataset::Departments, &["name"])], &[Endpoint::Departments]),
    stream("directory_groups", &[own(Dataset::DirectoryGroups, &["groupId"])], &[Endpoint::DirectoryGroups]),
    stream("trusted_activities", &[own(Dataset::TrustedActivities, &["activityId"])], &[Endpoint::TrustedActivities]),
    stream("roles", &[own(Dataset::Roles, &["roleId"])], &[Endpoint::Roles]),
    stream("orgs", &[own(Dataset::Orgs, &["orgGuid"])], &[Endpoint::Orgs]),
    stream(
        "risk_indicator_categories",
        &[own(Dataset::RiskIndicatorCategories, &["id"])],
        &[Endpoint::RiskIndicatorCategories],
    ),
    stream("customer", &[own(Dataset::Customer, &["tenantId"])], &[Endpoint::Customer]),
    stream(
        "alert_rules",
        &[own(Dataset::AlertRules, &["id"]), list(Dataset::RuleUsers, "users", "_ruleId", &["userIdFromAuthority"])],
        &[Endpoint::AlertRules, Endpoint::RuleUsers],
    ),
    stream(
        "watchlists",
        &[
            own(Dataset::Watchlists, &["watchlistId"]),
            list(Dataset::WatchlistMembers, "members", "_watchlistId", &["actorId"]),
            list(Dataset::IncludedActors, "included_actors", "_watchlistId", &["actorId"]),
            list(Dataset::ExcludedActors, "excluded_actors", "_watchlistId", &["actorId"]),
            list(Dataset::IncludedDepartments, "included_departments", "_watchlistId", &["name"]),
            list(Dataset::IncludedDirectoryGroups, "included_directory_groups", "_watchlistId", &["groupId"]),
        ],
        &[
            Endpoint::Watchlists,
            Endpoint::WatchlistMembers,
            Endpoint::IncludedActors,
            Endpoint::ExcludedActors,
            Endpoint::IncludedDepartments,
            Endpoint::IncludedDirectoryGroups,
        ],
    ),
    stream(
        "legal_hold",
        &[
            own(Dataset::Matters, &["matterId"]),
            list(Dataset::Custodians, "custodians", "_matterId", &["userId"]),
            own(Dataset::Policies, &["policyId"]),
        ],
        &[Endpoint::Matters, Endpoint::Custodians, Endpoint::Policies],
    ),
    stream("user_roles", &[list(Dataset::UserRoles, "", "_userId", &["roleId"])], &[Endpoint::UserRoles]),
];

/// Streams that were added later. About one seed in six has each of them in addition, so the schedules of the other seeds
/// stay the same. A new stream goes to the end.
pub static LATER: [Stream; 1] =
    [stream("saved_searches", &[own(Dataset::SavedSearches, &["id"])], &[Endpoint::SavedSearches])];

/// All of them, whether picked or not.
pub fn all() -> impl Iterator<Item = &'static Stream> {
    ALWAYS.iter().chain(&FURTHER).chain(&LATER)
}

pub fn named(name: &str) -> Option<&'static Stream> {
    all().find(|stream| stream.name == name)
}

impl Stream {
    /// The key of a stored line's record, also of a tombstone.
    pub fn key_of(&self, line: &Value) -> Option<String> {
        let is_of = |part: &&Part| match part.list {
            Some((name, parent)) => line.get(parent).is_some() && (name.is_empty() || line["_list"] == name),
            None => line.get("_list").is_none() && text_at(line, part.id).is_some(),
        };
        let part = self.parts.iter().find(is_of)?;
        let parent = part.list.map_or(Some(String::new()), |(_, parent)| text_at(line, &[parent]))?;
        Some(key(part.dataset, &parent, &text_at(line, part.id)?))
    }

    /// Whether a list of the stream is the one that shows its records, and none below them or beside it.
    pub fn is_first_list(&self, name: &str) -> bool {
        self.parts.iter().skip(1).all(|part| {
            part.list.is_none_or(|(list, _)| list != name) && part.dataset.name().rsplit('_').next() != Some(name)
        })
    }

    /// Whether a change of such a record is visible in this stream.
    pub fn shows(&self, dataset: Dataset) -> bool {
        self.parts.iter().any(|part| part.dataset == dataset || part.dataset.parent() == Some(dataset))
    }
}

impl Part {
    /// A record's key and line.
    pub fn stored(&self, record: &Record) -> (String, String) {
        let parent = record.parent.as_deref().unwrap_or_default();
        let text = self.shows.map_or_else(|| record.compact().to_string(), |shows| compact(&shows(&record.raw)));
        let line = match self.list {
            // A record that is a plain string.
            None if text.starts_with('"') => format!(r#"{{"name":{text}}}"#),
            None => text,
            Some((name, of)) => {
                let name = if name.is_empty() { String::new() } else { format!(r#""_list":"{name}","#) };
                format!(r#"{{{name}"{of}":{},{}"#, Value::from(parent), &text[1..])
            }
        };
        (key(self.dataset, parent, &record.id), line)
    }
}

/// For example `watchlist_members/<watchlist>/<actor>`.
pub fn key(dataset: Dataset, parent: &str, id: &str) -> String {
    format!("{}/{parent}/{id}", dataset.name())
}

fn text_at(line: &Value, path: &[&str]) -> Option<String> {
    match path.iter().try_fold(line, |value, name| value.get(name))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
