//! Differences that are no change of a record: the order of keys, the order of sets, and volatile fields.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use serde_json::value::RawValue;
use simulator::{Dataset, LambdaBuilder, Record, compact, with_member};

use crate::rig::{Rig, ago, assert_same};

async fn rig(stream: &str, settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Rig {
    Rig::with(|lambda| settings(lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0"))).await
}

/// The same record with its keys and list elements in another order. Numbers and strings stay unchanged.
fn turned_round(raw: &str) -> String {
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(raw) {
        let members =
            members.iter().rev().map(|(name, value)| format!("{}: {}", json!(name), turned_round(value.get())));
        return format!("{{{}}}", members.collect::<Vec<_>>().join(" , "));
    }
    if let Ok(elements) = serde_json::from_str::<Vec<Box<RawValue>>>(raw) {
        let elements = elements.iter().rev().map(|element| turned_round(element.get()));
        return format!("[{}]", elements.collect::<Vec<_>>().join(", "));
    }
    raw.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_whose_keys_and_sets_come_in_another_order_are_not_stored_again() {
    for (stream, dataset) in [
        ("agents", Dataset::Agents),
        ("watchlists", Dataset::Watchlists),
        ("sessions", Dataset::Sessions),
        ("cases", Dataset::Cases),
    ] {
        let rig = rig(stream, |lambda| lambda).await;
        let world = &rig.sim.world;
        let records: Vec<Record> = match dataset {
            Dataset::Sessions => world.add_sessions(8, Utc::now() - TimeDelta::hours(1), Utc::now(), true),
            // Recent enough to be listed again by each run.
            Dataset::Cases => world.add_cases(8, ago(200), ago(100)),
            _ => world.add_records(dataset, 8),
        };
        for record in &records {
            world.change(dataset, &record.id, |raw| with_member(raw, "tags", r#"[{"b":[3,1],"a":null},"x",2]"#));
        }
        if dataset == Dataset::Watchlists {
            world.add_children(Dataset::WatchlistMembers, &records[0].id, 3);
        }
        rig.run().await;
        let stored = rig.stored(stream).await;
        for record in world.all(dataset) {
            assert!(stored.contains(&compact(&record.raw)), "the bytes are the API's");
            let turned = turned_round(&record.raw);
            assert_ne!(compact(&turned), compact(&record.raw));
            world.change(dataset, &record.id, |_| turned);
        }
        for child in world.children(Dataset::WatchlistMembers, &records[0].id) {
            let turn = |raw: &str| turned_round(raw);
            world.change_child(Dataset::WatchlistMembers, &records[0].id, &child.id, turn);
        }
        for _ in 0..2 {
            let answer = rig.run().await;
            assert_eq!(answer["streams"][stream]["records"], 0, "{stream}: {answer:#}");
        }
        world.change(dataset, &records[3].id, |raw| with_member(raw, "tags", r#"[{"b":[3,1,1],"a":null},"x",2]"#));
        assert_eq!(rig.run().await["streams"][stream]["records"], 1, "{stream}: one more in a set is a change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_only_connected_again_is_stored_once_a_day() {
    let rig = rig("agents", |lambda| lambda).await;
    let agents = rig.sim.world.add_records(Dataset::Agents, 30);
    rig.run().await;
    let before = rig.stored("agents").await;
    for minute in 1..4 {
        for agent in &agents {
            let at = format!("\"2026-11-21T13:{minute:02}:00.000Z\"");
            rig.sim.world.change(Dataset::Agents, &agent.id, |raw| with_member(raw, "lastConnected", &at));
        }
        assert_eq!(rig.run().await["streams"]["agents"]["records"], 0);
    }
    let renamed = rig.sim.world.change(Dataset::Agents, &agents[4].id, |raw| with_member(raw, "name", "\"renamed\""));
    assert_eq!(rig.run().await["streams"]["agents"]["records"], 1, "other changes are stored at once");
    // As if they had been stored yesterday.
    rig.edit_known("agents", |line| {
        let at = DateTime::parse_from_rfc3339(line["steady"][0][1].as_str().unwrap()).unwrap();
        let yesterday = (at - TimeDelta::hours(24)).to_utc().to_rfc3339_opts(SecondsFormat::Millis, true);
        line["steady"][0][1] = json!(yesterday);
    })
    .await;
    assert_eq!(rig.run().await["streams"]["agents"]["records"], 29, "all but the renamed one");
    assert_eq!(rig.run().await["streams"]["agents"]["records"], 0);
    let after = rig.sim.world.all(Dataset::Agents).into_iter().filter(|agent| agent.id != agents[4].id);
    let expected = before.into_iter().chain([compact(&renamed)]).chain(after.map(|agent| compact(&agent.raw)));
    assert_same("agents", rig.stored("agents").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_volatile_each_move_is_a_change_and_any_field_may_be() {
    for (held, records) in [("", 5), ("users.notes,agents.osHostname", 5), ("agents.lastConnected", 0)] {
        let rig = rig("agents", |lambda| lambda.env("VOLATILE_FIELDS", held)).await;
        let agents = rig.sim.world.add_records(Dataset::Agents, 5);
        rig.run().await;
        for agent in &agents {
            rig.sim.world.change(Dataset::Agents, &agent.id, |raw| with_member(raw, "lastConnected", "\"now\""));
        }
        assert_eq!(rig.run().await["streams"]["agents"]["records"], records, "{held:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_collector_knew_by_its_bytes_is_not_stored_again() {
    let rig = rig("agents", |lambda| lambda).await;
    rig.sim.world.add_records(Dataset::Agents, 5);
    rig.run().await;
    let stored = rig.stored("agents").await;
    rig.edit_known("agents", |line| {
        let id = line["id"].as_str().unwrap();
        let record = stored.iter().find(|record| record.contains(&format!("\"agentId\":\"{id}\""))).unwrap();
        *line = json!({"id": id, "seen": [&crate::rig::sha256(record.as_bytes())[..32]]});
    })
    .await;
    for _ in 0..2 {
        assert_eq!(rig.run().await["streams"]["agents"]["records"], 0);
    }
}
