//! The metrics that `CloudWatch` makes of the log.

use serde_json::{Value, json};
use simulator::{Endpoint, Fault};

use crate::rig::{Rig, logs_with};

/// The lines of metrics so far: of the runs, and of their streams.
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
