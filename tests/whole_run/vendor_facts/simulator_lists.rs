//! Holds the simulator to the parameters that narrow or sort a list: each that the vendor has (`OpenAPI`) does so.

use serde_json::{Value, json};
use simulator::Dataset;

use super::client::Client;
use crate::rig::{Rig, ago};

/// Returns these members of the rows that a path answers.
async fn shown(client: &Client, path: &str, list: &str, member: &str) -> Vec<Value> {
    let (status, answer) = client.ask("GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    let rows = if list.is_empty() { &answer } else { &answer[list] };
    rows.as_array().unwrap().iter().map(|row| row[member].clone()).collect()
}

fn session(id: &str, n: u64, with: bool) -> String {
    let results = json!({"status": if with { "PII_FOUND" } else { "PENDING" }, "eventResults": []});
    let (rule, severity, indicator) = if with { ("r1", 4, "i1") } else { ("r2", 1, "i2") };
    json!({"sessionId": id, "actorId": if with { "a1" } else { "a2" }, "beginTime": ago(600).timestamp_millis(),
        "endTime": n, "triggeredAlerts": [{"alertId": "x", "ruleId": rule}], "contentInspectionResults": results,
        "scores": [{"score": 1, "severity": 0}, {"score": 2, "severity": severity}],
        "riskIndicators": [{"id": indicator}, {"id": "both"}], "states": []})
    .to_string()
}

fn fill(rig: &Rig) {
    let (world, time) = (&rig.sim.world, ago(60).to_rfc3339());
    let case = json!({"number": 1, "name": "x", "status": "OPEN", "updatedAt": time, "createdAt": time});
    world.push_case(case.to_string());
    for (event, archive) in [("e1", "z1"), ("e2", "z2")] {
        let event = json!({"event": {"id": event, "inserted": time}, "file": {"archiveId": archive}});
        world.push_child(Dataset::CaseFileEvents, "1", event.to_string());
    }
    for (list, member) in [("w1", "a1"), ("w2", "a2")] {
        world.push_record(Dataset::Watchlists, json!({"watchlistId": list}).to_string());
        let member = json!({"actorId": member, "addedTime": time});
        world.push_child(Dataset::WatchlistMembers, list, member.to_string());
        let rule = json!({"id": format!("of-{list}"), "modifiedAt": time,
            "filters": {"watchlist": {"watchlists": [{"id": list}], "criteriaOrder": 1}}});
        world.push_record(Dataset::AlertRules, rule.to_string());
    }
    for (matter, creator) in [("m1", "7"), ("m2", "8")] {
        let matter = json!({"matterId": matter, "creationDate": time, "creator": {"userId": creator}});
        world.push_record(Dataset::Matters, matter.to_string());
    }
    world.push_record(Dataset::Sessions, session("s1", 1, true));
    world.push_record(Dataset::Sessions, session("s2", 2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_narrows_a_list_by_each_parameter_that_the_vendor_has() {
    let rig = Rig::new().await;
    fill(&rig);
    let client = Client::of(&rig).await;
    for (path, list, member, first, second) in [
        ("/v1/cases/1/fileevent?archiveId=z1", "events", "eventId", "e1", "e2"),
        ("/v2/watchlists?actor_id=a1", "watchlists", "watchlistId", "w1", "w2"),
        ("/v2/alert-rules?WatchlistId=w1", "", "id", "of-w1", "of-w2"),
        ("/v1/legal-hold/matters?creatorUserId=7", "matters", "matterId", "m1", "m2"),
        ("/v1/sessions?severity=4", "items", "sessionId", "s1", "s2"),
        ("/v1/sessions?rule_id=r1", "items", "sessionId", "s1", "s2"),
        ("/v1/sessions?watchlist_id=w1", "items", "sessionId", "s1", "s2"),
        ("/v1/sessions?risk_indicators=i1", "items", "sessionId", "s1", "s2"),
        ("/v1/sessions?risk_indicators=both&risk_indicators=i1", "items", "sessionId", "s1", "s2"),
        ("/v1/sessions?content_inspection_status=PII_FOUND", "items", "sessionId", "s1", "s2"),
    ] {
        assert_eq!(shown(&client, path, list, member).await, [json!(first)], "{path}");
        let all = shown(&client, path.split('?').next().unwrap(), list, member).await;
        assert!(all.len() == 2 && all.contains(&json!(second)), "{path}: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_sorts_by_several_keys_and_by_a_second_one() {
    let rig = Rig::new().await;
    let client = Client::of(&rig).await;
    for (number, status, name) in [(1, "OPEN", "b"), (2, "CLOSED", "b"), (3, "OPEN", "a"), (4, "OPEN", "b")] {
        let time = ago(60).to_rfc3339();
        let case = json!({"number": number, "status": status, "name": name, "updatedAt": time, "createdAt": time});
        rig.sim.world.push_case(case.to_string());
    }
    for (query, expected) in [
        ("srtKey=status&srtKey=name&srtDir=desc&srtDir=asc", [3, 1, 4, 2]),
        ("srtKey=status&srtKey=name&srtKey=number&srtDir=asc&srtDir=desc&srtDir=desc", [2, 4, 1, 3]),
        ("srtKey=name", [3, 1, 2, 4]),
        ("srtKey=name&srtDir=desc", [4, 2, 1, 3]),
    ] {
        let found = shown(&client, &format!("/v1/cases?{query}"), "cases", "number").await;
        assert_eq!(found, expected.map(|number| json!(number)), "{query}");
    }
    for (id, kind, seconds) in [("1", "SLACK", 30), ("2", "DOMAIN", 20), ("3", "DOMAIN", 40), ("4", "SLACK", 10)] {
        let activity = json!({"activityId": id, "type": kind, "updateTime": ago(seconds).to_rfc3339()});
        rig.sim.world.push_record(Dataset::TrustedActivities, activity.to_string());
    }
    for (query, expected) in
        [("sort_key=TYPE", ["3", "2", "1", "4"]), ("sort_key=TYPE&sort_direction=DESC", ["4", "1", "2", "3"])]
    {
        let path = format!("/v2/trusted-activities?{query}");
        let found = shown(&client, &path, "trustedActivities", "activityId").await;
        assert_eq!(found, expected.map(|id| json!(id)), "{query}");
    }
}

/// `ContentInspectionResults-sessions`, and the SDK's model.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_simulator_s_sessions_have_results_of_content_inspection_in_the_vendor_s_form() {
    let rig = Rig::new().await;
    rig.sim.world.add_sessions(8, ago(3_000), ago(60), true);
    let client = Client::of(&rig).await;
    let results = shown(&client, "/v1/sessions", "items", "contentInspectionResults").await;
    let of_vendor = results.iter().filter(|results| results["eventResults"][0]["status"] == results["status"]);
    assert_eq!(of_vendor.filter(|results| results["status"].is_string()).count(), 4, "{results:?}");
    assert_eq!(results.iter().filter(|results| results["detectedOnAlerts"].is_array()).count(), 4);
}
