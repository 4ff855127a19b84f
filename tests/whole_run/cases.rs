//! Versions: cases, which change until they are archived.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use simulator::{Endpoint, Fault, compact, with_member};

use crate::rig::{Rig, ago, assert_same};

async fn rig() -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", "cases")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_its_detail_and_is_stored_again_when_it_changed() {
    let rig = rig().await;
    rig.sim.world.add_cases(5, ago(90 * 86_400), ago(86_400));
    rig.run().await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
    let before: Vec<String> = rig.stored("cases").await;
    assert!(before.iter().all(|line| line.contains("\"findings\"")), "the list item has no findings");
    let changed = rig.sim.world.update_case(3, |raw| with_member(raw, "status", "\"CLOSED\""));
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["cases"]["records"], 1, "{answer:#}");
    assert_same("cases", rig.stored("cases").await, before.into_iter().chain([compact(&changed)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_changes_back_has_changed_twice() {
    let rig = rig().await;
    rig.sim.world.add_cases(1, ago(900), ago(800));
    rig.run().await;
    let first = rig.sim.world.cases()[0].clone();
    let at = first.time;
    rig.sim.world.update_case(1, |raw| with_member(raw, "name", "\"renamed\""));
    rig.run().await;
    rig.sim.world.update_case_at(1, at + TimeDelta::zero(), |_| first.raw.to_string());
    rig.sim.world.update_case_at(1, ago(0), |_| first.raw.to_string());
    rig.run().await;
    assert_eq!(rig.stored("cases").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_updated_since_the_last_list_is_asked_for_less_ten_minutes() {
    let rig = rig().await;
    rig.sim.world.add_cases(30, ago(90 * 86_400), ago(86_400));
    rig.run().await;
    rig.sim.api.clear_log();
    let answer = rig.run().await;
    assert_eq!(
        (&answer["streams"]["cases"]["records"], &answer["streams"]["cases"]["requests"]),
        (&0.into(), &1.into())
    );
    let query = &rig.sim.api.requests_to(Endpoint::CaseList)[0].query;
    assert!(query.contains("updatedAt="), "{query}");
    let first = Rig::new().await;
    first.run().await;
    assert!(
        !first.sim.api.requests_to(Endpoint::CaseList)[0].query.contains("updatedAt"),
        "all of them the first time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_becomes_visible_minutes_late_is_still_seen() {
    let rig = rig().await;
    rig.sim.world.add_cases(2, ago(900), ago(800));
    rig.run().await;
    let changed = rig.sim.world.update_case_at(2, ago(9 * 60), |raw| with_member(raw, "name", "\"late\""));
    rig.run().await;
    assert!(rig.stored("cases").await.contains(&compact(&changed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_whose_detail_fails_holds_up_no_other_and_is_fetched_later() {
    let rig = rig().await;
    rig.sim.world.add_cases(8, ago(900), ago(800));
    rig.sim.faults.when(Endpoint::CaseDetail, |request| request.path.ends_with("/4"), Fault::Status(500, "{}".into()));
    let (error_type, answer) = rig.failure(serde_json::json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert_eq!(answer["streams"]["cases"]["records"], 7, "{answer:#}");
    rig.sim.world.add_cases(1, ago(20), ago(10));
    rig.failure(serde_json::json!({})).await;
    assert_eq!(rig.stored("cases").await.len(), 8, "a new case is not held up either");
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.run().await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_listed_and_not_found_is_asked_for_again() {
    let rig = rig().await;
    rig.sim.world.add_cases(3, ago(900), ago(800));
    rig.sim.faults.when(Endpoint::CaseDetail, |request| request.path.ends_with("/2"), Fault::Status(404, "{}".into()));
    let (_, answer) = rig.failure(json!({})).await;
    let told = &answer["streams"]["cases"];
    assert_eq!((&told["records"], &told["set_aside"], &told["stuck"]["count"]), (&2.into(), &0.into(), &1.into()));
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_cases_than_fit_a_run_are_fetched_over_several() {
    let rig = rig().await;
    rig.sim.world.add_cases(60, ago(900), ago(800));
    rig.sim.faults.always(Endpoint::CaseDetail, Fault::Late(Duration::from_millis(250)));
    let mut stored = 0;
    for run in 0.. {
        assert!(run < 20, "no progress");
        let answer = rig.run_within(Duration::from_secs(4)).await;
        let now = rig.stored("cases").await.len();
        assert!(now > stored, "a run of 4 s makes progress: {answer:#}");
        stored = now;
        if answer["status"] == "complete" {
            break;
        }
        assert_eq!(answer["status"], "partial");
    }
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_page_exactly_full_and_no_cases_at_all_are_complete() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases").env("PAGE_SIZE", "5")).await;
    assert_eq!(rig.run().await["streams"]["cases"]["records"], 0);
    rig.sim.world.add_cases(5, ago(60), ago(10));
    assert_eq!(rig.run().await["streams"]["cases"]["records"], 5);
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_shifts_between_two_runs_loses_no_case() {
    for shift in [-2, 2] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases").env("PAGE_SIZE", "5")).await;
        rig.sim.world.add_cases(12, ago(80_000), ago(900));
        rig.sim.faults.once(Endpoint::CaseList, 2, Fault::Hang);
        assert_eq!(rig.run_within(Duration::from_secs(5)).await["status"], "partial");
        rig.sim.faults.clear();
        // The second page repeats rows of the first and hides as many of its own.
        rig.sim.faults.once(Endpoint::CaseList, 1, Fault::ShiftPages(shift));
        rig.run().await;
        rig.assert_holds("cases", &rig.sim.world.cases()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_stored_anew_each_month_also_where_nothing_changes() {
    let rig = rig().await;
    rig.sim.world.add_cases(3, ago(80_000), ago(900));
    rig.run().await;
    let checkpoint = rig.checkpoint().await;
    let key = checkpoint["versions"]["cases"]["stored"]["known"]["key"].as_str().unwrap().to_owned();
    let month = format!("/{}/", Utc::now().format("%Y-%m"));
    let old = key.replace(&month, "/2026-01/");
    assert_ne!(old, key, "its month is part of the key");
    // As if the object had been written months ago.
    let object = rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap();
    rig.sim.s3.put_raw(rig.sim.bucket(), &old, object.bytes).await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    rig.edit_checkpoint(|checkpoint| checkpoint["versions"]["cases"]["stored"]["known"]["key"] = json!(old)).await;
    assert_eq!(rig.run().await["streams"]["cases"]["records"], 0);
    assert!(rig.sim.s3.object(rig.sim.bucket(), &key).await.is_some());
    assert_eq!(rig.checkpoint().await["versions"]["cases"]["stored"]["known"]["key"], key);
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_the_client_may_not_read_holds_up_no_other_and_is_fetched_later() {
    let rig = rig().await;
    rig.sim.world.add_cases(8, ago(900), ago(800));
    rig.sim.faults.when(Endpoint::CaseDetail, |request| request.path.ends_with("/4"), Fault::Forbidden);
    for stored in [7, 8] {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(
            (error_type.as_str(), &answer["streams"]["cases"]["status"]),
            ("ThirdPartyGenericError", &json!("failed"))
        );
        assert_eq!(rig.stored("cases").await.len(), stored, "{answer:#}");
        rig.sim.world.add_cases(1, ago(20), ago(10));
    }
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.run().await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_gone_only_when_the_list_no_longer_shows_it() {
    let rig = rig().await;
    rig.sim.world.add_cases(5, ago(900), ago(800));
    let ailment = rig.sim.faults.ail_at("/v1/cases/2", Fault::Status(404, "{}".into()));
    for _ in 0..3 {
        let answer = rig.stuck_run().await;
        crate::stuck::assert_stuck(&answer, "cases", 1);
        rig.invoke(json!({"action": "restart"})).await.answer();
    }
    rig.sim.world.remove(simulator::Dataset::Cases, "2");
    ailment.heal();
    rig.assert_heals("cases").await;
    assert_eq!(rig.checkpoint().await["versions"]["cases"].get("pending"), None);
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_answered_with_another_or_without_its_number_is_asked_for_again() {
    for wrong in [r#"{"number":4,"name":"another","updatedAt":"2026-01-01T00:00:00Z"}"#, r#"{"name":"nobody's"}"#, "{}"]
    {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
        let cases = rig.sim.world.add_cases(8, ago(900), ago(800));
        let path = format!("/{}", cases[2].id);
        let is_it = move |request: &simulator::http::Request| request.path.ends_with(&path);
        rig.sim.faults.when(Endpoint::CaseDetail, is_it, Fault::Status(200, wrong.into()));
        let (error_type, answer) = rig.failure(json!({})).await;
        let told = &answer["streams"]["cases"];
        assert_eq!((error_type.as_str(), &told["stuck"]["count"]), ("ThirdPartyGenericError", &json!(1)), "{answer:#}");
        assert_eq!((&told["set_aside"], &told["records"]), (&json!(0), &json!(7)));
        rig.sim.faults.clear();
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("cases", &rig.sim.world.cases()).await;
    }
}
