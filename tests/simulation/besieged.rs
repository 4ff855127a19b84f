//! Small schedules that end in a siege of narrow faults, in virtual time only: S3 refuses one key, or each run dies that
//! reads the rows of one instant. In some of them the first run that can sign in comes hours after the first. They are drawn
//! apart and only for [`SEEDS`].

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

use crate::beyond::{Odds, Siege};
use crate::lasting::Lasting;
use crate::oddities;
use crate::plan::Plan;
use crate::rarities::Trouble;
use crate::round::Round;
use crate::weather::pick;

pub const SEEDS: RangeInclusive<u64> = 1_000_000_000_001..=9_999_999_999_999;
/// So many phases at most.
const PHASES: usize = 2;

impl Plan {
    /// Needs the rest of the plan.
    pub fn besieged(mut self) -> Self {
        if !SEEDS.contains(&self.seed) {
            return self;
        }
        let mut random = Rng::with_seed(self.seed ^ 0x1f83_d9ab_fb41_bd6b);
        let random = &mut random;
        let mut siege = Siege::of(&self, random);
        let narrow = Lasting::narrow(&self, random);
        if random.bool() {
            siege.lasting.clear();
        }
        siege.lasting.push(narrow);
        self.beyond.siege = Some(siege);
        self.keeps_its_siege_small(PHASES);
        if random.u8(0..3) == 0 {
            self.begins_late(random);
        }
        self
    }

    /// Adds a round before all others, in which the secret is another client's. Hours later it is the right one.
    fn begins_late(&mut self, random: &mut Rng) {
        let first = Round { changes: Vec::new(), ..self.rounds[0].clone() };
        self.rounds.insert(0, first);
        self.rarities.secrets.insert(0, Some(Trouble::Wrong));
        self.oddities.rounds.insert(0, oddities::Round::default());
        self.beyond.odds.resize_with(self.rounds.len() - 1, Odds::default);
        self.beyond.odds.insert(0, Odds::default());
        // Sessions that began long ago are not read any more.
        let longest = if self.further.has_sessions() { 1 } else { 3 };
        self.beyond.odds[1].pause = pick(random, &[2, 7, 26].map(Duration::from_hours)[..longest]);
    }
}
