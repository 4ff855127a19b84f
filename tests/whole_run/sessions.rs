//! Sessions, which change without a filter for changes, and their events.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, Record, S3Fault, SessionFilter, compact, with_member};

use crate::rig::{CHECKPOINT, PREFIX, Rig, ago, assert_same};

pub async fn rig_of(streams: &str) -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", streams)).await
}

pub async fn rig() -> Rig {
    rig_of("sessions").await
}

/// Adds sessions of the last hours, with and without alerts.
pub fn populate(rig: &Rig, n: usize, hours: i64) -> Vec<Record> {
    let now = Utc::now();
    let from = now - TimeDelta::hours(hours);
    let mut sessions = rig.sim.world.add_sessions(n, from, now - TimeDelta::seconds(5), true);
    sessions.extend(rig.sim.world.add_sessions(n, from, now - TimeDelta::seconds(3), false));
    sessions
}

pub async fn collected(rig: &Rig) -> Value {
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    answer["streams"]["sessions"].clone()
}

/// Moves the times of the last sweeps back by `hours`.
pub async fn swept_hours_ago(rig: &Rig, stream: &str, hours: i64) {
    let mut checkpoint = rig.checkpoint().await;
    for name in ["day_swept_at", "all_swept_at"] {
        let at = Utc::now() - TimeDelta::hours(hours);
        checkpoint["rescanned"][stream][name] = json!(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    }
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, checkpoint.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_with_alerts_and_those_without_are_stored_once() {
    for name in ["sessions", "alerts"] {
        let rig = rig_of(name).await;
        populate(&rig, 130, 70);
        collected(&rig).await;
        rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
        assert_eq!(collected(&rig).await["objects"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_sessions_are_forgotten_a_day_after_they_are_too_old_to_be_read_again() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "sessions").env("SESSIONS_RESCAN_HOURS", "72")).await;
    populate(&rig, 3, 70);
    collected(&rig).await;
    let known_from = rig.checkpoint().await["rescanned"]["sessions"]["known_from"].clone();
    let known_from: chrono::DateTime<Utc> = known_from.as_str().expect("set").parse().expect("a time");
    assert!((Utc::now() - known_from - TimeDelta::hours(72 + 24)).num_minutes() == 0, "{known_from}");
    let before = rig.checkpoint().await["rescanned"]["sessions"]["stored"]["known"]["records"].clone();
    // The oldest is known for some hours less.
    let mut checkpoint = rig.checkpoint().await;
    checkpoint["rescanned"]["sessions"]["known_from"] = json!(Utc::now() - TimeDelta::hours(40));
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, checkpoint.to_string()).await;
    rig.lambda.kill();
    populate(&rig, 1, 1);
    collected(&rig).await;
    let after = rig.checkpoint().await["rescanned"]["sessions"]["stored"]["known"]["records"].clone();
    assert!(after.as_u64() < before.as_u64().map(|records| records + 2), "{before} before, {after} after two new ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_a_dry_run_has_seen_are_stored_by_the_next_run_of_the_same_process() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "sessions,session_events")).await;
    let sessions = rig.sim.world.add_sessions(5, ago(3_000), ago(600), true);
    rig.run().await;
    rig.sim.world.change(Dataset::Sessions, &sessions[1].id, |raw| with_member(raw, "criticalEvents", "9"));
    let new = rig.sim.world.add_sessions(2, ago(500), ago(300), true);
    for session in &new {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    let dry = rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    let answer = rig.run().await;
    for stream in ["sessions", "session_events"] {
        let [of_dry, of_run] = [&dry, &answer].map(|answer| answer["streams"][stream]["records"].clone());
        assert!(of_run == of_dry && of_run != 0, "{stream}: {dry:#} {answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_exactly_full_is_followed_by_none() {
    for n in [0, 1, 49, 50, 51, 100] {
        let rig = rig().await;
        populate(&rig, n, 1);
        println!("{n}");
        collected(&rig).await;
        rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_began_long_ago_is_not_read() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "sessions").env("SESSIONS_RESCAN_HOURS", "24")).await;
    let now = Utc::now();
    rig.sim.world.add_sessions(20, now - TimeDelta::hours(50), now - TimeDelta::hours(25), true);
    let young = rig.sim.world.add_sessions(20, now - TimeDelta::hours(23), now, true);
    collected(&rig).await;
    rig.assert_holds("sessions", &young).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_changes_is_stored_once_more_whatever_its_last_updated_says() {
    let rig = rig().await;
    let sessions = populate(&rig, 30, 1);
    collected(&rig).await;
    let before = rig.stored("sessions").await;
    let changed =
        rig.sim.world.change(Dataset::Sessions, &sessions[7].id, |raw| with_member(raw, "criticalEvents", "9"));
    assert_eq!(collected(&rig).await["records"], 1);
    assert_same("sessions", rig.stored("sessions").await, before.into_iter().chain([compact(&changed)]));
    assert_eq!(collected(&rig).await["objects"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_is_read_again_more_rarely() {
    let rig = rig().await;
    let now = Utc::now();
    let of =
        |hours| rig.sim.world.add_sessions(1, now - TimeDelta::hours(hours), now - TimeDelta::hours(hours - 1), true);
    let (of_day, of_all) = (of(10).remove(0), of(40).remove(0));
    collected(&rig).await;
    for record in [&of_day, &of_all] {
        rig.sim.world.change(Dataset::Sessions, &record.id, |raw| with_member(raw, "notes", "[]"));
    }
    rig.sim.api.clear_log();
    assert_eq!(collected(&rig).await["records"], 0, "neither is due");
    assert_eq!(rig.sim.api.requests_to(Endpoint::Sessions).len(), 2, "the youngest, with alerts and without");
    swept_hours_ago(&rig, "sessions", 2).await;
    assert_eq!(collected(&rig).await["records"], 1, "that of the last day is");
    swept_hours_ago(&rig, "sessions", 7).await;
    assert_eq!(collected(&rig).await["records"], 1, "the oldest is due");
    swept_hours_ago(&rig, "sessions", 7).await;
    assert_eq!(collected(&rig).await["records"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_run_takes_four_calls_of_s3_and_none_below_the_prefix() {
    let rig = rig_of("audit,sessions,cases").await;
    populate(&rig, 30, 10);
    rig.sim.world.add_cases(5, Utc::now() - TimeDelta::days(2), Utc::now() - TimeDelta::hours(1));
    rig.run().await;
    rig.run().await;
    rig.sim.s3.clear_log();
    assert_eq!(rig.run().await["status"], "complete");
    let calls = rig.sim.s3.requests();
    assert!(calls.len() <= 4, "{calls:?}");
    assert!(calls.iter().all(|call| !call.key.starts_with(PREFIX)), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_shift_hide_nobody() {
    for shift in [-3, 2] {
        let rig = rig().await;
        populate(&rig, 120, 1);
        rig.sim.faults.once(Endpoint::Sessions, 2, Fault::ShiftPages(shift));
        collected(&rig).await;
        rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_is_never_reached_fails_and_stores_what_there_is() {
    let rig = rig().await;
    populate(&rig, 10, 1);
    rig.sim.faults.always(Endpoint::Sessions, Fault::TotalOff(1));
    let (error, answer) = rig.failure(json!({})).await;
    assert_eq!(error, "ThirdPartyGenericError", "{answer}");
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    rig.sim.faults.clear();
    collected(&rig).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_with_any_of_its_writes_loses_and_doubles_nothing() {
    for is_before in [true, false] {
        for nth in 1..=5 {
            let rig = rig_of("sessions,session_events").await;
            let sessions = populate(&rig, 12, 30);
            for session in &sessions[..12] {
                rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
            }
            println!("{nth}, {is_before}");
            let lambda = rig.lambda.clone();
            let fault =
                if is_before { S3Fault::before(move || lambda.kill()) } else { S3Fault::after(move || lambda.kill()) };
            rig.sim.s3.faults.once("PUT", "", nth, fault);
            rig.invoke(json!({})).await;
            rig.sim.s3.faults.clear();
            rig.recover().await;
            rig.run().await;
            rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
            assert_events(&rig).await;
        }
    }
}

pub async fn assert_events(rig: &Rig) {
    let mut expected = Vec::new();
    for session in rig.sim.world.all(Dataset::Sessions) {
        for event in rig.sim.world.children(Dataset::SessionEvents, &session.id) {
            expected.push(format!(r#"{{"_sessionId":"{}",{}"#, session.id, &compact(&event.raw)[1..]));
        }
    }
    assert_same("session_events", rig.stored("session_events").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_behind_alerted_sessions_are_stored_when_these_are_new_or_have_changed() {
    let rig = rig_of("session_events").await;
    let now = Utc::now();
    let alerted = rig.sim.world.add_sessions(9, now - TimeDelta::hours(1), now, true);
    for session in &alerted {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 3);
    }
    rig.sim.world.add_sessions(9, now - TimeDelta::hours(1), now, false);
    rig.run().await;
    assert_events(&rig).await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::SessionEvents).len(), 9, "those without alerts are not asked");
    rig.run().await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::SessionEvents).len(), 9, "nothing has changed");
    rig.sim.world.add_children(Dataset::SessionEvents, &alerted[4].id, 1);
    rig.sim.world.change(Dataset::Sessions, &alerted[4].id, |raw| with_member(raw, "highEvents", "7"));
    assert_eq!(rig.run().await["streams"]["session_events"]["records"], 1);
    assert_events(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_events_fail_is_tried_again_and_holds_up_no_other() {
    let rig = rig_of("session_events").await;
    let now = Utc::now();
    let alerted = rig.sim.world.add_sessions(6, now - TimeDelta::hours(1), now, true);
    for session in &alerted {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    let failing = alerted[2].id.to_string();
    let of_it = move |request: &simulator::http::Request| request.path.contains(&failing);
    rig.sim.faults.when(Endpoint::SessionEvents, of_it, Fault::Status(500, "{}".into()));
    let (error, answer) = rig.failure(json!({})).await;
    assert_eq!(error, "ThirdPartyGenericError", "{answer}");
    assert_eq!(rig.stored("session_events").await.len(), 10);
    rig.sim.faults.clear();
    rig.run().await;
    assert_events(&rig).await;
    // A session that was deleted before its events could be read has none. No list shows it any more.
    let gone = alerted[1].id.to_string();
    rig.sim.world.change(Dataset::Sessions, &gone, |raw| with_member(raw, "highEvents", "7"));
    rig.sim.faults.ail_at(format!("/v1/sessions/{gone}/events"), Fault::Status(404, "{}".into()));
    rig.stuck_run().await;
    rig.stuck_run().await;
    rig.sim.world.remove(Dataset::Sessions, &gone);
    rig.stuck_run().await;
    listed_hours_ago(&rig, 8).await;
    swept_hours_ago(&rig, "session_events", 7).await;
    rig.assert_heals("session_events").await;
}

/// Moves the times at which stuck sessions failed and were listed back by `hours`.
pub async fn listed_hours_ago(rig: &Rig, hours: i64) {
    let at = (Utc::now() - TimeDelta::hours(hours)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    rig.edit_checkpoint(|checkpoint| {
        for stuck in checkpoint["stuck"]["session_events"].as_array_mut().expect("stuck sessions") {
            (stuck["since"], stuck["listed_at"]) = (json!(at), json!(at));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_listed_and_can_never_be_found_is_stuck_in_every_run() {
    let rig = rig_of("session_events").await;
    let now = Utc::now();
    let mut sessions = rig.sim.world.add_sessions(2, now - TimeDelta::minutes(50), now, true);
    sessions.extend(rig.sim.world.add_sessions(2, now - TimeDelta::hours(9), now - TimeDelta::hours(5), true));
    sessions.extend(rig.sim.world.add_sessions(2, now - TimeDelta::hours(60), now - TimeDelta::hours(50), true));
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    for missing in [0, 2, 4] {
        rig.sim.faults.ail_at(format!("/v1/sessions/{}", sessions[missing].id), Fault::Status(404, "{}".into()));
    }
    for hours in [0, 1, 2, 7, 8, 13] {
        rig.invoke(json!({"action": "restart"})).await.answer();
        if hours > 0 {
            listed_hours_ago(&rig, hours).await;
            swept_hours_ago(&rig, "session_events", hours).await;
        }
        let answer = rig.stuck_run().await;
        crate::stuck::assert_stuck(&answer, "session_events", 3);
        assert_eq!(rig.stored("session_events").await.len(), 6, "{hours}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_but_not_stored_is_not_covered_when_another_stream_commits() {
    let rig = rig_of("sessions,cases").await;
    populate(&rig, 12, 70);
    rig.sim.world.add_cases(3, Utc::now() - TimeDelta::days(2), Utc::now() - TimeDelta::hours(1));
    // The sessions are read and can't be stored. The cases, which are read later, write the checkpoint, and the process
    // dies.
    rig.sim.s3.faults.always("PUT", "/sessions/dt=", S3Fault::Status(503));
    rig.sim.faults.once(Endpoint::CaseDetail, 1, Fault::Late(Duration::from_millis(500)));
    rig.sim.faults.once(Endpoint::CaseList, 1, Fault::Late(Duration::from_millis(500)));
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "/cases/dt=", 1, S3Fault::before(move || lambda.kill()));
    rig.invoke(json!({})).await;
    rig.sim.s3.faults.clear();
    let checkpoint = rig.checkpoint().await;
    assert_eq!(checkpoint["rescanned"]["sessions"].get("covered_to"), None, "{checkpoint}");
    rig.free_the_lease().await;
    collected(&rig).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_the_others_go_on() {
    for (stream, endpoint) in [("sessions", Endpoint::Sessions), ("session_events", Endpoint::SessionEvents)] {
        let rig = rig_of(&format!("audit,{stream}")).await;
        populate(&rig, 3, 1);
        rig.sim.faults.always(endpoint, Fault::Forbidden);
        let answer = rig.run().await;
        assert_eq!(answer["streams"][stream]["status"], "not_permitted", "{answer}");
        let answer = rig.run().await;
        assert_eq!(answer["streams"][stream]["requests"], 0, "{answer}");
        rig.sim.faults.clear();
        let answer = rig.invoke(json!({"action": "collect", "streams": [stream]})).await.answer();
        assert_eq!(answer["status"], "complete", "a person's own run tries at once: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_what_began_meanwhile_is_read() {
    let rig =
        Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", "sessions").env("SESSIONS_RESCAN_HOURS", "24")).await;
    collected(&rig).await;
    let mut checkpoint = rig.checkpoint().await;
    let long_ago = Utc::now() - TimeDelta::hours(100);
    checkpoint["rescanned"]["sessions"]["covered_to"] =
        json!(long_ago.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    rig.sim.s3.put_raw(rig.sim.bucket(), CHECKPOINT, checkpoint.to_string()).await;
    swept_hours_ago(&rig, "sessions", 100).await;
    let missed = rig.sim.world.add_sessions(40, long_ago, Utc::now(), true);
    collected(&rig).await;
    rig.assert_holds("sessions", &missed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_whose_clock_is_far_behind_is_asked_for_the_older_ones_too() {
    let rig = rig().await;
    rig.sim.api.change(|behaviour| behaviour.clock_offset = TimeDelta::hours(-1));
    let now = Utc::now() - TimeDelta::hours(1);
    let older = rig.sim.world.add_sessions(20, now - TimeDelta::hours(60), now - TimeDelta::hours(3), true);
    collected(&rig).await;
    rig.assert_holds("sessions", &older).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_page_shows_twice_is_stored_once() {
    let rig = rig().await;
    let sessions = populate(&rig, 12, 1);
    let twice = &sessions[3];
    rig.sim.world.push_raw(Dataset::Sessions, &twice.id, twice.time, twice.raw.to_string());
    let (_, answer) = rig.failure(json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("12 sessions were read and the API counts 13"), "the API counts it twice: {message}");
    rig.assert_holds("sessions", &sessions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_counts_events_and_has_no_list_is_asked_for_again() {
    let rig = rig_of("session_events").await;
    for session in populate(&rig, 3, 1) {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    rig.sim.faults.once(Endpoint::SessionEvents, 2, Fault::Status(200, r#"{"queryResult":{"totalCount":2}}"#.into()));
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("session_events").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_twice_whatever_the_servers_filter_looks_at() {
    for by in [SessionFilter::BeginTime, SessionFilter::EndTime, SessionFilter::LastUpdated, SessionFilter::Nothing] {
        println!("{by:?}");
        let rig = Rig::with(|lambda: LambdaBuilder| {
            lambda.env("STREAMS", "sessions,session_events").env("SESSIONS_RESCAN_HOURS", "1")
        })
        .await;
        rig.sim.api.change(|behaviour| behaviour.session_filter = by);
        let now = Utc::now();
        // Old and short ones, old ones that last until now, and recent ones.
        let world = &rig.sim.world;
        world.add_sessions(5, now - TimeDelta::hours(90), now - TimeDelta::hours(80), true);
        for session in world.add_sessions(5, now - TimeDelta::hours(70), now - TimeDelta::hours(60), true) {
            for name in ["endTime", "lastUpdated"] {
                let at = now.timestamp_millis().to_string();
                world.change(Dataset::Sessions, &session.id, |raw| with_member(raw, name, &at));
            }
        }
        world.add_sessions(5, now - TimeDelta::minutes(50), now, true);
        let sessions = world.all(Dataset::Sessions);
        for session in &sessions {
            world.add_children(Dataset::SessionEvents, &session.id, 2);
        }
        rig.run().await;
        let stored = (rig.stored("sessions").await.len(), rig.stored("session_events").await.len());
        assert!(stored.0 >= 5 && stored.1 == 2 * stored.0, "{stored:?}");
        for hours in [1, 7] {
            for stream in ["sessions", "session_events"] {
                swept_hours_ago(&rig, stream, hours).await;
            }
            // Each run finds something, so old records could be forgotten.
            let another = world.add_sessions(1, Utc::now() - TimeDelta::seconds(2), Utc::now(), true).remove(0);
            world.add_children(Dataset::SessionEvents, &another.id, 1);
            let answer = rig.run().await;
            assert_eq!(answer["streams"]["sessions"]["records"], 1, "{by:?}: {answer:#}");
            assert_eq!(answer["streams"]["session_events"]["records"], 1, "{by:?}: {answer:#}");
        }
        // One of the oldest sessions changes. Its events are still known.
        if by == SessionFilter::Nothing {
            world.change(Dataset::Sessions, &sessions[0].id, |raw| with_member(raw, "highEvents", "7"));
            let answer = rig.run().await;
            assert_eq!(answer["streams"]["sessions"]["records"], 1);
            assert_eq!(answer["streams"]["session_events"]["records"], 0, "{answer:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_tells_its_begin_in_seconds_or_before_1970_is_stored_once() {
    let rig =
        Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", "sessions").env("SESSIONS_RESCAN_HOURS", "1")).await;
    let sessions = populate(&rig, 25, 1);
    for (at, session) in sessions.iter().enumerate() {
        let begin = [session.time.timestamp().to_string(), "-5".into(), "\"noon\"".into()][at % 3].clone();
        let raw = with_member(&session.raw, "beginTime", &begin);
        rig.sim.world.remove(Dataset::Sessions, &session.id);
        rig.sim.world.push_raw(Dataset::Sessions, &session.id, session.time, raw);
    }
    collected(&rig).await;
    for _ in 0..3 {
        rig.sim.world.add_sessions(1, Utc::now() - TimeDelta::seconds(2), Utc::now(), true);
        assert_eq!(collected(&rig).await["records"], 1);
    }
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_found_once_or_fewer_than_counted_are_asked_for_until_they_agree() {
    for fault in [Fault::Status(404, "{}".into()), Fault::TotalOff(3)] {
        let rig = rig_of("session_events").await;
        let sessions = rig.sim.world.add_sessions(4, Utc::now() - TimeDelta::hours(1), Utc::now(), true);
        for session in &sessions {
            rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 9);
        }
        let bad = sessions[2].id.to_string();
        let of_it = move |request: &simulator::http::Request| request.path.contains(&bad);
        println!("{fault:?}");
        rig.sim.faults.when_times(Endpoint::SessionEvents, 2, of_it, fault);
        for _ in 0..2 {
            let answer = rig.stuck_run().await;
            crate::stuck::assert_stuck(&answer, "session_events", 1);
        }
        rig.assert_heals("session_events").await;
        assert_events(&rig).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_more_events_than_one_answer_shows_is_stuck_and_told() {
    let rig = rig_of("session_events").await;
    let session = rig.sim.world.add_sessions(1, Utc::now() - TimeDelta::hours(1), Utc::now(), true).remove(0);
    rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 9);
    rig.sim.faults.always(Endpoint::SessionEvents, Fault::TotalOff(200));
    for _ in 0..2 {
        let answer = rig.stuck_run().await;
        let told = crate::stuck::assert_stuck(&answer, "session_events", 1);
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("shows 9 records and counts 209, and has no further page"), "{message}");
        assert_eq!(rig.stored("session_events").await.len(), 9, "rows shown are stored once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_both_lists_show_in_different_states_is_one() {
    let rig = rig().await;
    let sessions = populate(&rig, 3, 1);
    // The list without alerts, which is read first, shows another state of one that has alerts.
    let stale = with_member(&sessions[0].raw, "state", "\"earlier\"");
    let expected = [&*stale].into_iter().chain(sessions[1..].iter().map(|session| &*session.raw)).map(compact);
    let expected: Vec<String> = expected.collect();
    let both = Fault::edited(move |body| {
        if !body.contains("sessionId") {
            return body.to_owned();
        }
        let shown = body.replacen('[', &format!("[{stale},"), 1);
        shown.replace("\"totalCount\":3", "\"totalCount\":4")
    });
    rig.sim.faults.when(Endpoint::Sessions, |request| request.query.contains("has_alerts=false"), both);
    for records in [6, 0, 0] {
        assert_eq!(collected(&rig).await["records"], records);
    }
    assert_same("sessions", rig.stored("sessions").await, expected);
}
