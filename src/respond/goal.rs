//! The wanted state of an action, with ids in place of names, and the writes that are missing to reach it. After
//! sending, the state is read again: the goal is reached if no write is missing. The lock of a request contains its
//! goal, so that a delivery that takes over works on the same records.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::incydr::listing::escape;
use crate::respond::action::WatchlistPart;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    Post,
    Put,
    Patch,
    Delete,
}

/// A request that changes something, exactly as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiWrite {
    pub method: Verb,
    pub path: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum Goal {
    /// `content` contains the request's id.
    Note {
        session: String,
        content: String,
        marker: String,
    },
    SessionStates {
        sessions: Vec<String>,
        state: String,
    },
    /// Names are unique. `another` is an existing case of this name; then the API refuses.
    CaseCreated {
        fields: Map<String, Value>,
        another: Option<u64>,
    },
    CaseChanged {
        number: u64,
        changes: Map<String, Value>,
    },
    CaseGone {
        number: u64,
    },
    CaseEvents {
        number: u64,
        events: Vec<String>,
        present: bool,
    },
    Listed {
        list: String,
        actors: Vec<String>,
        part: WatchlistPart,
        present: bool,
    },
    ActorChanged {
        actor: String,
        changes: Map<String, Value>,
    },
    UserActive {
        user: String,
        active: bool,
    },
    AgentsActive {
        agents: Vec<String>,
        active: bool,
    },
    Custodian {
        matter: String,
        user: String,
        present: bool,
    },
    TrustAdded {
        fields: Map<String, Value>,
    },
    TrustChanged {
        id: u64,
        changes: Map<String, Value>,
    },
    TrustGone {
        id: u64,
    },
    RuleEnabled {
        rule: String,
        enabled: bool,
    },
    /// An address on a list of leavers for which no actor exists. Nothing can be done.
    NoActor {
        address: String,
    },
    /// All of these goals, in this order.
    All {
        goals: Vec<Goal>,
    },
}

impl WatchlistPart {
    /// The name in paths, as in `/v2/watchlists/{id}/included-actors`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Included => "included-actors",
            Self::Excluded => "excluded-actors",
        }
    }

    /// The member of a page that holds the rows.
    pub fn key(self) -> &'static str {
        match self {
            Self::Included => "includedActors",
            Self::Excluded => "excludedActors",
        }
    }
}

impl Goal {
    /// The number of records that it changes at most.
    pub fn targets(&self) -> usize {
        match self {
            Self::SessionStates { sessions: ids, .. }
            | Self::CaseEvents { events: ids, .. }
            | Self::Listed { actors: ids, .. }
            | Self::AgentsActive { agents: ids, .. } => ids.len(),
            Self::All { goals } => goals.iter().map(Self::targets).sum(),
            Self::NoActor { .. } => 0,
            _ => 1,
        }
    }

    /// Whether a write of unknown result may be sent again. A note may not: it would be there twice. Every other write
    /// has the same effect twice, or is refused the second time.
    pub fn may_be_repeated(&self) -> bool {
        match self {
            Self::Note { .. } => false,
            Self::All { goals } => goals.iter().all(Self::may_be_repeated),
            _ => true,
        }
    }

