//! A snapshot of some slices, and its progress.

use std::collections::{BTreeMap, HashSet};

use chrono::TimeDelta;

use crate::collect::compared::Snapshot;
use crate::collect::error::Error;
use crate::core::checkpoint::{Sweep, SweepProgress, Tier};
use crate::core::intervals::Span;
use crate::core::ndjson::Fingerprint;
use crate::core::round::Round;
use crate::core::span_search::SpanSearch;
use crate::core::time::Millis;

pub struct SweepReading {
    pub snapshot: Snapshot,
    /// The requests for the records' lists.
    pub round: Round,
    /// The slices that failed, and the stuck parts of earlier ones.
    pub search: SpanSearch,
    pub rows: u64,
    /// The rows that could not be read.
    pub unreadable: u64,
    pub total: u64,
    /// The slices that were read. They are kept here because any stream may write the checkpoint, which must not cover
    /// what isn't stored yet.
    pub swept: SweepProgress,
    /// The first error of a slice that could not be read whole, and was passed over.
    pub failed: Option<Error>,
    /// Whether the present slice could not be read whole.
    has_failed: bool,
    /// The first error of a slice that failed.
    slice_failed: Option<Error>,
    /// The records that another list of the present slice has shown.
    pub shown_by_another: HashSet<String>,
    /// Sweeps to repeat. One list of a slice failed (sessions with alerts, or without), and the other answered.
    half_answered: Vec<Tier>,
    /// Records whose own lists are to be read.
    pub changed: BTreeMap<String, Changed>,
    /// Whether records' lists that all fail may wait for those of further pages.
    pub may_doubt: bool,
    /// Set while no record's list was answered: the error, and the slices that were read before.
    pub doubt: Option<(Error, SweepProgress)>,
}

/// The result of reading a slice.
pub enum SliceAnswer {
    Rows(u64),
    /// It has too many rows, and is to be cut.
    TooMany,
    /// At least one of its lists failed. The other one may have been read.
    Failed {
        error: Error,
        is_half_answered: bool,
    },
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
    pub fn new(snapshot: Snapshot, round: Round, search: SpanSearch, swept: SweepProgress) -> Self {
        Self {
            snapshot,
            round,
            search,
            rows: 0,
            unreadable: 0,
            total: 0,
            swept,
            failed: None,
            has_failed: false,
            slice_failed: None,
            shown_by_another: HashSet::new(),
            half_answered: Vec::new(),
            changed: BTreeMap::new(),
            may_doubt: false,
            doubt: None,
        }
    }

    /// Notes that the present slice could not be read whole.
    pub fn fail(&mut self, error: Error) {
        self.has_failed = true;
        self.failed.get_or_insert(error);
    }

    /// Whether all lists were read whole since this was last called.
    pub fn take_whole(&mut self) -> bool {
        !std::mem::take(&mut self.has_failed)
    }

    /// Notes that a slice of a sweep failed. It is searched for what can be read once the sweeps are done.
    pub fn fail_slice(&mut self, slice: Span, tier: Tier, error: Error, is_half_answered: bool) {
        self.search.note_failure(slice, error.info_for_one(), Millis::now());
        self.slice_failed.get_or_insert(error);
        if is_half_answered {
            self.half_answered.push(tier);
        }
    }

    /// Called after the sweeps and the search. If slices failed and `search` got no answer, decides whether one list
    /// fails or the API. If the other list of a slice was answered, one list fails: the progress stays, the sweeps are
    /// due again, and the stream is not covered further. If neither list was answered, the API fails: goes back to
    /// `before`, the progress before this reading, and returns the error.
    pub fn judge_failures(&mut self, before: SweepProgress) -> Option<Error> {
        if self.search.has_answered() {
            return None;
        }
        let error = self.slice_failed.take()?;
        self.search.give_up();
        let half_answered = std::mem::take(&mut self.half_answered);
        if half_answered.is_empty() {
            self.swept = before;
            return Some(error);
        }
        self.swept.covered_to = before.covered_to;
        self.swept.again.extend(half_answered);
        self.failed.get_or_insert(error.as_failure_of_one());
        None
    }

    /// Moves on after a slice. If it could not be read whole, the next run begins this sweep again. A finished sweep is
    /// removed; if it was one of the youngest, the stream is covered up to its beginning.
    pub fn advance(&mut self, sweep: &Sweep, slice: &Slice) {
        let Some(first) = self.swept.sweeps.first_mut() else { return };
        (first.done_to, first.slice) = (slice.to, slice.next);
        if !self.take_whole() {
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
