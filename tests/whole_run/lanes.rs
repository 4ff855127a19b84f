//! Several windows are read at once: as many as help, and none more than once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{ApiRequest, Endpoint, Fault, Outcome, S3Fault};

use crate::hard_windows::add_large;
use crate::rig::{DEADLINE, Rig, ago, logs_with, time};

/// A backlog of `pages` full pages of 100 file events each, behind an API with this latency.
async fn backlog(pages: usize, latency: u64) -> Rig {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "100")).await;
    rig.sim.world.add_file_events(100 * pages, ago(3_400), ago(5));
    rig.sim.api.change(|api| api.latency = Duration::from_millis(latency));
    rig
}

/// Returns for each request how many were under way when it began.
fn at_once(requests: &[ApiRequest]) -> Vec<usize> {
    let is_under_way =
        |other: &ApiRequest, at| other.at <= at && other.answered_at.is_none_or(|answered| answered > at);
    requests.iter().map(|request| requests.iter().filter(|other| is_under_way(other, request.at)).count()).collect()
}

fn most_at_once(requests: &[ApiRequest]) -> usize {
    at_once(requests).into_iter().max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_read_in_several_lanes_with_nearly_every_page_full() {
    let rig = backlog(30, 150).await;
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let requests = rig.sim.api.requests_to(Endpoint::FileEvents);
    let most = most_at_once(&requests);
    assert!((4..=5).contains(&most), "{most} at once");
    assert!(requests.len() <= 40, "{} requests for 30 pages", requests.len());
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_memory_limits_to_a_page_are_read_in_several_lanes_too() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "60")).await;
    // A page has 4.5 MB when it is gzipped, and a window may have 8 MiB.
    add_large(&rig, 720);
    rig.sim.api.change(|api| api.latency = Duration::from_millis(400));
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let most = most_at_once(&rig.sim.api.requests_to(Endpoint::FileEvents));
    assert!((3..=5).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_count_is_enough_for_a_backlog() {
    let rig = backlog(30, 0).await;
    rig.run().await;
    let counts =
        rig.sim.api.requests_to(Endpoint::FileEvents).iter().filter(|request| request.json()["pgSize"] == 1).count();
    assert!(counts <= 2, "{counts} counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_comes_in_bursts_is_cut_anew_as_it_turns_out() {
    let rig = backlog(5, 0).await;
    for burst in [3_000, 2_000, 1_000] {
        rig.sim.world.add_file_events(900, ago(burst), ago(burst - 40));
    }
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_whole().await;
}

/// A number of rows, and the ends of their span in seconds before now.
type Part = (usize, i64, i64);

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_takes_few_more_requests_than_full_pages_however_its_rows_lie_in_time() {
    const ROWS: u32 = 4_000;
    const SECONDS: u32 = 8 * 3_600;
    let profiles: [(&str, &[Part]); 6] = [
        ("evenly", &[(4_000, 28_700, 5)]),
        ("all in the last fifth", &[(4_000, 5_760, 5)]),
        ("nine tenths in one hundredth", &[(200, 28_700, 15_000), (3_600, 14_990, 14_702), (200, 14_690, 5)]),
        ("day and night", &[(3_900, 28_700, 14_400), (100, 14_390, 5)]),
        ("at the two ends", &[(2_000, 28_700, 27_260), (2_000, 1_440, 5)]),
        ("all within a minute", &[(4_000, 9_060, 9_000)]),
    ];
    join_all(profiles.into_iter().map(async |(name, parts)| {
        let rig = Rig::with(|lambda| {
            lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "100").env("LOOKBACK_MINUTES", "480")
        })
        .await;
        for (rows, from, to) in parts {
            rig.sim.world.add_file_events(*rows, ago(*from), ago(*to));
        }
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{name}: {answer:#}");
        let requests = u32::try_from(rig.sim.api.requests_to(Endpoint::FileEvents).len()).unwrap();
        // A window that is under way in another lane when the density changes may have the wrong length.
        let lanes = 3.0 * 5.0;
        let bound = 1.25 * f64::from(ROWS / 100) + 2.0 * f64::from(SECONDS / 2).log2() + lanes;
        println!("{name}: {requests} requests, at most {bound:.0}");
        assert!(f64::from(requests) <= bound, "{name}: {requests} requests, at most {bound:.0}");
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_429_half_as_many_are_read_at_once() {
    let rig = backlog(60, 120).await;
    rig.sim.faults.once(Endpoint::FileEvents, 25, Fault::RateLimited { retry_after: Some("1".into()) });
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["file_events"]["retries"]), (&json!("complete"), &json!(1)));
    let requests = rig.sim.api.requests_to(Endpoint::FileEvents);
    let refused = requests.iter().find(|request| request.status == Some(429)).unwrap();
    let after: Vec<ApiRequest> =
        requests.iter().filter(|request| Some(request.at) > refused.answered_at).cloned().collect();
    let at_once = at_once(&after);
    // Windows that are under way are read to their end.
    let later = at_once[at_once.len() / 2..].iter().max().unwrap();
    assert!(*later <= 3, "{at_once:?}");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_share_the_lanes_and_each_has_one() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "50")
    })
    .await;
    rig.sim.world.add_file_events(1_500, ago(3_400), ago(5));
    rig.sim.world.add_audit(1_500, ago(3_400), ago(5));
    rig.sim.api.change(|api| api.latency = Duration::from_millis(100));
    assert_eq!(rig.run().await["status"], "complete");
    let requests: Vec<ApiRequest> =
        rig.sim.api.requests().into_iter().filter(|request| request.endpoint != Endpoint::SignIn).collect();
    let most = most_at_once(&requests);
    assert!((4..=6).contains(&most), "{most} at once");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_permitted_is_asked_for_once_and_not_in_every_lane() {
    let rig = backlog(30, 30).await;
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Forbidden);
    rig.failure(json!({})).await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1);
}

