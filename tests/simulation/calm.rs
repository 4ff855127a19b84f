//! The calm after a schedule's rounds: runs without faults until everything is collected.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use simulator::{Dataset, Lambda, Outcome};
use tokio::time::Instant;

use crate::backfill;
use crate::oracle::{self, CHECKPOINT, STATE, Wrong, wrong};
use crate::round::Change;
use crate::schedule::{Ground, Stage, event, tell, text};
use crate::streams::Stream;

/// In the calm a run has enough time; below, enough for few requests in a minute.
const CALM_DEADLINE: Duration = Duration::from_mins(1);
const LONG_DEADLINE: Duration = Duration::from_mins(45);
/// The limit for collecting everything. A remaining lease lasts for 20 s at most.
const CALM_AT_MOST: Duration = Duration::from_secs(90);
const LONG_AT_MOST: Duration = Duration::from_hours(20);
/// Large deletions are believed once all readings of a day agree.
const HALF_A_DAY: Duration = Duration::from_hours(13);

impl Stage<'_> {
    /// Makes runs without faults until nothing is due.
    pub async fn calm(&self) -> Result<(), Wrong> {
        self.comes_to_rest();
        let calm_since = simulator::clock::now();
        self.sim.api.change(|api| {
            api.clock_offset = TimeDelta::zero();
            api.sign_ins_are_audited = false;
            api.requests_per_minute = None;
            api.latency = Duration::ZERO;
        });
        if self.plan.frees_last_lease {
            self.free_the_lease().await;
        }
        if self.plan.further.has_sessions() {
            self.have_all_sessions_read_again().await;
        }
        let container = if self.plan.ends_warm { &self.first } else { &self.second };
        // Two whole readings without a user make it deleted. One that began while the user existed may come before
        // them.
        let enough = {
            let past = self.tenant.past();
            match past.histories.values().any(|history| history.gone() > 0) {
                true => 3,
                // A user who was hidden may still be hidden.
                false if !past.missed.is_empty() => 2,
                false => 1,
            }
        };
        let mut owes_old = self.plan.tenant.old > 0;
        let (mut began, mut complete, mut last) = (Instant::now(), 0, None);
        let mut has_waited = self.ground == Ground::Processes;
        let mut has_added = has_waited;
        let at_most = if self.plan.rarities.requests_per_minute.is_some() { LONG_AT_MOST } else { CALM_AT_MOST };
        let mut waits = if self.plan.rarities.waits_a_day { 3 } else { 0 };
        loop {
            if began.elapsed() >= at_most {
                // Unusual deletions are believed once all readings of a day agree. A window that runs died over is left
                // alone until none of their requests can arrive.
                let takes_a_day = |last: &Option<Outcome>| {
                    let told = format!("{last:?}");
                    told.contains("24 hours") || told.contains("the window is left alone until")
                };
                // After four unreadable rows in a row nothing is set aside before the API shows a sound one again.
                if !has_added && format!("{last:?}").contains("rows can't be read") {
                    has_added = true;
                    let sound = [Change::FileEvents(1), Change::Audit(1)].into_iter().zip(["file_events", "audit"]);
                    let collected = sound.filter(|(_, stream)| self.plan.collects(stream)).map(|(change, _)| change);
                    self.tenant.apply(&collected.collect::<Vec<_>>());
                    began = Instant::now();
                    continue;
                }
                if has_waited || !takes_a_day(&last) {
                    break;
                }
                has_waited = true;
                tokio::time::sleep(Duration::from_hours(25)).await;
                began = Instant::now();
            }
            self.figures.add("runs", 1);
            if owes_old && self.plan.is_backfilled {
                owes_old = !self.backfill(container).await;
                continue;
            }
            // A run for everything that is due tries stuck records outside of the old span.
            let asks_old = owes_old && !matches!(last, Some(Outcome::Failed { .. }));
            let event = if asks_old { self.for_old() } else { event(true) };
            let outcome = self.calmly(container, event).await;
            let is_complete = matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete");
            if let Outcome::Failed { error_message, .. } = &outcome {
                // Stuck records wait for their next try, and large deletions for a day, unless a person sends
                // `restart`.
                let accepts = error_message.contains("accept_deletions") && waits == 0;
                if error_message.contains("accept_deletions") && waits > 0 {
                    // Nobody says so.
                    waits -= 1;
                    tokio::time::sleep(HALF_A_DAY).await;
                    began = Instant::now();
                }
                let checkpoint = oracle::checkpoint(&self.sim).await;
                if checkpoint["stuck"].to_string().contains("none of their requests can still arrive") {
                    self.let_what_was_sent_arrive().await;
                }
                self.calmly(container, json!({"action": "restart", "accept_deletions": accepts})).await;
            }
            if owes_old {
                owes_old = !(asks_old && is_complete);
                last = Some(outcome);
                continue;
            }
            complete += u32::from(is_complete);
            if is_complete && complete >= enough && self.nothing_is_owed(calm_since).await {
                return Ok(());
            }
            last = Some(outcome);
            tokio::time::sleep(Duration::from_millis(if complete >= enough { 300 } else { 20 })).await;
        }
        let checkpoint = oracle::checkpoint(&self.sim).await;
        Err(wrong("stuck", format!("it never completes: {last:?}; stuck: {}", checkpoint["stuck"])))
    }

    /// The request for the old records, with a little more on both sides.
    pub fn for_old(&self) -> Value {
        self.old.collect()
    }

    /// Makes a backfill from plan to merge. Returns whether there was nothing left to plan.
    async fn backfill(&self, container: &Lambda) -> bool {
        let ask = async |event: Value| match self.calmly(container, event).await {
            Outcome::Answer(answer) => answer,
            _ => Value::Null,
        };
        let planned = ask(self.old.plan()).await;
        let shards = planned["shards"].as_array().cloned().unwrap_or_default();
        for shard in shards.iter().filter_map(text) {
            ask(backfill::shard(&shard)).await;
        }
        let merged = ask(json!({"action": "merge"})).await;
        planned["status"] == "complete" && shards.is_empty() && merged["status"] == "complete"
    }

    /// The writes of dead runs arrive now, and must change nothing.
    pub async fn what_was_sent_lands(&self) -> Result<(), Wrong> {
        if self.plan.beyond.odds.iter().all(|odds| odds.lands < Duration::from_secs(1)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_mins(16)).await;
        for _ in 0..2 {
            self.figures.add("runs", 1);
            self.second.invoke(event(true), CALM_DEADLINE).await;
        }
        oracle::at_the_end(&self.sim, &self.tenant).await
    }

    /// Checks that the collector's `verify` agrees.
    pub async fn proves_itself(&self) -> Result<(), Wrong> {
        let outcome = self.second.invoke(json!({"action": "verify"}), CALM_DEADLINE).await;
        match outcome {
            Outcome::Answer(answer) if answer["status"] == "whole" => Ok(()),
            other => Err(wrong("unproven", format!("{other:?}"))),
        }
    }

    /// Whether no window is open and the covered time reaches beyond the last event.
    pub async fn nothing_is_owed(&self, calm_since: DateTime<Utc>) -> bool {
        let checkpoint = oracle::checkpoint(&self.sim).await;
        // A list that began before the calm may have continued after the place of a later change.
        let is_read = |stream: &Stream| oracle::covered_to(&checkpoint, stream.name).is_some_and(|to| calm_since < to);
        let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
        let reaches = |dataset: Dataset| {
            let events = &checkpoint["events"][crate::tenant::stream(dataset)];
            let last = self.sim.world.all(dataset).iter().map(|record| record.time).max();
            let to = oracle::spans(&events["covered"]).last().map(|(_, to)| *to);
            // Later windows wait for a recount too. None of them holds a record.
            let spans = events["recount"].as_array().into_iter().flatten().map(|waiting| &waiting["span"]);
            let waits = |last| oracle::spans(&spans.clone().cloned().collect()).iter().any(|(from, _)| *from <= last);
            is_empty(&events["open"]) && last.is_none_or(|last| !waits(last) && to.is_some_and(|to| last < to))
        };
        let is_swept = |stream: &Value| {
            is_empty(&stream["sweeps"]) && ["day_swept_at", "all_swept_at"].iter().all(|at| stream[at].is_string())
        };
        self.tenant.event_streams.iter().all(|dataset| reaches(*dataset))
            && self.tenant.streams().all(is_read)
            && is_empty(&checkpoint["versions"]["cases"]["pending"])
            && (!self.plan.further.has_sessions()
                || checkpoint["rescanned"].as_object().is_some_and(|streams| streams.values().all(is_swept)))
    }

    /// Ends the lease by hand. Otherwise it lasts until five seconds after its owner's deadline.
    pub async fn free_the_lease(&self) {
        let free = |checkpoint: &mut Value| {
            // A merged shard's lease is for ever.
            if !checkpoint["lease"]["until"].as_str().is_some_and(|until| until.starts_with("9999-")) {
                checkpoint["lease"] = Value::Null;
            }
        };
        self.mend(free).await;
        for key in self.sim.s3.keys(self.sim.bucket(), &format!("{STATE}backfill/")).await {
            if key.ends_with("/checkpoint.json") {
                self.mend_at(&key, free).await;
            }
        }
    }

    /// Moves the ends of runs that died over a window back, as if nothing of theirs could arrive any more.
    async fn let_what_was_sent_arrive(&self) {
        self.mend(|checkpoint| {
            let streams = checkpoint.get_mut("events").and_then(Value::as_object_mut);
            let streams = streams.into_iter().flat_map(Map::values_mut);
            for window in streams.filter_map(|stream| stream.get_mut("open")?.as_array_mut()).flatten() {
                window["opened_by"]["until"] = json!("2000-01-01T00:00:00.000Z");
            }
        })
        .await;
    }

    /// Moves the times of the last sweeps back.
    async fn have_all_sessions_read_again(&self) {
        self.mend(|checkpoint| {
            let streams = checkpoint.get_mut("rescanned").and_then(Value::as_object_mut);
            for stream in streams.into_iter().flat_map(Map::values_mut) {
                for swept_at in ["day_swept_at", "all_swept_at"] {
                    stream[swept_at] = Value::Null;
                }
            }
        })
        .await;
    }

    pub async fn mend(&self, mend: impl FnOnce(&mut Value)) {
        self.mend_at(CHECKPOINT, mend).await;
    }

    async fn mend_at(&self, key: &str, mend: impl FnOnce(&mut Value)) {
        if let Some(object) = self.sim.s3.object(self.sim.bucket(), key).await {
            let mut checkpoint: Value = serde_json::from_slice(&object.bytes).expect("a checkpoint is JSON");
            mend(&mut checkpoint);
            self.sim.s3.put_raw(self.sim.bucket(), key, checkpoint.to_string()).await;
        }
    }

    /// Makes a run without faults, with enough time.
    pub async fn calmly(&self, container: &Lambda, event: Value) -> Outcome {
        let has_few = self.plan.rarities.requests_per_minute.is_some();
        tell(event, container, if has_few { LONG_DEADLINE } else { CALM_DEADLINE }).await
    }
}
