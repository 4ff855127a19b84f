//! Small schedules that end in a siege of narrow faults, in virtual time only: S3 refuses one key, or each run dies that
//! reads the rows of one instant. They are drawn apart and only for [`SEEDS`].

use std::ops::RangeInclusive;

use fastrand::Rng;

use crate::beyond::Siege;
use crate::lasting::Lasting;
use crate::plan::Plan;

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
        self
    }
}
