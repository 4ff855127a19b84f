//! A backfill under faults: a shard that dies is repeated, a given-up span is read by live runs, and nothing is stored
//! twice.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Lambda, Outcome, S3Fault};

use crate::backfill::{FOR_EVER, from, names, of_events, shard_of, to};
use crate::oracle::{a_moment, millis};
use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago, failure_of, logs_with};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_for_too_long_is_the_live_run_s_again_with_what_is_done_of_it() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    // One shard is done, one has died, the others never began.
    rig.shard(&shards[0]).await;
    let dying = shard_of(&shards, "file_events", 1);
    let victim = rig.container(of_events);
    let killed = victim.clone();
    rig.sim.s3.faults.once("PUT", "code42/file_events/", 2, S3Fault::after(move || killed.kill()));
    let died = victim.invoke(json!({"action": "shard", "shard": dying}), DEADLINE).await;
    assert!(matches!(died, Outcome::Died(_)), "{died:?}");
    rig.expire_reservations().await;
    let (error_type, message) = failure_of(rig.invoke(json!({"action": "shard", "shard": shards[1]})).await);
    assert_eq!(error_type, "InvalidEvent");
    assert!(message["error"]["message"].as_str().unwrap().contains("its time was up"), "{message:#}");
    rig.run().await;
    let left = rig.reserved("file_events").await;
    assert_eq!(
        (left.len(), &left[0]["shard"]),
        (1, &json!(dying)),
        "the lease of the one that died is respected: {left:#?}"
    );
    assert!(rig.reserved("audit").await.is_empty());
    rig.free_the_shards_leases().await;
    rig.run().await;
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_merged_commits_nothing_more() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    let shard = shard_of(&shards, "file_events", 1);
    rig.expire_reservations().await;
    rig.run().await;
    rig.assert_backfilled().await;
    // As if its run had begun before that, with the checkpoint that it loaded then.
    let key = format!("incydr-collector/backfill/{shard}/checkpoint.json");
    let sealed = rig.sim.s3.object(rig.sim.bucket(), &key).await.expect("sealed though it never began");
    let sealed: Value = serde_json::from_slice(&sealed.bytes).unwrap();
    assert_eq!(sealed["lease"]["until"], FOR_EVER);
    let mut live = rig.checkpoint().await;
    live["events"]["file_events"]["reserved"] = json!([{"shard": shard, "span": [millis(from()), millis(to())],
        "requests_per_minute": 10, "until": millis(ago(-600))}]);
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, live.to_string()).await;
    let answer = rig.shard(&shard).await;
    assert_eq!(answer["status"], "skipped", "{answer:#}");
    rig.assert_holds_all_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_another_tenant_is_refused_before_anything_is_stored() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    // The secret belongs to another tenant now, and no live run has noticed.
    rig.sim.api.change(|api| api.tenant = "another".into());
    let before = rig.objects().await.len();
    let event = json!({"action": "shard", "shard": shard_of(&shards, "audit", 1)});
    let (error_type, answer) = failure_of(rig.container(of_events).invoke(event, DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("another tenant"), "{answer:#}");
    assert_eq!(rig.objects().await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_s_checkpoint_that_can_t_be_read_fails_its_stream_alone_and_is_left_as_it_is() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    let audit = shard_of(&shards, "audit", 0);
    let key = format!("incydr-collector/backfill/{audit}/checkpoint.json");
    rig.sim.s3.put_raw(rig.sim.bucket(), &key, "{").await;
    let done = shard_of(&shards, "file_events", 2);
    rig.shard(&done).await;
    let (error_type, answer) = rig.failure(json!({"action": "merge"})).await;
    assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(&audit), "{answer:#}");
    assert!(rig.reserved("file_events").await.iter().all(|left| left["shard"] != done), "the others are merged");
    rig.expire_reservations().await;
    rig.sim.world.add_file_events(1, ago(0), ago(-1));
    a_moment().await;
    let other = rig.invoke(json!({"action": "collect", "streams": ["file_events"]})).await.answer();
    assert_eq!(other["status"], "complete", "{other:#}");
    let logs = logs_with(&rig.lambda, r#""level":"WARN""#).await;
    assert!(logs.iter().any(|line| line.contains("WARN") && line.contains("can't be merged")), "{logs:#?}");
    let (_, answer) = rig.failure(json!({})).await;
    let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("can't be merged") && message.contains("can't be read"), "{message}");
    assert_eq!(rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap().bytes, "{".as_bytes());
    // Somebody moves the checkpoint away, as the documentation says.
    rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    rig.run().await;
    rig.assert_backfilled().await;
}

