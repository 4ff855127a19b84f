//! Some schedules collect old records by a backfill. Its steps replace live runs, with the same faults. They are drawn
//! separately, so that the rest of the plan stays the same.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::round::{Happening, Place};
use crate::tenant::OLD;

/// The class of keys of a shard's state.
pub const CLASS: &str = "backfill";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// An ordinary round.
    None,
    /// A shard or a merge. The plan, if nothing is reserved.
    Next {
        pick: usize,
        /// The other container makes the same step instead of a live run.
        is_doubled: bool,
    },
    /// The reservations have ended, so the round's live run merges them.
    Overdue,
}

impl Step {
    fn of(random: &mut Rng) -> Self {
        match random.u8(0..8) {
            0 => Self::None,
            1 => Self::Overdue,
            _ => Self::Next { pick: random.usize(..1_000), is_doubled: random.bool() },
        }
    }

    /// The event of the step. `reserved` are the existing shards.
    pub fn event(self, reserved: &[String], span: &Span) -> Option<Value> {
        match (self, reserved) {
            (Self::None | Self::Overdue, _) => None,
            (Self::Next { .. }, []) => Some(span.plan()),
            (Self::Next { pick, .. }, _) if pick % 4 == 0 => Some(json!({"action": "merge"})),
            (Self::Next { pick, .. }, shards) => Some(shard(&shards[pick % shards.len()])),
        }
    }
}

pub fn shard(id: &str) -> Value {
    json!({"action": "shard", "shard": id})
}

/// The span of the backfill, which stays the same while time goes on.
#[derive(Debug, Clone)]
pub struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Span {
    /// A little more than the old records' span, on both sides.
    pub fn of_old() -> Self {
        let ago = |seconds| simulator::clock::now() - TimeDelta::seconds(seconds);
        Self { from: ago(OLD.0 + 600), to: ago(OLD.1 - 300) }
    }

    pub fn plan(&self) -> Value {
        let (from, to) = self.text();
        json!({"action": "plan", "from": from, "to": to, "requests_per_minute": 100_000})
    }

    pub fn collect(&self) -> Value {
        let (from, to) = self.text();
        json!({"action": "collect", "from": from, "to": to})
    }

    fn text(&self) -> (String, String) {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        (text(self.from), text(self.to))
    }
}

impl Plan {
    pub fn with_backfill(mut self) -> Self {
        let mut random = Rng::with_seed(self.seed ^ 0x5851_f42d_4c95_7f2d);
        if self.tenant.old == 0 || random.bool() {
            return self;
        }
        self.is_backfilled = true;
        for round in &mut self.rounds {
            round.step = Step::of(&mut random);
            if let Step::Next { .. } = round.step
                && random.u8(0..3) > 0
            {
                let happening = match random.u8(0..3) {
                    0 => Happening::DiesBefore,
                    1 => Happening::DiesAfter,
                    _ => Happening::DiesAndLandsLate(Duration::from_millis(random.u64(50..400))),
                };
                let place = Place::S3 { method: "PUT", class: CLASS, ordinal: random.u64(1..8) };
                round.instants.push((place, happening));
            }
        }
        self
    }
}
