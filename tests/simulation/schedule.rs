//! Plays one schedule: the plan's rounds, then calm until everything is collected. The oracle checks after each.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use simulator::{Behaviour, Dataset, Endpoint, Lambda, LambdaBuilder, Outcome, Simulator};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backfill::{self, Step};
use crate::beyond::{Odds, Third};
use crate::chain;
use crate::figures::Figures;
use crate::happenings::{BEYOND_THE_LEASE, FIRST, Happenings, Hooks, Moment, SECOND, THIRD, is_from, locked};
use crate::memory;
use crate::oddities;
use crate::oracle::{self, CHECKPOINT, Kept, PREFIX, STATE, Wrong, wrong};
use crate::plan::{Change, Place, Plan, Round, Second};
use crate::streams::{self, Stream};
use crate::tenant::Tenant;
use crate::weather::{CLASSES, OTHER_KNOWN, OTHER_SET_ASIDE};

/// In the calm a run has enough time.
const CALM_DEADLINE: Duration = Duration::from_mins(1);
/// The limit for collecting everything. A remaining lease lasts for 20 s at most.
const CALM_AT_MOST: Duration = Duration::from_secs(90);
/// A write that is on its way when its run ends arrives within this time, unless a fault delays it for longer.
const LANDS_AT_LEAST: TimeDelta = TimeDelta::seconds(2);

pub struct Stage<'a> {
    pub plan: &'a Plan,
    ground: Ground,
    pub sim: Simulator,
    pub tenant: Arc<Tenant>,
    pub first: Lambda,
    pub second: Lambda,
    /// Only in some schedules in memory.
    pub third: Lambda,
    moment: Arc<Moment>,
    /// Until then, writes of runs that died may still arrive.
    unsettled_until: Mutex<Option<DateTime<Utc>>>,
    /// The span of the old records, for a backfill.
    old: backfill::Span,
    figures: &'a Figures,
}

/// The environment of a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ground {
    /// The real binary in processes, over sockets.
    Processes,
    /// In this process, in memory and in virtual time.
    Memory,
}

/// Plays a plan. Returns the records that are stored at its end. `requests` takes each request, in order.
pub async fn run(
    plan: &Plan,
    ground: Ground,
    figures: &Figures,
    requests: Option<&mut Vec<String>>,
) -> Result<Kept, Wrong> {
    let stage = Stage::set(plan, ground, figures).await;
    let result = stage.play().await;
    if is_named() {
        stage.requests().iter().for_each(|request| println!("{request}"));
    }
    if let Some(requests) = requests {
        *requests = stage.requests();
    }
    figures.note_faults(&stage.sim);
    result
}

impl<'a> Stage<'a> {
    async fn set(plan: &'a Plan, ground: Ground, figures: &'a Figures) -> Self {
        let sim = match ground {
            Ground::Processes => Simulator::start(plan.seed).await,
            Ground::Memory => Simulator::in_memory(plan.seed),
        };
        let tenant = Arc::new(Tenant::of(plan, sim.world.clone()));
        let outliving = plan.rounds.iter().any(Round::outliving);
        let first = builder(plan, &sim, FIRST);
        let first =
            if outliving { first.outliving_its_deadline(BEYOND_THE_LEASE + Duration::from_secs(2)) } else { first };
        let start = |builder: LambdaBuilder| match ground {
            Ground::Processes => builder.start(),
            Ground::Memory => memory::start(builder, &sim),
        };
        let (first, second) = (start(first), start(builder(plan, &sim, SECOND)));
        let third = start(builder(plan, &sim, THIRD));
        let old = backfill::Span::of_old();
        let (moment, unsettled_until) = (Arc::default(), Mutex::default());
        Self { plan, ground, sim, tenant, first, second, third, moment, unsettled_until, old, figures }
    }

    async fn play(&self) -> Result<Kept, Wrong> {
        for (n, round) in self.plan.rounds.iter().enumerate() {
            let in_round = |wrong: Wrong| Wrong { how: format!("round {}: {}", n + 1, wrong.how), ..wrong };
            if let Some(odds) = self.plan.beyond.odds.get(n) {
                self.goes_beyond(odds).await;
            }
            let third = self.plan.beyond.odds.get(n).and_then(|odds| odds.third.as_ref());
            self.round(n, round, third).await.map_err(in_round)?;
            oracle::at_any_instant(&self.sim, &self.tenant).await.map_err(in_round)?;
            self.keep_the_checkpoint(n).await;
        }
        self.siege().await.map_err(|wrong| Wrong { how: format!("under siege: {}", wrong.how), ..wrong })?;
        self.calm().await?;
        oracle::at_the_end(&self.sim, &self.tenant).await?;
        chain::tells_every_object(&self.sim).await?;
        self.proves_itself().await?;
        self.what_was_sent_lands().await?;
        self.outlives_a_loss().await?;
        self.figures.add("records", oracle::count(&self.sim, &self.tenant).await);
        oracle::kept(&self.sim, &self.tenant).await
    }

