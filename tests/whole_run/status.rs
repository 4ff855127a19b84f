//! `status` reports the streams' states from the checkpoint alone.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Endpoint, Fault, SecretsFault};

use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago, failure_of, time};

impl Rig {
    /// Sends `status` to a new container. Asserts that it reads the checkpoint once and nothing else.
    async fn status(&self) -> Value {
        let (asked, loaded) = (self.sim.api.requests().len(), self.sim.secrets.calls());
        self.sim.s3.clear_log();
        let answer = self.container(|lambda| lambda).invoke(json!({"action": "status"}), DEADLINE).await.answer();
        assert_eq!((&answer["action"], &answer["status"]), (&json!("status"), &json!("complete")), "{answer:#}");
        assert_eq!(self.sim.api.requests().len(), asked, "nothing is asked of the API");
        assert_eq!(self.sim.secrets.calls(), loaded, "the secret is not loaded");
        let requests: Vec<_> =
            self.sim.s3.requests().iter().map(|request| (request.method.clone(), request.key.clone())).collect();
        assert_eq!(requests, [("GET".to_owned(), CHECKPOINT.to_owned())], "nothing else is read, or written");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_run_every_enabled_stream_is_pending() {
    let rig = Rig::new().await;
    let answer = rig.status().await;
    for unknown in ["checkpoint", "lease", "manifest"] {
        assert_eq!(answer.get(unknown), Some(&Value::Null), "{unknown}: {answer:#}");
    }
    let streams = answer["streams"].as_object().unwrap();
    assert_eq!(streams.keys().collect::<Vec<_>>(), ["audit", "cases", "file_events", "users"]);
    for seen in streams.values() {
        let expected = json!({"enabled": true, "state": "pending", "since": null, "covered_to": null, "lag_s": null});
        assert_eq!(*seen, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_run_it_tells_what_the_run_told_and_what_the_checkpoint_says() {
    let rig = Rig::new().await;
    rig.populate();
    let run = rig.run().await;
    let checkpoint = rig.checkpoint().await;
    let answer = rig.status().await;
    assert_eq!(answer["checkpoint"], json!({"revision": checkpoint["revision"], "written_by": run["run_id"]}));
    assert_eq!((&answer["lease"], &answer["manifest"]), (&Value::Null, &run["manifest"]));
    for (stream, seen) in answer["streams"].as_object().unwrap() {
        let told = &run["streams"][stream];
        assert_eq!((&seen["state"], &seen["covered_to"]), (&json!("collecting"), &told["covered_to"]), "{stream}");
        assert_eq!(seen["since"], checkpoint["states"][stream]["since"]);
        let lag = (time(&answer["at"]) - time(&seen["covered_to"])).num_seconds();
        assert_eq!(seen["lag_s"], json!(lag), "{stream}");
        for absent in ["gaps", "stuck", "next_try", "error", "expired", "reserved", "not_permitted_at"] {
            assert_eq!(seen.get(absent), None, "{stream}");
        }
    }
    assert_ne!(answer["run_id"], run["run_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_what_is_stuck_and_what_is_refused_are_told_with_since_when() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,cases,users")).await;
    rig.populate();
    rig.sim.faults.always(Endpoint::AuditSearch, Fault::Status(500, "busy".into()));
    rig.sim.faults.always(Endpoint::Users, Fault::Forbidden);
    rig.sim.faults.ail_at("/v1/cases/7", Fault::Forbidden);
    let run = rig.stuck_run().await;
    let checkpoint = rig.checkpoint().await;
    let answer = rig.status().await;
    let of = |stream: &str| answer["streams"][stream].clone();
    let stuck = of("cases");
    assert_eq!(stuck["stuck"], run["streams"]["cases"]["stuck"], "{answer:#}");
    assert_eq!((&stuck["stuck"]["count"], &stuck["stuck"]["oldest"]), (&json!(1), &json!({"id": "7"})));
    assert_eq!(stuck["stuck"]["since"], checkpoint["stuck"]["cases"][0]["since"]);
    assert_eq!(stuck["next_try"], checkpoint["stuck"]["cases"][0]["next_try"]);
    let refused = of("users");
    assert_eq!(refused["not_permitted_at"], checkpoint["inventory"]["users"]["not_permitted_at"]);
    assert_eq!((&refused["state"], &refused["error"]["type"]), (&json!("error"), &json!("ThirdPartyConfigError")));
    let failing = of("audit");
    assert_eq!((&failing["state"], &failing["covered_to"]), (&json!("error"), &Value::Null), "{failing:#}");
    assert!(failing["error"]["message"].as_str().unwrap().contains("500"), "{failing:#}");
    let gaps = failing["gaps"].as_array().expect("the gaps").clone();
    assert_eq!((gaps.len(), &gaps[0][0]), (1, &checkpoint["events"]["audit"]["live_from"]));
    assert!(time(&gaps[0][1]) < ago(14 * 60), "younger than 14 minutes: {gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_run_is_told_while_it_holds_it_and_once_it_is_over() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Hang);
    let short = Duration::from_secs(6);
    let (_, held) = tokio::join!(rig.lambda.invoke(json!({}), short), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.status().await
    });
    let checkpoint = rig.checkpoint().await;
    assert_eq!(held["lease"]["is_over"], false, "{held:#}");
    assert_eq!(held["lease"]["run_id"], held["checkpoint"]["written_by"], "{held:#}");
    assert_eq!((&checkpoint["lease"], &rig.status().await["lease"]), (&Value::Null, &Value::Null));
    let until = ago(1).to_rfc3339();
    let dead = json!({"run_id": "dead", "until": until});
    let object =
        Value::Object(checkpoint.as_object().unwrap().clone().into_iter().chain([("lease".into(), dead)]).collect());
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, object.to_string()).await;
    let lease = rig.status().await["lease"].clone();
    assert_eq!((&lease["run_id"], &lease["is_over"]), (&json!("dead"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_longer_enabled_is_told_as_stopped() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let fewer = rig.container(|lambda| lambda.env("STREAMS", "audit"));
    fewer.invoke(json!({}), DEADLINE).await.answer();
    let answer = fewer.invoke(json!({"action": "status"}), DEADLINE).await.answer();
    let users = &answer["streams"]["users"];
    assert_eq!((&users["enabled"], &users["state"]), (&json!(false), &json!("stopped")), "{answer:#}");
    assert_eq!(answer["streams"]["audit"]["enabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_whatever_is_wrong_with_the_secret_and_the_api() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.secrets.fail(Some(SecretsFault::AccessDenied));
    rig.failure(json!({})).await;
    let state = rig.status().await["streams"]["audit"].clone();
    assert_eq!((&state["state"], &state["error"]["type"]), (&json!("error"), &json!("FirstPartyGenericError")));
    rig.sim.secrets.fail(None);
    rig.sim.secrets.set_secret("hunter2-hunter2");
    rig.failure(json!({})).await;
    let answer = rig.status().await;
    assert_eq!(answer["streams"]["audit"]["state"], "stopped", "{answer:#}");
    assert!(!answer.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_can_not_be_read_or_is_another_s_fails_it_and_stays_as_it_is() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let ask = json!({"action": "status"});
    let other = rig.container(|lambda| lambda.env("S3_PREFIX", "elsewhere/"));
    let (error_type, answer) = failure_of(other.invoke(ask.clone(), DEADLINE).await);
    assert_eq!((error_type.as_str(), &answer["action"]), ("ThirdPartyConfigError", &json!("status")), "{answer:#}");
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, "{").await;
    let (error_type, answer) = rig.failure(ask).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("can't be read"), "{answer:#}");
    let held = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap();
    assert_eq!(&held.bytes[..], b"{");
}
