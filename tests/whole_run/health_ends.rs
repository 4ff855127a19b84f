//! `left_but_active` by the end dates in the actors' profiles: which are known, and which are asked for.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault};

use crate::health::{actor, agent, days_ago, event, user, well_in};
use crate::rig::{CHECKPOINT, DEADLINE, Rig};

/// So many are more than `health` asks for.
const MANY: usize = 301;

/// Adds active users, each with an agent, who left five days ago.
fn add_who_left(rig: &Rig) {
    for n in 0..MANY {
        let id = format!("m{n}");
        user(&rig.sim, &id, &json!({}));
        agent(&rig.sim, &format!("a-{id}"), &json!({"userId": id}));
        event(&rig.sim, &format!("a-{id}"), "Endpoint", 1);
        actor(&rig.sim, &format!("x-{id}"), &format!("{id}@example.com"), Some(&days_ago(5)[..10]));
    }
}

/// A run has read the profiles of many who left, and of one who didn't.
async fn with_profiles() -> Rig {
    let rig = well_in("actor_profiles,environment_health").await;
    add_who_left(&rig);
    actor(&rig.sim, "x1", "u1@example.com", None);
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["actor_profiles"]["records"], MANY + 1, "{answer:#}");
    rig.sim.api.clear_log();
    rig
}

fn left(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings.filter(|told| told["finding"] == "left_but_active").map(|told| told["userId"].as_str().unwrap()).collect()
}

impl Rig {
    fn profiles_asked(&self) -> usize {
        self.sim.api.requests_to(Endpoint::ActorDetail).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_dates_that_actor_profiles_has_read_are_known_however_many_they_are() {
    let rig = with_profiles().await;
    let answer = rig.health().await;
    assert_eq!((left(&answer).len(), &answer["left_out"]), (MANY, &json!([])), "{answer:#}");
    assert_eq!(rig.profiles_asked(), 0);
    // Somebody who is new is asked for, and nobody else.
    user(&rig.sim, "new", &json!({}));
    actor(&rig.sim, "x-new", "new@example.com", Some(&days_ago(1)[..10]));
    let answer = rig.health().await;
    assert!(left(&answer).contains(&"new"), "{answer:#}");
    assert_eq!(rig.profiles_asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_s_findings_know_the_end_dates_of_the_checkpoint_too() {
    let rig = with_profiles().await;
    let before = rig.stored("environment_health").await.len();
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["inventory"]["environment_health"]["covered_to"] = json!(days_ago(2));
    })
    .await;
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["environment_health"]["records"], MANY, "{answer:#}");
    assert_eq!((rig.profiles_asked(), rig.stored("environment_health").await.len()), (0, before + MANY));
    // The collector's own reading is not disturbed.
    assert_eq!(answer["status"], "complete");
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("actor_profiles").await.len(), MANY + 1);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_date_that_was_read_long_ago_or_by_a_stream_that_is_off_is_asked_for() {
    let rig = with_profiles().await;
    rig.edit_known("actor_profiles", |line| {
        let Some(at) = line["asked"][1].as_str() else { return };
        let at = DateTime::parse_from_rfc3339(at).unwrap() - TimeDelta::days(7);
        line["asked"][1] = json!(at.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true));
    })
    .await;
    let answer = rig.health().await;
    let why = answer["left_out"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("the end dates of 302 of 302 active actors") && why.contains("actor_profiles"), "{why}");
    let off = rig.container(|lambda| lambda.env("STREAMS", "environment_health"));
    let answer = off.invoke(json!({"action": "health"}), DEADLINE).await.answer();
    assert!(left(&answer).is_empty(), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_known_profiles_or_the_checkpoint_cannot_be_loaded_profiles_are_asked_for() {
    let rig = well_in("actor_profiles,environment_health").await;
    actor(&rig.sim, "x1", "u1@example.com", Some(&days_ago(5)[..10]));
    rig.run().await;
    let known = rig.checkpoint().await["inventory"]["actor_profiles"]["stored"]["known"]["key"].clone();
    for broken in [known.as_str().unwrap(), CHECKPOINT] {
        rig.sim.s3.put_raw(rig.sim.bucket(), broken, "not what it was").await;
        rig.sim.api.clear_log();
        let answer = rig.health().await;
        assert_eq!((left(&answer), rig.profiles_asked()), (vec!["u1"], 1), "{broken}: {answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_actors_only_those_on_a_watchlist_of_people_who_leave_are_asked_for_their_end_dates() {
    let rig = well_in("environment_health").await;
    add_who_left(&rig);
    for (list, kind, member) in
        [("w1", "DEPARTING_EMPLOYEE", "x-m7"), ("w2", "FLIGHT_RISK", "x-m8"), ("w3", "DEPARTINGEMPLOYEE", "x-m9")]
    {
        let watchlist = json!({"watchlistId": list, "listType": kind, "title": list});
        rig.sim.world.push_record(Dataset::Watchlists, watchlist.to_string());
        let member = json!({"actorId": member, "actorname": member, "addedTime": days_ago(9)});
        rig.sim.world.push_child(Dataset::WatchlistMembers, list, member.to_string());
    }
    let answer = rig.health().await;
    let told = answer["findings"].as_array().unwrap();
    assert_eq!((left(&answer), told.len()), (vec!["m7", "m9"], 2), "{answer:#}");
    assert!(told[0]["why"].as_str().unwrap().contains("and left on"), "{answer:#}");
    let out = &answer["left_out"][0];
    assert_eq!(out["check"], "left_but_active");
    assert!(out["why"].as_str().unwrap().starts_with("the end dates of 299 of 301 active actors"), "{answer:#}");
    rig.sim.faults.always(Endpoint::Watchlists, Fault::Status(503, "busy".into()));
    assert_eq!(rig.health().await["status"], "partial", "another try may tell more");
}
