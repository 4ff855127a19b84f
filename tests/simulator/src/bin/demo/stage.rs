//! The simulated world, the real binary in it, and the events of the demo.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Lambda, Object, Options, Outcome, Record, Simulator, with_member};

use crate::{Failure, screen::Screen};

pub const PREFIX: &str = "code42/";
pub const STATE: &str = "incydr-collector/";
pub const SET_ASIDE: &str = "incydr-collector/set-aside/";

/// The settings that differ from the defaults: name, value, default.
pub const SETTINGS: [(&str, &str, &str); 3] = [
    ("SETTLE_SECONDS", "0", "file_events=120,audit=330"),
    ("FE_PAGE_SIZE", "100", "5000"),
    ("INVENTORY_INTERVAL_MINUTES", "0", "60"),
];

const SEED: u64 = 42;
/// More than any run here takes. Lambda allows 15 minutes.
const DEADLINE: Duration = Duration::from_mins(1);
/// A window ends at most this far behind now: a second's margin, two clocks cut to seconds, and a second for a slow
/// machine.
const BEHIND: TimeDelta = TimeDelta::seconds(4);
/// New records lie in the second after the covered time.
const SECOND: TimeDelta = TimeDelta::seconds(1);

pub struct Stage {
    pub sim: Simulator,
    pub binary: PathBuf,
    directory: PathBuf,
    lambda: Lambda,
    /// Every version of a changing record that the API has shown, by stream. Each becomes a record in the bucket.
    states: BTreeMap<&'static str, Vec<Arc<str>>>,
    stored: BTreeMap<String, Object>,
}

/// The result of a scheduled event.
pub struct Event {
    pub outcome: Outcome,
    /// The function's answer, or the one in its error message.
    pub answer: Value,
    pub took: Duration,
    pub new: Vec<Object>,
    /// The number of objects before the event, and how many of them have changed.
    pub old: usize,
    pub old_altered: usize,
}

impl Stage {
    /// Finds the binary beside this program. The demo writes to `demo/`, one level up.
    pub async fn open() -> Result<Self, Failure> {
        let here = env::current_exe()?;
        let built = here.parent().ok_or("The demo lies in no directory.")?;
        let binary = built.join(format!("incydr-collector{}", env::consts::EXE_SUFFIX));
        if !binary.is_file() {
            return Err(format!("{} is missing; `make demo` builds it.", shown(&binary)).into());
        }
        let directory = built.parent().unwrap_or(built).join("demo");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let options = Options { seed: SEED, directory: Some(directory.join("s3")), ..Options::default() };
        let sim = Simulator::start_with(options).await?;
        let lambda = SETTINGS.iter().fold(sim.lambda(&binary), |lambda, (name, value, _)| lambda.env(name, *value));
        let lambda = lambda.start();
        Ok(Self { sim, binary, directory, lambda, states: BTreeMap::new(), stored: BTreeMap::new() })
    }

    pub fn bucket_directory(&self) -> PathBuf {
        self.directory.join("s3").join(self.sim.bucket())
    }

    pub fn log_file(&self) -> PathBuf {
        self.directory.join("collector.log")
    }

    pub fn log_lines(&self) -> Vec<String> {
        self.lambda.logs()
    }

    /// Adds the last hour's events, and older records of the tenant.
    pub fn fill(&mut self) {
        let now = Utc::now();
        let (from, to) = (now - TimeDelta::minutes(55), now - TimeDelta::minutes(1));
        self.sim.world.add_file_events(1_200, from, to);
        self.sim.world.add_audit(300, from, to);
        self.sim.world.add_cases(12, now - TimeDelta::days(30), now - TimeDelta::days(1));
        self.sim.world.add_users(25);
        self.sim.world.add_records(Dataset::Agents, 30);
        self.sim.world.add_sessions(20, now - TimeDelta::hours(60), to, true);
        self.sim.world.add_sessions(40, now - TimeDelta::hours(60), to, false);
        self.note_states();
    }

