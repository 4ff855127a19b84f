//! Several faults that last, all at once, of every kind: each is stuck by itself, with its own error, and all else is
//! stored.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Record, compact};

use crate::capped::add_small;
use crate::hard_windows::{add_large, dies, foreign_object, in_small_windows, peak_of, reads};
use crate::inventories::stream_named;
use crate::oracle::{millis, span_of};
use crate::rig::{DEADLINE, Rig, ago, assert_same, time};
use crate::stuck::{assert_stuck, miscounts, names};

/// A run that may fail, and that no dead run's lease keeps from its work.
async fn free_run(rig: &Rig) -> Value {
    for _ in 0..5 {
        rig.free_the_lease().await;
        let answer = rig.any_run(DEADLINE).await;
        if answer["status"] != "skipped" {
            return answer;
        }
    }
    panic!("skipped again and again");
}

/// The lines of a stream that has lists, but for one list of one record.
fn lines_without(rig: &Rig, stream: &str, list: &str, of: &str) -> Vec<String> {
    let stream = stream_named(stream);
    let refused = format!(r#"{{"_list":"{list}","{}":"{of}","#, stream.lists[0].2);
    stream.lines(&rig.sim.world).into_iter().filter(|line| !line.starts_with(&refused)).collect()
}

/// The times of the records that are not stored.
fn missing_of(records: &[Record], stored: &[String]) -> Vec<DateTime<Utc>> {
    let is_missing = |record: &&Record| !stored.contains(&compact(&record.raw));
    records.iter().filter(is_missing).map(|record| record.time).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_spans_cases_a_refused_list_large_records_and_a_foreign_object_hold_up_nothing_else_all_at_once() {
    let rig = Rig::with(|lambda| {
        let lambda = in_small_windows(lambda, "audit,file_events,cases,watchlists,users");
        lambda.env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    let audit = rig.sim.world.add_audit(400, ago(3_400), ago(5));
    let file_events = add_large(&rig, 240);
    rig.sim.world.add_cases(40, ago(80_000), ago(900));
    rig.sim.world.add_users(40);
    let watchlists = stream_named("watchlists").populate(&rig.sim.world, 6);
    let refused = watchlists[2].id.to_string();
    let ail = || {
        for id in [17, 18, 19] {
            rig.sim.faults.ail_at(format!("/v1/cases/{id}"), Fault::Status(500, "{}".into()));
        }
        rig.sim.faults.ail_at(format!("/v2/watchlists/{refused}/members"), Fault::Forbidden);
    };
    // The run that dies opens no window of file events: such a window would keep its bounds for a quarter of an hour. It
    // may read the lists, so these fail already.
    ail();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Hang);
    let (key, foreign) = foreign_object(&rig, "audit").await;
    rig.sim.faults.clear();
    ail();
    let bad = [ago(2_800), ago(2_800) + TimeDelta::minutes(38)];
    miscounts(&rig, Endpoint::FileEvents, &bad);
    let mut answer = Value::Null;
    for _ in 0..3 {
        answer = free_run(&rig).await;
    }
    assert!(peak_of(&rig) < 256, "{} MiB", peak_of(&rig));

    // The error of each is its own.
    let told = assert_stuck(&answer, "audit", 1);
    assert_eq!(told["error"]["type"], "FirstPartyGenericError", "{answer:#}");
    let [from, to] = ["from", "to"].map(|end| time(&told["stuck"]["oldest"][end]));
    let (key_from, key_to) = span_of(&key);
    assert!(from <= key_from && key_to <= to, "{key}: {answer:#}");
    rig.assert_stuck_at(&answer, "file_events", &bad).await;
    let told = assert_stuck(&answer, "cases", 3);
    assert!(["17", "18", "19"].iter().all(|id| names(&told["error"]["message"], id)), "{answer:#}");
    let told = assert_stuck(&answer, "watchlists", 1);
    assert_eq!(told["stuck"]["oldest"], json!({"list": "members", "id": refused}), "{answer:#}");
    for stream in ["file_events", "cases", "watchlists"] {
        assert_eq!(answer["streams"][stream]["error"]["type"], "ThirdPartyGenericError", "{answer:#}");
    }
    assert_eq!(answer["streams"]["users"]["status"], "complete", "{answer:#}");

    // All else is stored, and the foreign object is as it was. It is no gzip, and so can't be read beside the others.
    assert_eq!(rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap().bytes, foreign);
    rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    let stored = rig.stored("audit").await;
    let elsewhere = audit.iter().filter(|record| record.time < from || to <= record.time);
    let held_up = elsewhere.filter(|record| !stored.contains(&compact(&record.raw))).count();
    assert_eq!(held_up, 0, "{from} to {to} is stuck");
    rig.assert_holds_all_but("file_events", &file_events, &bad).await;
    let cases = rig.sim.world.cases();
    let sound: Vec<Record> = cases.iter().filter(|case| !["17", "18", "19"].contains(&&*case.id)).cloned().collect();
    rig.assert_holds("cases", &sound).await;
    assert_same("watchlists", rig.stored("watchlists").await, lines_without(&rig, "watchlists", "members", &refused));
    rig.assert_holds("users", &rig.sim.world.users()).await;

    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    for stream in ["audit", "file_events", "cases", "watchlists", "users"] {
        rig.assert_nothing_stuck(&answer, stream).await;
    }
    rig.assert_holds("audit", &audit).await;
    rig.assert_holds("file_events", &file_events).await;
    rig.assert_holds("cases", &cases).await;
    stream_named("watchlists").assert_holds(&rig, &[]).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadly_window_behind_a_capped_total_sessions_a_refused_list_and_bad_spans_are_each_stuck_alone() {
    let rig = Rig::with(|lambda| {
        let lambda = in_small_windows(lambda, "file_events,audit,session_events,alert_rules,users");
        lambda.env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    add_small(&rig.sim.world, 1_200, ago(3_400), ago(400));
    let file_events = rig.sim.world.file_events();
    let audit = rig.sim.world.add_audit(300, ago(3_400), ago(5));
    rig.sim.world.add_users(20);
    let rules = stream_named("alert_rules").populate(&rig.sim.world, 6);
    let sessions = rig.sim.world.add_sessions(10, ago(3_400), ago(60), true);
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    rig.sim.faults.cap_total(Endpoint::FileEvents, 200);
    let bad = [ago(2_600)];
    miscounts(&rig, Endpoint::AuditCount, &bad);
    for session in &sessions[3..6] {
        let path = format!("/v1/sessions/{}/events", session.id);
        rig.sim.faults.ail_at(path, Fault::Status(500, "{}".into()));
    }
    let refused = rules[2].id.to_string();
    rig.sim.faults.ail_at(format!("/v2/alert-rules/{refused}/users"), Fault::Forbidden);
    let (deadly, lambda) = (ago(2_500), rig.lambda.clone());
    rig.sim.faults.when(Endpoint::FileEvents, move |request| reads(request, deadly), Fault::run(move || lambda.kill()));
    for _ in 0..2 {
        dies(&rig).await;
    }
    // Each of these reads all other file events first. It dies at the window again, which ends the other streams too, or
    // leaves it for later.
    let mut missing;
    let mut runs = 0;
    loop {
        rig.free_the_lease().await;
        rig.invoke(json!({})).await;
        runs += 1;
        missing = missing_of(&file_events, &rig.stored("file_events").await);
        let stuck = (rig.stuck("session_events").await.len(), rig.stuck("alert_rules").await.len());
        let audit = missing_of(&audit, &rig.stored("audit").await);
        let held_up = audit.iter().filter(|at| (**at - bad[0]).abs() > TimeDelta::seconds(10)).count();
        if (stuck, held_up) == ((3, 1), 0) && missing.len() <= 200 || runs == 8 {
            break;
        }
    }
    assert!(missing.len() <= 200, "{} of {} wait behind a deadly window", missing.len(), file_events.len());
    let is_far = |at: &&DateTime<Utc>| (**at - deadly).abs() > TimeDelta::minutes(10);
    assert_eq!(missing.iter().find(is_far), None, "far from {deadly}");
    rig.assert_holds_all_but("audit", &audit, &bad).await;
    assert_eq!(rig.stored("session_events").await.len(), 14, "of seven sessions");
    assert_same("alert_rules", rig.stored("alert_rules").await, lines_without(&rig, "alert_rules", "users", &refused));
    rig.assert_holds("users", &rig.sim.world.users()).await;
    for (stream, count) in [("session_events", 3), ("alert_rules", 1)] {
        assert_eq!(rig.stuck(stream).await.len(), count, "{stream}");
    }
    let spans = rig.stuck_spans("audit").await;
    // A run that died had opened the window, so it keeps its bounds for a while. What it shows is stored all the same.
    let [(_, [from, to])] = spans.as_slice() else { panic!("{spans:?} for {bad:?}") };
    assert!(*from <= bad[0] && bad[0] <= *to, "{spans:?} for {bad:?}");

    rig.sim.faults.clear();
    rig.free_the_lease().await;
    // As if the runs had died so long ago that none of their requests can still arrive.
    rig.edit_checkpoint(|checkpoint| {
        for stream in ["audit", "file_events"] {
            for window in checkpoint["events"][stream]["open"].as_array_mut().into_iter().flatten() {
                window["opened_by"]["until"] = json!(millis(ago(3_600)));
            }
        }
    })
    .await;
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.recover().await;
    rig.assert_holds("file_events", &file_events).await;
    rig.assert_holds("audit", &audit).await;
    stream_named("alert_rules").assert_holds(&rig, &[]).await;
    assert_eq!(rig.stored("session_events").await.len(), 20);
    rig.assert_whole().await;
}
