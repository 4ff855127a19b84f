//! The endpoints as the Google `SecOps` guide prints them.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use serde_json::json;
use simulator::{Endpoint, Fault, LambdaBuilder, S3Fault, compact, without_members};

use crate::oracle::a_moment;
use crate::rig::{CHECKPOINT, DEADLINE, Rig, assert_same};

fn guide(lambda: LambdaBuilder) -> LambdaBuilder {
    lambda
        .env("INCYDR_API_DIALECT", "guide")
        .env("INVENTORY_INTERVAL_MINUTES", "0")
        .env("PAGE_SIZE", "7")
        .env("FE_PAGE_SIZE", "40")
        .env("AUDIT_PAGE_SIZE", "30")
}

async fn rig() -> Rig {
    let rig = Rig::with(guide).await;
    rig.sim.api.change(|behaviour| behaviour.guide_endpoints = true);
    rig
}

/// Asserts that each stream holds what the world does. A case is its list item.
async fn assert_holds(rig: &Rig) {
    let world = &rig.sim.world;
    for (stream, records) in [("file_events", world.file_events()), ("audit", world.audit()), ("users", world.users())]
    {
        rig.assert_holds(stream, &records).await;
    }
    let item = |raw: &str| compact(&without_members(raw, &["description", "findings"]));
    assert_same("cases", rig.stored("cases").await, world.cases().iter().map(|case| item(&case.raw)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_world_is_the_same_through_either_dialect() {
    for member in ["nextPageToken", "next_page_token", "nextPgToken"] {
        let rig = rig().await;
        rig.sim.api.change(|behaviour| behaviour.guide_token = member);
        rig.populate();
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{answer}");
        assert_holds(&rig).await;
        assert!(rig.sim.api.requests().iter().any(|request| request.path == "/v1/oauth/token"));
        let sdk =
            rig.container(|lambda| lambda.env("S3_PREFIX", "sdk/").env("CHECKPOINT_KEY", "sdk-state/checkpoint.json"));
        let answer = sdk.invoke(json!({}), crate::rig::DEADLINE).await.answer();
        assert_eq!(answer["status"], "complete", "{answer}");
        for stream in ["file_events", "audit", "users"] {
            let by_sdk = rig.sim.stored_lines(&format!("sdk/{stream}/")).await;
            assert_same(stream, rig.stored(stream).await, by_sdk.into_iter());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_stored_in_the_next_run() {
    let rig = rig().await;
    rig.populate();
    rig.run().await;
    let answer = rig.run().await;
    for stream in ["file_events", "audit", "users", "cases"] {
        assert_eq!(answer["streams"][stream]["objects"], 0, "{answer}");
    }
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let now = Utc::now();
    rig.sim.world.add_audit(50, now - TimeDelta::milliseconds(400), now);
    rig.sim.world.add_file_events(90, now - TimeDelta::milliseconds(400), now);
    rig.sim.world.add_users(3);
    let cases = rig.sim.world.cases();
    rig.sim.world.update_case(&cases[3].id, |raw| simulator::with_member(raw, "name", "\"new\""));
    let of_before = rig.stored("cases").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    let world = &rig.sim.world;
    for (stream, records) in [("file_events", world.file_events()), ("audit", world.audit()), ("users", world.users())]
    {
        rig.assert_holds(stream, &records).await;
    }
    assert_eq!(rig.stored("cases").await.len(), of_before.len() + 1);
}

/// Cases are an inventory in this dialect, and their state lies where an inventory's does.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_cases_are_read_is_told_and_recovered_as_of_any_list() {
    let rig = rig().await;
    rig.populate();
    rig.run().await;
    for answer in [rig.run().await, rig.invoke(json!({"action": "status"})).await.answer()] {
        let cases = &answer["streams"]["cases"];
        assert!(cases["covered_to"].is_string() && cases["lag_s"].is_u64(), "{answer:#}");
    }
    let objects = rig.keys("cases").await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    assert_eq!(rig.invoke(json!({"action": "recover"})).await.answer()["status"], "complete");
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.keys("cases").await, objects, "nothing is stored twice");
    assert_holds(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_read_once_as_there_is_no_count_to_agree_with() {
    let rig = rig().await;
    rig.populate();
    rig.run().await;
    let audit = rig.sim.api.requests_to(Endpoint::GuideAudit);
    // A second reading has another page size.
    let again = audit.iter().filter(|request| request.query.contains("pageSize=29")).count();
    assert!(!audit.is_empty() && again == 0, "{again} of {} requests", audit.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_file_events_may_stand_in_an_object_of_its_own() {
    let rig = rig().await;
    rig.sim.api.change(|behaviour| behaviour.guide_nested_token = true);
    rig.populate();
    rig.run().await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_answer_that_is_not_json_fails_the_window_which_is_read_again() {
    let rig = rig().await;
    rig.populate();
    rig.sim.faults.when(Endpoint::GuideAudit, |request| request.query.contains("pageToken=30"), Fault::Html);
    for _ in 0..2 {
        let (error, answer) = rig.failure(json!({})).await;
        let audit = &answer["streams"]["audit"];
        assert_eq!((error.as_str(), &audit["set_aside"]), ("ThirdPartyGenericError", &json!(0)), "{answer}");
        assert_eq!(rig.stored("audit").await.len(), 0, "the window is stored as a whole");
    }
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.run().await;
    assert_holds(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_that_cannot_be_read_are_errors() {
    let faults = [Fault::Html, Fault::BrokenJson, Fault::NoList, Fault::Status(500, "{}".into())];
    join_all(faults.into_iter().map(async |fault| {
        let rig = rig().await;
        rig.populate();
        rig.sim.faults.always(Endpoint::GuideFileEvents, fault);
        let (error, answer) = rig.failure(json!({})).await;
        assert_eq!(error, "ThirdPartyGenericError", "{answer}");
        rig.sim.faults.clear();
        rig.run().await;
        assert_holds(&rig).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_backlog_and_more_is_read_in_windows() {
    let rig = Rig::with(|lambda| guide(lambda).env("LOOKBACK_MINUTES", "240")).await;
    rig.sim.api.change(|behaviour| behaviour.guide_endpoints = true);
    let now = Utc::now();
    rig.sim.world.add_file_events(400, now - TimeDelta::minutes(230), now - TimeDelta::seconds(5));
    rig.sim.world.add_audit(200, now - TimeDelta::minutes(230), now - TimeDelta::seconds(5));
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    assert_holds(&rig).await;
    assert!(rig.checkpoint().await["events"]["audit"].get("recount").is_none(), "nothing is counted again");
    let verified = rig.invoke(json!({"action": "verify"})).await.answer();
    assert_eq!(verified["status"], "whole", "{verified}");
    assert!(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_guide_has_not_are_refused() {
    let rig = Rig::with(|lambda| guide(lambda).env("STREAMS", "audit,sessions")).await;
    let (error, answer) = rig.failure(json!({})).await;
    assert_eq!(error, "ThirdPartyConfigError");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("STREAMS is \"audit,sessions\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_what_the_guide_prints() {
    let rig = rig().await;
    rig.populate();
    let answer = rig.invoke(json!({"action": "probe"})).await.answer();
    assert_eq!(answer["status"], "complete", "{answer}");
    for stream in ["audit", "file_events", "cases", "users"] {
        assert_eq!(answer["streams"][stream]["permitted"], true, "{answer}");
    }
    assert_eq!(answer["streams"].as_object().unwrap().len(), 4);
    let answer = rig.invoke(json!({"action": "probe", "streams": ["agents"]})).await.answer();
    assert_eq!(answer["streams"]["agents"]["error"]["type"], "InvalidEvent", "{answer}");
    let (error, _) = rig.failure(json!({"action": "health"})).await;
    assert_eq!(error, "InvalidEvent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_that_names_another_is_not_the_last() {
    let rig = rig().await;
    rig.populate();
    for (endpoint, list) in
        [(Endpoint::GuideAudit, "events"), (Endpoint::Users, "users"), (Endpoint::CaseList, "cases")]
    {
        // On the first page, and on a later one.
        for (nth, next) in [(1, "0"), (3, "007")] {
            let empty = format!(r#"{{"{list}":[],"nextPageToken":"{next}"}}"#);
            rig.sim.faults.once(endpoint, nth, Fault::Status(200, empty));
        }
    }
    let empty = r#"{"fileEvents":[],"nextPageToken":"0"}"#;
    rig.sim.faults.once(Endpoint::GuideFileEvents, 1, Fault::Status(200, empty.into()));
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    for r in rig.sim.api.requests() {
        println!("{} {}", r.path, r.query);
    }
    assert_eq!(rig.sim.faults.struck(), 7);
    assert_holds(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_names_another_and_has_no_list_is_not_an_empty_one() {
    let rig = rig().await;
    rig.populate();
    for endpoint in [Endpoint::GuideAudit, Endpoint::GuideFileEvents, Endpoint::Users] {
        rig.sim.faults.once(endpoint, 2, Fault::NoList);
    }
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    assert_holds(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_whose_page_token_repeats_is_an_error_and_not_the_end() {
    let rig = rig().await;
    let now = Utc::now();
    rig.sim.world.add_audit(120, now - TimeDelta::minutes(50), now - TimeDelta::minutes(10));
    let shown = rig.sim.world.audit()[..10].iter().map(|record| record.raw.to_string()).collect::<Vec<_>>().join(",");
    let page = format!(r#"{{"events":[{shown}],"nextPageToken":"p2"}}"#);
    rig.sim.faults.always(Endpoint::GuideAudit, Fault::Status(200, page));
    let (error_type, answer) = rig.failure(json!({"action": "collect", "streams": ["audit"]})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    assert_eq!(rig.stored("audit").await.len(), 0);
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.any_run(crate::rig::DEADLINE).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_does_not_fit_a_run_is_shorter_in_the_next_one() {
    let rig = Rig::with(|lambda| guide(lambda).env("STREAMS", "file_events").env("FE_PAGE_SIZE", "7")).await;
    rig.sim.api.change(|behaviour| {
        behaviour.guide_endpoints = true;
        behaviour.latency = Duration::from_millis(150);
    });
    let events = rig.sim.world.add_file_events(300, Utc::now() - TimeDelta::minutes(58), Utc::now());
    let mut stored = 0;
    let mut runs = 0;
    while stored < events.len() && runs < 20 {
        rig.any_run(Duration::from_secs(4)).await;
        (stored, runs) = (rig.stored("file_events").await.len(), runs + 1);
    }
    rig.assert_holds("file_events", &events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_never_fits_a_run_is_told() {
    let rig = Rig::with(|lambda| guide(lambda).env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "2")).await;
    rig.sim.api.change(|behaviour| {
        behaviour.guide_endpoints = true;
        behaviour.latency = Duration::from_millis(300);
    });
    rig.sim.world.add_audit(100, Utc::now() - TimeDelta::minutes(58), Utc::now());
    let mut answer = json!(null);
    for _ in 0..8 {
        answer = rig.any_run(Duration::from_secs(3)).await;
    }
    let told = answer["streams"]["audit"]["error"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("made no progress: not even the smallest window fits a run"), "{answer:#}");
}

/// Windows and recounts on the checkpoint have the requests of the dialect in which they were opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_that_is_changed_in_mid_life_takes_over_windows_and_leaves_recounts_alone() {
    for begins_with_guide in [false, true] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
        rig.sim.api.change(|behaviour| behaviour.guide_endpoints = true);
        let now = Utc::now();
        let both = [
            rig.container(|lambda| lambda.env("STREAMS", "audit,file_events").env("RECONCILE_MINUTES", "0")),
            rig.container(|lambda| guide(lambda).env("STREAMS", "audit,file_events")),
        ];
        let [first, second] = if begins_with_guide { [&both[1], &both[0]] } else { [&both[0], &both[1]] };
        rig.sim.world.add_audit(20, now - TimeDelta::minutes(40), now - TimeDelta::minutes(20));
        rig.sim.world.add_file_events(20, now - TimeDelta::minutes(40), now - TimeDelta::minutes(20));
        assert_eq!(first.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
        a_moment().await;
        rig.sim.world.add_audit(5, Utc::now() - TimeDelta::seconds(1), Utc::now());
        rig.sim.world.add_file_events(5, Utc::now() - TimeDelta::seconds(1), Utc::now());
        a_moment().await;
        let dies = first.clone();
        rig.sim.s3.faults.once("PUT", "code42/", 1, S3Fault::before(move || dies.kill()));
        first.invoke(json!({}), Duration::from_secs(3)).await;
        rig.free_the_lease().await;
        rig.sim.api.clear_log();
        for _ in 0..2 {
            let answer = second.invoke(json!({}), DEADLINE).await.answer();
            assert_eq!(answer["status"], "complete", "{answer:#}");
        }
        let queries: Vec<String> = rig.sim.api.requests().into_iter().map(|request| request.query).collect();
        assert!(queries.iter().all(|query| !query.contains("dateRange")), "{queries:#?}");
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    }
}
