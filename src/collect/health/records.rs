//! The fields of records that the findings need.

use serde_json::Value;

use crate::core::time::Millis;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    pub user_id: Option<String>,
    pub name: Option<String>,
    pub os_hostname: Option<String>,
    pub os: Option<String>,
    pub kind: Option<String>,
    pub version: Option<String>,
    pub is_inactive: bool,
    pub last_connected: Option<String>,
    pub created: Option<Millis>,
    pub issues: Vec<String>,
    /// The time at which the issues last changed.
    pub health_changed: Option<String>,
    /// The serial number and the machine's id, if the record has both.
    pub device: Option<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    pub username: Option<String>,
    pub is_inactive: bool,
    pub created: Option<String>,
    pub changed: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actor {
    /// In most tenants the user's name.
    pub name: Option<String>,
    pub is_inactive: bool,
    /// The date on which the person leaves, if the list has one.
    pub end: Option<String>,
}

/// A user in legal hold, or the subject of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The id of a user. In a case it may be an actor's (`OpenAPI`), or missing.
    pub id: Option<String>,
    pub username: Option<String>,
    pub by: Hold,
    pub since: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    Matter { id: String, name: Option<String> },
    Case { number: String, name: Option<String> },
}

impl Agent {
    /// Fields that are missing or malformed are left out.
    pub fn of(record: &Value) -> Self {
        let issues = match &record["agentHealthIssueTypes"] {
            Value::Array(issues) => issues.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(issue) if !issue.is_empty() => vec![issue.clone()],
            _ => Vec::new(),
        };
        Self {
            user_id: text(record, "userId"),
            name: text(record, "name"),
            os_hostname: text(record, "osHostname"),
            os: text(record, "osName"),
            kind: text(record, "agentType"),
            version: text(record, "productVersion").or_else(|| text(record, "appVersion")),
            is_inactive: is_inactive(record),
            last_connected: text(record, "lastConnected"),
            created: text(record, "creationDate").and_then(|text| Millis::parse(&text)),
            issues,
            health_changed: text(record, "agentHealthModificationDate"),
            device: text(record, "serialNumber").zip(text(record, "machineId")),
        }
    }
}

impl User {
    pub fn of(record: &Value) -> Self {
        Self {
            username: text(record, "username"),
            is_inactive: is_inactive(record),
            created: text(record, "creationDate"),
            changed: text(record, "modificationDate"),
        }
    }
}

impl Actor {
    pub fn of(record: &Value) -> Self {
        Self { name: text(record, "name"), is_inactive: is_inactive(record), end: text(record, "endDate") }
    }
}

pub struct Matter {
    name: Option<String>,
    pub is_inactive: bool,
}

impl Matter {
    pub fn of(record: &Value) -> Self {
        Self { name: text(record, "name"), is_inactive: is_inactive(record) }
    }
}

pub struct Custodian {
    username: Option<String>,
    is_inactive: bool,
    since: Option<String>,
}

impl Custodian {
    pub fn of(record: &Value) -> Self {
        Self {
            username: text(record, "username"),
            is_inactive: record["membershipActive"] == false,
            since: text(record, "membershipCreationDate"),
        }
    }

    pub fn held(self, user_id: String, matter_id: &str, matter: &Matter) -> Option<Held> {
        let by = Hold::Matter { id: matter_id.to_owned(), name: matter.name.clone() };
        (!self.is_inactive).then_some(Held { id: Some(user_id), username: self.username, by, since: self.since })
    }
}

pub struct Case {
    subject: Option<String>,
    username: Option<String>,
    name: Option<String>,
    is_closed: bool,
    since: Option<String>,
}

impl Case {
    pub fn of(record: &Value) -> Self {
        Self {
            subject: text(record, "subject"),
            username: text(record, "subjectUsername"),
            name: text(record, "name"),
            is_closed: ["CLOSED", "ARCHIVED"].iter().any(|status| record["status"] == **status),
            since: text(record, "createdAt"),
        }
    }

    /// The subject of a case, if it has one. A case counts as open unless it is closed or archived.
    pub fn held(self, number: String) -> Option<Held> {
        let has_subject = self.subject.is_some() || self.username.is_some();
        let by = Hold::Case { number, name: self.name };
        let held = Held { id: self.subject, username: self.username, by, since: self.since };
        (has_subject && !self.is_closed).then_some(held)
    }
}

/// A record counts as active unless `active` is false.
fn is_inactive(record: &Value) -> bool {
    record["active"] == false
}

/// Returns a text, or a number as text. None if it is missing or empty.
pub fn text(record: &Value, key: &str) -> Option<String> {
    match &record[key] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_missing_or_odd_in_a_record_is_left_out() {
        for record in [json!({}), json!({"userId": null, "agentHealthIssueTypes": null, "active": null}), json!([])] {
            assert_eq!(Agent::of(&record), Agent::default(), "{record}");
            assert_eq!(User::of(&record), User::default(), "{record}");
        }
        let odd = Agent::of(&json!({"userId": 42, "name": "", "creationDate": "soon", "productVersion": null,
            "appVersion": "1.2", "agentHealthIssueTypes": ["A", 7, null, "B"], "active": "no"}));
        let issues = vec!["A".to_owned(), "B".to_owned()];
        let (user_id, version) = (Some("42".into()), Some("1.2".into()));
        assert_eq!(odd, Agent { user_id, version, issues, ..Agent::default() });
    }

    #[test]
    fn a_case_holds_its_subject_while_it_is_open() {
        let held = |record: Value| Case::of(&record).held("7".into()).map(|held| (held.id, held.username));
        assert_eq!(held(json!({"subject": "u", "status": "OPEN"})), Some((Some("u".into()), None)));
        assert_eq!(held(json!({"subjectUsername": "ann", "status": "OPEN"})), Some((None, Some("ann".into()))));
        assert_eq!(held(json!({"subject": "u", "status": null})), Some((Some("u".into()), None)));
        for record in [
            json!({"subject": "u", "status": "CLOSED"}),
            json!({"subject": "u", "subjectUsername": "ann", "status": "ARCHIVED"}),
            json!({"status": "OPEN", "subject": null}),
            json!({}),
        ] {
            assert_eq!(held(record), None);
        }
    }
}
