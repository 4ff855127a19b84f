//! Faults that only a world in memory can have, drawn separately from the rest of the plan: death at any `await`,
//! writes that arrive much later, containers with different clocks, hours that pass, and a siege of lasting faults.

use std::time::Duration;

use fastrand::Rng;
use simulator::Dataset;

use crate::further::Further;
use crate::lasting::{How, Lasting};
use crate::plan::{Pages, Plan};
use crate::rarities::has_oddities;
use crate::round::{Change, Round};
use crate::weather::pick;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beyond {
    /// One for each round.
    pub odds: Vec<Odds>,
    pub siege: Option<Siege>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Odds {
    /// The time that passes before it.
    pub pause: Duration,
    /// The number of steps after which the first and the second container die.
    pub deaths: [Option<u64>; 2],
    /// The delay of writes whose sender has died.
    pub lands: Duration,
    /// The seconds by which their clocks are ahead. Negative means behind.
    pub ahead: [i64; 2],
    pub third: Option<Third>,
}

/// A third container's run, beside the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Third {
    /// The time from the round's beginning until this run begins.
    pub begins: Duration,
    pub by_hand: bool,
    pub deadline: Duration,
    pub death: Option<u64>,
    pub ahead: i64,
}

/// Faults that last while the world goes on. All runs meet them and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Siege {
    pub lasting: Vec<Lasting>,
    pub phases: Vec<Phase>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    pub changes: Vec<Change>,
    /// Another run dies before those that are checked.
    pub death: Option<u64>,
    /// The time that passes afterwards.
    pub pause: Duration,
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

impl Plan {
    pub fn in_memory(seed: u64) -> Self {
        Self::with_odds(seed).with_rarities().kept_small().besieged()
    }

    fn with_odds(seed: u64) -> Self {
        let plan = Self::of(seed);
        let mut random = Rng::with_seed(seed ^ 0x2545_f491_4f6c_dd1d);
        // These seeds are played by processes too.
        if random.u8(0..4) == 0 {
            return plan;
        }
        let odds = plan.rounds.iter().map(|round| Odds::of(round, &mut random)).collect();
        let siege = random.bool().then(|| Siege::of(&plan, &mut random));
        let mut beyond = Beyond { odds, siege };
        beyond.goes_further(&plan, &mut Rng::with_seed(seed ^ 0x6c62_272e_07bb_0142));
        if has_oddities(seed) {
            beyond.lasts_oddly(&mut Rng::with_seed(seed ^ 0xe703_7ed1_a0b4_28db));
        }
        let plan = Self { beyond, ..plan };
        plan.with_sound_rows_where_all_are_doubted()
    }
}

impl Plan {
    /// A row that no parser reads stays stuck, and is not set aside, where most rows around it could not be read for a
    /// while. So there is none where that lasts.
    fn with_sound_rows_where_all_are_doubted(mut self) -> Self {
        let lasting = self.beyond.siege.iter().flat_map(|siege| siege.lasting.clone());
        for audit in lasting.filter_map(Lasting::doubted).collect::<Vec<_>>() {
            let doubted = if audit { Dataset::Audit } else { Dataset::FileEvents };
            let is_sound = |change: &Change| !matches!(change, Change::Malformed(dataset) if *dataset == doubted);
            self.tenant.malformed.retain(|dataset| *dataset != doubted);
            for round in &mut self.rounds {
                round.retain_changes(is_sound);
            }
        }
        self
    }
}

impl Beyond {
    /// Drawn apart from the rest, in some schedules: a third container, clocks that are ahead, and more that lasts.
    fn goes_further(&mut self, plan: &Plan, random: &mut Rng) {
        if random.u8(0..4) > 0 {
            return;
        }
        for (odds, round) in self.odds.iter_mut().zip(&plan.rounds) {
            odds.third = random.bool().then(|| Third::of(random));
            if odds.ahead == [0, 0] && round.clock_offset == 0 && !round.outliving() && random.u8(0..3) == 0 {
                odds.ahead = [pick(random, &[3, 20, 120, 840]), pick(random, &[0, 20, -20])];
            }
        }
        if let Some(siege) = &mut self.siege
            && random.bool()
        {
            siege.lasts_too(Lasting::further(plan, random));
        }
    }

