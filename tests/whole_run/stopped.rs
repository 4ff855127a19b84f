//! A stream that a wrong configuration stopped isn't tried until that may have changed, and says why meanwhile.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, Lambda, S3Fault, SecretsFault};

use crate::oracle::millis;
use crate::rig::{DEADLINE, HEALTH, PREFIX, Rig, ago, failure_of};
use crate::states::FIRST;

const STOPPED: [&str; 5] = ["pending", "started", "initialized", "stopping", "stopped"];

/// Streams that were stopped because the API refuses the secret.
async fn stopped() -> Rig {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.secrets.set_secret(r#"{"client_id":"key-1","client_secret":"hunter2-hunter2"}"#);
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert_eq!(answer["streams"]["audit"]["state"], "stopped", "{answer:#}");
    rig
}

/// Asserts that a run fails without a request to the API, says why, and leaves the checkpoint unchanged.
async fn assert_stays_stopped(rig: &Rig, event: Value) {
    let (asked, held, told) = (rig.sim.api.requests().len(), rig.checkpoint().await, rig.health_records().await);
    let (error_type, answer) = rig.failure(event).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert_eq!(rig.sim.api.requests().len(), asked, "nothing is asked of the API");
    let since = held["states"]["audit"]["since"].as_str().unwrap();
    let message = answer["streams"]["audit"]["error"]["message"].as_str().unwrap();
    for part in ["stopped since", since, "new version of the secret", r#"{"action": "restart"}"#] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(answer["streams"]["audit"]["state"], "stopped");
    assert_eq!((rig.checkpoint().await, rig.health_records().await), (held, told), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_stop_the_streams_and_later_runs_ask_nothing_and_say_why() {
    let rig = stopped().await;
    assert_eq!(rig.sim.api.requests().len(), 1);
    assert_eq!(rig.told("audit").await, STOPPED);
    let told = rig.health_records().await.pop().unwrap();
    assert_eq!((&told["state"], &told["error"]["type"]), (&json!("stopped"), &json!("ThirdPartyConfigError")));
    for event in [json!({}), json!({"action": "collect"}), json!({"action": "collect", "streams": ["audit"]})] {
        assert_stays_stopped(&rig, event).await;
    }
    assert_stays_stopped(&rig, json!({"action": "collect", "dry_run": true})).await;
    rig.lambda.kill();
    assert_stays_stopped(&rig, json!({})).await;
    let calls = rig.sim.secrets.calls();
    assert_stays_stopped(&rig, json!({})).await;
    assert_eq!(rig.sim.secrets.calls(), calls + 1, "the secret's version is looked at");
    let checkpoint = rig.checkpoint().await;
    assert_eq!(checkpoint["states"]["audit"]["stopped_with"]["secret_version"], rig.sim.secrets.version_id());
    let told = format!("{checkpoint}{:?}", rig.health_records().await);
    assert!(!told.contains("hunter2"), "{told}");
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_not_about_the_credentials_stops_nothing() {
    let page = "<html>blocked</html>".to_owned();
    let refused = r#"{"error":"invalid_client"}"#.to_owned();
    join_all([(403, page.clone()), (400, page), (403, refused), (401, String::new())].into_iter().map(
        async |(status, body)| {
            let rig = Rig::new().await;
            rig.populate();
            rig.sim.faults.always(Endpoint::SignIn, Fault::Status(status, body));
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
            assert_eq!(answer["streams"]["audit"]["state"], "error", "{answer:#}");
            rig.sim.faults.clear();
            rig.run().await;
            rig.assert_holds_everything().await;
        },
    ))
    .await;
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(400, r#"{"error":"invalid_client"}"#.into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(
        (error_type.as_str(), &answer["streams"]["audit"]["state"]),
        ("ThirdPartyConfigError", &json!("stopped"))
    );
}

fn good_secret(rig: &Rig) -> String {
    let api = rig.sim.api.behaviour();
    json!({"client_id": api.client_id, "client_secret": api.client_secret}).to_string()
}

async fn assert_goes_on(rig: &Rig, lambda: &Lambda) {
    let answer = lambda.invoke(json!({}), DEADLINE).await.answer();
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["state"]), (&json!("complete"), &json!("collecting")));
    rig.assert_told_once().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_the_secret_starts_it_again() {
    let rig = stopped().await;
    assert_stays_stopped(&rig, json!({})).await;
    rig.sim.secrets.set_secret(r#"{"client_id":"key-2","client_secret":"hunter3-hunter3"}"#);
    let (asked, calls) = (rig.sim.api.requests().len(), rig.sim.secrets.calls());
    rig.failure(json!({})).await;
    assert_eq!((rig.sim.api.requests().len(), rig.sim.secrets.calls()), (asked + 1, calls + 1), "each once");
    assert_eq!(rig.told("audit").await[5..], STOPPED, "stopped anew");
    assert_stays_stopped(&rig, json!({})).await;
    rig.sim.secrets.set_secret(good_secret(&rig));
    assert_goes_on(&rig, &rig.lambda).await;
    assert_eq!(rig.told("audit").await[10..], FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_setting_starts_it_again() {
    let rig = stopped().await;
    let api = &rig.sim.api;
    api.set_credentials("key-1", "hunter2-hunter2");
    assert_stays_stopped(&rig, json!({})).await;
    let other = rig.container(|lambda| lambda.env("GZIP_LEVEL", "5"));
    assert_goes_on(&rig, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_it_again_and_asks_nothing_of_the_api() {
    let rig = stopped().await;
    // The credentials are valid again. The collector can't notice that.
    rig.sim.api.set_credentials("key-1", "hunter2-hunter2");
    assert_stays_stopped(&rig, json!({})).await;
    let asked = rig.sim.api.requests().len();
    let answer = rig.invoke(json!({"action": "restart", "streams": ["audit"]})).await.answer();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("restart"), &json!("complete")));
    let audit = &answer["streams"]["audit"];
    assert_eq!((&audit["state"], &audit["status"]), (&json!("pending"), &json!("partial")), "it was never read");
    assert_eq!(answer["streams"].as_object().unwrap().len(), 1);
    assert_eq!(rig.told("audit").await.last().unwrap(), "pending");
    assert_eq!(rig.sim.api.requests().len(), asked);
    assert_eq!(rig.checkpoint().await["lease"], Value::Null);
    // The other streams are still stopped.
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert_eq!(
        (&answer["streams"]["audit"]["status"], &answer["streams"]["users"]["state"]),
        (&json!("complete"), &json!("stopped"))
    );
    rig.assert_state("users", "stopped").await;
    let answer = rig.invoke(json!({"action": "restart"})).await.answer();
    let states = answer["streams"].as_object().unwrap();
    assert_eq!(
        (states["audit"]["state"].as_str(), states["users"]["state"].as_str()),
        (Some("collecting"), Some("pending"))
    );
    assert_goes_on(&rig, &rig.lambda).await;
    assert_eq!(rig.told("users").await[5..], ["pending", "started", "initialized", "authenticated", "collecting"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_nothing_writes_no_record_and_one_that_never_gets_its_turn_is_skipped() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    let answer = rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["state"]), (&json!("complete"), &json!("pending")));
    assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.is_empty(), "there is nothing to restart");
    rig.populate();
    rig.run().await;
    let told = rig.health_records().await;
    let answer = rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(answer["streams"]["audit"]["state"], "collecting");
    assert_eq!(rig.health_records().await, told);
    let until = json!({"run_id": "another", "until": millis(ago(-600))});
    rig.edit_checkpoint(|checkpoint| checkpoint["lease"] = until).await;
    let answer = rig.lambda.invoke(json!({"action": "restart"}), Duration::from_secs(3)).await.answer();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("restart"), &json!("skipped")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_secret_stops_too() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    let good = good_secret(&rig);
    rig.sim.secrets.set_secret("hunter2-hunter2");
    rig.failure(json!({})).await;
    assert_eq!(rig.told("audit").await, ["pending", "started", "stopping", "stopped"]);
    assert_stays_stopped(&rig, json!({})).await;
    assert!(rig.sim.api.requests().is_empty());
    assert!(!format!("{}{:?}", rig.checkpoint().await, rig.health_records().await).contains("hunter2"));
    // Nobody can tell whether the secret has changed, so the stream stays stopped.
    rig.sim.secrets.fail(Some(SecretsFault::AccessDenied));
    assert_eq!(rig.failure(json!({})).await.0, "FirstPartyGenericError");
    rig.assert_state("audit", "stopped").await;
    rig.sim.secrets.fail(None);
    assert_stays_stopped(&rig, json!({})).await;
    rig.sim.secrets.set_secret(good);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_refused_in_mid_run_fail_what_needs_them_and_a_new_secret_that_is_refused_stops_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "20")).await;
    rig.populate();
    let api = rig.sim.api.clone();
    let revoke = move || {
        api.set_credentials("key-42-rotated", "rotated-client-secret");
        api.revoke_tokens();
    };
    rig.sim.faults.once(Endpoint::FileEvents, 4, Fault::run(revoke));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(
        (error_type.as_str(), &answer["streams"]["file_events"]["state"]),
        ("ThirdPartyGenericError", &json!("error")),
        "they worked a moment ago"
    );
    assert_eq!(rig.told("file_events").await[3..], ["authenticated", "error"]);
    rig.sim.secrets.set_secret(r#"{"client_id":"key-42-rotated","client_secret":"mistyped-client-secret"}"#);
    assert_eq!(rig.failure(json!({})).await.0, "ThirdPartyConfigError");
    rig.assert_state("file_events", "stopped").await;
    let asked = rig.sim.api.requests().len();
    rig.failure(json!({})).await;
    assert_eq!(rig.sim.api.requests().len(), asked);
    rig.sim.secrets.set_secret(r#"{"client_id":"key-42-rotated","client_secret":"rotated-client-secret"}"#);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region_that_was_mended_binds_nobody() {
    let elsewhere = Rig::new().await;
    let rig = Rig::new().await;
    rig.populate();
    elsewhere.sim.api.set_credentials("of-another-region", "of-another-region");
    let wrong =
        rig.container(|lambda| lambda.env("INCYDR_BASE_URL", elsewhere.sim.api.url()).env("S3_PREFIX", "wrong/"));
    let (error_type, answer) = failure_of(wrong.invoke(json!({}), DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("another region's"), "{answer:#}");
    assert_eq!(rig.checkpoint().await["identity"]["base_url"], elsewhere.sim.api.url());
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["state"]), (&json!("complete"), &json!("collecting")));
    let identity = rig.checkpoint().await["identity"].clone();
    assert_eq!((&identity["base_url"], &identity["prefix"]), (&json!(rig.sim.api.url()), &json!(PREFIX)));
    rig.assert_holds_everything().await;
    // From now on the checkpoint belongs to this identity.
    let (error_type, answer) = failure_of(wrong.invoke(json!({}), DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("INCYDR_BASE_URL"), "{answer:#}");
    assert_eq!(rig.checkpoint().await["identity"], identity);
    rig.assert_state("audit", "collecting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_that_died_over_what_it_tells_is_told_by_the_next_though_that_is_stopped_too() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.secrets.set_secret("{}");
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", HEALTH, 1, S3Fault::unsent(move || lambda.kill()));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    assert!(rig.health_records().await.is_empty());
    rig.free_the_lease().await;
    rig.failure(json!({})).await;
    assert_eq!(rig.told("audit").await, ["pending", "started", "stopping", "stopped"]);
    assert_stays_stopped(&rig, json!({})).await;
    rig.assert_told_once().await;
}
