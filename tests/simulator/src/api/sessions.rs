//! Sessions (SDK, `sessions/client.py`): offset paging from 0, epoch milliseconds.

use serde_json::{Value, json};

use super::{
    SessionFilter,
    page::{self, Twist},
    query::plain,
    route,
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

pub(super) const DETAIL: &str = "/v1/sessions/{}";
pub(super) const EVENTS: &str = "/v1/sessions/{}/events";

/// A greater page size is refused (SDK: "between 1 and 50 inclusive").
const MAX_PAGE: usize = 50;

/// The states of the `OpenAPI`, and those that the SDK adds.
const STATES: [&str; 7] =
    ["OPEN", "IN_PROGRESS", "CLOSED", "CLOSED_TP", "CLOSED_FP", "OPEN_NEW_DATA", "CLOSED_TP_BENIGN"];
const INSPECTED: [&str; 6] = ["PENDING", "PII_NOT_FOUND", "PII_FOUND", "UNPROCESSED", "FOUND", "NOT_FOUND"];

/// `GET /v1/sessions`: sessions that begin in `[on_or_after, before)`, with alerts unless `has_alerts` is `false`,
/// latest end first.
pub(super) fn list(world: &WorldHandle, request: &Request, by: SessionFilter, twist: Twist) -> Result<Reply, Reply> {
    listed(world, request, by, twist).map_err(in_own_form)
}

/// Turns a 400 into `ErrorResponse-sessions` (`OpenAPI`).
fn in_own_form(refused: Reply) -> Reply {
    if refused.status != 400 {
        return refused;
    }
    let told: Value = serde_json::from_slice(&refused.body).unwrap_or_default();
    Reply::json(400, json!({"msg": told["error"]}).to_string())
}

fn listed(world: &WorldHandle, request: &Request, by: SessionFilter, twist: Twist) -> Result<Reply, Reply> {
    let page = page::number(request, "page_number", 0)?;
    let size = page::number(request, "page_size", 10)?;
    if !(1..=MAX_PAGE).contains(&size) {
        return Err(page::problem(400, "page_size must be between 1 and 50", request));
    }
    for (name, known) in [
        ("order_by", &["end_time", "score"][..]),
        ("sort_direction", &["ASC", "DESC"]),
        ("state", &STATES),
        ("severity", &["0", "1", "2", "3", "4"]),
        ("content_inspection_status", &INSPECTED),
    ] {
        page::one_of(request, name, known)?;
    }
    let mut rows = world.visible(Dataset::Sessions);
    filter(&mut rows, request, by)?;
    narrow(world, &mut rows, request);
    sort(&mut rows, request);
    twist.arrange(&mut rows);
    let items = page::array(twist.page(&rows, page, twist.size(size)));
    Ok(Reply::json(200, format!(r#"{{"items":{items},"totalCount":{}}}"#, twist.total(rows.len()))))
}

/// `GET /v1/sessions/{id}`.
pub(super) fn detail(world: &WorldHandle, request: &Request) -> Result<Reply, Reply> {
    let id = route::placeholders(DETAIL, &request.path).unwrap_or_default().concat();
    let session = world.visible(Dataset::Sessions).into_iter().find(|session| *session.id == *id);
    session.map(|session| Reply::json(200, session.raw.to_string())).ok_or_else(|| page::not_found(request))
}

/// `GET /v1/sessions/{id}/events`: all in one answer.
pub(super) fn events(world: &WorldHandle, request: &Request, twist: Twist) -> Result<Reply, Reply> {
    let id = route::placeholders(EVENTS, &request.path).unwrap_or_default().concat();
    if !world.shows(Dataset::Sessions, &id) {
        return Err(page::not_found(request));
    }
    let mut rows = world.visible_children(Dataset::SessionEvents, &id);
    twist.arrange(&mut rows);
    let events = page::array(&rows);
    let total = twist.total(rows.len());
    let result = format!(r#"{{"totalCount":{total},"fileEvents":{events},"nextPgToken":null,"problems":null}}"#);
    Ok(Reply::json(200, format!(r#"{{"queryResult":{result}}}"#)))
}

pub(super) fn filter(rows: &mut Vec<Record>, request: &Request, by: SessionFilter) -> Result<(), Reply> {
    let bound = |name| request.parameter(name).map(|_| page::number(request, name, 0)).transpose();
    let (from, before) = (bound("on_or_after")?, bound("before")?);
    let of_member =
        |session: &Record, name: &str| session.fields()[name].as_u64().and_then(|at| usize::try_from(at).ok());
    let looked_at = |session: &Record| match by {
        SessionFilter::BeginTime => usize::try_from(session.time.timestamp_millis()).ok(),
        SessionFilter::EndTime => of_member(session, "endTime"),
        SessionFilter::LastUpdated => of_member(session, "lastUpdated"),
        SessionFilter::Nothing => None,
    };
    rows.retain(|session| {
        looked_at(session)
            .is_none_or(|at| from.is_none_or(|from| at >= from) && before.is_none_or(|before| at < before))
    });
    let with_alerts = page::flag(request, "has_alerts")?.unwrap_or(true);
    rows.retain(|session| {
        let alerts = session.fields()["triggeredAlerts"].as_array();
        alerts.is_some_and(|alerts| !alerts.is_empty()) == with_alerts
    });
    for (name, member) in [("actor_id", "actorId"), ("type", "type")] {
        if let Some(wanted) = request.parameter(name) {
            rows.retain(|session| session.fields()[member] == json!(wanted));
        }
    }
    let parameters = request.parameters();
    let states: Vec<&String> = parameters.iter().filter(|(name, _)| name == "state").map(|(_, state)| state).collect();
    rows.retain(|session| states.is_empty() || states.iter().any(|state| current(session) == **state));
    Ok(())
}

/// The further parameters, each a list. A session on a watchlist is one of its members.
fn narrow(world: &WorldHandle, rows: &mut Vec<Record>, request: &Request) {
    let parameters = request.parameters();
    let wanted = |name: &str| -> Vec<String> {
        parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    };
    let has_any = |rows: &mut Vec<Record>, name: &str, of: &dyn Fn(&Value) -> Vec<String>| {
        let wanted = wanted(name);
        rows.retain(|session| wanted.is_empty() || of(session.fields()).iter().any(|held| wanted.contains(held)));
    };
    let texts = |list: &Value, member: &str| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|item| plain(&item[member])).collect()
    };
    has_any(rows, "severity", &|session| texts(&session["scores"], "severity").pop().into_iter().collect());
    has_any(rows, "rule_id", &|session| texts(&session["triggeredAlerts"], "ruleId"));
    has_any(rows, "content_inspection_status", &|session| vec![plain(&session["contentInspectionResults"]["status"])]);
    let listed: Vec<String> = wanted("watchlist_id").iter().flat_map(|list| members(world, list)).collect();
    rows.retain(|session| wanted("watchlist_id").is_empty() || listed.contains(&plain(&session.fields()["actorId"])));
    let indicators = wanted("risk_indicators");
    rows.retain(|session| {
        let held = texts(&session.fields()["riskIndicators"], "id");
        indicators.iter().all(|wanted| held.contains(wanted))
    });
}

/// The ids of a watchlist's members.
pub(super) fn members(world: &WorldHandle, watchlist: &str) -> Vec<String> {
    let members = world.visible_children(Dataset::WatchlistMembers, watchlist);
    members.iter().map(|member| plain(&member.fields()["actorId"])).collect()
}

/// The session's newest state.
fn current(session: &Record) -> String {
    let states = session.fields()["states"].as_array();
    let newest = states.into_iter().flatten().max_by_key(|state| state["sourceTimestamp"].as_i64());
    newest.and_then(|newest| newest["state"].as_str()).unwrap_or_default().to_owned()
}

/// Sorts by end, or by the latest score.
fn sort(rows: &mut [Record], request: &Request) {
    let by_score = request.parameter("order_by").as_deref() == Some("score");
    rows.sort_by_cached_key(|session| {
        let fields = session.fields();
        let latest = fields["scores"].as_array().and_then(|scores| scores.last());
        let key = if by_score { latest.map(|latest| &latest["score"]) } else { Some(&fields["endTime"]) };
        (key.and_then(Value::as_i64), session.sequence())
    });
    if !request.parameter("sort_direction").is_some_and(|direction| direction.eq_ignore_ascii_case("asc")) {
        rows.reverse();
    }
}
