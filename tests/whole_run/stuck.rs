//! Spans of event streams that can never be read hold up nothing else and are always reported. Also the helpers that
//! these tests share.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Ailment, Endpoint, LambdaBuilder, Outcome, Record, compact};

use crate::oracle::a_moment;
use crate::rig::{DEADLINE, PREFIX, Rig, ago, failure_of, time};

/// A stuck span is at most this far from what is wrong.
pub const NEAR: TimeDelta = TimeDelta::seconds(10);

impl Rig {
    /// A stream's stuck entries on the checkpoint.
    pub async fn stuck(&self, stream: &str) -> Vec<Value> {
        self.checkpoint().await["stuck"][stream].as_array().cloned().unwrap_or_default()
    }

    /// The stuck spans in order: the text of each beginning, and both ends.
    pub async fn stuck_spans(&self, stream: &str) -> Vec<(String, [DateTime<Utc>; 2])> {
        let span_of = |stuck: &Value| {
            let span = &stuck["what"]["span"];
            let [from, to] = if span.is_array() { [&span[0], &span[1]] } else { [&span["from"], &span["to"]] };
            (from.as_str().unwrap_or_default().to_owned(), [time(from), time(to)])
        };
        let mut spans: Vec<_> = self.stuck(stream).await.iter().map(span_of).collect();
        spans.sort_by_key(|(_, ends)| *ends);
        spans
    }

    /// Makes a run that fails because the API returns less than it counts or refuses it. Returns its answer.
    pub async fn stuck_run(&self) -> Value {
        let (error_type, answer) = self.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        answer
    }

    /// Makes a run that may fail.
    pub async fn any_run(&self, deadline: Duration) -> Value {
        any_answer(self.lambda.invoke(json!({}), deadline).await)
    }

    /// Asserts that after a restart the next run reads what was stuck and is complete.
    pub async fn assert_heals(&self, stream: &str) {
        self.invoke(json!({"action": "restart"})).await.answer();
        let answer = self.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        self.assert_nothing_stuck(&answer, stream).await;
    }

    pub async fn assert_nothing_stuck(&self, answer: &Value, stream: &str) {
        let told = &answer["streams"][stream];
        assert_eq!((&told["status"], told.get("stuck"), told.get("error")), (&json!("complete"), None, None));
        assert_eq!(self.stuck(stream).await, Vec::<Value>::new());
    }

    /// Asserts that all records of a stream are stored once. Records near one of these instants may be missing.
    pub async fn assert_holds_all_but(&self, stream: &str, records: &[Record], near: &[DateTime<Utc>]) {
        let mut stored: BTreeMap<String, i64> = BTreeMap::new();
        for line in self.stored(stream).await {
            *stored.entry(line).or_default() += 1;
        }
        let mut missing = Vec::new();
        for record in records {
            let left = stored.entry(compact(&record.raw)).or_default();
            if *left == 0 {
                missing.push(record.time);
            }
            *left = (*left - 1).max(0);
        }
        let twice: Vec<_> = stored.iter().filter(|(_, left)| **left > 0).collect();
        assert!(twice.is_empty(), "{stream}: {} are stored twice or never were: {twice:#?}", twice.len());
        let far: Vec<_> = missing.iter().filter(|at| near.iter().all(|bad| (**at - bad).abs() > NEAR)).collect();
        let first: Vec<_> = far.iter().take(3).collect();
        assert!(far.is_empty(), "{stream}: {} of {} are held up, from {first:?}", far.len(), records.len());
        let wrong = self.sim.s3.overwritten_or_deleted(PREFIX);
        assert!(wrong.is_empty(), "not append-only: {wrong:?}");
    }

