//! Seeded simulation: whatever goes wrong, each record is stored exactly once in the end. A seed decides every fault by
//! endpoint, class of key and ordinal, and nothing by the clock. HTTP, S3 and the processes are real.
//!
//! * [`plan`]: what a seed decides, round by [`mod@round`]; [`further`]: the streams that it adds to the four constant ones; [`mod@backfill`]:
//!   the spans that it collects in shards; [`weather`]: the random faults
//! * [`tenant`]: the records; [`history`]: their past versions; [`streams`]: their form in the bucket
//! * [`memory`]: the collector in this process, in virtual time, for [`fast`]; [`beyond`]: the faults that need that,
//!   and [`mod@siege`]: [`lasting`] faults
//! * [`oddities`]: faults that came later, for other seeds; [`rarities`]: those that came after them, for others again;
//!   [`small`]: schedules with few runs and records and many faults, for others still; [`besieged`]: those that end in a
//!   siege of narrow faults;
//!   [`loss`]: lost state; [`secrecy`]: that no secret is told
//! * [`schedule`]: plays a plan with its [`happenings`] in its [`containers`], [`arming`] the faults, and then
//!   [`calm`]; [`oracle`], [`objects`],
//!   [`chain`] and [`patience`] check the result; [`figures`] counts
//!
//! `SEED=n` replays one schedule and prints its plan, `SEED=n,m` replays several. `SCHEDULES=n` plays so many,
//! `MINUTES=n` plays for so long in virtual time. `GUIDE=n,m` plays these in the guide's dialect. `COLLECTOR` names
//! another binary to run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod arming;
mod backfill;
mod besieged;
mod beyond;
mod calm;
mod chain;
mod classes;
mod containers;
mod fast;
mod figures;
mod further;
mod happenings;
mod health;
mod history;
mod lasting;
mod loss;
mod memory;
mod objects;
mod oddities;
mod oracle;
mod panics;
mod patience;
mod plan;
mod rarities;
mod round;
mod schedule;
mod secrecy;
mod siege;
mod small;
mod streams;
mod tenant;
mod weather;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use figures::Figures;
use oracle::{Found, Kept, Wrong, wrong};
use plan::Plan;
use schedule::{Ground, Wanted};

const SCHEDULES: u64 = 40;
const PLAYED_TWICE: usize = 16;
/// A schedule spends most of its time waiting.
const SIDE_BY_SIDE: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_each_record_is_stored_exactly_once() {
    let figures = Arc::new(Figures::default());
    let mut seeds = Seeds::from_vars(SCHEDULES, None, || fastrand::u64(oddities::SEEDS));
    let mut running = JoinSet::new();
    let mut broken = Vec::new();
    loop {
        while running.len() < SIDE_BY_SIDE
            && let Some(seed) = seeds.next()
        {
            running.spawn(one(Plan::of(seed), figures.clone()));
        }
        let Some(ended) = running.join_next().await else { break };
        let (seed, result, _) = ended.expect("a schedule's own panics are caught");
        figures.add("schedules", 1);
        if let Err(Wrong { promise, how }) = result {
            figures.note_broken(promise);
            println!("SEED={seed} {promise}: {how}");
            broken.push(format!("SEED={seed} {promise}"));
        }
    }
    println!("{figures}");
    assert!(broken.is_empty(), "{} schedules failed:\n{}", broken.len(), broken.join("\n"));
}

async fn one(plan: Plan, figures: Arc<Figures>) -> (u64, Found, Kept) {
    let seed = plan.seed;
    let schedule = tokio::spawn(async move {
        if schedule::is_named() {
            println!("{plan:#?}");
        }
        let mut kept = Kept::new();
        let wanted = Wanted { kept: Some(&mut kept), ..Wanted::default() };
        (schedule::run(&plan, Ground::Processes, &figures, wanted).await, kept)
    });
    let played = schedule.await;
    let (result, kept) = played.unwrap_or_else(|panicked| (Err(wrong("panicked", panicked.to_string())), Kept::new()));
    (seed, result, kept)
}

/// Plays schedules in which the tenant's changes don't depend on the collector's speed.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_leaves_the_same_records_whether_it_is_played_by_processes_or_in_memory() {
    let figures = Arc::new(Figures::default());
    // Of both sorts of seeds.
    let alike = |from: u64| (from..).filter_map(Plan::alike_everywhere).take(PLAYED_TWICE / 2);
    let mut running = JoinSet::new();
    for plan in alike(1).chain(alike(*oddities::SEEDS.start())) {
        running.spawn(one(plan, figures.clone()));
    }
    while let Some(ended) = running.join_next().await {
        let (seed, found, by_processes) = ended.expect("a schedule's own panics are caught");
        let mut in_memory = Kept::new();
        let wanted = Wanted { kept: Some(&mut in_memory), ..Wanted::default() };
        let found_in_memory = fast::played(&Plan::alike_everywhere(seed).expect("it was one"), &figures, wanted);
        assert!(found.is_ok() && found_in_memory.is_ok(), "SEED={seed}: {found:?}, {found_in_memory:?}");
        assert_eq!(by_processes, in_memory, "SEED={seed}");
    }
}

/// The seeds that were named, or a number of random ones, or random ones for a time.
enum Seeds {
    Named(Vec<u64>),
    Count(u64, fn() -> u64),
    Until(Instant, fn() -> u64),
}

impl Seeds {
    /// `count` is the default. The time in the variable `minutes` counts instead, if there is such a variable. `draw` returns
    /// a random seed.
    fn from_vars(count: u64, minutes: Option<&str>, draw: fn() -> u64) -> Self {
        if let Some(named) = named("SEED") {
            return Self::Named(named);
        }
        match minutes.and_then(number) {
            Some(minutes) => Self::Until(Instant::now() + Duration::from_mins(minutes), draw),
            None => Self::Count(number("SCHEDULES").unwrap_or(count), draw),
        }
    }

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Named(seeds) => seeds.pop(),
            Self::Count(0, _) => None,
            Self::Count(left, draw) => {
                *left -= 1;
                Some(draw())
            }
            Self::Until(end, draw) => (Instant::now() < *end).then(draw),
        }
    }
}

/// The seeds in a variable, such as `1,2`.
fn named(variable: &str) -> Option<Vec<u64>> {
    let named = std::env::var(variable).ok()?;
    Some(named.split(',').map(|seed| seed.trim().parse().expect("a seed is a number")).collect())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}