    /// Adds a few records of each kind, and one that no JSON parser accepts. Returns a description.
    pub fn add_some(&mut self, covered_to: DateTime<Utc>) -> String {
        let (world, to) = (&self.sim.world, covered_to + SECOND);
        world.add_file_events(40, covered_to, to);
        world.add_audit(15, covered_to, to);
        let inserted = covered_to.to_rfc3339_opts(SecondsFormat::Millis, true);
        let poison = format!(r#"{{"file":{{"owner":"\Everyone"}},"event":{{"id":"bad","inserted":"{inserted}"}}}}"#);
        world.push_file_event_raw("bad", covered_to, poison);
        world.add_users(2);
        let id = |records: &[Record]| records[0].id.clone();
        world.update_user(&id(&world.users()), |user| with_member(user, "active", "false"));
        world.update_case(id(&world.cases()), |case| with_member(case, "status", "\"CLOSED\""));
        world.add_sessions(1, covered_to, to, true);
        self.note_states();
        "41 file events (one of them is not JSON), 15 audit events, 2 new users, 1 changed user, 1 changed case and \
         1 new session"
            .to_owned()
    }

    /// Adds file events for several pages. Returns a description.
    pub fn add_many(&mut self, covered_to: DateTime<Utc>) -> String {
        let (world, to) = (&self.sim.world, covered_to + SECOND);
        world.add_file_events(250, covered_to, to);
        world.add_audit(20, covered_to, to);
        world.add_cases(1, covered_to, to);
        self.note_states();
        "250 file events, 20 audit events and 1 new case".to_owned()
    }

    /// Describes what the API has, as a part of a sentence.
    pub fn holdings(&self) -> String {
        let world = &self.sim.world;
        format!(
            "{} file events and {} audit events of the last hour, {} sessions, {} users, {} agents and {} cases",
            count(world.file_events().len() as u64),
            count(world.audit().len() as u64),
            world.all(Dataset::Sessions).len(),
            world.users().len(),
            world.all(Dataset::Agents).len(),
            world.cases().len(),
        )
    }

    /// Returns every record that the API has shown so far, by stream.
    pub fn at_the_api(&self) -> BTreeMap<&'static str, Vec<Arc<str>>> {
        let texts = |records: Vec<Record>| records.into_iter().map(|record| record.raw).collect();
        let mut texts_of = self.states.clone();
        texts_of.insert("file_events", texts(self.sim.world.file_events()));
        texts_of.insert("audit", texts(self.sim.world.audit()));
        texts_of
    }

    /// Makes the API answer the first page and fail on the next one, always.
    pub fn break_file_events(&self) {
        let next_page = |request: &simulator::http::Request| {
            request.json()["pgToken"].as_str().is_some_and(|token| !token.is_empty())
        };
        let sorry = r#"{"error":"internal"}"#.to_owned();
        self.sim.faults.when(Endpoint::FileEvents, next_page, Fault::Status(500, sorry));
    }

    pub fn mend(&self) {
        self.sim.faults.clear();
    }

    /// Waits until the second after `covered_to` may be read.
    pub async fn settle(&self, screen: &Screen, covered_to: DateTime<Utc>) {
        let until = covered_to + SECOND + BEHIND;
        let left = || (until - Utc::now()).to_std().unwrap_or_default();
        let doing = || format!("waiting {:.1} s until the window has settled", left().as_secs_f64());
        screen.watch(doing, tokio::time::sleep(left())).await;
    }

    /// Sends a scheduled event and waits for its result.
    pub async fn send(&mut self, screen: &Screen) -> Result<Event, Failure> {
        let began = Instant::now();
        let (requests, writes, struck) = (self.sim.api.requests().len(), self.writes(), self.sim.faults.struck());
        let doing = || {
            if began.elapsed() < Duration::from_millis(50) {
                return "sending a scheduled event".to_owned();
            }
            let failed = match self.sim.faults.struck() - struck {
                0 => String::new(),
                failed => format!(", {failed} of them answered with 500"),
            };
            format!(
                "{:.1} s: {} API requests{failed}; objects written: {}",
                began.elapsed().as_secs_f64(),
                self.sim.api.requests().len() - requests,
                self.writes() - writes,
            )
        };
        let event = json!({"source": "aws.scheduler"});
        let outcome = screen.watch(doing, self.lambda.invoke(event, DEADLINE)).await;
        let took = began.elapsed();
        fs::write(self.log_file(), self.log_lines().join("\n") + "\n")?;
        let answer = match &outcome {
            Outcome::Answer(answer) => answer.clone(),
            Outcome::Failed { error_message, .. } => serde_json::from_str(error_message).unwrap_or_default(),
            Outcome::Died(_) | Outcome::TimedOut => Value::Null,
        };
        let objects = self.sim.s3.objects(self.sim.bucket(), PREFIX).await;
        let as_before = |old: &Object| objects.iter().any(|object| object.key == old.key && object.bytes == old.bytes);
        let old_altered = self.stored.values().filter(|old| !as_before(old)).count();
        let old = self.stored.len();
        let new: Vec<Object> = objects.into_iter().filter(|object| !self.stored.contains_key(&object.key)).collect();
        self.stored.extend(new.iter().map(|object| (object.key.clone(), object.clone())));
        Ok(Event { outcome, answer, took, new, old, old_altered })
    }

