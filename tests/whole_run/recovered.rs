//! `recover`: the checkpoint is made again from the manifests, and nothing is stored twice.

use std::io::Write;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use simulator::{Dataset, S3Fault, with_member};

use crate::oracle::a_moment;
use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago};

pub const STREAMS: &str = "audit,file_events,users,cases,sessions,watchlists";

pub async fn rig() -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", STREAMS).env("INVENTORY_INTERVAL_MINUTES", "0")).await
}

/// Adds records of each kind, and changes existing ones.
pub async fn go_on(rig: &Rig, nth: usize) {
    let world = &rig.sim.world;
    a_moment().await;
    world.add_audit(5, ago(1), ago(0));
    world.add_file_events(5, ago(1), ago(0));
    world.add_users(2);
    world.add_cases(1, ago(1), ago(0));
    world.add_sessions(2, ago(5), ago(0), true);
    let watchlist = world.add_records(Dataset::Watchlists, 1).remove(0);
    world.add_children(Dataset::WatchlistMembers, &watchlist.id, 3);
    let users = world.users();
    world.update_user(&users[nth].id, |raw| with_member(raw, "notes", &format!("\"{nth}\"")));
    let sessions = world.all(Dataset::Sessions);
    world.change(Dataset::Sessions, &sessions[0].id, |raw| with_member(raw, "highEvents", &nth.to_string()));
    a_moment().await;
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The keys of the manifests, oldest first.
pub async fn manifests(rig: &Rig) -> Vec<String> {
    let mut keys = rig.sim.s3.keys(rig.sim.bucket(), "incydr-collector/manifests/dt=").await;
    keys.sort_by_key(|key| key.rsplit('/').next().map(str::to_owned));
    keys
}

/// The number of stored records of each stream.
pub async fn counts(rig: &Rig) -> Vec<(&'static str, usize)> {
    let mut counts = Vec::new();
    for stream in STREAMS.split(',') {
        counts.push((stream, rig.stored(stream).await.len()));
    }
    counts
}

pub fn notes(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["note"].as_str()).collect()
}

pub async fn assert_events_once(rig: &Rig) {
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recover_makes_the_checkpoint_again_from_the_manifests_alone_and_says_what_it_cannot_know() {
    let rig = rig().await;
    rig.populate();
    for nth in 0..3 {
        go_on(&rig, nth).await;
        rig.run().await;
    }
    let before = counts(&rig).await;
    let covered = rig.checkpoint().await["events"]["audit"]["covered"].clone();
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!(
        (&answer["action"], &answer["status"], &answer["manifests"]),
        (&json!("recover"), &json!("complete"), &json!(3))
    );
    assert_eq!((&answer["covered"]["audit"], &answer["missing"]), (&covered, &json!([])));
    assert!(answer["unknown"].as_array().is_some_and(|unknown| unknown.len() > 2), "{answer:#}");
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(counts(&rig).await, before);
    assert_events_once(&rig).await;
    assert_eq!(rig.verify().await["status"], "whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_list_that_cannot_be_read_is_named_by_a_recovery() {
    let rig = rig().await;
    rig.populate();
    for nth in 0..2 {
        go_on(&rig, nth).await;
        rig.run().await;
    }
    let key = rig.keys("users").await[0].clone();
    rig.sim.s3.put_raw(rig.sim.bucket(), &key, b"damaged".to_vec()).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["missing"]), (&json!("complete"), &json!([key])), "{answer:#}");
}

/// Four runs with news in each. Returns the keys of their manifests, oldest first.
async fn four_runs(rig: &Rig) -> Vec<String> {
    rig.populate();
    for nth in 0..4 {
        go_on(rig, nth).await;
        assert_eq!(rig.run().await["status"], "complete");
    }
    let keys = manifests(rig).await;
    assert_eq!(keys.len(), 4);
    keys
}

