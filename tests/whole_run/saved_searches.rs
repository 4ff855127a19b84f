//! `FE_QUERY_JSON` names a search that is saved in the console: the events that match it are stored, and a change of it
//! takes effect with the next window.

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Record, S3Fault, text_at};

use crate::rig::{Rig, ago};

const ID: &str = "cde979fa-d551-4be9-b242-39e75b824089";

async fn rig() -> Rig {
    let query = json!({"savedSearch": ID}).to_string();
    Rig::with(|lambda| lambda.env("STREAMS", "file_events,audit").env("FE_QUERY_JSON", query)).await
}

fn filter(severity: &str) -> Value {
    json!({"filterClause": "AND", "filters": [{"term": "risk.severity", "operator": "IS", "value": severity}]})
}

/// A saved search in the console's form, with many members besides the query.
fn search(groups: &Value, clause: &Value) -> String {
    json!({"apiVersion": 2, "columns": ["@timestamp"], "groupClause": clause, "groups": groups, "id": ID, "name": "Ours",
        "notes": null, "srtDir": "desc", "srtKey": "event.id"})
    .to_string()
}

fn of(events: &[Record], severities: &[&str]) -> Vec<Record> {
    let is_wanted = |event: &&Record| {
        let severity = text_at(&event.raw, &["risk", "severity"]).unwrap_or_default();
        severities.iter().any(|wanted| severity == format!("\"{wanted}\""))
    };
    events.iter().filter(is_wanted).cloned().collect()
}

impl Rig {
    fn keep(&self, groups: &Value, clause: &Value) {
        self.sim.world.clear(Dataset::SavedSearches);
        self.sim.world.push_record(Dataset::SavedSearches, search(groups, clause));
    }

    fn add_events(&self, from: i64, to: i64) -> Vec<Record> {
        let events = self.sim.world.add_file_events(60, ago(from), ago(to));
        for (at, event) in events.iter().enumerate() {
            let severity = ["HIGH", "CRITICAL", "LOW"][at % 3];
            self.sim.world.change(Dataset::FileEvents, &event.id, |raw| {
                let mut event: Value = serde_json::from_str(raw).unwrap();
                event["risk"]["severity"] = json!(severity);
                event.to_string()
            });
        }
        self.sim.world.file_events()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_saved_search_finds_is_stored_and_a_change_of_it_counts_from_the_next_window_on() {
    let rig = rig().await;
    rig.keep(&json!([filter("HIGH")]), &Value::Null);
    let before = rig.add_events(3_000, 60);
    assert_eq!(rig.run().await["status"], "complete");
    let expected = of(&before, &["HIGH"]);
    assert_eq!(expected.len(), 20);
    rig.assert_holds("file_events", &expected).await;
    assert_eq!(rig.sim.api.requests_to(Endpoint::SavedSearch).len(), 1, "once a run");
    rig.keep(&json!([filter("HIGH"), filter("CRITICAL")]), &json!("OR"));
    // The new events must be later than the covered time.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let all = rig.add_events(2, 1);
    let new: Vec<Record> = all.into_iter().filter(|event| before.iter().all(|old| old.id != event.id)).collect();
    assert_eq!(rig.run().await["status"], "complete");
    let expected: Vec<Record> = expected.into_iter().chain(of(&new, &["HIGH", "CRITICAL"])).collect();
    assert_eq!(expected.len(), 60);
    rig.assert_holds("file_events", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_a_dead_run_opened_keeps_the_query_by_which_it_was_opened() {
    let rig = rig().await;
    rig.keep(&json!([filter("HIGH")]), &json!("AND"));
    let events = rig.add_events(3_000, 60);
    let victim = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/file_events/", 1, S3Fault::before(move || victim.kill()));
    rig.invoke(json!({})).await;
    rig.sim.s3.faults.clear();
    rig.keep(&json!([filter("CRITICAL")]), &json!("AND"));
    rig.recover().await;
    rig.assert_holds("file_events", &of(&events, &["HIGH"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_search_without_groups_finds_all() {
    let rig = rig().await;
    rig.keep(&json!([]), &Value::Null);
    let events = rig.add_events(3_000, 60);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_search_that_is_not_there_is_one_clear_error_that_names_the_setting() {
    let rig = rig().await;
    rig.populate();
    let empty = || Fault::Status(200, r#"{"searches":[]}"#.into());
    let bad = || Fault::Status(400, r#"{"searches":null}"#.into());
    for fault in [None, Some(empty()), Some(bad())] {
        rig.sim.faults.clear();
        if let Some(fault) = fault {
            rig.sim.faults.always(Endpoint::SavedSearch, fault);
        }
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyConfigError");
        let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("FE_QUERY_JSON names the saved search {ID:?}")), "{message}");
        assert_eq!(answer["streams"]["audit"]["status"], "complete", "{answer:#}");
        let probed = rig.invoke(json!({"action": "probe", "streams": ["file_events"]})).await.answer();
        let seen = &probed["streams"]["file_events"];
        assert_eq!((&seen["permitted"], &seen["error"]["type"]), (&Value::Null, &json!("ThirdPartyConfigError")));
        assert!(seen["error"]["message"].as_str().unwrap().contains("FE_QUERY_JSON"), "{seen:#}");
    }
    assert!(rig.sim.api.requests_to(Endpoint::FileEvents).is_empty(), "nothing is collected by another query");
    rig.sim.faults.clear();
    rig.keep(&json!([]), &Value::Null);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_search_that_can_not_be_read_is_the_api_s_failure() {
    let rig = rig().await;
    rig.populate();
    for (fault, says) in [
        (Fault::Status(503, "busy".into()), "503"),
        (Fault::Html, "not a JSON object"),
        (Fault::Status(200, "{}".into()), "searches"),
        (Fault::Status(200, json!({"searches": [{"id": "another", "groups": []}]}).to_string()), "has another id"),
        (Fault::Status(200, json!({"searches": [{"id": ID, "groups": "all"}]}).to_string()), "groups"),
    ] {
        rig.sim.faults.clear();
        rig.sim.faults.always(Endpoint::SavedSearch, fault);
        let (error_type, answer) = rig.failure(json!({})).await;
        let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
        assert_eq!(error_type, "ThirdPartyGenericError", "{message}");
        assert!(message.contains(says), "{message}");
    }
    rig.sim.faults.clear();
    rig.sim.faults.always(Endpoint::SavedSearch, Fault::Forbidden);
    let answer = rig.invoke(json!({"action": "probe", "streams": ["file_events"]})).await.answer();
    assert_eq!(answer["streams"]["file_events"]["permitted"], false, "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_looks_for_the_newest_event_that_the_saved_search_finds() {
    let rig = rig().await;
    rig.keep(&json!([filter("LOW")]), &json!("AND"));
    let events = rig.add_events(3_000, 60);
    let probed = rig.invoke(json!({"action": "probe", "streams": ["file_events"]})).await.answer();
    let newest = of(&events, &["LOW"]).iter().map(|event| event.time).max().map(crate::oracle::millis);
    assert_eq!(probed["streams"]["file_events"]["newest"], json!(newest), "{probed:#}");
}
