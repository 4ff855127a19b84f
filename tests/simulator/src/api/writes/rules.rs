//! Trusted activities, alert rules, and a saved search.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::{Answered, Ids, body, empty, found, refused};
use crate::{
    clock,
    http::{Reply, Request},
    world::{Dataset, WorldHandle, with_member},
};

const MEMBERS: [&str; 5] = ["activityActionGroups", "description", "isHighValueSource", "type", "value"];
const TYPES: [&str; 5] = ["ACCOUNT_NAME", "DOMAIN", "GIT_REPOSITORY_URI", "SLACK", "URL_PATH"];

pub(super) fn trust(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    super::record(world, Dataset::TrustedActivities, &path[0])
}

pub(super) fn add_trust(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    let body = checked(world, request, None)?;
    let held = world.all(Dataset::TrustedActivities);
    let last = held.iter().filter_map(|activity| activity.id.parse::<u64>().ok()).max().unwrap_or_default();
    let mut activity = json!({"activityId": (last + 1).to_string(), "principalType": "API_KEY", "updateTime": now(),
        "updatedByPrincipalId": "key-42", "updatedByPrincipalName": "responder"});
    for name in MEMBERS {
        activity[name] = body[name].clone();
    }
    Ok(Reply::json(200, world.push_record(Dataset::TrustedActivities, activity.to_string()).to_string()))
}

pub(super) fn update_trust(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    found(world, Dataset::TrustedActivities, &path[0])?;
    let body = checked(world, request, Some(&path[0]))?;
    let changed = world.change(Dataset::TrustedActivities, &path[0], |raw| {
        let raw = with_member(raw, "updateTime", &json!(now()).to_string());
        MEMBERS.iter().fold(raw, |raw, name| with_member(&raw, name, &body[*name].to_string()))
    });
    Ok(Reply::json(200, changed.to_string()))
}

pub(super) fn delete_trust(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    let activity = found(world, Dataset::TrustedActivities, &path[0])?;
    world.remove(Dataset::TrustedActivities, &path[0]);
    Ok(Reply::json(200, activity.raw.to_string()))
}

fn checked(world: &WorldHandle, request: &Request, own: Option<&str>) -> Result<Value, Reply> {
    let body = body(request, &MEMBERS)?;
    let is_whole = body["type"].as_str().is_some_and(|kind| TYPES.contains(&kind))
        && body["value"].is_string()
        && body["activityActionGroups"].as_array().is_some_and(|groups| !groups.is_empty());
    if !is_whole {
        return Err(refused(
            &json!({"code": "BAD_REQUEST", "message": "type, value and activityActionGroups are required"}),
        ));
    }
    let others = world.all(Dataset::TrustedActivities).into_iter().filter(|other| Some(&*other.id) != own);
    let mut alike =
        others.filter(|other| other.fields()["type"] == body["type"] && other.fields()["value"] == body["value"]);
    match alike.next() {
        Some(_) => Err(Reply::json(409, r#"{"code":"CONFLICT","message":"there is such an activity already"}"#)),
        None => Ok(body),
    }
}

pub(super) fn enable(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    set(world, &path[0], true)
}

pub(super) fn disable(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    set(world, &path[0], false)
}

fn set(world: &WorldHandle, id: &str, enabled: bool) -> Answered {
    found(world, Dataset::AlertRules, id).map_err(|_| refused(&json!({"message": "there is no such rule"})))?;
    world.change(Dataset::AlertRules, id, |raw| with_member(raw, "isEnabled", &enabled.to_string()));
    Ok(empty(204))
}

fn now() -> String {
    clock::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// One saved search, in a list with one element (`OpenAPI`; SDK, `file_events/client.py`).
pub(super) fn saved_search(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    match found(world, Dataset::SavedSearches, &path[0]) {
        Ok(search) => Ok(Reply::json(200, format!(r#"{{"searches":[{}]}}"#, search.raw))),
        Err(_) => Err(Reply::json(404, r#"{"searches":null}"#)),
    }
}
