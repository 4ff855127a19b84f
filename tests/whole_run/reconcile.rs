//! Recounts: late records are added once, and a window without any costs only one small request.

use serde_json::{Value, json};
use simulator::{ApiRequest, Dataset, Endpoint, LambdaBuilder, Late};

use crate::oracle::{millis, span_of};
use crate::rig::{DEADLINE, Rig, ago, assert_same, time};

/// Settings that make the next run count each window again.
pub fn at_once(lambda: LambdaBuilder) -> LambdaBuilder {
    lambda.env("STREAMS", "audit,file_events").env("RECONCILE_MINUTES", "0")
}

pub fn audit_row(n: usize, seconds_ago: i64) -> String {
    format!(r#"{{"type$":"audit_log::late/1","n":{n},"timestamp":"{}"}}"#, ago(seconds_ago).to_rfc3339())
}

pub fn file_event(n: usize, seconds_ago: i64) -> String {
    format!(r#"{{"event":{{"id":"late-{n}","inserted":"{}"}}}}"#, ago(seconds_ago).to_rfc3339())
}

impl Rig {
    pub fn populate_with_events(&self) {
        self.sim.world.add_audit(120, ago(3_000), ago(10));
        self.sim.world.add_file_events(150, ago(3_000), ago(10));
    }

    pub async fn assert_holds_both(&self) {
        self.assert_holds("audit", &self.sim.world.audit()).await;
        self.assert_holds("file_events", &self.sim.world.file_events()).await;
    }

    pub async fn waiting(&self, stream: &str) -> Vec<Value> {
        self.checkpoint().await["events"][stream]["recount"].as_array().cloned().unwrap_or_default()
    }

    /// Returns the requests since the log was cleared that equal this one except for paging.
    pub fn sent_again(&self, endpoint: Endpoint, request: &Value) -> Vec<ApiRequest> {
        let request = request.as_object().expect("a request");
        let is_paging = |name: &str| name.starts_with("pg") || name.starts_with("page");
        let is_it = |body: &Value| request.iter().all(|(name, value)| is_paging(name) || body[name] == *value);
        self.sim.api.requests_to(endpoint).into_iter().filter(|sent| is_it(&sent.json())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_up_after_its_window_was_covered_is_added_once_beside_it() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let before = [rig.keys("audit").await, rig.keys("file_events").await];
    let readings = rig.readings().await;
    rig.sim.world.push_audit(audit_row(1, 700));
    rig.sim.world.push_file_event(file_event(1, 900));
    let late = [(rig.sim.world.audit().pop().unwrap(), 700), (rig.sim.world.file_events().pop().unwrap(), 900)];
    let answer = rig.run().await;
    rig.assert_holds_both().await;
    for (n, stream) in ["audit", "file_events"].into_iter().enumerate() {
        let record = &late[n].0;
        let key = before[n].iter().find(|key| {
            let (from, to) = span_of(key);
            from <= record.time && record.time < to
        });
        let beside = key.expect("its window").replace(".ndjson.gz", "-r1.ndjson.gz");
        assert_eq!(rig.lines(&beside).await, [record.raw.to_string()]);
        let told = &answer["streams"][stream];
        assert_eq!((&told["late"], &told["records"]), (&json!(1), &json!(1)), "{answer:#}");
        let is_its = |reading: &&Value| {
            reading["stream"] == stream
                && time(&reading["window"][0]) <= record.time
                && record.time < time(&reading["window"][1])
        };
        let covered_at = time(&readings.iter().find(is_its).unwrap()["closed_at"]);
        let by = covered_at.timestamp_millis() - record.time.timestamp_millis();
        assert_eq!(told["late_by_s"], (by + 999) / 1_000, "{answer:#}");
        assert!((late[n].1 - 5..late[n].1 + 5).contains(&told["late_by_s"].as_i64().unwrap()));
    }
    for _ in 0..4 {
        let answer = rig.run().await;
        for stream in ["audit", "file_events"] {
            assert_eq!(
                (answer["streams"][stream].get("late"), &answer["streams"][stream]["records"]),
                (None, &json!(0))
            );
        }
    }
    rig.assert_holds_both().await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_own_window_s_reading_did_not_show_yet_is_added_once() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    for n in 0..3 {
        rig.sim.world.push_late(Dataset::Audit, audit_row(n, 400), Late::Requests(3));
        rig.sim.world.push_late(Dataset::FileEvents, file_event(n, 400), Late::Requests(2));
    }
    let first = rig.run().await;
    assert_eq!(
        (&first["streams"]["audit"]["records"], &first["streams"]["file_events"]["records"]),
        (&json!(120), &json!(150))
    );
    for _ in 0..4 {
        rig.run().await;
    }
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_up_in_a_window_that_was_empty_gets_the_window_s_own_key() {
    let rig = Rig::with(at_once).await;
    rig.run().await;
    for stream in ["audit", "file_events"] {
        assert_eq!((rig.keys(stream).await.len(), &rig.waiting(stream).await[0]["count"]), (0, &json!(0)));
    }
    let window = rig.waiting("audit").await[0]["span"].clone();
    rig.sim.world.push_audit(audit_row(1, 700));
    rig.sim.world.push_file_event(file_event(1, 700));
    let answer = rig.run().await;
    for stream in ["audit", "file_events"] {
        assert_eq!(answer["streams"][stream]["late"], 1, "{answer:#}");
        let keys = rig.keys(stream).await;
        assert!(keys.len() == 1 && !keys[0].contains("-r"), "{keys:?}");
        let (from, to) = span_of(&keys[0]);
        let hour = from.timestamp() / 3_600 * 3_600;
        assert_eq!(from.timestamp_millis(), time(&window[0]).timestamp_millis().max(hour * 1_000), "{keys:?}");
        assert_eq!(to.timestamp_millis(), time(&window[1]).timestamp_millis().min((hour + 3_600) * 1_000), "{keys:?}");
    }
    for _ in 0..3 {
        rig.run().await;
    }
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_row_that_is_alike_to_a_stored_one_in_every_byte_is_a_second_record() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let twin = rig.sim.world.audit()[50].raw.to_string();
    rig.sim.world.push_audit(twin);
    for _ in 0..3 {
        rig.run().await;
    }
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_late_it_costs_one_small_request_a_window_and_two_of_audit() {
    let rig = Rig::with(|lambda| at_once(lambda).env("FE_PAGE_SIZE", "20").env("AUDIT_PAGE_SIZE", "15")).await;
    rig.populate_with_events();
    rig.run().await;
    let (audit, file_events) = (rig.waiting("audit").await, rig.waiting("file_events").await);
    assert!(audit.len() > 2 && file_events.len() > 2);
    for times in [1, 0] {
        rig.sim.api.clear_log();
        rig.run().await;
        // Rows that fit a page are shown. A page of audit has no count, and is looked at also where none are counted.
        let fits = |recount: &Value, rows: std::ops::Range<u64>| {
            recount["count"].as_u64().is_some_and(|of| rows.contains(&of))
        };
        for recount in &audit {
            let (counts, pages) = (
                rig.sent_again(Endpoint::AuditCount, &recount["request"]),
                rig.sent_again(Endpoint::AuditSearch, &recount["request"]),
            );
            let shown = if fits(recount, 0..15) { times } else { 0 };
            assert_eq!((counts.len(), pages.len()), (times, shown), "{recount:#}");
        }
        for recount in &file_events {
            let pages = rig.sent_again(Endpoint::FileEvents, &recount["request"]);
            let size = if fits(recount, 1..20) { 20 } else { 1 };
            assert!(pages.len() == times && pages.iter().all(|page| page.json()["pgSize"] == size), "{recount:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_api_no_longer_counts_are_told_and_stay_stored() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let before = [rig.stored("audit").await, rig.stored("file_events").await];
    for n in [30, 60] {
        let event = rig.sim.world.file_events()[n].id.to_string();
        rig.sim.world.remove(Dataset::FileEvents, &event);
    }
    let row = rig.sim.world.audit()[30].id.to_string();
    rig.sim.world.remove(Dataset::Audit, &row);
    let answer = rig.run().await;
    assert_eq!(
        (&answer["streams"]["audit"]["vanished"], &answer["streams"]["file_events"]["vanished"]),
        (&json!(1), &json!(2)),
        "{answer:#}"
    );
    assert_eq!(answer["status"], "complete");
    assert_eq!(rig.run().await["streams"]["audit"].get("vanished"), None, "reported once");
    assert_eq!([rig.stored("audit").await, rig.stored("file_events").await], before);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_shows_up_as_another_vanishes_is_stored() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let [mut audit, mut events] = [rig.stored("audit").await, rig.stored("file_events").await];
    let gone = [rig.sim.world.audit()[30].id.to_string(), rig.sim.world.file_events()[30].id.to_string()];
    for (dataset, id) in [Dataset::Audit, Dataset::FileEvents].into_iter().zip(&gone) {
        rig.sim.world.remove(dataset, id);
    }
    audit.push(rig.sim.world.push_audit(audit_row(1, 900)).to_string());
    events.push(rig.sim.world.push_file_event(file_event(1, 900)).to_string());
    let answer = rig.run().await;
    let late = ["audit", "file_events"].map(|stream| &answer["streams"][stream]["late"]);
    assert_eq!(late, [&json!(1), &json!(1)], "{answer:#}");
    assert_same("audit", rig.stored("audit").await, audit);
    assert_same("file_events", rig.stored("file_events").await, events);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_in_which_more_showed_up_than_vanished_is_whole_all_the_same() {
    let rig = Rig::with(at_once).await;
    rig.populate_with_events();
    rig.run().await;
    let mut expected = rig.stored("file_events").await;
    let gone = rig.sim.world.file_events()[75].id.to_string();
    rig.sim.world.remove(Dataset::FileEvents, &gone);
    for n in 0..2 {
        expected.push(rig.sim.world.push_file_event(file_event(n, 900)).to_string());
    }
    rig.run().await;
    rig.run().await;
    assert_same("file_events", rig.stored("file_events").await, expected);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_to_nothing_no_window_is_ever_counted_again() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit").env("RECONCILE_MINUTES", "")).await;
    rig.populate_with_events();
    rig.run().await;
    rig.sim.world.push_audit(audit_row(1, 700));
    let first = rig.readings().await.remove(0)["request"].clone();
    assert_eq!(rig.sent_again(Endpoint::AuditCount, &first).len(), 2, "before and after it was read");
    rig.sim.api.clear_log();
    for _ in 0..2 {
        let answer = rig.run().await;
        assert_eq!((answer["streams"]["audit"].get("late"), &answer["streams"]["audit"]["records"]), (None, &json!(0)));
    }
    assert_eq!((rig.sent_again(Endpoint::AuditCount, &first).len(), rig.waiting("audit").await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_is_waited_for_in_its_turn() {
    let rig = Rig::with(|lambda| at_once(lambda).env("RECONCILE_MINUTES", "1,0")).await;
    rig.populate_with_events();
    rig.run().await;
    let first = rig.waiting("audit").await[0].clone();
    let covered_at = time(&first["covered_at"]);
    assert_eq!(first["due"], json!([millis(covered_at), millis(covered_at + chrono::TimeDelta::minutes(1))]));
    rig.sim.world.push_audit(audit_row(1, 700));
    assert_eq!(rig.run().await["streams"]["audit"]["late"], 1);
    let second = rig.waiting("audit").await[0].clone();
    assert_eq!((&second["span"], &second["due"]), (&first["span"], &json!([first["due"][1]])));
    assert_eq!(second["count"].as_u64().unwrap(), first["count"].as_u64().unwrap() + 1);
    // Adds a record a minute later.
    rig.sim.world.push_audit(audit_row(2, 600));
    assert_eq!(rig.run().await["streams"]["audit"].get("late"), None, "not yet");
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["recount"][0]["due"][0] = json!(millis(ago(1))))
        .await;
    assert_eq!(rig.run().await["streams"]["audit"]["late"], 1);
    let spans: Vec<Value> = rig.waiting("audit").await.iter().map(|recount| recount["span"].clone()).collect();
    assert!(!spans.contains(&first["span"]), "that was the last recount");
    // `-r1` and `-r2`, or `-r1` twice if a new hour has begun in between.
    let is_beside = |key: &&String| key.ends_with("-r1.ndjson.gz") || key.ends_with("-r2.ndjson.gz");
    assert_eq!(rig.keys("audit").await.iter().filter(is_beside).count(), 2);
    rig.run().await;
    rig.assert_holds_both().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_delivered_a_window_is_counted_again_after_an_hour_and_a_day_and_not_before() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.populate_with_events();
    rig.run().await;
    let readings = rig.readings().await;
    for stream in ["audit", "file_events"] {
        let waiting = rig.waiting(stream).await;
        let windows: Vec<&Value> = readings.iter().filter(|reading| reading["stream"] == stream).collect();
        assert_eq!(waiting.len(), windows.len());
        for (recount, reading) in waiting.iter().zip(windows) {
            let at = time(&reading["closed_at"]);
            let due = [60, 1_440].map(|minutes| millis(at + chrono::TimeDelta::minutes(minutes)));
            assert_eq!(
                (&recount["span"], &recount["count"], &recount["due"]),
                (&reading["window"], &reading["total"], &json!(due))
            );
            assert_eq!(recount["request"], reading["request"], "the exact request");
        }
    }
    rig.sim.api.clear_log();
    rig.run().await;
    for reading in &readings {
        for endpoint in [Endpoint::AuditCount, Endpoint::FileEvents] {
            assert!(rig.sent_again(endpoint, &reading["request"]).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_span_in_which_more_shows_up_than_a_window_holds_is_cut() {
    let rig = Rig::with(|lambda| at_once(lambda).env("FE_PAGE_SIZE", "5").env("AUDIT_PAGE_SIZE", "5")).await;
    rig.run().await;
    rig.sim.world.add_audit(110, ago(3_000), ago(60));
    rig.sim.world.add_file_events(130, ago(3_000), ago(60));
    let answer = rig.run().await;
    assert_eq!(
        (&answer["streams"]["audit"]["late"], &answer["streams"]["file_events"]["late"]),
        (&json!(110), &json!(130)),
        "{answer:#}"
    );
    for stream in ["audit", "file_events"] {
        let keys = rig.keys(stream).await;
        assert!(keys.len() >= 5, "{keys:?}");
        for key in keys {
            let rows = rig.lines(&key).await.len();
            assert!(rows <= 25, "{rows} rows in {key}, and a page holds 5");
        }
    }
    for _ in 0..3 {
        rig.run().await;
    }
    rig.assert_holds_both().await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_counted_again_with_the_very_query_that_covered_it() {
    let query = |id: &str| {
        format!(
            r#"{{"groups":[{{"filterClause":"AND","filters":[{{"term":"user.id","operator":"IS","value":"{id}"}}]}}]}}"#
        )
    };
    let with = |id: &str| {
        let query = query(id);
        move |lambda: LambdaBuilder| {
            lambda.env("STREAMS", "file_events").env("RECONCILE_MINUTES", "0").env("FE_QUERY_JSON", query)
        }
    };
    let event = |n: usize, user: &str| {
        let at = ago(600).to_rfc3339();
        format!(r#"{{"event":{{"id":"e{n}","inserted":"{at}"}},"user":{{"id":"{user}"}}}}"#)
    };
    let rig = Rig::with(with("old")).await;
    let mut expected = vec![rig.sim.world.push_file_event(event(1, "old")).to_string()];
    rig.run().await;
    let recount = rig.waiting("file_events").await[0].clone();
    expected.push(rig.sim.world.push_file_event(event(2, "old")).to_string());
    rig.sim.world.push_file_event(event(3, "new"));
    rig.sim.api.clear_log();
    let other = rig.container(with("new"));
    let answer = other.invoke(json!({}), DEADLINE).await.answer();
    assert_eq!(answer["streams"]["file_events"]["late"], 1, "{answer:#}");
    let counted = rig.sim.api.requests_to(Endpoint::FileEvents).into_iter().map(|request| request.json());
    let mut same: Vec<Value> = counted.filter(|body| body["groups"] == recount["request"]["groups"]).collect();
    assert_eq!(same.remove(0)["pgSize"], 200, "so few rows are shown");
    assert!(!same.is_empty() && same.iter().all(|body| body["groups"].to_string().contains("\"old\"")));
    other.invoke(json!({}), DEADLINE).await.answer();
    assert_same("file_events", rig.stored("file_events").await, expected);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_span_of_another_query_is_read_whole_and_never_cut() {
    let query =
        r#"{"groups":[{"filterClause":"AND","filters":[{"term":"event.id","operator":"IS_NOT","value":"nobody"}]}]}"#;
    let with = |lambda: LambdaBuilder| at_once(lambda).env("STREAMS", "file_events").env("FE_PAGE_SIZE", "5");
    let rig = Rig::with(|lambda| with(lambda).env("FE_QUERY_JSON", query)).await;
    rig.run().await;
    rig.sim.world.add_file_events(60, ago(1_000), ago(900));
    let other = rig.container(with);
    for _ in 0..2 {
        other.invoke(json!({}), DEADLINE).await.answer();
    }
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_asked_for_by_hand_is_counted_again_by_the_schedule_only() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "audit")).await;
    rig.run().await;
    let event = json!({"action": "collect", "from": ago(20_000).to_rfc3339(), "to": ago(10_000).to_rfc3339()});
    rig.invoke(event.clone()).await.answer();
    rig.sim.world.push_audit(audit_row(1, 15_000));
    assert_eq!(rig.invoke(event).await.answer()["streams"]["audit"]["records"], 0);
    assert_eq!(rig.run().await["streams"]["audit"]["late"], 1);
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_windows_than_one_run_counts_again_the_rest_is_the_next_one_s() {
    let rig = Rig::with(|lambda| at_once(lambda).env("STREAMS", "file_events").env("FE_PAGE_SIZE", "2")).await;
    rig.sim.world.add_file_events(800, ago(3_500), ago(60));
    rig.run().await;
    let windows = rig.waiting("file_events").await;
    assert!(windows.len() > 110, "{} windows", windows.len());
    // In the last of these windows.
    rig.sim.world.push_file_event(file_event(1, 61));
    rig.sim.api.clear_log();
    assert_eq!(rig.run().await["streams"]["file_events"].get("late"), None);
    let again = |recount: &&Value| !rig.sent_again(Endpoint::FileEvents, &recount["request"]).is_empty();
    assert_eq!(windows.iter().filter(again).count(), 100);
    assert_eq!(rig.run().await["streams"]["file_events"]["late"], 1);
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_whole().await;
}
