//! A checkpoint that is gone or was replaced by an older version: nothing is stored twice, and it is reported.

use serde_json::json;
use simulator::{Endpoint, Fault, S3Fault};

use crate::oracle::{a_moment, millis};
use crate::recovered::{assert_events_once, counts, go_on, manifests, notes, rig};
use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago, logs_with};

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_of_the_checkpoint_that_is_put_back_doubles_nothing() {
    for (older, is_warm) in [(0, true), (2, false)] {
        println!("{older}, {is_warm}");
        let rig = rig().await;
        rig.populate();
        let mut versions = Vec::new();
        for nth in 0..4 {
            go_on(&rig, nth).await;
            assert_eq!(rig.run().await["status"], "complete");
            versions.push(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes);
        }
        let before = counts(&rig).await;
        rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, versions[older].clone()).await;
        if !is_warm {
            rig.lambda.kill();
        }
        assert_eq!(rig.run().await["status"], "complete");
        assert_eq!(counts(&rig).await, before, "nothing new, and nothing twice");
        assert_events_once(&rig).await;
        let told = rig.health_records().await;
        let told = notes(&told);
        let expected = format!("the checkpoint was an older version of itself, and {} later manifests", 3 - older);
        assert!(told.iter().any(|note| note.contains(&expected)), "{told:#?}");
        logs_with(&rig.lambda, "older version of itself").await;
        go_on(&rig, 4).await;
        assert_eq!(rig.run().await["status"], "complete");
        assert_events_once(&rig).await;
        assert_eq!(rig.verify().await["status"], "whole");
        let again = rig.health_records().await;
        assert_eq!(notes(&again).len(), told.len(), "one note");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_answer_was_lost_closes_nothing_that_is_open() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,cases")).await;
    rig.populate();
    let faults = &rig.sim.s3.faults;
    // The cases are stored, but not their known records, so the reading stays open.
    faults.always("PUT", "/known/cases/", S3Fault::Status(503));
    faults.always("PUT", "/manifests/", S3Fault::LostAnswer);
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    faults.clear();
    rig.lambda.kill();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
    let notes = rig.health_records().await;
    assert!(!notes.iter().any(|record| record.to_string().contains("older version")), "{notes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_that_died_with_its_manifest_is_no_sign_of_a_checkpoint_that_is_gone() {
    let settings = |lambda: simulator::LambdaBuilder| lambda.env("STREAMS", "file_events");
    let rig = Rig::with(settings).await;
    rig.sim.world.add_file_events(50, ago(3_400), ago(5));
    let victim = rig.container(settings);
    let killed = victim.clone();
    rig.sim.s3.faults.once("PUT", "/manifests/", 1, S3Fault::after(move || killed.kill()));
    victim.invoke(json!({}), DEADLINE).await;
    rig.free_the_lease().await;
    let events = rig.checkpoint().await["events"]["file_events"].clone();
    assert!(events["covered"] == json!([]) && events["open"].is_array(), "listed, but not committed: {events}");
    // Another run writes the checkpoint and covers nothing.
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(503, String::new()));
    rig.failure(json!({})).await;
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    let told = rig.health_records().await;
    assert!(!told.iter().any(|record| record.to_string().contains("checkpoint is gone")), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_process_that_finds_its_own_checkpoint_lists_nothing() {
    let rig = rig().await;
    rig.populate();
    rig.run().await;
    rig.sim.s3.clear_log();
    rig.run().await;
    let lists =
        rig.sim.s3.requests().into_iter().filter(|request| request.key.is_empty() || request.key.ends_with('/'));
    assert_eq!(lists.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_process_lists_the_days_of_manifests_once_to_see_whether_its_checkpoint_is_an_older_one() {
    let rig = rig().await;
    rig.populate();
    rig.run().await;
    rig.sim.s3.clear_log();
    rig.lambda.kill();
    rig.run().await;
    let lists: Vec<String> = rig
        .sim
        .s3
        .requests()
        .into_iter()
        .filter(|request| request.key.is_empty())
        .map(|request| request.query)
        .collect();
    assert_eq!(lists.len(), 1, "{lists:?}");
    assert!(lists[0].contains("manifests"), "{lists:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_held_that_is_not_there_is_not_covered_but_read_again() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(20, ago(1_000), ago(10));
    rig.run().await;
    let older = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes;
    a_moment().await;
    rig.sim.world.add_audit(5, ago(1), ago(0));
    a_moment().await;
    let keys = rig.keys("audit").await;
    rig.run().await;
    let new: Vec<String> = rig.keys("audit").await.into_iter().filter(|key| !keys.contains(key)).collect();
    rig.sim.s3.delete_raw(rig.sim.bucket(), &new[0]).await;
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, older).await;
    assert_eq!(rig.run().await["status"], "complete");
    crate::rig::assert_same(
        "audit",
        rig.stored("audit").await,
        rig.sim.world.audit().iter().map(|record| simulator::compact(&record.raw)),
    );
    let told = rig.health_records().await;
    assert!(notes(&told).iter().any(|note| note.contains(&new[0])), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_gone_is_no_first_run_where_manifests_are_there() {
    let rig = rig().await;
    rig.populate();
    for nth in 0..2 {
        go_on(&rig, nth).await;
        rig.run().await;
    }
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    go_on(&rig, 2).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert_events_once(&rig).await;
    logs_with(&rig.lambda, "the checkpoint is gone, but there are manifests").await;
    let told = rig.health_records().await;
    assert!(notes(&told).iter().any(|note| note.contains("the checkpoint is gone")), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_newest_manifest_is_of_an_older_span_that_was_asked_for_events_begin_after_the_live_ones() {
    let rig = rig().await;
    rig.populate();
    rig.sim.world.add_file_events(5, ago(90_000), ago(80_000));
    rig.run().await;
    let old = json!({"action": "collect", "streams": ["file_events"], "from": millis(ago(91_000)), "to": millis(ago(79_000))});
    assert_eq!(rig.invoke(old).await.answer()["status"], "complete");
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    go_on(&rig, 0).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert_events_once(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_no_checkpoint_names_is_not_taken_for_the_newest_of_its_number() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    let world = &rig.sim.world;
    world.add_audit(5, ago(1_000), ago(5));
    rig.run().await;
    // Two manifests have the same number. It takes some attempts until the key of the one without a checkpoint is the last.
    let mut number = 1;
    loop {
        number += 1;
        a_moment().await;
        world.add_audit(2, ago(1), ago(0));
        a_moment().await;
        let killed = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", "/manifests/", 1, S3Fault::after(move || killed.kill()));
        rig.lambda.invoke(json!({}), DEADLINE).await;
        rig.sim.s3.faults.clear();
        rig.free_the_lease().await;
        let unnamed = manifests(&rig).await.pop().unwrap();
        a_moment().await;
        world.add_audit(2, ago(1), ago(0));
        a_moment().await;
        assert_eq!(rig.run().await["status"], "complete");
        assert!(unnamed.contains(&format!("/{number:010}-")), "{unnamed}");
        if manifests(&rig).await.pop().unwrap() == unnamed {
            break;
        }
    }
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &world.audit()).await;
}
