//! Collection begins `LOOKBACK_MINUTES` before the first attempt, whatever its result.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, S3Fault, SecretsFault};

use crate::oracle::{a_moment, millis};
use crate::rig::{Rig, ago, failure_of, time};

const RIGHT: &str = r#"{"client_id":"key-42-simulated","client_secret":"simulated-client-secret"}"#;
const WRONG: &str = r#"{"client_id":"key-42-simulated","client_secret":"wrong"}"#;

async fn rig() -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events").env("LOOKBACK_MINUTES", "10")).await
}

/// Adds events of the last hour and a half.
fn populate(rig: &Rig) {
    rig.sim.world.add_audit(90, ago(5_400), ago(5));
    rig.sim.world.add_file_events(90, ago(5_400), ago(5));
}

fn text(at: DateTime<Utc>) -> Value {
    json!(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Moves the noted attempts back by `minutes`.
async fn attempted_earlier(rig: &Rig, minutes: i64) {
    rig.edit_checkpoint(|checkpoint| {
        for at in checkpoint["attempted"].as_object_mut().expect("attempts").values_mut() {
            *at = text(time(at) - TimeDelta::minutes(minutes));
        }
    })
    .await;
}

async fn assert_begins(rig: &Rig, minutes_ago: i64) {
    let from = Utc::now() - TimeDelta::minutes(minutes_ago);
    for (stream, records) in [("audit", rig.sim.world.audit()), ("file_events", rig.sim.world.file_events())] {
        let begins = time(&rig.checkpoint().await["events"][stream]["live_from"]);
        assert!((begins - from).abs() < TimeDelta::seconds(30), "{stream}: {begins}, not {from}");
        let owed: Vec<_> = records.into_iter().filter(|record| record.time >= begins).collect();
        rig.assert_holds(stream, &owed).await;
    }
    assert_eq!(rig.verify().await["status"], "whole");
}

type Outage<'a> = &'a dyn Fn(&Rig);

#[tokio::test(flavor = "multi_thread")]
async fn what_lay_between_the_first_attempt_and_the_first_run_that_worked_is_collected() {
    let wrong_secret = |rig: &Rig| rig.sim.secrets.set_secret(WRONG);
    let no_sign_in = |rig: &Rig| rig.sim.faults.always(Endpoint::SignIn, Fault::Status(503, String::new()));
    let no_answer = |rig: &Rig| rig.sim.faults.always(Endpoint::SignIn, Fault::Hang);
    let no_right = |rig: &Rig| rig.sim.secrets.fail(Some(SecretsFault::AccessDenied));
    let outages: [(&str, Outage<'_>); 4] = [
        ("a wrong secret", &wrong_secret),
        ("sign-in down", &no_sign_in),
        ("sign-in never answers", &no_answer),
        ("no right to the secret", &no_right),
    ];
    for (name, outage) in outages {
        println!("{name}");
        let rig = rig().await;
        populate(&rig);
        outage(&rig);
        for _ in 0..2 {
            rig.lambda.invoke(json!({}), Duration::from_secs(3)).await;
        }
        attempted_earlier(&rig, 60).await;
        rig.sim.faults.clear();
        rig.sim.secrets.fail(None);
        rig.sim.secrets.set_secret(RIGHT);
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{name}: {answer:#}");
        assert_begins(&rig, 70).await;
        let notes: Vec<Value> =
            rig.health_records().await.into_iter().filter(|record| record.get("note").is_some()).collect();
        assert!(
            notes.iter().any(|record| record["note"].as_str().unwrap().contains("and failed before it could begin")),
            "{notes:#?}"
        );
        rig.run().await;
        assert_eq!(rig.checkpoint().await.get("attempted"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_written_the_process_remembers_and_a_record_says_what_is_not_known() {
    let rig = rig().await;
    populate(&rig);
    rig.sim.s3.faults.always("PUT", "", S3Fault::Status(403));
    failure_of(rig.invoke(json!({})).await);
    let failed = Utc::now();
    rig.sim.s3.faults.clear();
    a_moment().await;
    // None of these is the first attempt of both streams.
    let span = json!({"from": millis(ago(900)), "to": millis(ago(800))});
    for asked in [
        json!({"action": "collect", "dry_run": true}),
        json!({"action": "collect", "streams": ["audit"]}),
        json!({"action": "replay", "prefix": "again/", "from": span["from"], "to": span["to"]}),
    ] {
        rig.invoke(asked).await.answer();
    }
    assert_eq!(rig.run().await["status"], "complete");
    for stream in ["audit", "file_events"] {
        let begins = time(&rig.checkpoint().await["events"][stream]["live_from"]);
        assert!(begins <= failed - TimeDelta::minutes(10), "{stream}: {begins}, and the first run failed at {failed}");
    }
    // A process that knows of no earlier attempt says so.
    let rig = self::rig().await;
    rig.run().await;
    let notes: Vec<Value> =
        rig.health_records().await.into_iter().filter(|record| record.get("note").is_some()).collect();
    assert_eq!(notes.len(), 2, "{notes:#?}");
    for record in notes {
        let note = record["note"].as_str().unwrap();
        assert!(
            record["state"] == "pending" && note.contains("may have failed before it could be noted"),
            "{record:#}"
        );
        assert!(!note.contains("the checkpoint"), "an alert takes that for a lost checkpoint: {record:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_at_another_address_holds_nobody_to_it() {
    let rig = rig().await;
    populate(&rig);
    let wrong = rig.container(|lambda| lambda.env("STREAMS", "audit").env("INCYDR_BASE_URL", "http://127.0.0.1:1"));
    wrong.invoke(json!({}), Duration::from_secs(3)).await;
    assert!(rig.checkpoint().await["attempted"]["audit"].is_string());
    assert_eq!(rig.run().await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_asked_for_a_span_is_a_first_attempt_too() {
    let rig = rig().await;
    populate(&rig);
    let old = json!({"action": "collect", "from": millis(ago(9_000)), "to": millis(ago(8_000))});
    assert_eq!(rig.invoke(old).await.answer()["status"], "complete");
    attempted_earlier(&rig, 60).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert_begins(&rig, 70).await;
}
