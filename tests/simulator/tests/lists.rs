//! The simulated API's lists, as far as the vendor's SDK doesn't show them: caps, faults, changes, the guide's dialect.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;

use common::{Client, an_hour, everything};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Late, Simulator, with_member};

/// Each paged list: its path, its dataset, its array's member, and its first page number.
const PAGED: [(&str, Dataset, &str, usize); 12] = [
    ("/v1/users?pageSize=1000&page=", Dataset::Users, "users", 1),
    ("/v1/cases?pgSize=1000&pgNum=", Dataset::Cases, "cases", 1),
    ("/v1/agents?pageSize=1000&page=", Dataset::Agents, "agents", 1),
    ("/v1/devices?pageSize=1000&page=", Dataset::Devices, "devices", 1),
    ("/v1/actors/actor/search?pageSize=500&page=", Dataset::Actors, "actors", 1),
    ("/v2/watchlists?page_size=1000&page=", Dataset::Watchlists, "watchlists", 1),
    ("/v1/departments?page_size=1000&page=", Dataset::Departments, "departments", 1),
    ("/v1/directory-groups?page_size=1000&page=", Dataset::DirectoryGroups, "directoryGroups", 1),
    ("/v2/trusted-activities?page_size=1000&page=", Dataset::TrustedActivities, "trustedActivities", 1),
    ("/v2/alert-rules?PageSize=1000&PageNumber=", Dataset::AlertRules, "", 0),
    ("/v1/legal-hold/matters?pageSize=1000&page=", Dataset::Matters, "matters", 1),
    ("/v1/sessions?page_size=50&page_number=", Dataset::Sessions, "items", 0),
];