/// Kills the process at each of its writes in turn, and repeats everything.
async fn killed_with_each_write(event_of: impl Fn(&[String]) -> Value, fault: impl Fn(Lambda) -> S3Fault) {
    for nth in 1..40 {
        let rig = Rig::begun(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "10")).await;
        let shards = rig.planned().await;
        for done in &shards[..2] {
            rig.shard(done).await;
        }
        rig.sim.s3.faults.once("PUT", "", nth, fault(rig.lambda.clone()));
        let outcome = rig.lambda.invoke(event_of(&shards), Duration::from_secs(8)).await;
        rig.sim.s3.faults.clear();
        if let Outcome::Answer(answer) = outcome {
            assert_ne!(answer["status"], "skipped", "{answer:#}");
            assert!(nth > 3, "the first ones must die");
            return;
        }
        rig.free_the_lease().await;
        rig.free_the_shards_leases().await;
        // The shards that are reserved now: the plan may have died, and shards may have been merged.
        for shard in rig.planned().await {
            let mut answer = rig.shard(&shard).await;
            if answer["status"] == "skipped" {
                // A lease that the dead process sent arrived after the leases were ended by hand.
                rig.free_the_shards_leases().await;
                answer = rig.shard(&shard).await;
            }
            assert_eq!(answer["status"], "complete", "write {nth}: {answer:#}");
        }
        assert_eq!(rig.merge().await["status"], "complete", "write {nth}");
        rig.run().await;
        rig.assert_backfilled().await;
    }
    panic!("it never survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_killed_with_any_of_its_writes_is_made_again() {
    let event =
        |_: &[String]| json!({"action": "plan", "from": millis(from() - TimeDelta::days(3)), "to": millis(to())});
    tokio::join!(
        killed_with_each_write(event, |lambda| S3Fault::before(move || lambda.kill())),
        killed_with_each_write(event, |lambda| S3Fault::after(move || lambda.kill())),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_killed_with_any_of_its_writes_loses_and_doubles_nothing() {
    let event = |shards: &[String]| json!({"action": "shard", "shard": shards[2]});
    tokio::join!(
        killed_with_each_write(event, |lambda| S3Fault::before(move || lambda.kill())),
        killed_with_each_write(event, |lambda| S3Fault::after(move || lambda.kill())),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_killed_with_any_of_its_writes_loses_and_doubles_nothing() {
    let event = |_: &[String]| json!({"action": "merge"});
    tokio::join!(
        killed_with_each_write(event, |lambda| S3Fault::before(move || lambda.kill())),
        killed_with_each_write(event, |lambda| S3Fault::after(move || lambda.kill())),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_an_older_checkpoint_reserves_and_that_other_shards_have_read_since_is_not_read_again() {
    for by_hand in [true, false] {
        println!("{by_hand}");
        let rig = Rig::begun(|lambda| lambda).await;
        rig.planned().await;
        rig.expire_reservations().await;
        let older = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes;
        // The span is given back and planned anew. It ends elsewhere, so its windows are cut elsewhere.
        let end = millis(to() + TimeDelta::minutes(30));
        let answer = rig.invoke(json!({"action": "plan", "from": millis(from()), "to": end})).await.answer();
        for shard in names(&answer["shards"]) {
            assert_eq!(rig.shard(&shard).await["status"], "complete");
        }
        assert_eq!(rig.merge().await["status"], "complete");
        rig.assert_holds_all_events().await;
        rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, older).await;
        rig.lambda.kill();
        if by_hand {
            let answer = rig.invoke(json!({"action": "recover"})).await.answer();
            assert_eq!(answer["status"], "complete", "{answer:#}");
        }
        rig.run().await;
        rig.assert_backfilled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_merged_after_an_older_checkpoint_is_merged_by_the_next_run() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    let older = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes;
    for shard in &shards {
        rig.shard(shard).await;
    }
    assert_eq!(rig.merge().await["status"], "complete");
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, older).await;
    rig.lambda.kill();
    rig.run().await;
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_planned_on_an_older_checkpoint_reads_nothing_again_that_was_covered_since() {
    let rig = Rig::begun(|lambda| lambda).await;
    let older = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes;
    let asked = json!({"action": "collect", "from": millis(from()), "to": millis(to())});
    assert_eq!(rig.invoke(asked).await.answer()["status"], "complete");
    rig.assert_holds_all_events().await;
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, older).await;
    rig.lambda.kill();
    let end = millis(to() + TimeDelta::minutes(30));
    let answer = rig.invoke(json!({"action": "plan", "from": millis(from()), "to": end})).await.answer();
    for shard in names(&answer["shards"]) {
        assert_eq!(rig.shard(&shard).await["status"], "complete");
    }
    rig.merge().await;
    rig.assert_holds_all_events().await;
}
