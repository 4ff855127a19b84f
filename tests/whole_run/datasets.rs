//! Every inventory keeps the same promises, whatever its endpoint.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, compact, with_member};

use crate::inventories::{STREAMS, collected, tombstones};
use crate::rig::{Rig, assert_same};

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_of_the_collector_has_its_whole_runs_and_a_place_in_the_simulation() {
    // These have files of their own.
    let others = [
        "audit",
        "case_file_events",
        "cases",
        "customer",
        "environment_health",
        "file_events",
        "session_events",
        "sessions",
    ];
    let rig = Rig::new().await;
    let probed = rig.invoke(json!({"action": "probe"})).await.answer();
    let all: BTreeSet<String> = probed["streams"].as_object().unwrap().keys().cloned().collect();
    let tested: BTreeSet<String> = STREAMS.iter().map(|stream| stream.name).chain(others).map(str::to_owned).collect();
    assert_eq!(all, tested);
    let simulated = concat!(include_str!("../simulation/streams.rs"), include_str!("../simulation/objects.rs"));
    for stream in all.iter().filter(|stream| *stream != "environment_health") {
        assert!(simulated.contains(&format!("\"{stream}\"")), "{stream} is not in the simulation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_stored_once_whatever_the_pages_are_like() {
    for stream in STREAMS {
        // The last page is full, half full or the only one; or the API returns fewer rows than were requested.
        for (page, cap) in [(6, None), (5, None), (50, None), (50, Some(4))] {
            let rig = stream.rig(page).await;
            rig.sim.api.change(|behaviour| behaviour.page_cap = cap);
            stream.populate(&rig.sim.world, 12);
            rig.sim.world.add_records(Dataset::Policies, 12);
            println!("{} in pages of {page}, {cap:?}", stream.name);
            collected(&rig, stream).await;
            stream.assert_holds(&rig, &[]).await;
            assert_eq!(collected(&rig, stream).await["objects"], 0, "nothing is new");
            assert_eq!(collected(&rig, stream).await["objects"], 0, "nothing is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_nothing_is_stored() {
    for stream in STREAMS {
        let rig = stream.rig(50).await;
        rig.sim.world.clear(stream.dataset);
        println!("{}", stream.name);
        assert_eq!(collected(&rig, stream).await["objects"], 0);
        assert!(rig.stored(stream.name).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_stored_once_more() {
    for stream in STREAMS.into_iter().filter(|stream| !["departments", "user_roles"].contains(&stream.name)) {
        let rig = stream.rig(5).await;
        let records = stream.populate(&rig.sim.world, 12);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await;
        println!("{}", stream.name);
        let changed =
            rig.sim.world.change(stream.dataset, &records[7].id, |raw| with_member(raw, "newNote", "\"new\""));
        assert_eq!(collected(&rig, stream).await["records"], 1);
        assert_same(stream.name, rig.stored(stream.name).await, before.into_iter().chain([stream.line(&changed)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_a_list_of_a_record_is_stored_once_more() {
    for stream in STREAMS {
        for (list, name, key) in stream.lists {
            let rig = stream.rig(5).await;
            let records = stream.populate(&rig.sim.world, 7);
            collected(&rig, stream).await;
            println!("{}: {name}", stream.name);
            let added = rig.sim.world.add_children(*list, &records[2].id, 1);
            assert_eq!(collected(&rig, stream).await["records"], 1);
            stream.assert_holds(&rig, &[]).await;
            rig.sim.world.remove_child(*list, &records[2].id, &added[0].id);
            assert_eq!(collected(&rig, stream).await["records"], 0, "one reading is not enough");
            assert_eq!(collected(&rig, stream).await["records"], 1);
            let told = tombstones(&rig.stored(stream.name).await);
            assert_eq!(told.len(), 1);
            assert_eq!(told[0][*key], *records[2].id);
            assert!(stream.name == "user_roles" || told[0]["_list"] == *name, "{}", told[0]);
            assert!(told[0].as_object().unwrap().values().any(|value| *value == *added[0].id), "{}", told[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_told_after_two_whole_readings_with_all_that_it_had() {
    for stream in STREAMS {
        let rig = stream.rig(5).await;
        let records = stream.populate(&rig.sim.world, 12);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await.len();
        println!("{}", stream.name);
        rig.sim.world.remove(stream.dataset, &records[3].id);
        let left = stream.lines(&rig.sim.world).len();
        assert_eq!(collected(&rig, stream).await["records"], 0, "one reading is not enough");
        assert_eq!(collected(&rig, stream).await["records"], before - left);
        assert_eq!(collected(&rig, stream).await["records"], 0, "once");
        let told = tombstones(&rig.stored(stream.name).await);
        if stream.name != "user_roles" {
            let of_record = told.iter().find(|told| told.get("_list").is_none()).expect("the record's own");
            assert_eq!(of_record[stream.id], *records[3].id);
        }
        for (_, _, key) in stream.lists {
            let of_lists = told.iter().filter(|told| stream.name == "user_roles" || told.get("_list").is_some());
            assert!(of_lists.into_iter().all(|told| told[*key] == *records[3].id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_it_costs_one_request_an_hour_and_says_which_is_missing() {
    for stream in STREAMS {
        let rig = Rig::with(|lambda| {
            lambda.env("STREAMS", format!("audit,{}", stream.name)).env("INVENTORY_INTERVAL_MINUTES", "0")
        })
        .await;
        stream.populate(&rig.sim.world, 3);
        rig.sim.faults.always(stream.endpoint, Fault::Forbidden);
        println!("{}", stream.name);
        for requests in [1, 0, 0] {
            let answer = rig.run().await;
            assert_eq!(answer["streams"][stream.name]["status"], "not_permitted", "{answer}");
            assert_eq!(answer["streams"][stream.name]["requests"], requests, "{answer}");
        }
        assert!(rig.stored(stream.name).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_holds_up_no_other_and_nobody_on_it_is_gone() {
    // Side by side, because each of them waits for retries.
    join_all(STREAMS.into_iter().filter(|stream| !stream.lists.is_empty()).map(async |stream| {
        let rig = stream.rig(50).await;
        let records = stream.populate(&rig.sim.world, 9);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await;
        rig.sim.world.remove(stream.dataset, &records[8].id);
        let (list, name, key) = stream.lists[0];
        let added = rig.sim.world.add_children(list, &records[6].id, 1);
        let failing = format!("/{}/", &*records[2].id);
        for _ in 0..3 {
            rig.sim.faults.when(
                Endpoint::Any,
                {
                    let failing = failing.clone();
                    move |request| request.path.contains(&failing)
                },
                Fault::Status(500, "{}".into()),
            );
            let (error, answer) = rig.failure(json!({})).await;
            assert_eq!(error, "ThirdPartyGenericError", "{}: {answer}", stream.name);
            rig.sim.faults.clear();
        }
        let parent = Value::from(&*records[6].id);
        let list = if stream.name == "user_roles" { String::new() } else { format!(r#""_list":"{name}","#) };
        let line = format!(r#"{{{list}"{key}":{parent},{}"#, &compact(&added[0].raw)[1..]);
        let stored = rig.stored(stream.name).await;
        let told = tombstones(&stored);
        assert!(!told.is_empty(), "{}: who is gone with all lists is told", stream.name);
        let of_gone = |told: &Value| told[key] == *records[8].id || told[stream.id] == *records[8].id;
        assert!(told.iter().all(of_gone), "{}: {told:#?}", stream.name);
        let records_stored = stored.into_iter().filter(|line| !line.contains("\"_deleted\":true"));
        assert_same(stream.name, records_stored, before.into_iter().chain([line]));
        rig.invoke(json!({"action": "restart"})).await.answer();
        for _ in 0..2 {
            collected(&rig, stream).await;
        }
        assert_eq!(tombstones(&rig.stored(stream.name).await), told, "no other tombstones");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_one_record() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "customer").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.run().await;
    let customer = rig.sim.world.all(Dataset::Customer);
    rig.assert_holds("customer", &customer).await;
    let changed = rig.sim.world.change(Dataset::Customer, &customer[0].id, |raw| with_member(raw, "name", "\"new\""));
    rig.run().await;
    let expected = [compact(&customer[0].raw), compact(&changed)];
    assert_same("customer", rig.stored("customer").await, expected);
}
