//! What a test in another language can ask of the running simulator.
//!
//! * `GET /world/{users|cases|audit|file_events}`: the raw records in a JSON array
//! * `POST /fault` `{"endpoint": "file_events", "nth": 1, "fault": "status", "status": 500, "body": "…"}`; without
//!   `nth`, always; `{"fault": "none"}` clears
//! * `GET /log`: the API's requests

use std::{io, time::Duration};

use serde_json::{Value, json};
use simulator::{
    Api, Endpoint, Fault, Faults, Simulator, WorldHandle,
    http::{Reply, Request, Server},
};

pub async fn start(simulator: &Simulator) -> io::Result<Server> {
    let (world, api, faults) = (simulator.world.clone(), simulator.api.clone(), simulator.faults.clone());
    Server::start(0, move |request| std::future::ready(answer(&world, &api, &faults, &request))).await
}

fn answer(world: &WorldHandle, api: &Api, faults: &Faults, request: &Request) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/log") => Reply::json(200, log(api).to_string()),
        ("POST", "/fault") => match arm(faults, &request.json()) {
            Some(()) => Reply::json(200, "{}"),
            None => Reply::json(400, r#"{"error":"no such endpoint or fault"}"#),
        },
        ("GET", path) => {
            let records = match path {
                "/world/users" => world.users(),
                "/world/cases" => world.cases(),
                "/world/audit" => world.audit(),
                "/world/file_events" => world.file_events(),
                _ => return Reply::json(404, "{}"),
            };
            let texts: Vec<&str> = records.iter().map(|record| &*record.raw).collect();
            Reply::json(200, format!("[{}]", texts.join(",")))
        }
        _ => Reply::json(404, "{}"),
    }
}

fn log(api: &Api) -> Value {
    let requests = api.requests();
    let entries = requests.iter().map(|request| {
        json!({
            "at": request.at.to_rfc3339(),
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "body": request.body,
            "status": request.status,
            "user_agent": request.user_agent,
        })
    });
    entries.collect()
}

fn arm(faults: &Faults, order: &Value) -> Option<()> {
    if order["fault"] == "none" {
        faults.clear();
        return Some(());
    }
    let (endpoint, fault) = (endpoint(order["endpoint"].as_str()?)?, fault(order)?);
    match order["nth"].as_u64() {
        Some(nth) => faults.once(endpoint, nth, fault),
        None => faults.always(endpoint, fault),
    }
    Some(())
}

fn endpoint(name: &str) -> Option<Endpoint> {
    Some(match name {
        "sign_in" => Endpoint::SignIn,
        "customer" => Endpoint::Customer,
        "users" => Endpoint::Users,
        "audit_search" => Endpoint::AuditSearch,
        "audit_count" => Endpoint::AuditCount,
        "case_list" => Endpoint::CaseList,
        "case_detail" => Endpoint::CaseDetail,
        "file_events" => Endpoint::FileEvents,
        "guide_audit" => Endpoint::GuideAudit,
        "guide_file_events" => Endpoint::GuideFileEvents,
        "any" => Endpoint::Any,
        _ => return None,
    })
}

fn fault(order: &Value) -> Option<Fault> {
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| order[name].as_i64().unwrap_or_default();
    Some(match order["fault"].as_str()? {
        "late" => Fault::Late(Duration::from_millis(order["ms"].as_u64()?)),
        "rate_limited" => Fault::RateLimited { retry_after: order["retry_after"].as_str().map(str::to_owned) },
        "unauthorized" => Fault::Unauthorized,
        "forbidden" => Fault::Forbidden,
        "status" => Fault::Status(u16::try_from(number("status")).ok()?, text("body")),
        "html" => Fault::Html,
        "cut_body" => Fault::CutBody,
        "broken_json" => Fault::BrokenJson,
        "repeat_page" => Fault::RepeatPage,
        "shift_pages" => Fault::ShiftPages(number("rows")),
        "no_list" => Fault::NoList,
        "problems" => Fault::Problems(text("description")),
        "timed_out" => Fault::TimedOut,
        "invalid_page_token" => Fault::InvalidPageToken,
        "hang" => Fault::Hang,
        "dropped" => Fault::Dropped,
        "newest_first" => Fault::NewestFirst,
        "oldest_first" => Fault::OldestFirst,
        "total_off" => Fault::TotalOff(number("by")),
        _ => return None,
    })
}
