//! Watchlists, actors, users, agents and legal hold.

use chrono::{NaiveDate, SecondsFormat};
use serde_json::{Value, json};

use super::{Answered, Ids, body, empty, found, ids, missing, refused, text};
use crate::{
    clock,
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle, with_member},
};

pub(super) fn include(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    list(world, request, &path[0], Dataset::IncludedActors, true)
}

pub(super) fn leave_out(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    list(world, request, &path[0], Dataset::IncludedActors, false)
}

pub(super) fn exclude(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    list(world, request, &path[0], Dataset::ExcludedActors, true)
}

pub(super) fn unexclude(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    list(world, request, &path[0], Dataset::ExcludedActors, false)
}

/// An included actor is a member unless it is excluded.
fn list(world: &WorldHandle, request: &Request, id: &str, part: Dataset, present: bool) -> Answered {
    // The body names the list only for included actors (`OpenAPI`).
    let known: &[&str] = if part == Dataset::IncludedActors { &["actorIds", "watchlistId"] } else { &["actorIds"] };
    let body = body(request, known)?;
    found(world, Dataset::Watchlists, id)?;
    let actors = ids(&body, "actorIds", 100)?;
    for actor in &actors {
        let actor = found(world, Dataset::Actors, actor)?;
        let is_in = |dataset| world.children(dataset, id).iter().any(|row| row.id == actor.id);
        let row = json!({"addedTime": now(), "actorId": &*actor.id, "actorname": actor.fields()["name"]}).to_string();
        if present && !is_in(part) {
            world.push_child(part, id, row.clone());
        } else if !present {
            world.remove_child(part, id, &actor.id);
        }
        let is_member = is_in(Dataset::IncludedActors) && !is_in(Dataset::ExcludedActors);
        if is_member && !is_in(Dataset::WatchlistMembers) {
            world.push_child(Dataset::WatchlistMembers, id, row);
        } else if !is_member {
            world.remove_child(Dataset::WatchlistMembers, id, &actor.id);
        }
    }
    Ok(Reply::json(200, "{}"))
}

pub(super) fn update_actor(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let body = body(request, &["notes", "startDate", "endDate"])?;
    found(world, Dataset::Actors, &path[0])?;
    for name in ["startDate", "endDate"] {
        let is_date = body[name].as_str().is_none_or(|text| text.parse::<NaiveDate>().is_ok());
        if !is_date {
            return Err(refused(&json!({"problem": format!("{name} is no date")})));
        }
    }
    let changed = world.change(Dataset::Actors, &path[0], |raw| {
        let members = body.as_object().into_iter().flatten();
        members.fold(raw.to_owned(), |raw, (name, value)| with_member(&raw, name, &value.to_string()))
    });
    Ok(Reply::json(200, changed.to_string()))
}