    /// Asserts that each of these instants is stuck with little around it, and is named by the message and the answer.
    pub async fn assert_stuck_at(&self, answer: &Value, stream: &str, bad: &[DateTime<Utc>]) {
        let spans = self.stuck_spans(stream).await;
        let told = assert_stuck(answer, stream, spans.len());
        let message = told["error"]["message"].as_str().unwrap();
        for at in bad {
            let margin = TimeDelta::seconds(2);
            let of_it = spans.iter().filter(|(_, [from, to])| *from - margin <= *at && *at <= *to + margin);
            let named: Vec<_> = of_it.filter(|(from, _)| message.contains(from.as_str())).collect();
            assert!(!named.is_empty(), "{at} is not named in {message:?}, of {spans:?}");
        }
        for (_, [from, to]) in &spans {
            let is_near = |at: &DateTime<Utc>| (*from - at).abs() <= NEAR && (*to - at).abs() <= NEAR;
            assert!(bad.iter().any(is_near), "{from} to {to} is stuck too");
        }
        let oldest = &told["stuck"]["oldest"];
        let oldest = [time(&oldest["from"]), time(&oldest["to"])];
        assert!(spans.iter().any(|(_, ends)| *ends == oldest), "{answer:#}");
    }
}

/// Asserts how many entries of a stream are stuck, and that the answer reports them. Returns the stream's answer.
pub fn assert_stuck<'a>(answer: &'a Value, stream: &str, count: usize) -> &'a Value {
    let told = &answer["streams"][stream];
    assert_eq!((&told["status"], &answer["status"]), (&json!("failed"), &json!("failed")), "{stream}: {answer:#}");
    let stuck = &told["stuck"];
    assert_eq!(stuck["count"], count, "{stream}: {answer:#}");
    assert!(stuck["oldest"].is_object() && time(&stuck["since"]) <= ago(0), "{stream}: {answer:#}");
    for error in [&stuck["error"], &told["error"]] {
        let text = |name: &str| error[name].as_str().unwrap_or_default().len();
        assert!(text("type") > 0 && text("message") > 0, "{stream}: {answer:#}");
    }
    told
}

/// Whether a message contains an id as a word.
pub fn names(message: &Value, id: &str) -> bool {
    let message = message.as_str().unwrap_or_default();
    message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(|word| word == id)
}

/// The answer of a run that may have failed.
pub fn any_answer(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Answer(answer) => answer,
        failed => failure_of(failed).1,
    }
}

/// Makes the API count one row more than it returns in every span that contains one of these instants.
pub fn miscounts(rig: &Rig, endpoint: Endpoint, bad: &[DateTime<Utc>]) -> Vec<Ailment> {
    bad.iter().map(|at| rig.sim.faults.count_unseen(endpoint, 1, *at, *at)).collect()
}

/// Settings for one event stream with small pages, from a day ago on.
fn of_a_day(lambda: LambdaBuilder, stream: &str) -> LambdaBuilder {
    let lambda = lambda.env("STREAMS", stream).env("LOOKBACK_MINUTES", "1440");
    lambda.env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "50")
}

