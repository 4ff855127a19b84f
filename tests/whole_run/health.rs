//! `health` and the stream `environment_health`: each finding in a world that has exactly that one, once a day.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Hook, S3Fault, Simulator};

use crate::oracle::{millis, span_of};
use crate::rig::{Rig, ago};

pub fn days_ago(days: i64) -> String {
    millis(ago(60) - TimeDelta::days(days))
}

fn with(mut record: Value, changes: &Value) -> String {
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
    record.to_string()
}

pub fn agent(sim: &Simulator, id: &str, changes: &Value) {
    let record = json!({"agentId": id, "name": format!("name of {id}"), "userId": "u1", "osHostname": "host-1",
        "osName": "Mac", "active": true, "agentType": "COMBINED", "agentHealthIssueTypes": [], "productVersion": "2.0",
        "lastConnected": days_ago(0), "creationDate": days_ago(300), "modificationDate": days_ago(0)});
    sim.world.push_record(Dataset::Agents, with(record, changes));
}

pub fn user(sim: &Simulator, id: &str, changes: &Value) {
    let record = json!({"userId": id, "username": format!("{id}@example.com"), "active": true, "blocked": false,
        "creationDate": days_ago(200), "modificationDate": days_ago(100)});
    sim.world.push_user(with(record, changes));
}

/// As the profile shows it. The list of actors leaves the end date out.
pub fn actor(sim: &Simulator, id: &str, name: &str, end: Option<&str>) {
    let record = json!({"actorId": id, "name": name, "active": true, "parentActorId": null, "endDate": end});
    sim.world.push_record(Dataset::Actors, record.to_string());
}

pub fn event(sim: &Simulator, device: &str, observer: &str, days: i64) {
    let id = format!("{device}-{observer}-{days}");
    let record = json!({"event": {"id": id, "inserted": days_ago(days), "observer": observer},
        "user": {"deviceUid": device}});
    sim.world.push_file_event(record.to_string());
}

/// One user with one agent, both without findings.
pub async fn well() -> Rig {
    well_in("environment_health").await
}

/// The same with these streams.
pub async fn well_in(streams: &str) -> Rig {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", streams)).await;
    user(&rig.sim, "u1", &json!({}));
    agent(&rig.sim, "a1", &json!({}));
    event(&rig.sim, "a1", "Endpoint", 1);
    event(&rig.sim, "a1", "Endpoint", 40);
    rig
}

impl Rig {
    pub async fn health(&self) -> Value {
        self.invoke(json!({"action": "health"})).await.answer()
    }
}

pub fn kinds(answer: &Value) -> Vec<&str> {
    answer["findings"].as_array().unwrap().iter().map(|finding| finding["finding"].as_str().unwrap()).collect()
}

/// A run that reads the secret only to see whether it is another one keeps its value.
#[tokio::test(flavor = "multi_thread")]
async fn it_signs_in_with_the_secret_as_it_is_now_and_not_as_the_last_run_saw_it() {
    let rig = well().await;
    let behaviour = rig.sim.api.behaviour();
    let right = json!({"client_id": behaviour.client_id, "client_secret": behaviour.client_secret}).to_string();
    rig.sim.secrets.set_secret("{}");
    for _ in 0..2 {
        assert_eq!(rig.failure(json!({})).await.0, "ThirdPartyConfigError");
    }
    rig.sim.secrets.set_secret(right);
    assert_eq!(rig.health().await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_nothing_is_found_and_nothing_written() {
    let rig = well().await;
    let answer = rig.health().await;
    let none: Vec<(&str, u64)> = Vec::new();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("health"), &json!("complete")), "{answer:#}");
    for list in ["findings", "left_out", "objects"] {
        assert_eq!(answer[list], json!(none), "{answer:#}");
    }
    let summary = json!({"agents": 1, "active_agents": 1, "users": 1, "findings": {"stale_agent": 0,
        "superseded_agent": 0, "unhealthy_agent": 0, "silent_agent": 0, "outdated_agent": 0, "deployment": 0, "user_without_agent": 0,
        "deactivated_user_with_agent": 0, "left_but_active": 0, "must_not_be_deactivated": 0, "silent_observer": 0}});
    assert_eq!(answer["summary"], summary);
    assert!(answer.get("truncated").is_none() && rig.sim.s3.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "a list of worlds")]
