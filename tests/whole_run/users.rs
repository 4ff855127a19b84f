//! Inventory: only new, changed and deleted users are stored.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Hook, S3Fault, compact, with_member};

use crate::rig::{Rig, assert_same};

async fn rig() -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "7"))
        .await
}

fn tombstones(lines: &[String]) -> Vec<Value> {
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["_deleted"] == true).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_are_there_and_so_is_everybody_beyond_the_first_page() {
    let rig = rig().await;
    rig.sim.world.add_users(30);
    let leavers = rig.sim.world.users().iter().filter(|user| user.raw.contains("false")).count();
    assert!(leavers > 0, "the world has leavers");
    rig.run().await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_changed_is_stored_once_more_and_nobody_else_is() {
    let rig = rig().await;
    let users = rig.sim.world.add_users(20);
    rig.run().await;
    let before = rig.stored("users").await;
    let changed = rig.sim.world.update_user(&users[11].id, |raw| with_member(raw, "active", "false"));
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["users"]["records"], 1);
    assert_same("users", rig.stored("users").await, before.into_iter().chain([compact(&changed)]));
    assert_eq!(rig.run().await["streams"]["users"]["objects"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_stored_as_a_tombstone_after_two_whole_readings() {
    let rig = rig().await;
    let users = rig.sim.world.add_users(20);
    rig.run().await;
    rig.sim.world.remove_user(&users[3].id);
    assert_eq!(rig.run().await["streams"]["users"]["records"], 0, "one reading is not enough");
    assert_eq!(rig.run().await["streams"]["users"]["records"], 1);
    assert_eq!(rig.run().await["streams"]["users"]["records"], 0, "once");
    let told = tombstones(&rig.stored("users").await);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["userId"], *users[3].id);
    crate::rig::time(&told[0]["_deletedAt"]);
    assert_eq!(told[0].as_object().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_back_is_stored_again() {
    let rig = rig().await;
    let users = rig.sim.world.add_users(20);
    rig.run().await;
    rig.sim.world.remove_user(&users[3].id);
    rig.run().await;
    rig.run().await;
    rig.sim.world.push_user(users[3].raw.to_string());
    assert_eq!(rig.run().await["streams"]["users"]["records"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_more_than_a_fifth_would_go_at_once_nobody_does() {
    let rig = rig().await;
    let users = rig.sim.world.add_users(20);
    rig.run().await;
    for user in &users[..5] {
        rig.sim.world.remove_user(&user.id);
    }
    let changed = rig.sim.world.update_user(&users[9].id, |raw| with_member(raw, "blocked", "true"));
    rig.run().await;
    rig.sim.world.add_users(1);
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    let message = answer["streams"]["users"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("5 of 20 known users would be gone at once"), "{message}");
    let stored = rig.stored("users").await;
    assert_eq!(stored.len(), 22, "new and changed records are stored all the same");
    assert!(stored.contains(&compact(&changed)) && tombstones(&stored).is_empty());
    for user in &users[..5] {
        rig.sim.world.push_user(user.raw.to_string());
    }
    assert_eq!(rig.run().await["streams"]["users"]["records"], 0, "their records were kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_deletes_nobody() {
    let rig = rig().await;
    rig.sim.world.add_users(20);
    rig.run().await;
    rig.sim.world.clear(Dataset::Users);
    rig.run().await;
    rig.failure(json!({})).await;
    assert!(tombstones(&rig.stored("users").await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_with_a_row_missing_deletes_nobody_and_says_so() {
    let rig = rig().await;
    rig.sim.world.add_users(20);
    rig.run().await;
    // One row is skipped at every page boundary, and the total stays the same.
    rig.sim.faults.when(Endpoint::Users, |request| !request.query.contains("page=1&"), Fault::ShiftPages(1));
    for _ in 0..3 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    }
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_two_pages_show_is_one_record() {
    let rig = rig().await;
    rig.sim.world.add_users(20);
    rig.sim.faults.once(Endpoint::Users, 2, Fault::ShiftPages(-1));
    rig.run().await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_under_one_id_are_both_stored_and_only_once() {
    let rig = rig().await;
    rig.sim.world.add_users(10);
    let twin = r#"{"userId":"twin","username":"a@example.com","active":true}"#;
    rig.sim.world.push_user(twin);
    rig.sim.world.push_user(twin.replace("a@", "b@"));
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("users", &rig.sim.world.users()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_users_than_fit_a_run_are_read_over_several_and_compared_as_a_whole() {
    let rig = rig().await;
    let users = rig.sim.world.add_users(140);
    rig.sim.faults.always(Endpoint::Users, Fault::Late(Duration::from_millis(400)));
    let mut runs = 0;
    while rig.run_within(Duration::from_secs(4)).await["status"] != "complete" {
        runs += 1;
        assert!(runs < 12, "no progress");
        assert!(!rig.stored("users").await.is_empty(), "rows read are stored");
    }
    assert!(runs > 0, "one run read all of it");
    rig.assert_holds("users", &rig.sim.world.users()).await;
    rig.sim.faults.clear();
    rig.sim.world.remove_user(&users[77].id);
    rig.run().await;
    rig.run().await;
    assert_eq!(tombstones(&rig.stored("users").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_is_kept() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.sim.world.add_users(3);
    rig.run().await;
    rig.sim.world.add_users(1);
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["users"]["status"]), (&json!("complete"), &json!("not_due")));
    assert_eq!(rig.sim.api.requests_to(Endpoint::Users).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_exactly_full_and_nobody_at_all_are_whole_readings() {
    let rig = rig().await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.world.add_users(14);
    rig.sim.api.clear_log();
    rig.run().await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::Users).len(), 3, "after a full page there may be another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_the_dead_that_lands_after_a_reading_that_came_to_nothing_is_known_all_the_same() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.sim.world.add_users(20);
    let victim = rig.lambda.clone();
    let dies = Hook::new("death", move || victim.kill());
    rig.sim.s3.faults.once("PUT", "code42/users/", 1, S3Fault::Orphaned(Duration::from_secs(3), dies));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    rig.free_the_lease().await;
    rig.sim.faults.always(Endpoint::Users, Fault::Status(500, String::new()));
    rig.lambda.invoke(json!({}), Duration::from_millis(2_500)).await;
    rig.sim.faults.clear();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_gone_is_missed_also_while_a_write_of_the_dead_may_still_land() {
    let rig = rig().await;
    rig.sim.world.add_users(20);
    let victim = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/users/", 1, S3Fault::after(move || victim.kill()));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    rig.free_the_lease().await;
    let gone = rig.sim.world.users()[3].id.clone();
    rig.sim.world.remove_user(&gone);
    for _ in 0..3 {
        rig.run().await;
    }
    let tombstones = tombstones(&rig.stored("users").await);
    assert_eq!(tombstones.len(), 1);
    assert_eq!(tombstones[0]["userId"], *gone);
    assert_eq!(rig.checkpoint().await["inventory"]["users"]["stored"]["open"], Value::Null, "the key is taken now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_the_dead_that_lands_within_a_partial_reading_is_known_all_the_same() {
    let rig = rig().await;
    let world = &rig.sim.world;
    let before = world.add_users(29);
    let victim = rig.lambda.clone();
    let dies = Hook::new("death", move || victim.kill());
    rig.sim.s3.faults.once("PUT", "code42/users/", 1, S3Fault::Orphaned(Duration::from_millis(700), dies));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    rig.free_the_lease().await;
    // A user on the first page has changed meanwhile, so the partial reading has a record to store.
    let changed = world.update_user(&before[1].id, |raw| with_member(raw, "notes", "\"changed\""));
    rig.sim.faults.once(Endpoint::Users, 2, Fault::Hang);
    assert_eq!(rig.run_within(Duration::from_secs(3)).await["status"], "partial");
    rig.sim.faults.clear();
    for _ in 0..2 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    let expected = before.iter().map(|user| compact(&user.raw)).chain([compact(&changed)]);
    assert_same("users", rig.stored("users").await, expected);
}
