//! The endpoints that the Google `SecOps` guide prints, for an API that has those. The vendor's SDK has none of them.
//! They have no total and no end of a span. A list is complete when its chain of page tokens ends.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use crate::core::intervals::Span;
use crate::core::ndjson::Place;
use crate::core::settings::FileEventQuery;
use crate::core::stream::Stream;
use crate::core::time::{DAY, HOUR};
use crate::incydr::facts::file_events;
use crate::incydr::facts::kind::{Events, Inventory, Kind, Part, Total};
use crate::incydr::facts::list::{List, Method, Paging};

pub const SIGN_IN: &str = "/v1/oauth/token";

/// The guide prints only these streams.
pub fn kind(stream: Stream) -> Option<&'static Kind> {
    match stream {
        Stream::FileEvents => Some(&FILE_EVENTS),
        Stream::Audit => Some(&AUDIT),
        Stream::Cases => Some(&CASES),
        Stream::Users => Some(&USERS),
        _ => None,
    }
}

const PAGING: Paging = Paging::Token {
    token: "pageToken",
    size: "pageSize",
    first: None,
    next: &["nextPgToken", "nextPageToken", "next_page_token"],
};

static USERS: Kind = Kind::Inventory(Inventory::of(&[Part::alone(
    "users",
    List::get("/v1/users", Place::under(&["users"]), &["userId"], PAGING).without_total(),
)]));

/// A case is its list item. There is no filter for updated cases, so all are read in every run.
static CASES: Kind = Kind::Inventory(Inventory {
    tells_deleted: false,
    in_every_run: true,
    ..Inventory::of(&[Part::alone(
        "cases",
        List::get("/v1/cases", Place::under(&["cases"]), &["number"], PAGING).without_total(),
    )])
});

static AUDIT: Kind = Kind::Events(Events {
    list: List {
        method: Method::Get,
        path: "/v1/audit/log",
        place: Place::under(&["events"]),
        field: &["timestamp"],
        total: None,
        paging: PAGING,
        fixed: &[],
        max_page_size: 10_000,
        text_as: None,
        last_below: 0,
        bare_first: None,
        refuses_with_401: false,
    },
    request: |_, asked| json!({"startTime": asked.from.date_time().to_rfc3339_opts(SecondsFormat::Secs, true)}),
    newest_first: &[],
    // A request returns everything after the window's beginning, so few long windows are best.
    total: Total::Nowhere { longest: DAY, has_end: false },
    has_id: false,
    retention: Some(TimeDelta::days(90)),
});

/// The page token may also be inside an object `file_events`.
static FILE_EVENTS: Kind = Kind::Events(Events {
    list: List {
        method: Method::Post,
        path: "/v2/file-events/search",
        place: Place::Under { keys: &["fileEvents", "file_events", "events"], within: Some("file_events") },
        field: &["event", "inserted"],
        total: None,
        paging: PAGING,
        fixed: &[],
        max_page_size: 10_000,
        text_as: None,
        last_below: 0,
        bare_first: None,
        refuses_with_401: false,
    },
    request: file_event_request,
    newest_first: &[("srtDir", "desc")],
    total: Total::Nowhere { longest: HOUR, has_end: true },
    has_id: true,
    retention: None,
});

fn file_event_request(query: &FileEventQuery, asked: Span) -> Value {
    let mut request = file_events::request(query, asked);
    if let Some(request) = request.as_object_mut() {
        request.remove("pgNum");
    }
    request
}
