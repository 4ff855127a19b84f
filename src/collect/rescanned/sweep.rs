//! A snapshot of some slices, and how far it came.

use chrono::TimeDelta;

use crate::collect::compared::Snapshot;
use crate::collect::error::Error;
use crate::core::checkpoint::{Sweep, Swept, Tier};
use crate::core::ndjson::Fingerprint;
use crate::core::round::Round;
use crate::core::time::Millis;

pub struct SweepReading {
    pub snapshot: Snapshot,
    /// The lists that records have.
    pub round: Round,
    pub rows: u64,
    pub total: u64,
    /// How far it came. Streams share the checkpoint, and any of them may write it: what is not stored yet must not be
    /// covered there.
    pub swept: Swept,
    /// A slice that never agreed with its total, and was passed over.
    pub failed: Option<Error>,
}

pub struct Slice {
    /// Where it ends.
    pub to: Millis,
    /// How long the next one may be.
    pub next: TimeDelta,
}

/// A record that is new, or has changed.
#[derive(Clone)]
pub struct Changed {
    pub id: String,
    pub line: String,
    pub fingerprint: Fingerprint,
    pub began: Millis,
}

impl SweepReading {
    pub fn new(snapshot: Snapshot, round: Round, swept: Swept) -> Self {
        Self { snapshot, round, rows: 0, total: 0, swept, failed: None }
    }

    /// The slice is read. A sweep that is at its end is noted, and of the youngest ones: covered.
    pub fn go_on(&mut self, sweep: &Sweep, slice: &Slice) {
        let Some(first) = self.swept.sweeps.first_mut() else { return };
        (first.done_to, first.slice) = (slice.to, slice.next);
        if slice.to < sweep.to {
            return;
        }
        self.swept.sweeps.remove(0);
        if sweep.tier == Tier::Fresh && self.failed.is_none() {
            self.swept.covered_to = Some(sweep.began);
        }
    }
}
