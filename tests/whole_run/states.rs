//! Each stream's state: on the checkpoint, in the answer, and once in a health record whenever it changes.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Endpoint, Fault, Lambda, Outcome, S3Fault, SecretsFault};

use crate::oracle::{a_moment, millis};
use crate::rig::{CHECKPOINT, DEADLINE, HEALTH, PREFIX, Rig, ago, sha256, time};

impl Rig {
    /// The states of a stream in the order in which they were reported.
    pub async fn told(&self, stream: &str) -> Vec<String> {
        let told = self.health_records().await.into_iter().filter(|record| record["stream"] == stream);
        told.map(|record| record["state"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn assert_state(&self, stream: &str, state: &str) {
        assert_eq!(self.checkpoint().await["states"][stream]["state"], state, "{stream}");
    }

    /// Asserts that each record continues from the one before, and that the last is on the checkpoint.
    pub async fn assert_told_once(&self) {
        let states = self.checkpoint().await["states"].clone();
        let mut last = serde_json::Map::new();
        for record in self.health_records().await {
            let stream = record["stream"].as_str().unwrap().to_owned();
            let before = last.insert(stream, record["state"].clone()).unwrap_or_default();
            assert_eq!(record["previous"], before, "{record:#}");
        }
        for (stream, state) in states.as_object().unwrap() {
            assert_eq!(last[stream], state["state"], "{stream}");
        }
        assert!(self.sim.s3.overwritten_or_deleted(PREFIX).is_empty());
    }
}

pub const FIRST: [&str; 5] = ["pending", "started", "initialized", "authenticated", "collecting"];
const AGAIN: [&str; 4] = ["started", "initialized", "authenticated", "collecting"];

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_tells_of_every_state_and_a_steady_one_of_none() {
    let rig = Rig::new().await;
    rig.populate();
    let answer = rig.run().await;
    let states = rig.checkpoint().await["states"].clone();
    for stream in ["audit", "cases", "file_events", "users"] {
        assert_eq!(rig.told(stream).await, FIRST);
        assert_eq!(
            (&answer["streams"][stream]["state"], &states[stream]["state"]),
            (&json!("collecting"), &json!("collecting"))
        );
        assert!(time(&states[stream]["since"]) > ago(60));
    }
    let objects = rig.sim.s3.objects(rig.sim.bucket(), &format!("{PREFIX}{HEALTH}/")).await;
    let [object] = &objects[..] else { panic!("one object a run, not {}", objects.len()) };
    let at = rig.checkpoint().await["health"]["last"].clone();
    let partition = time(&at).format("dt=%Y-%m-%d/hour=%H").to_string();
    let name = time(&at).format("%Y%m%dT%H%M%S%3fZ").to_string();
    assert_eq!(object.key, format!("{PREFIX}{HEALTH}/{partition}/{name}-{name}.ndjson.gz"));
    assert_eq!(object.content_type.as_deref(), Some("application/x-ndjson"));
    let text = object.lines().join("\n") + "\n";
    assert_eq!(object.metadata["stream"], HEALTH);
    assert_eq!(object.metadata["records"], "20");
    assert_eq!(object.metadata["sha256"], sha256(text.as_bytes()));
    assert_eq!(object.metadata["run-id"], answer["run_id"].as_str().unwrap());
    let record = &rig.health_records().await[0];
    assert_eq!((&record["previous"], &record["run_id"]), (&Value::Null, &answer["run_id"]));
    assert!(time(&record["at"]) <= time(&at) && record.get("error").is_none());

    let unwritten = rig.checkpoint().await["health"].clone();
    for _ in 0..2 {
        assert_eq!(rig.run().await["streams"]["users"]["state"], "collecting", "also while it is not due");
    }
    assert_eq!(rig.health_records().await.len(), 20);
    assert_eq!(rig.checkpoint().await["health"], unwritten);
    assert_eq!(rig.checkpoint().await["states"], states, "since when it is so stays, too");
    rig.assert_told_once().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_with_its_type_and_again_when_it_is_over() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.populate();
    rig.run().await;
    for (status, told) in [(500, 4), (400, 0)] {
        let before = rig.health_records().await.len();
        rig.sim.faults.clear();
        rig.sim.faults.always(Endpoint::Users, Fault::Status(status, "oops".into()));
        let (_, answer) = rig.failure(json!({})).await;
        assert_eq!(answer["streams"]["users"]["state"], "error", "{answer:#}");
        assert_eq!(answer["streams"]["audit"]["state"], "collecting");
        assert_eq!(rig.health_records().await.len() - before, told, "only another type is news");
        assert_eq!(rig.checkpoint().await["states"]["users"]["error"], answer["streams"]["users"]["error"]);
    }
    let told = rig.health_records().await.pop().unwrap();
    assert_eq!(
        (&told["stream"], &told["state"], &told["previous"]),
        (&json!("users"), &json!("error"), &json!("authenticated"))
    );
    assert_eq!(told["error"]["type"], "ThirdPartyGenericError");
    assert!(told["error"]["message"].as_str().unwrap().contains("500"), "{told:#}");
    rig.sim.faults.clear();
    rig.run().await;
    assert_eq!(rig.told("users").await[9..], AGAIN);
    assert_eq!(rig.told("audit").await, FIRST);
    assert!(rig.checkpoint().await["states"]["users"].get("error").is_none());
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_its_streams_says_so_and_what_passes_is_over_with_the_next() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    // A container with a token doesn't need the secret.
    rig.lambda.kill();
    rig.sim.secrets.fail(Some(SecretsFault::AccessDenied));
    for _ in 0..2 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError");
        for stream in ["audit", "cases", "file_events", "users"] {
            assert_eq!(answer["streams"][stream]["state"], "error");
            rig.assert_state(stream, "error").await;
            assert_eq!(rig.told(stream).await[5..], ["started", "error"]);
        }
    }
    assert_eq!(rig.checkpoint().await["lease"], Value::Null);
    rig.sim.secrets.fail(None);
    assert_eq!(rig.run().await["status"], "complete");
    for stream in ["audit", "cases", "file_events", "users"] {
        assert_eq!(rig.told(stream).await[7..], AGAIN, "{stream}: also what was not due");
    }
    rig.assert_told_once().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_permitted_is_an_error_and_never_stopped() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.populate();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Forbidden);
    for _ in 0..2 {
        let answer = rig.run().await;
        assert_eq!(
            (&answer["status"], &answer["streams"]["file_events"]["state"]),
            (&json!("complete"), &json!("error"))
        );
    }
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1);
    assert_eq!(rig.told("file_events").await, ["pending", "started", "initialized", "authenticated", "error"]);
    let told = rig.health_records().await.pop().unwrap();
    let error = &rig.checkpoint().await["states"]["file_events"]["error"];
    assert_eq!(error["type"], "ThirdPartyConfigError");
    assert!(error["message"].as_str().unwrap().contains("File Events: Read"), "{error}");
    assert!(told["stream"] != "file_events" || told["error"] == *error, "{told:#}");
    rig.sim.faults.clear();
    rig.run().await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1, "not within the hour");
    let over_an_hour_ago = json!(millis(ago(3_601)));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["file_events"]["not_permitted_at"] = over_an_hour_ago).await;
    assert_eq!(rig.run().await["streams"]["file_events"]["state"], "collecting");
    assert_eq!(rig.told("file_events").await[5..], AGAIN);
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_longer_enabled_is_stopped_and_begins_anew_when_it_is() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    rig.run().await;
    let without = rig.container(|lambda| lambda.env("STREAMS", "audit"));
    for _ in 0..2 {
        without.invoke(json!({}), DEADLINE).await.answer();
        let state = rig.checkpoint().await["states"]["users"].clone();
        assert_eq!((&state["state"], state.get("error")), (&json!("stopped"), None));
        assert_eq!(rig.told("users").await[5..], ["stopped"]);
    }
    // A run by hand can still read it.
    let by_hand = without.invoke(json!({"action": "collect", "streams": ["users"]}), DEADLINE).await.answer();
    assert_eq!((&by_hand["status"], &by_hand["streams"]["users"]["state"]), (&json!("complete"), &json!("stopped")));
    rig.edit_checkpoint(|checkpoint| checkpoint["inventory"]["users"]["covered_to"] = json!(millis(ago(4_000)))).await;
    assert_eq!(rig.run().await["streams"]["users"]["state"], "collecting");
    assert_eq!(rig.told("users").await[6..], FIRST);
    assert_eq!(rig.told("audit").await, FIRST);
    rig.assert_told_once().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_replay_change_no_state_and_tell_nothing() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.is_empty());
    let replay = json!({"action": "replay", "prefix": "again/", "from": ago(3_600).to_rfc3339()});
    let answer = rig.invoke(replay.clone()).await.answer();
    assert_eq!((&answer["status"], answer["streams"]["audit"].get("state")), (&json!("complete"), None));
    assert!(
        rig.health_records().await.is_empty()
            && rig.sim.s3.keys(rig.sim.bucket(), "again/collector_health/").await.is_empty()
    );
    rig.run().await;
    let (states, told) = (rig.checkpoint().await["states"].clone(), rig.health_records().await);
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Status(400, "{}".into()));
    rig.sim.faults.always(Endpoint::AuditSearch, Fault::Status(400, "{}".into()));
    rig.failure(json!({"action": "collect", "dry_run": true, "from": ago(8_000).to_rfc3339()})).await;
    rig.failure(json!({"action": "replay", "prefix": "once-more/", "from": ago(3_600).to_rfc3339()})).await;
    assert_eq!((rig.checkpoint().await["states"].clone(), rig.health_records().await), (states, told));
}

