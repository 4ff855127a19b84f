//! Invalid settings, secrets and events: one clear error each, and nothing half done.

use serde_json::{Value, json};
use simulator::SecretsFault;

use crate::rig::{Rig, failure_of, logs_with, logs_with_so_many};

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_answered_to_every_event_and_named() {
    for (name, held) in [
        ("STREAMS", "audit,adit"),
        ("PAGE_SIZE", "many"),
        ("INCYDR_BASE_URL", "http://api.us.code42.com"),
        ("S3_BUCKET", ""),
    ] {
        let rig = Rig::with(|lambda| lambda.env(name, held)).await;
        for event in [json!({}), json!({"source": "aws.scheduler"}), json!({"action": "collect"})] {
            let (error_type, answer) = rig.failure(event).await;
            assert_eq!(error_type, "ThirdPartyConfigError");
            assert!(message(&answer).starts_with(name), "{answer:#}");
        }
        assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_is_refused_before_anything_is_read() {
    let rig = Rig::new().await;
    rig.populate();
    for event in [
        json!({"action": "destroy"}),
        json!({"action": "collect", "stream": "audit"}),
        json!({"action": "collect", "streams": ["adit"]}),
        json!({"action": "collect", "from": "yesterday"}),
        json!({"streams": ["audit"]}),
        json!("collect"),
        json!([]),
        Value::Null,
    ] {
        let (error_type, answer) = rig.failure(event.clone()).await;
        assert_eq!(error_type, "InvalidEvent", "{event}");
        assert_eq!(answer["error"]["type"], "InvalidEvent");
    }
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty() && rig.sim.secrets.calls() == 0);
    let bad_settings = rig.container(|lambda| lambda.env("GZIP_LEVEL", "11"));
    let (error_type, _) = failure_of(bad_settings.invoke(json!({"action": "?"}), crate::rig::DEADLINE).await);
    assert_eq!(error_type, "InvalidEvent", "of several, the first in the order of the contract");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_a_configuration_error_that_says_what_to_look_at() {
    let rig = Rig::new().await;
    rig.sim.secrets.set_secret(r#"{"client_id":"key-1","client_secret":"hunter2-hunter2"}"#);
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(message(&answer).contains("INCYDR_BASE_URL is another region's"), "{answer:#}");
    assert_eq!(answer["streams"]["audit"]["status"], "failed");
    let checkpoint = rig.checkpoint().await;
    assert_eq!((&checkpoint["events"], &checkpoint["lease"]), (&json!({}), &Value::Null), "only states are written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_secret_is_a_configuration_error_that_repeats_none_of_it() {
    for secret in ["hunter2-hunter2", r#"{"client_id":"key-1","password":"hunter2-hunter2"}"#, "{}", ""] {
        let rig = Rig::new().await;
        rig.sim.secrets.set_secret(secret);
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyConfigError", "{answer:#}");
        assert!(message(&answer).contains("\"client_id\" and \"client_secret\""), "{answer:#}");
        let logs = logs_with(&rig.lambda, "the run failed").await.concat();
        assert!(!answer.to_string().contains("hunter2") && !logs.contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_is_our_own_side_s_error() {
    for fault in [SecretsFault::AccessDenied, SecretsFault::ResourceNotFound, SecretsFault::InternalServiceError] {
        let rig = Rig::new().await;
        rig.sim.secrets.fail(Some(fault));
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
        assert!(message(&answer).contains("incydr/api"), "{answer:#}");
    }
    let rig = Rig::new().await;
    rig.sim.secrets.fail(Some(SecretsFault::Html));
    let (_, answer) = rig.failure(json!({})).await;
    let says = "HTTP status 403: <html><body>Blocked by policy</body></html>";
    assert!(message(&answer).contains(says), "a proxy's page is quoted: {answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_line_answer_or_object() {
    let rig = Rig::with(|lambda| lambda.env("AWS_LAMBDA_LOG_LEVEL", "TRACE")).await;
    rig.populate();
    let secret = rig.sim.api.behaviour().client_secret;
    let echo = format!("who are you, {secret}, with {secret}?");
    rig.sim.faults.once(simulator::Endpoint::SignIn, 1, simulator::Fault::Status(500, echo.clone()));
    rig.run().await;
    rig.sim.faults.always(simulator::Endpoint::Any, simulator::Fault::Status(400, echo));
    let mut told = rig.failure(json!({})).await.1.to_string();
    told.extend(logs_with(&rig.lambda, "the run failed").await);
    for object in rig.sim.s3.objects(rig.sim.bucket(), "").await {
        told.push_str(&String::from_utf8_lossy(&object.bytes));
    }
    for held in [secret.as_str(), "Bearer ", "Basic ", "eyJ"] {
        assert!(!told.contains(held), "{held} is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_is_one_json_object_and_lambda_s_setting_governs_the_level() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let logs = logs_with(&rig.lambda, "the run ended").await;
    let lines: Vec<Value> = logs.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for stream in ["audit", "file_events", "cases", "users"] {
        let of_stream = lines.iter().find(|line| line["message"] == format!("collected {stream}")).expect(stream);
        assert_eq!((&of_stream["level"], &of_stream["stream"]), (&json!("INFO"), &json!(stream)));
        for figure in ["records", "objects", "bytes", "requests", "retries", "set_aside", "lag_s"] {
            assert!(of_stream[figure].is_u64(), "{figure}: {of_stream:#}");
        }
    }
    // Events are read up to a whole second. In the same second a run would have nothing to request.
    tokio::time::sleep(std::time::Duration::from_millis(1_001)).await;
    let quiet = rig.container(|lambda| lambda.env("AWS_LAMBDA_LOG_LEVEL", "WARN"));
    quiet.invoke(json!({}), crate::rig::DEADLINE).await.answer();
    // Metrics are logged at every level, because alarms depend on them. Users are not due.
    let logs = logs_with_so_many(&quiet, "\"_aws\"", 4).await;
    let (metrics, others): (Vec<String>, Vec<String>) = logs.into_iter().partition(|line| line.contains("\"_aws\""));
    assert_eq!((metrics.len(), others), (4, Vec::new()));
    let chatty = rig.container(|lambda| lambda.env("AWS_LAMBDA_LOG_LEVEL", "DEBUG"));
    chatty.invoke(json!({}), crate::rig::DEADLINE).await.answer();
    logs_with(&chatty, "\"DEBUG\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_no_json_is_an_invalid_event_and_nothing_is_read() {
    let rig = Rig::new().await;
    for payload in ["{", r#"{"action":"\ud83d"}"#, r#"{"n":1e999}"#, "{} {}"] {
        let (error_type, answer) = crate::rig::failure_of(rig.lambda.invoke_with(payload, crate::rig::DEADLINE).await);
        assert_eq!(error_type, "InvalidEvent", "{payload}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains("can't be read as JSON"),
            "{payload}: {answer:#}"
        );
    }
    assert!(rig.sim.api.requests().is_empty() && rig.sim.s3.requests().is_empty());
    assert_eq!(rig.run().await["status"], "complete", "the process lives on");
}
