//! Cases (SDK, `cases/client.py`; `updatedAt` and `subject` by the Swimlane connector and py42).

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{
    page::{self, Twist},
    route,
    time::{self, EdgePolicy},
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle, text_at, without_members},
};

/// The greatest page, which is also the default (`OpenAPI`).
const MAX_PAGE: usize = 2_147_483_647;

const STATUSES: [&str; 3] = ["OPEN", "CLOSED", "ARCHIVED"];
const SORT_KEYS: [&str; 8] =
    ["name", "number", "createdAt", "updatedAt", "status", "assigneeUsername", "subjectUsername", "archivalTime"];

/// The members that only a case's detail has.
const DETAILS: [&str; 2] = ["description", "findings"];

/// `GET` of one file event of a case.
pub(super) const EVENT_DETAIL: &str = "/v1/cases/{}/fileevent/{}";

/// `GET /v1/cases`, offset paging from 1.
pub(super) fn list(world: &WorldHandle, request: &Request, edges: EdgePolicy, twist: Twist) -> Result<Reply, Reply> {
    let page = within(request, "pgNum", 1).ok_or_else(|| refused("INVALID_PAGE_NUMBER", "pgNum"))?;
    let size = within(request, "pgSize", MAX_PAGE).ok_or_else(|| refused("INVALID_PAGE_SIZE", "pgSize"))?;
    let rows = rows(world, request, edges, twist)?;
    let items = twist.page(&rows, page - 1, twist.size(size)).iter().map(item).collect::<Vec<_>>().join(",");
    Ok(Reply::json(200, format!(r#"{{"cases":[{items}],"totalCount":{}}}"#, twist.total(rows.len()))))
}

/// A parameter that must be from 1 to [`MAX_PAGE`].
fn within(request: &Request, name: &str, default: usize) -> Option<usize> {
    page::number(request, name, default).ok().filter(|held| (1..=MAX_PAGE).contains(held))
}

/// 400 with one of the enumerated problems (`OpenAPI`, `CaseProblemResponse`).
fn refused(problem: &str, parameter: &str) -> Reply {
    Reply::json(400, json!({"problem": problem, "description": format!("{parameter} is wrong")}).to_string())
}

/// Returns every case that the filters match, in the requested order.
pub(super) fn rows(
    world: &WorldHandle,
    request: &Request,
    edges: EdgePolicy,
    twist: Twist,
) -> Result<Vec<Record>, Reply> {
    let mut rows = world.visible(Dataset::Cases);
    filter(&mut rows, request, edges)?;
    sort(&mut rows, request);
    twist.arrange(&mut rows);
    Ok(rows)
}

/// A case in the form of the list.
pub(super) fn item(case: &Record) -> String {
    without_members(&case.raw, &DETAILS)
}

/// `GET /v1/cases/{number}`: the whole record, or 404.
pub(super) fn detail(world: &WorldHandle, request: &Request) -> Reply {
    let number = number_in(&request.path).unwrap_or_default();
    let case = world.visible(Dataset::Cases).into_iter().find(|case| *case.id == *number);
    match case {
        Some(case) => Reply::json(200, case.raw.to_string()),
        None => page::problem(404, "Not Found", request),
    }
}

pub(super) fn number_in(path: &str) -> Option<&str> {
    let number = path.strip_prefix("/v1/cases/")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn filter(rows: &mut Vec<Record>, request: &Request, edges: EdgePolicy) -> Result<(), Reply> {
    // No problem is enumerated for these. This is the nearest.
    let unknown = |parameter| move |_| refused("INVALID_CHAR_IN_REQUEST", parameter);
    for (name, known) in [("status", &STATUSES[..]), ("srtKey", &SORT_KEYS), ("srtDir", &["asc", "desc"])] {
        page::one_of(request, name, known).map_err(unknown(name))?;
    }
    if let Some(assigned) = page::flag(request, "isAssigned").map_err(unknown("isAssigned"))? {
        rows.retain(|case| case.fields()["assignee"].is_string() == assigned);
    }
    let mut statuses = Vec::new();
    for (name, wanted) in request.parameters() {
        match name.as_str() {
            "status" => statuses.push(wanted),
            "assignee" => rows.retain(|case| case.fields()["assignee"] == *wanted),
            "subject" => rows.retain(|case| case.fields()["subject"] == *wanted),
            "lastModifiedBy" => {
                rows.retain(|case| case.fields()["lastModifiedByUserUid"] == *wanted);
            }
            "name" => {
                let wanted = wanted.to_lowercase();
                let named = |case: &Record| case.fields()["name"].as_str().map(str::to_lowercase);
                rows.retain(|case| named(case).is_some_and(|name| name.contains(&wanted)));
            }
            "createdAt" | "updatedAt" => {
                let (from, to) = interval(&wanted).ok_or_else(|| refused("INVALID_TIME_INTERVAL", &name))?;
                let fits = |time| edges.not_before(time, from) && edges.not_after(time, to);
                rows.retain(|case| case.fields()[&name].as_str().and_then(time::parse).is_some_and(fits));
            }
            _ => {}
        }
    }
    rows.retain(|case| statuses.is_empty() || statuses.iter().any(|status| case.fields()["status"] == **status));
    Ok(())
}

/// `2020-08-31T11:00:00Z/2020-09-01T15:30:00Z`.
fn interval(text: &str) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (from, to) = text.split_once('/')?;
    Some((time::parse(from)?, time::parse(to)?))
}

/// By each key in the direction of the same place, then by number (`OpenAPI`: "one or more values").
fn sort(rows: &mut [Record], request: &Request) {
    let parameters = request.parameters();
    let held = |name: &str| -> Vec<&str> {
        parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    };
    let directions: Vec<bool> =
        held("srtDir").into_iter().map(|direction| direction.eq_ignore_ascii_case("desc")).collect();
    let is_descending = |nth: usize| directions.get(nth).or(directions.last()).copied().unwrap_or_default();
    let keys: Vec<(&str, bool)> =
        held("srtKey").into_iter().chain(["number"]).enumerate().map(|(nth, key)| (key, is_descending(nth))).collect();
    rows.sort_by(|a, b| {
        let by_key = |(key, descending): &(&str, bool)| {
            let ascending = page::compare(&a.fields()[*key], &b.fields()[*key]);
            if *descending { ascending.reverse() } else { ascending }
        };
        keys.iter().map(by_key).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

/// A case's file event in the form of the list (SDK, `cases/models.py`, `FileEvent`).
pub(super) fn event_summary(event: &Record) -> String {
    let id = json!(&*event.id).to_string();
    let text = |path: &[&str]| text_at(&event.raw, path).unwrap_or("null");
    let members = [
        ("eventId", &*id),
        ("eventTimestamp", text(&["@timestamp"])),
        ("exposure", text(&["event", "shareType"])),
        ("fileAvailability", "\"NO_FILE_AVAILABLE\""),
        ("fileName", text(&["file", "name"])),
        ("filePath", text(&["file", "directory"])),
        ("riskIndicators", text(&["risk", "indicators"])),
        ("riskScore", text(&["risk", "score"])),
        ("riskSeverity", text(&["risk", "severity"])),
    ];
    let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.join(","))
}

/// `GET /v1/cases/{number}/fileevent/{eventId}`: the whole v2 event.
pub(super) fn event_detail(world: &WorldHandle, request: &Request) -> Reply {
    let ids = route::placeholders(EVENT_DETAIL, &request.path).unwrap_or_default();
    let [number, id] = &ids[..] else {
        return page::not_found(request);
    };
    let events = world.visible_children(Dataset::CaseFileEvents, number);
    match events.into_iter().find(|event| *event.id == **id && world.shows(Dataset::Cases, number)) {
        Some(event) => Reply::json(200, event.raw.to_string()),
        None => page::not_found(request),
    }
}
