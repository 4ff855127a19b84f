//! Notes and states of sessions.

use serde_json::{Value, json};

use super::{Answered, Ids, body, empty, found, ids, missing, refused};
use crate::{
    SessionFilter,
    api::sessions,
    clock,
    http::{Reply, Request},
    world::{Dataset, WorldHandle, member_text, with_member},
};

const STATES: [&str; 7] =
    ["OPEN", "IN_PROGRESS", "CLOSED", "CLOSED_TP", "CLOSED_TP_BENIGN", "CLOSED_FP", "OPEN_NEW_DATA"];
const MOST_NOTES: usize = 100;

pub(super) fn add_note(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let body = body(request, &["noteContent"])?;
    let content = body["noteContent"].as_str().filter(|content| (1..=2_000).contains(&content.chars().count()));
    let content = content.ok_or_else(|| refused(&json!({"msg": "the note is too long, or empty"})))?;
    let session = found(world, Dataset::Sessions, &path[0])?;
    let notes = session.fields()["notes"].as_array().map_or(0, Vec::len);
    if notes >= MOST_NOTES {
        return Err(refused(&json!({"msg": "there are too many notes"})));
    }
    let note =
        json!({"id": format!("added-{notes}"), "content": content, "sourceTimestamp": now(), "userId": "key-42"});
    append(world, &path[0], "notes", &note);
    Ok(empty(204))
}

pub(super) fn change_one(world: &WorldHandle, request: &Request, path: Ids<'_>) -> Answered {
    let body = body(request, &["newState"])?;
    set(world, &path[..1], &new_state(&body)?)?;
    Ok(empty(204))
}

pub(super) fn change(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    let body = body(request, &["ids", "newState"])?;
    set(world, &ids(&body, "ids", 100)?, &new_state(&body)?)?;
    Ok(empty(204))
}

/// Changes all sessions at once. The continuation token is null.
pub(super) fn change_where(world: &WorldHandle, request: &Request, _: Ids<'_>) -> Answered {
    let body = body(request, &["continuationToken", "newState"])?;
    let state = new_state(&body)?;
    let mut rows = world.visible(Dataset::Sessions);
    sessions::filter(&mut rows, request, SessionFilter::BeginTime)?;
    let ids: Vec<String> = rows.iter().map(|session| session.id.to_string()).collect();
    set(world, &ids, &state)?;
    Ok(Reply::json(200, r#"{"continuationToken":null}"#))
}

fn new_state(body: &Value) -> Result<String, Reply> {
    let state = body["newState"].as_str().filter(|state| STATES.contains(state));
    state.map(str::to_owned).ok_or_else(|| refused(&json!({"msg": "the new state is malformed"})))
}

fn set(world: &WorldHandle, ids: &[String], state: &str) -> Result<(), Reply> {
    let all = world.visible(Dataset::Sessions);
    if !ids.iter().all(|id| all.iter().any(|session| *session.id == **id)) {
        return Err(missing());
    }
    for id in ids {
        let changed = json!({"state": state, "stateV2": state, "sourceTimestamp": now(), "userId": "key-42"});
        append(world, id, "states", &changed);
    }
    Ok(())
}

/// Appends to a list of a session. The rest of its text stays unchanged.
fn append(world: &WorldHandle, id: &str, member: &str, item: &Value) {
    world.change(Dataset::Sessions, id, |raw| {
        let mut items: Vec<Value> =
            member_text(raw, member).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        items.push(item.clone());
        with_member(raw, member, &json!(items).to_string())
    });
}

/// An instant after any state of a generated session.
fn now() -> i64 {
    clock::now().timestamp_millis().saturating_add(86_400_000)
}