    /// Sends `verify`.
    pub async fn verify(&self, screen: &Screen) -> Value {
        let event = json!({"action": "verify"});
        let doing = || "sending the event".to_owned();
        match screen.watch(doing, self.lambda.invoke(event, DEADLINE)).await {
            Outcome::Answer(answer) => answer,
            _ => Value::Null,
        }
    }

    /// Deletes the first object of the audit log. Returns its key and content.
    pub async fn take_one_away(&self) -> Option<(String, Vec<u8>)> {
        let object = self.sim.s3.objects(self.sim.bucket(), &format!("{PREFIX}audit/")).await.into_iter().next()?;
        self.sim.s3.delete_raw(self.sim.bucket(), &object.key).await;
        Some((object.key, object.bytes.to_vec()))
    }

    pub async fn put_back(&self, key: &str, bytes: Vec<u8>) {
        self.sim.s3.put_raw(self.sim.bucket(), key, bytes).await;
    }

    fn writes(&self) -> usize {
        self.sim.s3.writes_below(PREFIX).len()
    }

    /// Adds the present version of every changing record, if it is new.
    fn note_states(&mut self) {
        for dataset in [Dataset::Sessions, Dataset::Cases, Dataset::Users, Dataset::Agents] {
            let states = self.states.entry(dataset.name()).or_default();
            for record in self.sim.world.all(dataset) {
                if !states.contains(&record.raw) {
                    states.push(record.raw);
                }
            }
        }
    }
}

impl Event {
    pub fn must_be_complete(&self) -> Result<(), Failure> {
        if self.answer["status"] != "complete" {
            return Err("This event should have ended as complete.".into());
        }
        self.must_keep_what_was_there()
    }

    /// Fails unless this stream has failed and no other.
    pub fn must_be_failed(&self, stream: &str) -> Result<(), Failure> {
        let streams = self.answer["streams"].as_object().ok_or("The error's message holds no answer.")?;
        let status = |name: &str| if name == stream { "failed" } else { "complete" };
        if !matches!(self.outcome, Outcome::Failed { .. })
            || streams.iter().any(|(name, told)| told["status"] != status(name))
        {
            return Err(format!("This event should have failed for {stream} alone.").into());
        }
        self.must_keep_what_was_there()
    }

    /// The later end of the two event streams' covered time.
    pub fn covered_to(&self) -> Result<DateTime<Utc>, Failure> {
        let told = ["file_events", "audit"].into_iter().filter_map(|stream| {
            let told = self.answer["streams"][stream]["covered_to"].as_str()?;
            DateTime::parse_from_rfc3339(told).ok()
        });
        Ok(told.max().ok_or("The answer doesn't say what is covered.")?.to_utc())
    }

    fn must_keep_what_was_there(&self) -> Result<(), Failure> {
        match self.old_altered {
            0 => Ok(()),
            altered => Err(format!("{altered} objects have changed.").into()),
        }
    }
}

/// Formats 1234567 as 1,234,567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let grouped: Vec<String> =
        digits.chars().rev().collect::<Vec<_>>().chunks(3).map(|group| group.iter().collect()).collect();
    grouped.join(",").chars().rev().collect()
}

/// A path relative to the current directory.
pub fn shown(path: &Path) -> String {
    let relative = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.as_deref().unwrap_or(path).display().to_string()
}
