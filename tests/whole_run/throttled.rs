//! One endpoint, record or list that answers 429 in every run, with a pause that is longer than a run. A 429 pauses all
//! requests of the process, so the next run asks for it after everything else.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault};

use crate::rig::{Rig, ago};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_always_answers_429_holds_up_no_other_stream() {
    let pause = Fault::RateLimited { retry_after: Some("300".into()) };
    join_all([Endpoint::FileEvents, Endpoint::AuditSearch, Endpoint::CaseList, Endpoint::Users].map(
        async |endpoint| {
            let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events,cases,users")).await;
            rig.populate();
            rig.sim.faults.always(endpoint, pause.clone());
            for _ in 0..2 {
                rig.any_run(Duration::from_secs(6)).await;
                rig.lambda.kill();
            }
            let world = &rig.sim.world;
            let of = |stream| match stream {
                "audit" => (Endpoint::AuditSearch, world.audit()),
                "file_events" => (Endpoint::FileEvents, world.file_events()),
                "cases" => (Endpoint::CaseList, world.cases()),
                _ => (Endpoint::Users, world.users()),
            };
            for stream in ["audit", "file_events", "cases", "users"] {
                let (own, records) = of(stream);
                let expected = if own == endpoint { 0 } else { records.len() };
                assert_eq!(rig.stored(stream).await.len(), expected, "{stream}, while {endpoint:?} answers 429");
            }
            rig.sim.faults.clear();
            assert_eq!(rig.run().await["status"], "complete");
            assert!(rig.checkpoint().await["throttled"].is_null());
            rig.assert_holds_everything().await;
        },
    ))
    .await;
}

