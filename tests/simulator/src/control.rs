//! The control interface for tests in other languages.
//!
//! * `GET /world/{dataset}`: the raw records in a JSON array; `GET /world/{dataset}/{parent's id}`: a record's children
//! * `POST /world/{dataset}` `{"n": 5}`: adds records, of children with `"parent": "<id>"`, of sessions also with
//!   `"with_alerts": false`; `{"raw": "…"}` adds this very text. The answer holds what was added
//! * `DELETE /world/{dataset}`: takes all its records out
//! * `POST /fault` `{"endpoint": "file_events", "nth": 1, "fault": "status", "status": 500, "body": "…"}`; without
//!   `nth`, always; `{"fault": "none"}` clears
//! * `GET /log`: the API's requests

mod names;

use std::{io, sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{
    Api, Dataset, Fault, Faults, Record, Simulator, WorldHandle,
    http::{Reply, Request, Server},
};

use simulator::clock;

pub async fn start(simulator: &Simulator) -> io::Result<Server> {
    let (world, api, faults) = (simulator.world.clone(), simulator.api.clone(), simulator.faults.clone());
    Server::start(0, move |request| std::future::ready(answer(&world, &api, &faults, &request))).await
}

fn answer(world: &WorldHandle, api: &Api, faults: &Faults, request: &Request) -> Reply {
    let path: Vec<&str> = request.path.split('/').skip(1).collect();
    let answer = match (request.method.as_str(), &path[..]) {
        ("GET", ["log"]) => Some(log(api).to_string()),
        ("POST", ["fault"]) => arm(faults, &request.json()).map(|()| "{}".to_owned()),
        (method, ["world", name, rest @ ..]) => {
            Dataset::named(name).and_then(|dataset| of_world(world, dataset, method, rest, &request.json()))
        }
        _ => return Reply::json(404, "{}"),
    };
    match answer {
        Some(answer) => Reply::json(200, answer),
        None => Reply::json(400, r#"{"error":"no such dataset, endpoint or fault"}"#),
    }
}

fn of_world(world: &WorldHandle, dataset: Dataset, method: &str, rest: &[&str], order: &Value) -> Option<String> {
    match (method, rest) {
        ("GET", []) => Some(texts(&world.all(dataset))),
        ("GET", [parent]) => Some(texts(&world.children(dataset, parent))),
        ("POST", []) => add(world, dataset, order),
        ("DELETE", []) => {
            world.clear(dataset);
            Some("[]".to_owned())
        }
        _ => None,
    }
}

fn add(world: &WorldHandle, dataset: Dataset, order: &Value) -> Option<String> {
    let parent = order["parent"].as_str();
    if parent.is_some() != dataset.parent().is_some() {
        return None;
    }
    if let Some(raw) = order["raw"].as_str() {
        let pushed: Arc<str> = match parent {
            Some(parent) => world.push_child(dataset, parent, raw),
            None => world.push_record(dataset, raw),
        };
        return Some(format!("[{pushed}]"));
    }
    let n = usize::try_from(order["n"].as_u64()?).ok()?;
    let now = clock::now();
    let added = match (parent, order["with_alerts"].as_bool()) {
        (Some(parent), _) => world.add_children(dataset, parent, n),
        (None, Some(with_alerts)) if dataset == Dataset::Sessions => {
            world.add_sessions(n, now - TimeDelta::days(1), now, with_alerts)
        }
        (None, _) => world.add_records(dataset, n),
    };
    Some(texts(&added))
}

fn texts(records: &[Record]) -> String {
    let texts: Vec<&str> = records.iter().map(|record| &*record.raw).collect();
    format!("[{}]", texts.join(","))
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
    let (endpoint, fault) = (names::endpoint(order["endpoint"].as_str()?)?, fault(order)?);
    match order["nth"].as_u64() {
        Some(nth) => faults.once(endpoint, nth, fault),
        None => faults.always(endpoint, fault),
    }
    Some(())
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
