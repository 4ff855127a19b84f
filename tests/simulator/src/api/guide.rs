//! Endpoints that only the Google `SecOps` guide prints and the real API doesn't have, and a way of paging that the
//! real API ignores. They exist here so that the collector can be compared with the guide's function. `pageToken` is a
//! row number.

use super::{
    Behaviour, audit, cases,
    page::{self, Twist},
    query::{self, Circumstances},
    time::{self, EdgePolicy},
    users,
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// The greatest page of users and cases (py42 sends 500).
const MAX_LIST: usize = 500;

/// The member of an answer that names the next page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    member: &'static str,
    is_nested: bool,
}

impl Dialect {
    pub(super) fn of(behaviour: &Behaviour) -> Self {
        let member = behaviour.guide_token;
        Self { member, is_nested: behaviour.guide_nested_token }
    }
}

/// Whether a list's request is in the guide's dialect: it has no page number.
pub(super) fn is_meant(behaviour: &Behaviour, request: &Request, page: &str) -> bool {
    behaviour.guide_endpoints && behaviour.guide_lists && request.parameter(page).is_none()
}

/// `GET /v1/users?active&blocked&pageSize&pageToken`.
pub(super) fn users(world: &WorldHandle, request: &Request, dialect: Dialect, twist: Twist) -> Result<Reply, Reply> {
    let (start, size) = (page::number(request, "pageToken", 0)?, page::number(request, "pageSize", 100)?);
    let rows = users::rows(world, request, twist)?;
    let shows = |user: &Record| user.raw.to_string();
    Ok(answer("users", &rows, shows, start, twist.size(size.min(MAX_LIST)), dialect))
}

/// `GET /v1/cases?pageSize&pageToken`.
pub(super) fn cases(
    world: &WorldHandle,
    request: &Request,
    edges: EdgePolicy,
    dialect: Dialect,
    twist: Twist,
) -> Result<Reply, Reply> {
    let (start, size) = (page::number(request, "pageToken", 0)?, page::number(request, "pageSize", 100)?);
    let rows = cases::rows(world, request, edges, twist)?;
    Ok(answer("cases", &rows, cases::item, start, twist.size(size.min(MAX_LIST)), dialect))
}

/// `GET /v1/audit/log?startTime=<ISO>&pageSize&pageToken`.
pub(super) fn audit(
    world: &WorldHandle,
    request: &Request,
    edges: EdgePolicy,
    dialect: Dialect,
    twist: Twist,
) -> Result<Reply, Reply> {
    let (start, size) = (page::number(request, "pageToken", 0)?, page::number(request, "pageSize", 100)?);
    let bound = |name| request.parameter(name).as_deref().and_then(time::parse);
    let mut rows = world.visible(Dataset::Audit);
    rows.retain(|event| audit::in_span(event.time, bound("startTime"), bound("endTime"), edges));
    page::newest_first(&mut rows);
    twist.arrange(&mut rows);
    Ok(answer("events", &rows, |event| event.raw.to_string(), start, twist.size(size), dialect))
}

/// `POST /v2/file-events/search` with `pageSize` and `pageToken` in the body. A query without groups matches all.
pub(super) fn file_events(
    world: &WorldHandle,
    request: &Request,
    at: Circumstances,
    dialect: Dialect,
    twist: Twist,
) -> Result<Reply, Reply> {
    let body = request.json();
    let mut rows = world.visible(Dataset::FileEvents);
    if !body["groups"].is_null() {
        let query = query::parse(&body).map_err(|wrong| page::problem(400, &wrong.why, request))?;
        rows.retain(|event| query.accepts(event, at));
    }
    rows.sort_by_key(|event| (event.time, event.sequence()));
    twist.arrange(&mut rows);
    let start = body["pageToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let size = body["pageSize"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(100);
    Ok(answer("fileEvents", &rows, |event| event.raw.to_string(), start, twist.size(size), dialect))
}

fn answer(
    list: &str,
    rows: &[Record],
    shows: impl Fn(&Record) -> String,
    start: usize,
    size: usize,
    dialect: Dialect,
) -> Reply {
    let start = start.min(rows.len());
    let end = rows.len().min(start.saturating_add(size.max(1)));
    let next = match dialect {
        _ if end == rows.len() => String::new(),
        Dialect { is_nested: true, .. } if list == "fileEvents" => {
            format!(r#","file_events":{{"nextPageToken":"{end}"}}"#)
        }
        Dialect { member, .. } => format!(r#","{member}":"{end}""#),
    };
    let texts: Vec<String> = rows[start..end].iter().map(shows).collect();
    Reply::json(200, format!(r#"{{"{list}":[{}]{next}}}"#, texts.join(",")))
}
