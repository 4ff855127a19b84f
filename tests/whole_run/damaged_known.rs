//! A list's known records were altered, truncated or deleted. This is reported, and the whole list is stored again.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Dataset, Record, compact, with_member};

use crate::rig::{Rig, ago, assert_same};

type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;

/// The damage to the object. None means that it was deleted.
const DAMAGES: [(&str, Damage); 3] = [
    ("has another SHA-256", |gzip| Some(with_another_digit(&gzip))),
    ("can't be read", |gzip| Some(gzip[..gzip.len() / 2].to_vec())),
    ("is gone", |_| None),
];

fn with_another_digit(gzip: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    let at = text.find("\"seen\":[\"").unwrap() + 9;
    let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
    text.replace_range(at..=at, other);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn damage(rig: &Rig, class: &str, stream: &str, damage: Damage) -> String {
    let key = rig.checkpoint().await[class][stream]["stored"]["known"]["key"].as_str().unwrap().to_owned();
    let object = rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap();
    match damage(object.bytes.to_vec()) {
        Some(bytes) => rig.sim.s3.put_raw(rig.sim.bucket(), &key, bytes).await,
        None => rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await,
    }
    // A process doesn't load what it has in memory, so it is killed.
    rig.lambda.kill();
    key
}

fn populate(rig: &Rig, dataset: Dataset) -> Vec<Record> {
    match dataset {
        Dataset::Sessions => rig.sim.world.add_sessions(9, Utc::now() - TimeDelta::hours(1), Utc::now(), true),
        Dataset::Cases => rig.sim.world.add_cases(9, ago(80_000), ago(70_000)),
        _ => rig.sim.world.add_records(dataset, 9),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_list_and_is_not_what_the_checkpoint_names_is_told_and_the_list_stored_once_more() {
    for (class, stream, dataset) in [
        ("inventory", "users", Dataset::Users),
        ("rescanned", "sessions", Dataset::Sessions),
        ("versions", "cases", Dataset::Cases),
    ] {
        for (says, how) in DAMAGES {
            println!("{stream}: {says}");
            let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
            let records = populate(&rig, dataset);
            rig.run().await;
            let before = rig.stored(stream).await;
            let key = damage(&rig, class, stream, how).await;
            if dataset == Dataset::Cases {
                // Cases load the known records only if there is something to compare.
                rig.sim.world.update_case(4, |raw| with_member(raw, "name", "\"other\""));
            }
            let (error_type, answer) = rig.failure(json!({})).await;
            let message = answer["streams"][stream]["error"]["message"].as_str().unwrap();
            assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
            assert!(message.contains(&key) && message.contains(says), "{message}");
            assert!(message.contains("the whole list is stored again"), "{message}");
            for _ in 0..2 {
                let answer = rig.run().await;
                assert_eq!(answer["status"], "complete", "{answer:#}");
            }
            let now = rig.sim.world.all(dataset);
            assert_eq!(now.len(), records.len());
            let once_more = now.iter().map(|record| compact(&record.raw));
            assert_same(stream, rig.stored(stream).await, before.into_iter().chain(once_more));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_whose_pages_so_far_are_not_what_the_checkpoint_names_begins_anew() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "7"))
            .await;
    let users = rig.sim.world.add_users(29);
    rig.sim.faults.once(simulator::Endpoint::Users, 3, simulator::Fault::Hang);
    assert_eq!(rig.run_within(std::time::Duration::from_secs(3)).await["status"], "partial");
    rig.sim.faults.clear();
    let seen = rig.checkpoint().await["inventory"]["users"]["pass"]["seen"]["key"].as_str().unwrap().to_owned();
    rig.sim.s3.put_raw(rig.sim.bucket(), &seen, b"nonsense".to_vec()).await;
    rig.failure(json!({})).await;
    assert_eq!(rig.run().await["status"], "complete");
    // Records that were seen before the damage were stored then.
    let before = users[..14].iter().chain(&users);
    assert_same("users", rig.stored("users").await, before.map(|user| compact(&user.raw)));
    assert_eq!(rig.checkpoint().await["inventory"]["users"]["pass"], Value::Null);
}
