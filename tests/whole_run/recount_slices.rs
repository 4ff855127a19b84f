//! A window with so many late records that no run can read it as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use simulator::{Dataset, LambdaBuilder};

use crate::oracle::span_of;
use crate::reconcile::at_once;
use crate::rig::{Rig, time};
use crate::stuck::any_answer;

const LATE: i32 = 2_000;
/// The number of late records in each other window.
const ELSEWHERE: usize = 1;

fn settings(lambda: LambdaBuilder, stream: &str) -> LambdaBuilder {
    at_once(lambda).env("STREAMS", stream).env("FE_PAGE_SIZE", "15").env("AUDIT_PAGE_SIZE", "15")
}

fn push_late(rig: &Rig, stream: &str, n: i32, at: DateTime<Utc>) {
    let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    match stream {
        "audit" => rig.sim.world.push_audit(format!(r#"{{"type$":"audit_log::late/1","n":{n},"timestamp":"{at}"}}"#)),
        _ => rig.sim.world.push_file_event(format!(r#"{{"event":{{"id":"late-{n}","inserted":"{at}"}}}}"#)),
    };
}

/// The numbers of late records in the objects of a window, by key. An hour in which the window had no record has its
/// first ones under the window's own key.
async fn added(rig: &Rig, stream: &str, [from, to]: [DateTime<Utc>; 2]) -> BTreeMap<String, usize> {
    let mut added = BTreeMap::new();
    for key in rig.keys(stream).await {
        let of_key = span_of(&key);
        if from <= of_key.0 && of_key.1 <= to {
            let late = rig
                .lines(&key)
                .await
                .into_iter()
                .filter(|line| line.contains("\"late-") || line.contains("::late/"))
                .count();
            added.insert(key.clone(), late);
        }
    }
    added
}

async fn read_in_slices(stream: &str, dataset: Dataset) {
    let rig = Rig::with(|lambda| settings(lambda, stream)).await;
    rig.populate_with_events();
    rig.run().await;
    let waiting = rig.waiting(stream).await;
    let with_rows = waiting.iter().filter(|recount| recount["count"].as_u64() > Some(0));
    let spans: Vec<[DateTime<Utc>; 2]> =
        with_rows.map(|recount| [0, 1].map(|end| time(&recount["span"][end]))).collect();
    let (grown, others) = spans.split_first().expect("windows wait to be counted again");
    assert!(!others.is_empty(), "{stream}: {spans:?}");
    let step = (grown[1] - grown[0]) / (LATE + 1);
    for n in 1..=LATE {
        push_late(&rig, stream, n, grown[0] + step * n);
    }
    for (n, other) in (LATE + 1..).zip(others) {
        push_late(&rig, stream, n, other[0] + TimeDelta::milliseconds(1));
    }
    let (mut runs, mut with_more, mut stands_still, mut before) = (0, 0, 0, 0);
    loop {
        // A new container has its own budget, which is used up long before the window is read.
        let container = rig.container(|lambda| settings(lambda, stream).env("REQUESTS_PER_MINUTE", "80"));
        let answer = any_answer(container.invoke(serde_json::json!({}), Duration::from_secs(10)).await);
        assert_ne!(answer["status"], "failed", "{answer:#}");
        runs += 1;
        let objects = added(&rig, stream, *grown).await;
        let now = objects.values().sum();
        (with_more, stands_still) = if now > before { (with_more + 1, 0) } else { (with_more, stands_still + 1) };
        assert!(stands_still < 2, "{stream}, run {runs}: {now} of {LATE} late rows are stored: {answer:#}");
        if runs == 3 {
            for other in others {
                let late = added(&rig, stream, *other).await;
                assert_eq!(late.values().sum::<usize>(), ELSEWHERE, "{stream}: {other:?} is held up");
            }
        }
        if now == usize::try_from(LATE).unwrap() {
            break;
        }
        if answer["status"] == "complete" {
            // Names an object that the collector believes to have stored, and that isn't there.
            rig.assert_whole().await;
            panic!("{stream}, run {runs}: {now} of {LATE} late rows are stored, in {objects:#?}: {answer:#}");
        }
        assert!(runs < 30, "{stream}: no end");
        before = now;
    }
    assert!(with_more > 1, "{stream}: it fitted a run");
    for _ in 0..2 {
        rig.run().await;
    }
    rig.assert_holds(stream, &rig.sim.world.all(dataset)).await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_file_events_that_grew_beyond_a_run_is_read_in_slices() {
    read_in_slices("file_events", Dataset::FileEvents).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_the_audit_log_that_grew_beyond_a_run_is_read_in_slices() {
    read_in_slices("audit", Dataset::Audit).await;
}