/// A run that died before its `nth` object was stored, and the windows that it left open: several, because each object
/// takes longer to store than the next window to open. On a very busy machine it need not.
async fn died_among_several(nth: u64) -> (Rig, Vec<Value>) {
    for _ in 0..15 {
        let rig = backlog(20, 60).await;
        let lambda = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", "code42/file_events/", nth, S3Fault::before(move || lambda.kill()));
        let late = S3Fault::Late(Duration::from_millis(300));
        rig.sim.s3.faults.times("PUT", "code42/file_events/", nth - 1, late);
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        assert!(!matches!(outcome, Outcome::Answer(_)), "it lived: {outcome:?}");
        let open: Vec<Value> = rig.checkpoint().await["events"]["file_events"]["open"].as_array().unwrap().clone();
        if open.len() > 1 {
            return (rig, open);
        }
    }
    panic!("no run had several windows open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_among_several_windows_loses_and_doubles_nothing() {
    for nth in [2, 3, 4, 5] {
        let (rig, open) = died_among_several(nth).await;
        rig.free_the_lease().await;
        rig.sim.api.clear_log();
        rig.run().await;
        for window in &open {
            let is_the_same = |request: &ApiRequest| request.json()["groups"] == window["request"]["groups"];
            assert!(
                rig.sim.api.requests_to(Endpoint::FileEvents).iter().any(is_the_same),
                "not asked again: {window:#}"
            );
        }
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        rig.assert_whole().await;
    }
}

/// Has each page fail that shows an event of this time.
fn fail_at(rig: &Rig, bad: DateTime<Utc>) {
    rig.sim.world.add_file_events(1, bad, bad);
    let at = move |request: &simulator::http::Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let bound = |n: usize| time(&body["groups"][0]["filters"][n]["value"]);
        body["pgSize"] != 1 && bound(0) < bad && bad < bound(1)
    };
    rig.sim.faults.when(Endpoint::FileEvents, at, Fault::Problems("it is odd".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_that_is_stuck_is_logged() {
    let rig = backlog(20, 30).await;
    let bad = [600, 1_700, 2_800].map(ago);
    for at in bad {
        fail_at(&rig, at);
    }
    let (_, answer) = rig.failure(json!({})).await;
    assert!(answer["streams"]["file_events"]["failed_windows"].as_u64() >= Some(3), "{answer:#}");
    let logs = logs_with(&rig.lambda, "the run failed").await;
    let logged: Vec<DateTime<Utc>> = logs
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "the span can't be read")
        .map(|line| time(&json!(line["what"].as_str().unwrap().split(' ').next())))
        .collect();
    for at in bad {
        let near = logged.iter().filter(|from| (**from - at).abs() < TimeDelta::seconds(8));
        assert!((1..=2).contains(&near.count()), "{at} is one span, or two that share its margin: {logged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_nobody_can_tell_from_an_api_that_fails_are_counted_and_logged_too() {
    let rig = backlog(20, 30).await;
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(500, "{}".into()));
    let (_, answer) = rig.failure(json!({})).await;
    assert!(answer["streams"]["file_events"]["failed_windows"].as_u64() > Some(0), "{answer:#}");
    let logs = logs_with(&rig.lambda, "the run failed").await;
    assert!(logs.iter().any(|line| line.contains("the span can't be read")), "{logs:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_fails_holds_up_none_of_the_others() {
    let rig = backlog(20, 30).await;
    fail_at(&rig, ago(1_700));
    let (_, answer) = crate::rig::failure_of(rig.lambda.invoke(json!({}), DEADLINE).await);
    let covered = rig.checkpoint().await["events"]["file_events"]["covered"].as_array().unwrap().len();
    assert_eq!(covered, 2, "one gap: {answer:#}");
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_whole().await;
}
