//! Stuck spans and records are reported: by a health record for each change, and by a metric in every run.

use serde_json::{Value, json};
use simulator::{Endpoint, Fault};

use crate::metrics;
use crate::rig::{DEADLINE, Rig, ago, time};
use crate::stuck::{assert_stuck, miscounts};

impl Rig {
    /// The stuck counts in a stream's health records.
    async fn told_stuck(&self, stream: &str) -> Vec<u64> {
        let records = self.health_records().await.into_iter().filter(|record| record["stream"] == stream);
        records.filter_map(|record| record["stuck"]["count"].as_u64()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_tells_when_something_is_stuck_and_when_more_is_and_when_it_is_over() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,users")).await;
    rig.sim.world.add_cases(12, ago(80_000), ago(900));
    rig.sim.world.add_users(5);
    rig.run().await;
    assert!(rig.health_records().await.iter().all(|record| record["stuck"].is_null()));
    rig.sim.world.add_cases(2, ago(20), ago(15));
    let first = rig.sim.faults.ail_at("/v1/cases/13", Fault::Forbidden);
    let answer = rig.stuck_run().await;
    let told = assert_stuck(&answer, "cases", 1);
    assert_eq!(rig.told_stuck("cases").await, [1]);
    let record = rig.health_records().await.into_iter().find(|record| record["stuck"].is_object()).unwrap();
    assert_eq!((&record["stuck"], &record["run_id"]), (&told["stuck"], &answer["run_id"]), "{record:#}");
    assert_eq!((&record["stream"], &record["state"]), (&json!("cases"), &json!("error")), "{record:#}");
    assert!(record.get("previous").is_some() && time(&record["at"]) <= ago(0), "{record:#}");
    for _ in 0..3 {
        rig.stuck_run().await;
    }
    assert_eq!(rig.told_stuck("cases").await, [1], "as long as it stays so, nothing is told");
    rig.sim.world.add_cases(1, ago(10), ago(5));
    rig.sim.faults.ail_at("/v1/cases/15", Fault::Forbidden);
    assert_stuck(&rig.stuck_run().await, "cases", 2);
    assert_eq!(rig.told_stuck("cases").await, [1, 2]);
    first.heal();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_stuck(&rig.stuck_run().await, "cases", 1);
    rig.sim.faults.clear();
    rig.assert_heals("cases").await;
    let counts = rig.told_stuck("cases").await;
    assert_eq!(counts.iter().filter(|count| **count == 2).count(), 1, "{counts:?}");
    let records = rig.health_records().await;
    let last = records.iter().rfind(|record| record["stream"] == "cases").unwrap();
    assert!(last["stuck"].is_null() && last["state"] == "collecting" && last.get("error").is_none(), "{last:#}");
    assert_eq!(rig.told_stuck("users").await, Vec::<u64>::new());
    let told = records.len();
    rig.run().await;
    assert_eq!(rig.health_records().await.len(), told);
    rig.assert_told_once().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_stuck_is_told_as_it_stands_in_the_answer() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(40, ago(3_400), ago(5));
    miscounts(&rig, Endpoint::AuditCount, &[ago(3_000)]);
    // A run that narrows the span further tells no record: nothing more is stuck.
    let answers = [rig.any_run(DEADLINE).await, rig.stuck_run().await];
    let records = rig.health_records().await;
    let told = records.iter().rfind(|record| record["stuck"].is_object()).expect("a record of it");
    let answer = answers.iter().find(|answer| answer["run_id"] == told["run_id"]).expect("one of the two runs told it");
    assert_eq!(told["stuck"], answer["streams"]["audit"]["stuck"], "{told:#}");
    rig.sim.faults.clear();
    rig.assert_heals("audit").await;
    let records = rig.health_records().await;
    assert!(records.last().unwrap()["stuck"].is_null(), "{records:#?}");
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_counts_what_is_stuck_in_every_run_until_it_is_over() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,users")).await;
    rig.sim.world.add_cases(12, ago(80_000), ago(900));
    rig.sim.world.add_users(5);
    for id in [4, 5, 6] {
        rig.sim.faults.ail_at(format!("/v1/cases/{id}"), Fault::Forbidden);
    }
    for _ in 0..3 {
        rig.stuck_run().await;
    }
    rig.sim.faults.clear();
    rig.assert_heals("cases").await;
    let mut lines: Vec<Value> = Vec::new();
    // The log has its own pipe.
    for _ in 0..100 {
        lines = metrics::told(&rig).await;
        if lines.iter().filter(|line| line["Stream"] == "cases").count() >= 4 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let of = |stream: &str| -> Vec<u64> {
        let lines = lines.iter().filter(|line| line["Stream"] == *stream);
        lines.map(|line| line["Stuck"].as_u64().unwrap_or_default()).collect()
    };
    assert_eq!((&of("cases")[..3], of("cases").last()), (&[3, 3, 3][..], Some(&0)), "{lines:#?}");
    assert!(of("users").iter().all(|stuck| *stuck == 0), "{lines:#?}");
    let announced = lines.iter().filter(|line| line["Stuck"].as_u64() > Some(0)).all(|line| {
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        metrics.iter().any(|metric| metric["Name"] == "Stuck")
    });
    assert!(announced, "{lines:#?}");
}