/// Returns the actor with this name, or its parent.
pub(super) fn parent_by_name(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    let actors = world.visible(Dataset::Actors);
    let is_named =
        |actor: &&Record| actor.fields()["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&path[0]));
    let actor = actors.iter().find(is_named).ok_or_else(missing)?;
    let parent = actor.fields()["parentActorId"].as_str();
    let parent = actors.iter().find(|other| Some(&*other.id) == parent);
    Ok(Reply::json(200, parent.unwrap_or(actor).raw.to_string()))
}

pub(super) fn activate_user(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    set_user(world, &path[0], true)
}

pub(super) fn deactivate_user(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    if held_in(world, &path[0]).iter().any(|matter| matter.fields()["active"] == true) {
        return Err(refused(&json!({"problem": "ACTIVE_LEGAL_HOLD"})));
    }
    set_user(world, &path[0], false)
}

fn set_user(world: &WorldHandle, id: &str, active: bool) -> Answered {
    found(world, Dataset::Users, id)?;
    world.update_user(id, |raw| {
        with_member(&with_member(raw, "active", &active.to_string()), "blocked", &(!active).to_string())
    });
    Ok(empty(200))
}

pub(super) fn activate_agents(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    set_agents(world, request, true)
}

pub(super) fn deactivate_agents(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    set_agents(world, request, false)
}

/// Refuses the whole request if one of the agents doesn't exist.
fn set_agents(world: &WorldHandle, request: &Request, active: bool) -> Answered {
    let body = body(request, &["agentIds"])?;
    let agents = ids(&body, "agentIds", 1_000)?;
    let not_found: Vec<&String> = agents.iter().filter(|id| found(world, Dataset::Agents, id).is_err()).collect();
    if !not_found.is_empty() {
        return Err(Reply::json(404, json!({"agentsNotFound": not_found}).to_string()));
    }
    for id in &agents {
        world.change(Dataset::Agents, id, |raw| with_member(raw, "active", &active.to_string()));
    }
    Ok(empty(204))
}

pub(super) fn add_custodian(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let body = body(request, &["userId"])?;
    let (matter, user) = matter_and_user(world, &path[0], &body)?;
    if matter.fields()["active"] != true || user.fields()["active"] != true {
        return Err(refused(&json!({"message": "the matter or the user is inactive"})));
    }
    if is_custodian(world, &path[0], &user.id) {
        return Err(refused(&json!({"message": "the user is already a member"})));
    }
    world.remove_child(Dataset::Custodians, &path[0], &user.id);
    let name = &user.fields()["username"];
    let row = json!({"membershipActive": true, "membershipCreationDate": now(), "userId": &*user.id, "name": null,
        "email": name, "username": name});
    world.push_child(Dataset::Custodians, &path[0], row.to_string());
    let told = json!({"membershipActive": true, "membershipCreationDate": row["membershipCreationDate"],
        "matter": {"matterId": &*matter.id, "name": matter.fields()["name"]},
        "custodian": {"userId": &*user.id, "username": name, "email": name}});
    Ok(Reply::json(200, told.to_string()))
}

pub(super) fn remove_custodian(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let body = body(request, &["userId"])?;
    let (_, user) = matter_and_user(world, &path[0], &body)?;
    if !is_custodian(world, &path[0], &user.id) {
        return Err(refused(&json!({"message": "the user is no member"})));
    }
    world.remove_child(Dataset::Custodians, &path[0], &user.id);
    Ok(empty(200))
}

/// A 401 means "not authorized, or not found" (`OpenAPI`).
fn matter_and_user(world: &WorldHandle, matter: &str, body: &Value) -> Result<(Record, Record), Reply> {
    let unknown = |_| Reply::json(401, r#"{"message":"not authorized, or not found"}"#);
    let matter = found(world, Dataset::Matters, matter).map_err(unknown)?;
    let user = found(world, Dataset::Users, &text(&body["userId"])).map_err(unknown)?;
    Ok((matter, user))
}

fn is_custodian(world: &WorldHandle, matter: &str, user: &str) -> bool {
    let custodians = world.children(Dataset::Custodians, matter);
    custodians.iter().any(|row| *row.id == *user && row.fields()["membershipActive"] == true)
}

fn held_in(world: &WorldHandle, user: &str) -> Vec<Record> {
    let matters = world.visible(Dataset::Matters);
    matters.into_iter().filter(|matter| is_custodian(world, &matter.id, user)).collect()
}

/// `GET /v1/legal-hold/custodians/{userId}`: the first page has all rows, the others none.
pub(super) fn matters_of_user(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    found(world, Dataset::Users, &path[0])?;
    let is_first = request.parameter("page").is_none_or(|page| page == "1");
    let matters: Vec<Value> = held_in(world, &path[0])
        .iter()
        .filter(|_| is_first)
        .map(|matter| {
            json!({"membershipActive": true, "membershipCreationDate": now(), "matterId": &*matter.id,
                "name": matter.fields()["name"]})
        })
        .collect();
    Ok(Reply::json(200, json!({"matters": matters}).to_string()))
}

fn now() -> String {
    clock::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}
