//! The audit log (SDK, `audit_log/client.py`): offset paging from 0, newest first, no ids.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    page::{self, Twist},
    time::{self, EdgePolicy},
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

const MAX_PAGE: u64 = 10_000;
const USER_TYPES: [&str; 5] = ["USER", "SUPPORT_USER", "API_CLIENT", "SYSTEM", "UNKNOWN"];

/// `POST /v1/audit/search-audit-log`. A page past the end has no `events` at all (code42cli, `cmds/auditlogs.py`).
pub(super) fn search(world: &WorldHandle, request: &Request, edges: EdgePolicy, twist: Twist) -> Reply {
    let body = request.json();
    let Some(page) = page::whole(&body["page"], 0) else {
        return page::problem(400, "page must be a number", request);
    };
    let Some(size) = page::whole(&body["pageSize"], 100).filter(|size| (1..=MAX_PAGE).contains(size)) else {
        return page::problem(400, "pageSize must be between 1 and 10000", request);
    };
    let rows = match matching(world, request, &body, edges, twist) {
        Ok(rows) => rows,
        Err(refused) => return refused,
    };
    let (page, size) = (to_usize(page), twist.size(to_usize(size)));
    let start = page.saturating_mul(size);
    let events = twist.page(&rows, page, size);
    if events.is_empty() && page > 0 {
        let beyond = json!({
            "paginationRangeStartIndex": start,
            "paginationRangeEndIndex": start,
            "totalResultCount": twist.total(rows.len()),
        });
        return Reply::json(200, beyond.to_string());
    }
    let end = start + events.len();
    let events = page::array(events);
    Reply::json(
        200,
        format!(r#"{{"events":{events},"paginationRangeStartIndex":{start},"paginationRangeEndIndex":{end}}}"#),
    )
}

/// `POST /v1/audit/search-results-export`: the same search, "specifically for large result sets", all at once
/// (`OpenAPI`, which says nothing of the answer's shape).
pub(super) fn export(world: &WorldHandle, request: &Request, edges: EdgePolicy, is_bare: bool, twist: Twist) -> Reply {
    match matching(world, request, &request.json(), edges, twist) {
        Ok(rows) if is_bare => Reply::json(200, page::array(&rows)),
        Ok(rows) => Reply::json(200, format!(r#"{{"events":{}}}"#, page::array(&rows))),
        Err(refused) => refused,
    }
}

/// `POST /v1/audit/search-results-count`.
pub(super) fn count(world: &WorldHandle, request: &Request, edges: EdgePolicy, twist: Twist) -> Reply {
    match matching(world, request, &request.json(), edges, twist) {
        Ok(rows) => Reply::json(200, format!(r#"{{"totalResultCount":{}}}"#, twist.total(rows.len()))),
        Err(refused) => refused,
    }
}

/// The rows that a search finds, newest first; 400 for an `endTime` without a `startTime` (code42cli, PR 160).
fn matching(
    world: &WorldHandle,
    request: &Request,
    body: &Value,
    edges: EdgePolicy,
    twist: Twist,
) -> Result<Vec<Record>, Reply> {
    if !body.is_object() {
        return Err(page::problem(400, "the body must be a JSON object", request));
    }
    let mut types = body["userTypes"].as_array().into_iter().flatten();
    if let Some(other) = types.find(|wanted| !USER_TYPES.iter().any(|known| is_type(wanted, known))) {
        return Err(page::problem(400, &format!("{other} is no type of user"), request));
    }
    let from = bound(&body["dateRange"]["startTime"]);
    let to = bound(&body["dateRange"]["endTime"]);
    if to.is_some() && from.is_none() {
        return Err(page::problem(400, "endTime needs a startTime", request));
    }
    let is_meant = |event: &Record| in_span(event.time, from, to, edges) && passes(event, body);
    let mut rows = world.visible_if(Dataset::Audit, is_meant);
    page::newest_first(&mut rows);
    twist.arrange(&mut rows);
    Ok(rows)
}

/// The search enumerates the types in capitals, the export doesn't (`OpenAPI`).
fn is_type(held: &Value, wanted: &str) -> bool {
    held.as_str().is_some_and(|held| held.eq_ignore_ascii_case(wanted))
}

fn bound(seconds: &Value) -> Option<DateTime<Utc>> {
    time::from_epoch_seconds(seconds.as_f64()?)
}

pub(super) fn in_span(
    time: DateTime<Utc>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    edges: EdgePolicy,
) -> bool {
    from.is_none_or(|from| edges.not_before(time, from)) && to.is_none_or(|to| edges.not_after(time, to))
}

/// Each filter is a list; one of its items must match. Null means no filter.
fn passes(event: &Record, body: &Value) -> bool {
    let filter = |name: &str, fits: &dyn Fn(&Value, &str) -> bool| {
        let Some(wanted) = body[name].as_array() else {
            return true;
        };
        wanted.iter().filter_map(Value::as_str).any(|wanted| fits(event.fields(), wanted))
    };
    let member = |name: &'static str| move |event: &Value, wanted: &str| event[name] == *wanted;
    filter("actorIds", &member("actorId"))
        && filter("actorNames", &member("actorName"))
        && filter("eventTypes", &member("type$"))
        && filter("userTypes", &|event, wanted| is_type(&event["actorType"], wanted))
        // One string may contain several addresses.
        && filter("actorIpAddresses", &|event, wanted| {
            event["actorIpAddress"].as_str().is_some_and(|text| text.split(", ").any(|address| address == wanted))
        })
        && filter("resourceIds", &|event, wanted| names_resource(event, wanted))
}

/// The member that contains a resource's id depends on the event's type.
fn names_resource(event: &Value, wanted: &str) -> bool {
    let members = event.as_object().into_iter().flatten();
    members.into_iter().any(|(name, value)| name.ends_with("Id") && name != "actorId" && value == wanted)
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
