//! The audit log keeps records for 90 days. A gap is reported before it expires, reported once when it does, and never
//! covered.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Endpoint, Fault};

use crate::oracle::{assert_one_finding, millis};
use crate::rig::{DEADLINE, Rig, ago, failure_of, time};

const HOUR: i64 = 3_600;
const KEPT: i64 = 90 * 24 * HOUR;

/// The whole second that many hours before the end of the retention.
fn hours_left(hours: i64) -> DateTime<Utc> {
    let at = ago(KEPT) + TimeDelta::hours(hours);
    DateTime::from_timestamp(at.timestamp(), 0).unwrap() + TimeDelta::minutes(30)
}

/// A checkpoint that covers everything except audit from `from` to `to`.
async fn lacking(from: DateTime<Utc>, to: DateTime<Utc>) -> Rig {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.edit_checkpoint(|checkpoint| {
        let audit = &mut checkpoint["events"]["audit"];
        audit["live_from"] = json!(millis(from));
        audit["covered"][0][0] = json!(millis(to));
    })
    .await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_be_lost_fails_the_run_and_says_how_long_there_is() {
    let (from, to) = (hours_left(50), hours_left(60));
    let rig = lacking(from, to).await;
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Hang);
    let (error_type, answer) = failure_of(rig.lambda.invoke(json!({}), Duration::from_secs(4)).await);
    assert_eq!(error_type, "ThirdPartyGenericError");
    for stream in ["file_events", "cases", "users"] {
        let status = &answer["streams"][stream]["status"];
        assert!(status == "complete" || status == "not_due", "{answer:#}");
    }
    let error = &answer["streams"]["audit"]["error"];
    assert_eq!((&answer["streams"]["audit"]["status"], &answer["error"]), (&json!("failed"), error));
    let message = error["message"].as_str().unwrap();
    for part in [millis(from), millis(to), "50 more hours".to_owned()] {
        assert!(message.contains(&part), "{message} says nothing of {part}");
    }
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete", "covered, it is no error any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lasts_for_more_than_a_long_weekend_is_no_error_yet() {
    for (hours, status) in [(71, "failed"), (73, "partial")] {
        let rig = lacking(hours_left(hours), hours_left(hours + 5)).await;
        // There was no time to read it. That is not the same as no answer.
        rig.sim.faults.always(Endpoint::AuditCount, Fault::RateLimited { retry_after: Some("3600".into()) });
        let outcome = rig.lambda.invoke(json!({}), Duration::from_secs(4)).await;
        let answer = if status == "failed" { failure_of(outcome).1 } else { outcome.answer() };
        assert_eq!(answer["streams"]["audit"]["status"], status, "{hours} hours: {answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_that_keeps_it_from_being_read_is_told_with_it() {
    let rig = lacking(hours_left(10), hours_left(12)).await;
    rig.sim.faults.always(Endpoint::AuditCount, Fault::Status(500, String::new()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("10 more hours") && message.contains("500"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_stay_what_they_are_and_the_hours_are_told() {
    let rig = lacking(hours_left(50), hours_left(60)).await;
    rig.sim.secrets.set_secret(r#"{"client_id":"key-42-simulated","client_secret":"mistyped-client-secret"}"#);
    let other = rig.container(|lambda| lambda);
    let (error_type, answer) = failure_of(other.invoke(json!({}), DEADLINE).await);
    assert_eq!(
        (error_type.as_str(), &answer["error"]["type"]),
        ("ThirdPartyConfigError", &json!("ThirdPartyConfigError"))
    );
    let audit = &answer["streams"]["audit"]["error"];
    assert_eq!(audit["type"], "ThirdPartyConfigError");
    assert!(audit["message"].as_str().unwrap().contains("50 more hours"), "{audit:#}");
    let users = answer["streams"]["users"]["error"]["message"].as_str().unwrap();
    assert!(!users.contains("hours"), "{users}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_it_is_told_and_fails_no_run() {
    let rig = lacking(hours_left(50), hours_left(60)).await;
    for endpoint in [Endpoint::AuditCount, Endpoint::AuditSearch] {
        rig.sim.faults.always(endpoint, Fault::Forbidden);
    }
    for _ in 0..2 {
        let (_, answer) = rig.failure(json!({})).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains("50 more hours"), "{answer:#}");
    }
    // Refused for the third time, and then not requested.
    for _ in 0..2 {
        let answer = rig.run().await;
        assert_eq!(
            (&answer["status"], &answer["streams"]["audit"]["status"]),
            (&json!("complete"), &json!("not_permitted")),
            "{answer:#}"
        );
        let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
        assert!(message.contains("50 more hours"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bucket_fails_before_any_stream_the_hours_are_told_if_they_are_known() {
    let rig = lacking(hours_left(20), hours_left(30)).await;
    rig.sim.s3.faults.always("PUT", "", simulator::S3Fault::Status(403));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert!(answer["streams"]["audit"]["error"]["message"].as_str().unwrap().contains("20 more hours"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_event_s_gap_is_never_about_to_be_lost() {
    let rig = lacking(ago(2 * HOUR), ago(HOUR)).await;
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["events"]["file_events"]["live_from"] = json!(millis(hours_left(-300)));
    })
    .await;
    rig.sim.faults.always(Endpoint::FileEvents, Fault::RateLimited { retry_after: Some("3600".into()) });
    let answer = rig.run_within(Duration::from_secs(4)).await;
    assert_eq!(answer["streams"]["file_events"]["status"], "partial", "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_told_once_and_to_whoever_asks_for_it_stays_on_the_checkpoint_and_is_never_covered() {
    let rig = lacking(hours_left(-30), hours_left(20)).await;
    let from = hours_left(-30);
    let answer = rig.run().await;
    let told = answer["streams"]["audit"]["expired"].clone();
    let (lost_from, lost_to) = (time(&told[0][0]), time(&told[0][1]));
    assert!((lost_from - from).abs() < TimeDelta::seconds(60), "{told}");
    assert!((lost_to - ago(KEPT)).abs() < TimeDelta::seconds(60), "{told}");
    let state = rig.checkpoint().await["events"]["audit"].clone();
    assert_eq!(state["expired"], told);
    assert_eq!(
        (state["covered"].as_array().unwrap().len(), &state["covered"][0][0]),
        (1, &told[0][1]),
        "from there on it is covered"
    );
    let again = rig.run().await;
    assert_eq!((again["streams"]["audit"].get("expired"), &again["status"]), (None, &json!("complete")), "only once");
    assert_eq!(rig.checkpoint().await["events"]["audit"]["expired"], told);
    let asked = json!({"action": "collect", "streams": ["audit"], "from": told[0][0], "to": told[0][1]});
    for _ in 0..2 {
        let answer = rig.invoke(asked.clone()).await.answer();
        assert_eq!(
            answer["streams"]["audit"]["expired"], told,
            "whoever asks for it learns of it each time: {answer:#}"
        );
    }
    let verified = rig.verify_with(json!({"streams": ["audit"], "to": millis(hours_left(19))})).await;
    assert_one_finding(&verified, "audit", told[0][0].as_str().unwrap(), "expired");
    assert_eq!(verified["findings"][0]["to"], told[0][1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookback_longer_than_the_log_begins_where_the_log_does() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "audit").env("LOOKBACK_MINUTES", (100 * 24 * 60).to_string())).await;
    rig.sim.world.add_audit(40, ago(KEPT - HOUR), ago(5));
    let answer = rig.run().await;
    let state = rig.checkpoint().await["events"]["audit"].clone();
    assert_eq!((&answer["streams"]["audit"]["expired"], &answer["status"]), (&state["expired"], &json!("complete")));
    assert!(time(&state["covered"][0][0]) >= time(&state["expired"][0][1]));
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

/// A window that a dead run left open, in the form of the checkpoint.
fn left_open(from: DateTime<Utc>, to: DateTime<Utc>) -> Value {
    let request = json!({"actorIds": null, "actorIpAddresses": null, "actorNames": null, "eventTypes": null,
        "dateRange": {"startTime": from.timestamp() - 1, "endTime": to.timestamp() + 1},
        "page": 0, "pageSize": 100, "resourceIds": null, "userTypes": null});
    let opened_by = json!({"run_id": "a dead run's", "until": millis(ago(600))});
    json!({"span": [millis(from), millis(to)], "request": request, "opened_at": millis(ago(700)), "opened_by": opened_by})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_window_that_reaches_into_what_is_lost_is_covered_only_from_there_on() {
    let (from, to) = (hours_left(-20), hours_left(20));
    let rig = lacking(from, to).await;
    rig.sim.world.add_audit(20, hours_left(1), hours_left(19));
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["open"] = json!([left_open(from, to)])).await;
    let answer = rig.run().await;
    assert_eq!(
        (&answer["status"], &answer["streams"]["audit"]["records"]),
        (&json!("complete"), &json!(20)),
        "{answer:#}"
    );
    let told = answer["streams"]["audit"]["expired"].clone();
    assert_eq!(told[0][0], json!(millis(from)));
    let state = rig.checkpoint().await["events"]["audit"].clone();
    assert_eq!(
        (&state["expired"], &state["covered"][0][0], state.get("open")),
        (&told, &told[0][1], None),
        "{state:#}"
    );
    assert_eq!(state["covered"].as_array().unwrap().len(), 1);
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    let verified = rig.verify_with(json!({"streams": ["audit"], "to": millis(hours_left(19))})).await;
    assert_one_finding(&verified, "audit", &millis(from), "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_window_that_is_lost_as_a_whole_is_given_up() {
    let (from, to) = (hours_left(-20), hours_left(-10));
    let rig = lacking(from, to).await;
    rig.edit_checkpoint(|checkpoint| checkpoint["events"]["audit"]["open"] = json!([left_open(from, to)])).await;
    rig.sim.api.clear_log();
    let answer = rig.run().await;
    let lost = json!([[millis(from), millis(to)]]);
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["expired"]), (&json!("complete"), &lost), "{answer:#}");
    let state = rig.checkpoint().await["events"]["audit"].clone();
    assert_eq!(
        (&state["expired"], state.get("open"), &state["covered"][0][0]),
        (&lost, None, &json!(millis(to))),
        "{state:#}"
    );
    let asked = rig.sim.api.requests_to(Endpoint::AuditCount);
    let lost_request = left_open(from, to)["request"]["dateRange"]["endTime"].as_f64();
    assert!(asked.iter().all(|request| request.json()["dateRange"]["endTime"].as_f64() != lost_request));
}

#[tokio::test(flavor = "multi_thread")]
async fn file_events_older_than_the_plan_keeps_them_are_expired_where_the_api_counts_none_and_not_covered_as_empty() {
    // The API's clock may be behind ours. Then the windows are cut at an edge that turns out to be too late: the first
    // run has signed in, so that the second one learns the API's time only from the answer about its window.
    for (settings, days, behind) in [(None, 90, 0), (Some("30"), 30, 0), (None, 90, 300)] {
        let rig = Rig::with(|lambda| match settings {
            Some(days) => lambda.env("STREAMS", "file_events").env("FILE_EVENTS_RETENTION_DAYS", days),
            None => lambda.env("STREAMS", "file_events"),
        })
        .await;
        let kept = days * 24 * HOUR;
        rig.run().await;
        rig.sim.api.change(|api| api.clock_offset = -TimeDelta::seconds(behind));
        rig.sim.world.add_file_events(30, ago(kept - 10), ago(5));
        let from = ago(kept + 20 * 24 * HOUR);
        let answer =
            rig.invoke(json!({"action": "collect", "from": millis(from), "to": millis(ago(600))})).await.answer();
        assert_eq!(answer["status"], "complete", "{answer:#}");
        let told = answer["streams"]["file_events"]["expired"].clone();
        assert_eq!((told.as_array().unwrap().len(), &told[0][0]), (1, &json!(millis(from))), "{answer:#}");
        assert!((time(&told[0][1]) - ago(kept)).abs() < TimeDelta::seconds(60 + behind), "{told}");
        let state = rig.checkpoint().await["events"]["file_events"].clone();
        assert_eq!((&state["expired"], &state["covered"][0][0]), (&told, &told[0][1]));
        let notes: Vec<Value> = rig.health_records().await.into_iter().filter(|told| !told["note"].is_null()).collect();
        assert!(notes.iter().any(|told| told["note"].as_str().unwrap().starts_with("expired")), "{notes:#?}");
        assert_eq!(rig.run().await["streams"]["file_events"].get("expired"), None, "told once");
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        let verified = rig.verify_with(json!({"from": millis(from), "to": millis(ago(kept - HOUR))})).await;
        assert_one_finding(&verified, "file_events", &millis(from), "expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_window_of_file_events_expires_as_far_as_the_plan_keeps_none_and_it_shows_none() {
    let (from, to) = (hours_left(-20), hours_left(20));
    for rows in [0, 20] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
        rig.run().await;
        if rows > 0 {
            rig.sim.world.add_file_events(rows, hours_left(1), hours_left(19));
        }
        rig.edit_checkpoint(|checkpoint| {
            let state = &mut checkpoint["events"]["file_events"];
            (state["asked"], state["open"]) = (json!([[millis(from), millis(to)]]), json!([left_open(from, to)]));
            state["open"][0]["request"] = Value::Null;
        })
        .await;
        let answer = rig.run().await;
        let told = answer["streams"]["file_events"]["expired"].clone();
        assert_eq!((&answer["status"], &told[0][0]), (&json!("complete"), &json!(millis(from))), "{answer:#}");
        assert_eq!(answer["streams"]["file_events"]["records"], json!(rows), "{answer:#}");
        assert!((time(&told[0][1]) - ago(KEPT)).abs() < TimeDelta::seconds(60), "{told}");
        let state = rig.checkpoint().await["events"]["file_events"].clone();
        assert_eq!(
            (&state["expired"], &state["covered"][0], state.get("open")),
            (&told, &json!([told[0][1], millis(to)]), None),
            "{state:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_events_that_are_older_than_the_plan_should_keep_them_are_collected_where_the_api_has_them() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FILE_EVENTS_RETENTION_DAYS", "2")).await;
    rig.sim.world.add_file_events(300, ago(90 * HOUR), ago(70 * HOUR));
    let event = json!({"action": "collect", "from": millis(ago(89 * HOUR)), "to": millis(ago(71 * HOUR))});
    let answer = rig.invoke(event).await.answer();
    assert_eq!((&answer["status"], answer["streams"]["file_events"].get("expired")), (&json!("complete"), None));
    let asked = |record: &simulator::Record| record.time >= ago(89 * HOUR) && record.time < ago(71 * HOUR);
    let shown: Vec<_> = rig.sim.world.file_events().into_iter().filter(asked).collect();
    assert_eq!(rig.stored("file_events").await.len(), shown.len());
}
