//! A simulated world, and the real binary in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simulator::{Api, Lambda, LambdaBuilder, Object, Outcome, Record, Simulator, compact};

use crate::vendor_facts::{KEPT, check_whole_run};

pub const PREFIX: &str = "code42/";
pub const CHECKPOINT: &str = "incydr-collector/checkpoint.json";
/// The folder of the collector's own records below the prefix.
pub const HEALTH: &str = "collector_health";
/// Enough for any run that nothing delays.
pub const DEADLINE: Duration = Duration::from_mins(1);

pub struct Rig {
    pub sim: Simulator,
    pub lambda: Lambda,
    #[expect(dead_code, reason = "its drop is the check")]
    pub held: HeldAgainstFacts,
}

/// Checks, when the rig is dropped, that the collector asked for nothing that the vendor doesn't have, and that the
/// simulator answered in the vendor's form.
pub struct HeldAgainstFacts(Api);

impl Drop for HeldAgainstFacts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(check_whole_run(&self.0.requests()), Ok(()));
        }
    }
}

impl Rig {
    /// Starts with an empty world. `SEED` replays a failed test.
    pub async fn new() -> Self {
        Self::with(|lambda| lambda).await
    }

    /// The same with further settings.
    pub async fn with(settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        Self::seeded(seed, settings).await
    }

