//! Rows of a list that have no id of their own, and records that are missing from it: each such row may be one of them.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault};

use crate::inventories::{stream_named, tombstones};
use crate::rig::Rig;

async fn twenty_users() -> (Rig, Vec<simulator::Record>) {
    let rig = stream_named("users").rig(500).await;
    let users = rig.sim.world.add_users(20);
    (rig, users)
}

impl Rig {
    async fn users_told_as_deleted(&self) -> usize {
        tombstones(&self.stored("users").await).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_can_never_be_placed_holds_up_no_deletion() {
    let (rig, users) = twenty_users().await;
    rig.sim.world.push_user(r#"{"username":"nobody@example.com"}"#);
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["users"]["set_aside"]), (&json!("complete"), &json!(1)));
    rig.sim.world.remove_user(&users[3].id);
    for expected in [0, 1, 1] {
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        assert_eq!(rig.users_told_as_deleted().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_one_list_is_judged_though_a_row_of_another_can_not_be_placed() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 3);
    let members = watchlists.iter().map(|one| rig.sim.world.add_children(Dataset::WatchlistMembers, &one.id, 6));
    let members: Vec<_> = members.collect();
    rig.run().await;
    // It may be the member that is missing from the same list, and none of the other one.
    rig.sim.world.push_child(Dataset::WatchlistMembers, &*watchlists[0].id, r#"{"name":"nobody"}"#);
    for list in 0..2 {
        rig.sim.world.remove_child(Dataset::WatchlistMembers, &watchlists[list].id, &members[list][0].id);
    }
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    let told = tombstones(&rig.stored("watchlists").await);
    assert!(told.len() == 1 && told[0]["_watchlistId"] == *watchlists[1].id, "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_row_has_lost_its_id_is_not_deleted_and_of_more_that_are_missing_that_is_told() {
    let (rig, users) = twenty_users().await;
    rig.run().await;
    rig.sim.world.remove_user(&users[3].id);
    rig.sim.world.push_user(r#"{"username":"it was a user before"}"#);
    for _ in 0..4 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_eq!(rig.users_told_as_deleted().await, 0);
    rig.sim.world.remove_user(&users[4].id);
    for _ in 0..3 {
        let (error_type, answer) = rig.failure(json!({})).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            error_type == "ThirdPartyGenericError"
                && message.contains("2 known records of users are missing, and 1 such rows are new"),
            "{message}"
        );
    }
    assert_eq!(rig.users_told_as_deleted().await, 0);
    rig.invoke(json!({"action": "restart", "streams": ["users"], "accept_deletions": true})).await.answer();
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_eq!(rig.users_told_as_deleted().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_stuck_holds_up_no_deletion_in_another_list_of_the_same_record() {
    let kinds = [(Endpoint::WatchlistMembers, "members", 403), (Endpoint::WatchlistMembers, "members", 500)];
    join_all(kinds.map(async |(_, list, status)| {
        let stream = stream_named("watchlists");
        let rig = stream.rig(50).await;
        let watchlist = rig.sim.world.add_records(Dataset::Watchlists, 1).remove(0);
        let excluded = rig.sim.world.add_children(Dataset::ExcludedActors, &watchlist.id, 6);
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 3);
        rig.run().await;
        let path = format!("/v2/watchlists/{}/{list}", watchlist.id);
        rig.sim.faults.ail_at(path, Fault::Status(status, r#"{"status":403,"error":"Forbidden"}"#.into()));
        rig.sim.world.remove_child(Dataset::ExcludedActors, &watchlist.id, &excluded[0].id);
        for _ in 0..3 {
            rig.stuck_run().await;
        }
        let told = tombstones(&rig.stored("watchlists").await);
        assert!(told.len() == 1 && told[0]["_list"] == "excluded_actors", "{told:#?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_can_never_be_placed_keeps_no_list_of_a_deleted_record_stuck() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 4);
    for watchlist in &watchlists {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
    }
    rig.sim.world.push_record(Dataset::Watchlists, r#"{"title":"nobody's"}"#);
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.faults.ail_at(format!("/v2/watchlists/{}/members", watchlists[1].id), Fault::Forbidden);
    rig.stuck_run().await;
    rig.sim.world.remove(Dataset::Watchlists, &watchlists[1].id);
    for _ in 0..3 {
        rig.any_run(Duration::from_secs(20)).await;
    }
    assert_eq!(rig.run().await["status"], "complete");
    let told = tombstones(&rig.stored("watchlists").await);
    assert_eq!(told.len(), 3, "the watchlist and its members: {told:#?}");
}
