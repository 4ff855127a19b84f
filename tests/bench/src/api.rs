//! The Incydr API, as far as the collector, the vendor's command line and the guide's function use it here. Pages are
//! generated for each request; nothing is gzipped.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::DateTime;
use serde_json::{Value, json};
use simulator::http::{Reply, Request};

use crate::{
    event::Bodies,
    figures::{Counter, locked},
    tenant::{Behaviour, Tenant},
};

const MINUTE: Duration = Duration::from_mins(1);
/// The greatest number of rows in a page (SDK; PY42 for users).
const MAX_PAGE: u64 = 10_000;
const MAX_USERS_PAGE: u64 = 500;

/// The API's state. Every sign-in succeeds.
#[derive(Debug)]
pub struct Api {
    tenant: Mutex<Arc<Tenant>>,
    bodies: Bodies,
    /// The accepted requests of the last minute.
    recent: Mutex<VecDeque<Instant>>,
    figures: Arc<Counter>,
}

impl Api {
    pub fn new(behaviour: Behaviour, figures: Arc<Counter>) -> Self {
        let tenant = Mutex::new(Arc::new(Tenant::new(behaviour)));
        Self { tenant, bodies: Bodies::new(), recent: Mutex::default(), figures }
    }

    /// The change takes effect with the next request.
    pub fn behave(&self, change: impl FnOnce(Behaviour) -> Behaviour) {
        let mut tenant = locked(&self.tenant);
        *tenant = Arc::new(Tenant::new(change(tenant.behaviour.clone())));
    }

    /// Resets the rate limit, as if nothing had been requested for a minute.
    pub fn forget(&self) {
        locked(&self.recent).clear();
    }

