//! The simulated API compared with what the reference says about the real one.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;

use chrono::TimeDelta;
use common::{Client, an_hour, everything, http};
use serde_json::{Value, json};
use simulator::{Dataset, EdgePolicy, Endpoint, Fault, Late, Precision, Simulator, TokenEnd, with_member};

#[tokio::test]
async fn a_wrong_secret_is_an_invalid_client() {
    let simulator = Simulator::start(1).await;
    let request = http().post(format!("{}/v1/oauth", simulator.api.url())).basic_auth("x", Some("y"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.text().await.unwrap(), r#"{"error":"invalid_client"}"#);
    assert_eq!(simulator.api.sign_ins(), 0);
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    let simulator = Simulator::start(1).await;
    let client = Client::sign_in(&simulator).await;
    assert_eq!(client.get("/v1/customer").await.0, 200);
    simulator.api.revoke_tokens();
    assert_eq!(client.get("/v1/customer").await.0, 401);
}

#[tokio::test]
async fn the_token_leads_through_every_page_once_in_any_order() {
    let simulator = Simulator::start(2).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(107, from, to);
    let client = Client::sign_in(&simulator).await;
    let mut expected: Vec<String> = simulator.world.file_events().iter().map(|event| event.id.to_string()).collect();
    expected.sort();
    for end in [TokenEnd::Null, TokenEnd::Absent, TokenEnd::Empty] {
        for (key, direction) in [("event.id", "asc"), ("event.inserted", "desc"), ("risk.score", "asc")] {
            for size in [10, 107, 500] {
                simulator.api.change(|behaviour| behaviour.token_end = end);
                let mut query = everything();
                query["srtKey"] = json!(key);
                query["srtDir"] = json!(direction);
                query["pgSize"] = json!(size);
                let mut found = client.all_file_events(query).await;
                found.sort();
                assert_eq!(found, expected, "{key} {direction} {size}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_token_pages_are_numbered_and_end_at_ten_thousand_rows() {
    let simulator = Simulator::start(2).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(30, from, to);
    let client = Client::sign_in(&simulator).await;
    let mut query = everything();
    query["pgToken"] = Value::Null;
    query["pgNum"] = json!(3);
    query["pgSize"] = json!(10);
    let (_, page) = client.post("/v2/file-events", query.clone()).await;
    assert_eq!(page["fileEvents"].as_array().map(Vec::len), Some(10));
    assert_eq!((&page["nextPgToken"], &page["totalCount"]), (&Value::Null, &json!(30)));
    query["pgSize"] = json!(10_001);
    assert_eq!(client.post("/v2/file-events", query).await.0, 400);
}

#[tokio::test]
async fn an_unknown_token_and_a_query_without_groups_are_refused() {
    let simulator = Simulator::start(2).await;
    let client = Client::sign_in(&simulator).await;
    let mut query = everything();
    query["pgToken"] = json!("nobody's");
    let (status, text) = client.post_text("/v2/file-events", query).await;
    assert_eq!(status, 400);
    assert!(text.contains("INVALID_PAGE_TOKEN"), "{text}");
    let (status, page) = client.post("/v2/file-events", json!({"groups": []})).await;
    assert_eq!((status, page["problems"].as_array().map(Vec::len)), (400, Some(1)));
}

#[tokio::test]
async fn a_nested_or_is_joined_with_a_window() {
    let simulator = Simulator::start(3).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(200, from, to);
    let middle = from + TimeDelta::minutes(30);
    let client = Client::sign_in(&simulator).await;
    let query = json!({"groupClause": "AND", "pgSize": 1000, "groups": [
        {"filterClause": "AND", "filters": [
            {"term": "event.inserted", "operator": "ON_OR_AFTER", "value": from.to_rfc3339()},
            {"term": "event.inserted", "operator": "LESS_THAN", "value": middle.to_rfc3339()}]},
        {"subgroupClause": "OR", "subgroups": [
            {"filters": [{"term": "risk.severity", "operator": "IS", "value": "HIGH"}]},
            {"subgroupClause": "AND", "subgroups": [
                {"filters": [{"term": "event.observer", "operator": "IS_NOT", "value": "Endpoint"}]},
                {"filterClause": "OR", "filters": [
                    {"term": "risk.score", "operator": "GREATER_THAN", "value": 15},
                    {"term": "event.shareType", "operator": "IS_ANY", "value": ["Other", "x"]}]}]}]}]});
    let mut found = client.all_file_events(query).await;
    found.sort();

    let events = simulator.world.file_events();
    let wanted = events.iter().filter(|event| {
        let fields: Value = serde_json::from_str(&event.raw).unwrap();
        let cloud = fields["event"]["observer"] != "Endpoint";
        let shared = fields["event"]["shareType"].as_array().unwrap().contains(&json!("Other"));
        let scored = fields["risk"]["score"].as_u64().unwrap() > 15;
        event.time < middle && (fields["risk"]["severity"] == "HIGH" || (cloud && (scored || shared)))
    });
    let mut wanted: Vec<String> = wanted.map(|event| event.id.to_string()).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!((10..150).contains(&found.len()), "{} is too many or too few to tell", found.len());
}

#[tokio::test]
async fn records_are_served_byte_for_byte() {
    let simulator = Simulator::start(4).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(60, from, to);
    simulator.world.add_users(40);
    simulator.world.push_file_event_raw("poison", from, "{\"event\":{\"id\":\"poison\"},\"owner\":\"\\Everyone\"}");
    let client = Client::sign_in(&simulator).await;
    let mut query = everything();
    query["pgSize"] = json!(1000);
    let (_, page) = client.post_text("/v2/file-events", query).await;
    assert!(simulator.world.file_events().iter().all(|event| page.contains(&*event.raw)));
    let (_, page) = client.get_text("/v1/users").await.unwrap();
    assert!(simulator.world.users().iter().all(|user| page.contains(&*user.raw)));
}

#[tokio::test]
async fn audit_is_newest_first_and_past_its_end_there_is_no_list() {
    let simulator = Simulator::start(5).await;
    let (from, to) = an_hour();
    simulator.world.add_audit(50, from, to);
    let client = Client::sign_in(&simulator).await;
    let mut body = json!({"dateRange": {"startTime": from.timestamp(), "endTime": to.timestamp()}, "pageSize": 20});
    let mut found = Vec::new();
    for page in 0..3 {
        body["page"] = json!(page);
        let (_, answer) = client.post("/v1/audit/search-audit-log", body.clone()).await;
        assert_eq!(answer["paginationRangeStartIndex"], json!(page * 20));
        found.extend(answer["events"].as_array().unwrap().iter().map(|event| event["timestamp"].to_string()));
    }
    assert_eq!(found.len(), 50);
    assert!(found.is_sorted_by(|a, b| a[..20] >= b[..20]));
    body["page"] = json!(3);
    let (status, beyond) = client.post("/v1/audit/search-audit-log", body.clone()).await;
    let expected = json!({"paginationRangeStartIndex": 60, "paginationRangeEndIndex": 60, "totalResultCount": 50});
    assert_eq!((status, beyond), (200, expected));
    let (_, count) = client.post("/v1/audit/search-results-count", body).await;
    assert_eq!(count, json!({"totalResultCount": 50}));
    let (status, _) = client.post("/v1/audit/search-audit-log", json!({"dateRange": {"endTime": 1.5}})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn some_audit_events_are_alike_in_every_byte() {
    let simulator = Simulator::start(5).await;
    let (from, to) = an_hour();
    simulator.world.add_audit(100, from, to);
    let mut texts: Vec<_> = simulator.world.audit().into_iter().map(|event| event.raw).collect();
    texts.sort();
    texts.dedup();
    assert!((90..100).contains(&texts.len()));
}

#[tokio::test]
async fn the_edges_of_a_span_are_cut_as_the_policy_says() {
    let simulator = Simulator::start(6).await;
    let (from, _) = an_hour();
    for (id, offset) in [("a", 0), ("b", 400_500), ("c", 999_999), ("d", 1_000_000)] {
        simulator.world.push_file_event_raw(
            id,
            from + TimeDelta::microseconds(offset),
            json!({"event": {"id": id}}).to_string(),
        );
    }
    let client = Client::sign_in(&simulator).await;
    let query = json!({"pgSize": 100, "srtKey": "event.inserted", "srtDir": "asc", "groups": [{"filters": [
        {"term": "event.inserted", "operator": "ON_OR_AFTER", "value": from.to_rfc3339()},
        {"term": "event.inserted", "operator": "ON_OR_BEFORE", "value": (from + TimeDelta::milliseconds(400)).to_rfc3339()}]}]});
    let edges = |precision, from_inclusive, to_inclusive| EdgePolicy { precision, from_inclusive, to_inclusive };
    for (policy, expected) in [
        (edges(Precision::Milliseconds, true, true), vec!["a", "b"]),
        (edges(Precision::Milliseconds, false, true), vec!["b"]),
        (edges(Precision::Milliseconds, true, false), vec!["a"]),
        (edges(Precision::Seconds, true, true), vec!["a", "b", "c"]),
        (edges(Precision::Seconds, true, false), vec![]),
    ] {
        simulator.api.change(|behaviour| behaviour.edges = policy);
        assert_eq!(client.all_file_events(query.clone()).await, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn the_list_of_cases_lacks_what_only_their_details_have() {
    let simulator = Simulator::start(7).await;
    let (from, to) = an_hour();
    simulator.world.add_cases(12, from, to);
    let client = Client::sign_in(&simulator).await;
    let (_, list) = client.get("/v1/cases?pgSize=5&pgNum=3&srtKey=updatedAt&srtDir=asc").await;
    let numbers: Vec<_> = list["cases"].as_array().unwrap().iter().map(|case| case["number"].clone()).collect();
    assert_eq!((numbers, &list["totalCount"]), (vec![json!(11), json!(12)], &json!(12)));
    assert!(list["cases"][0].get("findings").is_none() && list["cases"][0].get("description").is_none());
    let (_, detail) = client.get_text("/v1/cases/11").await.unwrap();
    assert_eq!(detail, &*simulator.world.cases()[10].raw);
    assert_eq!(client.get("/v1/cases/13").await.0, 404);

    simulator.world.update_case_at(4, to, |case| with_member(case, "status", "\"CLOSED\""));
    let interval = format!("updatedAt={}/{}", to.format("%FT%TZ"), (to + TimeDelta::hours(1)).format("%FT%TZ"));
    let (_, changed) = client.get(&format!("/v1/cases?{interval}&status=CLOSED&status=OPEN")).await;
    assert_eq!((&changed["totalCount"], &changed["cases"][0]["number"]), (&json!(1), &json!(4)));
}

#[tokio::test]
async fn users_are_paged_from_one_and_filtered() {
    let simulator = Simulator::start(8).await;
    simulator.world.add_users(21);
    let client = Client::sign_in(&simulator).await;
    assert_eq!(client.get("/v1/users?page=0&pageSize=8").await.0, 400);
    let (_, plain) = client.get("/v1/users?pageSize=8").await;
    let (_, first) = client.get("/v1/users?page=1&pageSize=8&pageToken=ignored").await;
    assert_eq!(plain, first);
    let (_, last) = client.get("/v1/users?page=3&pageSize=8").await;
    assert_eq!(last["users"].as_array().map(Vec::len), Some(5));
    let (_, active) = client.get("/v1/users?active=true&blocked=false").await;
    let expected = (1..=21).filter(|n| n % 5 != 0 && n % 7 != 0).count();
    assert_eq!(active["totalCount"], json!(expected));
}

#[tokio::test]
async fn a_late_record_shows_after_so_many_requests() {
    let simulator = Simulator::start(9).await;
    let (from, to) = an_hour();
    let record = simulator.world.add_audit(1, from, to).remove(0);
    simulator.world.late(Dataset::Audit, &record.raw, Late::Requests(2));
    let client = Client::sign_in(&simulator).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        let (_, count) = client.post("/v1/audit/search-results-count", json!({})).await;
        counts.push(count["totalResultCount"].clone());
    }
    assert_eq!(counts, [json!(0), json!(0), json!(1)]);
}

#[tokio::test]
async fn a_fault_strikes_the_request_that_it_is_armed_for() {
    let simulator = Simulator::start(10).await;
    simulator.world.add_users(2);
    let client = Client::sign_in(&simulator).await;
    simulator.faults.once(Endpoint::Users, 2, Fault::Status(500, "{}".into()));
    simulator.faults.times(Endpoint::Customer, 2, Fault::Forbidden);
    let world = simulator.world.clone();
    simulator.faults.once(Endpoint::Users, 3, Fault::run(move || drop(world.add_users(1))));
    let mut statuses = Vec::new();
    for path in ["/v1/users", "/v1/customer", "/v1/users", "/v1/users", "/v1/customer", "/v1/customer"] {
        statuses.push(client.get(path).await.0);
    }
    assert_eq!(statuses, [200, 403, 500, 200, 403, 200]);
    assert_eq!(simulator.faults.struck(), 4);
    assert_eq!(client.get("/v1/users").await.1["totalCount"], json!(3));
    let log = simulator.api.requests_to(Endpoint::Users);
    assert_eq!(
        log.iter().map(|request| request.status).collect::<Vec<_>>(),
        [Some(200), Some(500), Some(200), Some(200)]
    );
}

#[tokio::test]
async fn broken_answers_are_broken_on_the_wire() {
    let simulator = Simulator::start(11).await;
    simulator.world.add_users(20);
    let client = Client::sign_in(&simulator).await;
    let users = || client.get_text("/v1/users");
    for gzip in [true, false] {
        simulator.api.change(|behaviour| behaviour.gzip = gzip);
        simulator.faults.once(Endpoint::Users, 1, Fault::CutBody);
        assert!(users().await.is_err(), "a cut body arrives as whole");
    }
    simulator.faults.once(Endpoint::Users, 1, Fault::Dropped);
    assert!(users().await.is_err());
    simulator.faults.once(Endpoint::Users, 1, Fault::BrokenJson);
    let (status, text) = users().await.unwrap();
    assert!(status == 200 && serde_json::from_str::<Value>(&text).is_err());
    simulator.faults.once(Endpoint::Users, 1, Fault::NoList);
    assert_eq!(users().await.unwrap().1, r#"{"totalCount":20}"#);
}

#[tokio::test]
async fn offset_pages_shift_and_repeat() {
    let simulator = Simulator::start(12).await;
    simulator.world.add_users(9);
    let client = Client::sign_in(&simulator).await;
    let (_, first) = client.get("/v1/users?page=1&pageSize=3").await;
    simulator.faults.once(Endpoint::Users, 1, Fault::RepeatPage);
    assert_eq!(client.get("/v1/users?page=2&pageSize=3").await.1, first);
    simulator.faults.once(Endpoint::Users, 1, Fault::ShiftPages(-1));
    let (_, shifted) = client.get("/v1/users?page=2&pageSize=3").await;
    assert_eq!(shifted["users"][0], first["users"][2]);
}

#[tokio::test]
async fn the_clock_and_the_rate_limit_can_be_set() {
    let simulator = Simulator::start(13).await;
    let client = Client::sign_in(&simulator).await;
    simulator.api.change(|behaviour| {
        behaviour.clock_offset = TimeDelta::hours(-2);
        behaviour.requests_per_minute = Some(1);
    });
    let http = http();
    let response = http.get(simulator.api.url()).send().await.unwrap();
    let date = response.headers()["date"].to_str().unwrap();
    let behind = chrono::Utc::now() - chrono::DateTime::parse_from_rfc2822(date).unwrap().to_utc();
    assert!((119..=121).contains(&behind.num_minutes()), "{date}");
    assert_eq!(client.get("/v1/customer").await.0, 429);
}

#[tokio::test]
async fn the_guides_endpoints_are_there_only_on_demand() {
    let simulator = Simulator::start(14).await;
    let (from, to) = an_hour();
    simulator.world.add_audit(5, from, to);
    let client = Client::sign_in(&simulator).await;
    let path = "/v1/audit/log?startTime=2026-11-20T00:00:00Z&pageSize=3";
    assert_eq!(client.get(path).await.0, 404);
    simulator.api.change(|behaviour| behaviour.guide_endpoints = true);
    let (_, first) = client.get(path).await;
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, second) = client.get(&format!("{path}&pageToken={token}")).await;
    let rows = |page: &Value| page["events"].as_array().map(Vec::len);
    assert_eq!((rows(&first), rows(&second)), (Some(3), Some(2)));
    assert!(second.get("nextPageToken").is_none());
}

fn hour_of_file_events() -> Value {
    let (from, to) = an_hour();
    json!({"pgSize": 1, "pgToken": "", "groups": [{"filters": [
        {"term": "event.inserted", "operator": "ON_OR_AFTER", "value": from.to_rfc3339()},
        {"term": "event.inserted", "operator": "ON_OR_BEFORE", "value": to.to_rfc3339()}]}]})
}

#[tokio::test]
async fn a_total_may_be_wrong_for_good_while_every_row_is_shown() {
    let simulator = Simulator::start(15).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(40, from, to);
    simulator.world.add_audit(40, from, to);
    let client = Client::sign_in(&simulator).await;
    let audit = json!({"dateRange": {"startTime": from.timestamp(), "endTime": to.timestamp()}});
    let totals = async || {
        let (_, file_events) = client.post("/v2/file-events", hour_of_file_events()).await;
        let (_, audit) = client.post("/v1/audit/search-results-count", audit.clone()).await;
        (file_events["totalCount"].as_i64().unwrap(), audit["totalResultCount"].as_i64().unwrap())
    };
    let minute = |n| from + TimeDelta::minutes(n);
    let unseen = simulator.faults.count_unseen(Endpoint::FileEvents, 1, minute(10), minute(11));
    simulator.faults.count_unseen(Endpoint::FileEvents, 1, minute(-2), minute(-1));
    simulator.faults.count_unseen(Endpoint::AuditCount, 2, minute(60), minute(61));
    assert_eq!(totals().await, (41, 42), "whatever is touched counts, and nothing else");
    let capped = simulator.faults.cap_total(Endpoint::FileEvents, 10);
    assert_eq!(totals().await, (10, 42));
    assert_eq!(client.all_file_events(hour_of_file_events()).await.len(), 40);
    capped.heal();
    assert_eq!(totals().await, (41, 42));
    unseen.heal();
    assert_eq!(totals().await, (40, 42));
    simulator.faults.clear();
    assert_eq!(totals().await, (40, 40));
}

#[tokio::test]
async fn what_ails_a_path_or_a_span_lasts_until_it_is_healed() {
    let simulator = Simulator::start(16).await;
    let (from, to) = an_hour();
    simulator.world.add_file_events(5, from, to);
    simulator.world.add_cases(40, from, to);
    let client = Client::sign_in(&simulator).await;
    let of_case = simulator.faults.ail_at("/v1/cases/4", Fault::Forbidden);
    let of_span = simulator.faults.ail_in(Endpoint::FileEvents, to, to, Fault::TimedOut);
    for _ in 0..3 {
        assert_eq!(client.get("/v1/cases/4").await.0, 403);
        assert_eq!(client.get("/v1/cases/4/fileevent").await.0, 403);
        assert_eq!(client.get("/v1/cases/40").await.0, 200);
        assert_eq!(client.post("/v2/file-events", hour_of_file_events()).await.0, 400);
        assert_eq!(client.post("/v2/file-events", everything()).await.0, 200);
    }
    of_case.heal();
    assert_eq!(client.get("/v1/cases/4").await.0, 200);
    assert_eq!(client.post("/v2/file-events", hour_of_file_events()).await.0, 400, "the other lasts");
    of_span.heal();
    assert_eq!(client.post("/v2/file-events", hour_of_file_events()).await.0, 200);
}
