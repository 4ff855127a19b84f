//! Ids that can never be read: cases without a detail, and sessions without their events.

use futures::future::join_all;
use serde_json::json;
use simulator::{Ailment, Dataset, Endpoint, Fault, Record, compact};

use crate::rig::{Rig, ago, assert_same, time};
use crate::stuck::{assert_stuck, names};

const BAD_CASES: [&str; 3] = ["17", "18", "19"];

/// Lasting answers for an id.
fn refusals() -> [Fault; 4] {
    [
        Fault::Forbidden,
        Fault::Status(403, r#"{"message":"you may not see this one"}"#.into()),
        Fault::Status(404, r#"{"message":"Not Found"}"#.into()),
        Fault::Status(500, "{}".into()),
    ]
}

fn ail_cases(rig: &Rig, ids: &[&str], fault: &Fault) -> Vec<Ailment> {
    ids.iter().map(|id| rig.sim.faults.ail_at(format!("/v1/cases/{id}"), fault.clone())).collect()
}

/// Asserts that all cases are stored except these.
async fn assert_holds_cases_but(rig: &Rig, missing: &[&str]) {
    let cases = rig.sim.world.cases();
    let sound: Vec<Record> = cases.into_iter().filter(|case| !missing.contains(&&*case.id)).collect();
    rig.assert_holds("cases", &sound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_cases_whose_detail_never_comes_hold_up_none_of_the_others() {
    join_all(refusals().into_iter().map(async |fault| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
        rig.sim.world.add_cases(40, ago(80_000), ago(900));
        println!("{fault:?}");
        let ailments = ail_cases(&rig, &BAD_CASES, &fault);
        let first = rig.stuck_run().await;
        let told = assert_stuck(&first, "cases", 3);
        let oldest = told["stuck"]["oldest"]["id"].as_str().unwrap();
        assert!(told["records"] == 37 && BAD_CASES.contains(&oldest), "{fault:?}: {first:#}");
        assert!(BAD_CASES.iter().all(|id| names(&told["error"]["message"], id)), "{fault:?}: {first:#}");
        assert_holds_cases_but(&rig, &BAD_CASES).await;
        rig.sim.world.add_cases(1, ago(20), ago(10));
        let second = rig.stuck_run().await;
        assert_stuck(&second, "cases", 3);
        assert_holds_cases_but(&rig, &BAD_CASES).await;
        let [before, after] = [&first, &second].map(|answer| &answer["streams"]["cases"]);
        assert_eq!(before["stuck"]["since"], after["stuck"]["since"], "{fault:?}");
        assert_eq!(rig.stuck("cases").await.len(), 3, "{fault:?}");
        // Two of them answer at last.
        ailments[..2].iter().for_each(Ailment::heal);
        rig.invoke(json!({"action": "restart"})).await.answer();
        let third = rig.stuck_run().await;
        assert_eq!(assert_stuck(&third, "cases", 1)["stuck"]["oldest"], json!({"id": "19"}), "{fault:?}");
        assert_holds_cases_but(&rig, &BAD_CASES[2..]).await;
        ailments[2].heal();
        rig.assert_heals("cases").await;
        rig.assert_holds("cases", &rig.sim.world.cases()).await;
        rig.assert_whole().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_whose_detail_comes_again_are_stored_by_the_very_next_run() {
    join_all(refusals().into_iter().map(async |fault| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
        rig.sim.world.add_cases(40, ago(80_000), ago(900));
        println!("{fault:?}");
        ail_cases(&rig, &BAD_CASES, &fault);
        assert_stuck(&rig.stuck_run().await, "cases", 3);
        rig.sim.faults.clear();
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{fault:?}: {answer:#}");
        rig.assert_nothing_stuck(&answer, "cases").await;
        rig.assert_holds("cases", &rig.sim.world.cases()).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_stuck_cases_than_a_message_can_name_are_counted_in_full() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(90, ago(80_000), ago(900));
    let bad: Vec<String> = (31..=55).map(|id: u32| id.to_string()).collect();
    let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
    ail_cases(&rig, &bad, &Fault::Forbidden);
    let answer = rig.stuck_run().await;
    let told = assert_stuck(&answer, "cases", 25);
    // After the ids the message has a time and an error.
    let message = told["error"]["message"].as_str().unwrap().split(';').next().unwrap();
    let named = bad.iter().filter(|id| names(&json!(message), id)).count();
    assert_eq!(named, 20, "{answer:#}");
    assert_holds_cases_but(&rig, &bad).await;
}

/// The lines of these sessions' events.
fn lines_behind(rig: &Rig, sessions: &[Record]) -> Vec<String> {
    let of = |session: &Record| {
        let events = rig.sim.world.children(Dataset::SessionEvents, &session.id);
        let line = |event: &Record| format!(r#"{{"_sessionId":"{}",{}"#, session.id, &compact(&event.raw)[1..]);
        events.iter().map(line).collect::<Vec<_>>()
    };
    sessions.iter().flat_map(of).collect()
}

/// Adds alerted sessions of the last hour with two events each.
fn alerted(rig: &Rig, n: usize, from: i64, to: i64) -> Vec<Record> {
    let sessions = rig.sim.world.add_sessions(n, ago(from), ago(to), true);
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sessions_whose_events_never_come_hold_up_none_of_the_others() {
    let faults = [Fault::Status(500, "{}".into()), Fault::Forbidden];
    join_all(faults.into_iter().map(async |fault| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "session_events")).await;
        let mut sessions = alerted(&rig, 14, 3_400, 60);
        println!("{fault:?}");
        let bad: Vec<Record> = sessions.drain(5..8).collect();
        for session in &bad {
            let path = format!("/v1/sessions/{}/events", session.id);
            rig.sim.faults.ail_at(path, fault.clone());
        }
        let first = rig.stuck_run().await;
        let told = assert_stuck(&first, "session_events", 3);
        for session in &bad {
            assert!(names(&told["error"]["message"], &session.id), "{fault:?}: {first:#}");
        }
        let oldest = told["stuck"]["oldest"]["id"].as_str().unwrap();
        assert!(bad.iter().any(|session| *session.id == *oldest), "{fault:?}: {first:#}");
        assert_same("session_events", rig.stored("session_events").await, lines_behind(&rig, &sessions));
        sessions.extend(alerted(&rig, 1, 30, 20));
        let second = rig.stuck_run().await;
        assert_stuck(&second, "session_events", 3);
        assert_same("session_events", rig.stored("session_events").await, lines_behind(&rig, &sessions));
        let [before, after] = [&first, &second].map(|answer| &answer["streams"]["session_events"]["covered_to"]);
        assert!(before.is_null() || time(before) < time(after), "{fault:?}: {second:#}");
        assert!(time(after) > ago(60), "{fault:?}: {second:#}");
        rig.sim.faults.clear();
        rig.assert_heals("session_events").await;
        sessions.extend(bad);
        assert_same("session_events", rig.stored("session_events").await, lines_behind(&rig, &sessions));
        let objects = rig.keys("session_events").await;
        assert_eq!(rig.run().await["streams"]["session_events"]["objects"], 0);
        assert_eq!(rig.keys("session_events").await, objects);
        rig.assert_whole().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_one_id_is_refused_after_it_answered_once_is_permitted_all_the_same() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,session_events")).await;
    rig.sim.world.add_cases(3, ago(900), ago(800));
    alerted(&rig, 3, 3_400, 60);
    assert_eq!(rig.run().await["status"], "complete");
    // The only new ones.
    rig.sim.world.add_cases(1, ago(20), ago(10));
    let session = alerted(&rig, 1, 30, 20).remove(0);
    ail_cases(&rig, &["4"], &Fault::Forbidden);
    rig.sim.faults.ail_at(format!("/v1/sessions/{}/events", session.id), Fault::Forbidden);
    for _ in 0..2 {
        let answer = rig.stuck_run().await;
        assert_eq!(assert_stuck(&answer, "cases", 1)["stuck"]["oldest"], json!({"id": "4"}));
        let told = assert_stuck(&answer, "session_events", 1);
        assert_eq!(told["stuck"]["oldest"], json!({"id": &*session.id}));
    }
    assert!(!rig.sim.api.requests_to(Endpoint::CaseList).is_empty());
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}
