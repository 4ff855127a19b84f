//! Services that accept a connection and never answer: the run fails and names them, however short it is.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Endpoint, Fault, S3Fault, SecretsFault, span_asked};

use crate::oracle::a_moment;
use crate::rig::{Rig, ago, failure_of};

async fn failure_within(rig: &Rig, seconds: u64) -> (String, Value, String) {
    let (error_type, answer) = failure_of(rig.lambda.invoke(json!({}), Duration::from_secs(seconds)).await);
    let message = answer["error"]["message"].as_str().unwrap().to_owned();
    (error_type, answer, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_that_never_answers_fails_a_run_by_its_name() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.s3.faults.always("", "", S3Fault::Hang);
    let (error_type, _, message) = failure_within(&rig, 5).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert!(message.contains("S3 GetObject") && message.contains("no answer within"), "{message}");
    rig.sim.s3.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_that_answers_all_but_the_writes_fails_a_short_run_by_its_name() {
    for (below, seconds) in [("", 8), ("code42/", 8), ("incydr-collector/", 8), ("code42/", 4)] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.s3.faults.always("PUT", below, S3Fault::Hang);
        let (error_type, _, message) = failure_within(&rig, seconds).await;
        assert_eq!(error_type, "FirstPartyGenericError", "{below}: {message}");
        assert!(message.contains("S3 PutObject") && message.contains("no answer within"), "{below}: {message}");
        rig.sim.s3.faults.clear();
        rig.invoke(json!({"action": "restart"})).await;
        assert_eq!(rig.run().await["status"], "complete", "{below}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_records_that_s3_never_takes_hold_up_no_other() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.s3.faults.always("PUT", "/collector_health/", S3Fault::Hang);
    failure_within(&rig, 8).await;
    for _ in 0..2 {
        rig.sim.world.add_audit(5, ago(1), ago(0));
        a_moment().await;
        let (error_type, _, message) = failure_within(&rig, 8).await;
        assert_eq!(error_type, "FirstPartyGenericError", "{message}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secrets_manager_that_never_answers_fails_a_run_by_its_name() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.secrets.fail(Some(SecretsFault::Hang));
    for seconds in [4, 45] {
        let (error_type, _, message) = failure_within(&rig, seconds).await;
        assert_eq!(error_type, "FirstPartyGenericError");
        assert!(message.contains("can't be read from Secrets Manager"), "{message}");
    }
    rig.sim.secrets.fail(None);
    assert_eq!(rig.run().await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_never_answers_or_stalls_in_mid_body_fails_a_run_and_each_stream_by_its_name() {
    for fault in [Fault::Hang, Fault::Stalled] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.faults.always(Endpoint::SignIn, fault.clone());
        let (error_type, _, message) = failure_within(&rig, 5).await;
        assert_eq!(error_type, "ThirdPartyGenericError");
        assert!(message.starts_with("sign-in: the API gave no answer within"), "{message}");
        rig.sim.faults.clear();
        rig.sim.faults.always(Endpoint::Users, fault);
        let (_, answer, message) = failure_within(&rig, 5).await;
        assert!(message.starts_with("users: the API gave no answer within"), "{message}");
        assert_eq!(answer["streams"]["audit"]["status"], "complete", "{answer:#}");
        rig.sim.faults.clear();
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_error_outlives_the_end_of_the_time() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.from(Endpoint::SignIn, 2, Fault::Hang);
    rig.sim.faults.once(Endpoint::SignIn, 1, Fault::Status(503, "maintenance".into()));
    let (_, _, message) = failure_within(&rig, 6).await;
    assert!(message.contains("503: maintenance"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_nothing_or_a_fraction_is_no_shorter_than_our_own_pause() {
    for retry_after in ["0", "0.01", "0.5"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
        rig.populate();
        rig.sim.faults.times(Endpoint::Users, 3, Fault::RateLimited { retry_after: Some(retry_after.into()) });
        assert_eq!(rig.run().await["status"], "complete", "{retry_after}");
        let asked = rig.sim.api.requests_to(Endpoint::Users);
        let pauses: Vec<i64> = asked.windows(2).map(|two| (two[1].at - two[0].at).num_milliseconds()).collect();
        for (pause, least) in pauses.iter().zip([125, 250, 500]) {
            assert!(*pause >= least, "{retry_after}: {pauses:?}");
        }
        assert!(retry_after != "0.5" || pauses[0] >= 500, "{pauses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_span_that_is_never_answered_holds_up_none_of_the_others() {
    join_all(["file_events", "audit"].into_iter().map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream)).await;
        let records = match stream {
            "audit" => rig.sim.world.add_audit(40, ago(3_000), ago(60)),
            _ => rig.sim.world.add_file_events(40, ago(3_000), ago(60)),
        };
        let bad = ago(1_234);
        let asks_for_it =
            move |request: &Request| span_asked(&request.json()).is_some_and(|[from, to]| from <= bad && bad <= to);
        rig.sim.faults.when(Endpoint::Any, asks_for_it, Fault::Hang);
        for _ in 0..2 {
            rig.any_run(Duration::from_secs(10)).await;
        }
        let near = records.iter().filter(|record| (record.time - bad).abs() < TimeDelta::minutes(3)).count();
        let stored = rig.stored(stream).await.len();
        assert!(stored + near >= records.len(), "{stream}: {stored} of {}, and {near} are near", records.len());
        let answer = rig.any_run(Duration::from_secs(10)).await;
        assert!(answer["streams"][stream]["stuck"]["count"].as_u64() > Some(0), "{stream}: {answer:#}");
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        rig.assert_holds(stream, &records).await;
    }))
    .await;
}