/// Kills the process at each write of a health object or the checkpoint.
async fn killed_with_each(key: &str, fault: impl Fn(Lambda) -> S3Fault) {
    for nth in 1..30 {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
        rig.populate();
        rig.sim.s3.faults.once("PUT", key, nth, fault(rig.lambda.clone()));
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        rig.sim.s3.faults.clear();
        if let Outcome::Answer(_) = outcome {
            assert!(nth > 1, "the first must die");
            return;
        }
        rig.recover().await;
        rig.assert_told_once().await;
        for stream in ["audit", "users"] {
            assert_eq!(rig.told(stream).await, FIRST, "write {nth}");
        }
        rig.assert_whole().await;
        assert_eq!(rig.checkpoint().await["health"].as_object().unwrap().len(), 1, "nothing is left to tell");
    }
    panic!("it never survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_over_what_it_tells_leaves_it_to_the_next_which_tells_it_once() {
    for key in [HEALTH, CHECKPOINT] {
        killed_with_each(key, |lambda| S3Fault::unsent(move || lambda.kill())).await;
        killed_with_each(key, |lambda| S3Fault::before(move || lambda.kill())).await;
        killed_with_each(key, |lambda| S3Fault::after(move || lambda.kill())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_record_that_s3_refuses_fails_the_run_and_is_told_later() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    rig.sim.s3.faults.always("PUT", HEALTH, S3Fault::Status(403));
    for _ in 0..2 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError");
        assert!(answer["error"]["message"].as_str().unwrap().contains(HEALTH), "{answer:#}");
        a_moment().await;
    }
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.sim.s3.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.told("audit").await, FIRST);
    rig.assert_told_once().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_format_2_is_gone_on_from_and_its_streams_get_their_states() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["format_version"] = json!(2);
        let checkpoint = checkpoint.as_object_mut().unwrap();
        checkpoint.remove("states");
        checkpoint.remove("health");
    })
    .await;
    a_moment().await;
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let checkpoint = rig.checkpoint().await;
    assert_eq!(checkpoint["format_version"], 5);
    assert_eq!(checkpoint["states"]["audit"]["state"], "collecting");
    assert_eq!(checkpoint["states"]["users"]["state"], "authenticated", "it was not due, so it was not read");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_for_which_there_was_no_time_stays_as_it_was() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.populate();
    rig.sim.faults.always(Endpoint::Users, Fault::RateLimited { retry_after: Some("3600".into()) });
    let answer = rig.run_within(Duration::from_secs(5)).await;
    assert_eq!(
        (&answer["streams"]["users"]["state"], &answer["streams"]["audit"]["state"]),
        (&json!("authenticated"), &json!("collecting"))
    );
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["streams"]["users"]["state"], "collecting");
    rig.sim.faults.always(Endpoint::Users, Fault::RateLimited { retry_after: Some("3600".into()) });
    let answer = rig.run_within(Duration::from_secs(5)).await;
    assert_eq!(answer["streams"]["users"]["state"], "collecting");
    assert_eq!(rig.told("users").await[4..], AGAIN);
    rig.assert_told_once().await;
}
