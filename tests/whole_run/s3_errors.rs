//! S3's errors are classified by their code, as in the AWS SDKs.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use simulator::{S3Fault, SecretsFault};

use crate::oracle::a_moment;
use crate::rig::{CHECKPOINT, PREFIX, Rig, ago};

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_retried_whatever_its_status() {
    for (status, code) in [
        (400, "RequestTimeout"),
        (400, "IncompleteBody"),
        (400, "BadDigest"),
        (400, "ThrottlingException"),
        (400, "KMS.ThrottlingException"),
        (400, "InternalError"),
        (403, "SlowDown"),
    ] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.s3.faults.once("GET", CHECKPOINT, 1, S3Fault::Code(status, code));
        rig.sim.s3.faults.once("PUT", CHECKPOINT, 1, S3Fault::Code(status, code));
        rig.sim.s3.faults.times("PUT", PREFIX, 2, S3Fault::Code(status, code));
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{code}: {answer:#}");
        assert!(rig.sim.s3.faults.struck() >= 4, "{code}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_not_retried() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.populate();
    rig.sim.s3.faults.always("PUT", "code42/users/", S3Fault::Code(400, "KMS.DisabledException"));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("KMS.DisabledException"), "{answer:#}");
    assert_eq!(rig.sim.s3.faults.struck(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_the_container_s_end_and_no_window_s() {
    for nth in [1, 2] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.s3.faults.from("", "", nth, S3Fault::Code(400, "ExpiredToken"));
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains("have expired; the container is replaced"),
            "{answer:#}"
        );
        assert!(rig.sim.s3.faults.struck() < 12, "a final error isn't retried");
        let before = rig.lambda.pid();
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.sim.s3.faults.clear();
        rig.free_the_lease().await;
        assert_eq!(rig.run().await["status"], "complete");
        assert_ne!(rig.lambda.pid(), before, "another container");
        assert!(rig.checkpoint().await.get("stuck").is_none());
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_are_where_secrets_manager_says_so() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.secrets.fail(Some(SecretsFault::ExpiredToken));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("have expired; the container is replaced"),
        "{answer:#}"
    );
    let before = rig.lambda.pid();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.sim.secrets.fail(None);
    assert_eq!(rig.run().await["status"], "complete");
    assert_ne!(rig.lambda.pid(), before);
}

/// A proxy answers in the place of S3. Nothing is stored, whatever the status.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_is_not_s3_s_is_none() {
    for status in [200, 202, 204] {
        let rig = Rig::new().await;
        rig.populate();
        for part in ["code42/", "/known/", "/manifests/", "checkpoint.json"] {
            rig.sim.s3.faults.once("PUT", part, 1, S3Fault::Page(status));
        }
        assert_eq!(rig.run().await["status"], "complete", "it is tried again");
        rig.assert_holds_everything().await;
        rig.assert_whole().await;
        rig.sim.s3.faults.always("PUT", "code42/", S3Fault::Page(status));
        a_moment().await;
        rig.sim.world.add_audit(3, ago(1), ago(0));
        a_moment().await;
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
        assert!(answer.to_string().contains("has no ETag, so it is not S3's"), "{answer:#}");
        rig.sim.s3.faults.clear();
        rig.recover().await;
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_something_else_answers_is_asked_for_again() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    let left = AtomicU32::new(2);
    rig.sim.s3.faults.decide(
        |_| String::new(),
        move |request, _, _| {
            let is_list = request.query.contains("list-type=2");
            let strikes = is_list && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            strikes.then_some(S3Fault::Page(200))
        },
    );
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!(answer["status"], "complete", "{answer:#}");
    assert_eq!(rig.sim.s3.faults.struck(), 2);
}

/// Only the answer is wrong, and not the object.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_what_is_known_or_of_a_manifest_stores_nothing_again() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let records = async || {
        let keys = rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await;
        keys.into_iter().filter(|key| !key.contains("/collector_health/")).collect::<Vec<_>>()
    };
    let stored = records().await;
    rig.lambda.kill();
    for stream in ["users", "cases"] {
        rig.sim.s3.faults.once("GET", &format!("/known/{stream}/"), 1, S3Fault::Page(200));
    }
    let answer = rig.run().await;
    assert_eq!((&answer["status"], answer.get("state_lost")), (&json!("complete"), None), "{answer:#}");
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    rig.sim.s3.faults.once("GET", "/manifests/", 1, S3Fault::Page(200));
    let answer = rig.invoke(json!({"action": "recover"})).await.answer();
    assert_eq!((&answer["status"], &answer["missing_manifests"]), (&json!("complete"), &json!([])), "{answer:#}");
    rig.run().await;
    assert_eq!(records().await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_in_cold_storage_is_a_finding_and_the_rest_is_verified() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let key = rig.keys("audit").await[0].clone();
    rig.sim.s3.faults.always("GET", &key, S3Fault::Code(403, "InvalidObjectState"));
    let answer = rig.invoke(json!({"action": "verify"})).await.answer();
    assert_eq!(answer["status"], "broken", "{answer:#}");
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &findings[0]["key"], &findings[0]["stream"]), (1, &json!(key), &json!("audit")));
    let wrong = findings[0]["wrong"].as_str().unwrap();
    assert!(wrong.contains("cold storage") && wrong.contains("restore"), "{wrong}");
    let records = rig.sim.world.file_events().len() + rig.sim.world.users().len() + rig.sim.world.cases().len();
    assert!(answer["checked"]["records"].as_u64().unwrap() >= records as u64, "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_asks_for_the_encryption_that_the_settings_name() {
    let of = |rig: &Rig, key_part: &str| {
        let writes = rig.sim.s3.requests().into_iter().filter(|request| request.method == "PUT");
        let headers = |request: simulator::S3Request| {
            let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
            (header("x-amz-server-side-encryption"), header("x-amz-server-side-encryption-aws-kms-key-id"))
        };
        let mut found: Vec<(String, String)> =
            writes.filter(|request| request.key.starts_with(key_part)).map(headers).collect();
        found.sort();
        found.dedup();
        found
    };
    let pair = |algorithm: &str, key: &str| vec![(algorithm.to_owned(), key.to_owned())];
    for (settings, records, state) in
        [(&[][..], pair("", ""), pair("", "")), (&[("S3_SSE", "AES256")][..], pair("AES256", ""), pair("AES256", ""))]
    {
        let rig =
            Rig::with(|lambda| settings.iter().fold(lambda, |lambda, (name, held)| lambda.env(name, *held))).await;
        rig.populate();
        assert_eq!(rig.run().await["status"], "complete");
        assert_eq!((of(&rig, PREFIX), of(&rig, "incydr-collector/")), (records, state), "{settings:?}");
    }
    // The store here has no keys, so only the sent headers are checked.
    let rig = Rig::with(|lambda| {
        lambda
            .env("S3_SSE", "aws:kms")
            .env("S3_SSE_KMS_KEY_ID", "alias/records")
            .env("STATE_SSE_KMS_KEY_ID", "alias/state")
    })
    .await;
    rig.populate();
    let _ = rig.invoke(json!({})).await;
    assert_eq!(of(&rig, "incydr-collector/"), pair("aws:kms", "alias/state"));
}
