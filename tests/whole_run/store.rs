//! S3 and the checkpoint: objects are never changed, a lost answer stores nothing twice, and only one of two runs
//! writes.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, Lambda, LambdaBuilder, Outcome, S3Fault, S3Request};

use crate::rig::{CHECKPOINT, DEADLINE, PREFIX, Rig, ago, failure_of};

/// The sum of the records in the answers.
fn records(answers: &[Value]) -> u64 {
    let streams = answers.iter().flat_map(|answer| answer["streams"].as_object().unwrap().values());
    streams.map(|stream| stream["records"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_refuses_for_a_moment_is_written_in_the_end_and_once() {
    for fault in [
        S3Fault::Status(409),
        S3Fault::Status(500),
        S3Fault::Status(503),
        S3Fault::Dropped,
        S3Fault::LostAnswer,
        S3Fault::LandsLate(Duration::from_millis(30)),
    ] {
        let rig = Rig::new().await;
        rig.populate();
        for nth in [1, 3, 4, 6] {
            rig.sim.s3.faults.once("PUT", "", nth, fault.clone());
        }
        rig.sim.s3.faults.once("GET", CHECKPOINT, 1, S3Fault::Status(503));
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{fault:?}: {answer:#}");
        assert_eq!(records(&[answer]), 552, "own writes whose answers were lost count as ours");
        rig.assert_holds_everything().await;
        assert_eq!(rig.checkpoint().await["lease"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_write_may_lose_its_answer() {
    let rig = Rig::new().await;
    rig.populate();
    for nth in (1..20).step_by(2) {
        rig.sim.s3.faults.once("PUT", CHECKPOINT, nth, S3Fault::LostAnswer);
    }
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.sim.s3.faults.clear();
    rig.run().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_s3_refuses_for_good_fails_its_stream_and_covers_nothing() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    rig.sim.s3.faults.always("PUT", "code42/audit/", S3Fault::Status(403));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert_eq!(
        (&answer["streams"]["audit"]["covered_to"], &answer["streams"]["users"]["status"]),
        (&Value::Null, &json!("complete"))
    );
    let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("PutObject") && message.contains("code42/audit/"), "{message}");
    rig.sim.s3.faults.clear();
    rig.run().await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_missing_key_is_a_first_run() {
    for fault in [S3Fault::Status(403), S3Fault::Status(500)] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.s3.faults.always("GET", CHECKPOINT, fault);
        let (error_type, _) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError");
        assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_damaged_newer_or_another_s_stops_the_run_and_is_left_as_it_is() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let good = rig.checkpoint().await;
    let mut newer = good.clone();
    newer["format_version"] = json!(6);
    let mut foreign = good.clone();
    foreign["identity"]["tenant"] = json!("another");
    for (held, error_type, says) in [
        ("not JSON".to_owned(), "FirstPartyGenericError", "can't be read"),
        (String::new(), "FirstPartyGenericError", "can't be read"),
        ("{}".to_owned(), "FirstPartyGenericError", "can't be read"),
        (newer.to_string(), "FirstPartyGenericError", "newer"),
        (foreign.to_string(), "ThirdPartyConfigError", "another tenant"),
    ] {
        rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, held.clone()).await;
        let (told, answer) = rig.failure(json!({})).await;
        assert_eq!(told, error_type, "{answer:#}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer:#}");
        let left = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap();
        assert_eq!(left.bytes, held.as_bytes());
    }
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, good.to_string()).await;
    let other_prefix = rig.container(|lambda| lambda.env("S3_PREFIX", "elsewhere/"));
    let (error_type, answer) = failure_of(other_prefix.invoke(json!({}), DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("S3_PREFIX"), "{answer:#}");
    rig.run().await;
    rig.assert_holds_everything().await;
}

/// Kills the process at each of its writes until a run survives. Nothing is lost, stored twice or missing from the
/// manifests.
async fn killed_with_each_write(fault: impl Fn(Lambda) -> S3Fault) {
    for nth in 1..60 {
        let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "25").env("PAGE_SIZE", "10")).await;
        rig.populate();
        rig.sim.s3.faults.once("PUT", "", nth, fault(rig.lambda.clone()));
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        rig.sim.s3.faults.clear();
        if let Outcome::Answer(_) = outcome {
            assert!(nth > 10, "the first runs must die");
            return;
        }
        rig.free_the_lease().await;
        // The checkpoint lacks what wasn't covered, but there is no object that it doesn't account for.
        let left = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await;
        if left.is_some() {
            let verified = rig.verify().await;
            let strays = verified["findings"].as_array().unwrap().iter().filter(|finding| !finding["key"].is_null());
            assert_eq!(strays.count(), 0, "write {nth}: {verified:#}");
        }
        let answer = rig.invoke(json!({"action": "collect"})).await.answer();
        assert_eq!(answer["status"], "complete", "write {nth}: {answer:#}");
        rig.assert_holds_everything().await;
        rig.assert_tells_every_object().await;
        let (chain, verified) = (rig.chain().await.len(), rig.verify().await);
        assert_eq!(
            (&verified["status"], &verified["checked"]["manifests"]),
            (&json!("whole"), &json!(chain)),
            "write {nth}: {verified:#}"
        );
    }
    panic!("it never survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_before_any_of_its_writes_loses_and_doubles_nothing() {
    killed_with_each_write(|lambda| S3Fault::before(move || lambda.kill())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_any_of_its_writes_loses_and_doubles_nothing() {
    killed_with_each_write(|lambda| S3Fault::after(move || lambda.kill())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_content_changed_between_a_death_and_the_resume_gets_what_it_lacks_beside_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(20, ago(500), ago(100));
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/audit/", 1, S3Fault::after(move || lambda.kill()));
    rig.lambda.invoke(json!({}), Duration::from_secs(4)).await;
    let key = rig.keys("audit").await.remove(0);
    let stored: Value = serde_json::from_str(&rig.stored("audit").await[0]).unwrap();
    rig.sim.world.push_audit(format!(r#"{{"late":true,"timestamp":{}}}"#, stored["timestamp"]));
    rig.invoke(json!({"action": "collect"})).await.answer();
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    let beside = key.replace(".ndjson.gz", "-r1.ndjson.gz");
    assert!(rig.keys("audit").await.contains(&beside), "no {beside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_the_dead_that_lands_during_its_successor_s_run_doubles_nothing() {
    join_all(["audit", "users", "cases"].into_iter().map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream)).await;
        rig.populate();
        let part = format!("{PREFIX}{stream}/");
        rig.sim.s3.faults.once("PUT", &part, 1, S3Fault::LandsLate(Duration::from_secs(9)));
        let lambda = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", &part, 2, S3Fault::before(move || lambda.kill()));
        rig.lambda.invoke(json!({}), Duration::from_secs(3)).await;
        // The next run has read the key and is about to write when the first one's write arrives.
        rig.sim.s3.faults.once("PUT", &part, 1, S3Fault::Late(Duration::from_secs(2)));
        rig.invoke(json!({"action": "collect"})).await.answer();
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.invoke(json!({"action": "collect"})).await.answer();
        rig.assert_holds_everything_of(stream).await;
    }))
    .await;
}

/// If the time is up while a window is stored, it may be stored in part, or its writes may still arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_keeps_its_bounds_where_its_writes_outlast_the_run() {
    join_all(["audit", "file_events"].into_iter().map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("LOOKBACK", "PT3H")).await;
        rig.populate();
        let part = format!("{PREFIX}{stream}/");
        rig.sim.s3.faults.always("PUT", &part, S3Fault::LandsLate(Duration::from_secs(5)));
        rig.lambda.invoke(json!({}), Duration::from_secs(4)).await;
        rig.sim.s3.faults.clear();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(!rig.keys(stream).await.is_empty(), "nothing landed");
        rig.invoke(json!({"action": "collect"})).await.answer();
        match stream {
            "audit" => rig.assert_holds(stream, &rig.sim.world.audit()).await,
            _ => rig.assert_holds(stream, &rig.sim.world.file_events()).await,
        }
    }))
    .await;
}

impl Rig {
    async fn assert_holds_everything_of(&self, stream: &str) {
        let world = &self.sim.world;
        let records = match stream {
            "audit" => world.audit(),
            "users" => world.users(),
            _ => world.cases(),
        };
        self.assert_holds(stream, &records).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_at_once_one_is_skipped_and_nothing_is_doubled() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(200));
    let other = rig.container(|lambda| lambda);
    let (one, two) = tokio::join!(rig.invoke(json!({})), other.invoke(json!({}), DEADLINE));
    let (one, two) = (one.answer(), two.answer());
    let mut statuses = [one["status"].as_str().unwrap(), two["status"].as_str().unwrap()];
    statuses.sort_unstable();
    assert_eq!(statuses, ["complete", "skipped"]);
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_hand_waits_for_another_s_lease() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(300));
    let other = rig.container(|lambda| lambda);
    let by_hand = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        other.invoke(json!({"action": "collect"}), DEADLINE).await.answer()
    };
    let (one, two) = tokio::join!(rig.run(), by_hand);
    assert_eq!((&one["status"], &two["status"]), (&json!("complete"), &json!("complete")));
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_outlives_its_lease_writes_nothing_more() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    let lambda = rig.lambda.clone();
    rig.sim.faults.once(Endpoint::AuditSearch, 1, Fault::run(move || lambda.freeze()));
    let frozen = rig.lambda.clone();
    let first = tokio::spawn(async move { frozen.invoke(json!({}), Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.free_the_lease().await;
    let other = rig.container(|lambda| lambda.env("STREAMS", "audit"));
    other.invoke(json!({}), DEADLINE).await.answer();
    let revision = rig.checkpoint().await["revision"].clone();
    rig.lambda.thaw();
    match first.await.unwrap() {
        Outcome::Failed { error_type, error_message } => {
            assert_eq!(error_type, "FirstPartyGenericError", "{error_message}");
        }
        Outcome::Answer(answer) => assert_eq!(answer["status"], "skipped"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.checkpoint().await["revision"], revision, "the successor's checkpoint stands");
    rig.run().await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_frozen_beyond_its_lease_sends_s3_nothing_when_it_thaws() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").outliving_its_deadline(Duration::from_secs(20))).await;
    rig.populate();
    let lambda = rig.lambda.clone();
    rig.sim.faults.once(Endpoint::AuditSearch, 1, Fault::run(move || lambda.freeze()));
    let meanwhile = async {
        // Deadline 2 s, lease 7 s.
        tokio::time::sleep(Duration::from_millis(7_500)).await;
        let before = rig.sim.s3.requests().len();
        rig.lambda.thaw();
        before
    };
    let (outcome, before) = tokio::join!(rig.lambda.invoke(json!({}), Duration::from_secs(2)), meanwhile);
    assert!(matches!(outcome, Outcome::Failed { .. }), "it ends with an error of the commit: {outcome:?}");
    assert_eq!(rig.sim.s3.requests().len(), before);
    rig.run().await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_may_lie_in_another_bucket_and_the_owner_is_checked_on_every_call() {
    let state = format!("state-{:016x}", fastrand::u64(..));
    let rig = Rig::with(|lambda| lambda.env("STATE_BUCKET", &state).env("S3_BUCKET_OWNER", "123456789012")).await;
    rig.sim.s3.create_bucket(&state).await;
    rig.populate();
    rig.run().await;
    assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.iter().all(|key| key.starts_with(PREFIX)));
    assert!(rig.sim.s3.keys(&state, "").await.iter().all(|key| key.starts_with("incydr-collector/")));
    for request in rig.sim.s3.requests() {
        assert_eq!(request.expected_owner.as_deref(), Some("123456789012"), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_in_one_bucket_stay_apart() {
    let ours = Rig::with(|lambda| lambda.env("S3_PREFIX", "ours/").env("CHECKPOINT_KEY", "state/ours.json")).await;
    ours.populate();
    ours.invoke(json!({})).await.answer();
    let other = ours.container(|lambda| lambda.env("S3_PREFIX", "theirs/").env("CHECKPOINT_KEY", "state/theirs.json"));
    other.invoke(json!({}), DEADLINE).await.answer();
    for prefix in ["ours/", "theirs/"] {
        let stored = ours.sim.stored_lines(&format!("{prefix}users/")).await;
        assert_eq!(stored.len(), 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_dead_owner_runs_out_five_seconds_after_its_deadline() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/audit/", 1, S3Fault::before(move || lambda.kill()));
    let began = Instant::now();
    rig.lambda.invoke(json!({}), Duration::from_secs(3)).await;
    assert_eq!(rig.run().await["status"], "skipped", "the lease holds");
    rig.invoke(json!({"action": "collect"})).await.answer();
    assert!(began.elapsed() >= Duration::from_secs(8), "{:?}", began.elapsed());
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_learns_that_its_lease_is_lost_stops_within_a_window() {
    let settings = |lambda: LambdaBuilder| lambda.env("STREAMS", "audit,file_events").env("LOOKBACK_MINUTES", "1400");
    let rig = Rig::with(settings).await;
    rig.sim.world.add_audit(46, ago(1_390 * 60), ago(600));
    rig.sim.world.add_file_events(3, ago(900), ago(600));
    rig.sim.s3.faults.always("PUT", "code42/audit/", S3Fault::Late(Duration::from_millis(400)));
    // The commit that opens a window of file events learns of it while the hours of the audit window are written, four at
    // once.
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Late(Duration::from_millis(700)));
    let is_hour = |request: &S3Request| request.method == "PUT" && request.key.starts_with("code42/audit/");
    let hours = || rig.sim.s3.requests().iter().filter(|request| is_hour(request)).count();
    let (outcome, ()) = tokio::join!(rig.lambda.invoke(json!({}), DEADLINE), async {
        while hours() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rig.edit_checkpoint(|checkpoint| {
            checkpoint["written_by"] = json!("another run");
            checkpoint["lease"]["run_id"] = json!("another run");
        })
        .await;
    });
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    let written = hours();
    assert!((4..20).contains(&written), "{written} of 23 hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_s3_always_refuses_for_its_condition_is_an_error_and_no_other_run_s_lease() {
    let rig = Rig::new().await;
    rig.populate();
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.s3.faults.always("PUT", CHECKPOINT, S3Fault::Status(412));
    for _ in 0..2 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("412"), "{answer:#}");
    }
    rig.sim.s3.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
}
