//! The span that `verify` checks: narrower, in parts if the time is short, and before anything was collected.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, LambdaBuilder, S3Fault};

use crate::oracle::{assert_one_finding, findings, millis, span_of};
use crate::rig::{CHECKPOINT, Rig, ago, failure_of, time};
use crate::verify::collected;

/// Collects one record in each of the last `hours`.
async fn hourly(hours: i64) -> Rig {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "audit").env("LOOKBACK_MINUTES", (hours * 60).to_string())).await;
    rig.sim.world.add_audit(usize::try_from(2 * hours).unwrap(), ago(hours * 3_600 - 60), ago(60));
    rig.run().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_hundred_findings_are_told_and_where_to_go_on() {
    let rig = hourly(140).await;
    let mut keys = rig.keys("audit").await;
    assert!(keys.len() > 130, "{} objects", keys.len());
    keys.truncate(keys.len() - 10);
    for key in &keys {
        rig.sim.s3.delete_raw(rig.sim.bucket(), key).await;
    }
    let verified = rig.verify().await;
    assert_eq!((&verified["status"], findings(&verified).len()), (&json!("broken"), 100));
    let next_from = verified["next_from"].clone();
    assert!(time(&next_from) > span_of(&keys[95]).0 && time(&next_from) <= span_of(&keys[100]).0, "{next_from}");
    let rest = rig.verify_with(json!({"from": next_from})).await;
    assert_eq!((&rest["status"], rest.get("next_from")), (&json!("broken"), None), "{rest:#}");
    let mut named: Vec<String> =
        findings(&verified).into_iter().chain(findings(&rest)).map(|(_, key, _)| key).collect();
    named.sort();
    named.dedup();
    assert_eq!(named, keys, "all of them, and none that is left");
}

