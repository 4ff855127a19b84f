//! The metrics that `CloudWatch` extracts from the log.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault};

use crate::oracle::millis;
use crate::rig::{CHECKPOINT, Rig, ago, failure_of, logs_with};
use crate::stuck::any_answer;

/// The metric lines so far, of runs and streams.
pub async fn told(rig: &Rig) -> Vec<Value> {
    let lines = logs_with(&rig.lambda, "\"_aws\"").await;
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_each_of_its_streams_have_a_line() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.once(Endpoint::Users, 1, Fault::RateLimited { retry_after: Some("1".into()) });
    let answer = rig.run().await;
    let told = told(&rig).await;
    assert_eq!(told.len(), 5, "{told:#?}");
    assert_eq!((&told[0]["Runs"], &told[0]["ConfigErrors"]), (&json!(1), &json!(0)));
    assert_eq!(told[0]["FunctionName"], "incydr-collector");
    for stream in ["file_events", "audit", "cases", "users"] {
        let line = told.iter().find(|line| line["Stream"] == stream).expect("a line");
        for (metric, field) in
            [("Records", "records"), ("Objects", "objects"), ("Bytes", "bytes"), ("Requests", "requests")]
        {
            assert_eq!(line[metric], answer["streams"][stream][field], "{stream}: {line}");
        }
        assert_eq!(line["Throttles"], i32::from(stream == "users"), "{line}");
        assert_eq!((&line["Gaps"], &line["Failed"], &line["Expiring"]), (&json!(0), &json!(0), &json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_counted_and_what_is_no_run_is_not() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Status(500, "{}".into()));
    rig.failure(json!({})).await;
    let told = told(&rig).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!((&told[1]["Stream"], &told[1]["Failed"]), (&json!("audit"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_sign_in_still_counts_old_gaps_and_what_expires_soon() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.run().await;
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["events"]["audit"]["live_from"] = json!(ago(88 * 86_400).to_rfc3339());
    })
    .await;
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(503, "{}".into()));
    rig.sim.api.revoke_tokens();
    rig.lambda.kill();
    rig.failure(json!({})).await;
    let line = line_of(&rig, "audit", 2).await;
    assert_eq!((&line["Gaps"], &line["Expiring"], &line["Failed"]), (&json!(1), &json!(1), &json!(1)), "{line:#}");
}

/// A stream's metric line of the `nth` run. The log may be behind the answer.
async fn line_of(rig: &Rig, stream: &str, nth: usize) -> Value {
    loop {
        let mut lines = told(rig).await.into_iter().filter(|line| line["Stream"] == stream);
        if let Some(line) = lines.nth(nth - 1) {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_set_aside_or_not_permitted_is_counted_for_whoever_is_on_duty() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,cases,users")).await;
    rig.populate();
    let case = rig.sim.world.cases()[0].id.clone();
    let _ill = rig.sim.faults.ail_at(format!("/v1/cases/{case}"), Fault::Status(500, "{}".into()));
    let odd = format!(r#"{{"timestamp":"{}","actorName":"\Everyone"}}"#, ago(60).to_rfc3339());
    rig.sim.world.push_raw(Dataset::Audit, "odd", ago(60), odd);
    rig.sim.faults.always(Endpoint::Users, Fault::Forbidden);
    rig.failure(json!({})).await;
    assert_eq!(line_of(&rig, "audit", 1).await["SetAside"], 1);
    assert_eq!(line_of(&rig, "users", 1).await["NotPermitted"], 1);
    assert_eq!(line_of(&rig, "cases", 1).await["Stuck"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_form_are_counted_as_drift() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    for n in 0..10 {
        let odd = format!(r#"{{"time":"{}","n":{n}}}"#, ago(60).to_rfc3339());
        rig.sim.world.push_raw(Dataset::Audit, &n.to_string(), ago(60), odd);
    }
    rig.failure(json!({})).await;
    assert_eq!(line_of(&rig, "audit", 1).await["Drift"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_throttled_is_counted() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.populate();
    rig.sim.faults.once(Endpoint::Users, 1, Fault::Unauthorized);
    rig.sim.faults.once(Endpoint::SignIn, 2, Fault::RateLimited { retry_after: Some("1".into()) });
    rig.run().await;
    assert_eq!(line_of(&rig, "users", 1).await["Throttles"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_gone_or_older_and_altered_known_records_are_counted_once_each() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let mut versions = Vec::new();
    for _ in 0..2 {
        rig.populate();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        rig.run().await;
        versions.push(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes);
    }
    let lost = || async {
        let lines = told(&rig).await;
        lines.iter().filter(|line| line["StateLost"] == 1 && line["Stream"].is_null()).count()
    };
    assert_eq!(lost().await, 0);
    let (bucket, s3) = (rig.sim.bucket(), &rig.sim.s3);
    s3.put_raw(bucket, CHECKPOINT, versions[0].clone()).await;
    let answer = rig.run().await;
    assert!(answer["state_lost"].to_string().contains("an older version of itself"), "{answer:#}");
    s3.delete_raw(bucket, CHECKPOINT).await;
    let answer = rig.run().await;
    assert!(answer["state_lost"].to_string().contains("the checkpoint is gone"), "{answer:#}");
    let known = rig.checkpoint().await["inventory"]["users"]["stored"]["known"]["key"].as_str().unwrap().to_owned();
    s3.delete_raw(bucket, &known).await;
    rig.lambda.kill();
    let (_, answer) = rig.failure(json!({})).await;
    assert!(answer["state_lost"].to_string().contains("which holds the known records"), "{answer:#}");
    let answer = rig.run().await;
    assert!(answer.get("state_lost").is_none(), "{answer:#}");
    while lost().await < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lost().await, 3);
}

/// Three runs in which the API asks to wait, of a list that has something stuck or nothing.
async fn three_stalled_runs(has_stuck: bool) {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.populate();
    rig.run().await;
    if has_stuck {
        rig.edit_checkpoint(|checkpoint| {
            let (now, later) = (millis(ago(0)), millis(ago(-3_600)));
            let error = json!({"type": "ThirdPartyGenericError", "message": "it failed"});
            let what = json!({"id": "7"});
            checkpoint["stuck"]["users"] = json!([{"what": what, "since": now, "attempts": 2, "tried_at": now,
                "next_try": later, "error": error}]);
        })
        .await;
    }
    rig.sim.faults.always(Endpoint::Users, Fault::RateLimited { retry_after: Some("3600".into()) });
    for run in 1..=3 {
        let answer = match rig.lambda.invoke(json!({}), Duration::from_secs(4)).await {
            simulator::Outcome::Answer(answer) => answer,
            failed => failure_of(failed).1,
        };
        let users = &answer["streams"]["users"];
        // The third run fails as well, because the API asks to wait.
        let status = if run == 3 || has_stuck { "failed" } else { "partial" };
        assert_eq!((&users["status"], &users["stalled"]), (&json!(status), &json!(run)), "{answer:#}");
        let line = line_of(&rig, "users", 1 + run).await;
        assert_eq!(line["Stalled"], i32::from(run == 3), "{line}");
    }
    rig.sim.faults.clear();
    let answer = any_answer(rig.invoke(json!({})).await);
    assert!(answer["streams"]["users"].get("stalled").is_none(), "{answer:#}");
    assert!(rig.checkpoint().await.get("stalled").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_runs_in_a_row_that_ran_short_of_time_and_came_no_further_are_counted_as_stalled() {
    three_stalled_runs(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_are_those_of_a_stream_that_has_something_stuck() {
    three_stalled_runs(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_schedule_counts_whatever_else_it_has() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.invoke(json!({"source": "aws.scheduler", "dry_run": true})).await.answer();
    assert_eq!(told(&rig).await.len(), 2);
}
