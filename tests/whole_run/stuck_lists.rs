//! Lists that can never be read: one list of one record, and a list that changes all the time.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, compact};

use crate::inventories::{stream_named, tombstones};
use crate::rig::{PREFIX, Rig, assert_same};
use crate::stuck::{assert_stuck, names};

/// Streams whose records have lists: the name, the path of the records, and the list.
const LISTS: [(&str, &str, &str); 3] = [
    ("watchlists", "/v2/watchlists", "members"),
    ("alert_rules", "/v2/alert-rules", "users"),
    ("legal_hold", "/v1/legal-hold/matters", "custodians"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_holds_up_no_other_and_tells_nobody_as_deleted() {
    join_all(LISTS.into_iter().map(async |(name, path, of)| {
        let stream = stream_named(name);
        let rig = stream.rig(50).await;
        let records = stream.populate(&rig.sim.world, 9);
        let (list, list_name, key) = stream.lists[0];
        let bad = &records[2].id;
        let beginning = format!(r#"{{"_list":"{list_name}","{key}":"{bad}","#);
        let but_the_bad = || {
            let lines = stream.lines(&rig.sim.world);
            lines.into_iter().filter(|line| !line.starts_with(&beginning)).collect::<Vec<_>>()
        };
        let path = format!("{path}/{bad}/{of}");
        println!("{path}");
        let ailment = rig.sim.faults.ail_at(path.clone(), Fault::Forbidden);
        for _ in 0..2 {
            let answer = rig.stuck_run().await;
            let told = assert_stuck(&answer, name, 1);
            assert_eq!(told["stuck"]["oldest"], json!({"list": list_name, "id": &**bad}), "{answer:#}");
            assert!(names(&told["error"]["message"], bad), "{answer:#}");
            assert_same(name, rig.stored(name).await, but_the_bad());
            rig.sim.world.add_children(list, &records[6].id, 1);
        }
        ailment.heal();
        rig.assert_heals(name).await;
        stream.assert_holds(&rig, &[]).await;
        // It was read once and is refused from now on. Deletions meanwhile are reported when that ends.
        let ailment = rig.sim.faults.ail_at(path, Fault::Forbidden);
        for record in [&records[2], &records[6]] {
            let child = rig.sim.world.children(list, &record.id).remove(0);
            rig.sim.world.remove_child(list, &record.id, &child.id);
        }
        for _ in 0..4 {
            assert_stuck(&rig.stuck_run().await, name, 1);
        }
        let told = tombstones(&rig.stored(name).await);
        assert!(told.iter().all(|told| told[key] != **bad), "{name}: {told:#?}");
        ailment.heal();
        rig.assert_heals(name).await;
        for _ in 0..2 {
            assert_eq!(rig.run().await["status"], "complete");
        }
        let told = tombstones(&rig.stored(name).await);
        let mut of: Vec<&str> = told.iter().filter_map(|told| told[key].as_str()).collect();
        let mut expected = [&*records[2].id, &*records[6].id];
        of.sort_unstable();
        expected.sort_unstable();
        assert_eq!(of, expected, "{name}: {told:#?}");
        assert!(rig.sim.s3.overwritten_or_deleted(PREFIX).is_empty());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_lists_of_a_record_is_stuck_alone() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let records = stream.populate(&rig.sim.world, 6);
    let bad = [(0, "members"), (0, "excluded-actors"), (3, "members")];
    for (record, of) in bad {
        rig.sim.faults.ail_at(format!("/v2/watchlists/{}/{of}", records[record].id), Fault::Forbidden);
    }
    let answer = rig.stuck_run().await;
    let told = assert_stuck(&answer, "watchlists", 3);
    let oldest = &told["stuck"]["oldest"];
    let is_bad =
        |(record, of): (usize, &str)| oldest["id"] == *records[record].id && oldest["list"] == *of.replace('-', "_");
    assert!(bad.into_iter().any(is_bad), "{answer:#}");
    let is_missing = |line: &String| {
        bad.into_iter().any(|(record, of)| {
            let (of, id) = (of.replace('-', "_"), &records[record].id);
            line.starts_with(&format!(r#"{{"_list":"{of}","_watchlistId":"{id}","#))
        })
    };
    let expected: Vec<String> = stream.lines(&rig.sim.world).into_iter().filter(|line| !is_missing(line)).collect();
    assert_same("watchlists", rig.stored("watchlists").await, expected);
    rig.sim.faults.clear();
    rig.assert_heals("watchlists").await;
    stream.assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_whenever_it_is_read_is_told_and_not_partial_for_ever() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "5"))
            .await;
    rig.sim.world.add_users(40);
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(300));
    let mut told = Value::Null;
    for run in 0..10 {
        let answer = rig.any_run(Duration::from_secs(2)).await;
        let users = &answer["streams"]["users"];
        if users["error"].is_object() || users["stuck"].is_object() {
            assert_eq!((&answer["status"], &users["status"]), (&json!("failed"), &json!("failed")), "{answer:#}");
            told = answer;
            break;
        }
        assert_eq!(users["status"], "partial", "run {run}: it can't have been read as a whole: {answer:#}");
        // Four more users come first, so rows that were read are shown again.
        let users = rig.sim.world.users();
        rig.sim.world.clear(Dataset::Users);
        rig.sim.world.add_users(4);
        for user in users {
            rig.sim.world.push_user(&*user.raw);
        }
    }
    assert_eq!(told["error"]["type"], "ThirdPartyGenericError", "ten runs, and nothing is told");
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::ZERO);
    rig.invoke(json!({"action": "restart"})).await.answer();
    for _ in 0..2 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    let stored = rig.stored("users").await;
    for user in rig.sim.world.all(Dataset::Users) {
        let line = compact(&user.raw);
        assert_eq!(stored.iter().filter(|stored| **stored == line).count(), 1, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_the_records_that_are_shown_do_not_wait_for_a_page_of_records_that_always_fails() {
    join_all(LISTS.into_iter().map(async |(stream, path, list)| {
        let settings = |lambda: LambdaBuilder| {
            lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "3")
        };
        let rig = Rig::with(settings).await;
        let facts = stream_named(stream);
        let (parents, (children, ..)) = (facts.dataset, facts.lists[0]);
        let records = rig.sim.world.add_records(parents, 8);
        for record in &records {
            rig.sim.world.add_children(children, &record.id, 2);
        }
        // The second page, and its rows one by one.
        let is_second = move |request: &simulator::http::Request| {
            let numbers: &[&str] = if stream == "alert_rules" { &["1", "3", "4", "5"] } else { &["2", "4", "5", "6"] };
            let is_it = |name| request.parameter(name).is_some_and(|number| numbers.contains(&number.as_str()));
            request.path == path && ["page", "PageNumber"].into_iter().any(is_it)
        };
        rig.sim.faults.when(Endpoint::Any, is_second, Fault::Status(500, "{}".into()));
        let stored = async || {
            let all = rig.stored(stream).await;
            let of_lists = all.iter().filter(|line| line.contains(&format!("\"_list\":\"{list}\""))).count();
            (all.len() - of_lists, of_lists)
        };
        rig.failure(json!({})).await;
        let (_, answer) = rig.failure(json!({})).await;
        let (records, of_lists) = stored().await;
        // A rule without a filter for users has no list.
        let least = if stream == "alert_rules" { 6 } else { 10 };
        assert!(records >= 5 && of_lists >= least, "{stream}: {records} records, {of_lists} on lists: {answer:#}");
        rig.sim.faults.clear();
        rig.run().await;
        assert!(stored().await.1 > of_lists, "{stream}");
        assert!(tombstones(&rig.stored(stream).await).is_empty(), "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matter_whose_custodians_never_answer_holds_up_none_of_the_others() {
    for silent in [0, 3, 5] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold")).await;
        let mut matters = rig.sim.world.add_records(Dataset::Matters, 6);
        matters.sort_by(|a, b| a.id.cmp(&b.id));
        for matter in &matters {
            rig.sim.world.add_children(Dataset::Custodians, &matter.id, 1);
        }
        rig.sim.world.add_records(Dataset::Policies, 4);
        let path = format!("/{}/", matters[silent].id);
        let is_it = move |request: &simulator::http::Request| request.path.contains(&path);
        rig.sim.faults.when(Endpoint::Custodians, is_it, Fault::Hang);
        for _ in 0..2 {
            rig.lambda.invoke(json!({}), Duration::from_secs(10)).await;
        }
        assert_eq!(rig.stored("legal_hold").await.len(), 6 + 5 + 4, "{silent}");
        let stuck = rig.checkpoint().await["stuck"]["legal_hold"].clone();
        assert_eq!(stuck.as_array().map(Vec::len), Some(1), "{silent}: {stuck:#}");
    }
}
