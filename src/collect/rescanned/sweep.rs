//! A snapshot of some slices, and how far it has got.

use chrono::TimeDelta;

use crate::collect::compared::Snapshot;
use crate::collect::error::Error;
use crate::core::checkpoint::{Sweep, Swept, Tier};
use crate::core::ndjson::Fingerprint;
use crate::core::round::Round;
use crate::core::time::Millis;

pub struct SweepReading {
    pub snapshot: Snapshot,
    /// The requests for the records' lists.
    pub round: Round,
    pub rows: u64,
    /// The rows that could not be read.
    pub unreadable: u64,
    pub total: u64,
    /// The slices that were read. They are kept here because any stream may write the checkpoint, which must not cover
    /// what isn't stored yet.
    pub swept: Swept,
    /// The first error of a slice that could not be read whole, and was passed over.
    pub failed: Option<Error>,
    /// Whether the present slice is one of these.
    has_failed: bool,
}

pub struct Slice {
    /// The end of the slice.
    pub to: Millis,
    /// The length of the next one.
    pub next: TimeDelta,
}

/// A record that is new or changed.
#[derive(Clone)]
pub struct Changed {
    pub id: String,
    pub line: String,
    pub fingerprint: Fingerprint,
    pub began: Millis,
}

impl SweepReading {
    pub fn new(snapshot: Snapshot, round: Round, swept: Swept) -> Self {
        Self { snapshot, round, rows: 0, unreadable: 0, total: 0, swept, failed: None, has_failed: false }
    }

    /// Notes that the present slice could not be read whole.
    pub fn fail(&mut self, error: Error) {
        self.has_failed = true;
        self.failed.get_or_insert(error);
    }

    /// Moves on after a slice. If it could not be read whole, the next run begins this sweep again. A finished sweep is removed; if it was one of the youngest, the stream is covered up to
    /// its beginning.
    pub fn go_on(&mut self, sweep: &Sweep, slice: &Slice) {
        let Some(first) = self.swept.sweeps.first_mut() else { return };
        (first.done_to, first.slice) = (slice.to, slice.next);
        if std::mem::take(&mut self.has_failed) {
            self.swept.again.push(sweep.tier);
        }
        if slice.to < sweep.to {
            return;
        }
        self.swept.sweeps.remove(0);
        if sweep.tier == Tier::Fresh && self.failed.is_none() {
            self.swept.covered_to = Some(sweep.began);
        }
    }
}