    pub async fn seeded(seed: u64, settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Self {
        println!("SEED={seed}");
        let sim = Simulator::start(seed).await;
        sim.api.change(|api| api.longest_kept = KEPT);
        let lambda = settings(builder(&sim)).start();
        let held = HeldAgainstFacts(sim.api.clone());
        Self { sim, lambda, held }
    }

    /// Another container on the same world.
    pub fn container(&self, settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Lambda {
        settings(builder(&self.sim)).start()
    }

    pub async fn run(&self) -> Value {
        self.invoke(json!({"source": "aws.scheduler"})).await.answer()
    }

    pub async fn run_within(&self, deadline: Duration) -> Value {
        self.lambda.invoke(json!({}), deadline).await.answer()
    }

    pub async fn invoke(&self, event: Value) -> Outcome {
        self.lambda.invoke(event, DEADLINE).await
    }

    /// Makes a run that fails. Returns its `errorType`, and the answer in its `errorMessage`.
    pub async fn failure(&self, event: Value) -> (String, Value) {
        failure_of(self.invoke(event).await)
    }

    /// Adds a few records of each kind, from an hour ago until now.
    pub fn populate(&self) {
        let now = Utc::now();
        let (from, to) = (now - TimeDelta::minutes(50), now - TimeDelta::seconds(10));
        self.sim.world.add_file_events(300, from, to);
        self.sim.world.add_audit(200, from, to);
        self.sim.world.add_users(40);
        self.sim.world.add_cases(12, now - TimeDelta::days(30), to);
    }

    pub async fn stored(&self, stream: &str) -> Vec<String> {
        self.sim.stored_lines(&format!("{PREFIX}{stream}/")).await
    }

    /// The collector's own records, in order.
    pub async fn health_records(&self) -> Vec<Value> {
        self.stored(HEALTH).await.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The objects of the streams: all below the prefix except the collector's own.
    pub async fn objects(&self) -> Vec<Object> {
        let objects = self.sim.s3.objects(self.sim.bucket(), PREFIX).await;
        objects.into_iter().filter(|object| !object.key.starts_with(&format!("{PREFIX}{HEALTH}/"))).collect()
    }

    pub async fn keys(&self, stream: &str) -> Vec<String> {
        self.sim.s3.keys(self.sim.bucket(), &format!("{PREFIX}{stream}/")).await
    }

    /// Ends the lease by hand. Otherwise it lasts until five seconds after its owner's deadline.
    pub async fn free_the_lease(&self) {
        if let Some(object) = self.sim.s3.object(self.sim.bucket(), CHECKPOINT).await {
            let mut checkpoint: Value = serde_json::from_slice(&object.bytes).expect("JSON");
            checkpoint["lease"] = Value::Null;
            self.sim.s3.put_raw(self.sim.bucket(), CHECKPOINT, checkpoint.to_string()).await;
        }
    }

    /// Makes runs until one is complete. A lease that a dead process sent may arrive after the last one was ended by
    /// hand.
    pub async fn recover(&self) {
        for _ in 0..5 {
            self.free_the_lease().await;
            let answer = self.run().await;
            if answer["status"] == "complete" {
                return;
            }
            assert_eq!(answer["status"], "skipped", "{answer}");
        }
        panic!("skipped again and again");
    }

    pub async fn checkpoint(&self) -> Value {
        let object = self.sim.s3.object(self.sim.bucket(), CHECKPOINT).await.expect("a checkpoint");
        serde_json::from_slice(&object.bytes).expect("JSON")
    }

    /// Asserts that the bucket holds exactly the API's records of a stream, byte for byte.
    pub async fn assert_holds(&self, stream: &str, records: &[Record]) {
        assert_same(stream, self.stored(stream).await, records.iter().map(|record| compact(&record.raw)));
        let wrong = self.sim.s3.overwritten_or_deleted(PREFIX);
        assert!(wrong.is_empty(), "not append-only: {wrong:?}");
    }

    /// The same for all four streams.
    pub async fn assert_holds_everything(&self) {
        let world = &self.sim.world;
        self.assert_holds("file_events", &world.file_events()).await;
        self.assert_holds("audit", &world.audit()).await;
        self.assert_holds("cases", &world.cases()).await;
        self.assert_holds("users", &world.users()).await;
    }
}

fn builder(sim: &Simulator) -> LambdaBuilder {
    sim.lambda(Path::new(env!("CARGO_BIN_EXE_incydr-collector")))
        .env("STREAMS", "file_events,audit,cases,users")
        .env("SETTLE_SECONDS", "0")
        .env("REQUESTS_PER_MINUTE", "100000")
}

/// Returns the log once a line contains `part`. The log has its own pipe and may be behind the answer.
pub async fn logs_with(lambda: &Lambda, part: &str) -> Vec<String> {
    logs_with_so_many(lambda, part, 1).await
}

pub async fn logs_with_so_many(lambda: &Lambda, part: &str, lines: usize) -> Vec<String> {
    for _ in 0..250 {
        let logs = lambda.logs();
        if logs.iter().filter(|line| line.contains(part)).count() >= lines {
            return logs;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("less than {lines} log lines hold {part:?}: {:#?}", lambda.logs());
}

pub fn failure_of(outcome: Outcome) -> (String, Value) {
    let (error_type, message) = outcome.error();
    assert!(!message.contains('\n'), "the answer is one line: {message}");
    let answer: Value = serde_json::from_str(&message).unwrap_or_else(|_| panic!("not an answer: {message}"));
    assert_eq!(answer["status"], "failed");
    (error_type, answer)
}

/// Asserts that both have the same lines equally often, in any order. Prints the difference line by line.
pub fn assert_same(what: &str, found: impl IntoIterator<Item = String>, expected: impl IntoIterator<Item = String>) {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    for line in found {
        *balance.entry(line).or_default() += 1;
    }
    for line in expected {
        *balance.entry(line).or_default() -= 1;
    }
    balance.retain(|_, count| *count != 0);
    let lost = balance.values().filter(|count| **count < 0).count();
    let first: Vec<_> = balance.iter().take(3).collect();
    assert!(balance.is_empty(), "{what}: {lost} lost, {} too many, among them {first:#?}", balance.len() - lost);
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

pub fn ago(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(seconds)
}

pub fn time(text: &Value) -> DateTime<Utc> {
    let text = text.as_str().unwrap_or_else(|| panic!("{text} is no time"));
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text} is no time")).to_utc()
}