    /// Applies the faults that only a world in memory can have.
    async fn goes_beyond(&self, odds: &Odds) {
        self.comes_to_rest();
        if self.has_begun().await {
            tokio::time::sleep(odds.pause).await;
        }
        memory::have_land_after(odds.lands);
        for (container, (steps, ahead)) in
            [&self.first, &self.second].into_iter().zip(odds.deaths.iter().zip(odds.ahead))
        {
            container.set_clock_ahead(TimeDelta::seconds(ahead));
            if let Some(steps) = steps {
                container.die_after(*steps);
            }
        }
    }

    /// Whether a run has noted where collection begins. Before that, records that are old by then would never be
    /// collected.
    pub async fn has_begun(&self) -> bool {
        let checkpoint = oracle::checkpoint(&self.sim).await;
        let has_begun = |stream: &str| {
            checkpoint["events"][stream]["live_from"].is_string() || checkpoint["attempted"][stream].is_string()
        };
        has_begun("audit") && has_begun("file_events")
    }

    /// The writes of dead runs arrive now, and must change nothing.
    async fn what_was_sent_lands(&self) -> Result<(), Wrong> {
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

    async fn round(&self, n: usize, round: &Round, third: Option<&Third>) -> Result<(), Wrong> {
        self.tenant.apply(&round.changes);
        self.late_ones(round).await;
        self.sim.api.change(|api| self.behave(api, round));
        self.arm(round, self.plan.oddities.rounds.get(n));
        let step = self.step(round).await;
        let event = match (round.by_hand, round.asks_for_old) {
            _ if step.is_some() => step.clone().unwrap_or_default(),
            (true, true) if !self.plan.is_backfilled => self.for_old(),
            (by_hand, _) => event(by_hand),
        };
        let doubled = step.filter(|_| matches!(round.step, Step::Next { is_doubled: true, .. }));
        *locked(&self.moment.began) = Some(Instant::now());
        let over = Notify::new();
        let first = async {
            let outcome = self.invoke(&self.first, event.clone(), round.deadline).await;
            over.notify_one();
            outcome
        };
        let (first, second, third) =
            tokio::join!(first, self.beside(round.second, doubled, &over), self.runs_third(third));
        first?;
        second?;
        third?;
        self.sent_nothing_after_its_lease()?;
        if round.second == Second::After {
            self.invoke(&self.first, event, round.deadline).await?;
            self.sent_nothing_after_its_lease()?;
        }
        self.sim.faults.clear();
        self.sim.s3.faults.clear();
        if round.cold_start_next {
            self.first.kill();
            self.second.kill();
            self.third.kill();
        }
        if round.frees_lease {
            self.free_the_lease().await;
        }
        Ok(())
    }

    /// Makes another container's run once the first one's requests trigger it. Does nothing if they never do.
    async fn beside(&self, second: Second, step: Option<Value>, first_is_over: &Notify) -> Result<(), Wrong> {
        let Second::Beside { by_hand, deadline } = second else { return Ok(()) };
        tokio::select! {
            biased;
            () = first_is_over.notified() => return Ok(()),
            () = self.moment.second_begins.notified() => {}
        }
        self.figures.add("overlaps", 1);
        self.invoke(&self.second, step.unwrap_or_else(|| event(by_hand)), deadline).await
    }

    /// A third container's run.
    async fn runs_third(&self, third: Option<&Third>) -> Result<(), Wrong> {
        let Some(third) = third else { return Ok(()) };
        self.third.set_clock_ahead(TimeDelta::seconds(third.ahead));
        if let Some(steps) = third.death {
            self.third.die_after(steps);
        }
        tokio::time::sleep(third.begins).await;
        self.figures.add("overlaps", 1);
        self.invoke(&self.third, event(third.by_hand), third.deadline).await
    }

    /// Returns the event of the backfill's next step, if there is one.
    async fn step(&self, round: &Round) -> Option<Value> {
        if round.step == Step::Overdue {
            self.mend(|checkpoint| {
                for reserved in reservations(checkpoint) {
                    reserved["until"] = json!(simulator::clock::now() - TimeDelta::seconds(1));
                }
            })
            .await;
        }
        let mut checkpoint = oracle::checkpoint(&self.sim).await;
        let shards: Vec<String> =
            reservations(&mut checkpoint).filter_map(|reserved| text(&reserved["shard"])).collect();
        let step = round.step.event(&shards, &self.old)?;
        self.figures.add("steps of a backfill", 1);
        Some(step)
    }

    async fn invoke(&self, lambda: &Lambda, event: Value, deadline: Duration) -> Result<(), Wrong> {
        self.ask(lambda, event, deadline).await.map(drop)
    }

    /// Makes a run. Returns its outcome, or an error if no run may end like that.
    pub async fn ask(&self, lambda: &Lambda, event: Value, deadline: Duration) -> Result<Outcome, Wrong> {
        let deaths = *locked(&self.moment.deaths);
        let outcome = tell(event, lambda, deadline).await;
        self.figures.add("runs", 1);
        if !matches!(outcome, Outcome::Answer(_)) {
            let lands = TimeDelta::from_std(memory::lands_after()).unwrap_or_default();
            let until = simulator::clock::now() + lands + LANDS_AT_LEAST;
            *locked(&self.unsettled_until) = Some(until);
        }
        match &outcome {
            Outcome::Answer(_) => Ok(outcome),
            Outcome::TimedOut => {
                self.figures.add("deaths", 1);
                Ok(outcome)
            }
            // A hook of this round killed it, or a hook of another container's request.
            Outcome::Died(_) if *locked(&self.moment.deaths) > deaths => Ok(outcome),
            // Only a simulated death ends a future.
            Outcome::Died(_) if self.ground == Ground::Memory => {
                self.figures.add("deaths", 1);
                Ok(outcome)
            }
            Outcome::Died(status) => Err(wrong("died", format!("{status}: {:#?}", lambda.logs().last()))),
            Outcome::Failed { error_type, .. } if error_type.ends_with("GenericError") => Ok(outcome),
            // Another run has merged it.
            Outcome::Failed { error_message, .. } if error_message.contains("which is not reserved") => Ok(outcome),
            // A lasting fault refuses all its requests, so this is how it must end.
            Outcome::Failed { error_type, .. } if error_type == "ThirdPartyConfigError" && self.is_under_siege() => {
                Ok(outcome)
            }
            Outcome::Failed { error_type, error_message } => {
                Err(wrong("failed", format!("{error_type}: {error_message}")))
            }
        }
    }

    pub fn is_in_memory(&self) -> bool {
        self.ground == Ground::Memory
    }

    fn is_under_siege(&self) -> bool {
        self.plan.beyond.siege.is_some()
    }

    /// Every request to the API and to S3, in order.
    fn requests(&self) -> Vec<String> {
        let asked = self.sim.api.requests().into_iter().map(|request| {
            let what = format!("{} {}?{} {}", request.method, request.path, request.query, request.body);
            (request.at, format!("{what}: {:?}", request.status))
        });
        let stored = self.sim.s3.requests().into_iter().map(|request| {
            let who = [FIRST, SECOND, THIRD].into_iter().find(|name| is_from(&request, name)).unwrap_or_default();
            let heard = if request.answered { "" } else { ", unheard" };
            let what = format!("{who} {} {}?{}", request.method, request.key, request.query);
            (request.at, format!("{what}: {:?}{heard}", request.status))
        });
        let mut all: Vec<_> = asked.chain(stored).collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(at, what)| format!("{} {what}", at.format("%T%.3f"))).collect()
    }