async fn old_spans_that_never_agree(stream: &str, endpoint: Endpoint, bad: &[DateTime<Utc>], rows: usize) {
    let rig = Rig::with(|lambda| of_a_day(lambda, stream)).await;
    let (from, to) = (ago(80_000), ago(5));
    let records = match stream {
        "audit" => rig.sim.world.add_audit(rows, from, to),
        _ => rig.sim.world.add_file_events(rows, from, to),
    };
    miscounts(&rig, endpoint, bad);
    rig.any_run(Duration::from_secs(25)).await;
    let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(25)).await;
    let newest = bad.iter().max().unwrap();
    let younger: Vec<Record> = records.iter().filter(|record| record.time > *newest + NEAR).cloned().collect();
    let stored = rig.stored(stream).await;
    let held_up = younger.iter().filter(|record| !stored.contains(&compact(&record.raw))).count();
    assert_eq!(held_up, 0, "of {} that are younger than what is wrong", younger.len());
    let (error_type, answer) = failure_of(outcome);
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    rig.assert_stuck_at(&answer, stream, bad).await;
    rig.assert_holds_all_but(stream, &records, bad).await;
    rig.sim.faults.clear();
    rig.assert_heals(stream).await;
    rig.assert_holds(stream, &records).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_spans_of_file_events_that_never_agree_hold_up_nothing_but_themselves() {
    let bad: Vec<_> = (0..8).map(|n| ago(78_000 - n * 2_500)).collect();
    old_spans_that_never_agree("file_events", Endpoint::FileEvents, &bad, 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_spans_of_the_audit_log_that_never_agree_hold_up_nothing_but_themselves() {
    let bad: Vec<_> = (0..3).map(|n| ago(75_000 - n * 5_000)).collect();
    old_spans_that_never_agree("audit", Endpoint::AuditCount, &bad, 600).await;
}

/// The ages in seconds of two rows that are counted and never returned. They are 38 minutes apart, with none of 40
/// other rows near them.
const GHOSTS: [i64; 2] = [3_000, 3_000 - 38 * 60];

#[tokio::test(flavor = "multi_thread")]
async fn two_rows_that_are_counted_and_never_shown_hold_up_none_of_a_quiet_hour() {
    let streams = [("file_events", Endpoint::FileEvents), ("audit", Endpoint::AuditCount)];
    join_all(streams.into_iter().map(async |(stream, endpoint)| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream)).await;
        let add = |n, from, to| match stream {
            "audit" => rig.sim.world.add_audit(n, from, to),
            _ => rig.sim.world.add_file_events(n, from, to),
        };
        let mut records = add(40, ago(3_400), ago(5));
        let bad = GHOSTS.map(ago);
        let ghosts = miscounts(&rig, endpoint, &bad);
        rig.any_run(DEADLINE).await;
        let answer = rig.stuck_run().await;
        rig.assert_holds(stream, &records).await;
        rig.assert_stuck_at(&answer, stream, &bad).await;
        let since = answer["streams"][stream]["stuck"]["since"].clone();
        for _ in 0..2 {
            records.extend(add(2, ago(0), ago(-1)));
            a_moment().await;
            let answer = rig.stuck_run().await;
            rig.assert_holds(stream, &records).await;
            rig.assert_stuck_at(&answer, stream, &bad).await;
            assert_eq!(answer["streams"][stream]["stuck"]["since"], since);
        }
        // One of them isn't counted any more.
        ghosts[0].heal();
        rig.invoke(json!({"action": "restart"})).await.answer();
        let answer = rig.stuck_run().await;
        rig.assert_stuck_at(&answer, stream, &bad[1..]).await;
        ghosts[1].heal();
        rig.assert_heals(stream).await;
        rig.assert_holds(stream, &records).await;
        rig.assert_whole().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_is_healed_by_the_very_next_run_once_the_api_shows_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.world.add_file_events(40, ago(3_400), ago(5));
    let bad = [ago(GHOSTS[0])];
    miscounts(&rig, Endpoint::FileEvents, &bad);
    rig.stuck_run().await;
    rig.sim.faults.clear();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_nothing_stuck(&answer, "file_events").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_is_stuck_is_called_so_by_verify() {
    let streams = [("file_events", Endpoint::FileEvents), ("audit", Endpoint::AuditCount)];
    for (stream, endpoint) in streams {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream)).await;
        match stream {
            "audit" => rig.sim.world.add_audit(40, ago(3_400), ago(5)),
            _ => rig.sim.world.add_file_events(40, ago(3_400), ago(5)),
        };
        let bad = GHOSTS.map(ago);
        miscounts(&rig, endpoint, &bad);
        rig.any_run(DEADLINE).await;
        rig.stuck_run().await;
        let verified = rig.verify().await;
        assert_eq!(verified["status"], "broken", "{verified:#}");
        let findings = verified["findings"].as_array().unwrap();
        for finding in findings {
            let [from, to] = [time(&finding["from"]), time(&finding["to"])];
            assert!(finding["stream"] == stream && finding["key"].is_null(), "{finding:#}");
            assert!(bad.iter().any(|at| (from - at).abs() <= NEAR && (to - at).abs() <= NEAR), "{finding:#}");
            assert!(finding["wrong"].as_str().unwrap().contains("stuck"), "{finding:#}");
        }
        for at in bad {
            let of_it = |finding: &&Value| (time(&finding["from"]) - at).abs() <= NEAR;
            assert!(findings.iter().any(|finding| of_it(&finding)), "{at}: {verified:#}");
        }
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        rig.assert_whole().await;
    }
}