/// Sends `verify` again with `next_from` until it is done. Returns the last answer and the number of requests.
async fn verified_in_parts(rig: &Rig, deadline: Duration) -> (Value, usize) {
    let mut event = json!({"action": "verify"});
    for asked in 1..40 {
        let answer = rig.lambda.invoke(event.clone(), deadline).await.answer();
        let Some(next_from) = answer.get("next_from") else { return (answer, asked) };
        assert_eq!((&answer["status"], &answer["findings"]), (&json!("partial"), &json!([])), "{answer:#}");
        event["from"] = next_from.clone();
    }
    panic!("no progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_time_is_verified_in_parts() {
    let rig = hourly(40).await;
    rig.sim.s3.faults.always("GET", "code42/audit/", S3Fault::Late(Duration::from_millis(150)));
    let (answer, asked) = verified_in_parts(&rig, Duration::from_secs(3)).await;
    assert!(asked > 2, "too few calls");
    assert_eq!(answer["status"], "whole", "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_time_is_over_in_the_first_hour_going_on_finds_nothing_wrong() {
    let rig = collected().await;
    rig.sim.s3.faults.once("GET", "code42/audit/", 1, S3Fault::Late(Duration::from_secs(4)));
    let (answer, asked) = verified_in_parts(&rig, Duration::from_secs(2)).await;
    assert_eq!((&answer["status"], asked), (&json!("whole"), 2), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_time_is_over_before_the_manifests_are_read_going_on_finds_nothing_wrong() {
    let rig = collected().await;
    rig.sim.s3.faults.once("GET", "/manifests/", 1, S3Fault::Late(Duration::from_secs(4)));
    let (answer, asked) = verified_in_parts(&rig, Duration::from_secs(2)).await;
    assert_eq!((&answer["status"], asked), (&json!("whole"), 2), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_checkpoint_is_not_answered_in_the_whole_time_nothing_is_called_whole() {
    let rig = collected().await;
    for from in [None, Some(ago(900))] {
        rig.sim.s3.faults.once("GET", CHECKPOINT, 1, S3Fault::Late(Duration::from_secs(4)));
        let mut event = json!({"action": "verify"});
        if let Some(from) = from {
            event["from"] = json!(millis(from));
        }
        let (error_type, answer) = failure_of(rig.lambda.invoke(event, Duration::from_secs(5)).await);
        assert_eq!(
            (error_type.as_str(), &answer["action"]),
            ("FirstPartyGenericError", &json!("verify")),
            "{answer:#}"
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(CHECKPOINT) && message.contains("no answer within"), "{message}");
    }
    let (answer, asked) = verified_in_parts(&rig, Duration::from_secs(8)).await;
    assert_eq!((&answer["status"], asked), (&json!("whole"), 1), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_not_covered_is_named_by_its_ends() {
    let rig = collected().await;
    let (from, to) = (millis(ago(1_800)), millis(ago(1_500)));
    for stream in ["audit", "file_events"] {
        let good = rig.checkpoint().await;
        rig.edit_checkpoint(|checkpoint| {
            let covered = checkpoint["events"][stream]["covered"][0].clone();
            checkpoint["events"][stream]["covered"] = json!([[covered[0], from], [to, covered[1]]]);
        })
        .await;
        let verified = rig.verify().await;
        assert_one_finding(&verified, stream, &from, "not covered");
        assert_eq!((&verified["findings"][0]["to"], verified["findings"][0].get("key")), (&json!(to), None));
        rig.edit_checkpoint(|checkpoint| checkpoint["events"][stream]["expired"] = json!([[from, to]])).await;
        let verified = rig.verify().await;
        assert_one_finding(&verified, stream, &from, "expired");
        assert_eq!(verified["findings"][0]["to"], json!(to));
        rig.edit_checkpoint(|checkpoint| *checkpoint = good).await;
        rig.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_was_no_time_for_is_not_called_whole_when_going_on() {
    let rig = collected().await;
    let key = rig.keys("users").await.remove(0);
    rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    rig.sim.s3.faults.once("GET", "/manifests/", 1, S3Fault::Late(Duration::from_secs(4)));
    let event = json!({"action": "verify", "streams": ["users"]});
    let answer = rig.lambda.invoke(event, Duration::from_secs(2)).await.answer();
    assert_eq!(answer["status"], "partial", "{answer:#}");
    let answer = rig.verify_with(json!({"streams": ["users"], "from": answer["next_from"]})).await;
    assert_one_finding(&answer, "users", &key, "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_on_where_one_stream_began_later_than_another_finds_nothing_wrong() {
    let rig = hourly(10).await;
    rig.sim.world.add_file_events(100, ago(3_000), ago(10));
    let both = |lambda: LambdaBuilder| lambda.env("STREAMS", "audit,file_events");
    let rig = Rig { lambda: rig.container(both), ..rig };
    rig.run().await;
    rig.assert_whole().await;
    rig.sim.s3.faults.once("GET", "code42/audit/", 4, S3Fault::Late(Duration::from_secs(4)));
    let (answer, asked) = verified_in_parts(&rig, Duration::from_secs(2)).await;
    assert_eq!((&answer["status"], asked), (&json!("whole"), 2), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_span_or_fewer_streams_leave_the_rest_alone() {
    let rig = hourly(12).await;
    let keys = rig.keys("audit").await;
    let deleted = &keys[8];
    rig.sim.s3.delete_raw(rig.sim.bucket(), deleted).await;
    let hour = |n: i64| millis(span_of(deleted).0 + TimeDelta::hours(n));
    for (from, to, is_found) in [(-4, -1, false), (2, 3, false), (-3, 2, true)] {
        let verified = rig.verify_with(json!({"from": hour(from), "to": hour(to)})).await;
        assert_eq!(verified["status"], if is_found { "broken" } else { "whole" }, "{from} to {to}: {verified:#}");
        assert_eq!(findings(&verified).len(), usize::from(is_found));
        assert_eq!(verified["streams"]["audit"], json!({"from": hour(from), "to": hour(to)}));
        let checked = verified["checked"]["objects"].as_u64().unwrap();
        assert!((1..8).contains(&checked), "{checked} objects");
    }
    assert_one_finding(&rig.verify().await, "audit", deleted, "missing");
    let users = rig.verify_with(json!({"streams": ["users"]})).await;
    assert_eq!((&users["status"], &users["checked"]["objects"]), (&json!("whole"), &json!(0)));
    assert_eq!(users["streams"].as_object().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_outside_of_the_span_is_none_of_it() {
    let rig = hourly(6).await;
    let keys = rig.keys("audit").await;
    let stray = keys[2].replace(".ndjson.gz", "-r1.ndjson.gz");
    rig.put_lines(&stray, &["{}".to_owned()]).await;
    let later = rig.verify_with(json!({"from": millis(span_of(&keys[3]).0)})).await;
    assert_eq!(later["status"], "whole", "{later:#}");
    assert_one_finding(&rig.verify().await, "audit", &stray, "no manifest names it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_name_is_of_another_hour_than_its_folder_is_a_stray() {
    let rig = hourly(3).await;
    let keys = rig.keys("audit").await;
    let (folder, _) = keys[1].rsplit_once('/').unwrap();
    for name in ["20200101T000000000Z-20200101T000100000Z", "29991231T000000000Z-29991231T000100000Z"] {
        let stray = format!("{folder}/{name}.ndjson.gz");
        rig.put_lines(&stray, &["{}".to_owned()]).await;
        assert_one_finding(&rig.verify().await, "audit", &stray, "no manifest names it");
        rig.sim.s3.delete_raw(rig.sim.bucket(), &stray).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_come_is_no_gap_and_a_day_without_a_run_is_one() {
    let rig = collected().await;
    for to in [ago(0), ago(-86_400)] {
        let verified = rig.verify_with(json!({"to": millis(to)})).await;
        assert_eq!(verified["status"], "whole", "{verified:#}");
    }
    let rig = hourly(48).await;
    let stopped = millis(ago(86_400));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["covered"][0][1] = json!(stopped)).await;
    let verified = rig.verify_with(json!({"to": millis(ago(0))})).await;
    assert_one_finding(&verified, "audit", &stopped, "not covered");
    assert!(time(&verified["findings"][0]["to"]) > ago(20 * 60), "{verified:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_at_the_beginning_of_a_stream_is_found_however_much_is_covered_after_it() {
    let rig = hourly(12).await;
    let covered_from = millis(ago(3 * 3_600));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["covered"][0][0] = json!(covered_from)).await;
    let begin = rig.checkpoint().await["events"]["audit"]["live_from"].as_str().unwrap().to_owned();
    let verified = rig.verify().await;
    assert_one_finding(&verified, "audit", &begin, "not covered");
    assert_eq!(verified["findings"][0]["to"], json!(covered_from));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_before_all_that_is_known_is_a_gap_when_it_is_asked_for() {
    let rig = collected().await;
    let from = millis(ago(7_200));
    let verified = rig.verify_with(json!({"streams": ["audit"], "from": from})).await;
    assert_one_finding(&verified, "audit", &from, "not covered");
    assert_eq!(verified["findings"][0]["to"], rig.checkpoint().await["events"]["audit"]["covered"][0][0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anything_is_collected_there_is_nothing_wrong() {
    let rig = Rig::new().await;
    for fields in
        [json!({}), json!({"from": millis(ago(600))}), json!({"from": millis(ago(600)), "to": millis(ago(60))})]
    {
        let verified = rig.verify_with(fields).await;
        assert_eq!((&verified["findings"], &verified["checked"]["objects"]), (&json!([]), &json!(0)), "{verified:#}");
    }
    assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.is_empty());
    // After a failed first run everything is still due.
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Status(500, String::new()));
    rig.populate();
    rig.failure(json!({"action": "collect", "streams": ["audit"]})).await;
    let verified = rig.verify().await;
    let live_from = rig.checkpoint().await["events"]["audit"]["live_from"].as_str().unwrap().to_owned();
    assert_one_finding(&verified, "audit", &live_from, "not covered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_its_own_is_refused() {
    let rig = Rig::new().await;
    for (fields, named) in [
        (json!({"dry_run": true}), "dry_run"),
        (json!({"prefix": "again/"}), "prefix"),
        (json!({"form": "2026-11-01T00:00:00Z"}), "form"),
        (json!({"from": "yesterday"}), "RFC 3339"),
        (json!({"to": 1_700_000_000}), "RFC 3339"),
        (json!({"streams": ["adit"]}), "adit"),
        (json!({"streams": []}), "at least one"),
        (json!({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}), "before"),
    ] {
        let mut event = json!({"action": "verify"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (error_type, answer) = rig.failure(event).await;
        assert_eq!(error_type, "InvalidEvent");
        assert!(answer["error"]["message"].as_str().unwrap().contains(named), "{answer:#}");
    }
    assert!(rig.sim.s3.requests().is_empty());
}
