//! Records that are missing from a list: when they count as deleted, and when they don't.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use simulator::{Dataset, Fault, Record, S3Fault};

use crate::inventories::{stream_named, tombstones};
use crate::oracle::a_moment;
use crate::rig::{Rig, sha256};
use crate::stuck::assert_stuck;

impl Rig {
    /// Changes the known records of an inventory line by line, as if a collector had written them so.
    pub async fn edit_known(&self, stream: &str, edit: impl Fn(&mut Value)) {
        let known = self.checkpoint().await["inventory"][stream]["stored"]["known"].clone();
        let key = known["key"].as_str().expect("a key").to_owned();
        let object = self.sim.s3.object(self.sim.bucket(), &key).await.expect("known records");
        let mut text = String::new();
        for line in object.lines() {
            let mut line: Value = serde_json::from_str(&line).unwrap();
            edit(&mut line);
            text += &line.to_string();
            text.push('\n');
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        self.sim.s3.put_raw(self.sim.bucket(), &key, gzip.finish().unwrap()).await;
        let of_checkpoint = |checkpoint: &mut Value| {
            checkpoint["inventory"][stream]["stored"]["known"]["sha256"] = json!(sha256(text.as_bytes()));
        };
        self.edit_checkpoint(of_checkpoint).await;
    }

    /// Moves the times since which records are missed back by `hours`.
    async fn missed_for(&self, stream: &str, hours: i64) {
        self.edit_known(stream, |line| {
            if let Some(since) = line["missed_since"].as_str().map(str::to_owned) {
                let since = DateTime::parse_from_rfc3339(&since).unwrap() - TimeDelta::hours(hours);
                line["missed_since"] = json!(since.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true));
            }
        })
        .await;
    }

    async fn tombstones(&self, stream: &str) -> usize {
        tombstones(&self.stored(stream).await).len()
    }
}

