//! The decisions of a seed, all made before anything runs: the tenant's records, the API's behaviour, and the rounds.

use std::time::Duration;

use fastrand::Rng;
use simulator::{Dataset, EdgePolicy, Endpoint, Precision, TokenEnd};

use crate::beyond::Beyond;
use crate::further::Further;
use crate::oddities::Oddities;
use crate::rarities::Rarities;
use crate::round::{Change, Happening, MALFORMED, Place, Round};
use crate::weather::{ApiKind, Climate, S3Kind, Storm, Weather, pick};

#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, each yes or no")]
pub struct Plan {
    pub seed: u64,
    pub pages: Pages,
    pub tenant: Tenant,
    pub further: Further,
    pub beyond: Beyond,
    pub oddities: Oddities,
    pub rarities: Rarities,
    /// Records become visible in windows that wait for a recount.
    pub has_late_ones: bool,
    /// The streams that it does not collect, of the four that others always do.
    pub left_out: Vec<&'static str>,
    /// Old records are collected in shards.
    pub is_backfilled: bool,
    /// It speaks as the Google `SecOps` guide prints it.
    pub in_guide: bool,
    pub rounds: Vec<Round>,
    /// Whether the last dead run's lease is ended by hand before the calm. Otherwise it expires.
    pub frees_last_lease: bool,
    /// Whether an existing container makes the last runs.
    pub ends_warm: bool,
}

/// Records per request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pages {
    pub file_events: usize,
    pub audit: usize,
    pub others: usize,
}

