//! File events: what happened to which file, on endpoints and in the cloud.

use serde_json::{Map, Value, json};

use super::{Events, Facts, Kind, List, Method, Paging, Total};
use crate::intervals::Span;
use crate::ndjson::Place;
use crate::time::Millis;

/// Paged by token: `""` is the first page and asks for `nextPgToken` (a null would end in silence at 10,000 rows);
/// at most 10,000 rows a page (SDK, `file_events/client.py`).
pub static FACTS: Facts = Facts {
    name: "file_events",
    also: &[],
    permission: "File Events: Read (needs a plan with full API access; without it sessions, cases and session_events still tell of them)",
    newest: None,
    kind: Kind::Events(Events {
        list: List {
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
        },
        request,
        newest_first: &[("srtDir", "desc")],
        total: Total::InPage,
        has_id: true,
        retention: None,
        keeps_what_is_not_json: false,
    }),
};

pub fn request(query: &Query, asked: Span) -> Value {
    let mut groups = vec![window(asked)];
    groups.extend(query.groups.iter().cloned());
    // `pgNum` counts for nothing beside a token, but the SDK never leaves it out.
    json!({"groupClause": "AND", "groups": groups, "pgNum": 1, "srtKey": "event.inserted", "srtDir": "asc"})
}

/// Time filters are precise to milliseconds (XSOAR, `CODE42_DATETIME_ACCURACY`).
fn window(asked: Span) -> Value {
    let filter = |operator, at: Millis| json!({"term": "event.inserted", "operator": operator, "value": at});
    json!({
        "filterClause": "AND",
        "filters": [filter("ON_OR_AFTER", asked.from), filter("ON_OR_BEFORE", asked.to)],
    })
}

/// Counts the events that have each value of a term; at most so many values (SDK, `GroupingEventQuery`).
pub const GROUPING: &str = "/v2/file-events/grouping";
pub const MOST_GROUPS: usize = 10_000;

pub fn grouping(term: &str, asked: Span) -> Value {
    json!({
        "groupClause": "AND",
        "groups": [window(asked)],
        "groupingTerm": term,
        "size": MOST_GROUPS,
    })
}

/// The user's part of the query, as groups that are AND-ed with the window. Empty means every event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    groups: Vec<Value>,
}

impl Query {
    /// Reads `FE_QUERY_JSON`; an error says what the variable takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("it is not a JSON object ({error})"))?;
        let groups = match query.remove("groups") {
            Some(Value::Array(groups)) if !groups.is_empty() && groups.iter().all(Value::is_object) => groups,
            _ => return Err("it needs \"groups\", an array of at least one object".into()),
        };
        let clause = query.remove("groupClause").unwrap_or_else(|| "AND".into());
        if let Some(key) = query.keys().next() {
            return Err(format!("it has the key {key:?}, which the collector sets itself or doesn't know"));
        }
        match clause.as_str() {
            Some("AND") => Ok(Self { groups }),
            Some("OR") => Ok(Self { groups: vec![json!({"subgroupClause": "OR", "subgroups": groups})] }),
            _ => Err(format!("\"groupClause\" is {clause}, but must be \"AND\" or \"OR\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_or_becomes_a_subgroup_so_that_the_window_still_holds() {
        let query = Query::parse(r#"{"groupClause":"OR","groups":[{"filters":[]},{"filters":[]}]}"#).expect("a query");
        let expected = json!([{"subgroupClause": "OR", "subgroups": [{"filters": []}, {"filters": []}]}]);
        assert_eq!(Value::Array(query.groups), expected);
    }

    #[test]
    fn what_the_collector_sets_itself_is_refused_by_name() {
        for (text, named) in [
            (r#"{"groups":[{}],"pgSize":5}"#, "pgSize"),
            (r#"{"groups":[{}],"srtKey":"event.id"}"#, "srtKey"),
            (r#"{"groups":[]}"#, "groups"),
            (r#"{"groups":[{}],"groupClause":"XOR"}"#, "groupClause"),
            ("[]", "not a JSON object"),
        ] {
            let error = Query::parse(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
