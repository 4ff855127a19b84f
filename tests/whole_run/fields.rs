//! Metadata and fields that an operator adds to objects and records.

use serde_json::json;
use simulator::{S3Fault, compact};

use crate::rig::{DEADLINE, Rig, assert_same};

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_metadata_of_each_object_and_where_asked_for_the_last_member_of_each_record() {
    let fields = r#"{"_siemForward":"logs","environment":"production"}"#;
    let rig = Rig::with(|lambda| {
        lambda.env("FIELDS", fields).env("FIELDS_IN_RECORDS", "true").env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    rig.populate();
    rig.run().await;
    let with_fields = |raw: &str| {
        let line = compact(raw);
        format!("{},\"_fields\":{fields}}}", line.strip_suffix('}').unwrap())
    };
    let world = rig.sim.world.clone();
    let of_world = [
        ("file_events", world.file_events()),
        ("audit", world.audit()),
        ("users", world.users()),
        ("cases", world.cases()),
    ];
    for (stream, records) in &of_world {
        let expected: Vec<String> = records.iter().map(|record| with_fields(&record.raw)).collect();
        assert_same(stream, rig.stored(stream).await, expected);
        for key in rig.keys(stream).await {
            let object = rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap();
            assert_eq!(object.metadata["environment"], "production");
            assert_eq!(object.metadata["stream"], *stream);
        }
    }
    let answer = rig.run().await;
    assert!(of_world.iter().all(|(stream, _)| answer["streams"][stream]["records"] == 0), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_change_between_a_death_and_the_next_run_double_nothing() {
    let rig = Rig::with(|lambda| lambda.env("FIELDS", r#"{"a":"1"}"#).env("FIELDS_IN_RECORDS", "true")).await;
    rig.populate();
    for stream in ["file_events", "users", "cases"] {
        let lambda = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", &format!("code42/{stream}/"), 1, S3Fault::after(move || lambda.kill()));
        rig.invoke(json!({})).await;
        rig.free_the_lease().await;
    }
    let other = rig.container(|lambda| lambda.env("FIELDS", r#"{"b":"2"}"#).env("FIELDS_IN_RECORDS", "true"));
    let answer = other.invoke(json!({}), DEADLINE).await.answer();
    assert_eq!(answer["status"], "complete", "{answer}");
    let bare = |line: &String| line.split(",\"_fields\":").next().unwrap().to_owned() + "}";
    let world = &rig.sim.world;
    for (stream, records) in [("file_events", world.file_events()), ("users", world.users()), ("cases", world.cases())]
    {
        let stored: Vec<String> = rig.stored(stream).await.iter().map(bare).collect();
        assert_same(stream, stored, records.iter().map(|record| compact(&record.raw)));
    }
}
