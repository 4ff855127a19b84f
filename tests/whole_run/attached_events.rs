//! The file events that are attached to cases: each is stored, whatever becomes of its case or of the others.

use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, Record, compact, with_member};

use crate::rig::{Rig, ago, assert_same};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_to_a_case_stays_when_the_case_is_archived() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "case_file_events").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let now = chrono::Utc::now();
    let cases = rig.sim.world.add_cases(8, now - chrono::TimeDelta::days(3), now);
    for case in &cases {
        rig.sim.world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
        rig.sim.world.add_children(Dataset::CaseFileEvents, &case.id, 3);
    }
    let line =
        |case: &Record, event: &Record| format!(r#"{{"_caseNumber":"{}",{}"#, case.id, &compact(&event.raw)[1..]);
    let attached = |case: &Record| rig.sim.world.children(Dataset::CaseFileEvents, &case.id);
    rig.run().await;
    let mut expected: Vec<String> = cases
        .iter()
        .flat_map(|case| attached(case).into_iter().map(|event| line(case, &event)).collect::<Vec<_>>())
        .collect();
    assert_same("case_file_events", rig.stored("case_file_events").await, expected.clone());
    let details = rig.sim.api.requests_to(Endpoint::CaseFileEventDetail).len();
    let added = rig.sim.world.add_children(Dataset::CaseFileEvents, &cases[4].id, 1);
    expected.push(line(&cases[4], &added[0]));
    rig.sim.world.change(Dataset::Cases, &cases[2].id, |raw| with_member(raw, "status", "\"ARCHIVED\""));
    for event in attached(&cases[2]) {
        rig.sim.world.remove_child(Dataset::CaseFileEvents, &cases[2].id, &event.id);
    }
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_same("case_file_events", rig.stored("case_file_events").await, expected);
    assert_eq!(rig.sim.api.requests_to(Endpoint::CaseFileEventDetail).len(), details + 1, "each is fetched once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attached_event_that_cannot_be_read_holds_up_none_of_the_others_of_its_case() {
    join_all([500, 403, 404].into_iter().map(async |status| {
        let settings = |lambda: simulator::LambdaBuilder| {
            // Three pages a case.
            let lambda = lambda.env("STREAMS", "case_file_events").env("PAGE_SIZE", "2");
            lambda.env("INVENTORY_INTERVAL_MINUTES", "0")
        };
        let rig = Rig::with(settings).await;
        let cases = rig.sim.world.add_cases(3, ago(9_000), ago(90));
        for case in &cases {
            rig.sim.world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
            rig.sim.world.add_children(Dataset::CaseFileEvents, &case.id, 6);
        }
        let bad = rig.sim.world.children(Dataset::CaseFileEvents, &cases[1].id)[2].id.to_string();
        let is_it = move |request: &simulator::http::Request| request.path.ends_with(&bad);
        rig.sim.faults.when(Endpoint::CaseFileEventDetail, is_it, Fault::Status(status, "{}".into()));
        for _ in 0..2 {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{status}: {answer:#}");
            assert_eq!(answer["streams"]["case_file_events"]["stuck"]["count"], 1, "{status}: {answer:#}");
            assert_eq!(rig.stored("case_file_events").await.len(), 17, "{status}");
        }
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["status"], "complete", "{status}");
        assert_eq!(rig.stored("case_file_events").await.len(), 18, "{status}");
    }))
    .await;
}
