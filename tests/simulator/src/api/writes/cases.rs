//! Cases and their attached events.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::{Answered, Ids, empty, found, missing, refused, text};
use crate::{
    clock,
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle, with_member},
};

/// The real limits are not published. These are small, so that tests reach them.
const MOST_EVENTS_AT_ONCE: usize = 10;
const MOST_EVENTS: usize = 200;
const EDITABLE: [&str; 5] = ["name", "description", "findings", "subject", "assignee"];

pub(super) fn create(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    let body = checked(world, request, None)?;
    let numbers = world.cases().iter().filter_map(|case| case.id.parse::<u64>().ok()).max().unwrap_or_default();
    let now = clock::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut case = json!({
        "number": numbers + 1, "name": body["name"], "createdAt": now, "updatedAt": now, "status": "OPEN",
        "createdByUserUid": "key-42", "createdByUsername": "", "lastModifiedByUserUid": "key-42",
        "lastModifiedByUsername": "", "archivalTime": null,
    });
    for name in &EDITABLE[1..] {
        case[*name] = body[*name].clone();
    }
    case["subjectUsername"] = name_of(world, Dataset::Actors, &body["subject"], "name");
    case["assigneeUsername"] = name_of(world, Dataset::Users, &body["assignee"], "username");
    Ok(Reply::json(200, world.push_case(case.to_string()).to_string()))
}

/// Replaces the whole object: missing members become null.
pub(super) fn update(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let case = found(world, Dataset::Cases, &path[0])?;
    check_open(&case)?;
    let body = checked(world, request, Some(&path[0]))?;
    let status = body["status"].as_str().filter(|status| ["OPEN", "CLOSED", "ARCHIVED"].contains(status));
    let status = status.ok_or_else(|| problem("INVALID_STATUS"))?;
    let changed = world.update_case(&path[0], |raw| {
        let mut raw = with_member(raw, "status", &json!(status).to_string());
        for name in EDITABLE {
            raw = with_member(&raw, name, &body[name].to_string());
        }
        with_member(&raw, "lastModifiedByUserUid", "\"key-42\"")
    });
    if status == "ARCHIVED" {
        for event in world.children(Dataset::CaseFileEvents, &path[0]) {
            world.remove_child(Dataset::CaseFileEvents, &path[0], &event.id);
        }
    }
    Ok(Reply::json(200, changed.to_string()))
}

pub(super) fn delete(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    found(world, Dataset::Cases, &path[0])?;
    world.remove(Dataset::Cases, &path[0]);
    Ok(empty(204))
}

pub(super) fn add_events(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let events: Vec<String> = request.json()["events"].as_array().into_iter().flatten().map(text).collect();
    if events.is_empty() || events.len() > MOST_EVENTS_AT_ONCE {
        return Err(problem("MAX_EVENTS_PER_REQUEST_EXCEEDED"));
    }
    attach(world, &path[0], &events)
}

pub(super) fn add_event(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    attach(world, &path[0], &path[1..])
}

fn attach(world: &WorldHandle, number: &str, ids: &[String]) -> Answered {
    let case = found(world, Dataset::Cases, number).map_err(|_| problem("CASE_DOES_NOT_EXIST"))?;
    check_events_open(&case)?;
    let held = world.children(Dataset::CaseFileEvents, number);
    if held.len() + ids.len() > MOST_EVENTS {
        return Err(problem("MAX_EVENTS_PER_CASE_EXCEEDED"));
    }
    let all = world.file_events();
    let mut events = Vec::new();
    for id in ids {
        if held.iter().any(|event| *event.id == **id) {
            return Err(problem("CASE_ALREADY_HAS_EVENT"));
        }
        events.push(all.iter().find(|event| *event.id == **id).ok_or_else(|| problem("EVENT_DOES_NOT_EXIST"))?);
    }
    for event in events {
        world.push_child(Dataset::CaseFileEvents, number, event.raw.to_string());
    }
    Ok(empty(204))
}

pub(super) fn remove_event(world: &WorldHandle, _: &Request, path: Ids<'_>) -> Answered {
    check_events_open(&found(world, Dataset::Cases, &path[0])?)?;
    let held = world.children(Dataset::CaseFileEvents, &path[0]);
    held.iter().find(|event| *event.id == *path[1]).ok_or_else(missing)?;
    world.remove_child(Dataset::CaseFileEvents, &path[0], &path[1]);
    Ok(empty(204))
}

fn checked(world: &WorldHandle, request: &Request, own: Option<&str>) -> Result<Value, Reply> {
    let body = request.json();
    let name = body["name"].as_str().unwrap_or_default();
    let is_taken = |case: &Record| case.fields()["name"] == *name && Some(&*case.id) != own;
    let longer = |member: &str, most: usize| body[member].as_str().is_some_and(|text| text.chars().count() > most);
    let known = |dataset, member: &str| body[member].is_null() || found(world, dataset, &text(&body[member])).is_ok();
    match () {
        () if name.is_empty() => Err(problem("NAME_EMPTY")),
        () if longer("name", 50) => Err(problem("NAME_TOO_LONG")),
        () if world.cases().iter().any(is_taken) => Err(problem("NAME_EXISTS")),
        () if longer("description", 250) => Err(problem("DESCRIPTION_TOO_LONG")),
        () if longer("findings", 30_000) => Err(problem("FINDINGS_TOO_LONG")),
        () if !known(Dataset::Actors, "subject") || !known(Dataset::Users, "assignee") => Err(problem("INVALID_USER")),
        () => Ok(body),
    }
}

fn check_open(case: &Record) -> Result<(), Reply> {
    match case.fields()["status"].as_str() {
        Some("CLOSED") => Err(problem("NO_EDITS_ONCE_CLOSED")),
        Some("ARCHIVED") => Err(problem("NO_EDITS_ONCE_ARCHIVED")),
        _ => Ok(()),
    }
}

fn check_events_open(case: &Record) -> Result<(), Reply> {
    if case.fields()["status"] == "OPEN" { Ok(()) } else { Err(problem("CASE_IS_CLOSED")) }
}

fn name_of(world: &WorldHandle, dataset: Dataset, id: &Value, member: &str) -> Value {
    let record = world.all(dataset).into_iter().find(|record| *record.id == *text(id));
    record.map_or(Value::Null, |record| record.fields()[member].clone())
}

fn problem(problem: &str) -> Reply {
    refused(&json!({"problem": problem, "description": null}))
}
