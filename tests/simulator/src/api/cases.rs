//! Cases (SDK, `cases/client.py`; `updatedAt` and `subject` by the Swimlane connector and py42).

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    page::{self, Twist},
    time::{self, EdgePolicy},
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle, without_members},
};

/// A larger page is cut to this (py42 sends 500).
const MAX_PAGE: usize = 500;

/// What only a case's detail has.
const DETAILS: [&str; 2] = ["description", "findings"];

/// `GET /v1/cases`, offset paging from 1.
pub(super) fn list(world: &WorldHandle, request: &Request, edges: EdgePolicy, twist: Twist) -> Reply {
    let (page, size) = match (page::number(request, "pgNum", 1), page::number(request, "pgSize", 100)) {
        (Ok(page), Ok(size)) => (page.max(1) - 1, size.clamp(1, MAX_PAGE)),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let mut rows = world.visible(Dataset::Cases);
    if let Err(refused) = filter(&mut rows, request, edges) {
        return refused;
    }
    sort(&mut rows, request);
    twist.arrange(&mut rows);
    let items = twist.page(&rows, page, size).iter().map(|case| without_members(&case.raw, &DETAILS));
    let items: Vec<String> = items.collect();
    Reply::json(200, format!(r#"{{"cases":[{}],"totalCount":{}}}"#, items.join(","), twist.total(rows.len())))
}

/// `GET /v1/cases/{number}`: the whole record; 404 for a number that isn't there.
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
    let mut statuses = Vec::new();
    for (name, wanted) in request.parameters() {
        match name.as_str() {
            "status" => statuses.push(wanted),
            "assignee" => rows.retain(|case| case.fields()["assignee"] == *wanted),
            "subject" => rows.retain(|case| case.fields()["subject"] == *wanted),
            "lastModifiedBy" => {
                rows.retain(|case| case.fields()["lastModifiedByUserUid"] == *wanted);
            }
            "isAssigned" => {
                let assigned = wanted.eq_ignore_ascii_case("true");
                rows.retain(|case| case.fields()["assignee"].is_string() == assigned);
            }
            "name" => {
                let wanted = wanted.to_lowercase();
                let named = |case: &Record| case.fields()["name"].as_str().map(str::to_lowercase);
                rows.retain(|case| named(case).is_some_and(|name| name.contains(&wanted)));
            }
            "createdAt" | "updatedAt" => {
                let refused = || page::problem(400, &format!("{name} must be <from>/<to>"), request);
                let (from, to) = interval(&wanted).ok_or_else(refused)?;
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

fn sort(rows: &mut [Record], request: &Request) {
    let key = request.parameter("srtKey").unwrap_or_else(|| "number".to_owned());
    rows.sort_by(|a, b| {
        let by_key = compare(&a.fields()[&key], &b.fields()[&key]);
        by_key.then_with(|| compare(&a.fields()["number"], &b.fields()["number"]))
    });
    if request.parameter("srtDir").is_some_and(|direction| direction.eq_ignore_ascii_case("desc")) {
        rows.reverse();
    }
}

/// Numbers by value, times by instant, other text as it stands; what isn't there comes last.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => match (time::parse(a), time::parse(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.cmp(b),
        },
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        _ => a.to_string().cmp(&b.to_string()),
    }
}