    /// Returns the missing writes, given the state that [`crate::respond::state`] read. Empty if the goal is reached.
    pub fn writes(&self, state: &Value) -> Vec<ApiWrite> {
        match self {
            Self::Note { session, content, marker } => {
                let is_there = state["notes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|note| note["content"].as_str().is_some_and(|content| content.contains(marker.as_str())));
                let path = format!("/v1/sessions/{}/add-note", escape(session));
                unless(is_there, ApiWrite::post(path, json!({"noteContent": content})))
            }
            Self::SessionStates { sessions, state: wanted } => {
                let ids: Vec<&String> = sessions.iter().filter(|id| state[id.as_str()] != *wanted.as_str()).collect();
                let body = json!({"ids": ids, "newState": wanted});
                unless(ids.is_empty(), ApiWrite::post("/v1/sessions/change-state".into(), body))
            }

            Self::CaseCreated { fields, another } => {
                let is_there = state.is_object() && state["number"].as_u64() != *another && holds(state, fields);
                unless(is_there, ApiWrite::post("/v1/cases".into(), Value::Object(fields.clone())))
            }
            Self::CaseChanged { number, changes } => {
                let whole =
                    merged(state, changes, &["name", "status", "description", "findings", "subject", "assignee"]);
                let path = format!("/v1/cases/{number}");
                unless(holds(state, changes), ApiWrite { method: Verb::Put, path, body: whole })
            }
            Self::CaseGone { number } => unless(state.is_null(), ApiWrite::delete(format!("/v1/cases/{number}"))),
            Self::CaseEvents { number, events, present } => {
                let attached = texts(&state["attached"]);
                let left: Vec<&String> =
                    events.iter().filter(|id| attached.contains(&id.as_str()) != *present).collect();
                if *present {
                    let path = format!("/v1/cases/{number}/fileevent");
                    return unless(left.is_empty(), ApiWrite::post(path, json!({"events": left})));
                }
                left.iter().map(|id| ApiWrite::delete(format!("/v1/cases/{number}/fileevent/{}", escape(id)))).collect()
            }

            Self::Listed { list, actors, part, present } => {
                let listed = texts(&state["listed"]);
                let left: Vec<&String> = actors.iter().filter(|id| listed.contains(&id.as_str()) != *present).collect();
                let verb = if *present { "add" } else { "delete" };
                let path = format!("/v2/watchlists/{}/{}/{verb}", escape(list), part.path());
                // The body names the list only for included actors (OpenAPI).
                let mut body = json!({"actorIds": left});
                if *part == WatchlistPart::Included {
                    body["watchlistId"] = list.as_str().into();
                }
                unless(left.is_empty(), ApiWrite::post(path, body))
            }
            Self::ActorChanged { actor, changes } => {
                let path = format!("/v1/actors/actor/id/{}", escape(actor));
                let body = Value::Object(changes.clone());
                unless(holds(state, changes), ApiWrite { method: Verb::Patch, path, body })
            }

            Self::UserActive { user, active } => {
                let path = format!("/v1/users/{}/{}", escape(user), if *active { "activate" } else { "deactivate" });
                unless(state["active"] == *active, ApiWrite { method: Verb::Post, path, body: Value::Null })
            }
            Self::AgentsActive { agents, active } => {
                // Null means that the agent doesn't exist.
                let is_left = |id: &&String| state[id.as_str()].as_bool().is_some_and(|is_active| is_active != *active);
                let left: Vec<&String> = agents.iter().filter(is_left).collect();
                let path = if *active { "/v1/agents/activate" } else { "/v1/agents/deactivate" };
                unless(left.is_empty(), ApiWrite::post(path.into(), json!({"agentIds": left})))
            }
            Self::Custodian { matter, user, present } => {
                let path = format!("/v1/legal-hold/matters/{}/custodians", escape(matter));
                let path = if *present { path } else { format!("{path}/remove") };
                unless(state["is_custodian"] == *present, ApiWrite::post(path, json!({"userId": user})))
            }

            Self::TrustAdded { fields } => {
                let write = ApiWrite::post("/v2/trusted-activities".into(), Value::Object(fields.clone()));
                unless(state.is_object() && holds(state, fields), write)
            }
            Self::TrustChanged { id, changes } => {
                const WHOLE: [&str; 5] = ["type", "value", "activityActionGroups", "description", "isHighValueSource"];
                let path = format!("/v2/trusted-activities/{id}");
                let body = merged(state, changes, &WHOLE);
                unless(holds(state, changes), ApiWrite { method: Verb::Patch, path, body })
            }
            Self::TrustGone { id } => unless(state.is_null(), ApiWrite::delete(format!("/v2/trusted-activities/{id}"))),
            Self::RuleEnabled { rule, enabled } => {
                let path = format!("/v2/alert-rules/{}/{}", escape(rule), if *enabled { "enable" } else { "disable" });
                unless(state["isEnabled"] == *enabled, ApiWrite { method: Verb::Post, path, body: Value::Null })
            }

            Self::NoActor { .. } => Vec::new(),
            Self::All { goals } => goals.iter().enumerate().flat_map(|(at, goal)| goal.writes(&state[at])).collect(),
        }
    }
}

impl ApiWrite {
    fn post(path: String, body: Value) -> Self {
        Self { method: Verb::Post, path, body }
    }

    fn delete(path: String) -> Self {
        Self { method: Verb::Delete, path, body: Value::Null }
    }

    /// The name in error messages, for example `POST /v1/cases`.
    pub fn what(&self) -> String {
        let method = match self.method {
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        };
        format!("{method} {}", self.path)
    }

    /// Splits a write into two with half of the events each. The API's limit of events per request is not published.
    /// None for a write with fewer than two events.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let events = self.body["events"].as_array().filter(|events| events.len() > 1)?;
        let (first, second) = events.split_at(events.len() / 2);
        let of = |events: &[Value]| Self::post(self.path.clone(), json!({"events": events}));
        Some([of(first), of(second)])
    }
}

fn unless(is_so: bool, write: ApiWrite) -> Vec<ApiWrite> {
    if is_so { Vec::new() } else { vec![write] }
}

/// Whether each member has the wanted value. Null, absent and empty text are the same.
fn holds(state: &Value, wanted: &Map<String, Value>) -> bool {
    let plain = |value: &Value| {
        value.as_str().map_or_else(|| value.clone(), |text| if text.is_empty() { Value::Null } else { text.into() })
    };
    wanted.iter().all(|(name, value)| plain(&state[name]) == plain(value))
}