    pub async fn answer(self: Arc<Self>, request: Request) -> Reply {
        self.figures.arrived(format!("{} {}", request.method, request.path));
        let tenant = locked(&self.tenant).clone();
        let wait = self.over_the_limit(tenant.behaviour.limit_per_minute);
        tokio::time::sleep(tenant.behaviour.latency).await;
        let reply = match wait {
            Some(wait) => Reply::json(429, r#"{"message":"Too Many Requests"}"#)
                .with_header("retry-after", (wait.as_secs() + 1).to_string()),
            None => self.page(&tenant, &request),
        };
        self.figures.answered(reply.status, reply.body.len());
        reply
    }

    /// Returns how long until the next request is allowed.
    fn over_the_limit(&self, limit: usize) -> Option<Duration> {
        if limit == 0 {
            return None;
        }
        let mut recent = locked(&self.recent);
        while recent.front().is_some_and(|at| at.elapsed() >= MINUTE) {
            recent.pop_front();
        }
        if recent.len() < limit {
            recent.push_back(Instant::now());
            return None;
        }
        recent.front().map(|at| MINUTE.saturating_sub(at.elapsed()))
    }

    fn page(&self, tenant: &Tenant, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/oauth" | "/v1/oauth/token") => Reply::json(200, token()),
            ("POST", "/v2/file-events") => self.file_events(tenant, &request.json()),
            ("POST", "/v2/file-events/search") => self.guide_file_events(tenant, &request.json()),
            ("POST", "/v1/audit/search-audit-log") => self.audit(tenant, &request.json()),
            ("POST", "/v1/audit/search-results-count") => {
                let found = audit_found(tenant, &request.json());
                Reply::json(200, format!(r#"{{"totalResultCount":{}}}"#, found.end - found.start))
            }
            ("GET", "/v1/users") => self.users(tenant, request),
            _ => Reply::json(404, r#"{"error":"not found"}"#),
        }
    }

    /// Paged by token, which is an event's number. Always sorted by insertion.
    fn file_events(&self, tenant: &Tenant, body: &Value) -> Reply {
        let found = match found(tenant, body) {
            Ok(found) => found,
            Err(wrong) => return refused(wrong),
        };
        let Some((rows, more)) = self.rows(&found, &body["pgToken"], &body["pgSize"]) else {
            return refused("INVALID_PAGE_TOKEN: the page token is not valid");
        };
        let next = if more { format!("\"{}\"", rows.end) } else { "null".to_owned() };
        let mut out = Vec::new();
        out.extend_from_slice(format!(r#"{{"totalCount":{},"fileEvents":"#, found.end - found.start).as_bytes());
        tenant.write_events(&self.bodies, rows, &mut out);
        out.extend_from_slice(format!(r#","nextPgToken":{next},"problems":null}}"#).as_bytes());
        Reply::json(200, out)
    }

    /// The dialect of the Google `SecOps` guide, with the same rows.
    fn guide_file_events(&self, tenant: &Tenant, body: &Value) -> Reply {
        let rows = found(tenant, body)
            .and_then(|found| self.rows(&found, &body["pageToken"], &body["pageSize"]).ok_or("the token is not valid"));
        let (rows, more) = match rows {
            Ok(rows) => rows,
            Err(wrong) => return refused(wrong),
        };
        let next = if more { format!(r#","nextPageToken":"{}""#, rows.end) } else { String::new() };
        let mut out = br#"{"fileEvents":"#.to_vec();
        tenant.write_events(&self.bodies, rows, &mut out);
        out.extend_from_slice(format!("{next}}}").as_bytes());
        Reply::json(200, out)
    }

    fn rows(&self, found: &Range<u64>, token: &Value, size: &Value) -> Option<(Range<u64>, bool)> {
        let first = match token.as_str() {
            None | Some("") => found.start,
            Some(token) => token.parse().ok().filter(|first| found.contains(first))?,
        };
        let rows = first..found.end.min(first + size.as_u64().unwrap_or(100).clamp(1, MAX_PAGE));
        self.figures.lock().rows += rows.end - rows.start;
        let more = rows.end < found.end;
        Some((rows, more))
    }

    /// Offset paging from 0, newest first.
    fn audit(&self, tenant: &Tenant, body: &Value) -> Reply {
        let found = audit_found(tenant, body);
        let page = body["page"].as_u64().unwrap_or(0);
        let rows = self.numbered(found.end - found.start, page, body["pageSize"].as_u64(), MAX_PAGE);
        let (start, end) = (rows.start, rows.end);
        let mut out = br#"{"events":"#.to_vec();
        tenant.write_audit(&found, rows, &mut out);
        out.extend_from_slice(
            format!(r#","paginationRangeStartIndex":{start},"paginationRangeEndIndex":{end}}}"#).as_bytes(),
        );
        Reply::json(200, out)
    }

    /// Offset paging from 1.
    fn users(&self, tenant: &Tenant, request: &Request) -> Reply {
        let number = |name| request.parameter(name).and_then(|text| text.parse::<u64>().ok());
        let page = number("page").unwrap_or(1).max(1) - 1;
        let total = tenant.behaviour.users;
        let mut out = br#"{"users":"#.to_vec();
        Tenant::write_users(self.numbered(total, page, number("pageSize"), MAX_USERS_PAGE), &mut out);
        out.extend_from_slice(format!(r#","totalCount":{total}}}"#).as_bytes());
        Reply::json(200, out)
    }

    fn numbered(&self, total: u64, page: u64, size: Option<u64>, most: u64) -> Range<u64> {
        let size = size.unwrap_or(100).clamp(1, most);
        let start = page.saturating_mul(size).min(total);
        let rows = start..total.min(start + size);
        self.figures.lock().rows += rows.end - rows.start;
        rows
    }
}

/// A token valid for 15 minutes, in the form of a JWT with the tenant's id.
fn token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "HS256", "typ": "JWT"}));
    let payload = part(json!({"tenantUid": "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42"}));
    json!({"access_token": format!("{header}.{payload}.c2lnbmF0dXJl"), "token_type": "bearer", "expires_in": 900})
        .to_string()
}

/// The events that a query finds. It may filter by a span of `event.inserted` and nothing else, so that the measurement
/// is of the request as it was meant.
fn found(tenant: &Tenant, body: &Value) -> Result<Range<u64>, &'static str> {
    let mut span = (i64::MIN, i64::MAX - 1);
    for group in body["groups"].as_array().into_iter().flatten() {
        for filter in group["filters"].as_array().ok_or("only groups of filters are served")? {
            if filter["term"] != "event.inserted" {
                return Err("only event.inserted can be filtered by");
            }
            let time = filter["value"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            let time = time.ok_or("the value is no time")?.timestamp_millis();
            match filter["operator"].as_str() {
                Some("ON_OR_AFTER") => span.0 = span.0.max(time),
                Some("ON_OR_BEFORE") => span.1 = span.1.min(time),
                _ => return Err("only ON_OR_AFTER and ON_OR_BEFORE are served"),
            }
        }
    }
    Ok(tenant.events.within(span.0, span.1))
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of any year fit a double's 53 bits")]
fn audit_found(tenant: &Tenant, body: &Value) -> Range<u64> {
    let millis = |name: &str| body["dateRange"][name].as_f64().map(|seconds| (seconds * 1000.0).round() as i64);
    tenant.audit.within(millis("startTime").unwrap_or(i64::MIN), millis("endTime").unwrap_or(i64::MAX - 1))
}

fn refused(wrong: &str) -> Reply {
    let problems = json!([{"type": "ILLEGAL_QUERY", "description": wrong, "badFilter": null}]);
    let body = json!({"totalCount": 0, "fileEvents": null, "nextPgToken": null, "problems": problems});
    Reply::json(400, body.to_string())
}
