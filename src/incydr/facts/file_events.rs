//! File events: actions on files, on endpoints and in the cloud.

use serde_json::{Value, json};

use crate::core::intervals::Span;
use crate::core::ndjson::Place;
use crate::core::settings::FileEventQuery;
use crate::core::time::Millis;
use crate::incydr::facts::kind::{Events, Facts, Kind, Total};
use crate::incydr::facts::list::{List, Method, Paging};

pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Events(Events {
        list: LIST,
        request,
        newest_first: &[("srtDir", "desc")],
        total: Total::InPage,
        has_id: true,
        retention: None,
    }),
};

/// Paged by token: `""` asks for the first page and makes the API return `nextPgToken`. With null the list would end
/// silently at 10,000 rows. At most 10,000 rows a page (SDK, `file_events/client.py`).
pub const LIST: List = List {
    method: Method::Post,
    path: "/v2/file-events",
    place: Place::under(&["fileEvents"]),
    // Never `@timestamp`: an event becomes searchable minutes to days after it occurred (XSOAR #39113).
    field: &["event", "inserted"],
    total: Some("totalCount"),
    paging: Paging::Token { token: "pgToken", size: "pgSize", first: Some(""), next: &["nextPgToken"] },
    fixed: &[],
    max_page_size: 10_000,
    text_as: None,
    last_below: 0,
    bare_first: None,
    refuses_with_401: false,
};

pub fn request(query: &FileEventQuery, asked: Span) -> Value {
    let mut groups = vec![window(asked)];
    groups.extend(query.groups.iter().cloned());
    // The API ignores `pgNum` if there is a token, but the SDK always sends it.
    json!({"groupClause": "AND", "groups": groups, "pgNum": 1, "srtKey": "event.inserted", "srtDir": "asc"})
}

/// The request for the newest event of a span that has these values of terms.
pub fn newest_with(asked: Span, only: &[(&str, &str)]) -> Value {
    let filters: Vec<Value> = only.iter().map(|(term, value)| is(term, value)).collect();
    let groups = [window(asked), json!({"filterClause": "AND", "filters": filters})];
    json!({"groupClause": "AND", "groups": groups, "pgNum": 1, "srtKey": "event.inserted", "srtDir": "desc"})
}

fn is(term: &str, value: &str) -> Value {
    json!({"term": term, "operator": "IS", "value": value})
}

/// Time filters are exact to milliseconds (XSOAR, `CODE42_DATETIME_ACCURACY`).
fn window(asked: Span) -> Value {
    let filter = |operator, at: Millis| json!({"term": "event.inserted", "operator": operator, "value": at});
    json!({
        "filterClause": "AND",
        "filters": [filter("ON_OR_AFTER", asked.from), filter("ON_OR_BEFORE", asked.to)],
    })
}

/// Counts the events by value of a term, for at most 10,000 values (SDK, `GroupingEventQuery`).
pub const GROUPING: &str = "/v2/file-events/grouping";
pub const MOST_GROUPS: usize = 10_000;

/// The request for such counts. `only` limits it to events with a value of another term.
pub fn grouping(term: &str, asked: Span, only: Option<(&str, &str)>) -> Value {
    let only = only.map(|(term, value)| json!({"filterClause": "AND", "filters": [is(term, value)]}));
    let groups: Vec<Value> = [window(asked)].into_iter().chain(only).collect();
    json!({
        "groupClause": "AND",
        "groups": groups,
        "groupingTerm": term,
        "size": MOST_GROUPS,
    })
}
