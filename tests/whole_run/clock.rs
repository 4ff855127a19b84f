//! The API's clock: a cache's `Date` is ignored, and an unbelievable one is reported and not used.

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, LambdaBuilder};

use crate::metrics::told;
use crate::oracle::{a_moment, millis};
use crate::rig::{DEADLINE, Rig, ago, logs_with, time};

async fn whole(rig: &Rig) -> Value {
    rig.populate();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    for stream in ["file_events", "audit"] {
        assert!(time(&answer["streams"][stream]["covered_to"]) > ago(30), "{answer:#}");
        assert!(answer["streams"][stream]["lag_s"].as_u64().unwrap() < 30);
    }
    rig.assert_holds_everything().await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_an_age_tells_no_time() {
    let rig = Rig::new().await;
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-10));
    rig.sim.faults.always(Endpoint::Any, Fault::Header("age", "600".into()));
    let answer = whole(&rig).await;
    assert!(answer.get("clock").is_none(), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_hours_or_decades_off_is_told_counted_and_not_believed() {
    let decades = chrono::DateTime::UNIX_EPOCH + TimeDelta::days(1) - ago(0);
    for offset in [TimeDelta::hours(-6), TimeDelta::hours(2), decades] {
        let rig = Rig::new().await;
        rig.sim.api.change(|api| api.clock_offset = offset);
        let answer = whole(&rig).await;
        let shift = time(&answer["clock"]["api"]) - time(&answer["clock"]["ours"]);
        assert!((shift - offset).num_seconds().abs() < 5, "{answer:#}");
        logs_with(&rig.lambda, "is not believed").await;
        assert_eq!(told(&rig).await[0]["ClockNotBelieved"], json!(1));
    }
}

/// By the API's clock ours is ahead: the API may be right.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_covered_by_a_clock_that_may_be_ahead_is_counted_again_once_that_time_has_passed() {
    let settings = |lambda: LambdaBuilder| lambda.env("STREAMS", "audit").env("RECONCILE_MINUTES", "");
    let rig = Rig::with(settings).await;
    rig.populate();
    assert_eq!(rig.run().await["status"], "complete");
    assert!(rig.checkpoint().await["events"]["audit"].get("recount").is_none(), "none was asked for");
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-20));
    rig.sim.world.add_audit(5, ago(1), ago(0));
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(rig.run().await["status"], "complete");
    let checkpoint = rig.checkpoint().await;
    let recount = &checkpoint["events"]["audit"]["recount"][0];
    assert!(time(&recount["due"][0]) >= time(&recount["span"][1]), "{recount:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_covered_and_still_to_come_is_told_in_every_run() {
    let rig = Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    rig.run().await;
    let ahead = millis(ago(-1_200));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["covered"][0][1] = json!(ahead)).await;
    let (error_type, answer) = rig.failure(json!({})).await;
    let told = &answer["streams"]["audit"]["error"]["message"];
    assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
    assert!(told.as_str().unwrap().contains(&format!("the covered time ends in the future, at {ahead}")), "{told}");
    assert_ne!(answer["streams"]["users"]["status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_of_a_stale_clock_changes_nothing() {
    let rig = Rig::new().await;
    let stale = (ago(21_600)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // If there are two `Date` headers, the first counts.
    rig.sim.faults.times(Endpoint::AuditCount, 1, Fault::Header("date", stale));
    let answer = whole(&rig).await;
    assert!(answer["clock"]["api"].is_string(), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_is_reckoned_by_our_own_clock() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-10));
    rig.populate();
    let lag = rig.run().await["streams"]["audit"]["lag_s"].as_u64().unwrap();
    assert!((600..660).contains(&lag), "{lag}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_window_ends_after_the_api_s_clock_even_if_the_run_s_first_answer_is_to_its_records() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("RECONCILE_MINUTES", "")).await;
    rig.populate();
    rig.run().await;
    let covered = async || rig.checkpoint().await["events"]["file_events"]["covered"].clone();
    let before = covered().await;
    for _ in 0..3 {
        a_moment().await;
    }
    // The process has a token, so it learns the clock only from an answer about events. No count is answered.
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-2));
    let counts = |request: &simulator::http::Request| String::from_utf8_lossy(&request.body).contains("\"pgSize\":1,");
    rig.sim.faults.when(Endpoint::FileEvents, counts, Fault::Dropped);
    rig.any_run(DEADLINE).await;
    assert_eq!(covered().await, before);
    let rows = |request: &simulator::ApiRequest| !request.body.contains("\"pgSize\":1,");
    assert!(rig.sim.api.requests().iter().filter(|request| request.path == "/v2/file-events").any(rows));
    rig.sim.faults.clear();
    rig.sim.world.add_file_events(3, ago(2), ago(1));
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::zero());
    a_moment().await;
    rig.run().await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}
