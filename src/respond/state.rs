//! Reads the state that a goal asks about, before and after sending. It is the answer's `before` and `after`.

use serde_json::{Map, Value, json};

use crate::incydr::listing::escape;
use crate::incydr::request::Caller;
use crate::respond::api::ResponderApi;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::Goal;

/// No list that is read here has more pages than this. One that seems to have more repeats itself.
const MOST_PAGES: usize = 400;

/// Reads from the API, for one caller.
pub struct Asker<'a> {
    pub api: &'a ResponderApi,
    pub caller: &'a Caller<'a>,
}

/// The paging of a list.
pub struct Pages {
    pub key: &'static str,
    pub page: &'static str,
    pub first: u64,
    pub size: (&'static str, u64),
}

impl Pages {
    pub const fn of(key: &'static str, page: &'static str, first: u64, size: (&'static str, u64)) -> Self {
        Self { key, page, first, size }
    }
}

pub const CASES: Pages = Pages::of("cases", "pgNum", 1, ("pgSize", 500));
const CASE_EVENTS: Pages = Pages::of("events", "pgNum", 1, ("pgSize", 500));
pub const SESSIONS: Pages = Pages::of("items", "page_number", 0, ("page_size", 50));
const CUSTODIANS: Pages = Pages::of("custodians", "page", 1, ("pageSize", 500));
pub const MATTERS: Pages = Pages::of("matters", "page", 1, ("pageSize", 500));
const TRUSTED: Pages = Pages::of("trustedActivities", "page", 1, ("page_size", 100));
pub const WATCHLISTS: Pages = Pages::of("watchlists", "page", 1, ("page_size", 100));

impl Asker<'_> {
    /// Returns a record, or none if the API answers 404.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, RespondError> {
        match self.api.get(path, &[], self.caller).await {
            Ok(told) => Ok(Some(told.json_body)),
            Err(error) if error.told.as_ref().is_some_and(|told| told.status_code == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a record. A 404 is an error.
    pub async fn record(&self, path: &str) -> Result<Value, RespondError> {
        Ok(self.api.get(path, &[], self.caller).await?.json_body)
    }

    /// Returns all rows of a list, up to the first empty page: a short page need not be the last. A page without new
    /// rows is an error, because the list would never end.
    pub async fn rows(
        &self,
        path: &str,
        query: &[(String, String)],
        pages: &Pages,
    ) -> Result<Vec<Value>, RespondError> {
        let mut rows: Vec<Value> = Vec::new();
        for number in (pages.first..).take(MOST_PAGES) {
            let mut query = query.to_vec();
            query.push((pages.page.to_owned(), number.to_string()));
            query.push((pages.size.0.to_owned(), pages.size.1.to_string()));

            let body = self.api.get(path, &query, self.caller).await?.json_body;
            let total = body["totalCount"].as_u64();
            let page = body[pages.key].as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                return Ok(rows);
            }
            if rows.len() >= page.len() && rows.ends_with(&page) {
                break;
            }

            rows.extend(page);
            if total.is_some_and(|total| rows.len() as u64 >= total) {
                return Ok(rows);
            }
        }

        Err(RespondError::new(ErrorCause::ThirdPartyGenericError, format!("GET {path}: the pages repeat or never end")))
    }

    /// Returns the state that the goal asks about. A 404 is an error: there is nothing to change.
    pub async fn state(&self, goal: &Goal) -> Result<Value, RespondError> {
        Ok(match goal {
            Goal::Note { session, .. } => {
                let session = self.record(&format!("/v1/sessions/{}", escape(session))).await?;
                json!({"notes": session["notes"]})
            }
            Goal::SessionStates { sessions, .. } => {
                let mut states = Map::new();
                for id in sessions {
                    let session = self.record(&format!("/v1/sessions/{}", escape(id))).await?;
                    states.insert(id.clone(), current_state(&session));
                }
                Value::Object(states)
            }

            Goal::CaseCreated { fields, .. } => self.case_named(&fields["name"]).await?,
            Goal::CaseChanged { number, .. } => self.record(&format!("/v1/cases/{number}")).await?,
            Goal::CaseGone { number } => self.find(&format!("/v1/cases/{number}")).await?.unwrap_or_default(),
            Goal::CaseEvents { number, events, .. } => {
                let attached = self.case_events(*number).await?;
                let ours: Vec<&String> = events.iter().filter(|id| attached.contains(id)).collect();
                json!({"events": attached.len(), "attached": ours})
            }

            Goal::Listed { list, actors, part, .. } => {
                let path = format!("/v2/watchlists/{}/{}", escape(list), part.path());
                let pages = Pages::of(part.key(), "page", 1, ("page_size", 100));
                let listed: Vec<String> =
                    self.rows(&path, &[], &pages).await?.iter().map(|row| text(&row["actorId"])).collect();
                let ours: Vec<&String> = actors.iter().filter(|id| listed.contains(id)).collect();
                json!({"actors": listed.len(), "listed": ours})
            }
            Goal::ActorChanged { actor, .. } => {
                let actor = self.record(&format!("/v1/actors/actor/id/{}", escape(actor))).await?;
                only(&actor, &["actorId", "name", "notes", "startDate", "endDate"])
            }

            Goal::UserActive { user, .. } => {
                let user = self.record(&format!("/v1/users/{}", escape(user))).await?;
                only(&user, &["userId", "username", "active", "blocked"])
            }
            Goal::AgentsActive { agents, .. } => {
                let mut states = Map::new();
                for id in agents {
                    let agent = self.find(&format!("/v1/agents/{}", escape(id))).await?;
                    states.insert(id.clone(), agent.map_or(Value::Null, |agent| agent["active"].clone()));
                }
                Value::Object(states)
            }
            Goal::Custodian { matter, user, .. } => {
                let path = format!("/v1/legal-hold/matters/{}/custodians", escape(matter));
                let custodians = self.rows(&path, &[], &CUSTODIANS).await?;
                let ours = custodians.iter().find(|custodian| text(&custodian["userId"]) == *user);
                json!({"is_custodian": ours.is_some_and(|ours| ours["membershipActive"] != false), "custodian": ours})
            }

            Goal::TrustAdded { fields } => {
                let all = self.rows("/v2/trusted-activities", &[], &TRUSTED).await?;
                let is_alike = |one: &&Value| one["type"] == fields["type"] && one["value"] == fields["value"];
                all.iter().find(is_alike).cloned().unwrap_or_default()
            }
            Goal::TrustChanged { id, .. } => self.record(&format!("/v2/trusted-activities/{id}")).await?,
            Goal::TrustGone { id } => self.find(&format!("/v2/trusted-activities/{id}")).await?.unwrap_or_default(),
            Goal::RuleEnabled { rule, .. } => {
                let rule = self.record(&format!("/v2/alert-rules/{}", escape(rule))).await?;
                only(&rule, &["id", "name", "isEnabled"])
            }

            Goal::NoActor { address } => json!({"address": address, "actor": null}),
            Goal::All { goals } => {
                let mut states = Vec::new();
                for goal in goals {
                    states.push(Box::pin(self.state(goal)).await?);
                }
                Value::Array(states)
            }
        })
    }

    /// Returns the ids of the file events attached to a case.
    pub async fn case_events(&self, number: u64) -> Result<Vec<String>, RespondError> {
        let events = self.rows(&format!("/v1/cases/{number}/fileevent"), &[], &CASE_EVENTS).await?;
        Ok(events.iter().map(|event| text(&event["eventId"])).collect())
    }

    /// Returns the case of exactly this name, or null. The API's filter also matches parts of names.
    pub async fn case_named(&self, name: &Value) -> Result<Value, RespondError> {
        let query = [("name".to_owned(), text(name))];
        let found = self.rows("/v1/cases", &query, &CASES).await?;
        match found.iter().find(|case| case["name"] == *name) {
            Some(case) => self.record(&format!("/v1/cases/{}", case["number"])).await,
            None => Ok(Value::Null),
        }
    }
}

/// The newest of a session's states.
pub fn current_state(session: &Value) -> Value {
    let states = session["states"].as_array();
    let newest = states.into_iter().flatten().max_by_key(|state| state["sourceTimestamp"].as_i64());
    let newest = newest.map(|newest| [&newest["stateV2"], &newest["state"]]);
    newest.into_iter().flatten().find(|state| state.is_string()).cloned().unwrap_or_default()
}

/// An id as text. Some ids are numbers.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn only(record: &Value, members: &[&str]) -> Value {
    Value::Object(members.iter().map(|name| ((*name).to_owned(), record[*name].clone())).collect())
}
