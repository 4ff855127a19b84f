//! Slices of time in which sessions are read: cut where they are large, and where they fail.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Dataset, Endpoint, Fault, Outcome, Record, compact};

use crate::rig::assert_same;
use crate::sessions::{collected, populate, rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tenant_is_read_in_slices_over_several_runs() {
    let rig = rig().await;
    populate(&rig, 1_500, 70);
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(80));
    let mut runs = 0;
    loop {
        let answer = rig.run_within(Duration::from_secs(4)).await;
        runs += 1;
        assert!(["complete", "partial"].contains(&answer["status"].as_str().unwrap()), "{answer}");
        if rig.checkpoint().await["rescanned"]["sessions"].get("sweeps").is_none() {
            break;
        }
        assert!(runs < 40, "no progress: {answer}");
    }
    assert!(runs > 1, "one run read all of it");
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_two_lists_that_fails_for_good_does_not_hold_up_the_other() {
    for (value, fault) in [
        ("false", Fault::Forbidden),
        ("false", Fault::Status(500, "{}".into())),
        ("true", Fault::Status(400, "{}".into())),
    ] {
        let rig = rig().await;
        let now = Utc::now();
        let with_alerts = rig.sim.world.add_sessions(3, now - TimeDelta::hours(1), now, true);
        let without = rig.sim.world.add_sessions(4, now - TimeDelta::hours(1), now, false);
        let is_it = move |request: &Request| request.parameter("has_alerts").as_deref() == Some(value);
        rig.sim.faults.when(Endpoint::Sessions, is_it, fault);
        let healthy = if value == "false" { with_alerts } else { without };
        for _ in 0..2 {
            let (error, answer) = rig.failure(json!({})).await;
            assert_eq!(answer["streams"]["sessions"]["status"], "failed", "{error}: {answer:#}");
            rig.assert_holds("sessions", &healthy).await;
        }
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        collected(&rig).await;
        rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_always_fails_is_read_in_slices_without_such_a_page() {
    for hours in [10, 60] {
        let rig = rig().await;
        let from = Utc::now() - TimeDelta::hours(hours);
        rig.sim.world.add_sessions(170, from, from + TimeDelta::hours(hours.min(5)), true);
        let second = |request: &Request| request.parameter("page_number").as_deref() == Some("1");
        rig.sim.faults.when(Endpoint::Sessions, second, Fault::Status(500, "{}".into()));
        collected(&rig).await;
        rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
        let before = rig.sim.api.requests_to(Endpoint::Sessions).len();
        rig.sim.faults.clear();
        collected(&rig).await;
        let asked = rig.sim.api.requests_to(Endpoint::Sessions).len() - before;
        assert_eq!(asked, 2, "only the youngest are read again, with alerts and without");
    }
}

/// Whether a request is for a span that holds one of these instants.
fn holds(request: &Request, instants: &[DateTime<Utc>]) -> bool {
    let bound = |name| request.parameter(name).and_then(|text| text.parse::<i64>().ok()).expect("a bound");
    let (from, to) = (bound("on_or_after"), bound("before"));
    instants.iter().any(|at| (from..to).contains(&at.timestamp_millis()))
}

fn began(session: &Record) -> i64 {
    serde_json::from_str::<Value>(&session.raw).expect("JSON")["beginTime"].as_i64().expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_fail_for_good_hold_up_only_the_seconds_around_them() {
    let (few, many) = (vec![40], vec![7, 1_356, 2_705]);
    let refused = r#"{"problems": [{"type": "QUERY_TIMEOUT"}]}"#;
    for (minutes, fault) in [
        (few.clone(), Fault::Status(500, "{}".into())),
        (few, Fault::Status(400, refused.into())),
        (many, Fault::Status(500, "{}".into())),
    ] {
        println!("{fault:?} at {minutes:?}");
        let rig = rig().await;
        let bad: Vec<DateTime<Utc>> = minutes.iter().map(|minutes| Utc::now() - TimeDelta::minutes(*minutes)).collect();
        populate(&rig, 150, 70);
        let refused = bad.clone();
        rig.sim.faults.when(Endpoint::Sessions, move |request| holds(request, &refused), fault.clone());
        rig.failure(json!({})).await;
        let (_, answer) = rig.failure(json!({})).await;
        let stuck = &answer["streams"]["sessions"]["stuck"];
        assert!(stuck["count"].as_u64().is_some_and(|count| count >= bad.len() as u64), "{answer:#}");
        assert!(stuck["oldest"]["from"].is_string(), "a span is named by its ends: {answer:#}");
        let is_near = |session: &Record| bad.iter().any(|at| (began(session) - at.timestamp_millis()).abs() < 6_000);
        let all = rig.sim.world.all(Dataset::Sessions);
        let healthy: Vec<String> =
            all.iter().filter(|session| !is_near(session)).map(|session| compact(&session.raw)).collect();
        let near: Vec<String> =
            all.iter().filter(|session| is_near(session)).map(|session| compact(&session.raw)).collect();
        let stored = rig.stored("sessions").await.into_iter().filter(|line| !near.contains(line));
        assert_same("sessions", stored, healthy);
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        collected(&rig).await;
        rig.assert_holds("sessions", &all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_never_answered_holds_up_only_the_seconds_around_it() {
    let rig = rig().await;
    let bad = [Utc::now() - TimeDelta::hours(5)];
    let from = Utc::now() - TimeDelta::hours(60);
    rig.sim.world.add_sessions(30, from, from + TimeDelta::hours(50), true);
    let young = rig.sim.world.add_sessions(5, Utc::now() - TimeDelta::minutes(30), Utc::now(), false);
    rig.sim.faults.when(Endpoint::Sessions, move |request| holds(request, &bad), Fault::Hang);
    for _ in 0..2 {
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(12)).await;
        let is_complete = matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete");
        assert!(!is_complete, "{outcome:?}");
    }
    let stored = rig.stored("sessions").await;
    assert!(young.iter().all(|session| stored.contains(&compact(&session.raw))), "{stored:?}");
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    collected(&rig).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_fails_as_a_whole_leaves_no_span_stuck() {
    let rig = rig().await;
    populate(&rig, 20, 70);
    rig.sim.faults.when(Endpoint::Sessions, |_| true, Fault::Status(503, "{}".into()));
    for _ in 0..2 {
        let (_, answer) = rig.failure(json!({})).await;
        assert_eq!(answer["streams"]["sessions"].get("stuck"), None, "{answer:#}");
    }
    rig.sim.faults.clear();
    collected(&rig).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_too_short_for_all_say_partial_and_go_on_to_the_older_sessions() {
    let rig = rig().await;
    for hours in [1, 5, 9, 15, 22, 30, 45, 60, 70] {
        let at = Utc::now() - TimeDelta::hours(hours);
        rig.sim.world.add_sessions(1, at, at + TimeDelta::seconds(1), hours % 2 == 0);
    }
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(700));
    for run in 1.. {
        let answer = rig.run_within(Duration::from_secs(4)).await;
        let is_all = rig.stored("sessions").await.len() == 9;
        assert!(answer["status"] == "partial" || is_all, "{answer:#}");
        if answer["status"] == "complete" {
            break;
        }
        assert!(run < 8, "no progress: {answer:#}");
    }
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_failed_slice_that_shows_fewer_than_it_counts_is_read_again_by_the_next_run() {
    let rig = rig().await;
    let at = Utc::now() - TimeDelta::hours(5);
    rig.sim.world.add_sessions(4, at, at + TimeDelta::minutes(10), true);
    // The slice of the last day fails. Its parts answer, and count one session that they don't show.
    let is_day = |request: &Request| {
        let bound = |name| request.parameter(name).and_then(|text| text.parse::<i64>().ok()).expect("a bound");
        (21..23).contains(&((bound("before") - bound("on_or_after")) / 3_600_000))
    };
    rig.sim.faults.when(Endpoint::Sessions, is_day, Fault::Status(500, "{}".into()));
    rig.sim.faults.when(Endpoint::Sessions, move |request| holds(request, &[at]), Fault::TotalOff(1));
    let (_, answer) = rig.failure(json!({})).await;
    assert_eq!(answer["streams"]["sessions"]["status"], "failed", "{answer:#}");
    rig.sim.faults.clear();
    // The one that was counted.
    rig.sim.world.add_sessions(1, at, at + TimeDelta::minutes(1), true);
    collected(&rig).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
}