    fn behave(&self, api: &mut Behaviour, round: &Round) {
        let tenant = &self.plan.tenant;
        api.guide_endpoints = self.plan.in_guide;
        api.guide_lists = self.plan.in_guide;
        api.edges = tenant.edges;
        api.token_end = tenant.token_end;
        api.token_after_full_page = tenant.token_after_full_page;
        api.gzip = tenant.gzip;
        api.sign_ins_are_audited = tenant.sign_ins_are_audited;
        api.token_lifetime = tenant.token_lifetime;
        self.plan.oddities.manner.shape(api);
        api.clock_offset = TimeDelta::seconds(round.clock_offset);
        api.latency = round.latency;
        api.requests_per_minute = round.requests_per_minute;
    }

    /// Arms the faults: each request from now on is decided by its place in the round.
    fn arm(&self, round: &Round, oddities: Option<&oddities::Round>) {
        let (odd, all_odd) = (oddities.cloned().unwrap_or_default(), self.plan.oddities.clone());
        let happenings = Happenings { round: round.clone(), stage: self.hooks() };
        self.sim.faults.decide(move |endpoint, ordinal, request| {
            let happening = happenings.at(Place::Api(meant(endpoint), ordinal));
            let hook = happening.map(|happening| happenings.to_api(happening));
            hook.or_else(|| odd.strikes_api(endpoint, ordinal, request))
                .or_else(|| happenings.round.weather.strikes_api(endpoint, ordinal, request))
                .or_else(|| all_odd.strikes_api(endpoint, ordinal))
        });
        let odd = oddities.cloned().unwrap_or_default();
        let happenings = Happenings { round: round.clone(), stage: self.hooks() };
        self.sim.s3.faults.decide(class, move |request, class, ordinal| {
            let class = classes().find(|known| *known == class)?;
            let method = if request.method == "PUT" { "PUT" } else { "GET" };
            let place = Place::S3 { method, class, ordinal };
            let happening = happenings.at(place);
            let hook = happening.map(|happening| happenings.to_s3(happening, request, place));
            hook.or_else(|| odd.strikes_s3(class, ordinal))
                .or_else(|| happenings.round.weather.strikes_s3(&request.method, class, ordinal))
        });
    }

