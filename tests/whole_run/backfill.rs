//! A backfill: `plan` reserves a long span, shards cover it beside the live runs, and `merge` takes over their results.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Lambda, LambdaBuilder};

use crate::oracle::{assert_one_finding, millis};
use crate::reconcile::{audit_row, file_event};
use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago, failure_of, time};

/// Midnight today in UTC, at which shards are cut. It stays the same throughout a test, even if midnight passes.
pub fn today() -> DateTime<Utc> {
    static TODAY: LazyLock<DateTime<Utc>> = LazyLock::new(|| Utc::now().duration_trunc(TimeDelta::days(1)).unwrap());
    *TODAY
}

/// The span touches three days and ends before a first run's lookback.
pub fn from() -> DateTime<Utc> {
    today() - TimeDelta::hours(3 * 24 - 6)
}

pub fn to() -> DateTime<Utc> {
    today() - TimeDelta::hours(6)
}

pub const FOR_EVER: &str = "9999-12-31T23:59:59.999Z";

pub fn plan() -> Value {
    json!({"action": "plan", "from": millis(from()), "to": millis(to())})
}

/// The shard of a stream's first, second or third day.
pub fn shard_of(shards: &[String], stream: &str, day: usize) -> String {
    shards.iter().filter(|shard| shard.starts_with(stream)).nth(day).expect("a shard").clone()
}

/// Settings for windows of at most 20 rows.
pub fn of_events(lambda: LambdaBuilder) -> LambdaBuilder {
    lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "5").env("AUDIT_PAGE_SIZE", "5")
}