/// Everything is stored once, now and after another run.
async fn assert_nothing_is_lost_or_doubled(rig: &Rig, before: Vec<(&'static str, usize)>) {
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(counts(rig).await, before, "nothing new, and nothing twice");
    assert_events_once(rig).await;
    go_on(rig, 5).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert_events_once(rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_with_a_missing_manifest_in_its_middle_is_taken_over_on_both_sides_and_the_answer_names_it() {
    for (missing, older) in [(1, None), (2, None), (2, Some(0))] {
        println!("{missing}, {older:?}");
        let rig = rig().await;
        let mut versions = Vec::new();
        rig.populate();
        for nth in 0..4 {
            go_on(&rig, nth).await;
            rig.run().await;
            versions.push(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes);
        }
        let gone = manifests(&rig).await.remove(missing);
        let before = counts(&rig).await;
        rig.sim.s3.delete_raw(rig.sim.bucket(), &gone).await;
        rig.lambda.kill();
        if let Some(older) = older {
            rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, versions.remove(older)).await;
        } else {
            rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
            let answer = rig.invoke(json!({"action": "recover"})).await.answer();
            assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(3)), "{answer:#}");
            assert_eq!((&answer["missing_manifests"], &answer["missing"]), (&json!([gone]), &json!([])), "{answer:#}");
        }
        assert_nothing_is_lost_or_doubled(&rig, before).await;
        let told = rig.health_records().await;
        assert!(notes(&told).iter().any(|note| note.contains("1 manifests that no longer exist")), "{told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_beginning_is_missing_is_taken_over_from_there_on_and_the_answer_says_what_is_not_known() {
    let rig = rig().await;
    let keys = four_runs(&rig).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), &keys[0]).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(3)), "{answer:#}");
    assert_eq!(answer["missing_manifests"], json!([keys[0]]));
    assert!(answer["unknown"].to_string().contains("the time of the oldest manifest"), "{answer:#}");
    assert_eq!(rig.run().await["status"], "complete");
    assert_events_once(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_only_the_index_of_their_day_holds_are_taken_over_from_there() {
    let rig = rig().await;
    let keys = four_runs(&rig).await;
    let (bucket, mut lines) = (rig.sim.bucket(), Vec::new());
    for key in &keys[..3] {
        lines.extend_from_slice(&rig.sim.s3.object(bucket, key).await.unwrap().bytes);
        lines.push(b'\n');
        rig.sim.s3.delete_raw(bucket, key).await;
    }
    let day = keys[0].split("/dt=").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let index = format!("incydr-collector/manifests/index/{day}-{}.ndjson.gz", crate::rig::sha256(&lines));
    rig.sim.s3.put_raw(bucket, &index, gzip(&lines)).await;
    let before = counts(&rig).await;
    rig.sim.s3.delete_raw(bucket, CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(4)), "{answer:#}");
    assert_eq!(answer["missing_manifests"], json!([]));
    assert_nothing_is_lost_or_doubled(&rig, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_whose_time_is_too_short_is_partial_and_the_next_call_or_run_continues_it() {
    for by_run in [false, true] {
        let rig = rig().await;
        four_runs(&rig).await;
        let before = counts(&rig).await;
        let of_users = rig.keys("users").await;
        rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
        // The list that the third run stored is not answered.
        rig.sim.s3.faults.always("GET", &of_users[2], S3Fault::Hang);
        let recover = || async {
            let outcome = rig.lambda.invoke(json!({"action": "recover"}), Duration::from_secs(2)).await;
            outcome.answer()
        };
        let answer = recover().await;
        assert_eq!((&answer["status"], &answer["manifests"]), (&json!("partial"), &json!(2)), "{answer:#}");
        let recovery = rig.checkpoint().await["recovery"]["after"]["number"].clone();
        assert_eq!(recovery, 2, "two manifests are taken over for good");
        let status = rig.invoke(json!({"action": "status"})).await.answer();
        assert_eq!(status["checkpoint"]["is_recovering"], true);
        let (error_type, message) = rig.failure(json!({"action": "plan", "from": ago(3_000).to_rfc3339()})).await;
        assert_eq!(error_type, "InvalidEvent", "{message:#}");
        // A scheduled run that is too short collects nothing.
        if by_run {
            let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(2)).await.answer();
            assert_eq!(outcome["status"], "partial", "{outcome:#}");
            assert!(
                outcome["state_lost"].as_str().is_some_and(|lost| lost.contains("is being recovered")),
                "{outcome:#}"
            );
        }
        rig.sim.s3.faults.clear();
        if !by_run {
            let answer = recover().await;
            assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(2)), "{answer:#}");
            assert_eq!(answer["missing_manifests"], json!([]));
        }
        assert_nothing_is_lost_or_doubled(&rig, before).await;
        let status = rig.invoke(json!({"action": "status"})).await.answer();
        assert_eq!(status["checkpoint"].get("is_recovering"), None);
        assert_eq!(rig.verify().await["status"], "whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_during_a_recovery_is_an_error_and_keeps_what_was_taken_over() {
    let rig = rig().await;
    four_runs(&rig).await;
    let before = counts(&rig).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let of_users = rig.keys("users").await;
    rig.sim.s3.faults.always("GET", &of_users[1], S3Fault::Status(403));
    let (error_type, _) = rig.failure(json!({"action": "recover"})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert_eq!(rig.checkpoint().await["recovery"]["after"]["number"], 1);
    rig.sim.s3.faults.clear();
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(3)), "{answer:#}");
    assert_nothing_is_lost_or_doubled(&rig, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_stored_that_died_before_its_manifest_is_not_stored_twice_after_a_recovery() {
    let rig = rig().await;
    four_runs(&rig).await;
    go_on(&rig, 4).await;
    let victim = rig.container(|lambda| lambda.env("STREAMS", STREAMS).env("INVENTORY_INTERVAL_MINUTES", "0"));
    let killed = victim.clone();
    rig.sim.s3.faults.once("PUT", "/manifests/", 1, S3Fault::unsent(move || killed.kill()));
    victim.invoke(json!({}), DEADLINE).await;
    rig.sim.s3.faults.clear();
    assert_eq!(manifests(&rig).await.len(), 4);
    let before = counts(&rig).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["manifests"]), (&json!("complete"), &json!(4)), "{answer:#}");
    assert_eq!(rig.run().await["status"], "complete");
    assert_events_once(&rig).await;
    assert_eq!(counts(&rig).await, before, "nothing new, and nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backfill_collected_is_taken_over_with_the_manifest_that_merged_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("LOOKBACK_MINUTES", "60")).await;
    rig.sim.world.add_audit(40, ago(20_000), ago(10));
    rig.run().await;
    let plan =
        rig.invoke(json!({"action": "plan", "streams": ["audit"], "from": ago(20_100).to_rfc3339()})).await.answer();
    for shard in plan["shards"].as_array().unwrap() {
        assert_eq!(rig.invoke(json!({"action": "shard", "shard": shard})).await.answer()["status"], "complete");
    }
    assert_eq!(rig.invoke(json!({"action": "merge"})).await.answer()["status"], "complete");
    rig.run().await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    let covered = rig.checkpoint().await["events"]["audit"]["covered"].clone();
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["covered"]["audit"]), (&json!("complete"), &covered), "{answer:#}");
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_which_an_object_is_missing_is_a_gap_after_a_recovery_and_is_read_again_under_its_own_keys() {
    for missing in 0..3 {
        let rig = rig().await;
        rig.populate();
        for nth in 0..3 {
            go_on(&rig, nth).await;
            rig.run().await;
        }
        let keys: Vec<String> = rig.keys("audit").await;
        let gone = &keys[missing.min(keys.len() - 1)];
        rig.sim.s3.delete_raw(rig.sim.bucket(), gone).await;
        rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
        let answer = rig.invoke(json!({"action": "recover"})).await.answer();
        assert_eq!((&answer["status"], &answer["missing"]), (&json!("complete"), &json!([gone])), "{answer:#}");
        assert_ne!(rig.verify().await["status"], "whole", "it is a gap");
        rig.any_run(DEADLINE).await;
        assert_eq!(rig.run().await["status"], "complete");
        // The key of the missing object is written for the second time.
        let audit = rig.sim.world.audit();
        let expected = audit.iter().map(|record| simulator::compact(&record.raw));
        crate::rig::assert_same("audit", rig.stored("audit").await, expected);
        assert!(rig.keys("audit").await.contains(gone), "it is there again");
        let verified = rig.verify().await;
        assert_eq!(verified["status"], "whole", "{verified:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_which_an_object_is_missing_and_that_the_api_no_longer_keeps_is_expired_and_not_open_for_ever() {
    let settings = |lambda: simulator::LambdaBuilder| {
        lambda.env("STREAMS", "file_events").env("FILE_EVENTS_RETENTION_DAYS", "1").env("LOOKBACK_MINUTES", "30")
    };
    let rig = Rig::with(settings).await;
    rig.sim.world.add_file_events(20, ago(200_000), ago(100));
    rig.run().await;
    let from = ago(200_100).to_rfc3339();
    let answer = rig.invoke(json!({"action": "collect", "from": from})).await.answer();
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let gone = rig.keys("file_events").await.remove(0);
    rig.sim.s3.delete_raw(rig.sim.bucket(), &gone).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["missing"]), (&json!("complete"), &json!([gone])), "{answer:#}");
    let events = rig.checkpoint().await["events"]["file_events"].clone();
    assert!(events.get("open").is_none() && events["expired"].is_array(), "{events:#}");
    assert_eq!(rig.run().await["status"], "complete");
}