async fn each_finding_is_found_in_a_world_that_has_exactly_that() {
    type Change = fn(&Simulator);
    let worlds: [(Change, &[&str]); 16] = [
        (
            |sim| {
                agent(sim, "a2", &json!({"userId": null}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["deployment"],
        ),
        (
            |sim| {
                agent(sim, "a2", &json!({"lastConnected": days_ago(42), "userId": "u8"}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["stale_agent"],
        ),
        (
            |sim| {
                agent(sim, "a2", &json!({"lastConnected": days_ago(42)}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["superseded_agent"],
        ),
        (
            |sim| {
                let actor = json!({"actorId": "x1", "name": "U1@example.com", "active": false, "parentActorId": null});
                sim.world.push_record(Dataset::Actors, actor.to_string());
            },
            &["left_but_active"],
        ),
        (
            |sim| {
                actor(sim, "x1", "u1@example.com", Some(&days_ago(5)[..10]));
                actor(sim, "x2", "u1@example.com", Some(&days_ago(-5)[..10]));
                actor(sim, "x3", "u1@example.com", None);
            },
            &["left_but_active"],
        ),
        (
            |sim| {
                user(sim, "u2", &json!({}));
                user(sim, "u3", &json!({}));
                let role = json!({"roleId": "r", "roleName": "Insider Risk Analyst", "permissionIds": []});
                sim.world.push_child(Dataset::UserRoles, "u3", role.to_string());
            },
            &["user_without_agent"],
        ),
        (
            |sim| {
                for (detector, days) in [("Drive of Berlin", 2), ("Drive of Berlin", 33), ("Drive of Paris", 33)] {
                    let id = format!("{detector}-{days}");
                    let event = json!({"id": id, "inserted": days_ago(days), "observer": "GoogleDrive",
                        "detectorDisplayName": detector});
                    sim.world.push_file_event(json!({"event": event, "user": {"deviceUid": "a1"}}).to_string());
                }
            },
            &["silent_observer"],
        ),
        (
            |sim| {
                agent(sim, "a2", &json!({"agentHealthIssueTypes": ["NOT_CONNECTING", "SECURITY_INGEST_REJECTED"]}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["unhealthy_agent", "unhealthy_agent"],
        ),
        (
            |sim| {
                agent(sim, "a2", &json!({}));
                event(sim, "a2", "Endpoint", 44);
            },
            &["silent_agent"],
        ),
        (
            |sim| {
                agent(sim, "a2", &json!({"productVersion": "1.10.2"}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["outdated_agent"],
        ),
        (|sim| user(sim, "u2", &json!({})), &["user_without_agent"]),
        (
            |sim| {
                user(sim, "u2", &json!({"active": false}));
                agent(sim, "a2", &json!({"userId": "u2"}));
                event(sim, "a2", "Endpoint", 2);
            },
            &["deactivated_user_with_agent"],
        ),
        (
            |sim| {
                sim.world.push_record(
                    Dataset::Matters,
                    json!({"matterId": "m1", "name": "Roe", "active": true}).to_string(),
                );
                let custodian = json!({"userId": "u1", "username": "u1@example.com", "membershipActive": true});
                sim.world.push_child(Dataset::Custodians, "m1", custodian.to_string());
                sim.world.push_record(Dataset::Matters, json!({"matterId": "m2", "active": false}).to_string());
                sim.world.push_child(Dataset::Custodians, "m2", custodian.to_string());
            },
            &["must_not_be_deactivated", "must_not_be_deactivated"],
        ),
        (
            |sim| {
                let case =
                    |number, status| json!({"number": number, "name": "leak", "status": status, "subject": "x9"});
                sim.world.push_case(case(7, "OPEN").to_string());
                sim.world.push_case(case(8, "CLOSED").to_string());
            },
            &["must_not_be_deactivated"],
        ),
        (
            |sim| {
                actor(sim, "x1", "u1@example.com", None);
                let by_actor = json!({"number": 7, "status": "OPEN", "subject": "x1"});
                let by_name = json!({"number": 8, "status": "OPEN", "subjectUsername": "U1@example.com"});
                let by_user = json!({"number": 9, "status": "OPEN", "subject": "u1"});
                for case in [by_actor, by_name, by_user] {
                    sim.world.push_case(case.to_string());
                }
            },
            &["must_not_be_deactivated"; 6],
        ),
        (|sim| event(sim, "a1", "GoogleDrive", 33), &["silent_observer"]),
    ];
    for (change, expected) in worlds {
        let rig = well().await;
        change(&rig.sim);
        let answer = rig.health().await;
        assert_eq!((kinds(&answer), &answer["status"]), (expected.to_vec(), &json!("complete")), "{answer:#}");
        assert_eq!(answer["summary"]["findings"][expected[0]], expected.len());
        let finding = &answer["findings"][0];
        assert!(finding["do"].as_str().is_some_and(|advice| !advice.is_empty()), "{finding:#}");
        assert!(finding["since"].as_str().is_some_and(|since| since.starts_with("202")), "{finding:#}");
        match expected[0] {
            "stale_agent" => {
                let told = json!({"finding": "stale_agent", "agentId": "a2", "userId": "u8", "name": "name of a2",
                    "osHostname": "host-1", "lastConnected": finding["lastConnected"], "days": 42,
                    "since": finding["lastConnected"], "why": "not connected for 42 days", "do": finding["do"]});
                assert_eq!(*finding, told);
            }
            "unhealthy_agent" => assert_eq!(finding["issue"], "NOT_CONNECTING"),
            "user_without_agent" => assert_eq!(finding["userId"], "u2"),
            "left_but_active" => assert_eq!(finding["userId"], "u1"),
            "silent_observer" => {
                assert_eq!(finding["observer"], "GoogleDrive");
                assert!(["Drive of Paris", ""].contains(&finding["detector"].as_str().unwrap_or_default()));
            }
            "must_not_be_deactivated" if expected.len() == 2 => {
                assert_eq!((&finding["matterId"], &finding["userId"]), (&json!("m1"), &json!("u1")));
                assert_eq!(answer["findings"][1]["agentId"], "a1");
            }
            "must_not_be_deactivated" if expected.len() == 6 => {
                let told = answer["findings"].as_array().unwrap().iter();
                let told: Vec<Value> =
                    told.map(|told| json!([told["caseNumber"], told["userId"], told["agentId"]])).collect();
                let of = |case: u64| [json!([case, "u1", null]), json!([case, "u1", "a1"])];
                assert_eq!(told, [of(7), of(8), of(9)].concat());
            }
            "must_not_be_deactivated" => {
                assert_eq!((&finding["caseNumber"], &finding["userId"]), (&json!(7), &Value::Null));
                assert!(finding["why"].as_str().unwrap().contains("(subject x9,"), "{finding:#}");
            }
            _ => assert_eq!(finding["agentId"], "a2", "{answer:#}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_what_is_stale_and_what_is_outdated() {
    let rig = well().await;
    rig.sim.world.clear(Dataset::Agents);
    agent(&rig.sim, "a1", &json!({"lastConnected": days_ago(9)}));
    assert_eq!(kinds(&rig.health().await), Vec::<&str>::new());
    let strict = rig.container(|lambda| lambda.env("STALE_AGENT_DAYS", "7").env("MINIMUM_AGENT_VERSION", "10.0"));
    let answer = strict.invoke(json!({"action": "health"}), Duration::from_mins(1)).await.answer();
    assert!(kinds(&answer).starts_with(&["stale_agent", "outdated_agent"]), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_permitted_or_fails_is_left_out_and_the_rest_is_answered() {
    let rig = well().await;
    user(&rig.sim, "u2", &json!({}));
    rig.sim.faults.always(Endpoint::FileEventGrouping, Fault::Forbidden);
    rig.sim.faults.always(Endpoint::Matters, Fault::Status(404, "{}".into()));
    let answer = rig.health().await;
    assert_eq!((kinds(&answer), &answer["status"]), (vec!["user_without_agent"], &json!("complete")), "{answer:#}");
    let left_out = answer["left_out"].as_array().unwrap();
    let checks: Vec<_> = left_out.iter().map(|left_out| left_out["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["silent_agent", "must_not_be_deactivated", "silent_observer"]);
    assert!(left_out[0]["why"].as_str().unwrap().contains("File Events: Read"), "{answer:#}");
    assert!(answer["summary"]["findings"].get("silent_agent").is_none());

    rig.sim.faults.always(Endpoint::Users, Fault::Status(503, "busy".into()));
    let answer = rig.health().await;
    assert_eq!((&answer["status"], &answer["summary"]["users"]), (&json!("partial"), &Value::Null), "{answer:#}");

    rig.sim.faults.clear();
    rig.sim.faults.always(Endpoint::Any, Fault::Forbidden);
    rig.sim.api.revoke_tokens();
    let (error_type, answer) = rig.failure(json!({"action": "health"})).await;
    assert_eq!((error_type.as_str(), &answer["action"]), ("ThirdPartyConfigError", &json!("health")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_silent_where_events_name_no_agent() {
    let rig = well().await;
    rig.sim.world.clear(Dataset::FileEvents);
    event(&rig.sim, "another-id", "Endpoint", 1);
    let answer = rig.health().await;
    assert_eq!((kinds(&answer).len(), &answer["status"]), (0, &json!("complete")));
    assert_eq!(answer["left_out"][0]["check"], "silent_agent", "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_findings_an_answer_holds_a_thousand_and_the_object_all() {
    let rig = well().await;
    for n in 0..1_010 {
        user(&rig.sim, &format!("v{n:04}"), &json!({}));
    }
    let answer = rig.invoke(json!({"action": "health", "prefix": "report/"})).await.answer();
    assert_eq!((kinds(&answer).len(), &answer["truncated"]), (1_000, &json!(true)));
    assert_eq!(answer["summary"]["findings"]["user_without_agent"], 1_010);
    assert_eq!(answer["objects"][0]["records"], 1_010);
    assert_eq!(rig.sim.stored_lines("report/").await.len(), 1_010);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_prefix_the_findings_are_stored_there_and_nowhere_else() {
    let rig = well().await;
    agent(&rig.sim, "a2", &json!({"lastConnected": days_ago(42), "name": "=1+1, \"x\"", "userId": "u8"}));
    user(&rig.sim, "u2", &json!({}));
    for (format, extension, content_type) in [("json", "ndjson", "application/x-ndjson"), ("csv", "csv", "text/csv")] {
        let event = json!({"action": "health", "prefix": "report/", "format": format});
        let answer = rig.invoke(event).await.answer();
        let told = &answer["objects"][0];
        let key = told["key"].as_str().unwrap();
        let (from, to) = span_of(key);
        assert_eq!(from, to);
        let at = from.format("%Y%m%dT%H%M%S%3fZ");
        let partition = from.format("dt=%Y-%m-%d/hour=%H");
        assert_eq!(key, format!("report/environment_health/{partition}/{at}-{at}.{extension}.gz"));
        let object = rig.sim.s3.object(rig.sim.bucket(), key).await.unwrap();
        assert_eq!(object.content_type.as_deref(), Some(content_type));
        assert_eq!((&told["records"], &told["bytes"]), (&json!(2), &json!(object.bytes.len())));
        let lines = object.lines();
        if format == "json" {
            let stored: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(json!(stored), answer["findings"]);
        } else {
            assert!(
                lines[0]
                    .starts_with("finding,agentId,userId,username,name,osHostname,lastConnected,days,issue,version,")
            );
            let connected = answer["findings"][0]["lastConnected"].as_str().unwrap();
            let row = format!(
                "stale_agent,a2,u8,,\"'=1+1, \"\"x\"\"\",host-1,{connected},42,,,,,,,,{connected},not connected for 42 days,\"see whether"
            );
            assert!(lines[1].starts_with(&row), "{}", lines[1]);
            assert_eq!(lines.len(), 3);
        }
    }
    let written = rig.sim.s3.requests().into_iter().filter(|request| request.method != "GET");
    assert!(written.clone().count() == 2 && written.clone().all(|request| request.key.starts_with("report/")));
    assert!(rig.sim.s3.overwritten_or_deleted("").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_or_format_that_would_not_do_is_refused_before_anything_is_read() {
    let rig = well().await;
    for (event, says) in [
        (json!({"action": "health", "prefix": "report"}), "end in \"/\""),
        (json!({"action": "health", "prefix": "/report/"}), "not begin with one"),
        (json!({"action": "health", "prefix": "code42/health/"}), "apart from S3_PREFIX"),
        (json!({"action": "health", "prefix": "incydr-collector/"}), "state"),
        (json!({"action": "health", "format": "csv"}), "needs \"prefix\""),
        (json!({"action": "health", "format": "xlsx", "prefix": "report/"}), "\"csv\""),
        (json!({"action": "health", "streams": ["agents"]}), "\"streams\""),
    ] {
        let (error_type, answer) = rig.failure(event).await;
        assert_eq!(error_type, "InvalidEvent");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer:#}");
    }
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_stores_a_day_s_findings_once() {
    let rig = well().await;
    user(&rig.sim, "u2", &json!({}));
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["environment_health"]["records"], 1, "{answer:#}");
    let stored = rig.stored("environment_health").await;
    assert_eq!(serde_json::from_str::<Value>(&stored[0]).unwrap(), rig.health().await["findings"][0]);
    user(&rig.sim, "u3", &json!({}));
    assert_eq!(rig.run().await["streams"]["environment_health"]["status"], "not_due");
    assert_eq!(rig.stored("environment_health").await, stored);
    rig.assert_whole().await;

    rig.edit_checkpoint(|checkpoint| {
        checkpoint["inventory"]["environment_health"]["covered_to"] = json!(millis(ago(24 * 3_600 - 20)));
    })
    .await;
    assert_eq!(rig.run().await["streams"]["environment_health"]["records"], 2, "a day has gone by");
    assert_eq!(rig.keys("environment_health").await.len(), 2);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_findings_stores_nothing_and_is_a_reading_all_the_same() {
    let rig = well().await;
    assert_eq!(rig.run().await["streams"]["environment_health"]["status"], "complete");
    assert_eq!(rig.run().await["streams"]["environment_health"]["status"], "not_due");
    assert!(rig.keys("environment_health").await.is_empty());
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_that_died_has_stored_is_the_day_s_reading() {
    let rig = well().await;
    agent(&rig.sim, "a2", &json!({"lastConnected": days_ago(42)}));
    let victim = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/environment_health/", 1, S3Fault::after(move || victim.kill()));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    rig.free_the_lease().await;
    let stored = rig.stored("environment_health").await;
    assert_eq!(stored.len(), 1);
    // The findings would be different now.
    rig.sim.world.change(Dataset::Agents, "a2", |raw| raw.replace(&days_ago(42)[..10], &days_ago(43)[..10]));
    user(&rig.sim, "u2", &json!({}));
    let answer = rig.run().await;
    assert_eq!(
        (&answer["status"], &answer["streams"]["environment_health"]["records"]),
        (&json!("complete"), &json!(0))
    );
    assert_eq!(rig.run().await["streams"]["environment_health"]["status"], "not_due");
    assert_eq!(rig.stored("environment_health").await, stored);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_the_dead_that_lands_later_is_the_reading_or_is_refused() {
    for has_findings_left in [true, false] {
        let rig = well().await;
        user(&rig.sim, "u2", &json!({}));
        let victim = rig.lambda.clone();
        let dies = Hook::new("death", move || victim.kill());
        let late = S3Fault::Orphaned(Duration::from_secs(3), dies);
        rig.sim.s3.faults.once("PUT", "code42/environment_health/", 1, late);
        rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        rig.free_the_lease().await;
        if !has_findings_left {
            rig.sim.world.remove_user("u2");
        }
        assert_eq!(rig.run().await["status"], "complete");
        tokio::time::sleep(Duration::from_secs(4)).await;
        rig.run().await;
        assert_eq!(rig.stored("environment_health").await.len(), 1);
        assert_eq!(rig.run().await["streams"]["environment_health"]["status"], "not_due");
        rig.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_may_miss_findings_is_not_stored_but_tried_again() {
    let rig = well().await;
    user(&rig.sim, "u2", &json!({}));
    rig.sim.faults.always(Endpoint::Agents, Fault::Status(503, "busy".into()));
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert!(rig.keys("environment_health").await.is_empty());
    rig.sim.faults.clear();
    rig.sim.faults.always(Endpoint::FileEventGrouping, Fault::Forbidden);
    assert_eq!(rig.run().await["streams"]["environment_health"]["records"], 1, "without what is not permitted");
    rig.assert_whole().await;

    let refused = well().await;
    refused.sim.faults.when(Endpoint::Any, |request| !request.path.contains("oauth"), Fault::Forbidden);
    let (error_type, answer) = refused.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError", "nothing at all is permitted");
    assert_eq!(answer["streams"]["environment_health"]["status"], "not_permitted");
}