/// Returns the present record with the changes. Leaves out null members, which the API refuses (`OpenAPI`).
fn merged(state: &Value, changes: &Map<String, Value>, members: &[&str]) -> Value {
    let held = members.iter().map(|name| (*name, changes.get(*name).unwrap_or(&state[*name])));
    Value::Object(
        held.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value.clone())).collect(),
    )
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn of_a_goal_that_is_reached_nothing_is_left_to_send() {
        let ids = || vec!["a".to_owned(), "b".to_owned()];
        let reached = [
            (
                Goal::Note { session: "s".into(), content: "x [request 1]".into(), marker: "[request 1]".into() },
                json!({"notes": [{"content": "y"}, {"content": "x [request 1]"}]}),
            ),
            (Goal::SessionStates { sessions: ids(), state: "CLOSED".into() }, json!({"a": "CLOSED", "b": "CLOSED"})),
            (
                Goal::CaseCreated { fields: members(&json!({"name": "n"})), another: None },
                json!({"name": "n", "number": 3}),
            ),
            (
                Goal::CaseChanged { number: 3, changes: members(&json!({"assignee": null, "findings": "f"})) },
                json!({"findings": "f", "name": "n"}),
            ),
            (Goal::CaseGone { number: 3 }, Value::Null),
            (Goal::CaseEvents { number: 3, events: ids(), present: true }, json!({"attached": ["b", "a"]})),
            (Goal::CaseEvents { number: 3, events: ids(), present: false }, json!({"attached": []})),
            (
                Goal::Listed { list: "l".into(), actors: ids(), part: WatchlistPart::Excluded, present: false },
                json!({"listed": []}),
            ),
            (Goal::ActorChanged { actor: "a".into(), changes: members(&json!({"endDate": null})) }, json!({})),
            (Goal::UserActive { user: "u".into(), active: false }, json!({"active": false, "blocked": true})),
            (Goal::AgentsActive { agents: ids(), active: false }, json!({"a": false, "b": null})),
            (Goal::Custodian { matter: "m".into(), user: "u".into(), present: true }, json!({"is_custodian": true})),
            (Goal::TrustGone { id: 4 }, Value::Null),
            (Goal::RuleEnabled { rule: "r".into(), enabled: false }, json!({"isEnabled": false})),
        ];
        for (goal, state) in &reached {
            assert_eq!(goal.writes(state), [], "{goal:?}");
        }

        let goals = reached.iter().map(|(goal, _)| goal.clone()).collect();
        let states: Vec<Value> = reached.iter().map(|(_, state)| state.clone()).collect();
        assert_eq!(Goal::All { goals }.writes(&json!(states)), []);
    }

    #[test]
    fn what_is_left_is_asked_of_those_alone_that_are_not_as_wanted() {
        let ids = || vec!["a".to_owned(), "b/c".to_owned()];
        for (goal, state, sent) in [
            (
                Goal::SessionStates { sessions: ids(), state: "CLOSED".into() },
                json!({"a": "CLOSED", "b/c": "OPEN"}),
                json!([{"method": "POST", "path": "/v1/sessions/change-state", "body": {"ids": ["b/c"], "newState": "CLOSED"}}]),
            ),
            (
                Goal::CaseChanged { number: 3, changes: members(&json!({"findings": "f", "assignee": null})) },
                json!({"name": "n", "status": "OPEN", "findings": "", "assignee": "u", "subject": null, "number": 3}),
                json!([{"method": "PUT", "path": "/v1/cases/3", "body": {"name": "n", "status": "OPEN", "findings": "f"}}]),
            ),
            (
                Goal::CaseEvents { number: 3, events: ids(), present: false },
                json!({"attached": ["b/c"]}),
                json!([{"method": "DELETE", "path": "/v1/cases/3/fileevent/b%2Fc"}]),
            ),
            (
                Goal::Listed { list: "l".into(), actors: ids(), part: WatchlistPart::Included, present: true },
                json!({"listed": ["a"]}),
                json!([{"method": "POST", "path": "/v2/watchlists/l/included-actors/add", "body": {"actorIds": ["b/c"], "watchlistId": "l"}}]),
            ),
            (
                Goal::UserActive { user: "u".into(), active: false },
                json!({"active": true}),
                json!([{"method": "POST", "path": "/v1/users/u/deactivate"}]),
            ),
        ] {
            assert_eq!(json!(goal.writes(&state)), sent);
        }
    }

    #[test]
    fn only_events_are_halved_and_one_is_not() {
        let write = ApiWrite::post("/p".into(), json!({"events": ["a", "b", "c"]}));
        let halves = write.halves().expect("two");
        assert_eq!(halves.map(|half| half.body["events"].clone()), [json!(["a"]), json!(["b", "c"])]);
        assert_eq!(ApiWrite::post("/p".into(), json!({"events": ["a"]})).halves(), None);
        assert_eq!(ApiWrite::post("/p".into(), json!({"ids": ["a", "b"]})).halves(), None);
    }
}
