//! The audit log: who did what in the console and the API.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::core::intervals::Span;
use crate::core::ndjson::Place;
use crate::core::settings::FileEventQuery;
use crate::core::time::Millis;
use crate::incydr::facts::kind::{Events, Facts, Kind, Total};
use crate::incydr::facts::list::{List, Method, Paging};

/// Paged by offset, newest first, without a sort parameter and without an id; its count is an endpoint of its own
/// (SDK, `audit_log/client.py`). At most 10,000 rows a page (SDK). Kept for 90 days (support articles).
pub static FACTS: Facts = Facts { newest: None, kind: Kind::Events(by(SEARCH)) };

const SEARCH: List = List {
    method: Method::Post,
    path: "/v1/audit/search-audit-log",
    place: Place::under(&["events"]),
    field: &["timestamp"],
    total: None,
    paging: Paging::Number { page: "page", size: "pageSize", first: 0 },
    fixed: &[],
    max_page_size: 10_000,
    text_as: None,
    last_below: 0,
    bare_first: None,
    refuses_with_401: false,
};

/// The search "specifically for large result sets", in one answer. The `OpenAPI` says only that it is JSON or CSV, and
/// it was not tried on a real tenant. So the collector takes a list, or an object like the answer of the ordinary
/// search.
pub static EXPORT: Kind = Kind::Events(by(EXPORTED));

pub const EXPORTED: List = List {
    path: "/v1/audit/search-results-export",
    place: Place::UnderOrTop { keys: &["events"] },
    paging: Paging::WholeWithout(&["page", "pageSize"]),
    ..SEARCH
};

const fn by(list: List) -> Events {
    Events {
        list,
        request,
        newest_first: &[],
        total: Total::Endpoint { path: "/v1/audit/search-results-count", count: "totalResultCount" },
        has_id: false,
        retention: Some(TimeDelta::days(90)),
    }
}

/// Unused filters are sent as explicit nulls, and times as epoch seconds with a fraction, as the SDK sends them. The
/// page's number and size stand in a request that counts, too.
pub fn request(_: &FileEventQuery, asked: Span) -> Value {
    json!({
        "actorIds": null,
        "actorIpAddresses": null,
        "actorNames": null,
        "dateRange": {"startTime": seconds(asked.from), "endTime": seconds(asked.to)},
        "eventTypes": null,
        "page": 0,
        "pageSize": 100,
        "resourceIds": null,
        "userTypes": null,
    })
}

/// Exact: milliseconds of any year a tenant can have fit a double's 53 bits.
#[allow(clippy::cast_precision_loss)]
fn seconds(at: Millis) -> f64 {
    at.0 as f64 / 1_000.0
}
