//! `verify`: unchanged data is whole, and everything removed, changed or added is named.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, S3Fault};

use crate::oracle::{a_moment, as_told, assert_one_finding, findings, millis, span_of};
use crate::rig::{CHECKPOINT, DEADLINE, PREFIX, Rig, ago, failure_of};

/// Collects all four streams in several windows.
pub async fn collected() -> Rig {
    let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "25").env("AUDIT_PAGE_SIZE", "15")).await;
    rig.populate();
    rig.run().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_collected_is_whole_and_the_figures_are_true() {
    let rig = collected().await;
    rig.sim.world.add_users(2);
    rig.sim.world.add_audit(7, ago(0), ago(-1));
    a_moment().await;
    rig.invoke(json!({"action": "collect"})).await.answer();
    let verified = rig.verify().await;
    let objects = rig.objects().await;
    let records: usize = objects.iter().map(|object| object.lines().len()).sum();
    let bytes: usize = objects.iter().map(|object| object.bytes.len()).sum();
    let expected = json!({"manifests": 2, "objects": objects.len(), "records": records, "bytes": bytes});
    assert_eq!((&verified["status"], &verified["checked"]), (&json!("whole"), &expected), "{verified:#}");
    assert_eq!(verified["action"], "verify");
    let checkpoint = rig.checkpoint().await;
    assert_eq!(verified["manifest"], checkpoint["manifests"]["head"]);
    for stream in ["audit", "file_events"] {
        let covered = &checkpoint["events"][stream]["covered"][0];
        assert_eq!(verified["streams"][stream], json!({"from": covered[0], "to": covered[1]}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_nothing_and_asks_nothing_of_the_api() {
    let rig = collected().await;
    // A new container, which hasn't signed in.
    let other = rig.container(|lambda| lambda);
    rig.sim.s3.clear_log();
    rig.sim.api.clear_log();
    let before = rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes;
    let verified = other.invoke(json!({"action": "verify"}), DEADLINE).await.answer();
    assert_eq!(verified["status"], "whole", "{verified:#}");
    assert!(rig.sim.api.requests().is_empty());
    assert!(rig.sim.s3.requests().iter().all(|request| request.method == "GET"));
    assert_eq!(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.unwrap().bytes, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_as_it_was_told_is_named() {
    let rig = collected().await;
    for stream in ["audit", "file_events", "cases", "users"] {
        let key = rig.keys(stream).await.remove(0);
        let good = rig.sim.s3.object(rig.sim.bucket(), &key).await.unwrap();
        let lines = good.lines();

        rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
        assert_one_finding(&rig.verify().await, stream, &key, "missing");

        let mut others = lines.clone();
        others[0] = others[0].replacen(':', ": ", 1);
        rig.put_lines(&key, &others).await;
        assert_one_finding(&rig.verify().await, stream, &key, "SHA-256");

        rig.put_lines(&key, &lines[1..]).await;
        let verified = rig.verify().await;
        assert_eq!(verified["status"], "broken");
        assert!(findings(&verified).iter().all(|(of, place, _)| of == stream && *place == key), "{verified:#}");
        let told = format!("it holds {} records, but its manifest says {}", lines.len() - 1, lines.len());
        assert!(findings(&verified).iter().any(|(_, _, wrong)| *wrong == told), "{verified:#}");

        rig.sim.s3.put_raw(rig.sim.bucket(), &key, good.bytes.slice(..good.bytes.len() - 9)).await;
        assert_one_finding(&rig.verify().await, stream, &key, "not gzipped");

        let mut packed_again = good.bytes.to_vec();
        // Another empty gzip member.
        packed_again.extend(crate::oracle::gzip(&[]));
        rig.sim.s3.put_raw(rig.sim.bucket(), &key, packed_again).await;
        assert_one_finding(&rig.verify().await, stream, &key, "bytes");

        rig.sim.s3.put_raw(rig.sim.bucket(), &key, good.bytes).await;
        rig.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_somebody_added_is_named() {
    let rig = collected().await;
    for stream in ["audit", "file_events", "cases", "users"] {
        let key = rig.keys(stream).await.pop().unwrap();
        let folder = key.rsplit_once('/').unwrap().0;
        let beside = key.replace(".ndjson.gz", "-r1.ndjson.gz");
        let from = millis(span_of(&key).0 + chrono::TimeDelta::milliseconds(1)).replace(['-', ':', '.'], "");
        for stray in
            [beside, format!("{folder}/backup.txt"), format!("{folder}/{from}-{from}.ndjson.gz"), format!("{key}.old")]
        {
            rig.put_lines(&stray, &["{}".to_owned()]).await;
            assert_one_finding(&rig.verify().await, stream, &stray, "no manifest names it");
            rig.sim.s3.delete_raw(rig.sim.bucket(), &stray).await;
        }
    }
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_stored_twice_in_one_window_is_named_however_well_it_is_told() {
    let rig = collected().await;
    let key = rig.keys("file_events").await.remove(0);
    let beside = key.replace(".ndjson.gz", "-r1.ndjson.gz");
    let twin = rig.lines(&key).await.remove(0);
    rig.put_lines(&beside, &[twin]).await;
    let (_, told) = as_told(&rig.sim.s3.object(rig.sim.bucket(), &beside).await.unwrap());
    rig.rewrite_chain(|manifest| {
        for reading in manifest["readings"].as_array_mut().unwrap() {
            let is_its =
                reading["objects"].as_array().is_some_and(|objects| objects.iter().any(|object| object["key"] == *key));
            if is_its {
                reading["objects"].as_array_mut().unwrap().push(told.clone());
                let rows = reading["rows"].as_u64().unwrap() + 1;
                (reading["rows"], reading["total"]) = (json!(rows), json!(rows));
            }
        }
    })
    .await;
    let verified = rig.verify().await;
    let wrong = "1 of its records are stored elsewhere, too";
    let found = findings(&verified);
    assert!(found.len() == 1 && found[0].2 == wrong && [&key, &beside].contains(&&found[0].1), "{verified:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_another_window_s_object_is_named_however_well_it_is_told() {
    let rig = collected().await;
    for stream in ["audit", "file_events"] {
        let mut keys = rig.keys(stream).await;
        // Two keys of the same hour, so of different windows.
        let folder = |key: &str| key.rsplit_once('/').unwrap().0.to_owned();
        let at =
            keys.windows(2).position(|pair| folder(&pair[0]) == folder(&pair[1])).expect("several windows an hour");
        let (one, two) = (keys.remove(at), keys.remove(at));
        let mut lines = rig.lines(&two).await;
        lines.push(rig.lines(&one).await.remove(0));
        rig.put_lines(&two, &lines).await;
        let (_, told) = as_told(&rig.sim.s3.object(rig.sim.bucket(), &two).await.unwrap());
        rig.rewrite_chain(|manifest| {
            for reading in manifest["readings"].as_array_mut().unwrap() {
                let objects = reading.get_mut("objects").and_then(Value::as_array_mut).into_iter().flatten();
                objects.filter(|object| object["key"] == *two).for_each(|object| *object = told.clone());
            }
        })
        .await;
        let verified = rig.verify_with(json!({"streams": [stream]})).await;
        let found = findings(&verified);
        assert!(
            found.iter().any(|(_, _, wrong)| wrong == "1 of its records are stored elsewhere, too"),
            "{verified:#}"
        );
        let outside = "1 of its records lie outside of its window or its hour";
        assert!(found.iter().any(|(_, key, wrong)| *key == two && wrong == outside), "{verified:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_whose_rows_are_not_what_the_api_counted_is_named() {
    for stream in ["audit", "file_events", "users"] {
        let rig = collected().await;
        let is_its = |reading: &&mut Value| reading["stream"] == stream && reading["rows"] != 0;
        rig.rewrite_chain(|manifest| {
            let reading = manifest["readings"].as_array_mut().unwrap().iter_mut().find(is_its).unwrap();
            reading["rows"] = json!(reading["rows"].as_u64().unwrap() - 1);
        })
        .await;
        let readings = rig.readings().await;
        let reading = readings.iter().find(|reading| reading["stream"] == stream && reading["rows"] != 0).unwrap();
        let from = if reading["window"].is_null() { &reading["at"] } else { &reading["window"][0] };
        assert_one_finding(&rig.verify().await, stream, from.as_str().unwrap(), "rows were read, but the API counted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_missing_or_altered_is_named() {
    let rig = collected().await;
    for _ in 0..2 {
        rig.sim.world.add_audit(3, ago(0), ago(-1));
        a_moment().await;
        rig.run().await;
    }
    let links: Vec<Value> = rig.chain().await.iter().map(|manifest| manifest["previous"].clone()).collect();
    let head = rig.checkpoint().await["manifests"]["head"].clone();
    for link in [&head, &links[0], &links[1]] {
        let key = link["key"].as_str().unwrap();
        let good = rig.sim.s3.object(rig.sim.bucket(), key).await.unwrap().bytes;
        let altered = String::from_utf8(good.to_vec()).unwrap().replacen("\"rows\":", "\"rows\": ", 1);
        for (bytes, wrong) in [(None, "missing"), (Some(altered), "not what"), (Some("{".to_owned()), "not what")] {
            match bytes {
                None => rig.sim.s3.delete_raw(rig.sim.bucket(), key).await,
                Some(bytes) => rig.sim.s3.put_raw(rig.sim.bucket(), key, bytes).await,
            }
            let verified = rig.verify().await;
            assert_eq!(verified["status"], "broken");
            let named = findings(&verified).into_iter().find(|(_, place, _)| place == key).expect("named");
            assert!(named.0 == "null" && named.2.contains(wrong), "{named:?}");
            // Readings that only the lost part of the chain lists can't be verified.
            assert!(
                findings(&verified).iter().any(|(_, _, wrong)| wrong.contains("no manifest lists")),
                "{verified:#}"
            );
        }
        rig.sim.s3.put_raw(rig.sim.bucket(), key, good).await;
        rig.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_set_back_is_told_by_what_it_no_longer_tells() {
    let rig = collected().await;
    let first = rig.checkpoint().await["manifests"]["head"].clone();
    rig.sim.world.add_audit(3, ago(0), ago(-1));
    a_moment().await;
    rig.run().await;
    let key = rig.keys("audit").await.pop().unwrap();
    rig.edit_checkpoint(|checkpoint| checkpoint["manifests"]["head"] = first).await;
    let verified = rig.verify().await;
    assert!(
        findings(&verified).iter().any(|(stream, _, wrong)| stream == "audit" && wrong.contains("no manifest lists")),
        "{verified:#}"
    );
    assert!(
        findings(&verified).iter().any(|(_, place, wrong)| *place == key && wrong == "no manifest names it"),
        "{verified:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_checkpoint_is_gone_is_not_called_whole() {
    let rig = collected().await;
    rig.sim.s3.delete_raw(rig.sim.bucket(), CHECKPOINT).await;
    assert_eq!(rig.verify().await["status"], "broken", "there are records and manifests, and nothing names them");
    for key in rig.sim.s3.keys(rig.sim.bucket(), "incydr-collector/").await {
        rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    }
    let verified = rig.verify().await;
    assert_eq!(verified["status"], "broken", "there are records, and nothing says which there should be");
    assert_eq!(verified["findings"][0]["key"], CHECKPOINT, "{verified:#}");
    let nothing = Rig::new().await;
    assert_eq!(nothing.verify().await["status"], "whole", "nothing was collected yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_left_open_is_nobody_s_stray() {
    for stream in ["audit", "file_events", "cases", "users"] {
        let rig = Rig::with(|lambda| lambda.env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        rig.populate();
        rig.run().await;
        rig.sim.world.add_audit(3, ago(0), ago(-1));
        rig.sim.world.add_file_events(3, ago(0), ago(-1));
        rig.sim.world.add_cases(1, ago(0), ago(-1));
        rig.sim.world.add_users(1);
        a_moment().await;
        let objects = rig.keys(stream).await.len();
        let lambda = rig.lambda.clone();
        rig.sim.s3.faults.once("PUT", &format!("{PREFIX}{stream}/"), 1, S3Fault::after(move || lambda.kill()));
        rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
        assert_eq!(rig.keys(stream).await.len(), objects + 1, "stored, but not listed");
        rig.assert_whole().await;
        rig.free_the_lease().await;
        rig.run().await;
        rig.assert_whole().await;
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_way_is_no_finding() {
    let rig =
        Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "5").env("AUDIT_PAGE_SIZE", "5").env("PAGE_SIZE", "3")).await;
    rig.populate();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(15));
    let other = rig.container(|lambda| lambda);
    let (mut verified, mut findings_of_keys) = (0, Vec::new());
    let mut run = std::pin::pin!(rig.run());
    loop {
        tokio::select! {
            answer = &mut run => {
                assert_eq!(answer["status"], "complete");
                break;
            }
            outcome = other.invoke(json!({"action": "verify"}), DEADLINE) => {
                verified += 1;
                let answer = outcome.answer();
                findings_of_keys.extend(findings(&answer).into_iter().filter(|(_, place, _)| place.contains('/')));
            }
        }
    }
    assert!(verified > 2, "only {verified} calls");
    assert!(findings_of_keys.is_empty(), "{findings_of_keys:#?}");
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_checked_too() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(5, ago(500), ago(100));
    let bad = format!(r#"{{"timestamp":"{}","n":"\Everyone"}}"#, ago(300).to_rfc3339());
    rig.sim.world.push_raw(Dataset::Audit, "bad", ago(300), bad);
    assert_eq!(rig.run().await["streams"]["audit"]["set_aside"], 1);
    rig.assert_whole().await;
    let key = rig.state_keys("set-aside/").await.remove(0);
    rig.sim.s3.put_raw(rig.sim.bucket(), &key, "something else").await;
    assert_one_finding(&rig.verify().await, "audit", &key, "not the one that was set aside");
    rig.sim.s3.delete_raw(rig.sim.bucket(), &key).await;
    assert_one_finding(&rig.verify().await, "audit", &key, "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_alike_and_versions_that_come_back_are_whole() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let twin = format!(r#"{{"type$":"audit_log::twin/1","timestamp":"{}"}}"#, ago(500).to_rfc3339());
    for _ in 0..4 {
        rig.sim.world.push_audit(twin.clone());
    }
    for text in [r#"{"userId":"1","n":1}"#, r#"{"userId":"1","n":2}"#, r#"{"userId":"1","n":1}"#] {
        rig.sim.world.clear(Dataset::Users);
        rig.sim.world.push_user(text);
        rig.run().await;
    }
    assert_eq!((rig.stored("audit").await.len(), rig.stored("users").await.len()), (4, 3));
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_that_refuses_is_an_error_and_no_finding() {
    let rig = collected().await;
    for part in ["code42/audit/", "/manifests/", CHECKPOINT] {
        rig.sim.s3.faults.always("GET", part, S3Fault::Status(403));
        let (error_type, answer) = rig.failure(json!({"action": "verify"})).await;
        assert_eq!(
            (error_type.as_str(), &answer["action"]),
            ("FirstPartyGenericError", &json!("verify")),
            "{answer:#}"
        );
        rig.sim.s3.faults.clear();
    }
    let elsewhere = rig.container(|lambda| lambda.env("S3_PREFIX", "elsewhere/"));
    let (error_type, _) = failure_of(elsewhere.invoke(json!({"action": "verify"}), DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyConfigError");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_in_one_bucket_with_their_states_side_by_side_are_each_whole() {
    let ours = Rig::with(|lambda| lambda.env("S3_PREFIX", "ours/").env("CHECKPOINT_KEY", "state/ours.json")).await;
    let theirs = |lambda: simulator::LambdaBuilder| {
        lambda.env("S3_PREFIX", "theirs/").env("CHECKPOINT_KEY", "state/theirs.json")
    };
    let theirs = ours.container(theirs);
    ours.populate();
    // The others' manifests exist before our first run ends or even begins. They mustn't be taken for those of an older
    // checkpoint of ours.
    for is_first in [true, false] {
        let (one, two) = if is_first {
            (theirs.invoke(json!({}), DEADLINE).await, ours.invoke(json!({})).await)
        } else {
            tokio::join!(ours.invoke(json!({})), theirs.invoke(json!({}), DEADLINE))
        };
        assert_eq!((&one.answer()["status"], &two.answer()["status"]), (&json!("complete"), &json!("complete")));
        ours.sim.world.add_audit(3, ago(0), ago(-1));
        a_moment().await;
    }
    for lambda in [&ours.lambda, &theirs] {
        let verified = lambda.invoke(json!({"action": "verify"}), DEADLINE).await.answer();
        assert_eq!(
            (&verified["status"], &verified["checked"]["manifests"]),
            (&json!("whole"), &json!(2)),
            "{verified:#}"
        );
    }
    let key = ours.sim.s3.keys(ours.sim.bucket(), "theirs/audit/").await.remove(0);
    ours.sim.s3.delete_raw(ours.sim.bucket(), &key).await;
    assert_eq!(ours.verify().await["status"], "whole");
    let verified = theirs.invoke(json!({"action": "verify"}), DEADLINE).await.answer();
    assert_one_finding(&verified, "audit", &key, "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_s_own_bucket_is_where_the_manifests_are_read() {
    let state = format!("state-{:016x}", fastrand::u64(..));
    let rig = Rig::with(|lambda| lambda.env("STATE_BUCKET", &state)).await;
    rig.sim.s3.create_bucket(&state).await;
    rig.populate();
    rig.run().await;
    rig.assert_whole().await;
    assert!(rig.sim.s3.keys(&state, "incydr-collector/manifests/").await.len() == 1);
}