/// Each run finds one of them.
#[tokio::test(flavor = "multi_thread")]
async fn several_endpoints_that_always_answer_429_hold_up_no_other_stream_for_long() {
    let pause = Fault::RateLimited { retry_after: Some("300".into()) };
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events,cases,users")).await;
    rig.populate();
    let throttled = [Endpoint::FileEvents, Endpoint::CaseList, Endpoint::Users];
    for endpoint in throttled {
        rig.sim.faults.always(endpoint, pause.clone());
    }
    for _ in 0..=throttled.len() {
        rig.any_run(Duration::from_secs(6)).await;
        rig.lambda.kill();
    }
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_throttled_and_fails_with_all_others_is_read_once_they_answer() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "watchlists")).await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 3);
    for watchlist in &watchlists {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
    }
    let first = watchlists.iter().map(|one| &one.id).min().expect("some");
    let pause = Fault::RateLimited { retry_after: Some("300".into()) };
    let throttled = rig.sim.faults.ail_at(format!("/v2/watchlists/{first}/members"), pause);
    rig.any_run(Duration::from_secs(6)).await;
    rig.lambda.kill();
    throttled.heal();
    // All three fail, and no other list can show whether that is the API's fault.
    rig.sim.faults.always(Endpoint::WatchlistMembers, Fault::Status(500, "{}".into()));
    rig.sim.faults.always(Endpoint::Watchlists, Fault::Status(500, "{}".into()));
    rig.failure(json!({})).await;
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("watchlists").await.len(), 3 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_throttled_is_read_also_if_the_stream_was_not_asked_meanwhile() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "watchlists")).await;
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 3);
    for watchlist in &watchlists {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
    }
    let first = watchlists.iter().map(|one| &one.id).min().expect("some");
    let last = watchlists.iter().map(|one| &one.id).max().expect("some");
    let pause = || Fault::RateLimited { retry_after: Some("300".into()) };
    let throttled = rig.sim.faults.ail_at(format!("/v2/watchlists/{first}/members"), pause());
    rig.any_run(Duration::from_secs(6)).await;
    rig.lambda.kill();
    // The next run gets past the first list, and not to the end.
    let hangs = rig.sim.faults.ail_at(format!("/v2/watchlists/{last}/members"), pause());
    rig.any_run(Duration::from_secs(6)).await;
    rig.lambda.kill();
    throttled.heal();
    hangs.heal();
    let others = rig.container(|lambda| lambda.env("STREAMS", "audit"));
    assert_eq!(others.invoke(json!({}), Duration::from_secs(20)).await.answer()["status"], "complete");
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("watchlists").await.len(), 3 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_records_or_lists_that_always_answer_429_hold_up_no_new_one() {
    let pause = Fault::RateLimited { retry_after: Some("300".into()) };
    join_all(["cases", "watchlists"].map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        let world = &rig.sim.world;
        let paths: Vec<String> = if stream == "cases" {
            world.add_cases(12, ago(900), ago(800)).iter().map(|case| format!("/v1/cases/{}", case.id)).collect()
        } else {
            let watchlists = world.add_records(Dataset::Watchlists, 12);
            for watchlist in &watchlists {
                world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
            }
            watchlists.iter().map(|one| format!("/v2/watchlists/{}/members", one.id)).collect()
        };
        for path in paths.iter().take(4) {
            rig.sim.faults.ail_at(path.clone(), pause.clone());
        }
        for _ in 0..9 {
            rig.any_run(Duration::from_secs(5)).await;
            rig.lambda.kill();
        }
        let before = rig.stored(stream).await.len();
        assert_eq!(before, if stream == "cases" { 8 } else { 12 + 16 }, "{stream}: {:#}", rig.checkpoint().await);
        if stream == "cases" {
            world.add_cases(1, ago(60), ago(30));
        } else {
            let watchlist = world.add_records(Dataset::Watchlists, 1).remove(0);
            world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
        }
        for _ in 0..2 {
            rig.any_run(Duration::from_secs(5)).await;
            rig.lambda.kill();
        }
        let new = if stream == "cases" { 1 } else { 3 };
        assert_eq!(rig.stored(stream).await.len(), before + new, "{stream}: what is new");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_or_list_that_always_answers_429_holds_up_no_other() {
    let pause = Fault::RateLimited { retry_after: Some("300".into()) };
    join_all(["cases", "watchlists"].map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        let world = &rig.sim.world;
        let (all, path) = if stream == "cases" {
            (world.add_cases(12, ago(900), ago(800)).len(), "/v1/cases/1".to_owned())
        } else {
            let watchlists = world.add_records(Dataset::Watchlists, 6);
            let members = watchlists.iter().map(|one| world.add_children(Dataset::WatchlistMembers, &one.id, 2).len());
            let first = watchlists.iter().map(|one| &one.id).min().expect("some");
            (watchlists.len() + members.sum::<usize>(), format!("/v2/watchlists/{first}/members"))
        };
        rig.sim.faults.ail_at(path, pause.clone());
        for _ in 0..2 {
            rig.any_run(Duration::from_secs(6)).await;
            rig.lambda.kill();
        }
        let missing = if stream == "cases" { 1 } else { 2 };
        assert_eq!(rig.stored(stream).await.len(), all - missing, "{stream}");
        let answer = rig.any_run(Duration::from_secs(6)).await;
        assert_eq!(answer["streams"][stream]["stuck"]["count"], 1, "{answer:#}");
        rig.sim.faults.clear();
        rig.lambda.kill();
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["status"], "complete", "{stream}");
        assert_eq!(rig.stored(stream).await.len(), all, "{stream}");
    }))
    .await;
}

/// The list of the first case is answered, and then the detail of one of its events is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_detail_below_a_list_that_always_answers_429_holds_up_no_other_list() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "case_file_events").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let world = &rig.sim.world;
    let mut cases = world.add_cases(12, ago(900), ago(800));
    // The API has no events of an archived case.
    cases.retain(|case| !case.raw.contains("ARCHIVED"));
    for case in &cases {
        world.add_children(Dataset::CaseFileEvents, &case.id, 2);
    }
    let first = cases.iter().map(|case| &case.id).min().expect("a case");
    let event = world.children(Dataset::CaseFileEvents, first).remove(0);
    rig.sim.faults.ail_at(
        format!("/v1/cases/{first}/fileevent/{}", event.id),
        Fault::RateLimited { retry_after: Some("300".into()) },
    );
    for _ in 0..3 {
        rig.any_run(Duration::from_secs(6)).await;
        rig.lambda.kill();
    }
    let (stored, others) = (rig.stored("case_file_events").await.len(), 2 * (cases.len() - 1));
    assert!((others..others + 2).contains(&stored), "{stored} events, and {others} are of the other cases");
}
