//! Recounts under faults: a failed one stays due, a run that dies is repeated, and nothing is stored twice.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Lambda, Outcome, S3Fault, http};

use crate::oracle::{a_moment, assert_one_finding, millis};
use crate::reconcile::{at_once, audit_row, file_event};
use crate::rig::{PREFIX, Rig, ago};

/// Has the count and the rows of this recount's window fail.
fn fail(rig: &Rig, recount: &Value, fault: &Fault) {
    let is_of_it = |range: Value| {
        move |sent: &http::Request| {
            serde_json::from_slice::<Value>(&sent.body).is_ok_and(|body| body["dateRange"] == range)
        }
    };
    for endpoint in [Endpoint::AuditCount, Endpoint::AuditSearch] {
        rig.sim.faults.when(endpoint, is_of_it(recount["request"]["dateRange"].clone()), fault.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recount_that_fails_is_seen_and_owed_and_made_good_by_the_next_run() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let owed = rig.waiting("audit").await[0].clone();
    rig.sim.world.push_audit(audit_row(1, 700));
    fail(&rig, &owed, &Fault::Status(500, String::new()));
    rig.sim.world.add_audit(3, ago(0), ago(-1));
    a_moment().await;
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert_eq!(
        (&answer["streams"]["audit"]["status"], &answer["streams"]["file_events"]["status"]),
        (&json!("failed"), &json!("complete"))
    );
    assert_eq!(answer["streams"]["audit"]["records"], 3, "new rows come first: {answer:#}");
    assert!(rig.waiting("audit").await.contains(&owed), "still due");
    rig.sim.faults.clear();
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["late"]), (&json!("complete"), &json!(1)));
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_record_of_a_window_whose_second_reading_never_agrees_is_added_all_the_same() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    rig.sim.world.push_file_event(file_event(1, 700));
    rig.sim.faults.when(
        Endpoint::FileEvents,
        |sent| !String::from_utf8_lossy(&sent.body).contains("\"pgSize\":1,"),
        Fault::TotalOff(1),
    );
    for late in [Some(1), None] {
        let (error_type, answer) = rig.failure(json!({})).await;
        let told = answer["streams"]["file_events"].get("late").and_then(Value::as_u64);
        assert_eq!((error_type.as_str(), told), ("ThirdPartyGenericError", late), "{answer:#}");
        rig.assert_holds_both().await;
        rig.assert_whole().await;
    }
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["streams"]["file_events"].get("late"), None);
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

