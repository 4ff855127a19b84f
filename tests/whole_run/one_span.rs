//! One second of an event stream is refused, stalls in mid-answer, or takes the API long. All else is read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde_json::json;
use simulator::http::Request;
use simulator::{Endpoint, Fault, Record, span_asked};

use crate::rig::{Rig, ago};

/// A stream that was collected before, and 80 records of which one lies in a bad second.
async fn rig_of(stream: &str) -> (Rig, Vec<Record>, DateTime<Utc>) {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("LOOKBACK_MINUTES", "120")).await;
    let add = |n, from, to| match stream {
        "audit" => rig.sim.world.add_audit(n, from, to),
        _ => rig.sim.world.add_file_events(n, from, to),
    };
    let mut records = add(3, ago(7_000), ago(6_500));
    assert_eq!(rig.run().await["status"], "complete");
    rig.edit_checkpoint(|checkpoint| {
        // The time since then was never read.
        checkpoint["events"][stream]["covered"] =
            json!([[crate::oracle::millis(ago(7_300)), crate::oracle::millis(ago(6_000))]]);
        checkpoint["events"][stream]["recount"] = json!([]);
    })
    .await;
    records.extend(add(80, ago(5_000), ago(300)));
    let bad = records[40].time;
    (rig, records, bad)
}

fn asks_for(bad: DateTime<Utc>) -> impl Fn(&Request) -> bool + Send + Clone + 'static {
    move |request| {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        span_asked(&body).is_some_and(|[from, to]| from <= bad && bad <= to)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_one_second_or_stalls_there_holds_up_nothing_else() {
    let refusal = r#"{"status":403,"error":"Forbidden"}"#;
    let faults = [Fault::Status(403, refusal.into()), Fault::Status(401, "{}".into()), Fault::Stalled];
    let cases = ["audit", "file_events"].into_iter().flat_map(|stream| faults.clone().map(|fault| (stream, fault)));
    join_all(cases.map(async |(stream, fault)| {
        let (rig, records, bad) = rig_of(stream).await;
        rig.sim.faults.when(Endpoint::Any, asks_for(bad), fault.clone());
        for _ in 0..2 {
            rig.any_run(Duration::from_secs(25)).await;
        }
        rig.assert_holds_all_but(stream, &records, &[bad]).await;
        let answer = rig.any_run(Duration::from_secs(25)).await;
        rig.assert_stuck_at(&answer, stream, &[bad]).await;
        assert_eq!(answer["error"]["type"], "ThirdPartyGenericError", "no permission is missing: {answer:#}");
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        rig.assert_holds(stream, &records).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_that_failed_and_then_takes_the_api_long_is_read() {
    join_all(["audit", "file_events"].map(async |stream| {
        let (rig, records, bad) = rig_of(stream).await;
        rig.sim.faults.when(Endpoint::Any, asks_for(bad), Fault::Status(500, "{}".into()));
        rig.any_run(Duration::from_secs(25)).await;
        rig.sim.faults.clear();
        // Ten times as long as any other answer.
        rig.sim.faults.when(Endpoint::Any, asks_for(bad), Fault::Late(Duration::from_millis(2_500)));
        for _ in 0..8 {
            rig.invoke(json!({"action": "restart"})).await.answer();
            if rig.any_run(Duration::from_secs(25)).await["status"] == "complete" {
                break;
            }
        }
        rig.assert_holds(stream, &records).await;
    }))
    .await;
}
