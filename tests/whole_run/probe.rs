//! `probe` reports stream by stream what the API client may read, whatever the API answers.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Record};

use crate::oracle::millis;
use crate::rig::{DEADLINE, Rig, ago, failure_of};

impl Rig {
    async fn probe(&self, streams: &[&str]) -> Value {
        self.invoke(json!({"action": "probe", "streams": streams})).await.answer()
    }
}

fn newest(records: &[Record]) -> Value {
    records.iter().map(|record| record.time).max().map(millis).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_open_the_plan_is_full_and_the_newest_record_of_each_is_told() {
    let rig = Rig::new().await;
    rig.populate();
    let world = &rig.sim.world;
    for dataset in [Dataset::Agents, Dataset::Sessions, Dataset::Watchlists, Dataset::AlertRules, Dataset::Matters] {
        world.add_records(dataset, 3);
    }
    let answer = rig.invoke(json!({"action": "probe"})).await.answer();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("probe"), &json!("complete")), "{answer:#}");
    assert!(answer["plans"].as_str().unwrap().contains("Enterprise"), "{answer:#}");
    assert_eq!((&answer["access"], &answer["tenant"]), (&json!("full"), &json!(rig.sim.api.behaviour().tenant)));
    let streams = answer["streams"].as_object().unwrap();
    assert!(streams.len() >= 22, "every known stream, and not only those enabled");
    for (stream, seen) in streams {
        assert_eq!(seen["permitted"], true, "{stream}: {seen:#}");
        assert!(seen["latency_ms"].is_u64() && seen.get("permission").is_none() && seen.get("error").is_none());
    }
    assert_eq!(streams["file_events"]["newest"], newest(&world.file_events()));
    assert_eq!(streams["audit"]["newest"], newest(&world.audit()));
    assert_eq!(streams["cases"]["newest"], newest(&world.cases()));
    assert!(streams["sessions"]["newest"].is_string() && streams["users"]["newest"].is_null());
    assert!(rig.sim.s3.requests().is_empty(), "it writes nothing, and reads no checkpoint");
    assert_eq!(rig.sim.api.sign_ins(), 1);
    let asked = rig.sim.api.requests_to(Endpoint::FileEvents);
    assert_eq!((asked.len(), rig.sim.api.requests_to(Endpoint::Users).len()), (1, 2), "users are asked for roles, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_holds_nothing_is_permitted_and_has_nothing_newest() {
    let rig = Rig::new().await;
    let answer = rig.invoke(json!({"action": "probe"})).await.answer();
    assert_eq!((&answer["status"], &answer["access"]), (&json!("complete"), &json!("full")));
    for (stream, seen) in answer["streams"].as_object().unwrap() {
        assert_eq!((&seen["permitted"], &seen["newest"]), (&json!(true), &Value::Null), "{stream}: {seen:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_permitted_names_the_permission_and_a_plan_without_file_events_is_the_base() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Forbidden);
    rig.sim.faults.always(Endpoint::Agents, Fault::Forbidden);
    rig.sim.faults.always(Endpoint::Sessions, Fault::Forbidden);
    assert_eq!(rig.probe(&["sessions"]).await["streams"]["sessions"]["permission"], "Alerts and Sessions: Read");
    rig.sim.faults.always(Endpoint::Matters, Fault::Status(401, "{}".into()));
    assert_eq!(rig.probe(&["legal_hold"]).await["streams"]["legal_hold"]["permission"], "Legal Hold: Read");
    let answer = rig.probe(&["file_events", "audit", "agents"]).await;
    assert_eq!((&answer["status"], &answer["access"]), (&json!("complete"), &json!("base")), "{answer:#}");
    assert_eq!(answer["streams"].as_object().unwrap().len(), 3);
    assert!(answer["plans"].as_str().unwrap().starts_with("Incydr Basic or Professional"), "{answer:#}");
    for (stream, permission) in [("file_events", "File Events: Read"), ("agents", "Agents: Read")] {
        let seen = &answer["streams"][stream];
        assert_eq!(seen["permitted"], false);
        assert!(seen["permission"].as_str().unwrap().starts_with(permission), "{seen:#}");
        assert!(seen.get("error").is_none() && seen["newest"].is_null());
    }
    assert_eq!(rig.probe(&["audit"]).await["access"], Value::Null, "nobody asked for file events");
    rig.sim.faults.always(Endpoint::AuditSearch, Fault::Forbidden);
    assert_eq!(rig.probe(&["file_events", "audit"]).await["access"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_that_each_record_has_is_asked_for_as_well() {
    let rig = Rig::new().await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 2);
    rig.sim.world.add_records(Dataset::AlertRules, 3);
    rig.sim.faults.always(Endpoint::WatchlistMembers, Fault::Forbidden);
    // The API's answer for a rule without a username filter.
    rig.sim.faults.always(Endpoint::RuleUsers, Fault::Status(400, "{}".into()));
    let streams = ["watchlists", "alert_rules", "session_events", "case_file_events"];
    let answer = rig.probe(&streams).await;
    assert_eq!(answer["streams"]["watchlists"]["permission"], "Watchlists: Read", "{answer:#}");
    for stream in &streams[1..] {
        assert_eq!(answer["streams"][stream]["permitted"], true, "{answer:#}");
    }
    for watchlist in watchlists {
        rig.sim.world.remove(Dataset::Watchlists, &watchlist.id);
    }
    assert_eq!(rig.probe(&["watchlists"]).await["streams"]["watchlists"]["permitted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_told_is_an_answer_and_no_failure() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::Users, Fault::Status(404, r#"{"error":"Not Found"}"#.into()));
    rig.sim.faults.always(Endpoint::Agents, Fault::Html);
    rig.sim.faults.always(Endpoint::Orgs, Fault::Status(200, "[]".into()));
    rig.sim.faults.always(Endpoint::Roles, Fault::Status(503, "busy".into()));
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(404, "no such path".into()));
    let answer = rig.probe(&["users", "agents", "orgs", "roles", "file_events", "audit"]).await;
    assert_eq!((&answer["status"], &answer["access"]), (&json!("complete"), &Value::Null), "{answer:#}");
    for (stream, says) in [
        ("users", "404"),
        ("agents", "not a JSON"),
        ("orgs", "not a JSON object"),
        ("roles", "503"),
        ("file_events", "404"),
    ] {
        let seen = &answer["streams"][stream];
        assert_eq!((&seen["permitted"], &seen["error"]["type"]), (&Value::Null, &json!("ThirdPartyGenericError")));
        assert!(seen["error"]["message"].as_str().unwrap().contains(says), "{stream}: {seen:#}");
        assert!(seen.get("permission").is_none());
    }
    assert_eq!(answer["streams"]["audit"]["permitted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_comes_before_the_deadline_and_names_what_was_not_asked() {
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::AuditSearch, Fault::Hang);
    rig.sim.api.change(|api| api.latency = Duration::from_millis(900));
    let answer = rig.lambda.invoke(json!({"action": "probe"}), Duration::from_secs(5)).await.answer();
    assert_eq!(answer["status"], "partial", "{answer:#}");
    let streams = answer["streams"].as_object().unwrap();
    let says = |seen: &Value| seen["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(says(&streams["audit"]), "no answer came in time");
    let not_asked = streams.values().filter(|seen| says(seen).starts_with("it was not asked"));
    assert!(not_asked.clone().count() > 3 && not_asked.clone().all(|seen| seen["permitted"].is_null()));
    assert!(not_asked.clone().all(|seen| seen["latency_ms"].is_null()));
    assert_eq!(streams["file_events"]["permitted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_and_a_bad_secret_fail_it() {
    let rig = Rig::new().await;
    for secret in [r#"{"client_id":"key-1","client_secret":"hunter2-hunter2"}"#, "hunter2-hunter2"] {
        rig.sim.secrets.set_secret(secret);
        let (error_type, answer) = rig.failure(json!({"action": "probe"})).await;
        assert_eq!((error_type.as_str(), &answer["action"]), ("ThirdPartyConfigError", &json!("probe")));
        assert!(!answer.to_string().contains("hunter2"));
    }
    let (error_type, _) =
        failure_of(rig.lambda.invoke(json!({"action": "probe", "streams": ["adit"]}), DEADLINE).await);
    assert_eq!(error_type, "InvalidEvent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_changed_while_a_token_is_valid_is_tried_and_runs_keep_what_works() {
    let rig = Rig::new().await;
    rig.populate();
    let right = r#"{"client_id":"key-42-simulated","client_secret":"simulated-client-secret"}"#;
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.secrets.set_secret(r#"{"client_id":"key-1","client_secret":"hunter2-hunter2"}"#);
    let (error_type, answer) = rig.failure(json!({"action": "probe"})).await;
    assert_eq!((error_type.as_str(), &answer["action"]), ("ThirdPartyConfigError", &json!("probe")));
    assert_eq!(rig.run().await["status"], "complete", "the token of before is valid");
    rig.sim.secrets.set_secret(right);
    let sign_ins = rig.sim.api.requests_to(Endpoint::SignIn).len();
    assert_eq!(rig.probe(&["users"]).await["streams"]["users"]["permitted"], true);
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.sim.api.requests_to(Endpoint::SignIn).len(), sign_ins + 1, "the run goes on with the new token");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_can_not_be_signed_in_to_is_told_once_for_all_streams() {
    let rig = Rig::with(|lambda| lambda.env("INCYDR_BASE_URL", "http://127.0.0.1:1")).await;
    let answer = rig.probe(&["users", "audit", "file_events"]).await;
    assert_eq!((&answer["status"], &answer["access"]), (&json!("partial"), &Value::Null), "{answer:#}");
    for seen in answer["streams"].as_object().unwrap().values() {
        let message = seen["error"]["message"].as_str().unwrap();
        assert!(seen["permitted"].is_null() && message.contains("sign-in"), "{seen:#}");
    }
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(503, "busy".into()));
    rig.probe(&["users"]).await;
    let for_one = rig.sim.api.requests_to(Endpoint::SignIn).len();
    rig.probe(&["users", "audit", "file_events", "orgs", "roles"]).await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::SignIn).len(), 2 * for_one);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_file_event_is_looked_for_in_the_last_thirty_days() {
    let rig = Rig::new().await;
    let day = TimeDelta::days(1);
    rig.sim.world.add_file_events(3, ago(0) - day * 40, ago(0) - day * 35);
    assert_eq!(rig.probe(&["file_events"]).await["streams"]["file_events"]["newest"], Value::Null);
    let newer = rig.sim.world.add_file_events(9, ago(0) - day * 29, ago(0) - day * 2);
    assert_eq!(rig.probe(&["file_events"]).await["streams"]["file_events"]["newest"], newest(&newer));
}
