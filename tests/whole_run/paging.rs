//! Pages that end silently, repeat, shift or are in another order; totals that don't agree.

use serde_json::json;
use simulator::{Dataset, EdgePolicy, Endpoint, Fault, Late, Precision, TokenEnd};

use crate::rig::{Rig, ago};

async fn rig() -> Rig {
    Rig::with(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "40")
    })
    .await
}

impl Rig {
    fn populate_events(&self) {
        self.sim.world.add_file_events(170, ago(3_000), ago(5));
        self.sim.world.add_audit(130, ago(3_000), ago(5));
    }

    async fn assert_holds_events(&self) {
        self.assert_holds("file_events", &self.sim.world.file_events()).await;
        self.assert_holds("audit", &self.sim.world.audit()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_an_empty_string_and_every_end_is_understood() {
    for end in [TokenEnd::Null, TokenEnd::Absent, TokenEnd::Empty] {
        let rig = rig().await;
        rig.sim.api.change(|api| {
            api.token_end = end;
            api.token_after_full_page = true;
        });
        rig.sim.world.add_file_events(100, ago(3_000), ago(5));
        rig.run().await;
        rig.assert_holds_events().await;
        assert!(rig.sim.api.requests_to(Endpoint::FileEvents).iter().any(|request| request.json()["pgToken"] == ""));
        assert!(
            rig.sim.api.requests_to(Endpoint::FileEvents).iter().all(|request| request.json()["pgToken"].is_string())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_servers_edges_are_each_record_is_stored_once() {
    for precision in [Precision::Milliseconds, Precision::Seconds] {
        for (from_inclusive, to_inclusive) in [(true, true), (false, false), (true, false), (false, true)] {
            let rig = rig().await;
            rig.sim.api.change(|api| api.edges = EdgePolicy { precision, from_inclusive, to_inclusive });
            rig.populate_events();
            let middle = ago(1_500);
            for nanos in ["000000000", "000000001", "999999999", "9995", "999"] {
                let at = format!("{}.{nanos}Z", middle.format("%Y-%m-%dT%H:%M:%S"));
                rig.sim.world.push_file_event(format!(r#"{{"event":{{"id":"edge-{nanos}","inserted":"{at}"}}}}"#));
                rig.sim.world.push_audit(format!(r#"{{"type$":"edge","n":"{nanos}","timestamp":"{at}"}}"#));
            }
            let edge = middle.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            for (from, to) in [(ago(3_300), edge.clone()), (ago(2_000), edge.clone())] {
                rig.invoke(json!({"action": "collect", "from": from.to_rfc3339(), "to": to})).await.answer();
            }
            rig.invoke(json!({"action": "collect", "from": edge, "to": ago(2).to_rfc3339()})).await.answer();
            rig.run().await;
            rig.assert_holds_events().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_the_answer_does_not_matter() {
    for fault in [Fault::NewestFirst, Fault::OldestFirst] {
        let rig = rig().await;
        rig.populate_events();
        rig.sim.faults.always(Endpoint::Any, fault);
        rig.run().await;
        rig.assert_holds_events().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_at_one_instant_are_stored_once_over_three_runs() {
    let rig = rig().await;
    let instant = ago(100);
    rig.sim.world.add_file_events(400, instant, instant);
    rig.sim.world.add_audit(300, instant, instant);
    for _ in 0..3 {
        rig.run().await;
        rig.assert_holds_events().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_rows_alike_in_every_byte_are_as_many_records_as_the_api_counts() {
    let rig = rig().await;
    rig.populate_events();
    let twin = format!(r#"{{"type$":"audit_log::twin/1","timestamp":"{}"}}"#, ago(500).to_rfc3339());
    // Enough rows for several pages.
    for _ in 0..90 {
        rig.sim.world.push_audit(twin.clone());
    }
    assert_eq!(rig.run().await["streams"]["audit"]["records"], 220);
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_shift_while_they_are_read_lose_and_double_nothing() {
    for shift in [-3, 3] {
        let rig = rig().await;
        rig.populate_events();
        rig.sim.faults.once(Endpoint::AuditSearch, 2, Fault::ShiftPages(shift));
        rig.run().await;
        rig.assert_holds_events().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_repeats_is_an_error_and_not_a_loop() {
    let rig = rig().await;
    rig.populate_events();
    rig.sim.faults.from(Endpoint::AuditSearch, 2, Fault::RepeatPage);
    rig.sim.faults.from(Endpoint::FileEvents, 3, Fault::RepeatPage);
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    // Each window of more than one page is cut down to 2 s.
    assert!(rig.sim.api.requests().len() < 1_000, "{} requests", rig.sim.api.requests().len());
    assert_eq!((rig.stored("audit").await.len(), rig.stored("file_events").await.len()), (0, 0));
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_list_is_not_taken_for_the_end() {
    let rig = rig().await;
    rig.populate_events();
    rig.sim.faults.once(Endpoint::AuditSearch, 2, Fault::NoList);
    rig.sim.faults.once(Endpoint::FileEvents, 3, Fault::NoList);
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_page_past_the_end_has_no_list_and_ends_in_peace() {
    let rig = rig().await;
    rig.sim.world.add_audit(80, ago(3_000), ago(5));
    // One total that is too high makes the collector request that page.
    rig.sim.faults.once(Endpoint::AuditCount, 1, Fault::TotalOff(1));
    assert_eq!(rig.run().await["streams"]["audit"]["records"], 80);
    rig.assert_holds_events().await;
    assert!(rig.sim.api.requests_to(Endpoint::AuditSearch).iter().any(|request| request.json()["page"] == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_stays_wrong_leaves_a_gap_that_the_next_run_fills() {
    let rig = rig().await;
    rig.populate_events();
    rig.sim.faults.always(Endpoint::AuditCount, Fault::TotalOff(1));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert_eq!(answer["streams"]["file_events"]["status"], "complete", "one stream holds up no other");
    let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("rows were read") && message.contains("the API counts"), "{message}");
    assert_eq!(answer["streams"]["audit"]["covered_to"], json!(null));
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_becomes_visible_between_two_pages_is_not_lost() {
    let rig = rig().await;
    rig.populate_events();
    for n in 0..5 {
        let at = ago(1_000 + n).to_rfc3339();
        let late = Late::Requests(3);
        rig.sim.world.push_late(Dataset::Audit, format!(r#"{{"n":{n},"timestamp":"{at}"}}"#), late);
        rig.sim.world.push_late(Dataset::FileEvents, format!(r#"{{"event":{{"id":"l{n}","inserted":"{at}"}}}}"#), late);
    }
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_that_went_stale_restarts_the_reading() {
    let rig = rig().await;
    rig.populate_events();
    rig.sim.faults.once(Endpoint::FileEvents, 3, Fault::InvalidPageToken);
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_the_api_too_long_is_cut() {
    let rig = rig().await;
    rig.populate_events();
    // Spans of more than ten minutes time out.
    let too_long = |request: &simulator::http::Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let at = |n: usize| crate::rig::time(&body["groups"][0]["filters"][n]["value"]);
        (at(1) - at(0)).num_seconds() > 600
    };
    rig.sim.faults.when(Endpoint::FileEvents, too_long, Fault::TimedOut);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_events().await;
    assert!(rig.sim.faults.struck() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_in_a_good_answer_are_an_error() {
    let rig = rig().await;
    rig.populate_events();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Problems("shard 7 is missing".into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert!(answer["streams"]["file_events"]["error"]["message"].as_str().unwrap().contains("shard 7 is missing"));
    assert!(rig.stored("file_events").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_query_narrows_the_window_and_never_replaces_it() {
    let query = r#"{"groupClause":"OR","groups":[
        {"filterClause":"AND","filters":[{"term":"event.id","operator":"IS","value":"wanted-1"}]},
        {"filterClause":"AND","filters":[{"term":"event.id","operator":"IS","value":"wanted-2"}]}]}"#;
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_QUERY_JSON", query)).await;
    rig.populate_events();
    let wanted = [1, 2].map(|n| {
        let at = ago(100 * n).to_rfc3339();
        rig.sim.world.push_file_event(format!(r#"{{"event":{{"id":"wanted-{n}","inserted":"{at}"}}}}"#)).to_string()
    });
    let old = ago(80_000).to_rfc3339();
    rig.sim.world.push_file_event(format!(r#"{{"event":{{"id":"wanted-1","inserted":"{old}"}}}}"#));
    rig.run().await;
    crate::rig::assert_same("file_events", rig.stored("file_events").await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_events_that_share_an_id_but_differ_are_all_stored() {
    let rig = rig().await;
    for n in 0..3 {
        let at = ago(100).to_rfc3339();
        rig.sim.world.push_file_event(format!(r#"{{"event":{{"id":"same","inserted":"{at}"}},"n":{n}}}"#));
    }
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_in_one_second_than_a_window_holds_are_read_without_cutting_it_to_pieces() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "20")).await;
    rig.sim.world.add_file_events(60, ago(3_000), ago(5));
    rig.sim.world.add_file_events(400, ago(600), ago(600));
    rig.run().await;
    rig.assert_holds_events().await;
    let requests = rig.sim.api.requests_to(Endpoint::FileEvents).len();
    assert!(requests < 100, "{requests} requests for 460 events in pages of 20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_never_agrees_holds_up_nothing_younger_and_shrinks_to_what_is_wrong() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "20")).await;
    rig.sim.world.add_file_events(400, ago(3_000), ago(5));
    let bad = ago(2_000);
    rig.sim.world.add_file_events(1, bad, bad);
    let holds_bad = move |request: &simulator::http::Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let at = |n: usize| crate::rig::time(&body["groups"][0]["filters"][n]["value"]);
        body["pgSize"] != 1 && at(0) <= bad && bad <= at(1)
    };
    rig.sim.faults.when(Endpoint::FileEvents, holds_bad, Fault::Status(500, String::new()));
    for _ in 0..3 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError");
        assert!(
            crate::rig::time(&answer["streams"]["file_events"]["covered_to"]) <= bad,
            "the gap is told: {answer:#}"
        );
        let lacking = 401 - rig.stored("file_events").await.len();
        assert!((1..=3).contains(&lacking), "{lacking} are left");
    }
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    rig.run().await;
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_shows_up_within_the_settle_time_is_waited_for() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events").env("SETTLE_SECONDS", "6")).await;
    rig.populate_events();
    let (at, visible) = (ago(0), Late::Until(ago(-3)));
    let audit = format!(r#"{{"late":true,"timestamp":"{}"}}"#, at.to_rfc3339());
    let event = format!(r#"{{"event":{{"id":"late","inserted":"{}"}}}}"#, at.to_rfc3339());
    rig.sim.world.push_late(Dataset::Audit, audit, visible);
    rig.sim.world.push_late(Dataset::FileEvents, event, visible);
    for _ in 0..6 {
        rig.run().await;
        tokio::time::sleep(std::time::Duration::from_millis(1_800)).await;
    }
    rig.assert_holds_events().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_event_that_occurred_long_before_it_became_searchable_is_collected() {
    let rig = rig().await;
    rig.run().await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    for seconds in [1, 300, 86_400, 40 * 86_400] {
        let (occurred, inserted) = (ago(seconds).to_rfc3339(), ago(0).to_rfc3339());
        rig.sim.world.push_file_event(format!(
            r#"{{"@timestamp":"{occurred}","event":{{"id":"after-{seconds}","inserted":"{inserted}"}}}}"#
        ));
    }
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(rig.run().await["streams"]["file_events"]["records"], 4);
    rig.assert_holds_events().await;
}
