//! The events of many sessions that are refused, fail or have another form.

use std::time::Duration;

use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, Record};

use crate::rig::{Rig, ago};
use crate::sessions::{assert_events, rig_of};

/// Adds alerted sessions between two ages in seconds, each with its events.
fn add(rig: &Rig, sessions: usize, [from, to]: [i64; 2], events: usize) -> Vec<Record> {
    let sessions = rig.sim.world.add_sessions(sessions, ago(from), ago(to), true);
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, events);
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_events_fail_hold_up_none_of_those_on_later_pages() {
    for status in [403, 404, 500] {
        let rig = rig_of("session_events").await;
        let bad = add(&rig, 60, [9_000, 600], 1);
        add(&rig, 8, [80_000, 60_000], 1);
        let ids: Vec<String> = bad.iter().map(|session| format!("/{}/", session.id)).collect();
        let is_bad = move |request: &simulator::http::Request| ids.iter().any(|id| request.path.contains(id.as_str()));
        let body = r#"{"status":403,"error":"Forbidden"}"#;
        rig.sim.faults.when(Endpoint::SessionEvents, is_bad, Fault::Status(status, body.into()));
        for _ in 0..2 {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{status}: {answer:#}");
        }
        assert_eq!(rig.stored("session_events").await.len(), 8, "{status}");
        rig.sim.faults.clear();
        rig.assert_heals("session_events").await;
        assert_events(&rig).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_session_s_events_are_answered_none_is_stuck_and_none_is_lost() {
    let rig = rig_of("session_events").await;
    add(&rig, 40, [80_000, 600], 1);
    rig.sim.faults.always(Endpoint::SessionEvents, Fault::Status(500, "{}".into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    assert!(answer["streams"]["session_events"].get("stuck").is_none(), "{answer:#}");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    assert_events(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_form_that_cannot_be_read_are_not_set_aside_session_by_session() {
    let rig = rig_of("session_events").await;
    add(&rig, 8, [3_000, 600], 2);
    let renamed = |body: &str| body.replace(r#""event":"#, r#""occurrence":"#);
    rig.sim.faults.always(Endpoint::SessionEvents, Fault::edited(renamed));
    for _ in 0..2 {
        let (error_type, answer) = rig.failure(json!({})).await;
        let told = &answer["streams"]["session_events"];
        assert_eq!((error_type.as_str(), &told["set_aside"]), ("ThirdPartyGenericError", &json!(0)), "{answer:#}");
    }
    rig.sim.faults.clear();
    rig.assert_heals("session_events").await;
    assert_events(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_no_session_s_events_are_answered_loses_none() {
    let rig = rig_of("session_events").await;
    add(&rig, 60, [80_000, 600], 1);
    rig.sim.api.change(|api| api.latency = Duration::from_millis(150));
    let refuse = || rig.sim.faults.always(Endpoint::SessionEvents, Fault::Status(500, "{}".into()));
    for seconds in [3, 4, 5] {
        refuse();
        rig.any_run(Duration::from_secs(seconds)).await;
    }
    rig.sim.faults.clear();
    rig.sim.api.change(|api| api.latency = Duration::ZERO);
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    assert_events(&rig).await;
}
