//! Plays one schedule: the plan's rounds, then calm until everything is collected. The oracle checks after each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use simulator::{Dataset, Lambda, LambdaBuilder, Outcome, Simulator};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backfill::{self, Step};
use crate::beyond::{Odds, Third};
use crate::chain;
use crate::containers::builder;
use crate::figures::Figures;
use crate::happenings::{BEYOND_THE_LEASE, FIRST, Moment, SECOND, THIRD, is_from, locked};
use crate::memory;
use crate::oracle::{self, Found, Kept, Wrong, wrong};
use crate::plan::Plan;
use crate::round::{Change, Round, Second};
use crate::secrecy;
use crate::tenant::Tenant;

/// A write that is on its way when its run ends arrives within this time, unless a fault delays it for longer.
const LANDS_AT_LEAST: TimeDelta = TimeDelta::seconds(2);

pub struct Stage<'a> {
    pub plan: &'a Plan,
    pub ground: Ground,
    pub sim: Simulator,
    pub tenant: Arc<Tenant>,
    pub first: Lambda,
    pub second: Lambda,
    /// Only in some schedules in memory.
    pub third: Lambda,
    pub moment: Arc<Moment>,
    /// Until then, writes of runs that died may still arrive.
    unsettled_until: Mutex<Option<DateTime<Utc>>>,
    /// The span of the old records, for a backfill.
    pub old: backfill::Span,
    /// Whether the secret is another client's for a while.
    pub is_secret_wrong: Mutex<bool>,
    /// The key that S3 refuses, once it was asked for.
    pub refused_key: Arc<Mutex<Option<String>>>,
    pub figures: &'a Figures,
}

/// The environment of a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ground {
    /// The real binary in processes, over sockets.
    Processes,
    /// In this process, in memory and in virtual time.
    Memory,
}

/// What is wanted of a schedule, besides that no promise is broken.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Takes each request, in order.
    pub requests: Option<&'a mut Vec<String>>,
    /// Takes what the collector logs, in memory only.
    pub log: Option<&'a mut String>,
    /// Takes the records that are stored at its end.
    pub kept: Option<&'a mut Kept>,
}

/// Plays a plan.
pub async fn run(plan: &Plan, ground: Ground, figures: &Figures, wanted: Wanted<'_>) -> Found {
    let stage = Stage::set(plan, ground, figures).await;
    let mut result = stage.play().await;
    if let Some(kept) = wanted.kept
        && result.is_ok()
    {
        result = oracle::kept(&stage.sim, &stage.tenant).await.map(|stored| *kept = stored);
    }
    if is_named() {
        stage.requests().iter().for_each(|request| println!("{request}"));
    }
    if let Some(requests) = wanted.requests {
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
        Self {
            plan,
            ground,
            sim,
            tenant,
            first,
            second,
            third,
            moment: Arc::default(),
            unsettled_until: Mutex::default(),
            old: backfill::Span::of_old(),
            is_secret_wrong: Mutex::default(),
            refused_key: Arc::default(),
            figures,
        }
    }

    async fn play(&self) -> Found {
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
        chain::tells_every_object(&self.sim, &self.tenant).await?;
        self.proves_itself().await?;
        self.what_was_sent_lands().await?;
        self.outlives_a_loss().await?;
        secrecy::is_kept(&self.sim, &self.tenant).await?;
        self.figures.add("records", oracle::count(&self.sim, &self.tenant).await);
        Ok(())
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
        self.tenant.event_streams.iter().all(|dataset| has_begun(crate::tenant::stream(*dataset)))
    }

    async fn round(&self, n: usize, round: &Round, third: Option<&Third>) -> Result<(), Wrong> {
        self.tenant.apply(&round.changes);
        self.late_ones(round).await;
        self.sim.api.change(|api| self.behave(api, round));
        self.arm(round, self.plan.oddities.rounds.get(n));
        if let Some(trouble) = self.plan.rarities.secrets.get(n).copied().flatten() {
            // Only a new container reads it.
            [&self.first, &self.second, &self.third].into_iter().for_each(Lambda::kill);
            self.troubles_the_secret(trouble);
        }
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
        self.mend_the_secret();
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
        secrecy::is_kept_in("the answer", &format!("{outcome:?}"))?;
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

    /// Checks that a container that thawed after its lease sent nothing to S3.
    fn sent_nothing_after_its_lease(&self) -> Result<(), Wrong> {
        let Some(thawed) = locked(&self.moment.thawed).take() else { return Ok(()) };
        let sent = self.sim.s3.requests().into_iter().find(|request| request.at > thawed && is_from(request, FIRST));
        match sent {
            None => Ok(()),
            Some(request) => Err(wrong("after its lease", format!("it sent {} {}", request.method, request.key))),
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
}

/// Makes a run, and prints its outcome if a single seed is played.
pub async fn tell(event: Value, lambda: &Lambda, deadline: Duration) -> Outcome {
    let (began, asked) = (simulator::clock::now(), event.to_string());
    let outcome = lambda.invoke(event, deadline).await;
    if is_named() {
        let took = simulator::clock::now() - began;
        println!("{} for {} ms: {asked}: {outcome:?}", began.format("%T%.3f"), took.num_milliseconds());
    }
    outcome
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

pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub fn event(by_hand: bool) -> Value {
    if by_hand { json!({"action": "collect"}) } else { json!({"source": "aws.scheduler"}) }
}
