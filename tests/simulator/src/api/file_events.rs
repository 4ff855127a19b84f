//! `POST /v2/file-events` (SDK, `file_events/client.py` and `queries/file_events.py`).

use std::{cmp::Ordering, collections::HashMap, sync::Mutex};

use serde_json::{Value, json};

use super::{
    Behaviour, TokenEnd,
    page::{self, Order, Twist},
    query::{self, Circumstances},
    terms::TERMS,
};
use crate::{
    http::{Reply, Request},
    locked,
    world::{Dataset, Record, WorldHandle},
};

const MAX_PAGE: u64 = 10_000;

/// Without a token only this many rows can be reached. The rest is left out silently.
const NUMBERED_ROWS: usize = 10_000;

/// The record after which a token was issued. Needed if several records have the same id.
#[derive(Debug, Default)]
pub(super) struct PageTokens(Mutex<HashMap<String, u64>>);

pub(super) fn search(
    world: &WorldHandle,
    tokens: &PageTokens,
    request: &Request,
    behaviour: &Behaviour,
    at: Circumstances,
    twist: Twist,
) -> Reply {
    let body = request.json();
    let Some(size) = page::whole(&body["pgSize"], 100).filter(|size| (1..=MAX_PAGE).contains(size)) else {
        return refused("INVALID_PAGE_SIZE", "pgSize must be between 1 and 10000");
    };
    let Some(page) = page::whole(&body["pgNum"], 1).and_then(|number| number.checked_sub(1)) else {
        return refused("INVALID_PAGE_NUMBER", "pgNum begins with 1");
    };
    let size = twist.size(usize::try_from(size).unwrap_or(usize::MAX));
    let query = match query::parse(&body) {
        Ok(query) => query,
        Err(wrong) => return refused(wrong.kind, &wrong.why),
    };
    let Some(sorting) = Sorting::of(&body, twist) else {
        return refused("ILLEGAL_SORT", "srtKey must be a term, and srtDir asc or desc");
    };
    let last = body["pgToken"].as_str().filter(|token| !token.is_empty()).map(|token| tokens.record(token, world));
    let mut rows = world.visible_if(Dataset::FileEvents, |event| query.accepts(event, at));
    rows.sort_by(|a, b| sorting.compare(a, b));
    let total = twist.total(rows.len());

    if !body["pgToken"].is_string() {
        rows.truncate(NUMBERED_ROWS);
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        return answer(twist.page(&rows, page, size), total, r#","nextPgToken":null"#);
    }
    let start = match last {
        None => 0,
        Some(None) => return refused("INVALID_PAGE_TOKEN", "INVALID_PAGE_TOKEN: the page token is not valid"),
        Some(Some(last)) => rows.partition_point(|event| sorting.compare(event, &last) != Ordering::Greater),
    };
    let page = &rows[start..rows.len().min(start + size)];
    let more = start + page.len() < rows.len() || (behaviour.token_after_full_page && page.len() == size);
    answer(page, total, &next(page.last().filter(|_| more), tokens, behaviour))
}

/// The member `nextPgToken`: the id of the page's last event, or the mark of the end.
fn next(last: Option<&Record>, tokens: &PageTokens, behaviour: &Behaviour) -> String {
    let Some(last) = last else {
        return match behaviour.token_end {
            TokenEnd::Null => r#","nextPgToken":null"#.to_owned(),
            TokenEnd::Absent => String::new(),
            TokenEnd::Empty => r#","nextPgToken":"""#.to_owned(),
        };
    };
    locked(&tokens.0).insert(last.id.to_string(), last.sequence());
    format!(r#","nextPgToken":{}"#, json!(&*last.id))
}

impl PageTokens {
    fn record(&self, token: &str, world: &WorldHandle) -> Option<Record> {
        let issued_after = locked(&self.0).get(token).copied();
        let by_sequence = world.find(Dataset::FileEvents, |event| Some(event.sequence()) == issued_after);
        by_sequence.or_else(|| world.find(Dataset::FileEvents, |event| &*event.id == token))
    }
}

fn answer(page: &[Record], total: i64, next: &str) -> Reply {
    let events = page::array(page);
    Reply::json(200, format!(r#"{{"totalCount":{total},"fileEvents":{events}{next},"problems":null}}"#))
}

/// 400 with the problem in the form of the SDK's `QueryProblem`.
pub(super) fn refused(kind: &str, description: &str) -> Reply {
    let problems = problems(kind, description);
    let body = json!({"totalCount": 0, "fileEvents": null, "nextPgToken": null, "problems": problems});
    Reply::json(400, body.to_string())
}

pub(super) fn problems(kind: &str, description: &str) -> Value {
    json!([{"type": kind, "description": description, "badFilter": null}])
}

/// The order of a search: by any term, then by id.
#[derive(Debug)]
struct Sorting {
    term: String,
    descending: bool,
}

impl Sorting {
    /// Returns the order that a query asks for. The default direction is descending (`OpenAPI`).
    fn of(body: &Value, twist: Twist) -> Option<Self> {
        let inserted = |descending| Self { term: "event.inserted".to_owned(), descending };
        let text =
            |name: &str, default| body.get(name).filter(|held| !held.is_null()).map_or(Some(default), Value::as_str);
        let term = text("srtKey", "event.id")?;
        let descending = match text("srtDir", "desc")? {
            "desc" => true,
            "asc" => false,
            _ => return None,
        };
        Some(match twist.order {
            _ if !TERMS.contains(&term) => return None,
            Some(Order::NewestFirst) => inserted(true),
            Some(Order::OldestFirst) => inserted(false),
            None => Self { term: term.to_owned(), descending },
        })
    }

    fn compare(&self, a: &Record, b: &Record) -> Ordering {
        let by_term = match self.term.as_str() {
            "event.id" => Ordering::Equal,
            "event.inserted" => a.time.cmp(&b.time),
            term => by_value(a, b, term),
        };
        let ascending = by_term.then_with(|| a.id.cmp(&b.id)).then_with(|| a.sequence().cmp(&b.sequence()));
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// Compares numbers by value and everything else as text. Missing values come last.
fn by_value(a: &Record, b: &Record, term: &str) -> Ordering {
    let value = |event: &Record| {
        let mut found = Vec::new();
        query::values_at(event.fields(), term, &mut found);
        found.first().map(|value| (*value).clone())
    };
    match (value(a), value(b)) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(a), Some(b)) => a.to_string().cmp(&b.to_string()),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}