    fn hooks(&self) -> Hooks {
        Hooks {
            api: self.sim.api.clone(),
            tenant: self.tenant.clone(),
            first: self.first.clone(),
            second: self.second.clone(),
            third: self.third.clone(),
            moment: self.moment.clone(),
        }
    }

    /// Checks that a container that thawed after its lease sent nothing to S3.
    fn sent_nothing_after_its_lease(&self) -> Result<(), Wrong> {
        let Some(thawed) = locked(&self.moment.thawed).take() else { return Ok(()) };
        let sent = self.sim.s3.requests().into_iter().find(|request| request.at > thawed && is_from(request, FIRST));
        match sent {
            None => Ok(()),
            Some(request) => Err(wrong("after its lease", format!("it sent {} {}", request.method, request.key))),
        }
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

    async fn mend(&self, mend: impl FnOnce(&mut Value)) {
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
        tell(event, container, CALM_DEADLINE).await
    }

    /// Makes runs without faults until nothing is due.
    async fn calm(&self) -> Result<(), Wrong> {
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
        loop {
            if began.elapsed() >= CALM_AT_MOST {
                // Unusual deletions are believed once all readings of a day agree. A window that runs died over is left
                // alone until none of their requests can arrive.
                let takes_a_day = |last: &Option<Outcome>| {
                    let told = format!("{last:?}");
                    told.contains("24 hours") || told.contains("the window is left alone until")
                };
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
                let accepts = error_message.contains("accept_deletions");
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
    fn for_old(&self) -> Value {
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

    /// Checks that the collector's `verify` agrees.
    async fn proves_itself(&self) -> Result<(), Wrong> {
        let outcome = self.second.invoke(json!({"action": "verify"}), CALM_DEADLINE).await;
        match outcome {
            Outcome::Answer(answer) if answer["status"] == "whole" => Ok(()),
            other => Err(wrong("unproven", format!("{other:?}"))),
        }
    }

    /// If the round has a late record, another one becomes visible in a window that waits for a recount.
    async fn late_ones(&self, round: &Round) {
        // A write of a run that died may still arrive, and say that the window was counted for the last time.
        let is_unsettled = locked(&self.unsettled_until).is_some_and(|until| simulator::clock::now() < until);
        if is_unsettled || !self.plan.has_late_ones {
            return;
        }
        let checkpoint = oracle::checkpoint(&self.sim).await;
        for change in &round.changes {
            let dataset = match change {
                Change::LateFileEvent | Change::FileEvents(_) => Dataset::FileEvents,
                Change::LateAudit | Change::Audit(_) => Dataset::Audit,
                _ => continue,
            };
            let waiting = &checkpoint["events"][crate::tenant::stream(dataset)]["recount"];
            let spans = waiting.as_array().into_iter().flatten().map(|waiting| waiting["span"].clone()).collect();
            if let Some((from, to)) = oracle::spans(&spans).pop() {
                self.tenant.show_up_late(dataset, from + (to - from) / 2);
                self.figures.add("late records", 1);
            }
        }
    }

    /// Whether no window is open and the covered time reaches beyond the last event.
    pub async fn nothing_is_owed(&self, calm_since: DateTime<Utc>) -> bool {
        let checkpoint = oracle::checkpoint(&self.sim).await;
        // A list that began before the calm may have continued after the place of a later change.
        let is_read = |stream: &Stream| oracle::covered_to(&checkpoint, stream.name).is_some_and(|to| calm_since < to);
        let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
        let reaches = |dataset| {
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
        reaches(Dataset::FileEvents)
            && reaches(Dataset::Audit)
            && self.tenant.streams().all(is_read)
            && is_empty(&checkpoint["versions"]["cases"]["pending"])
            && (!self.plan.further.has_sessions()
                || checkpoint["rescanned"].as_object().is_some_and(|streams| streams.values().all(is_swept)))
    }
}

/// Makes a run, and prints its outcome if a single seed is played.
async fn tell(event: Value, lambda: &Lambda, deadline: Duration) -> Outcome {
    let (began, asked) = (simulator::clock::now(), event.to_string());
    let outcome = lambda.invoke(event, deadline).await;
    if is_named() {
        let took = simulator::clock::now() - began;
        println!("{} for {} ms: {asked}: {outcome:?}", began.format("%T%.3f"), took.num_milliseconds());
    }
    outcome
}

/// The guide's endpoints stand where the SDK's would.
fn meant(endpoint: Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::GuideAudit => Endpoint::AuditSearch,
        Endpoint::GuideFileEvents => Endpoint::FileEvents,
        other => other,
    }
}

/// Whether a single seed was named. Then everything is printed.
pub fn is_named() -> bool {
    std::env::var("SEED").is_ok_and(|named| !named.contains(','))
}

/// The reserved spans.
fn reservations(checkpoint: &mut Value) -> impl Iterator<Item = &mut Value> {
    let streams = checkpoint.get_mut("events").and_then(Value::as_object_mut);
    streams
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(|stream| stream.get_mut("reserved")?.as_array_mut())
        .flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn event(by_hand: bool) -> Value {
    if by_hand { json!({"action": "collect"}) } else { json!({"source": "aws.scheduler"}) }
}

fn builder(plan: &Plan, sim: &Simulator, name: &str) -> LambdaBuilder {
    // The default streams, and those that the seed picks.
    let default = ["audit", "file_events", "sessions", "cases", "users", "agents"];
    let further = plan.further.streams.iter().copied().filter(|name| !default.contains(name));
    // Nobody asks for what isn't there, so that a small schedule is a short one.
    let default = default
        .into_iter()
        .filter(|name| !plan.oddities.is_small || !matches!(*name, "sessions" | "agents") || plan.further.has(name));
    let streams: Vec<&str> = default.chain(further).collect();
    let (streams, dialect) =
        if plan.in_guide { ("audit,file_events,cases,users".to_owned(), "guide") } else { (streams.join(","), "sdk") };
    sim.lambda(&collector())
        .env("STREAMS", streams)
        .env("INCYDR_API_DIALECT", dialect)
        .env("AWS_SDK_UA_APP_ID", name)
        .env("GZIP_LEVEL", "1")
        .env("SETTLE_SECONDS", "0")
        .env("RECONCILE_MINUTES", "0")
        .env("INVENTORY_INTERVAL_MINUTES", "0")
        .env("REQUESTS_PER_MINUTE", "100000")
        .env("FE_PAGE_SIZE", plan.pages.file_events.to_string())
        .env("AUDIT_PAGE_SIZE", plan.pages.audit.to_string())
        .env("PAGE_SIZE", plan.pages.others.to_string())
}

/// The binary: the one that `COLLECTOR` names, or the one just built.
fn collector() -> PathBuf {
    let named = std::env::var_os("COLLECTOR").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_incydr-collector")).to_owned())
}

/// The stream, or the kind of state, that a key belongs to.
fn class(key: &str) -> String {
    let rest = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(STATE)).unwrap_or(key);
    let mut parts = rest.split(['/', '.']);
    let class = parts.next().unwrap_or_default();
    match (class, parts.next().is_some_and(|stream| streams::FURTHER.iter().any(|further| further.name == stream))) {
        ("known", true) => OTHER_KNOWN.to_owned(),
        ("set-aside", true) => OTHER_SET_ASIDE.to_owned(),
        (class, _) => class.to_owned(),
    }
}

fn classes() -> impl Iterator<Item = &'static str> {
    let further = streams::FURTHER.iter().map(|stream| stream.name);
    CLASSES.into_iter().chain([OTHER_KNOWN, OTHER_SET_ASIDE]).chain(further)
}