    /// Of the seeds that have oddities, half of the sieges have one that lasts.
    fn lasts_oddly(&mut self, random: &mut Rng) {
        if let Some(siege) = &mut self.siege
            && random.bool()
        {
            let lasting = Lasting::odd(random);
            if random.bool() {
                siege.lasting.clear();
            }
            siege.lasts_too(lasting);
            let is_unreadable = lasting.doubted().is_some();
            for change in siege.phases.iter_mut().flat_map(|phase| &mut phase.changes).filter(|_| is_unreadable) {
                // More than are set aside one by one.
                if let Change::FileEvents(count) | Change::Audit(count) = change {
                    *count += 10;
                }
            }
        }
    }
}

impl Third {
    fn of(random: &mut Rng) -> Self {
        Self {
            begins: Duration::from_millis(random.u64(0..3_000)),
            by_hand: random.bool(),
            deadline: Duration::from_millis(random.u64(1_500..6_000)),
            death: (random.u8(0..3) == 0).then(|| random.u64(1..500)),
            ahead: pick(random, &[0, 0, 0, -20, 20]),
        }
    }
}

impl Odds {
    fn of(round: &Round, random: &mut Rng) -> Self {
        let mut odds = Self::default();
        if random.u8(0..3) == 0 {
            odds.pause = pick(random, &[MINUTE, 17 * MINUTE, HOUR, 7 * HOUR]);
        }
        if random.bool() {
            odds.deaths[0] = Some(random.u64(1..500));
        }
        if random.u8(0..4) == 0 {
            odds.deaths[1] = Some(random.u64(1..500));
        }
        odds.lands =
            pick(random, &[Duration::ZERO, Duration::from_millis(300), 5 * Duration::from_secs(1), 9 * MINUTE]);
        if round.clock_offset == 0 && !round.outliving() && random.u8(0..6) == 0 {
            odds.ahead = [pick(random, &[-120, -20, -3]), pick(random, &[0, -20])];
        }
        odds
    }
}

impl Siege {
    pub fn of(plan: &Plan, random: &mut Rng) -> Self {
        let count = pick(random, &[1, 1, 1, 2, 3]);
        let lasting = (0..count).map(|_| Lasting::of(plan, random)).collect();
        // Sessions that began long ago are not read any more.
        let pauses = [MINUTE, 40 * MINUTE, 2 * HOUR, 7 * HOUR, 26 * HOUR];
        let longest = if plan.further.has_sessions() { 3 } else { pauses.len() };
        let phases = (0..random.usize(1..=3)).map(|_| {
            let first = random.usize(..15);
            Phase {
                changes: vec![
                    Change::FileEvents(random.usize(1..30)),
                    Change::Audit(random.usize(1..30)),
                    Change::User(random.usize(..40)),
                    Change::Case(first),
                    Change::Case(random.usize(..15)),
                ],
                death: (random.u8(0..3) == 0).then(|| random.u64(1..400)),
                pause: pick(random, &pauses[..longest]),
            }
        });
        let phases = phases.collect();
        Self { lasting, phases }
    }
}

impl Siege {
    /// One that lasts, of the latest kinds.
    pub fn has_a_rarity(&mut self, further: &Further, pages: Pages, random: &mut Rng) {
        let lasting = Lasting::rare(further, pages, random);
        if random.bool() {
            self.lasting.clear();
        }
        if lasting == Lasting::Firewall {
            // Only one fault strikes a request.
            self.lasting.retain(|other| !matches!(other, Lasting::Aged(_)));
        }
        if let Lasting::Session(n) = lasting {
            // Nobody looks at a session that stays the same.
            self.phases.iter_mut().for_each(|phase| phase.changes.push(Change::Changed(Dataset::Sessions, n)));
        }
        self.lasts_too(lasting);
    }

    fn lasts_too(&mut self, lasting: Lasting) {
        if let Lasting::Endpoint(_, How::NotFound)
        | Lasting::Case(How::NotFound)
        | Lasting::ListOf(_)
        | Lasting::Halved = lasting
        {
            // What can't be found for a day is gone.
            for phase in &mut self.phases {
                phase.pause = phase.pause.min(2 * HOUR);
            }
        }
        self.lasting.push(lasting);
    }
}
