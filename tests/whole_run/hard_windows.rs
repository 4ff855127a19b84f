//! Windows that are hard for a run: too large for memory, deadly, or with a key that another object has.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Endpoint, Fault, LambdaBuilder, Outcome, Record, S3Fault, compact, span_asked};

use crate::oracle::{millis, span_of};
use crate::rig::{DEADLINE, Rig, ago, failure_of, time};
use crate::stuck::{any_answer, assert_stuck};

/// The process's peak memory, in MiB.
pub fn peak_of(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.lambda.pid().unwrap())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    peak.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

const LARGE: usize = 100_000;

/// Adds file events of 100 KB that gzip can hardly compress, over most of the last hour.
pub fn add_large(rig: &Rig, rows: i64) -> Vec<Record> {
    add_of(rig, rows, LARGE, |n| ago(3_400) + TimeDelta::seconds(3_000 * n / rows));
    rig.sim.world.file_events()
}

/// The same, of so many bytes and at these times.
fn add_of(rig: &Rig, rows: i64, bytes: usize, at: impl Fn(i64) -> DateTime<Utc>) {
    // Gzip would take the simulator longer than the collector.
    rig.sim.api.change(|behaviour| behaviour.gzip = false);
    let mut rng = fastrand::Rng::with_seed(rows.unsigned_abs());
    for n in 0..rows {
        let inserted = at(n).to_rfc3339_opts(SecondsFormat::Millis, true);
        let blob: String = (0..bytes).map(|_| rng.alphanumeric()).collect();
        rig.sim
            .world
            .push_file_event(format!(r#"{{"event":{{"id":"large-{n}","inserted":"{inserted}"}},"blob":"{blob}"}}"#));
    }
}

/// Reads `rows` records of `bytes` at these times, in pages of `page`. The process may take `most` MiB.
async fn large_records(rows: i64, bytes: usize, at: impl Fn(i64) -> DateTime<Utc>, page: &str, most: u64) {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", page)).await;
    add_of(&rig, rows, bytes, at);
    // On a slow machine one run may be too short.
    let (mut answer, mut records) = (json!({}), 0);
    for _ in 0..4 {
        answer = rig.run().await;
        records += answer["streams"]["file_events"]["records"].as_i64().unwrap();
        if answer["status"] == "complete" {
            break;
        }
    }
    let peak = peak_of(&rig);
    println!("{rows} records of {bytes} bytes: {peak} MiB");
    assert_eq!((&answer["status"], records), (&json!("complete"), rows));
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    assert!(peak < most, "{rows} records of {bytes} bytes took {peak} MiB");
}

/// Spread over most of the last hour.
fn spread(rows: i64) -> impl Fn(i64) -> DateTime<Utc> {
    let begin = ago(3_400);
    move |n| begin + TimeDelta::seconds(3_000 * n / rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_records_that_no_gzip_makes_smaller_takes_little_memory() {
    large_records(300, LARGE, spread(300), "5000", 130).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_large_records_that_no_gzip_makes_smaller_takes_little_memory() {
    // Four pages, which are one window by their count.
    large_records(1_500, LARGE, spread(1_500), "375", 130).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_five_megabytes_take_a_bounded_memory() {
    large_records(60, 5_000_000, spread(60), "5000", 230).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_that_need_more_memory_than_a_window_may_take_are_read_one_after_the_other() {
    // 30 MB in each of five seconds that can't be cut. Read side by side they would take 150.
    let begin = ago(1_000);
    large_records(40, 1_000_000, |n| begin + TimeDelta::minutes(n / 8), "5000", 130).await;
}

/// Settings for these streams, with windows of at most eighty rows.
pub fn in_small_windows(lambda: LambdaBuilder, stream: &str) -> LambdaBuilder {
    lambda.env("STREAMS", stream).env("FE_PAGE_SIZE", "20").env("AUDIT_PAGE_SIZE", "20")
}

/// Whether a request reads rows, rather than only counting them.
pub fn reads(request: &Request, at: DateTime<Utc>) -> bool {
    let body = request.json();
    let counts = body["pgSize"] == 1 || request.path.ends_with("/search-results-count");
    !counts && span_asked(&body).is_some_and(|[from, to]| from <= at && at <= to)
}

/// Makes a run that dies, after ending the last run's lease.
pub async fn dies(rig: &Rig) {
    for _ in 0..5 {
        rig.free_the_lease().await;
        match rig.invoke(json!({})).await {
            Outcome::Died(_) => return,
            other => assert_eq!(any_answer(other)["status"], "skipped"),
        }
    }
    panic!("it lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_window_that_short_runs_cannot_read_again_is_covered_by_the_first_that_is_long_enough() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "20")).await;
    let records = rig.sim.world.add_file_events(70, ago(1_700), ago(5));
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/file_events/", 1, S3Fault::after(move || lambda.kill()));
    dies(&rig).await;
    rig.free_the_lease().await;
    rig.sim.s3.faults.clear();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(1_300));
    for _ in 0..5 {
        let answer = any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(5)).await);
        let told = answer["streams"]["file_events"].to_string();
        assert!(!told.contains("runs died"), "none of these runs dies: {told}");
    }
    let answer = any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(20)).await);
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_holds("file_events", &records).await;
}

impl Rig {
    /// Ends the lease, as if the runs had died so long ago that none of their requests can still arrive.
    async fn died_long_ago(&self, stream: &str) {
        self.free_the_lease().await;
        self.edit_checkpoint(|checkpoint| {
            for window in checkpoint["events"][stream]["open"].as_array_mut().into_iter().flatten() {
                window["opened_by"]["until"] = json!(millis(ago(3_600)));
            }
        })
        .await;
    }
}

async fn deadly_window(stream: &str) {
    let rig = Rig::with(|lambda| in_small_windows(lambda, stream)).await;
    let records = match stream {
        "audit" => rig.sim.world.add_audit(600, ago(3_400), ago(5)),
        _ => rig.sim.world.add_file_events(600, ago(3_400), ago(5)),
    };
    let deadly = ago(2_500);
    let lambda = rig.lambda.clone();
    rig.sim.faults.when(Endpoint::Any, move |request| reads(request, deadly), Fault::run(move || lambda.kill()));
    dies(&rig).await;
    dies(&rig).await;
    // The third run reads everything else first. It dies on the same window again, or reports that it leaves the window
    // for later.
    rig.free_the_lease().await;
    if let Outcome::Answer(answer) = rig.invoke(json!({})).await {
        assert_eq!(answer["status"], "partial", "{answer:#}");
    }
    let stored = rig.stored(stream).await;
    let is_missing = |record: &&Record| !stored.contains(&compact(&record.raw));
    let missing: Vec<DateTime<Utc>> = records.iter().filter(is_missing).map(|record| record.time).collect();
    assert!(missing.len() <= 100, "{stream}: {} of {} wait behind a deadly window", missing.len(), records.len());
    let (first, last) = (missing.iter().min().unwrap(), missing.iter().max().unwrap());
    assert!(*first <= deadly + TimeDelta::minutes(1) && *last >= deadly - TimeDelta::minutes(1), "{first} to {last}");
    let between = records.iter().filter(|record| *first <= record.time && record.time <= *last).count();
    assert!(between <= 100, "{stream}: more than a window is missing: {first} to {last}");

    // Once none of the dead runs' requests can still arrive, it is read in parts. Only one of them is deadly.
    for _ in 0..6 {
        rig.died_long_ago(stream).await;
        rig.invoke(json!({})).await;
    }
    let stored = rig.stored(stream).await;
    let left = missing.len()
        - records
            .iter()
            .filter(|record| missing.contains(&record.time) && stored.contains(&compact(&record.raw)))
            .count();
    assert!(left > 0 && 2 * left < missing.len(), "{stream}: {left} of {} are left", missing.len());
    rig.died_long_ago(stream).await;
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.recover().await;
    rig.assert_holds(stream, &records).await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_file_events_of_which_two_runs_died_is_read_after_all_others() {
    deadly_window("file_events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_the_audit_log_of_which_two_runs_died_is_read_after_all_others() {
    deadly_window("audit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_at_which_runs_die_holds_up_no_other_stream() {
    let rig = Rig::with(|lambda| in_small_windows(lambda, "file_events,audit,users,cases")).await;
    rig.populate();
    rig.sim.world.add_audit(300, ago(3_000), ago(5));
    let deadly = ago(2_000);
    rig.sim.world.add_file_events(5, deadly, deadly);
    let lambda = rig.lambda.clone();
    rig.sim.faults.when(Endpoint::FileEvents, move |request| reads(request, deadly), Fault::run(move || lambda.kill()));
    dies(&rig).await;
    // Slow as it is, each other stream ends before the deadly window is read.
    for endpoint in [Endpoint::AuditSearch, Endpoint::Users, Endpoint::CaseDetail] {
        rig.sim.faults.always(endpoint, Fault::Late(Duration::from_millis(300)));
    }
    dies(&rig).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

/// A run dies before it stores its third window of a stream, and somebody puts an object of their own under that window's
/// key: the key, and the object's bytes.
pub async fn foreign_object(rig: &Rig, stream: &str) -> (String, Vec<u8>) {
    let (prefix, lambda) = (format!("code42/{stream}/"), rig.lambda.clone());
    rig.sim.s3.faults.once("PUT", &prefix, 3, S3Fault::unsent(move || lambda.kill()));
    dies(rig).await;
    rig.sim.s3.faults.clear();
    let puts = rig.sim.s3.requests();
    let puts = puts.into_iter().filter(|put| put.method == "PUT" && put.key.starts_with(&prefix));
    let key = puts.map(|put| put.key).nth(2).expect("a third window");
    assert!(rig.sim.s3.object(rig.sim.bucket(), &key).await.is_none());
    let foreign = b"\x00\xffnot gzip, and not ours".to_vec();
    rig.sim.s3.put_raw(rig.sim.bucket(), &key, foreign.clone()).await;
    (key, foreign)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_s_under_a_window_s_key_is_left_alone_and_holds_up_no_other() {
    for stream in ["file_events", "audit"] {
        let rig = Rig::with(|lambda| in_small_windows(lambda, stream)).await;
        let records = match stream {
            "audit" => rig.sim.world.add_audit(400, ago(3_400), ago(5)),
            _ => rig.sim.world.add_file_events(400, ago(3_400), ago(5)),
        };
        let (key, foreign) = foreign_object(&rig, stream).await;
        let mut answer = Value::Null;
        for _ in 0..3 {
            rig.free_the_lease().await;
            let outcome = rig.lambda.invoke(json!({}), DEADLINE).await;
            if matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "skipped") {
                continue;
            }
            let (error_type, told) = failure_of(outcome);
            assert_eq!(error_type, "FirstPartyGenericError", "{told:#}");
            answer = told;
        }
        let told = assert_stuck(&answer, stream, 1);
        let [from, to] = ["from", "to"].map(|end| time(&told["stuck"]["oldest"][end]));
        let (key_from, key_to) = span_of(&key);
        assert!(from <= key_from && key_to <= to, "{key}: {answer:#}");
        for error in [&told["stuck"]["error"], &told["error"], &answer["error"]] {
            assert_eq!(error["type"], "FirstPartyGenericError", "{answer:#}");
        }
        let held: Vec<Record> =
            records.iter().filter(|record| record.time < from || to <= record.time).cloned().collect();
        assert!(held.len() + 100 >= records.len(), "more than a window is stuck: {from} to {to}");
        let object = rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap();
        assert_eq!(object.bytes, foreign, "it is not ours to touch");
        // It isn't gzip, so it is moved away before reading.
        rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
        let stored = rig.stored(stream).await;
        let held_up = held.iter().filter(|record| !stored.contains(&compact(&record.raw))).count();
        assert_eq!(held_up, 0, "{stream}: of {} that lie elsewhere", held.len());
        // Whoever put it there has removed it.
        rig.assert_heals(stream).await;
        rig.assert_holds(stream, &records).await;
        rig.assert_whole().await;
    }
}
