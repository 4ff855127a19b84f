//! The writes, and the single records that are read before and after them (`OpenAPI`; SDK, each endpoint's
//! `client.py`). Refuses what the `OpenAPI` refuses, in the same words.

mod cases;
mod people;
mod rules;
mod sessions;

use serde_json::{Value, json};

use super::route;
use crate::{
    fault::Endpoint,
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// The parts of the path where the pattern has `{}`.
type Ids<'a> = &'a [String];
type Answered = Result<Reply, Reply>;
type Handler = fn(&WorldHandle, &Request, Ids<'_>) -> Answered;

pub(super) const ROUTES: [(&str, &str, Endpoint, Handler); 36] = [
    ("POST", "/v1/sessions/{}/add-note", Endpoint::Write, sessions::add_note),
    ("POST", "/v1/sessions/{}/change-state", Endpoint::Write, sessions::change_one),
    ("POST", "/v1/sessions/change-state", Endpoint::Write, sessions::change),
    ("POST", "/v1/sessions/change-states", Endpoint::Write, sessions::change_where),
    ("POST", "/v1/cases", Endpoint::Write, cases::create),
    ("PUT", "/v1/cases/{}", Endpoint::Write, cases::update),
    ("DELETE", "/v1/cases/{}", Endpoint::Write, cases::delete),
    ("POST", "/v1/cases/{}/fileevent", Endpoint::Write, cases::add_events),
    ("POST", "/v1/cases/{}/fileevent/{}", Endpoint::Write, cases::add_event),
    ("DELETE", "/v1/cases/{}/fileevent/{}", Endpoint::Write, cases::remove_event),
    ("POST", "/v2/watchlists/{}/included-actors/add", Endpoint::Write, people::include),
    ("POST", "/v2/watchlists/{}/included-actors/delete", Endpoint::Write, people::leave_out),
    ("POST", "/v2/watchlists/{}/excluded-actors/add", Endpoint::Write, people::exclude),
    ("POST", "/v2/watchlists/{}/excluded-actors/delete", Endpoint::Write, people::unexclude),
    ("PATCH", "/v1/actors/actor/id/{}", Endpoint::Write, people::update_actor),
    ("POST", "/v1/users/{}/activate", Endpoint::Write, people::activate_user),
    ("POST", "/v1/users/{}/deactivate", Endpoint::Write, people::deactivate_user),
    ("POST", "/v1/agents/activate", Endpoint::Write, people::activate_agents),
    ("POST", "/v1/agents/deactivate", Endpoint::Write, people::deactivate_agents),
    ("POST", "/v1/legal-hold/matters/{}/custodians", Endpoint::Write, people::add_custodian),
    ("POST", "/v1/legal-hold/matters/{}/custodians/remove", Endpoint::Write, people::remove_custodian),
    ("POST", "/v2/trusted-activities", Endpoint::Write, rules::add_trust),
    ("PATCH", "/v2/trusted-activities/{}", Endpoint::Write, rules::update_trust),
    ("DELETE", "/v2/trusted-activities/{}", Endpoint::Write, rules::delete_trust),
    ("POST", "/v2/alert-rules/{}/enable", Endpoint::Write, rules::enable),
    ("POST", "/v2/alert-rules/{}/disable", Endpoint::Write, rules::disable),
    ("GET", "/v1/users/{}", Endpoint::Detail, |world, _, ids| record(world, Dataset::Users, &ids[0])),
    ("GET", "/v1/agents/{}", Endpoint::Detail, |world, _, ids| record(world, Dataset::Agents, &ids[0])),
    ("GET", "/v1/actors/actor/id/{}", Endpoint::ActorDetail, |world, _, ids| record(world, Dataset::Actors, &ids[0])),
    ("GET", "/v1/actors/actor/name/{}/parent", Endpoint::Detail, people::parent_by_name),
    ("GET", "/v1/legal-hold/custodians/{}", Endpoint::Detail, people::matters_of_user),
    ("GET", "/v2/trusted-activities/{}", Endpoint::Detail, rules::trust),
    ("GET", "/v2/alert-rules/{}", Endpoint::Detail, |world, _, ids| record(world, Dataset::AlertRules, &ids[0])),
    ("GET", "/v1/legal-hold/matters/{}", Endpoint::Detail, |world, _, ids| record(world, Dataset::Matters, &ids[0])),
    ("GET", "/v2/file-events/saved-searches/{}", Endpoint::SavedSearch, rules::saved_search),
    ("GET", "/v2/watchlists/{}", Endpoint::Detail, |world, _, ids| record(world, Dataset::Watchlists, &ids[0])),
];

pub(super) fn answer(world: &WorldHandle, request: &Request) -> Answered {
    for (method, pattern, _, handler) in ROUTES {
        if method == request.method.as_str()
            && let Some(ids) = route::placeholders(pattern, &request.path)
        {
            return handler(world, request, &ids);
        }
    }
    Err(missing())
}

fn record(world: &WorldHandle, dataset: Dataset, id: &str) -> Answered {
    found(world, dataset, id).map(|record| Reply::json(200, record.raw.to_string()))
}

fn found(world: &WorldHandle, dataset: Dataset, id: &str) -> Result<Record, Reply> {
    world.visible(dataset).into_iter().find(|record| *record.id == *id).ok_or_else(missing)
}

fn missing() -> Reply {
    Reply::json(404, "{}")
}

fn empty(status: u16) -> Reply {
    Reply::json(status, "")
}

fn refused(body: &Value) -> Reply {
    Reply::json(400, body.to_string())
}

/// Returns the body. Refuses members that the `OpenAPI` doesn't have.
fn body(request: &Request, known: &[&str]) -> Result<Value, Reply> {
    let body = request.json();
    let unknown = body.as_object().and_then(|members| members.keys().find(|name| !known.contains(&name.as_str())));
    match unknown {
        Some(unknown) => Err(refused(&json!({"msg": format!("unknown member {unknown}")}))),
        None if body.is_object() => Ok(body),
        None => Err(refused(&json!({"msg": "the body is no object"}))),
    }
}

/// Returns a list of at most `most` ids.
fn ids(body: &Value, name: &str, most: usize) -> Result<Vec<String>, Reply> {
    let ids: Option<Vec<String>> =
        body[name].as_array().map(|ids| ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect());
    ids.filter(|ids| (1..=most).contains(&ids.len()))
        .ok_or_else(|| refused(&json!({"msg": format!("{name} must hold from 1 to {most} ids")})))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
