//! `AUDIT_SOURCE=export`: a window of the audit log in one answer, compared with the count like any other.

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, Late, S3Fault};

use crate::rig::{Rig, ago};

async fn rig(settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Rig {
    Rig::with(|lambda| settings(lambda.env("STREAMS", "audit").env("AUDIT_SOURCE", "export"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_stored_once_in_one_request_a_window_whatever_the_answer_is_like() {
    for is_bare in [false, true] {
        // Several pages' worth, and some events are alike in every byte.
        let rig = rig(|lambda| lambda.env("AUDIT_PAGE_SIZE", "100")).await;
        rig.sim.api.change(|api| api.export_is_bare = is_bare);
        rig.sim.world.add_audit(390, ago(3_000), ago(5));
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
        assert!(rig.sim.api.requests_to(Endpoint::AuditSearch).is_empty());
        let exports = rig.sim.api.requests_to(Endpoint::AuditExport);
        assert_eq!(exports.len(), 1, "one window, one request");
        let body = exports[0].json();
        assert!(body.get("page").is_none() && body.get("pageSize").is_none(), "{body}");
        assert!(body["dateRange"]["startTime"].is_number());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_with_more_rows_than_it_may_have_is_cut() {
    let rig = rig(|lambda| lambda.env("AUDIT_PAGE_SIZE", "20")).await;
    rig.sim.world.add_audit(400, ago(3_000), ago(5));
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    assert!(rig.sim.api.requests_to(Endpoint::AuditExport).len() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_export_leaves_out_is_seen_by_the_count() {
    for fault in [
        Fault::edited(|_| r#"{"events":[]}"#.into()),
        Fault::edited(|_| "[]".into()),
        Fault::NoList,
        Fault::Html,
        Fault::Status(404, "no such path".into()),
        Fault::BrokenJson,
    ] {
        let rig = rig(|lambda| lambda).await;
        rig.sim.world.add_audit(40, ago(3_000), ago(5));
        rig.sim.faults.always(Endpoint::AuditExport, fault);
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        assert!(rig.stored("audit").await.is_empty());
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_up_late_is_added_when_the_window_is_counted_again() {
    let rig = rig(|lambda| lambda.env("RECONCILE_MINUTES", "0")).await;
    let events = rig.sim.world.add_audit(40, ago(3_000), ago(5));
    rig.sim.world.late(Dataset::Audit, &events[7].raw, Late::Until(chrono::Utc::now() + chrono::TimeDelta::seconds(4)));
    assert_eq!(rig.run().await["status"], "complete");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_open_is_read_whichever_way_the_log_was_read_then() {
    for (before, after) in [("search", "export"), ("export", "search")] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_SOURCE", before)).await;
        rig.sim.world.add_audit(300, ago(3_000), ago(5));
        let victim = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", "code42/audit/", 1, S3Fault::before(move || victim.kill()));
        rig.invoke(json!({})).await;
        rig.sim.s3.faults.clear();
        rig.free_the_lease().await;
        let other = rig.container(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_SOURCE", after));
        let mut answer = Value::Null;
        for _ in 0..5 {
            rig.free_the_lease().await;
            answer = other.invoke(json!({}), crate::rig::DEADLINE).await.answer();
            if answer["status"] == "complete" {
                break;
            }
        }
        assert_eq!(answer["status"], "complete", "{before} then {after}: {answer:#}");
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_says_whether_the_export_answers() {
    let rig = Rig::new().await;
    let probe = async || {
        let answer = rig.invoke(json!({"action": "probe", "streams": ["audit", "users"]})).await.answer();
        assert!(answer["streams"]["users"].get("export").is_none());
        answer["streams"]["audit"]["export"].clone()
    };
    assert_eq!(probe().await, json!({"answers": true}), "a log without events");
    rig.populate();
    assert_eq!(probe().await, json!({"answers": true}));
    let asked = rig.sim.api.requests_to(Endpoint::AuditExport).pop().unwrap().json();
    let (from, to) = (&asked["dateRange"]["startTime"], &asked["dateRange"]["endTime"]);
    assert!((to.as_f64().unwrap() - from.as_f64().unwrap() - 1.0).abs() < 1e-9, "one second");
    for (fault, says) in [
        (Fault::Status(404, "no such path".into()), "404"),
        (Fault::Forbidden, "403"),
        (Fault::edited(|_| "[]".into()), "shows none"),
        (Fault::Html, "not a JSON"),
    ] {
        rig.sim.faults.clear();
        rig.sim.faults.always(Endpoint::AuditExport, fault);
        let export = probe().await;
        assert_eq!(export["answers"], false);
        assert!(export["error"]["message"].as_str().unwrap().contains(says), "{export:#}");
    }
    rig.sim.faults.clear();
    rig.sim.faults.always(Endpoint::AuditSearch, Fault::Forbidden);
    assert_eq!(probe().await, Value::Null, "nobody may read the log");
}
