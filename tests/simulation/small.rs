//! Small schedules, in virtual time only: one or two rounds, one to three streams, some dozens of records on small pages,
//! and many faults. Most of what can go wrong shows in so small a world, and thousands of them are played in a minute. They
//! are drawn apart and only for [`SEEDS`], so that all other seeds play what they played. They have oddities and rarities.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use simulator::Dataset;

use crate::backfill::Step;
use crate::besieged;
use crate::lasting::Lasting;
use crate::plan::{Pages, Plan};
use crate::round::{Change, Happening, Round};
use crate::weather::{ApiKind, S3Kind, Weather, pick};

/// The seeds whose schedules are small.
pub const SEEDS: RangeInclusive<u64> = 100_000_000_001..=999_999_999_999;

/// Whether a seed's schedule is small.
pub fn is_small(seed: u64) -> bool {
    SEEDS.contains(&seed) || besieged::SEEDS.contains(&seed)
}

/// A change adds so many events at most.
const MOST_ADDED: usize = 7;
/// The streams that all other schedules collect.
const ALWAYS: [&str; 4] = ["audit", "file_events", "cases", "users"];

/// Detected by every client at every endpoint.
const API_KINDS: [ApiKind; 7] = [
    ApiKind::RateLimited,
    ApiKind::ServerError,
    ApiKind::CutBody,
    ApiKind::BrokenJson,
    ApiKind::Html,
    ApiKind::Dropped,
    ApiKind::Late,
];
const S3_KINDS: [S3Kind; 4] = [S3Kind::Conflict, S3Kind::LostAnswer, S3Kind::LandsLate, S3Kind::Twice];

impl Plan {
    /// Needs the whole plan of the rounds. What is drawn later is drawn for the small tenant.
    pub fn made_small(mut self) -> Self {
        if !is_small(self.seed) {
            return self;
        }
        let mut random = Rng::with_seed(self.seed ^ 0x3c6e_f372_fe94_f82b);
        let random = &mut random;
        self.rounds.truncate(pick(random, &[1, 1, 2]));
        self.further.streams.truncate(pick(random, &[0, 0, 1]));
        self.leaves_streams_out(random);
        self.pages =
            Pages { file_events: random.usize(2..8), audit: random.usize(2..8), others: pick(random, &[2, 3, 5, 10]) };
        self.further.records = random.usize(2..6);
        self.further.old_sessions = self.further.old_sessions.min(2);
        self.has_few_records(random);
        let left_out = self.left_out.clone();
        for round in &mut self.rounds {
            round.retain_changes(|change| stream_of(change).is_none_or(|name| !left_out.contains(&name)));
            round.changes_are_few();
            round.weather.is_dense(random);
        }
        if self.tenant.old == 0 {
            self.is_backfilled = false;
            self.rounds.iter_mut().for_each(|round| round.step = Step::None);
        }
        self
    }

    /// One event stream at least is collected, and two streams of the four at most.
    fn leaves_streams_out(&mut self, random: &mut Rng) {
        let mut collected = vec![pick(random, &["audit", "file_events"])];
        // These streams read the records of another one.
        let parents = [("case_file_events", "cases"), ("user_roles", "users")];
        match parents.into_iter().find(|(stream, _)| self.further.has(stream)) {
            Some((_, parent)) => collected.push(parent),
            None if random.u8(0..4) > 0 => collected.push(pick(random, &ALWAYS)),
            None => {}
        }
        self.left_out = ALWAYS.into_iter().filter(|name| !collected.contains(name)).collect();
    }

    fn has_few_records(&mut self, random: &mut Rng) {
        let mut few = |name: &str, range: RangeInclusive<usize>| {
            let count = random.usize(range);
            if self.left_out.contains(&name) { 0 } else { count }
        };
        let holds = &mut self.tenant;
        holds.file_events = few("file_events", 0..=12);
        holds.audit = few("audit", 0..=12);
        // Fewer would make half of them one alone, which may be gone.
        holds.users = few("users", 6..=9);
        holds.cases = few("cases", 1..=4);
        holds.old %= 7;
        holds.burst = if self.left_out.contains(&"audit") { 0 } else { holds.burst.min(4) };
        holds.doubled = holds.doubled.min(1);
        // Three events with one id fill a page or two, and an id is the page token.
        let are_the_same = holds.doubled > 0 && holds.file_events <= 1;
        holds.same_id = if are_the_same { 0 } else { holds.same_id.min(1) };
        let left_out = &self.left_out;
        holds.malformed.retain(|dataset| !left_out.contains(&dataset.name()));
    }

