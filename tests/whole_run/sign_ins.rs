//! Answers to the sign-in. Only refusals of the credentials count as such, and for credentials that worked before only
//! if they last. Every failure heals by itself.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, SecretsFault};

use crate::inventories::stream_named;
use crate::oracle::millis;
use crate::rig::{Rig, ago};

const REFUSED: &str = r#"{"error":"invalid_client"}"#;

impl Rig {
    /// Makes the next run in another container, which must sign in.
    async fn run_anew(&self) -> (String, Value) {
        self.lambda.kill();
        self.failure(json!({})).await
    }

    /// Moves the beginning of the refusals back by `seconds`.
    async fn refused_since(&self, seconds: i64) {
        self.edit_checkpoint(|checkpoint| checkpoint["sign_ins"]["refused"]["since"] = json!(millis(ago(seconds))))
            .await;
    }

    async fn refused_last(&self, seconds: i64) {
        self.edit_checkpoint(|checkpoint| checkpoint["sign_ins"]["refused"]["last"] = json!(millis(ago(seconds))))
            .await;
    }

    fn sign_ins_asked(&self) -> usize {
        self.sim.api.requests_to(Endpoint::SignIn).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_about_the_credentials_is_retried_and_leaves_no_trace() {
    let answers = [
        (403, r#"{"status":403,"error":"Forbidden","path":"/v1/oauth"}"#),
        (403, r#"{"error":"invalid_client"}"#),
        (403, "<html>blocked</html>"),
        (400, r#"{"error":"access_denied"}"#),
        (400, r#"{"error":"temporarily_unavailable"}"#),
        (401, ""),
        (401, "<html>who are you?</html>"),
        (401, r#"{"status":401,"error":"Unauthorized"}"#),
        (206, REFUSED),
        (503, REFUSED),
    ];
    join_all(answers.into_iter().map(async |(status, body)| {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.faults.once(Endpoint::SignIn, 1, Fault::Status(status, body.into()));
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{status} {body}: {answer:#}");
        rig.assert_holds_everything().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_stays_the_run_fails_with_what_was_said_and_the_next_one_tries() {
    let rig = Rig::new().await;
    rig.populate();
    let body = r#"{"error":"access_denied","error_description":"maintenance until 07:00"}"#;
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(400, body.into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(
        (error_type.as_str(), &answer["streams"]["audit"]["state"]),
        ("ThirdPartyGenericError", &json!("error"))
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("sign-in") && message.contains("maintenance until 07:00"), "{message}");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_words_about_the_credentials_stop_the_streams_of_a_secret_that_never_worked() {
    for (status, error) in [(400, "invalid_client"), (401, "invalid_client"), (400, "unauthorized_client")] {
        let rig = Rig::new().await;
        let body = json!({"error": error, "error_description": "no such client"}).to_string();
        rig.sim.faults.always(Endpoint::SignIn, Fault::Status(status, body));
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(
            (error_type.as_str(), &answer["streams"]["audit"]["state"]),
            ("ThirdPartyConfigError", &json!("stopped"))
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains("no such client"), "{answer:#}");
        assert_eq!(rig.sign_ins_asked(), 1, "no retry");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_worked_are_refused_once_and_the_next_run_goes_on() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.sim.faults.once(Endpoint::SignIn, 1, Fault::Status(401, REFUSED.into()));
    let (error_type, answer) = rig.run_anew().await;
    assert_eq!(
        (error_type.as_str(), &answer["streams"]["audit"]["state"]),
        ("ThirdPartyGenericError", &json!("error"))
    );
    assert!(answer["error"]["message"].as_str().unwrap().contains("worked before"), "{answer:#}");
    let audit = &answer["streams"]["audit"];
    assert!(audit["covered_to"].is_string() && audit["lag_s"].is_u64(), "{answer:#}");
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["state"]), (&json!("complete"), &json!("collecting")));
    assert!(rig.checkpoint().await["sign_ins"].get("refused").is_none());
    rig.assert_told_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_refuses_every_token_sees_few_sign_ins_and_the_next_run_goes_on() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.when(Endpoint::Any, |request| !request.path.ends_with("/oauth"), Fault::Unauthorized);
    for run in 1..=2 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        assert!(answer.to_string().contains("401, also to a new token"), "{answer:#}");
        // All streams ask at once, so some have been refused by the time that it is clear.
        assert!(rig.sign_ins_asked() <= 8 * run, "{} in {run} runs", rig.sign_ins_asked());
    }
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_without_a_version_id_is_known_by_its_value() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.populate();
    rig.sim.secrets.fail(Some(SecretsFault::NoVersion));
    rig.sim.secrets.set_secret("{}");
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    let behaviour = rig.sim.api.behaviour();
    let right = json!({"client_id": behaviour.client_id, "client_secret": behaviour.client_secret}).to_string();
    rig.sim.secrets.set_secret(right);
    assert_eq!(rig.run().await["status"], "complete", "another value is tried at once");
    rig.lambda.kill();
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(401, REFUSED.into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "it worked before: {answer:#}");
    assert_eq!(answer["streams"]["audit"]["state"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_worked_are_wrong_once_they_are_refused_for_half_an_hour_and_three_runs_and_are_then_tried_hourly()
 {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.sim.faults.always(Endpoint::SignIn, Fault::Status(401, REFUSED.into()));
    for _ in 0..3 {
        assert_eq!(rig.run_anew().await.0, "ThirdPartyGenericError", "three runs, but no half an hour");
    }
    rig.edit_checkpoint(|checkpoint| checkpoint["sign_ins"]["refused"]["runs"] = json!(1)).await;
    rig.refused_since(1_801).await;
    assert_eq!(rig.run_anew().await.0, "ThirdPartyGenericError", "half an hour, but no three runs");
    let (error_type, answer) = rig.run_anew().await;
    assert_eq!(
        (error_type.as_str(), &answer["streams"]["audit"]["state"]),
        ("ThirdPartyConfigError", &json!("stopped"))
    );
    // Now it isn't tried for an hour.
    let asked = rig.sign_ins_asked();
    let (error_type, answer) = rig.run_anew().await;
    assert_eq!((error_type.as_str(), rig.sign_ins_asked()), ("ThirdPartyConfigError", asked));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("stopped since") && message.contains("once an hour"), "{message}");
    for _ in 0..2 {
        rig.refused_last(3_601).await;
        let asked = rig.sign_ins_asked();
        assert_eq!(rig.run_anew().await.0, "ThirdPartyConfigError");
        assert_eq!(rig.run_anew().await.0, "ThirdPartyConfigError");
        assert_eq!(rig.sign_ins_asked(), asked + 1, "one try, which is noted");
    }
    // The vendor has corrected it, which nobody tells the collector. It heals by itself.
    rig.sim.faults.clear();
    rig.refused_last(3_601).await;
    // Waits until there is a new second to request.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["state"]), (&json!("complete"), &json!("collecting")));
    rig.assert_told_once().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_stream_was_granted_a_token_the_others_that_are_stopped_are_tried_too() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.once(Endpoint::SignIn, 1, Fault::Status(401, REFUSED.into()));
    rig.failure(json!({})).await;
    rig.assert_state("users", "stopped").await;
    rig.invoke(json!({"action": "restart", "streams": ["audit"]})).await.answer();
    rig.invoke(json!({"action": "collect", "streams": ["audit"]})).await.answer();
    let answer = rig.run().await;
    assert_eq!((&answer["status"], &answer["streams"]["users"]["state"]), (&json!("complete"), &json!("collecting")));
    rig.assert_holds_everything().await;
}

/// A token that ends in the middle of a run, and a sign-in that answers as if a list or a record weren't there.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_fails_in_mid_run_says_nothing_of_the_list_that_needed_it() {
    let kinds = [
        ("alert_rules", Endpoint::RuleUsers, 400),
        ("watchlists", Endpoint::WatchlistMembers, 404),
        ("legal_hold", Endpoint::Custodians, 404),
        ("user_roles", Endpoint::UserRoles, 404),
    ];
    join_all(kinds.map(async |(name, endpoint, status)| {
        let stream = stream_named(name);
        let rig = stream.rig(50).await;
        stream.populate(&rig.sim.world, 4);
        rig.sim.faults.always(endpoint, Fault::Unauthorized);
        rig.sim.faults.from(Endpoint::SignIn, 2, Fault::Status(status, "{}".into()));
        let answer = rig.any_run(Duration::from_secs(4)).await;
        assert_ne!(answer["streams"][name]["status"], "complete", "{answer:#}");
        let error = answer["streams"][name]["error"]["message"].as_str().unwrap_or_default();
        assert!(error.starts_with("sign-in: the API answers"), "{answer:#}");
        assert!(rig.checkpoint().await["stuck"].get(name).is_none(), "{answer:#}");
        rig.sim.faults.clear();
        assert_eq!(rig.run().await["status"], "complete", "{name}");
        stream.assert_holds(&rig, &[]).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_fails_in_mid_run_leaves_no_case_and_no_window_stuck() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases,file_events")).await;
    rig.sim.world.add_cases(5, ago(900), ago(800));
    rig.sim.world.add_file_events(40, ago(900), ago(800));
    for endpoint in [Endpoint::CaseDetail, Endpoint::FileEvents] {
        rig.sim.faults.always(endpoint, Fault::Unauthorized);
    }
    rig.sim.faults.from(Endpoint::SignIn, 2, Fault::Status(404, "{}".into()));
    let answer = rig.any_run(Duration::from_secs(4)).await;
    assert_eq!(answer["status"], "failed", "{answer:#}");
    assert_eq!(rig.checkpoint().await["stuck"].as_object().map(serde_json::Map::len), None, "{answer:#}");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}