/// The records at first, and how the API serves them.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub file_events: usize,
    pub audit: usize,
    /// The age of the first event, in seconds.
    pub reaches_back: i64,
    /// The number of both that are older than a first run's lookback. They are requested by hand.
    pub old: usize,
    /// The number of audit events at one instant.
    pub burst: usize,
    pub users: usize,
    pub cases: usize,
    /// File events that the API itself returns twice; below, different ones with the same id.
    pub doubled: usize,
    pub same_id: usize,
    pub malformed: Vec<Dataset>,
    pub edges: EdgePolicy,
    pub token_end: TokenEnd,
    pub token_after_full_page: bool,
    pub gzip: bool,
    pub sign_ins_are_audited: bool,
    pub token_lifetime: Duration,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        Self::of_the_four(seed).with_further().with_backfill().made_small().with_oddities()
    }

    /// The plan of a seed without further streams.
    fn of_the_four(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let random = &mut random;
        let pages = Pages {
            file_events: random.usize(5..50),
            audit: random.usize(5..50),
            others: pick(random, &[5, 7, 10, 20, 100]),
        };
        let tenant = Tenant::of(random);
        let climate = Climate::of(random);
        let count = random.usize(2..=5);
        let mut rounds: Vec<Round> = (0..count).map(|_| Round::of(random, &climate)).collect();
        for n in 1..rounds.len() {
            if let [dying, next] = &mut rounds[n - 1..=n]
                && random.bool()
            {
                next.finds_trouble_with_what_was_left(random, dying);
            }
        }
        let mut plan = Self {
            seed,
            pages,
            tenant,
            further: Further::default(),
            beyond: Beyond::default(),
            oddities: Oddities::default(),
            rarities: Rarities::default(),
            has_late_ones: true,
            left_out: Vec::new(),
            is_backfilled: false,
            in_guide: false,
            rounds,
            frees_last_lease: random.u8(0..4) > 0,
            ends_warm: random.bool(),
        };
        plan.tenant.reaches_back = pick(random, &[300, 3_000]);
        match random.u8(0..12) {
            0 => plan.cuts_what_was_left(random),
            1 => plan.refuses_a_stream(random),
            2 | 3 => plan.dies_telling(random),
            _ => {}
        }
        plan
    }

    /// The plan of a seed in the guide's dialect. It has no late records: the dialect counts nothing, so none would be
    /// found.
    pub fn in_guide(seed: u64) -> Self {
        let mut plan = Self { in_guide: true, ..Self::of_the_four(seed) };
        let is_late = |change: &Change| matches!(change, Change::LateFileEvent | Change::LateAudit);
        for round in &mut plan.rounds {
            round.weather.in_guide = true;
            round.retain_changes(|change| !is_late(change));
        }
        plan
    }

    /// The same, where what becomes of the tenant is the same however fast the collector is: nothing is added to a window
    /// that happens to wait for a recount. None where other things hang on the run.
    pub fn alike_everywhere(seed: u64) -> Option<Self> {
        let changes_in_mid_run =
            |round: &Round| round.instants.iter().any(|(_, happening)| matches!(happening, Happening::Changes(_)));
        let mut plan = Self { has_late_ones: false, ..Self::of(seed) };
        // State is lost in virtual time only.
        plan.oddities.loss = None;
        let hangs_on_runs = plan.tenant.sign_ins_are_audited || plan.rounds.iter().any(changes_in_mid_run);
        (!hangs_on_runs).then_some(plan)
    }

    /// A run dies when it writes its manifest, which is the last step before its commit.
    fn dies_telling(&mut self, random: &mut Rng) {
        let n = random.usize(..self.rounds.len());
        let happening = if random.bool() { Happening::DiesBefore } else { Happening::DiesAfter };
        self.rounds[n].instants.push((Place::S3 { method: "PUT", class: "manifests", ordinal: 1 }, happening));
    }

    /// A run dies after it has stored a window. For the next run that window is too much for the API.
    fn cuts_what_was_left(&mut self, random: &mut Rng) {
        let class = pick(random, &["file_events", "audit"]);
        let endpoint = if class == "audit" { Endpoint::AuditCount } else { Endpoint::FileEvents };
        if let [dying, next, ..] = &mut self.rounds[..] {
            dying.weather = Weather::default();
            dying.instants =
                vec![(Place::S3 { method: "PUT", class, ordinal: random.u64(1..3) }, Happening::DiesAfter)];
            dying.frees_lease = true;
            let storm = Storm { place: Some(endpoint), from: 1, length: 1, kind: ApiKind::TimedOut };
            next.weather = Weather { api_storms: vec![storm], ..Weather::default() };
        }
    }

    /// Nothing of one stream can be written in a whole round. Everything else can.
    fn refuses_a_stream(&mut self, random: &mut Rng) {
        let class = pick(random, &["file_events", "audit", "users", "cases", "set-aside"]);
        let round = random.usize(..self.rounds.len());
        let storm = Storm { place: Some(class), from: 1, length: 1_000, kind: S3Kind::SlowDown };
        self.rounds[round].weather.s3_storms.insert(0, storm);
    }
}

impl Tenant {
    fn of(random: &mut Rng) -> Self {
        let precision = pick(random, &[Precision::Milliseconds, Precision::Seconds]);
        Self {
            file_events: random.usize(0..300),
            audit: random.usize(0..250),
            reaches_back: 0,
            old: pick(random, &[0, 0, 0, 60]),
            burst: pick(random, &[0, 0, 5, 40]),
            users: random.usize(20..40),
            cases: random.usize(3..15),
            doubled: pick(random, &[0, 0, 0, 1, 3]),
            same_id: pick(random, &[0, 0, 1, 3]),
            malformed: MALFORMED.into_iter().filter(|_| random.u8(0..8) == 0).collect(),
            edges: EdgePolicy { precision, from_inclusive: random.bool(), to_inclusive: random.bool() },
            token_end: pick(random, &[TokenEnd::Null, TokenEnd::Absent, TokenEnd::Empty]),
            token_after_full_page: random.bool(),
            gzip: random.bool(),
            sign_ins_are_audited: random.u8(0..3) == 0,
            token_lifetime: Duration::from_secs(pick(random, &[1, 2, 5, 900, 900, 900])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_whenever_it_is_asked() {
        for seed in 0..50 {
            assert_eq!(Plan::of(seed), Plan::of(seed));
            assert_ne!(Plan { seed, ..Plan::of(seed + 1) }, Plan::of(seed));
        }
    }
}
