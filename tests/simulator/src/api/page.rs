//! Common to the pages of all endpoints.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::time;
use crate::{
    clock,
    http::{Reply, Request},
    world::Record,
};

/// A page that differs from the requested one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Twist {
    /// Offset paging starts this many rows later.
    pub(crate) shift: i64,
    pub(crate) order: Option<Order>,
    pub(crate) total_off: i64,
    /// Limit for every total.
    pub(crate) total_cap: Option<i64>,
    /// Limit for the rows of a page.
    pub(crate) cap: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    NewestFirst,
    OldestFirst,
}

impl Twist {
    pub(crate) fn total(self, total: usize) -> i64 {
        let total = i64::try_from(total).unwrap_or(i64::MAX) + self.total_off;
        self.total_cap.map_or(total, |cap| total.min(cap))
    }

    /// Sorts the rows by cursor time, if an order is set.
    pub(crate) fn arrange(self, rows: &mut [Record]) {
        match self.order {
            None => {}
            Some(Order::NewestFirst) => newest_first(rows),
            Some(Order::OldestFirst) => rows.sort_by_key(|record| (record.time, record.sequence())),
        }
    }

    /// Returns the number of rows in a page for which `asked` rows were requested.
    pub(crate) fn size(self, asked: usize) -> usize {
        self.cap.map_or(asked, |cap| asked.min(cap))
    }

    /// Returns the rows of a page. The first page is 0.
    pub(crate) fn page(self, rows: &[Record], page: usize, size: usize) -> &[Record] {
        let start = page.saturating_mul(size);
        let start = i64::try_from(start).unwrap_or(i64::MAX).saturating_add(self.shift).max(0);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(rows.len());
        &rows[start..rows.len().min(start.saturating_add(size))]
    }
}

pub(crate) fn newest_first(rows: &mut [Record]) {
    rows.sort_by_key(|record| std::cmp::Reverse((record.time, record.sequence())));
}

/// Compares numbers by value, times by instant, other text by its characters. Missing values come last.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
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

/// The records' texts in a JSON array.
pub(crate) fn array(rows: &[Record]) -> String {
    let texts: Vec<&str> = rows.iter().map(|record| &*record.raw).collect();
    format!("[{}]", texts.join(","))
}

/// Parses a query parameter as a number, or returns 400.
pub(crate) fn number(request: &Request, name: &str, default: usize) -> Result<usize, Reply> {
    let Some(text) = request.parameter(name) else {
        return Ok(default);
    };
    text.parse().map_err(|_| problem(400, &format!("{name} must be a number"), request))
}

/// A member of a body that must be a whole number, if it is there.
pub(crate) fn whole(held: &Value, default: u64) -> Option<u64> {
    if held.is_null() { Some(default) } else { held.as_u64() }
}

/// Checks that a query parameter has one of these values, or returns 400. Only for `ASC` and `DESC` case is ignored,
/// because the SDK sends them in lower case.
pub(crate) fn one_of(request: &Request, name: &str, known: &[&str]) -> Result<(), Reply> {
    let is_known = |value: &str| {
        let is_direction = ["asc", "desc"].iter().any(|direction| value.eq_ignore_ascii_case(direction));
        known.iter().any(|known| *known == value || is_direction && known.eq_ignore_ascii_case(value))
    };
    let mut held = request.parameters().into_iter().filter(|(key, _)| key == name);
    match held.find(|(_, value)| !is_known(value)) {
        Some((_, value)) => {
            Err(problem(400, &format!("{name} is {value}, and must be one of {}", known.join(", ")), request))
        }
        None => Ok(()),
    }
}

/// Parses a query parameter as true or false, or returns 400.
pub(crate) fn flag(request: &Request, name: &str) -> Result<Option<bool>, Reply> {
    let held = request.parameter(name).map(|text| text.to_lowercase());
    held.map(|text| text.parse().map_err(|_| problem(400, &format!("{name} must be true or false"), request)))
        .transpose()
}

/// An error in Spring's form (py42, tests).
pub(crate) fn problem(status: u16, message: &str, request: &Request) -> Reply {
    let timestamp = clock::now().timestamp_millis();
    let body = json!({"timestamp": timestamp, "status": status, "error": message, "path": request.path});
    Reply::json(status, body.to_string())
}

pub(crate) fn not_found(request: &Request) -> Reply {
    problem(404, "Not Found", request)
}

pub(crate) fn rate_limited(retry_after: Option<&str>) -> Reply {
    let reply = Reply::json(429, r#"{"message":"Too Many Requests"}"#);
    match retry_after {
        Some(retry_after) => reply.with_header("retry-after", retry_after),
        None => reply,
    }
}
