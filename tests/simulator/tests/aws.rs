//! The stand-ins for AWS.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    primitives::ByteStream,
};
use serde_json::json;
use simulator::{Outcome, S3Fault, Simulator};

fn client(simulator: &Simulator) -> Client {
    let (access_key, secret_key) = simulator.s3.credentials();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(simulator.s3.endpoint())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .http_client(simulator::s3::http_client())
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}

async fn create(client: &Client, bucket: &str, key: &str, body: Vec<u8>) -> Result<(), Option<u16>> {
    let put = client.put_object().bucket(bucket).key(key).body(ByteStream::from(body)).if_none_match("*");
    let put = put.content_type("application/x-ndjson").metadata("stream", "audit").send().await;
    put.map(|_| ()).map_err(|error| error.raw_response().map(|response| response.status().as_u16()))
}

#[tokio::test]
async fn of_racing_creates_one_wins() {
    let simulator = Simulator::start(1).await;
    let client = client(&simulator);
    let racing = (0..8_u8).map(|n| create(&client, simulator.bucket(), "code42/a b/ü.gz", vec![n; 100_000]));
    let ended = futures::future::join_all(racing).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1);
    assert_eq!(ended.iter().filter(|end| **end == Err(Some(412))).count(), 7);

    let object = simulator.s3.object(simulator.bucket(), "code42/a b/ü.gz").await.unwrap();
    assert!(object.bytes.windows(2).all(|pair| pair[0] == pair[1]) && object.bytes.len() == 100_000);
    assert_eq!(object.content_type.as_deref(), Some("application/x-ndjson"));
    assert_eq!(object.metadata["stream"], "audit");
    assert_eq!(simulator.s3.writes_below("code42/").len(), 1);
    assert_eq!(simulator.s3.writes_below("code42/")[0].metadata["stream"], "audit");
    assert!(simulator.s3.overwritten_or_deleted("code42/").is_empty());
}

#[tokio::test]
async fn a_second_write_and_a_deletion_are_seen() {
    let simulator = Simulator::start(1).await;
    let client = client(&simulator);
    for _ in 0..2 {
        let body = ByteStream::from_static(b"x");
        client.put_object().bucket(simulator.bucket()).key("code42/x").body(body).send().await.unwrap();
    }
    client.delete_object().bucket(simulator.bucket()).key("code42/x").send().await.unwrap();
    assert_eq!(simulator.s3.overwritten_or_deleted("code42/"), ["code42/x: overwritten", "code42/x: deleted"]);
    assert!(simulator.s3.overwritten_or_deleted("elsewhere/").is_empty());
}

#[tokio::test]
async fn a_write_is_refused_lost_or_lands_late() {
    let simulator = Simulator::start(1).await;
    let client = client(&simulator);
    let s3 = &simulator.s3;
    s3.faults.once("PUT", "a", 1, S3Fault::Status(503));
    assert_eq!(create(&client, simulator.bucket(), "a", vec![1]).await, Err(Some(503)));
    assert!(s3.object(simulator.bucket(), "a").await.is_none());

    s3.faults.once("PUT", "b", 1, S3Fault::LostAnswer);
    assert_eq!(create(&client, simulator.bucket(), "b", vec![1]).await, Err(None));
    assert!(s3.object(simulator.bucket(), "b").await.is_some());

    s3.faults.once("PUT", "c", 1, S3Fault::LandsLate(Duration::from_millis(300)));
    assert_eq!(create(&client, simulator.bucket(), "c", vec![1]).await, Err(None));
    assert!(s3.object(simulator.bucket(), "c").await.is_none());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(s3.object(simulator.bucket(), "c").await.is_some());
    assert_eq!(s3.writes_below("").len(), 2);
    assert_eq!(s3.faults.struck(), 3);
}

#[tokio::test]
async fn a_wrong_secret_key_is_refused() {
    let simulator = Simulator::start(1).await;
    let wrong = Credentials::new("AKIASIMULATED", "wrong", None, None, "test");
    let config = client(&simulator).config().to_builder().credentials_provider(wrong).build();
    assert_eq!(create(&Client::from_conf(config), simulator.bucket(), "a", vec![1]).await, Err(Some(403)));
}

