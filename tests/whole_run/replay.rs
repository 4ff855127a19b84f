//! `replay` reads a span again into another prefix, and leaves the live records alone.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Record, compact};

use crate::oracle::millis;
use crate::rig::{CHECKPOINT, DEADLINE, PREFIX, Rig, ago, assert_same, failure_of, time};

impl Rig {
    /// The keys and bytes of all live records and state, without those of replays.
    async fn live(&self) -> Vec<(String, bytes::Bytes)> {
        let objects = self.sim.s3.objects(self.sim.bucket(), "").await.into_iter();
        let live = objects.filter(|object| !object.key.starts_with("again/") && !object.key.contains("/replay/"));
        live.map(|object| (object.key, object.bytes)).collect()
    }

    async fn replayed(&self, stream: &str) -> Vec<String> {
        self.sim.stored_lines(&format!("again/{stream}/")).await
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| compact(&record.raw)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_stored_once_more_elsewhere_and_nothing_live_is_touched() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let live = rig.live().await;
    let (from, to) = (time(&json!(millis(ago(2_400)))), time(&json!(millis(ago(600)))));
    let event = json!({"action": "replay", "from": millis(from), "to": millis(to), "prefix": "again/"});
    let answer = rig.invoke(event.clone()).await.answer();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("replay"), &json!("complete")), "{answer:#}");
    let within = |records: Vec<Record>| -> Vec<Record> {
        records.into_iter().filter(|record| from <= record.time && record.time < to).collect()
    };
    let (audit, file_events) = (within(rig.sim.world.audit()), within(rig.sim.world.file_events()));
    assert!(audit.len() > 50 && file_events.len() > 100);
    assert_same("audit", rig.replayed("audit").await, texts(&audit));
    assert_same("file_events", rig.replayed("file_events").await, texts(&file_events));
    // These have no time filter: they are stored as they are now.
    assert_same("users", rig.replayed("users").await, texts(&rig.sim.world.users()));
    assert_same("cases", rig.replayed("cases").await, texts(&rig.sim.world.cases()));
    assert_eq!(answer["streams"]["audit"]["records"], audit.len());
    assert_eq!(rig.live().await, live);

    let again = rig.invoke(event).await.answer();
    for stream in ["audit", "file_events", "cases", "users"] {
        assert_eq!(again["streams"][stream]["records"], 0, "{again:#}");
    }
    assert_same("audit", rig.replayed("audit").await, texts(&audit));
    assert!(rig.sim.s3.overwritten_or_deleted("again/").is_empty());
    assert_eq!(rig.live().await, live);
    rig.assert_whole().await;
    rig.run().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replays_into_two_prefixes_know_nothing_of_each_other() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    for prefix in ["again/", "and-again/"] {
        let event = json!({"action": "replay", "from": ago(3_600).to_rfc3339(), "prefix": prefix});
        rig.invoke(event).await.answer();
        let stored = |stream: &str| format!("{prefix}{stream}/");
        assert_same("audit", rig.sim.stored_lines(&stored("audit")).await, texts(&rig.sim.world.audit()));
        assert_same("users", rig.sim.stored_lines(&stored("users")).await, texts(&rig.sim.world.users()));
    }
    assert!(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.is_none(), "nothing is live yet");
    rig.run().await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_span_adds_what_is_new_in_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.populate();
    for seconds in [1_000, 2_000, 3_600] {
        let event = json!({"action": "replay", "from": ago(seconds).to_rfc3339(), "prefix": "again/"});
        rig.invoke(event).await.answer();
    }
    assert_same("audit", rig.replayed("audit").await, texts(&rig.sim.world.audit()));
    assert_same("file_events", rig.replayed("file_events").await, texts(&rig.sim.world.file_events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_the_time_cuts_off_goes_on_with_the_next_call() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "20").env("AUDIT_PAGE_SIZE", "20")
    })
    .await;
    rig.sim.world.add_file_events(600, ago(3_400), ago(5));
    rig.sim.world.add_audit(400, ago(3_400), ago(5));
    rig.sim.api.change(|api| api.latency = Duration::from_millis(600));
    let event = json!({"action": "replay", "from": millis(ago(3_500)), "to": millis(ago(3)), "prefix": "again/"});
    let mut calls = 0;
    loop {
        calls += 1;
        assert!(calls < 30, "no progress");
        let answer = rig.lambda.invoke(event.clone(), Duration::from_secs(4)).await.answer();
        if answer["status"] == "complete" {
            break;
        }
        assert_eq!(answer["status"], "partial");
    }
    assert!(calls > 2, "too few calls");
    assert_same("file_events", rig.replayed("file_events").await, texts(&rig.sim.world.file_events()));
    assert_same("audit", rig.replayed("audit").await, texts(&rig.sim.world.audit()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_would_mix_with_what_is_there_is_refused_with_what_would_be_right() {
    let rig = Rig::new().await;
    for (prefix, says) in [
        ("again", "end in \"/\""),
        ("/again/", "not begin with one"),
        ("", "end in \"/\""),
        ("/", "not begin with one"),
        ("code42/", "apart from S3_PREFIX"),
        ("code42/again/", "apart from S3_PREFIX"),
        ("incydr-collector/", "state"),
        ("incydr-collector/again/", "state"),
        ("incydr-collector/replay/again/", "state"),
    ] {
        let event = json!({"action": "replay", "from": ago(600).to_rfc3339(), "prefix": prefix});
        let (error_type, answer) = rig.failure(event).await;
        assert_eq!((error_type.as_str(), &answer["action"]), ("InvalidEvent", &json!("replay")), "{prefix:?}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says) && message.contains(&format!("{prefix:?}")), "{message}");
    }
    for (event, named) in [
        (json!({"action": "replay", "prefix": "again/"}), "\"from\""),
        (json!({"action": "replay", "prefix": "again/", "to": "2026-11-01T00:00:00Z"}), "\"from\""),
        (json!({"action": "replay", "from": "2026-11-01T00:00:00Z"}), "\"prefix\""),
        (json!({"action": "replay", "prefix": 7, "from": "2026-11-01T00:00:00Z"}), "text"),
        (json!({"action": "replay", "prefix": "again/", "from": "2026-11-01T00:00:00Z", "dry_run": true}), "dry_run"),
        (json!({"action": "collect", "prefix": "again/"}), "prefix"),
    ] {
        let (error_type, answer) = rig.failure(event).await;
        assert_eq!(error_type, "InvalidEvent");
        assert!(answer["error"]["message"].as_str().unwrap().contains(named), "{answer:#}");
    }
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_checkpoint_lies_at_the_top_of_the_bucket_its_state_is_kept_apart_too() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users").env("CHECKPOINT_KEY", "checkpoint.json")).await;
    rig.sim.world.add_users(3);
    rig.run().await;
    for prefix in ["manifests/", "known/", "set-aside/users/", "replay/", "replay/again/"] {
        let event = json!({"action": "replay", "from": ago(600).to_rfc3339(), "prefix": prefix});
        let (error_type, answer) = rig.failure(event).await;
        assert_eq!(error_type, "InvalidEvent", "{prefix}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("state"), "{answer:#}");
    }
    let event = json!({"action": "replay", "from": ago(600).to_rfc3339(), "prefix": "again/"});
    assert_eq!(rig.invoke(event).await.answer()["streams"]["users"]["records"], 3);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_while_another_run_holds_the_live_lease() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    rig.run().await;
    rig.edit_checkpoint(|checkpoint| checkpoint["lease"] = json!({"run_id": "another", "until": millis(ago(-600))}))
        .await;
    let live = rig.live().await;
    assert_eq!(rig.run().await["status"], "skipped");
    let event = json!({"action": "replay", "from": ago(3_600).to_rfc3339(), "prefix": "again/"});
    let answer = rig.invoke(event).await.answer();
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["records"]), (&json!("complete"), &json!(200)));
    assert_eq!(rig.live().await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_beside_a_live_run_disturbs_neither() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(50));
    let other = rig.container(|lambda| lambda);
    let event = json!({"action": "replay", "from": ago(3_600).to_rfc3339(), "prefix": "again/"});
    let (live, replay) = tokio::join!(rig.run(), other.invoke(event, DEADLINE));
    assert_eq!((&live["status"], &replay.answer()["status"]), (&json!("complete"), &json!("complete")));
    rig.assert_holds_everything().await;
    assert_same("audit", rig.replayed("audit").await, texts(&rig.sim.world.audit()));
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_replayed_can_be_verified_as_a_tenant_of_its_own() {
    let rig = Rig::new().await;
    rig.populate();
    let event = json!({"action": "replay", "from": ago(3_600).to_rfc3339(), "prefix": "again/"});
    rig.invoke(event).await.answer();
    let keys = rig.state_keys("replay/").await;
    let checkpoint = keys.iter().find(|key| key.ends_with("/checkpoint.json")).unwrap();
    let as_live = rig.container(|lambda| lambda.env("S3_PREFIX", "again/").env("CHECKPOINT_KEY", checkpoint));
    let verified = as_live.invoke(json!({"action": "verify"}), DEADLINE).await.answer();
    assert_eq!(verified["status"], "whole", "{verified:#}");
    assert_eq!(verified["checked"]["records"], 552);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_fails_says_so_and_the_next_call_makes_it_good() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    rig.run().await;
    let live = rig.live().await;
    rig.sim.s3.faults.always("PUT", "again/", simulator::S3Fault::Status(403));
    let event = json!({"action": "replay", "from": millis(ago(3_600)), "prefix": "again/"});
    let (error_type, answer) = failure_of(rig.invoke(event.clone()).await);
    assert_eq!((error_type.as_str(), &answer["action"]), ("FirstPartyGenericError", &json!("replay")));
    rig.sim.s3.faults.clear();
    let answer: Value = rig.invoke(event).await.answer();
    assert_eq!(answer["streams"]["audit"]["records"], 200, "{answer:#}");
    assert_same("audit", rig.replayed("audit").await, texts(&rig.sim.world.audit()));
    assert_eq!(rig.live().await, live);
    assert!(rig.sim.s3.overwritten_or_deleted(PREFIX).is_empty());
}
