//! Pages of lists that fail. The rows at which the API fails hold up no others, whatever page they are on, and however many
//! runs the list takes.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, Outcome, with_member};

use crate::rig::{Rig, ago};
use crate::stuck::assert_stuck;

/// Lists paged by number: the stream, the endpoint, and the names of page and size.
const NUMBERED: [(&str, Endpoint, &str, &str); 4] = [
    ("users", Endpoint::Users, "page", "pageSize"),
    ("cases", Endpoint::CaseList, "pgNum", "pgSize"),
    ("legal_hold", Endpoint::Matters, "page", "pageSize"),
    ("watchlists", Endpoint::WatchlistMembers, "page", "page_size"),
];

/// A rig for one of these streams, with so many rows in its list, in pages of ten. Returns the number of its other records.
async fn numbered(stream: &'static str, rows: usize) -> (Rig, usize) {
    let settings = |lambda: LambdaBuilder| {
        lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "10")
    };
    let rig = Rig::with(settings).await;
    let world = &rig.sim.world;
    match stream {
        "users" => world.add_users(rows).len(),
        "cases" => world.add_cases(rows, ago(900), ago(800)).len(),
        "legal_hold" => world.add_records(Dataset::Matters, rows).len(),
        _ => {
            let watchlist = world.add_records(Dataset::Watchlists, 1).remove(0);
            world.add_children(Dataset::WatchlistMembers, &watchlist.id, rows).len()
        }
    };
    (rig, usize::from(stream == "watchlists"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_at_which_the_api_fails_holds_up_none_of_its_page() {
    let kinds = NUMBERED.into_iter().flat_map(|list| [0, 14, 24].map(|row| (list, row)));
    join_all(kinds.map(async |((stream, endpoint, page, size), row)| {
        let (rig, others) = numbered(stream, 25).await;
        rig.sim.faults.when(endpoint, has_row(row, page, size), Fault::Status(500, "{}".into()));
        for run in 0..2 {
            let before = rig.sim.api.requests_to(endpoint).len();
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{stream}, row {row}: {answer:#}");
            assert_eq!(rig.stored(stream).await.len(), others + 24, "{stream}: all but row {row}: {answer:#}");
            let asked = rig.sim.api.requests_to(endpoint).len() - before;
            // The second run reads two lists of cases: of what was updated since, and the one that is stuck.
            let most = if stream == "cases" && run == 1 { 40 } else { 20 };
            assert!(asked <= most, "{stream}, row {row}, run {run}: {asked} requests");
        }
        rig.sim.faults.clear();
        // What stuck is due when its back-off ends.
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["status"], "complete", "{stream}");
        assert_eq!(rig.stored(stream).await.len(), others + 25, "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_in_each_of_several_pages_in_a_row_holds_up_none_of_the_others() {
    join_all(NUMBERED.map(async |(stream, endpoint, page, size)| {
        let (rig, others) = numbered(stream, 25).await;
        let bad = [3, 11, 24];
        let is_bad = move |request: &simulator::http::Request| {
            let number = |name| request.parameter(name).and_then(|text| text.parse::<usize>().ok()).expect("a number");
            let rows = (number(page) - 1) * number(size)..number(page) * number(size);
            bad.iter().any(|row| rows.contains(row))
        };
        rig.sim.faults.when(endpoint, is_bad, Fault::Status(500, "{}".into()));
        for _ in 0..2 {
            let (_, answer) = rig.failure(json!({})).await;
            assert_eq!(rig.stored(stream).await.len(), others + 22, "{stream}: all but three rows: {answer:#}");
        }
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        assert_eq!(rig.stored(stream).await.len(), others + 25, "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_api_shows_in_small_pages_only_are_read_in_such() {
    join_all(["users", "cases", "watchlists"].map(async |stream| {
        let (_, endpoint, page, size) = NUMBERED.into_iter().find(|list| list.0 == stream).expect("a list");
        let (rig, others) = numbered(stream, 25).await;
        let is_large_second = move |request: &simulator::http::Request| {
            request.parameter(size).as_deref() == Some("10") && request.parameter(page).as_deref() == Some("2")
        };
        rig.sim.faults.when(endpoint, is_large_second, Fault::BrokenJson);
        assert_eq!(rig.run().await["status"], "complete", "{stream}");
        assert_eq!(rig.stored(stream).await.len(), others + 25, "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_failed_before_the_time_was_up_is_read_by_the_next_run_though_the_list_has_no_total() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold").env("PAGE_SIZE", "5")).await;
    let matters = rig.sim.world.add_records(Dataset::Matters, 30);
    let page = |number: &'static str| {
        move |request: &simulator::http::Request| request.parameter("page").as_deref() == Some(number)
    };
    rig.sim.faults.when(Endpoint::Matters, page("3"), Fault::Status(400, "{}".into()));
    rig.sim.faults.when(Endpoint::Matters, page("5"), Fault::Hang);
    let failed = rig.lambda.invoke(json!({}), Duration::from_secs(5)).await;
    assert!(matches!(failed, simulator::Outcome::Failed { .. }), "the page is told: {failed:?}");
    assert_eq!(rig.stored("legal_hold").await.len(), 15, "pages 1, 2 and 4");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.stored("legal_hold").await.len(), matters.len());
}

/// Whether a request is for a page that has this row.
fn has_row(row: usize, page: &'static str, size: &'static str) -> impl Fn(&simulator::http::Request) -> bool {
    move |request| {
        let number = |name| request.parameter(name).and_then(|text| text.parse::<usize>().ok()).expect("a number");
        (number(page) - 1) * number(size) <= row && row < number(page) * number(size)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_longer_than_a_run_goes_on_behind_a_page_that_fails() {
    join_all(NUMBERED.map(async |(stream, endpoint, page, size)| {
        let (rig, others) = numbered(stream, 60).await;
        rig.sim.faults.when(endpoint, has_row(13, page, size), Fault::Status(500, "{}".into()));
        rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(250));
        // The list of cases is read in each run, before the details.
        let time = Duration::from_secs(if stream == "cases" { 5 } else { 3 });
        let mut runs = 0;
        while rig.stored(stream).await.len() < others + 59 {
            runs += 1;
            assert!(
                runs <= 15,
                "{stream}: {} are stored: {:#}",
                rig.stored(stream).await.len(),
                rig.checkpoint().await
            );
            rig.lambda.invoke(json!({}), time).await;
        }
        assert!(runs > 1, "{stream}: the list fits a run");
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{stream}: {answer:#}");
        rig.sim.faults.clear();
        if stream == "watchlists" {
            // A stuck list of one record heals in one run.
            rig.sim.api.change(|behaviour| behaviour.latency = Duration::ZERO);
        }
        rig.invoke(json!({"action": "restart"})).await.answer();
        for run in 1.. {
            let outcome = rig.lambda.invoke(json!({}), time).await;
            if matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete") {
                break;
            }
            assert!(run <= 15, "{stream}: {outcome:?}");
        }
        assert_eq!(rig.stored(stream).await.len(), others + 60, "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_records_with_a_row_at_which_the_api_fails_is_stuck_and_read_again_ever_later() {
    for stream in ["users", "legal_hold"] {
        let (_, endpoint, page, size) = NUMBERED.into_iter().find(|list| list.0 == stream).expect("a list");
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("PAGE_SIZE", "10")).await;
        let dataset = if stream == "users" { Dataset::Users } else { Dataset::Matters };
        let add = |count| {
            if stream == "users" {
                rig.sim.world.add_users(count).len()
            } else {
                rig.sim.world.add_records(dataset, count).len()
            }
        };
        let all = add(25);
        rig.sim.faults.when(endpoint, has_row(14, page, size), Fault::Status(500, "{}".into()));
        for run in 1..=4 {
            let asked = rig.sim.api.requests_to(endpoint).len();
            let answer = rig.stuck_run().await;
            let told = assert_stuck(&answer, stream, 1);
            let list = if stream == "users" { "users" } else { "matters" };
            assert_eq!(told["stuck"]["oldest"], json!({"list": list}), "{answer:#}");
            assert!(told["covered_to"].is_string(), "{answer:#}");
            let is_asked = rig.sim.api.requests_to(endpoint).len() > asked;
            assert_eq!(
                is_asked,
                run <= 2,
                "{stream}, run {run}: the next run tries again, and then twice as late each time"
            );
            assert_eq!(rig.stored(stream).await.len(), all - 1, "{stream}");
        }
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        assert_eq!(rig.stored(stream).await.len(), all, "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_list_of_cases_is_stuck_their_changes_are_stored_and_all_of_them_once_it_is_whole() {
    let (rig, _) = numbered("cases", 25).await;
    let (_, endpoint, page, size) = NUMBERED[1];
    rig.sim.faults.when(endpoint, has_row(14, page, size), Fault::Status(500, "{}".into()));
    assert_stuck(&rig.stuck_run().await, "cases", 1);
    // The updated one is the only row of the next list.
    rig.sim.world.update_case(3, |raw| with_member(raw, "name", "\"changed\""));
    // The list hides its own row at the same place.
    rig.sim.world.update_case(15, |raw| with_member(raw, "name", "\"hidden\""));
    let stored = rig.stored("cases").await.len();
    let answer = rig.stuck_run().await;
    assert_stuck(&answer, "cases", 1);
    assert!(rig.stored("cases").await.len() > stored, "{answer:#}");
    assert!(answer["streams"]["cases"]["covered_to"].is_null(), "the first list was never whole: {answer:#}");
    rig.sim.faults.clear();
    rig.assert_heals("cases").await;
    let stored = rig.stored("cases").await;
    for name in ["changed", "hidden"] {
        assert_eq!(stored.iter().filter(|line| line.contains(&format!("\"name\":\"{name}\""))).count(), 1, "{name}");
    }
    assert!(rig.checkpoint().await["versions"]["cases"].get("incomplete_list").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fail_on_both_sides_of_a_page_s_end_hold_up_none_behind_them() {
    join_all(NUMBERED.map(async |(stream, endpoint, page, size)| {
        let (rig, others) = numbered(stream, 45).await;
        for row in [19, 20, 21] {
            rig.sim.faults.when(endpoint, has_row(row, page, size), Fault::Status(500, "{}".into()));
        }
        for _ in 0..2 {
            rig.failure(json!({})).await;
        }
        assert_eq!(rig.stored(stream).await.len(), others + 42, "{stream}");
    }))
    .await;
}
