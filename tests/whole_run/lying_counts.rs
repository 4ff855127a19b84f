//! Lists whose total is less than their rows: they are read until a page is short.

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint};

use crate::rig::{DEADLINE, Rig, ago, time};

/// Settings for pages of 50. The totals are multiples of that.
async fn rig(stream: &str) -> Rig {
    Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "50"))
        .await
}

fn populate(rig: &Rig, stream: &str, n: usize) -> Dataset {
    let world = &rig.sim.world;
    match stream {
        "users" => {
            world.add_users(n);
            Dataset::Users
        }
        "cases" => {
            world.add_cases(n, ago(80_000), ago(900));
            Dataset::Cases
        }
        "sessions" => {
            world.add_sessions(n, Utc::now() - TimeDelta::hours(1), Utc::now(), true);
            Dataset::Sessions
        }
        _ => {
            world.add_records(Dataset::Agents, n);
            Dataset::Agents
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_shows_beyond_a_count_of_full_pages_is_stored() {
    let streams = [
        ("users", Endpoint::Users),
        ("agents", Endpoint::Agents),
        ("cases", Endpoint::CaseList),
        ("sessions", Endpoint::Sessions),
    ];
    join_all(streams.into_iter().flat_map(|stream| [51, 100, 120, 162].map(|n| (stream, n))).map(
        async |((stream, endpoint), n)| {
            let rig = rig(stream).await;
            let dataset = populate(&rig, stream, n);
            rig.sim.faults.cap_total(endpoint, 50);
            println!("{stream}, {n}");
            let answer = rig.run().await;
            assert_eq!(answer["status"], "complete", "{stream}: {answer:#}");
            rig.assert_holds(stream, &rig.sim.world.all(dataset)).await;
            assert_eq!(rig.run().await["streams"][stream]["records"], 0, "{stream}");
            assert_eq!(rig.verify().await["status"], "whole");
        },
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_rows_beyond_a_count_that_stops_at_a_round_number_are_stored() {
    for (n, cap) in [(101, 100), (250, 100), (620, 200)] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "100")).await;
        rig.sim.world.add_audit(n, ago(3_400), ago(60));
        rig.sim.faults.cap_total(Endpoint::AuditCount, cap);
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{n} of {cap}: {answer:#}");
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
        rig.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_full_costs_one_more_and_one_that_is_short_does_not() {
    for (n, requests) in [(0, 1), (49, 1), (50, 2), (51, 2), (100, 3)] {
        let rig = rig("users").await;
        rig.sim.world.add_users(n);
        assert_eq!(rig.run().await["status"], "complete");
        assert_eq!(rig.sim.api.requests_to(Endpoint::Users).len(), requests, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_allows_shorter_pages_than_were_asked_for_those_are_full() {
    let rig = rig("users").await;
    rig.sim.world.add_users(77);
    rig.sim.api.change(|behaviour| behaviour.page_cap = Some(20));
    rig.sim.faults.cap_total(Endpoint::Users, 40);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_list_that_counts_too_few_is_told() {
    let rig = rig("users").await;
    let users = rig.sim.world.add_users(120);
    rig.sim.faults.cap_total(Endpoint::Users, 100);
    rig.run().await;
    rig.sim.world.remove_user(&users[110].id);
    for records in [0, 1, 0] {
        assert_eq!(rig.run().await["streams"]["users"]["records"], records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_events_that_are_counted_as_none_and_shown_are_not_covered() {
    for pages in ["5000", "50"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", pages)).await;
        let events = rig.sim.world.add_file_events(60, ago(3_000), ago(5));
        let first = events.iter().map(|event| event.time).min().unwrap();
        let counts_none = rig.sim.faults.cap_total(Endpoint::FileEvents, 0);
        for _ in 0..3 {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
            let covered_to = &answer["streams"]["file_events"]["covered_to"];
            assert!(covered_to.is_null() || time(covered_to) <= first, "{answer:#}");
        }
        counts_none.heal();
        rig.invoke(json!({"action": "restart"})).await.answer();
        rig.any_run(DEADLINE).await;
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_rows_that_are_counted_as_none_are_told_by_the_recount_and_stored_once_they_are_counted() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("RECONCILE_MINUTES", "0")).await;
    rig.sim.world.add_audit(60, ago(3_000), ago(5));
    let counts_none = rig.sim.faults.cap_total(Endpoint::AuditCount, 0);
    assert_eq!(rig.run().await["streams"]["audit"]["records"], 0, "nothing shows yet that the count is wrong");
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    assert!(answer["streams"]["audit"]["stuck"]["count"].as_u64() > Some(0), "{answer:#}");
    counts_none.heal();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.any_run(DEADLINE).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_row_that_is_shown_and_never_counted_is_not_covered_by_a_count_of_none() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "20")).await;
    rig.sim.world.add_audit(60, ago(3_000), ago(900));
    let alone = rig.sim.world.add_audit(1, ago(400), ago(400)).remove(0).time;
    let counts_less = rig.sim.faults.count_unseen(Endpoint::AuditCount, -1, alone, alone);
    for _ in 0..3 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(
            (&*error_type, &answer["streams"]["audit"]["stuck"]["count"]),
            ("ThirdPartyGenericError", &json!(1))
        );
        rig.invoke(json!({"action": "restart"})).await.answer();
    }
    assert_eq!(rig.stored("audit").await.len(), 61, "it is stored, and told until it is counted");
    counts_less.heal();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_events_of_which_one_is_never_counted_fail_each_run_and_none_is_lost() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "50")).await;
    rig.sim.world.add_file_events(60, ago(3_000), ago(5));
    let counts_less = rig.sim.faults.count_unseen(Endpoint::FileEvents, -1, ago(4_000), ago(-4_000));
    for _ in 0..4 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    }
    counts_less.heal();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.any_run(DEADLINE).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}
