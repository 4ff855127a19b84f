//! Records and lists that can't be read: when they are requested, together with which others, and what is stored of
//! them.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Dataset, Endpoint, Fault, Record, compact};

use crate::rig::{Rig, ago, assert_same};

fn no() -> Fault {
    Fault::Status(500, "{}".into())
}

/// Whether a request's path ends with this.
fn ends_with(end: impl Into<String>) -> impl Fn(&Request) -> bool + Send {
    let end = end.into();
    move |request| request.path.ends_with(&end)
}

/// Returns the stuck records of a stream, from the checkpoint.
async fn what_is_stuck(rig: &Rig, stream: &str) -> Vec<Value> {
    let checkpoint = rig.checkpoint().await;
    let stuck = checkpoint["stuck"][stream].as_array().cloned().unwrap_or_default();
    stuck.into_iter().map(|stuck| stuck["what"].clone()).collect()
}

async fn stuck_count(rig: &Rig, stream: &str) -> Value {
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    answer["streams"][stream]["stuck"]["count"].clone()
}

fn events_of(rig: &Rig, session: &Record) -> Vec<String> {
    let events = rig.sim.world.children(Dataset::SessionEvents, &session.id);
    let line = |event: &Record| format!(r#"{{"_sessionId":"{}",{}"#, session.id, &compact(&event.raw)[1..]);
    events.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_events_fail_is_tried_again_by_itself_when_no_sweep_meets_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "session_events")).await;
    let now = Utc::now();
    let older = rig.sim.world.add_sessions(3, now - TimeDelta::hours(10), now - TimeDelta::hours(9), true);
    for session in &older {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    rig.sim.faults.when(Endpoint::SessionEvents, ends_with(format!("{}/events", older[1].id)), no());
    assert_eq!(stuck_count(&rig, "session_events").await, 1);
    assert_eq!(what_is_stuck(&rig, "session_events").await, [json!({"id": *older[1].id})]);
    let checkpoint = rig.checkpoint().await;
    assert!(checkpoint["rescanned"]["session_events"].get("sweeps").is_none(), "the sweeps are at their end");
    rig.sim.faults.clear();
    rig.sim.api.clear_log();
    assert_eq!(rig.run().await["status"], "complete");
    let lists = rig.sim.api.requests_to(Endpoint::Sessions);
    assert_eq!(lists.len(), 1, "only the youngest sessions are listed");
    assert_eq!(rig.sim.api.requests_to(Endpoint::SessionEvents).len(), 1);
    let all = || older.iter().flat_map(|session| events_of(&rig, session));
    assert_same("session_events", rig.stored("session_events").await, all());
    // A sweep requests it, and finds nothing new.
    let long_ago = (Utc::now() - TimeDelta::hours(7)).to_rfc3339_opts(SecondsFormat::Millis, true);
    rig.edit_checkpoint(|checkpoint| {
        for name in ["day_swept_at", "all_swept_at"] {
            checkpoint["rescanned"]["session_events"][name] = json!(long_ago);
        }
    })
    .await;
    assert_eq!(rig.run().await["streams"]["session_events"]["objects"], 0);
    assert_same("session_events", rig.stored("session_events").await, all());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sessions_whose_events_are_never_answered_hold_up_none_of_the_others() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "session_events")).await;
    let sessions = rig.sim.world.add_sessions(14, ago(3_400), ago(60), true);
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    let (silent, others) = sessions.split_at(3);
    for session in silent {
        rig.sim.faults.ail_at(format!("/v1/sessions/{}/events", session.id), Fault::Hang);
    }
    // Each takes half of the time that its first run has left, and another session must then still show that the API
    // answers.
    for _ in 0..16 {
        rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        let stored = rig.stored("session_events").await.len();
        if what_is_stuck(&rig, "session_events").await.len() == 3 && stored == 22 {
            break;
        }
    }
    let mut stuck = what_is_stuck(&rig, "session_events").await;
    let mut expected: Vec<Value> = silent.iter().map(|session| json!({"id": *session.id})).collect();
    for ids in [&mut stuck, &mut expected] {
        ids.sort_by_key(ToString::to_string);
    }
    assert_eq!(stuck, expected);
    let lines = |sessions: &[Record]| sessions.iter().flat_map(|session| events_of(&rig, session)).collect::<Vec<_>>();
    assert_same("session_events", rig.stored("session_events").await, lines(others));
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    assert_same("session_events", rig.stored("session_events").await, lines(&sessions));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_shows_fewer_events_than_it_counts_is_stuck_with_what_it_shows_stored() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "session_events")).await;
    let session = rig.sim.world.add_sessions(1, ago(3_000), ago(60), true).remove(0);
    let events = rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    let shown = format!(r#"{{"queryResult":{{"totalCount":2,"fileEvents":[{}]}}}}"#, events[0].raw);
    rig.sim.faults.always(Endpoint::SessionEvents, Fault::Status(200, shown));
    assert_eq!(stuck_count(&rig, "session_events").await, 1);
    assert_same("session_events", rig.stored("session_events").await, events_of(&rig, &session)[..1].to_vec());
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    assert_same("session_events", rig.stored("session_events").await, events_of(&rig, &session));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_inventory_that_is_not_due_only_the_list_is_read_that_is_stuck_and_due() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "watchlists")).await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 5);
    for watchlist in &watchlists {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
    }
    let members = format!("{}/members", watchlists[2].id);
    rig.sim.faults.when(Endpoint::WatchlistMembers, ends_with(members), Fault::Forbidden);
    assert_eq!(stuck_count(&rig, "watchlists").await, 1);
    let covered_to = rig.checkpoint().await["inventory"]["watchlists"]["covered_to"].clone();
    assert!(covered_to.is_string(), "all else is covered");
    assert_eq!(rig.stored("watchlists").await.len(), 5 + 8);
    rig.sim.api.clear_log();
    assert_eq!(stuck_count(&rig, "watchlists").await, 1);
    assert_eq!(rig.sim.api.requests_to(Endpoint::WatchlistMembers).len(), 1);
    assert_eq!(rig.sim.api.requests_to(Endpoint::Watchlists).len(), 0, "the others are not due");
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.sim.api.clear_log();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.sim.api.requests_to(Endpoint::WatchlistMembers).len(), 1);
    assert_eq!(rig.stored("watchlists").await.len(), 5 + 10);
    assert_eq!(what_is_stuck(&rig, "watchlists").await, Vec::<Value>::new());
    assert_eq!(rig.checkpoint().await["inventory"]["watchlists"]["covered_to"], covered_to, "not a whole reading");
    assert_eq!(rig.run().await["streams"]["watchlists"]["status"], "not_due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_stands_by_itself_is_stuck_alone_unless_it_is_the_first() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let matters = rig.sim.world.add_records(Dataset::Matters, 8);
    for matter in &matters {
        rig.sim.world.add_children(Dataset::Custodians, &matter.id, 1);
    }
    rig.sim.world.add_records(Dataset::Policies, 4);
    assert_eq!(rig.run().await["status"], "complete");
    let before = rig.stored("legal_hold").await;
    assert_eq!(before.len(), 8 + 8 + 4);
    rig.sim.faults.always(Endpoint::Policies, Fault::Forbidden);
    rig.sim.world.remove(Dataset::Matters, &matters[7].id);
    for _ in 0..3 {
        assert_eq!(stuck_count(&rig, "legal_hold").await, 1);
    }
    assert_eq!(what_is_stuck(&rig, "legal_hold").await, [json!({"list": {"list": "policies"}})]);
    let stored = rig.stored("legal_hold").await;
    let gone: Vec<&String> = stored.iter().filter(|line| line.contains("_deleted")).collect();
    assert_eq!(gone.len(), 2, "a matter and its custodian, and no policy: {gone:#?}");
    assert!(gone.iter().all(|line| line.contains(&*matters[7].id)), "{gone:#?}");
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("legal_hold").await, stored);
    rig.sim.faults.always(Endpoint::Matters, no());
    let (_, answer) = rig.failure(json!({})).await;
    assert!(answer["streams"]["legal_hold"].get("stuck").is_none(), "the first one is the stream's: {answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_whose_answer_the_run_had_no_time_to_wait_for_is_not_stuck() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(8, ago(900), ago(800));
    rig.sim.faults.when(Endpoint::CaseDetail, ends_with("/1"), Fault::Hang);
    let answer = rig.run_within(Duration::from_secs(2)).await;
    assert_eq!(answer["status"], "partial", "{answer:#}");
    assert_eq!(what_is_stuck(&rig, "cases").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_never_answers_takes_one_run_and_is_asked_for_last_from_then_on() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(30, ago(900), ago(800));
    rig.sim.faults.when(Endpoint::CaseDetail, ends_with("/1"), Fault::Hang);
    for _ in 0..2 {
        rig.lambda.invoke(json!({}), Duration::from_secs(6)).await;
    }
    assert_eq!(what_is_stuck(&rig, "cases").await, [json!({"id": "1"})]);
    assert_eq!(rig.stored("cases").await.len(), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_cases_that_are_new_fail_one_that_is_known_tells_that_the_api_answers() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    rig.sim.world.add_cases(2, ago(80_000), ago(70_000));
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.world.add_cases(5, ago(20), ago(10));
    let is_new = |request: &Request| !["/1", "/2"].iter().any(|known| request.path.ends_with(known));
    rig.sim.faults.when(Endpoint::CaseDetail, is_new, Fault::Forbidden);
    assert_eq!(stuck_count(&rig, "cases").await, 5);
    rig.assert_holds("cases", &rig.sim.world.cases()[..2]).await;
    // Nothing answers, so the API fails as a whole and nothing more becomes stuck.
    rig.sim.world.add_cases(5, ago(9), ago(5));
    rig.sim.faults.always(Endpoint::CaseDetail, Fault::Status(400, "{}".into()));
    let (_, answer) = rig.failure(json!({})).await;
    assert_eq!(answer["streams"]["cases"]["stuck"]["count"], 5, "{answer:#}");
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_as_a_stuck_record_heals_loses_and_doubles_nothing() {
    use simulator::S3Fault;
    for is_before in [true, false] {
        for nth in 1..=4 {
            let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,session_events")).await;
            rig.sim.world.add_cases(4, ago(900), ago(800));
            let session = rig.sim.world.add_sessions(1, ago(3_000), ago(60), true).remove(0);
            rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
            rig.sim.faults.when(Endpoint::CaseDetail, ends_with("/2"), Fault::Forbidden);
            rig.sim.faults.always(Endpoint::SessionEvents, Fault::Forbidden);
            rig.failure(json!({})).await;
            rig.sim.faults.clear();
            println!("{nth}, {is_before}");
            let lambda = rig.lambda.clone();
            let kill = move || lambda.kill();
            let fault = if is_before { S3Fault::before(kill) } else { S3Fault::after(kill) };
            rig.sim.s3.faults.once("PUT", "", nth, fault);
            rig.invoke(json!({})).await;
            rig.sim.s3.faults.clear();
            rig.recover().await;
            rig.assert_holds("cases", &rig.sim.world.cases()).await;
            assert_same("session_events", rig.stored("session_events").await, events_of(&rig, &session));
        }
    }
}
