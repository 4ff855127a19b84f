//! The API's clock: a cache's `Date` is ignored, and an unbelievable one is reported and not used.

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault};

use crate::metrics::told;
use crate::oracle::a_moment;
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
