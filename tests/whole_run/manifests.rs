//! The chain of manifests: every run adds to it, it leaves nothing out, and neither a death nor an overlap breaks it.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Endpoint, Outcome, S3Fault};

use crate::oracle::{a_moment, assert_one_finding, yesterday};
use crate::rig::{CHECKPOINT, DEADLINE, PREFIX, Rig, ago, logs_with, time};

#[tokio::test(flavor = "multi_thread")]
async fn each_run_adds_one_to_the_chain_and_tells_the_new_end_in_its_answer_and_its_log() {
    let rig = Rig::new().await;
    rig.populate();
    for number in 1..=3 {
        let answer = rig.run().await;
        let head = rig.checkpoint().await["manifests"]["head"].clone();
        assert_eq!(head["number"], number);
        assert_eq!(answer["manifest"], head, "{answer:#}");
        let hash = head["sha256"].as_str().unwrap();
        let logged = logs_with(&rig.lambda, hash).await;
        assert!(logged.iter().any(|line| line.contains(hash) && line.contains("manifest written")), "{logged:#?}");
        let chain = rig.chain().await;
        assert_eq!((chain.len(), &chain[0]["run_id"]), (number, &answer["run_id"]));
        assert_eq!(chain[0]["identity"], rig.checkpoint().await["identity"]);
        assert_eq!(rig.checkpoint().await["manifests"].get("unlisted"), None, "all are listed");
        rig.sim.world.add_audit(5, ago(0), ago(-1));
        a_moment().await;
    }
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_told_with_its_size_its_records_its_hash_and_its_times() {
    let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "25").env("AUDIT_PAGE_SIZE", "15")).await;
    rig.populate();
    rig.run().await;
    rig.sim.world.add_users(3);
    rig.sim.world.add_cases(2, ago(30), ago(5));
    rig.invoke(json!({"action": "collect", "from": ago(7_200).to_rfc3339()})).await.answer();
    rig.assert_tells_every_object().await;
    let streams: Vec<Value> = rig.readings().await.iter().map(|reading| reading["stream"].clone()).collect();
    for stream in ["audit", "file_events", "cases", "users"] {
        assert!(streams.contains(&json!(stream)), "nothing of {stream}");
    }
    rig.assert_whole().await;
}

