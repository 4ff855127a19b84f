//! Most records of a stream, or most of their lists, fail for good.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use simulator::http::Request;
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder};

use crate::inventories::stream_named;
use crate::rig::{Rig, ago};
use crate::stuck::assert_stuck;

fn every_run(lambda: LambdaBuilder, stream: &str) -> LambdaBuilder {
    lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0").env("REQUESTS_PER_MINUTE", "1000")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_case_that_can_be_fetched_is_found_among_those_that_cannot() {
    join_all([403, 404, 500].into_iter().map(async |status| {
        let rig = Rig::with(|lambda| every_run(lambda, "cases")).await;
        let cases = rig.sim.world.add_cases(13, ago(9_000), ago(90));
        let good = format!("/{}", cases[12].id);
        let is_bad = move |request: &Request| !request.path.ends_with(&good);
        rig.sim.faults.when(Endpoint::CaseDetail, is_bad, Fault::Status(status, "{}".into()));
        for _ in 0..2 {
            let (_, answer) = rig.failure(json!({})).await;
            assert_stuck(&answer, "cases", 12);
            assert_eq!(rig.stored("cases").await.len(), 1, "{status}");
        }
        rig.sim.faults.clear();
        rig.assert_heals("cases").await;
        assert_eq!(rig.stored("cases").await.len(), 13, "{status}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_lists_of_which_most_are_refused_the_others_are_read_and_the_stream_is_permitted() {
    let kinds = ["watchlists", "alert_rules", "legal_hold", "user_roles"].into_iter();
    join_all(kinds.flat_map(|stream| [(stream, 403), (stream, 500)]).map(async |(stream, status)| {
        let rig = Rig::with(|lambda| every_run(lambda, stream)).await;
        let facts = stream_named(stream);
        let (parents, children) = (facts.dataset, facts.lists[0].0);
        let mut records = rig.sim.world.add_records(parents, 40);
        records.sort_by(|a, b| a.id.cmp(&b.id));
        for record in &records {
            rig.sim.world.add_children(children, &record.id, 1);
        }
        let good: Vec<String> = records[36..].iter().map(|record| format!("/{}/", record.id)).collect();
        let of_good = good.clone();
        let lists = ["/members", "/users", "/custodians", "/roles"];
        let is_bad = move |request: &Request| {
            let is_list = request.path.starts_with("/v") && request.path.matches('/').count() > 3;
            is_list
                && lists.iter().any(|list| request.path.ends_with(list))
                && !of_good.iter().any(|good| request.path.contains(good.as_str()))
        };
        let body = r#"{"status":403,"error":"Forbidden"}"#;
        rig.sim.faults.when(Endpoint::Any, is_bad, Fault::Status(status, body.into()));
        for _ in 0..2 {
            let (_, answer) = rig.failure(json!({})).await;
            assert_stuck(&answer, stream, 36);
            let stored = rig.stored(stream).await;
            let of_lists = stored.iter().filter(|line| good.iter().any(|good| line.contains(good.trim_matches('/'))));
            assert!(of_lists.count() >= 4, "{stream}, {status}: {stored:#?}");
        }
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
    }))
    .await;
}

/// Four that fail take all of a short run.
#[tokio::test(flavor = "multi_thread")]
async fn lists_side_by_side_that_fail_hold_up_none_behind_them_in_short_runs() {
    let rig = Rig::with(|lambda| every_run(lambda, "user_roles")).await;
    let mut ids: Vec<_> = rig.sim.world.add_users(24).into_iter().map(|user| user.id).collect();
    ids.sort_unstable();
    for id in &ids {
        rig.sim.world.add_children(Dataset::UserRoles, id, 1);
    }
    for id in &ids[4..14] {
        rig.sim.faults.ail_at(format!("/v1/users/{id}/roles"), Fault::Status(500, "{}".into()));
    }
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(150));
    let healthy = ids.len() - 10;
    for run in 1.. {
        let answer = rig.any_run(Duration::from_secs(5)).await;
        let told = &answer["streams"]["user_roles"];
        assert!(told["status"] != "partial" || told["records"] != 0, "run {run} tells nothing: {answer:#}");
        if rig.stored("user_roles").await.len() >= healthy {
            break;
        }
        assert!(run <= 12, "{:#}", rig.checkpoint().await);
    }
    rig.sim.faults.clear();
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::ZERO);
    rig.assert_heals("user_roles").await;
    assert_eq!(rig.stored("user_roles").await.len(), ids.len());
}