async fn users(n: usize) -> (Rig, Vec<Record>) {
    let rig = stream_named("users").rig(500).await;
    let users = rig.sim.world.add_users(n);
    assert_eq!(rig.run().await["status"], "complete");
    (rig, users)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_found_is_not_an_empty_one() {
    for (name, path, of) in [
        ("watchlists", "/v2/watchlists", "members"),
        ("alert_rules", "/v2/alert-rules", "users"),
        ("legal_hold", "/v1/legal-hold/matters", "custodians"),
    ] {
        let stream = stream_named(name);
        let rig = stream.rig(50).await;
        let records = stream.populate(&rig.sim.world, 5);
        assert_eq!(rig.run().await["status"], "complete");
        let bad = &records[2].id;
        let ailment = rig.sim.faults.ail_at(format!("{path}/{bad}/{of}"), Fault::Status(404, "{}".into()));
        for _ in 0..4 {
            let answer = rig.stuck_run().await;
            let told = assert_stuck(&answer, name, 1);
            let message = told["error"]["message"].as_str().unwrap();
            assert!(
                message.contains("it counts as empty once it could not be found for 24 hours")
                    && message.contains(&**bad),
                "{message}"
            );
            rig.invoke(json!({"action": "restart"})).await.answer();
        }
        assert_eq!(rig.tombstones(name).await, 0);
        ailment.heal();
        rig.assert_heals(name).await;
        stream.assert_holds(&rig, &[]).await;
        assert_eq!(rig.run().await["streams"][name]["records"], 0, "their records were kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_never_found_is_stuck_for_a_day_and_then_empty_until_it_is_found() {
    for (name, path, of, parts) in [
        ("watchlists", "/v2/watchlists", "/members", Dataset::WatchlistMembers),
        ("alert_rules", "/v2/alert-rules", "/users", Dataset::RuleUsers),
        ("user_roles", "/v1/users", "/roles", Dataset::UserRoles),
    ] {
        let stream = stream_named(name);
        let rig = stream.rig(50).await;
        let records = stream.populate(&rig.sim.world, 3);
        let bad = &records[2].id;
        let missing = rig.sim.world.children(parts, bad).len();
        let ailment = rig.sim.faults.ail_at(format!("{path}/{bad}{of}"), Fault::Status(404, "{}".into()));
        for _ in 0..3 {
            assert_stuck(&rig.stuck_run().await, name, 1);
            rig.invoke(json!({"action": "restart"})).await.answer();
        }
        rig.edit_checkpoint(|checkpoint| {
            let at = (Utc::now() - TimeDelta::hours(25)).to_rfc3339_opts(SecondsFormat::Millis, true);
            checkpoint["stuck"][name][0]["since"] = json!(at);
        })
        .await;
        for _ in 0..3 {
            let answer = rig.run().await;
            assert_eq!((&answer["status"], &answer["streams"][name]["records"]), (&json!("complete"), &json!(0)));
        }
        ailment.heal();
        assert!(missing > 0);
        assert_eq!(rig.run().await["streams"][name]["records"], missing, "{name}");
        rig.sim.faults.ail_at(format!("{path}/{bad}{of}"), Fault::Status(404, "{}".into()));
        assert_stuck(&rig.stuck_run().await, name, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_could_not_be_found_for_a_day_is_gone() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let records = stream.populate(&rig.sim.world, 3);
    rig.run().await;
    let members = rig.sim.world.children(Dataset::WatchlistMembers, &records[2].id).len();
    rig.sim.faults.ail_at(format!("/v2/watchlists/{}/members", records[2].id), Fault::Status(404, "{}".into()));
    rig.stuck_run().await;
    rig.missed_for("watchlists", 25).await;
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete", "the 404 is believed");
    assert_eq!(rig.run().await["streams"]["watchlists"]["records"], members);
    assert_eq!(rig.tombstones("watchlists").await, members);
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["watchlists"]["records"]), (&json!("complete"), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_of_a_hundred_users_are_gone_once_a_day_of_readings_agrees() {
    let (rig, users) = users(100).await;
    for user in &users[..60] {
        rig.sim.world.remove_user(&user.id);
    }
    rig.run().await;
    for _ in 0..2 {
        let (_, answer) = rig.failure(json!({})).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("60 of 100 known users") && message.contains("accept_deletions"), "{message}");
    }
    rig.missed_for("users", 23).await;
    // Meanwhile another user is deleted, and one is back.
    rig.sim.world.remove_user(&users[99].id);
    rig.sim.world.push_user(users[7].raw.to_string());
    rig.failure(json!({})).await;
    assert_eq!(rig.tombstones("users").await, 0);
    rig.missed_for("users", 2).await;
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.tombstones("users").await, 60, "59 for a day, and one more");
    assert_eq!(rig.run().await["streams"]["users"]["records"], 0, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_believed_at_once_where_a_person_says_so_and_not_the_next_time() {
    let (rig, users) = users(100).await;
    for user in &users[..60] {
        rig.sim.world.remove_user(&user.id);
    }
    let accept = json!({"action": "restart", "streams": ["users"], "accept_deletions": true});
    assert_eq!(rig.invoke(accept.clone()).await.answer()["status"], "complete");
    for _ in 0..2 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_eq!(rig.tombstones("users").await, 60);
    for user in &users[60..80] {
        rig.sim.world.remove_user(&user.id);
    }
    rig.run().await;
    rig.failure(json!({})).await;
    assert_eq!(rig.tombstones("users").await, 60, "that was another time");
    rig.invoke(accept).await.answer();
    assert_eq!(rig.run().await["status"], "complete", "missed by two readings");
    assert_eq!(rig.tombstones("users").await, 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_could_not_be_stored_uses_up_nothing_of_what_a_person_said() {
    let (rig, users) = users(100).await;
    for user in &users[..60] {
        rig.sim.world.remove_user(&user.id);
    }
    rig.invoke(json!({"action": "restart", "streams": ["users"], "accept_deletions": true})).await.answer();
    rig.sim.s3.faults.once("PUT", "/known/users/", 1, S3Fault::Status(403));
    rig.failure(json!({})).await;
    for _ in 0..2 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_eq!(rig.tombstones("users").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_says_reaches_a_list_that_is_not_due() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.sim.world.add_users(20);
    rig.run().await;
    rig.sim.world.clear(Dataset::Users);
    assert_eq!(rig.run().await["streams"]["users"]["status"], "not_due");
    rig.invoke(json!({"action": "restart", "accept_deletions": true})).await.answer();
    for _ in 0..2 {
        assert_eq!(rig.run().await["streams"]["users"]["status"], "complete");
    }
    assert_eq!(rig.tombstones("users").await, 20);
    assert_eq!(rig.run().await["streams"]["users"]["status"], "not_due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_watchlist_that_is_deleted_is_no_mass_deletion_and_its_members_go_with_it() {
    let rig = stream_named("watchlists").rig(50).await;
    let records = rig.sim.world.add_records(Dataset::Watchlists, 6);
    for record in &records {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &record.id, 3);
    }
    rig.sim.world.add_children(Dataset::WatchlistMembers, &records[1].id, 60);
    rig.run().await;
    rig.sim.world.remove(Dataset::Watchlists, &records[1].id);
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_eq!(rig.tombstones("watchlists").await, 64);
    // Most members of another watchlist go at once. That list's deletions are not believed, all others are.
    for child in rig.sim.world.children(Dataset::WatchlistMembers, &records[3].id) {
        rig.sim.world.remove_child(Dataset::WatchlistMembers, &records[3].id, &child.id);
    }
    let child = &rig.sim.world.children(Dataset::WatchlistMembers, &records[4].id)[0].id;
    rig.sim.world.remove_child(Dataset::WatchlistMembers, &records[4].id, child);
    rig.run().await;
    a_moment().await;
    let (_, answer) = rig.failure(json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("3 of 3 known members of {}", records[3].id)), "{message}");
    assert_eq!(rig.tombstones("watchlists").await, 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_accepted_of_lists_only() {
    let rig = Rig::new().await;
    let event = json!({"action": "restart", "streams": ["audit"], "accept_deletions": true});
    let (error_type, answer) = rig.failure(event).await;
    assert_eq!(error_type, "InvalidEvent");
    assert!(answer["error"]["message"].as_str().unwrap().contains("such as users, and not for audit"), "{answer}");
}