/// The number of records in a window and its margin, by the world's own times.
fn counted(rig: &Rig, reading: &Value) -> usize {
    let records = if reading["stream"] == "audit" { rig.sim.world.audit() } else { rig.sim.world.file_events() };
    let (from, to) = (time(&reading["window"][0]), time(&reading["window"][1]));
    // Requests are in full seconds, and begin another second earlier.
    let from = from.timestamp() - 1;
    let to = (to.timestamp_millis() + 999) / 1_000;
    records
        .iter()
        .filter(|record| from * 1_000 <= record.time.timestamp_millis() && record.time.timestamp_millis() <= to * 1_000)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_s_reading_tells_its_request_and_the_api_s_own_count_beside_the_rows_read() {
    let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "25").env("AUDIT_PAGE_SIZE", "15")).await;
    rig.populate();
    rig.run().await;
    let readings = rig.readings().await;
    let windows: Vec<&Value> = readings.iter().filter(|reading| !reading["window"].is_null()).collect();
    assert!(windows.len() > 6, "{} windows", windows.len());
    for reading in windows {
        assert_eq!(reading["rows"], reading["total"]);
        assert_eq!(reading["total"], counted(&rig, reading), "{reading:#}");
        let records: u64 =
            reading["objects"].as_array().into_iter().flatten().map(|object| object["records"].as_u64().unwrap()).sum();
        assert!(records <= reading["rows"].as_u64().unwrap());
        let endpoint = if reading["stream"] == "audit" { Endpoint::AuditSearch } else { Endpoint::FileEvents };
        let sent = |body: &Value| {
            let request = reading["request"].as_object().unwrap();
            request.iter().all(|(name, value)| name.to_lowercase().contains("page") || body[name] == *value)
        };
        let asked = rig.sim.api.requests_to(endpoint);
        // A window without rows by its count is not searched.
        let counted = rig.sim.api.requests_to(Endpoint::AuditCount).into_iter().filter(|_| reading["rows"] == 0);
        assert!(asked.into_iter().chain(counted).any(|request| sent(&request.json())), "{reading:#}");
        assert!(time(&reading["opened_at"]) <= time(&reading["closed_at"]));
    }
    let users = readings.iter().find(|reading| reading["stream"] == "users").unwrap();
    assert_eq!((&users["rows"], &users["total"]), (&json!(40), &json!(40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_nothing_names_is_left_and_does_no_harm() {
    let rig = Rig::new().await;
    rig.populate();
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "/manifests/", 1, S3Fault::after(move || lambda.kill()));
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    let orphan = rig.state_keys("manifests/").await;
    assert_eq!((orphan.len(), &rig.checkpoint().await["manifests"]["head"]), (1, &Value::Null));
    rig.free_the_lease().await;
    rig.run().await;
    let keys = rig.state_keys("manifests/").await;
    assert!(keys.contains(&orphan[0]) && keys.len() == 2, "{keys:?}");
    assert_eq!(rig.chain().await.len(), 1);
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_can_t_be_written_fails_the_run_visibly_and_the_next_one_tells_it_all() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.s3.faults.always("PUT", "/manifests/", S3Fault::Status(403));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
    assert_eq!(rig.checkpoint().await["manifests"]["head"], Value::Null);
    assert!(!rig.checkpoint().await["manifests"]["unlisted"].as_array().unwrap().is_empty());
    rig.assert_whole().await;
    rig.sim.s3.faults.clear();
    rig.run().await;
    assert_eq!(rig.chain().await.len(), 1);
    rig.assert_tells_every_object().await;
    rig.assert_holds_everything().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_writes_several_manifests_and_the_checkpoint_stays_short() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "2").env("RECONCILE_MINUTES", ""))
            .await;
    rig.sim.world.add_file_events(1_300, ago(3_500), ago(5));
    rig.run().await;
    let chain = rig.chain().await;
    let readings = rig.readings().await.len();
    assert!(readings > 150 && chain.len() >= 3, "{readings} readings in {} manifests", chain.len());
    let longest = chain.iter().map(|manifest| manifest["readings"].as_array().unwrap().len()).max().unwrap();
    assert!(longest < 100, "{longest} readings in one manifest");
    // A reading takes about 600 bytes on the checkpoint.
    let largest = rig.sim.s3.writes_below(CHECKPOINT).iter().map(|write| write.bytes).max().unwrap();
    assert!(largest < 70_000, "the checkpoint grew to {largest} bytes");
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_prefix_lie_records_and_nothing_else() {
    let rig = Rig::with(|lambda| lambda.env("RECONCILE_MINUTES", "0")).await;
    rig.populate();
    rig.run().await;
    rig.sim.world.add_audit(3, ago(1_000), ago(900));
    rig.run().await;
    rig.verify().await;
    rig.invoke(json!({"action": "replay", "from": ago(600).to_rfc3339(), "prefix": "again/"})).await.answer();
    rig.assert_holds_everything().await;
    for key in rig.sim.s3.keys(rig.sim.bucket(), "").await {
        let is_records = key.starts_with(PREFIX) || key.starts_with("again/");
        assert!(is_records != key.starts_with("incydr-collector/"), "{key}");
        assert!(!is_records || key.ends_with(".ndjson.gz") && key.contains("/dt=") && key.contains("/hour="), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_containers_at_once_do_not_fork_the_chain() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.api.change(|api| api.latency = Duration::from_millis(40));
    let other = rig.container(|lambda| lambda);
    for round in 1..=3 {
        let by_hand = json!({"action": "collect"});
        let (one, two) = tokio::join!(rig.invoke(by_hand.clone()), other.invoke(by_hand, DEADLINE));
        let (one, two) = (one.answer(), two.answer());
        assert_eq!((&one["status"], &two["status"]), (&json!("complete"), &json!("complete")));
        let chain = rig.chain().await;
        for (answer, nth) in [(&one, "one"), (&two, "two")] {
            let is_in = chain.iter().any(|manifest| {
                manifest["number"] == answer["manifest"]["number"] && manifest["run_id"] == answer["run_id"]
            });
            let told_nothing = chain.iter().all(|manifest| manifest["run_id"] != answer["run_id"]);
            assert!(is_in || told_nothing, "round {round}: what {nth} answers is not in the chain");
        }
        rig.sim.world.add_file_events(3, ago(0), ago(-1));
        a_moment().await;
    }
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lost_its_lease_over_its_manifest_leaves_the_other_s_chain_as_it_is() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    rig.populate();
    let lambda = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "/manifests/", 1, S3Fault::after(move || lambda.freeze()));
    let frozen = rig.lambda.clone();
    let first = tokio::spawn(async move { frozen.invoke(json!({}), Duration::from_secs(30)).await });
    while rig.state_keys("manifests/").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.free_the_lease().await;
    let other = rig.container(|lambda| lambda.env("STREAMS", "audit,users"));
    let answer = other.invoke(json!({}), DEADLINE).await.answer();
    let head = rig.checkpoint().await["manifests"]["head"].clone();
    assert_eq!(answer["manifest"], head);
    rig.lambda.thaw();
    let outcome = first.await.unwrap();
    assert!(matches!(&outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(rig.checkpoint().await["manifests"]["head"], head, "the successor's chain stands");
    assert_eq!((rig.chain().await.len(), rig.state_keys("manifests/").await.len()), (1, 2));
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

/// Makes three runs yesterday and two today. After them yesterday's index exists. Returns yesterday's keys.
async fn with_a_day_that_is_over(rig: &Rig) -> Vec<String> {
    rig.populate();
    for _ in 0..3 {
        rig.run().await;
        rig.sim.world.add_audit(2, ago(0), ago(-1));
        a_moment().await;
    }
    rig.rewrite_chain(|manifest| manifest["written_at"] = json!(yesterday(manifest["number"].as_i64().unwrap()))).await;
    let old = rig.state_keys("manifests/").await;
    assert_eq!(old.len(), 3);
    // The first run of a new day notes that the old day has no index. The second writes it.
    for _ in 0..2 {
        rig.run().await;
        a_moment().await;
    }
    assert_eq!(rig.state_keys("manifests/index/").await.len(), 1);
    old
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_of_a_day_that_is_over_are_read_from_one_index() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    let old = with_a_day_that_is_over(&rig).await;
    let index = rig.state_keys("manifests/index/").await.remove(0);
    let chain = rig.chain().await;
    assert_eq!((chain.len(), &chain[0]["indexes"][0]["key"]), (5, &json!(index)));
    assert_eq!(chain[0]["indexes"][0]["last"], chain[1]["previous"], "the old day's last");
    let mut lines = rig.lines(&index).await;
    lines.reverse();
    let manifests: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(manifests, chain[2..], "as they are, the oldest first");
    assert_eq!(rig.checkpoint().await["manifests"].get("unindexed"), None);

    rig.sim.s3.clear_log();
    let verified = rig.verify().await;
    assert_eq!((&verified["status"], &verified["checked"]["manifests"]), (&json!("whole"), &json!(5)), "{verified:#}");
    let read: Vec<String> = rig.sim.s3.requests().into_iter().map(|request| request.key).collect();
    assert!(read.contains(&index));
    assert!(old.iter().all(|key| !read.contains(key)), "{read:#?}");

    for key in &old {
        rig.sim.s3.delete_raw(rig.sim.bucket(), key).await;
    }
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_index_that_is_missing_or_altered_is_a_finding_and_its_manifests_are_read_one_by_one() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
    with_a_day_that_is_over(&rig).await;
    let index = rig.state_keys("manifests/index/").await.remove(0);
    let lines = rig.lines(&index).await;
    rig.put_lines(&index, &lines[1..]).await;
    let verified = rig.verify().await;
    assert_one_finding(&verified, "null", &index, "SHA-256");
    assert_eq!(verified["checked"]["manifests"], 5);
    rig.sim.s3.put_raw(rig.sim.bucket(), &index, "no gzip").await;
    assert_one_finding(&rig.verify().await, "null", &index, "SHA-256");
    rig.sim.s3.delete_raw(rig.sim.bucket(), &index).await;
    let verified = rig.verify().await;
    assert_one_finding(&verified, "null", &index, "missing");
    assert_eq!(verified["checked"]["manifests"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_the_day_stays_out_of_its_index() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.sim.world.add_users(3);
    rig.run().await;
    rig.rewrite_chain(|manifest| manifest["written_at"] = json!(yesterday(0))).await;
    let mut orphan = rig.chain().await.remove(0);
    orphan["run_id"] = json!("a dead run's");
    let key = rig.state_keys("manifests/").await.remove(0).replace("0000000001-", "0000000001-0");
    rig.sim.s3.put_raw(rig.sim.bucket(), &key, orphan.to_string()).await;
    rig.run().await;
    rig.run().await;
    let index = rig.state_keys("manifests/index/").await.remove(0);
    assert_eq!(rig.lines(&index).await.len(), 1);
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_can_t_be_made_holds_up_no_manifest_and_is_made_later() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.sim.world.add_users(3);
    rig.run().await;
    rig.rewrite_chain(|manifest| manifest["written_at"] = json!(yesterday(0))).await;
    rig.run().await;
    rig.sim.s3.faults.always("PUT", "/manifests/index/", S3Fault::Status(403));
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!((rig.chain().await.len(), rig.state_keys("manifests/index/").await.len()), (3, 0));
    rig.sim.s3.faults.clear();
    rig.run().await;
    assert_eq!((rig.chain().await.len(), rig.state_keys("manifests/index/").await.len()), (4, 1));
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_nothing_and_answers_no_manifest() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let head = rig.checkpoint().await["manifests"]["head"].clone();
    rig.sim.world.add_users(2);
    let answer = rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    assert_eq!(answer.get("manifest"), None, "{answer:#}");
    assert_eq!((&rig.checkpoint().await["manifests"]["head"], rig.state_keys("manifests/").await.len()), (&head, 1));
}
