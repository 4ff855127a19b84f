//! Actors' profiles: one request for each new or changed actor, and for the others once a day.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, Record, compact, with_member};

use crate::inventories::tombstones;
use crate::rig::{Rig, ago, assert_same};
use crate::stuck::assert_stuck;

const STREAM: &str = "actor_profiles";

async fn actors(n: usize, settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> (Rig, Vec<Record>) {
    let rig = Rig::with(|lambda| settings(lambda.env("STREAMS", STREAM).env("INVENTORY_INTERVAL_MINUTES", "0"))).await;
    let actors = rig.sim.world.add_records(Dataset::Actors, n);
    (rig, actors)
}

impl Rig {
    /// Makes a run that must be complete. Returns how many records it stored, and the actors whose profiles it
    /// requested.
    async fn profiles(&self) -> (u64, Vec<String>) {
        self.sim.api.clear_log();
        let answer = self.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        (answer["streams"][STREAM]["records"].as_u64().unwrap(), self.asked_for())
    }

    fn asked_for(&self) -> Vec<String> {
        let requests = self.sim.api.requests_to(Endpoint::ActorDetail);
        requests.iter().map(|request| request.path.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// Moves the times at which the profiles were requested back by `hours`, and those of the named actors by one more.
    async fn asked_earlier(&self, hours: i64, named: &[&Record]) {
        let named: BTreeSet<String> = named.iter().map(|record| record.id.to_string()).collect();
        self.edit_known(STREAM, |line| {
            let Some(at) = line["asked"][1].as_str().map(str::to_owned) else { return };
            let more = i64::from(named.contains(line["id"].as_str().unwrap()));
            let at = DateTime::parse_from_rfc3339(&at).unwrap() - TimeDelta::hours(hours + more);
            line["asked"][1] = json!(at.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_stored_as_they_are_and_asked_for_only_where_an_actor_is_new_or_another() {
    let (rig, actors) = actors(30, |lambda| lambda).await;
    assert_eq!(rig.profiles().await.0, 30);
    rig.assert_holds(STREAM, &rig.sim.world.all(Dataset::Actors)).await;
    assert!(rig.stored(STREAM).await[0].contains("\"managerActorId\""));
    assert_eq!(rig.profiles().await, (0, Vec::new()), "the list says that nothing is new");
    let before = rig.stored(STREAM).await;
    let renamed = rig.sim.world.change(Dataset::Actors, &actors[7].id, |raw| with_member(raw, "name", "\"x@y.z\""));
    let new = rig.sim.world.add_records(Dataset::Actors, 1).swap_remove(0);
    let (records, mut asked) = rig.profiles().await;
    asked.sort();
    let mut expected = vec![actors[7].id.to_string(), new.id.to_string()];
    expected.sort();
    assert_eq!((records, asked), (2, expected));
    let expected = before.into_iter().chain([compact(&renamed), compact(&new.raw)]);
    assert_same(STREAM, rig.stored(STREAM).await, expected);
    assert_eq!(rig.profiles().await, (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_list_does_not_show_is_found_within_a_day() {
    let (rig, actors) = actors(12, |lambda| lambda).await;
    rig.profiles().await;
    let leaves =
        rig.sim.world.change(Dataset::Actors, &actors[3].id, |raw| with_member(raw, "endDate", "\"2026-12-24\""));
    assert_eq!(rig.profiles().await, (0, Vec::new()), "the list doesn't show it");
    rig.asked_earlier(23, &[]).await;
    assert_eq!(rig.profiles().await, (0, Vec::new()), "not a day ago");
    rig.asked_earlier(1, &[]).await;
    let (records, asked) = rig.profiles().await;
    assert_eq!((records, asked.len()), (1, 12));
    assert!(rig.stored(STREAM).await.contains(&compact(&leaves)));
    assert_eq!(rig.profiles().await, (0, Vec::new()), "once a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_changed_takes_a_fifth_of_the_budget_and_the_oldest_come_first() {
    let (rig, actors) = actors(40, |lambda| lambda.env("REQUESTS_PER_MINUTE", "60")).await;
    // The budget delays the first run, which needs 41 requests.
    assert_eq!(rig.profiles().await.0, 40);
    let oldest: Vec<&Record> = actors.iter().skip(20).step_by(4).collect();
    rig.asked_earlier(30, &oldest).await;
    let covered = format!("{:?}", ago(0));
    rig.edit_checkpoint(|checkpoint| checkpoint["inventory"][STREAM]["covered_to"] = json!(covered)).await;
    let (_, asked) = rig.profiles().await;
    assert_eq!(asked.len(), 12, "of 60 a minute");
    assert!(oldest.iter().all(|actor| asked.iter().any(|id| **id == *actor.id)), "{asked:?}");
    let kept = rig.stored(STREAM).await;
    assert_eq!(tombstones(&kept).len(), 0, "profiles not requested stay");
    assert_eq!(kept.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_profile_that_fails_holds_up_no_other_and_is_stuck_until_it_answers() {
    let (rig, actors) = actors(9, |lambda| lambda).await;
    let bad = &actors[4].id;
    let ailment = rig.sim.faults.ail_at(format!("/v1/actors/actor/id/{bad}"), Fault::Forbidden);
    for _ in 0..3 {
        let answer = rig.stuck_run().await;
        let told = assert_stuck(&answer, STREAM, 1);
        assert_eq!(told["stuck"]["oldest"], json!({"list": "profiles", "id": &**bad}));
        assert_eq!(rig.stored(STREAM).await.len(), 8);
    }
    ailment.heal();
    rig.assert_heals(STREAM).await;
    rig.assert_holds(STREAM, &rig.sim.world.all(Dataset::Actors)).await;
    assert_eq!(rig.profiles().await, (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_somebody_else_is_no_profile() {
    let (rig, actors) = actors(9, |lambda| lambda).await;
    let (asked, other) = (actors[2].clone(), actors[5].clone());
    let path = format!("/v1/actors/actor/id/{}", asked.id);
    let body = other.raw.to_string();
    rig.sim.faults.ail_at(path, Fault::Status(200, body));
    let answer = rig.stuck_run().await;
    let told = assert_stuck(&answer, STREAM, 1);
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("the answer is record {}, not {}", other.id, asked.id)), "{message}");
    let stored = rig.stored(STREAM).await;
    assert_eq!(stored.iter().filter(|line| **line == compact(&other.raw)).count(), 1);
    assert_eq!(stored.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_seen_is_asked_for_also_where_the_reading_that_saw_it_failed() {
    let (rig, actors) = actors(12, |lambda| lambda.env("PAGE_SIZE", "5")).await;
    rig.profiles().await;
    let change =
        |active| rig.sim.world.change(Dataset::Actors, &actors[0].id, |raw| with_member(raw, "active", active));
    // The list breaks off after the page with the change.
    let changed = change("false");
    rig.sim.faults.from(Endpoint::Actors, 2, Fault::Status(500, "{}".into()));
    rig.stuck_run().await;
    rig.sim.faults.clear();
    assert!(rig.stored(STREAM).await.contains(&compact(&changed)), "it doesn't wait for the other pages");

    // No profile answers.
    let changed = change("true");
    rig.sim.faults.from(Endpoint::ActorDetail, 1, Fault::Status(500, "{}".into()));
    rig.stuck_run().await;
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.profiles().await.0, 1);
    assert!(rig.stored(STREAM).await.contains(&compact(&changed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_told_once_and_who_comes_back_is_asked_for_again() {
    let (rig, actors) = actors(12, |lambda| lambda).await;
    rig.profiles().await;
    rig.sim.world.remove(Dataset::Actors, &actors[6].id);
    assert_eq!(rig.profiles().await, (0, Vec::new()), "one reading is not enough");
    assert_eq!(rig.profiles().await, (1, Vec::new()));
    let told = tombstones(&rig.stored(STREAM).await);
    let gone: Vec<&Value> = told.iter().map(|told| &told["actorId"]).collect();
    assert_eq!(gone, [&json!(&*actors[6].id)]);
    rig.sim.world.push_record(Dataset::Actors, &*actors[6].raw);
    assert_eq!(rig.profiles().await, (1, vec![actors[6].id.to_string()]));
}
