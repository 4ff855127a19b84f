//! A 403 on a stream that worked is an ordinary failure until it has lasted, because a firewall may send it too.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, LambdaBuilder};

use crate::oracle::millis;
use crate::rig::{Rig, ago, logs_with};

const PAGE: &str = "<html><head><title>Web filter</title></head><body>Blocked by policy 4711</body></html>";
const OF_THE_API: &str = r#"{"status":403,"error":"Forbidden","path":"/v2/file-events"}"#;

fn page() -> Fault {
    Fault::Reply(403, Vec::new(), PAGE.into())
}

fn json_403() -> Fault {
    Fault::Status(403, OF_THE_API.into())
}

const ENDPOINTS: [Endpoint; 4] = [Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::CaseList, Endpoint::Users];

async fn that_worked() -> Rig {
    let rig = Rig::with(|lambda| lambda.env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.populate();
    assert_eq!(rig.run().await["status"], "complete");
    // Records after the covered time.
    rig.sim.world.add_file_events(30, ago(0), ago(-1));
    rig.sim.world.add_audit(20, ago(0), ago(-1));
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    rig
}

fn failed(answer: &Value, stream: &str) -> String {
    let told = &answer["streams"][stream];
    assert_eq!(
        (&told["status"], &told["error"]["type"]),
        (&json!("failed"), &json!("ThirdPartyGenericError")),
        "{told:#}"
    );
    told["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_403_on_a_stream_that_worked_is_retried_whoever_says_it() {
    for fault in [page(), json_403()] {
        let rig = that_worked().await;
        for endpoint in ENDPOINTS {
            rig.sim.faults.once(endpoint, 1, fault.clone());
        }
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_s_page_fails_the_stream_is_quoted_and_is_never_a_missing_permission() {
    let rig = that_worked().await;
    rig.sim.faults.always(Endpoint::FileEvents, page());
    for _ in 0..4 {
        let answer = rig.failure(json!({})).await.1;
        let message = failed(&answer, "file_events");
        assert!(message.contains("403") && message.contains("Blocked by policy 4711"), "{message}");
        assert_eq!(answer["streams"]["audit"]["status"], "complete");
    }
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
    // Nor on a stream that has never answered.
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::FileEvents, page());
    failed(&rig.failure(json!({})).await.1, "file_events");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_s_own_403_on_a_stream_that_worked_counts_after_three_runs_and_is_told() {
    let rig = that_worked().await;
    rig.sim.faults.always(Endpoint::FileEvents, json_403());
    for _ in 0..2 {
        let message = failed(&rig.failure(json!({})).await.1, "file_events");
        assert!(message.contains("Forbidden") && message.contains("three runs"), "{message}");
    }
    let answer = rig.run().await;
    assert_eq!(
        (&answer["status"], &answer["streams"]["file_events"]["status"]),
        (&json!("complete"), &json!("not_permitted"))
    );
    let error = rig.checkpoint().await["states"]["file_events"]["error"].clone();
    assert_eq!(error["type"], "ThirdPartyConfigError");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("File Events: Read") && message.contains("/v2/file-events"), "{message}");
    logs_with(&rig.lambda, "is not permitted").await;
    // The stream isn't tried for an hour. The next 403 is believed at once.
    let asked = rig.sim.api.requests_to(Endpoint::FileEvents).len();
    rig.run().await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), asked);
    let long_ago = json!(millis(ago(3_601)));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["file_events"]["not_permitted_at"] = long_ago.clone()).await;
    assert_eq!(rig.run().await["streams"]["file_events"]["status"], "not_permitted");
    rig.sim.faults.clear();
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["file_events"]["not_permitted_at"] = long_ago).await;
    assert_eq!(rig.run().await["streams"]["file_events"]["state"], "collecting");
    assert!(rig.checkpoint().await.get("refused").is_none(), "the count begins anew");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_streams_refused_at_once_are_no_configuration_error_before_the_third_run() {
    for (fault, last) in [(page(), "ThirdPartyGenericError"), (json_403(), "ThirdPartyConfigError")] {
        let rig = that_worked().await;
        for endpoint in ENDPOINTS {
            rig.sim.faults.always(endpoint, fault.clone());
        }
        for expected in ["ThirdPartyGenericError", "ThirdPartyGenericError", last] {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, expected, "{answer:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_json_that_is_no_object_is_a_failure_like_any_other() {
    join_all([400, 403, 404, 500].into_iter().map(async |status| {
        for body in [r#""no""#, "[]", "1", "true", "null", r#"[{"problems":1}]"#] {
            let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
            rig.populate();
            rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(status, body.into()));
            let message = failed(&rig.failure(json!({})).await.1, "file_events");
            assert!(message.contains(&status.to_string()) && message.contains(body), "{status} {body}: {message}");
            rig.sim.faults.clear();
            rig.invoke(json!({"action": "restart"})).await.answer();
            assert_eq!(rig.run().await["status"], "complete");
            rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_tries_at_once_what_was_not_permitted() {
    let rig = Rig::new().await;
    rig.populate();
    for endpoint in ENDPOINTS {
        rig.sim.faults.always(endpoint, json_403());
    }
    assert_eq!(rig.failure(json!({})).await.0, "ThirdPartyConfigError");
    rig.sim.faults.clear();
    rig.sim.api.clear_log();
    rig.failure(json!({})).await;
    assert!(rig.sim.api.requests().is_empty(), "it waits for an hour");
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_without_a_body_is_nobody_s_word_about_a_permission() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    rig.sim.faults.always(Endpoint::Users, Fault::Status(403, String::new()));
    failed(&rig.failure(json!({})).await.1, "users");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_within_a_list_that_answered_counts_after_three_runs_though_nothing_was_covered_yet() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users").env("PAGE_SIZE", "10")).await;
    rig.sim.world.add_users(30);
    rig.sim.world.add_audit(5, ago(3_000), ago(5));
    let second = |request: &simulator::http::Request| request.query.starts_with("page=2&");
    rig.sim.faults.when(Endpoint::Users, second, json_403());
    for _ in 0..2 {
        failed(&rig.failure(json!({})).await.1, "users");
    }
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["users"]["status"], "not_permitted", "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_that_all_answer_403_are_stuck_and_the_stream_is_permitted() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(20, ago(90_000), ago(80_000));
    rig.sim.faults.always(Endpoint::CaseDetail, json_403());
    let (_, answer) = rig.failure(json!({})).await;
    failed(&answer, "cases");
    assert_eq!(answer["streams"]["cases"]["stuck"]["count"], 20, "{answer:#}");
    rig.sim.faults.clear();
    rig.assert_heals("cases").await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_after_a_run_that_was_answered_is_no_missing_permission_though_nothing_was_covered_yet() {
    let users = |lambda: LambdaBuilder| lambda.env("STREAMS", "users").env("PAGE_SIZE", "5");
    let rig = Rig::with(users).await;
    rig.sim.world.add_users(60);
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(300));
    let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(3)).await;
    assert_eq!(outcome.answer()["status"], "partial");
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::ZERO);
    rig.sim.faults.always(Endpoint::Users, json_403());
    failed(&rig.failure(json!({})).await.1, "users");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("users").await.len(), 60);
}
