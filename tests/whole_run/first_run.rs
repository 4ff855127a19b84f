//! The first things that a user looks at: records, objects, and the answer.

use std::collections::HashSet;

use serde_json::json;
use simulator::Endpoint;

use crate::oracle::a_moment;
use crate::rig::{DEADLINE, PREFIX, Rig, ago, sha256, time};

#[tokio::test(flavor = "multi_thread")]
async fn the_four_streams_arrive_byte_for_byte() {
    let rig = Rig::new().await;
    rig.populate();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete");
    for (stream, records) in [("file_events", 300), ("audit", 200), ("cases", 12), ("users", 40)] {
        let told = &answer["streams"][stream];
        assert_eq!((&told["status"], &told["records"]), (&json!("complete"), &json!(records)), "{answer:#}");
        assert!(time(&told["covered_to"]) > ago(10), "{answer:#}");
        assert!(told["lag_s"].as_u64().unwrap() < 10, "{answer:#}");
        assert_eq!(told["objects"], rig.keys(stream).await.len());
    }
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_named_and_described_as_the_contract_says() {
    let rig = Rig::new().await;
    rig.populate();
    let run_id = rig.run().await["run_id"].as_str().unwrap().to_owned();
    let objects = rig.sim.s3.objects(rig.sim.bucket(), PREFIX).await;
    for object in &objects {
        let name = object.key.strip_prefix(PREFIX).unwrap();
        let (stream, rest) = name.split_once('/').unwrap();
        let (dt, rest) = rest.split_once('/').unwrap();
        let (hour, span) = rest.split_once('/').unwrap();
        let (from, to) = span.strip_suffix(".ndjson.gz").unwrap().split_once('-').unwrap();
        for at in [from, to] {
            let digits = at.strip_suffix('Z').unwrap().replace('T', "");
            assert!(digits.len() == 17 && digits.bytes().all(|b| b.is_ascii_digit()), "{name}");
        }
        assert_eq!(dt, format!("dt={}-{}-{}", &from[..4], &from[4..6], &from[6..8]));
        assert_eq!(hour, format!("hour={}", &from[9..11]));
        assert_eq!(object.content_type.as_deref(), Some("application/x-ndjson"));
        assert_eq!(object.content_encoding.as_deref().filter(|held| !held.is_empty()), None);
        let text = object.lines().join("\n") + "\n";
        assert_eq!(object.metadata["stream"], stream);
        assert_eq!(object.metadata["records"], object.lines().len().to_string());
        assert_eq!(object.metadata["sha256"], sha256(text.as_bytes()));
        assert_eq!(object.metadata["run-id"], run_id);
    }
    for write in rig.sim.s3.writes_below(PREFIX) {
        assert_eq!(write.if_none_match.as_deref(), Some("*"), "{}", write.key);
    }
    let streams: HashSet<&str> = objects.iter().filter_map(|object| object.key.split('/').nth(1)).collect();
    assert_eq!(streams, HashSet::from(["audit", "cases", "collector_health", "file_events", "users"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lie_in_the_hour_of_their_own_time() {
    let rig = Rig::with(|lambda| lambda.env("LOOKBACK_MINUTES", "300").env("STREAMS", "audit,file_events")).await;
    rig.sim.world.add_file_events(200, ago(4 * 3600), ago(5));
    rig.sim.world.add_audit(200, ago(4 * 3600), ago(5));
    rig.run().await;
    for (stream, field) in [("file_events", "/event/inserted"), ("audit", "/timestamp")] {
        assert!(rig.keys(stream).await.len() >= 4, "one object an hour");
        for (key, lines) in rig.sim.s3.read_ndjson(rig.sim.bucket(), &format!("{PREFIX}{stream}/")).await {
            for line in lines {
                let record: serde_json::Value = serde_json::from_str(&line).unwrap();
                let partition = time(record.pointer(field).unwrap()).format("dt=%Y-%m-%d/hour=%H").to_string();
                assert!(key.contains(&partition), "{key} holds {line}");
            }
        }
    }
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_nothing_new_asks_once_per_event_stream_and_writes_no_record() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events,users")).await;
    rig.populate();
    rig.run().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    rig.sim.api.clear_log();
    rig.sim.s3.clear_log();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete");
    assert_eq!(answer["streams"]["users"]["status"], "not_due");
    let asked: Vec<Endpoint> = rig.sim.api.requests().iter().map(|request| request.endpoint).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.contains(&Endpoint::AuditCount) && asked.contains(&Endpoint::FileEvents), "{asked:?}");
    let requests = rig.sim.s3.requests();
    assert!(requests.len() <= 4, "{requests:#?}");
    assert!(requests.iter().all(|request| !request.key.starts_with(PREFIX)), "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_adds_only_what_is_new() {
    let rig = Rig::with(|lambda| lambda.env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.populate();
    rig.run().await;
    let before = rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    rig.sim.world.add_file_events(7, ago(2), ago(1));
    rig.sim.world.add_audit(5, ago(2), ago(1));
    rig.sim.world.add_users(2);
    rig.sim.world.add_cases(1, ago(2), ago(1));
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let answer = rig.run().await;
    for (stream, records) in [("file_events", 7), ("audit", 5), ("users", 2), ("cases", 1)] {
        assert_eq!(answer["streams"][stream]["records"], records, "{stream}: {answer:#}");
    }
    let after = rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await;
    assert!(before.iter().all(|key| after.contains(key)));
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_the_network_before_the_first_event() {
    let rig = Rig::new().await;
    a_moment().await;
    assert!(rig.sim.api.requests().is_empty() && rig.sim.s3.requests().is_empty() && rig.sim.secrets.calls() == 0);
    rig.run().await;
    assert_eq!(rig.sim.secrets.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_is_where_the_standard_variables_say() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.sim.world.add_users(3);
    let secrets = rig.sim.environment()["AWS_ENDPOINT_URL_SECRETS_MANAGER"].clone();
    let elsewhere = rig.container(|lambda| {
        let lambda = lambda.env("STREAMS", "users").env("AWS_ENDPOINT_URL_SECRETS_MANAGER", "");
        lambda.env("AWS_ENDPOINT_URL", secrets).env("AWS_REGION", "").env("AWS_DEFAULT_REGION", "eu-central-1")
    });
    assert_eq!(elsewhere.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_say_who_asks_and_take_gzip() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    for request in rig.sim.api.requests() {
        assert_eq!(request.user_agent, concat!("incydr-collector/", env!("CARGO_PKG_VERSION")));
        assert!(request.accept_encoding.contains("gzip"));
    }
    assert_eq!(rig.sim.api.sign_ins(), 1);
    // Leavers matter most, so no user is filtered out.
    assert!(rig.sim.api.requests_to(Endpoint::Users).iter().all(|request| !request.query.contains("active")));
}