    pub fn collects(&self, stream: &str) -> bool {
        !self.left_out.contains(&stream)
    }

    pub fn collected(&self) -> Vec<&'static str> {
        let of_the_four = ALWAYS.into_iter().filter(|name| self.collects(name));
        of_the_four.chain(self.further.streams.iter().copied()).collect()
    }

    /// Takes out of a small plan what would make it long. It keeps one thing at most that takes further runs: a siege, writes
    /// that land late, or a loss.
    pub fn kept_small(mut self) -> Self {
        if !is_small(self.seed) {
            return self;
        }
        let mut random = Rng::with_seed(self.seed ^ 0x510e_527f_ade6_82d1);
        let longer = if besieged::SEEDS.contains(&self.seed) { 0 } else { random.u8(0..8) };
        if longer > 2 {
            self.beyond.siege = None;
        }
        if !matches!(longer, 3 | 4) {
            self.oddities.loss = None;
        }
        if longer != 5 {
            for odds in &mut self.beyond.odds {
                odds.lands = odds.lands.min(Duration::from_millis(300));
            }
        }
        self.keeps_its_siege_small(1);
        self
    }

    /// What strikes nothing that is collected is nothing that lasts.
    pub fn keeps_its_siege_small(&mut self, phases: usize) {
        let left_out = self.left_out.clone();
        let collected = self.collected();
        let strikes = |lasting: &Lasting| lasting.strikes_one_of(&collected);
        if let Some(siege) = &mut self.beyond.siege {
            siege.lasting.retain(strikes);
            siege.phases.truncate(phases);
            if siege.lasting.iter().any(|lasting| lasting.doubted().is_some()) {
                // Shorter pages have too few rows to be taken for another form of the answer.
                self.pages.file_events = self.pages.file_events.max(5);
                self.pages.audit = self.pages.audit.max(5);
            }
            for phase in &mut siege.phases {
                phase.changes.retain(|change| stream_of(change).is_none_or(|name| !left_out.contains(&name)));
            }
        }
        self.beyond.siege = self.beyond.siege.take().filter(|siege| !siege.lasting.is_empty());
    }
}

/// The stream of the four that a change belongs to.
fn stream_of(change: &Change) -> Option<&'static str> {
    let dataset = match change {
        Change::FileEvents(_) | Change::LateFileEvent => Dataset::FileEvents,
        Change::Audit(_) | Change::AuditBurst(_) | Change::LateAudit => Dataset::Audit,
        Change::User(_) | Change::UserIsNew | Change::UserIsRemoved(_) | Change::UserIsMissedOnce(_) => Dataset::Users,
        Change::Case(_) | Change::CaseIsNew | Change::CaseIsRemoved(_) | Change::Archived(_) => Dataset::Cases,
        Change::Malformed(dataset)
        | Change::Astray(dataset, _)
        | Change::Half(dataset)
        | Change::MostAreRemoved(dataset) => *dataset,
        _ => return None,
    };
    ALWAYS.into_iter().find(|name| *name == dataset.name())
}

impl Round {
    fn changes_are_few(&mut self) {
        let in_mid_run = self.instants.iter_mut().filter_map(|(_, happening)| match happening {
            Happening::Changes(changes) => Some(changes),
            _ => None,
        });
        for change in in_mid_run.chain([&mut self.changes]).flatten() {
            if let Change::FileEvents(count) | Change::Audit(count) | Change::AuditBurst(count) = change {
                *count = 1 + *count % MOST_ADDED;
            }
        }
    }
}

impl Weather {
    /// Strikes many of the few requests.
    fn is_dense(&mut self, random: &mut Rng) {
        self.api_rate = self.api_rate.max(pick(random, &[0, 100, 200, 300]));
        self.s3_rate = self.s3_rate.max(pick(random, &[0, 100, 200, 300]));
        self.api.push(pick(random, &API_KINDS));
        self.s3.push(pick(random, &S3_KINDS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_schedule_is_small_and_the_earlier_ones_are_what_they_were() {
        for plan in SEEDS.take(500).map(Plan::in_memory) {
            let streams = ALWAYS.len() - plan.left_out.len() + plan.further.streams.len();
            assert!((1..=3).contains(&streams) && plan.rounds.len() <= 2, "{}", plan.seed);
            assert!(plan.tenant.file_events + plan.tenant.audit + plan.tenant.users <= 33, "{}", plan.seed);
        }
        for seed in [1, 10_001, 4_294_967_295, 10_000_000_001, 99_999_999_999, u64::MAX] {
            assert!(Plan::in_memory(seed).left_out.is_empty(), "{seed}");
        }
    }
}