#[tokio::test]
async fn a_secret_has_a_new_version_once_it_changes() {
    let simulator = Simulator::start(1).await;
    // There is no TLS here, but the client needs a TLS provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ask = async |id: &str| {
        let request = reqwest::Client::new().post(simulator.secrets.endpoint());
        let request = request.header("x-amz-target", "secretsmanager.GetSecretValue").json(&json!({"SecretId": id}));
        request.send().await.unwrap().json::<serde_json::Value>().await.unwrap()
    };
    let before = ask("incydr/api").await;
    simulator.secrets.set_secret("{}");
    let after = ask(&simulator.secrets.arn()).await;
    assert_ne!(before["VersionId"], after["VersionId"]);
    assert_eq!(after["SecretString"], "{}");
    assert_eq!(ask("other").await["__type"], "ResourceNotFoundException");
    assert_eq!(simulator.secrets.calls(), 3);
}

/// A bootstrap in bash that does for each event what its `do` says.
const BOOTSTRAP: &str = r#"#!/bin/bash
exchange() {
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
  printf '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' \
    "$1" "$2" "${#3}" "$3" >&3
  reply=""
  while IFS= read -r line || [ -n "$line" ]; do reply+="$line"$'\n'; done <&3
  exec 3>&-
}
echo "started in $S3_BUCKET"
while true; do
  exchange GET invocation/next ""
  id=$(while IFS=': ' read -r name value; do
    [ "$name" = lambda-runtime-aws-request-id ] && echo "${value%$'\r'}"; done <<< "$reply")
  case "$reply" in
    *answer*) exchange POST "invocation/$id/response" '{"done":true}' ;;
    *fail*) exchange POST "invocation/$id/error" '{"errorType":"Kind","errorMessage":"why"}' ;;
    *die*) exit 3 ;;
    *) while true; do :; done ;;
  esac
done
"#;

fn bootstrap() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootstrap");
    std::fs::write(&path, BOOTSTRAP).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (directory, path)
}

#[tokio::test]
async fn a_function_answers_fails_dies_and_times_out() {
    let simulator = Simulator::start(1).await;
    let (_directory, binary) = bootstrap();
    let lambda = simulator.lambda(&binary).env("PATH", "/usr/bin:/bin").start();
    let invoke = async |action: &str| lambda.invoke(json!({"do": action}), Duration::from_secs(5)).await;
    assert_eq!(invoke("answer").await, Outcome::Answer(json!({"done": true})));
    let pid = lambda.pid().unwrap();
    let failed = Outcome::Failed { error_type: "Kind".into(), error_message: "why".into() };
    assert_eq!(invoke("fail").await, failed);
    assert_eq!(lambda.pid(), Some(pid), "one process takes several invocations");
    assert!(matches!(invoke("die").await, Outcome::Died(status) if status.code() == Some(3)));
    let hung = lambda.invoke(json!({"do": "hang"}), Duration::from_millis(300)).await;
    assert_eq!(hung, Outcome::TimedOut);
    assert_eq!(invoke("answer").await, Outcome::Answer(json!({"done": true})));
    lambda.kill();
    assert_eq!(invoke("answer").await, Outcome::Answer(json!({"done": true})));
    assert_eq!(lambda.logs(), vec![format!("started in {}", simulator.bucket()); 4]);
}

#[tokio::test]
async fn a_function_is_killed_in_the_middle_and_with_its_last_handle() {
    let simulator = Simulator::start(1).await;
    let (_directory, binary) = bootstrap();
    let lambda = simulator.lambda(&binary).start();
    let killer = lambda.clone();
    let started = Instant::now();
    let (outcome, ()) = tokio::join!(lambda.invoke(json!({"do": "hang"}), Duration::from_secs(20)), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        killer.kill();
    });
    assert!(matches!(outcome, Outcome::Died(_)), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(5));

    lambda.invoke(json!({"do": "answer"}), Duration::from_secs(5)).await;
    let process = PathBuf::from(format!("/proc/{}", lambda.pid().unwrap()));
    assert!(process.exists());
    drop((lambda, killer));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!process.exists());
}
