//! The endpoints that only the Google `SecOps` guide prints. The real API has none of them; they are here so that the
//! guide's function can be compared with. `pageToken` is a row number.

use super::{
    audit,
    page::{self, Twist},
    query::{self, Circumstances},
    time::{self, EdgePolicy},
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// `GET /v1/audit/log?startTime=<ISO>&pageSize&pageToken`.
pub(super) fn audit(world: &WorldHandle, request: &Request, edges: EdgePolicy, twist: Twist) -> Reply {
    let (size, start) = match (page::number(request, "pageSize", 100), page::number(request, "pageToken", 0)) {
        (Ok(size), Ok(start)) => (size, start),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let bound = |name| request.parameter(name).as_deref().and_then(time::parse);
    let mut rows = world.visible(Dataset::Audit);
    rows.retain(|event| audit::in_span(event.time, bound("startTime"), bound("endTime"), edges));
    page::newest_first(&mut rows);
    twist.arrange(&mut rows);
    answer("events", &rows, start, size)
}

/// `POST /v2/file-events/search` with `pageSize` and `pageToken` in the body; a query without groups finds all.
pub(super) fn file_events(world: &WorldHandle, request: &Request, at: Circumstances, twist: Twist) -> Reply {
    let body = request.json();
    let mut rows = world.visible(Dataset::FileEvents);
    if !body["groups"].is_null() {
        match query::parse(&body) {
            Ok(query) => rows.retain(|event| query.accepts(event, at)),
            Err(wrong) => return page::problem(400, &wrong, request),
        }
    }
    rows.sort_by_key(|event| (event.time, event.sequence()));
    twist.arrange(&mut rows);
    let start = body["pageToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let size = body["pageSize"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(100);
    answer("fileEvents", &rows, start, size)
}

fn answer(list: &str, rows: &[Record], start: usize, size: usize) -> Reply {
    let start = start.min(rows.len());
    let end = rows.len().min(start.saturating_add(size.max(1)));
    let next = if end < rows.len() { format!(r#","nextPageToken":"{end}""#) } else { String::new() };
    Reply::json(200, format!(r#"{{"{list}":{}{next}}}"#, page::array(&rows[start..end])))
}