fn rows(page: &Value, key: &str) -> Vec<Value> {
    let rows = if key.is_empty() { page } else { &page[key] };
    rows.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_cap_cuts_every_page_and_numbers_the_next_by_it() {
    let simulator = Simulator::start(21).await;
    let client = Client::sign_in(&simulator).await;
    simulator.api.change(|behaviour| behaviour.page_cap = Some(4));
    for (path, dataset, key, first) in PAGED {
        simulator.world.add_records(dataset, 10);
        let mut found = Vec::new();
        for (page, expected) in [(first, 4), (first + 1, 4), (first + 2, 2), (first + 3, 0)] {
            let (status, answer) = client.get(&format!("{path}{page}")).await;
            let rows = rows(&answer, key);
            assert_eq!((status, rows.len()), (200, expected), "{path}{page}");
            found.extend(rows.iter().map(Value::to_string));
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 10, "{path}");
    }
}

#[tokio::test]
async fn a_cap_cuts_pages_of_events_too() {
    let simulator = Simulator::start(22).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(10, from, to);
    simulator.world.add_audit(10, from, to);
    let client = Client::sign_in(&simulator).await;
    simulator.api.change(|behaviour| behaviour.page_cap = Some(4));
    assert_eq!(client.all_file_events(everything()).await.len(), 10);
    assert_eq!(simulator.api.requests_to(Endpoint::FileEvents).len(), 3);
    let (_, page) = client.post("/v1/audit/search-audit-log", json!({"page": 1, "pageSize": 100})).await;
    assert_eq!((rows(&page, "events").len(), &page["paginationRangeStartIndex"]), (4, &json!(4)));
}

#[tokio::test]
async fn lists_shift_repeat_and_lose_what_a_fault_takes() {
    let simulator = Simulator::start(23).await;
    simulator.world.add_records(Dataset::Watchlists, 9);
    simulator.world.add_records(Dataset::AlertRules, 2);
    let client = Client::sign_in(&simulator).await;
    let (_, first) = client.get("/v2/watchlists?page=1&page_size=3").await;
    let second = "/v2/watchlists?page=2&page_size=3";
    simulator.faults.once(Endpoint::Watchlists, 1, Fault::RepeatPage);
    assert_eq!(client.get(second).await.1, first);
    simulator.faults.once(Endpoint::Watchlists, 1, Fault::ShiftPages(-1));
    assert_eq!(client.get(second).await.1["watchlists"][0], first["watchlists"][2]);
    simulator.faults.once(Endpoint::Watchlists, 1, Fault::TotalOff(-2));
    assert_eq!(client.get(second).await.1["totalCount"], json!(7));
    simulator.faults.once(Endpoint::Watchlists, 1, Fault::NoList);
    assert_eq!(client.get_text(second).await.unwrap().1, r#"{"totalCount":9}"#);
    simulator.faults.once(Endpoint::AlertRules, 1, Fault::NoList);
    assert_eq!(client.get_text("/v2/alert-rules").await.unwrap().1, "{}");
    simulator.faults.once(Endpoint::IncludedActors, 1, Fault::Forbidden);
    assert_eq!(client.get("/v2/watchlists/x/included-actors").await.0, 403);
}

#[tokio::test]
async fn records_and_children_are_served_as_they_are_changed() {
    let simulator = Simulator::start(24).await;
    let world = &simulator.world;
    world.add_records(Dataset::Actors, 3);
    let lists = world.add_records(Dataset::Watchlists, 2);
    let client = Client::sign_in(&simulator).await;
    let path = |list: usize| format!("/v2/watchlists/{}/members", lists[list].id);
    // The same actors are members of both.
    for list in &lists {
        world.add_children(Dataset::WatchlistMembers, &list.id, 3);
    }
    let actor = world.children(Dataset::WatchlistMembers, &lists[1].id)[2].clone();
    assert_eq!(actor.id, world.all(Dataset::Actors)[2].id);
    let changed = world.change_child(Dataset::WatchlistMembers, &lists[1].id, &actor.id, |raw| {
        with_member(raw, "actorname", "\"renamed\"")
    });
    let (_, second) = client.get_text(&path(1)).await.unwrap();
    assert!(second.contains(&*changed) && second.contains("\"renamed\""));
    assert!(!client.get_text(&path(0)).await.unwrap().1.contains("renamed"));
    world.remove_child(Dataset::WatchlistMembers, &lists[1].id, &actor.id);
    assert_eq!(client.get(&path(1)).await.1["totalCount"], json!(2));
    world.push_child(Dataset::WatchlistMembers, &lists[1].id, r#"{"actorId":"x","odd":"\Everyone"}"#);
    assert!(
        client.get_text(&path(1)).await.unwrap().1.ends_with(r#"{"actorId":"x","odd":"\Everyone"}],"totalCount":3}"#)
    );

    world.change(Dataset::Watchlists, &lists[0].id, |raw| with_member(raw, "title", "\"new\""));
    assert_eq!(client.get("/v2/watchlists").await.1["watchlists"][0]["title"], json!("new"));
    world.remove(Dataset::Watchlists, &lists[0].id);
    assert_eq!(client.get(&path(0)).await.0, 404);

    let customer = world.all(Dataset::Customer).remove(0);
    world.change(Dataset::Customer, &customer.id, |raw| with_member(raw, "name", "\"renamed\""));
    assert_eq!(client.get("/v1/customer").await.1["name"], json!("renamed"));
}

#[tokio::test]
async fn a_changed_session_keeps_its_times_and_can_be_late() {
    let simulator = Simulator::start(25).await;
    let (from, to) = an_hour();
    let session = simulator.world.add_sessions(2, from, to, true).remove(1);
    let client = Client::sign_in(&simulator).await;
    let state = r#"[{"state":"CLOSED","sourceTimestamp":1,"userId":null}]"#;
    let raw = simulator.world.change(Dataset::Sessions, &session.id, |raw| with_member(raw, "states", state));
    assert_eq!(simulator.world.all(Dataset::Sessions)[1].time, session.time);
    assert_eq!(client.get_text(&format!("/v1/sessions/{}", session.id)).await.unwrap().1, *raw);
    simulator.world.late(Dataset::Sessions, &session.id, Late::Requests(1));
    let mut totals = Vec::new();
    for _ in 0..2 {
        totals.push(client.get("/v1/sessions").await.1["totalCount"].clone());
    }
    assert_eq!(totals, [json!(1), json!(2)]);
}

#[tokio::test]
async fn the_guides_lists_go_by_tokens_unless_a_page_is_named() {
    let simulator = Simulator::start(26).await;
    let (from, to) = an_hour();
    simulator.world.add_users(5);
    simulator.world.add_cases(5, from, to);
    simulator.world.add_file_events(5, from, to);
    let client = Client::sign_in(&simulator).await;
    assert_eq!(client.get("/v1/users?pageSize=3&pageToken=3").await.1["totalCount"], json!(5));
    simulator.api.change(|behaviour| behaviour.guide_endpoints = true);
    for (path, key) in [("/v1/users", "users"), ("/v1/cases", "cases")] {
        for member in ["nextPageToken", "next_page_token"] {
            simulator.api.change(|behaviour| behaviour.guide_token = member);
            let (_, first) = client.get(&format!("{path}?pageSize=3")).await;
            assert!(first.get("totalCount").is_none(), "{first}");
            let token = first[member].as_str().unwrap();
            let (_, second) = client.get(&format!("{path}?pageSize=3&pageToken={token}")).await;
            assert_eq!((rows(&first, key).len(), rows(&second, key).len()), (3, 2));
            assert!(second.get(member).is_none());
        }
    }
    let (_, cases) = client.get("/v1/cases?pageSize=3").await;
    assert!(cases["cases"][0].get("findings").is_none());
    assert_eq!(client.get("/v1/users?page=1").await.1["totalCount"], json!(5));
    assert_eq!(client.get("/v1/cases?pgNum=1").await.1["totalCount"], json!(5));

    simulator.api.change(|behaviour| behaviour.guide_nested_token = true);
    let (_, events) = client.post("/v2/file-events/search", json!({"pageSize": 3})).await;
    assert_eq!(events["file_events"], json!({"nextPageToken": "3"}));
    simulator.api.change(|behaviour| behaviour.guide_lists = false);
    assert_eq!(client.get("/v1/users?pageToken=3").await.1["totalCount"], json!(5));
}
