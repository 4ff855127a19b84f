//! The next try of what is stuck: in the next run, then after pauses that double; at once after a restart.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, span_asked};

use crate::oracle::millis;
use crate::rig::{Rig, ago, time};
use crate::stuck::{NEAR, assert_stuck, miscounts};

const RUNS: usize = 14;

/// Returns the runs, counted from 1, in which the thing was requested according to `asks`, and when they began.
async fn tried(rig: &Rig, stream: &str, asks: impl Fn(&Rig) -> usize) -> Vec<(usize, Instant)> {
    let mut tried = Vec::new();
    for run in 1..=RUNS {
        rig.sim.api.clear_log();
        let began = Instant::now();
        let answer = rig.stuck_run().await;
        let told = assert_stuck(&answer, stream, 1.max(rig.stuck(stream).await.len()));
        assert!(told["error"]["message"].as_str().unwrap().len() > 10, "{answer:#}");
        if asks(rig) > 0 {
            tried.push((run, began));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tried
}

fn assert_backs_off(tried: &[(usize, Instant)]) {
    let runs: Vec<usize> = tried.iter().map(|(run, _)| *run).collect();
    assert_eq!(runs[..2], [1, 2], "it is tried again by the next run: {runs:?}");
    assert!(runs.len() <= 6, "of {RUNS} runs these tried it: {runs:?}");
    let pauses: Vec<Duration> = tried.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    // A run takes some time before the request.
    let slack = Duration::from_millis(500);
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1] + slack), "the pauses grow: {pauses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_stuck_is_tried_in_the_next_run_and_then_ever_more_rarely() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(8, ago(80_000), ago(900));
    rig.sim.faults.ail_at("/v1/cases/4", Fault::Forbidden);
    let of_it = |rig: &Rig| {
        let details = rig.sim.api.requests_to(Endpoint::CaseDetail);
        details.iter().filter(|request| request.path.ends_with("/4")).count()
    };
    assert_backs_off(&tried(&rig, "cases", of_it).await);
    let before = rig.stuck("cases").await;
    // It stays stuck after a restart, but is tried at once.
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.stuck("cases").await.len(), 1);
    rig.sim.api.clear_log();
    assert_stuck(&rig.stuck_run().await, "cases", 1);
    assert!(of_it(&rig) > 0, "nothing is backed off from after a restart");
    assert_eq!(rig.stuck("cases").await[0]["since"], before[0]["since"]);
    rig.sim.faults.clear();
    rig.assert_heals("cases").await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_stuck_is_tried_in_the_next_run_and_then_ever_more_rarely() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.world.add_file_events(40, ago(3_400), ago(5));
    let bad = ago(3_000);
    miscounts(&rig, Endpoint::FileEvents, &[bad]);
    let of_it = |rig: &Rig| {
        let requests = rig.sim.api.requests_to(Endpoint::FileEvents);
        let spans = requests.iter().filter_map(|request| span_asked(&request.json()));
        spans.filter(|[from, to]| *from <= bad && bad <= *to).count()
    };
    assert_backs_off(&tried(&rig, "file_events", of_it).await);
    let before = rig.stuck("file_events").await;
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.stuck("file_events").await.len(), before.len());
    rig.sim.api.clear_log();
    rig.stuck_run().await;
    assert!(of_it(&rig) > 0, "nothing is backed off from after a restart");
    let spans = rig.stuck_spans("file_events").await;
    assert!(spans.iter().all(|(_, [from, to])| (*from - bad).abs() <= NEAR && (*to - bad).abs() <= NEAR), "{spans:?}");
    rig.sim.faults.clear();
    rig.assert_heals("file_events").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_makes_all_that_is_stuck_due_and_no_more_than_the_streams_it_names() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,session_events")).await;
    rig.sim.world.add_cases(20, ago(80_000), ago(900));
    let session = rig.sim.world.add_sessions(1, ago(3_000), ago(60), true).remove(0);
    for id in [3, 9, 15] {
        rig.sim.faults.ail_at(format!("/v1/cases/{id}"), Fault::Forbidden);
    }
    rig.sim.faults.ail_at(format!("/v1/sessions/{}/events", session.id), Fault::Forbidden);
    let hours = json!(millis(ago(-5 * 3_600)));
    let far_off = |checkpoint: &mut Value| {
        for stream in ["cases", "session_events"] {
            for stuck in checkpoint["stuck"][stream].as_array_mut().expect("stuck records") {
                stuck["next_try"] = hours.clone();
            }
        }
    };
    let asked = || {
        let of = |endpoint| rig.sim.api.requests_to(endpoint).len();
        (of(Endpoint::CaseDetail), of(Endpoint::SessionEvents))
    };
    rig.stuck_run().await;
    rig.edit_checkpoint(far_off).await;
    rig.sim.api.clear_log();
    let answer = rig.stuck_run().await;
    assert_eq!(asked(), (0, 0), "a run in which nothing of it is due asks for nothing of it");
    assert_stuck(&answer, "cases", 3);
    assert_stuck(&answer, "session_events", 1);
    rig.invoke(json!({"action": "restart", "streams": ["cases"]})).await.answer();
    rig.sim.api.clear_log();
    rig.stuck_run().await;
    assert_eq!(asked(), (3, 0));
    rig.edit_checkpoint(far_off).await;
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.sim.api.clear_log();
    rig.stuck_run().await;
    assert_eq!(asked(), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_it_failed_it_is_tried_again_within_six_hours() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(8, ago(80_000), ago(900));
    rig.sim.faults.ail_at("/v1/cases/4", Fault::Forbidden);
    rig.stuck_run().await;
    rig.edit_checkpoint(|checkpoint| {
        assert_eq!(checkpoint["format_version"], 5);
        let stuck = &mut checkpoint["stuck"]["cases"][0];
        assert_eq!(stuck["what"], json!({"id": "4"}));
        stuck["attempts"] = json!(40);
        stuck["next_try"] = json!(millis(ago(60)));
    })
    .await;
    rig.sim.api.clear_log();
    assert_stuck(&rig.stuck_run().await, "cases", 1);
    assert_eq!(rig.sim.api.requests_to(Endpoint::CaseDetail).len(), 1);
    let stuck = rig.stuck("cases").await.remove(0);
    assert!(stuck["attempts"].as_u64() > Some(40), "{stuck:#}");
    let pause = time(&stuck["next_try"]) - ago(0);
    assert!(pause > TimeDelta::zero() && pause <= TimeDelta::hours(6) + TimeDelta::minutes(1), "{stuck:#}");
    assert!(time(&stuck["since"]) <= ago(0) && stuck["error"]["message"].is_string(), "{stuck:#}");
}
