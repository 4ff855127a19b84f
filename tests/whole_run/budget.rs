//! A request budget that is too small for all streams: which are served, and in which order.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder};

use crate::inventories::stream_named;
use crate::rig::{Rig, ago};

/// Makes runs with a budget of `requests`, each in a new container, until one is complete. Returns their number.
async fn runs_until_complete(rig: &Rig, streams: &str, requests: &str) -> usize {
    for run in 1..=40 {
        let container = rig.container(|lambda| lambda.env("REQUESTS_PER_MINUTE", requests).env("STREAMS", streams));
        let answer: Value = container.invoke(json!({}), Duration::from_secs(3)).await.answer();
        let asked: u64 = answer["streams"]
            .as_object()
            .unwrap()
            .values()
            .map(|stream| stream["requests"].as_u64().unwrap_or_default())
            .sum();
        assert!(asked <= requests.parse().unwrap(), "{answer:#}");
        if answer["status"] == "complete" {
            return run;
        }
    }
    panic!("40 runs were not enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_requests_a_run_are_enough_for_the_six_default_streams_in_turn() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.world.add_sessions(4, ago(3_400), ago(900), true);
    runs_until_complete(&rig, "audit,file_events,sessions,cases,users,agents", "6").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    stream_named("agents").assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_run_has_three_requests_beside_its_sign_in_two_event_streams_take_turns() {
    let rig = Rig::new().await;
    rig.sim.world.add_file_events(60, ago(3_400), ago(60));
    rig.sim.world.add_audit(60, ago(3_400), ago(60));
    let runs = runs_until_complete(&rig, "audit,file_events", "4").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    assert!(runs <= 8, "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_budget_left_unasked_is_not_stuck_and_the_next_runs_go_on() {
    let settings = |lambda: LambdaBuilder| lambda.env("STREAMS", "file_events,cases").env("FE_PAGE_SIZE", "10");
    let rig = Rig::with(|lambda| settings(lambda).env("REQUESTS_PER_MINUTE", "100")).await;
    rig.sim.world.add_file_events(3_000, ago(3_400), ago(60));
    rig.sim.world.add_cases(40, ago(7_000), ago(60));
    rig.sim.faults.from(Endpoint::FileEvents, 1, Fault::Late(Duration::from_secs(1)));
    // Events are read for the whole run. Meanwhile cases have 20 requests. These are soon sent: of the last four details,
    // one waits for its turn for most of the run.
    let answer = rig.run_within(Duration::from_secs(8)).await;
    let cases = &answer["streams"]["cases"];
    assert_eq!((&cases["status"], cases.get("stuck")), (&json!("partial"), None), "{answer:#}");
    assert_eq!(rig.sim.api.requests_to(Endpoint::CaseDetail).len(), 19);
    rig.sim.faults.clear();
    let container = rig.container(|lambda| settings(lambda).env("REQUESTS_PER_MINUTE", "1000"));
    container.invoke(json!({}), Duration::from_secs(20)).await.answer();
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_backlog_of_events_is_read_lists_have_no_more_than_their_share() {
    let rig = Rig::with(|lambda| {
        lambda
            .env("STREAMS", "file_events,users")
            .env("REQUESTS_PER_MINUTE", "100")
            .env("FE_PAGE_SIZE", "10")
            .env("PAGE_SIZE", "10")
    })
    .await;
    rig.sim.world.add_file_events(3_000, ago(3_400), ago(60));
    rig.sim.world.add_users(800);
    rig.run_within(Duration::from_secs(6)).await;
    let (events, users) =
        (rig.sim.api.requests_to(Endpoint::FileEvents).len(), rig.sim.api.requests_to(Endpoint::Users).len());
    assert!(users <= 20 && events >= 75, "{events} for events, {users} for users");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_backlog_each_run_stores_nearly_what_its_requests_can_show_and_holds_up_no_new_case() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.world.add_file_events(1_500, ago(3_400), ago(60));
    rig.sim.world.add_cases(1, ago(7_000), ago(60));
    let settings = |lambda: LambdaBuilder| {
        let streams = "audit,file_events,sessions,cases,users,agents";
        lambda.env("STREAMS", streams).env("FE_PAGE_SIZE", "20").env("REQUESTS_PER_MINUTE", "20")
    };
    let mut stored = Vec::new();
    for _ in 0..4 {
        rig.sim.api.clear_log();
        let answer = rig.container(settings).invoke(json!({}), Duration::from_secs(6)).await.answer();
        let pages = rig.sim.api.requests_to(Endpoint::FileEvents).len();
        let records = answer["streams"]["file_events"]["records"].as_u64().unwrap();
        println!("{records} records of {pages} requests");
        stored.push(records);
    }
    // Of 20 requests a run other streams need about 8. Two thirds of the others show a full page.
    assert!(stored[1..].iter().all(|records| *records >= 140), "{stored:?}");
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
}