pub fn names(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

impl Rig {
    /// Adds events now and at noon of each of the days before, and makes a live run that knows only the former.
    pub async fn begun(settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Self {
        let rig = Self::with(|lambda| settings(of_events(lambda))).await;
        for day in 1..=3 {
            let noon = today() - TimeDelta::hours(24 * day - 12);
            rig.sim.world.add_file_events(60, noon, noon + TimeDelta::minutes(90));
            rig.sim.world.add_audit(40, noon, noon + TimeDelta::minutes(90));
        }
        rig.sim.world.add_file_events(30, ago(3_000), ago(600));
        rig.sim.world.add_audit(20, ago(3_000), ago(600));
        rig.run().await;
        rig
    }

    pub async fn planned(&self) -> Vec<String> {
        let answer = self.invoke(plan()).await.answer();
        assert_eq!(answer["status"], "complete", "{answer:#}");
        names(&answer["shards"])
    }

    pub async fn shard(&self, shard: &str) -> Value {
        self.invoke(json!({"action": "shard", "shard": shard})).await.answer()
    }

    pub async fn merge(&self) -> Value {
        self.invoke(json!({"action": "merge"})).await.answer()
    }

    pub async fn reserved(&self, stream: &str) -> Vec<Value> {
        self.checkpoint().await["events"][stream]["reserved"].as_array().cloned().unwrap_or_default()
    }

    /// Ends the shards' reservations.
    pub async fn expire_reservations(&self) {
        self.edit_checkpoint(|checkpoint| {
            for stream in checkpoint["events"].as_object_mut().unwrap().values_mut() {
                for reserved in stream["reserved"].as_array_mut().into_iter().flatten() {
                    reserved["until"] = json!(millis(ago(1)));
                }
            }
        })
        .await;
    }

    /// Ends the shards' leases, except those of sealed checkpoints.
    pub async fn free_the_shards_leases(&self) {
        let objects = self.sim.s3.objects(self.sim.bucket(), "incydr-collector/backfill/").await;
        for object in objects.iter().filter(|object| object.key.ends_with("/checkpoint.json")) {
            let mut checkpoint: Value = serde_json::from_slice(&object.bytes).unwrap();
            if checkpoint["lease"]["until"] != FOR_EVER {
                checkpoint["lease"] = Value::Null;
                self.sim.s3.put_raw(self.sim.bucket(), &object.key, checkpoint.to_string()).await;
            }
        }
    }

    pub async fn json_of(&self, key: &str) -> Value {
        let object = self.sim.s3.object(self.sim.bucket(), key).await.unwrap_or_else(|| panic!("no {key}"));
        serde_json::from_slice(&object.bytes).unwrap()
    }

    /// Asserts that all events are stored, each once.
    pub async fn assert_holds_all_events(&self) {
        self.assert_holds("file_events", &self.sim.world.file_events()).await;
        self.assert_holds("audit", &self.sim.world.audit()).await;
    }

    pub async fn assert_backfilled(&self) {
        for stream in self.checkpoint().await["events"].as_object().unwrap().keys() {
            let world = if stream == "audit" { self.sim.world.audit() } else { self.sim.world.file_events() };
            self.assert_holds(stream, &world).await;
            assert!(self.reserved(stream).await.is_empty());
        }
        let verify = json!({"action": "verify", "from": millis(from()), "to": millis(to())});
        let answer = self.invoke(verify).await.answer();
        assert_eq!(answer["status"], "whole", "{answer:#}");
        self.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_cover_a_long_span_beside_the_live_runs_and_are_merged() {
    let rig = Rig::begun(|lambda| lambda).await;
    let answer = rig.invoke(plan()).await.answer();
    assert_eq!((&answer["action"], &answer["status"]), (&json!("plan"), &json!("complete")), "{answer:#}");
    let shards = names(&answer["shards"]);
    assert_eq!(shards.len(), 6, "three days of each stream: {answer:#}");
    assert!(shards[0].starts_with("file_events-") && shards[3].starts_with("audit-"), "{shards:?}");

    let lag = |answer: &Value| answer["streams"]["audit"]["lag_s"].as_u64().unwrap();
    let mut reserved = rig.reserved("audit").await;
    let (first, last) = (reserved.remove(0), reserved.pop().unwrap());
    assert_eq!(
        (time(&first["span"][0]), time(&last["span"][1])),
        (time(&plan_end(&answer, "from")), time(&plan_end(&answer, "to")))
    );
    for shard in &shards {
        let before = rig.stored("audit").await.len();
        let live = rig.run().await;
        assert_eq!(live["status"], "complete", "{live:#}");
        assert!(lag(&live) < 60, "reserved spans don't count as lag: {live:#}");
        assert_eq!(rig.stored("audit").await.len(), before, "the live run reads nothing reserved");
        let answer = rig.shard(shard).await;
        assert_eq!((&answer["action"], &answer["status"]), (&json!("shard"), &json!("complete")), "{answer:#}");
        assert_eq!(answer["streams"].as_object().unwrap().len(), 1);
    }
    rig.assert_holds_all_events().await;
    let merged = rig.merge().await;
    assert_eq!((&merged["action"], &merged["status"]), (&json!("merge"), &json!("complete")), "{merged:#}");
    assert_eq!((names(&merged["merged"]), names(&merged["shards"])), (shards, Vec::new()));
    for event in answer["verify"].as_array().unwrap() {
        let verified = rig.invoke(event.clone()).await.answer();
        assert_eq!(verified["status"], "whole", "{verified:#}");
        assert!(verified["checked"]["records"].as_u64().unwrap() > 100, "{verified:#}");
    }
    rig.assert_backfilled().await;
    let again = rig.invoke(plan()).await.answer();
    // A moment has passed since, and only that isn't covered.
    assert!(names(&again["shards"]).len() <= 2, "{again:#}");
}

/// An end of the span in the plan's first `verify` event.
fn plan_end(answer: &Value, end: &str) -> Value {
    answer["verify"][0][end].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_run_side_by_side_with_each_other_and_with_the_live_run() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    let containers: Vec<Lambda> = (0..3)
        .map(|_| {
            rig.container(|lambda| {
                lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "25").env("AUDIT_PAGE_SIZE", "25")
            })
        })
        .collect();
    let runs = shards.iter().enumerate().map(|(n, shard)| {
        let event = json!({"action": "shard", "shard": shard});
        containers[n % 3].invoke(event, DEADLINE)
    });
    let (live, outcomes) = tokio::join!(rig.run(), futures::future::join_all(runs));
    assert_eq!(live["status"], "complete", "{live:#}");
    for outcome in outcomes {
        assert_eq!(outcome.answer()["status"], "complete");
    }
    assert_eq!(rig.merge().await["status"], "complete");
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plan_reserves_nothing_twice_and_tells_what_is_left() {
    let rig = Rig::begun(|lambda| lambda).await;
    let event = plan();
    let first = names(&rig.invoke(event.clone()).await.answer()["shards"]);
    let (done, left) = first.split_first().unwrap();
    rig.shard(done).await;
    rig.edit_checkpoint(|checkpoint| {
        checkpoint["events"]["audit"]["reserved"][0]["until"] = json!(millis(ago(-600)));
    })
    .await;
    let again = rig.invoke(event).await.answer();
    assert_eq!((names(&again["merged"]), names(&again["shards"])), (vec![done.clone()], left.to_vec()), "{again:#}");
    assert!(time(&rig.reserved("audit").await[0]["until"]) > ago(-71 * 3_600), "the reservation is extended");
    for shard in left {
        rig.shard(shard).await;
    }
    rig.merge().await;
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_for_which_there_was_too_little_time_goes_on_and_is_not_merged_before() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    let shard = shard_of(&shards, "file_events", 1);
    rig.sim.api.change(|api| api.latency = Duration::from_millis(1_300));
    let event = json!({"action": "shard", "shard": shard});
    let answer = rig.lambda.invoke(event, Duration::from_secs(5)).await.answer();
    assert_eq!(answer["status"], "partial", "{answer:#}");
    rig.sim.api.change(|api| api.latency = Duration::ZERO);
    let merged = rig.merge().await;
    assert_eq!((&merged["status"], names(&merged["merged"]).len()), (&json!("partial"), 0), "{merged:#}");
    for shard in &shards {
        assert_eq!(rig.shard(shard).await["status"], "complete");
    }
    rig.merge().await;
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_shard_that_another_one_has_is_skipped() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    rig.sim.api.change(|api| api.latency = Duration::from_millis(400));
    let other = rig.container(of_events);
    let event = json!({"action": "shard", "shard": shards[0]});
    let first = rig.lambda.invoke(event.clone(), DEADLINE);
    let second = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let skipped = other.invoke(event.clone(), DEADLINE).await.answer();
        let merged = other.invoke(json!({"action": "merge"}), DEADLINE).await.answer();
        (skipped, merged)
    };
    let (first, (skipped, merged)) = tokio::join!(first, second);
    assert_eq!(first.answer()["status"], "complete");
    assert_eq!(skipped["status"], "skipped", "{skipped:#}");
    assert_eq!(names(&merged["merged"]).len(), 0, "{merged:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_up_late_in_a_shard_is_found_by_the_live_run() {
    let rig = Rig::begun(|lambda| lambda.env("RECONCILE_MINUTES", "0")).await;
    for shard in rig.planned().await {
        rig.shard(&shard).await;
    }
    let long_ago = (Utc::now() - from()).num_seconds() - 24 * 3_600;
    rig.sim.world.push_file_event(file_event(1, long_ago));
    rig.sim.world.push_audit(audit_row(1, long_ago));
    let live = rig.run().await;
    assert_eq!(
        (&live["streams"]["audit"]["late"], &live["streams"]["file_events"]["late"]),
        (&Value::Null, &Value::Null)
    );
    rig.merge().await;
    let live = rig.run().await;
    assert_eq!(
        (&live["streams"]["audit"]["late"], &live["streams"]["file_events"]["late"]),
        (&json!(1), &json!(1)),
        "{live:#}"
    );
    rig.assert_backfilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_a_shard_is_part_of_the_proof() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    for shard in &shards {
        rig.shard(shard).await;
    }
    rig.merge().await;
    let head = rig.checkpoint().await["manifests"]["head"].clone();
    let manifest: Value = rig.json_of(head["key"].as_str().unwrap()).await;
    let merged = manifest["merged"].as_array().unwrap();
    assert_eq!(merged.len(), shards.len(), "{manifest:#}");
    rig.assert_tells_every_object().await;

    // Removes a shard's manifest and one of its objects.
    let (link, bucket) = (&merged[1], rig.sim.bucket());
    let key = link["key"].as_str().unwrap();
    let theirs: Value = rig.json_of(key).await;
    let object =
        theirs["readings"].as_array().unwrap().iter().find_map(|reading| reading["objects"][0]["key"].as_str());
    let object = object.expect("it stored something").to_owned();
    let kept = rig.sim.s3.object(bucket, &object).await.unwrap();
    rig.sim.s3.delete_raw(bucket, &object).await;
    let answer = rig.verify_with(json!({})).await;
    assert_one_finding(&answer, "file_events", &object, "it is missing");
    rig.sim.s3.put_raw(bucket, &object, kept.bytes).await;

    rig.sim.s3.delete_raw(bucket, key).await;
    let answer = rig.verify_with(json!({})).await;
    let missing = answer["findings"].as_array().unwrap().iter().filter(|finding| finding["key"] == key).count();
    assert_eq!((&answer["status"], missing), (&json!("broken"), 1), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_shards_are_at_work_only_what_they_have_not_read_is_found_missing() {
    let rig = Rig::begun(|lambda| lambda).await;
    let shards = rig.planned().await;
    rig.shard(&shards[4]).await;
    let answer = rig.verify_with(json!({})).await;
    let findings = answer["findings"].as_array().unwrap();
    assert!(!findings.is_empty(), "reserved spans are findings: {answer:#}");
    assert!(findings.iter().all(|finding| finding["wrong"] == "not covered"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_by_hand_leaves_the_shards_what_is_theirs() {
    let rig = Rig::begun(|lambda| lambda).await;
    rig.planned().await;
    let event = json!({"action": "collect", "from": millis(from() - TimeDelta::days(1)), "to": millis(to())});
    let answer = rig.invoke(event).await.answer();
    assert_eq!(answer["status"], "partial", "{answer:#}");
    assert_eq!(answer["streams"]["audit"]["records"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_before_the_first_run_leaves_that_one_its_lookback() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(150, from(), to());
    rig.sim.world.add_audit(20, ago(3_000), ago(600));
    for shard in rig.planned().await {
        rig.shard(&shard).await;
    }
    assert_eq!(rig.run().await["streams"]["audit"]["records"], 20);
    assert_eq!(rig.merge().await["status"], "complete");
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_audit_only_what_the_api_still_keeps_is_planned() {
    let rig = Rig::begun(|lambda| lambda).await;
    let event = json!({"action": "plan", "streams": ["audit"], "from": millis(ago(200 * 24 * 3_600))});
    let answer = rig.invoke(event).await.answer();
    let from = time(&answer["verify"][0]["from"]);
    assert!(from > ago(90 * 24 * 3_600) && from < ago((90 * 24 - 2) * 3_600), "{answer:#}");
    assert!((90..=92).contains(&names(&answer["shards"]).len()), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_keeps_to_its_share_of_the_budget() {
    let rig = Rig::begun(|lambda| lambda.env("REQUESTS_PER_MINUTE", "60")).await;
    let event = json!({"action": "plan", "from": millis(from()), "at_once": 3, "requests_per_minute": 9});
    let shards = names(&rig.invoke(event).await.answer()["shards"]);
    assert_eq!(rig.reserved("audit").await[0]["requests_per_minute"], 3);
    let shard = shard_of(&shards, "file_events", 1);
    // A container that has sent nothing yet: the sign-in and two requests, then none for the rest of its time.
    let other = rig.container(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "10").env("REQUESTS_PER_MINUTE", "60")
    });
    let answer = other.invoke(json!({"action": "shard", "shard": shard}), Duration::from_secs(4)).await.answer();
    assert_eq!(answer["status"], "partial", "{answer:#}");
    assert!(answer["streams"]["file_events"]["requests"].as_u64().unwrap() <= 3, "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shards_may_ask_for_comes_off_the_budget_of_the_live_runs() {
    let rig = Rig::begun(|lambda| lambda).await;
    let event = json!({"action": "plan", "from": millis(from()), "at_once": 2, "requests_per_minute": 20});
    let other = rig.container(|lambda| {
        lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "10").env("REQUESTS_PER_MINUTE", "30")
    });
    other.invoke(event, Duration::from_secs(6)).await.answer();
    rig.sim.world.add_file_events(600, ago(3_300), ago(2));
    let before = rig.sim.api.requests().len();
    other.invoke(json!({}), Duration::from_secs(5)).await;
    let live = rig.sim.api.requests().len() - before;
    assert!(live <= 10, "{live} requests of a live run, beside 20 of the shards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_makes_no_sense_is_refused_and_reserves_nothing() {
    let rig = Rig::begun(|lambda| lambda.env("REQUESTS_PER_MINUTE", "60")).await;
    let before = rig.checkpoint().await["events"].clone();
    let of_days = |days: i64| millis(ago(days * 24 * 3_600));
    for (event, why) in [
        (json!({"action": "plan"}), "\"plan\" needs \"from\""),
        (json!({"action": "plan", "from": of_days(3), "streams": ["users"]}), "a backfill takes audit and file_events"),
        (json!({"action": "plan", "from": of_days(3), "requests_per_minute": 61}), "at most REQUESTS_PER_MINUTE, 60"),
        (json!({"action": "plan", "from": of_days(3), "at_once": 0}), "a whole number from 1 to 20"),
        (json!({"action": "plan", "from": of_days(3), "at_once": 20}), "leaves each shard 1 of 30 requests a minute"),
        (json!({"action": "plan", "from": of_days(3), "expires_after_hours": "3"}), "a whole number from 1 to 720"),
        (json!({"action": "plan", "from": of_days(700), "streams": ["file_events"]}), "shards of a day each"),
        (json!({"action": "plan", "from": millis(ago(600))}), "younger than an hour"),
        (
            json!({"action": "plan", "from": of_days(200), "to": of_days(100), "streams": ["audit"]}),
            "older than the API keeps",
        ),
        (json!({"action": "shard"}), "\"shard\" needs the field \"shard\""),
        (json!({"action": "shard", "shard": 7}), "must be text"),
        (json!({"action": "shard", "shard": "audit-x"}), "\"audit-x\", which is not reserved"),
        (json!({"action": "merge", "streams": ["audit"]}), "\"streams\" is not a field of \"merge\""),
    ] {
        let (error_type, answer) = rig.failure(event.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(error_type, "InvalidEvent", "{event}");
        assert!(message.contains(why), "{event}: {message}");
    }
    assert_eq!(rig.checkpoint().await["events"], before);
    assert_eq!(rig.checkpoint().await["lease"], Value::Null);

    let guide = rig.container(|lambda| lambda.env("INCYDR_API_DIALECT", "guide").env("STREAMS", "audit"));
    let (_, answer) = failure_of(guide.invoke(json!({"action": "plan", "from": of_days(3)}), DEADLINE).await);
    assert!(answer["error"]["message"].as_str().unwrap().contains("INCYDR_API_DIALECT"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_where_nothing_was_ever_planned_has_nothing_to_do() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    assert_eq!(rig.merge().await["status"], "complete");
    assert!(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.is_none(), "no checkpoint is written");
}