/// Kills the process at each write of a run that adds late records.
async fn killed_with_each_write(page: &str, is_empty: bool, fault: impl Fn(Lambda) -> S3Fault) {
    for nth in 1..60 {
        let rig = Rig::with(|lambda| at_once(lambda).env("FE_PAGE_SIZE", page).env("AUDIT_PAGE_SIZE", page)).await;
        if !is_empty {
            rig.populate_with_events();
        }
        rig.run().await;
        let late = if is_empty { 30 } else { 3 };
        rig.sim.world.add_audit(late, ago(1_000), ago(700));
        rig.sim.world.add_file_events(late, ago(1_000), ago(700));
        rig.sim.s3.faults.once("PUT", "", nth, fault(rig.lambda.clone()));
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        rig.sim.s3.faults.clear();
        if let Outcome::Answer(answer) = outcome {
            assert_eq!(answer["streams"]["audit"]["late"], late, "{answer:#}");
            assert!(nth > 5, "the first runs must die");
            return;
        }
        rig.assert_whole().await;
        rig.free_the_lease().await;
        for _ in 0..2 {
            let answer = rig.invoke(json!({"action": "collect"})).await.answer();
            assert_eq!(answer["status"], "complete", "write {nth}: {answer:#}");
        }
        rig.assert_holds_both().await;
        rig.assert_tells_every_object().await;
        rig.assert_whole().await;
    }
    panic!("it never survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_before_any_write_of_late_records_loses_and_doubles_none() {
    killed_with_each_write("1000", false, |lambda| S3Fault::before(move || lambda.kill())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_any_write_of_late_records_loses_and_doubles_none() {
    killed_with_each_write("1000", false, |lambda| S3Fault::after(move || lambda.kill())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_any_write_of_an_empty_span_s_late_records_loses_and_doubles_none() {
    killed_with_each_write("5", true, |lambda| S3Fault::after(move || lambda.kill())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_record_that_can_t_be_parsed_is_set_aside_and_holds_nothing_up() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit")).await;
    rig.populate_with_events();
    rig.run().await;
    let good = rig.sim.world.audit();
    let bad = format!(r#"{{"timestamp":"{}","n":"\Everyone"}}"#, ago(700).to_rfc3339());
    rig.sim.world.push_raw(Dataset::Audit, "bad", ago(700), bad.clone());
    let answer = rig.run().await;
    assert_eq!(
        (&answer["status"], &answer["streams"]["audit"]["set_aside"]),
        (&json!("complete"), &json!(1)),
        "{answer:#}"
    );
    rig.run().await;
    let key = rig.state_keys("set-aside/audit/").await.remove(0);
    assert_eq!(rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap().bytes, bad.as_bytes());
    rig.assert_holds("audit", &good).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dry_run_counts_again_it_neither_stores_nor_forgets() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    rig.sim.world.push_audit(audit_row(1, 700));
    let before = (rig.checkpoint().await, rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await);
    let dry = rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    assert_eq!(dry["streams"]["audit"]["late"], 1, "{dry:#}");
    assert_eq!((rig.checkpoint().await, rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await), before);
    rig.run().await;
    rig.assert_holds_both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recount_that_fails_holds_up_no_other() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "15")).await;
    rig.populate_with_events();
    rig.run().await;
    let first = rig.waiting("audit").await[0].clone();
    rig.sim.world.push_audit(audit_row(1, 700));
    fail(&rig, &first, &Fault::Status(500, String::new()));
    let (_, answer) = rig.failure(json!({})).await;
    assert_eq!(answer["streams"]["audit"]["late"], 1, "{answer:#}");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recount_that_fails_is_stuck_until_the_api_keeps_its_window_no_longer() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit")).await;
    rig.populate_with_events();
    rig.run().await;
    let first = rig.waiting("audit").await[0].clone();
    fail(&rig, &first, &Fault::Status(500, String::new()));
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["events"]["audit"]["recount"][0]["due"][0] = json!(millis(ago(86_400 + 60)));
    })
    .await;
    let (_, answer) = rig.failure(json!({})).await;
    let audit = &answer["streams"]["audit"];
    assert_eq!((&audit["stuck"]["count"], &audit["stuck"]["oldest"]["from"]), (&json!(1), &first["span"][0]));
    let is_waiting = |waiting: &[Value], of: &Value| waiting.iter().any(|recount| recount["span"] == *of);
    assert!(is_waiting(&rig.waiting("audit").await, &first["span"]));
    let long_ago = json!([millis(ago(91 * 86_400 + 3_600)), millis(ago(91 * 86_400))]);
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["recount"][0]["span"] = long_ago.clone()).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert!(!is_waiting(&rig.waiting("audit").await, &long_ago));
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recount_for_which_there_is_no_time_is_the_next_run_s() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit")).await;
    rig.populate_with_events();
    rig.run().await;
    let first = rig.waiting("audit").await[0].clone();
    rig.sim.world.push_audit(audit_row(1, 700));
    fail(&rig, &first, &Fault::Hang);
    let answer = rig.run_within(Duration::from_secs(2)).await;
    assert_eq!(answer["streams"]["audit"]["status"], "complete", "all that is owed is covered: {answer:#}");
    assert!(rig.waiting("audit").await.contains(&first));
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["streams"]["audit"]["late"], 1);
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_beside_a_window_that_was_counted_again_is_named_while_it_waits_for_the_next_time() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit").env("RECONCILE_MINUTES", "0,1440")).await;
    rig.populate_with_events();
    rig.run().await;
    rig.sim.world.push_audit(audit_row(1, 700));
    assert_eq!(rig.run().await["streams"]["audit"]["late"], 1);
    let late = rig.keys("audit").await.into_iter().find(|key| key.ends_with("-r1.ndjson.gz")).unwrap();
    let stray = late.replace("-r1", "-r2");
    rig.put_lines(&stray, &["{}".to_owned()]).await;
    assert_one_finding(&rig.verify().await, "audit", &stray, "no manifest names it");
}
