//! Approval: by another person, for this very request, within a day, and only through the alias.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::rig::{DEADLINE, REQUESTS, Rig, failure_of, request};

const RULE: &str = "POST /v2/alert-rules/r-1/disable";

async fn rig() -> Rig {
    Rig::with(|lambda| lambda.env("NEEDS_APPROVAL", "rule.disable")).await
}

fn disable() -> Value {
    request("r", "rule.disable", &json!({"id": "r-1"}))
}

fn approved(by: &str, decision: &str, hash: &Value) -> Value {
    let mut event = disable();
    event["approval"] = json!({"approved_by": by, "decision": decision, "request_hash": hash});
    event
}

async fn as_approved(rig: &Rig, event: Value) -> simulator::Outcome {
    let lambda = rig.container(|lambda| lambda.env("NEEDS_APPROVAL", "rule.disable").invoked_as("approved"));
    lambda.invoke(event, DEADLINE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_and_is_done_once_another_person_approves() {
    let rig = rig().await;
    let pending = rig.ask(disable()).await;
    assert_eq!(pending["outcome"], "pending_approval", "{pending:#}");
    assert_eq!(rig.ask(disable()).await["outcome"], "pending_approval");
    assert!(rig.writes().is_empty() && rig.trail("r").await.is_empty());
    let event = approved("bob@example.com", "approve", &pending["request_hash"]);
    let answer = as_approved(&rig, event.clone()).await.answer();
    assert_eq!((&answer["outcome"], rig.writes()), (&json!("done"), vec![RULE.to_owned()]), "{answer:#}");
    rig.assert_trail("r", "done").await;
    let trail = rig.trail("r").await;
    assert!(trail.iter().all(|record| record["approved_by"] == "bob@example.com"), "{trail:#?}");
    assert_eq!(as_approved(&rig, event).await.answer()["outcome"], "done");
    assert_eq!(rig.writes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_first_can_t_approve_in_somebody_else_s_name() {
    let rig = rig().await;
    let pending = rig.ask(disable()).await;
    let mut event = approved("alice@example.com", "approve", &pending["request_hash"]);
    event["requested_by"] = json!("soar@example.com");
    let (refused, answer) = failure_of(as_approved(&rig, event).await);
    assert_eq!((refused.as_str(), &answer["outcome"]), ("ApprovalRejected", &json!("rejected")), "{answer:#}");
    assert!(rig.writes().is_empty());
    rig.assert_trail("r", "rejected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_bound_to_another_request_given_by_who_asked_or_late_is_rejected_for_good() {
    for (by, decision, hash, why) in [
        ("bob@example.com", "refuse", None, "refused"),
        ("Alice@example.com", "approve", None, "must approve it"),
        ("bob@example.com", "approve", Some(json!("another")), "another request_hash"),
    ] {
        let rig = rig().await;
        let pending = rig.ask(disable()).await;
        let hash = hash.unwrap_or_else(|| pending["request_hash"].clone());
        let (refused, answer) = failure_of(as_approved(&rig, approved(by, decision, &hash)).await);
        assert_eq!((refused.as_str(), &answer["outcome"]), ("ApprovalRejected", &json!("rejected")), "{answer:#}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(why), "{answer:#}");
        rig.assert_trail("r", "rejected").await;
        let good = approved("bob@example.com", "approve", &pending["request_hash"]);
        let (again, _) = failure_of(as_approved(&rig, good).await);
        assert_eq!((again.as_str(), rig.writes().len()), ("ApprovalRejected", 0), "once rejected it stays so");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_after_a_day_is_rejected() {
    let rig = rig().await;
    let pending = rig.ask(disable()).await;
    let keys = rig.sim.s3.keys(rig.sim.bucket(), REQUESTS).await;
    let key = keys.iter().find(|key| key.ends_with(".pending.json")).unwrap();
    let mut held: Value =
        serde_json::from_slice(&rig.sim.s3.object(rig.sim.bucket(), key).await.unwrap().bytes).unwrap();
    held["at"] = json!((Utc::now() - TimeDelta::hours(25)).to_rfc3339());
    rig.sim.s3.put_raw(rig.sim.bucket(), key, held.to_string()).await;
    let event = approved("bob@example.com", "approve", &pending["request_hash"]);
    let (refused, answer) = failure_of(as_approved(&rig, event).await);
    assert_eq!(refused, "ApprovalRejected");
    assert!(answer["error"]["message"].as_str().unwrap().contains("24 hours"), "{answer:#}");
    assert!(rig.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_not_believed_of_who_may_only_ask() {
    let rig = rig().await;
    let pending = rig.ask(disable()).await;
    let event = approved("bob@example.com", "approve", &pending["request_hash"]);
    let (refused, answer) = rig.refused(event.clone()).await;
    assert_eq!(refused, "ApprovalRejected");
    assert!(answer["error"]["message"].as_str().unwrap().contains("alias \"approved\""), "{answer:#}");
    assert!(rig.writes().is_empty());
    // An approval of a request that never asked for one isn't valid either. Neither spoils the request.
    assert_eq!(as_approved(&rig, event).await.answer()["outcome"], "done");
}
