//! Collects records that change without a filter for changes. Recent ones are read again in every run, older ones less
//! often, in slices of the time at which they began. Changed records are stored again.

mod slice;
mod sublist;
mod sweep;

use self::sweep::SweepReading;
use super::Collector;
use super::compared::Counted;
use crate::collect::error::Error;
use crate::core::checkpoint::{RescannedState, Tier};
use crate::core::known::Known;
use crate::core::round::Round;
use crate::core::span_search::SpanSearch;
use crate::core::stream::Class;
use crate::core::stuck::StuckItem;
use crate::core::time::{DAY, Millis};
use crate::incydr::error::ApiError;
use crate::incydr::facts::Rescanned;
use chrono::TimeDelta;

/// The most requests for older records in one run, which also get at most half of the run's time. The rest is left to
/// the next run, so that a large tenant's sessions don't take what its events need.
const REQUESTS_A_RUN: u64 = 120;
/// Limit for the size of one object, in gzipped bytes.
const OBJECT_BYTES: u64 = 8 << 20;
/// A known record is forgotten this long after it is too old to be read again.
const KNOWN_FOR: TimeDelta = DAY;

/// The requests and the time that a run may use for older records.
struct Share {
    requests: u64,
    until: Millis,
}

impl Collector<'_> {
    pub(super) async fn rescanned(&self, facts: &'static Rescanned) -> Result<(), Error> {
        let due: Vec<String> = self.due().into_iter().filter_map(StuckItem::into_id).collect();
        let (mut round, mut search) =
            self.stuck(|stuck| (Round::new(None, stuck, Millis::now()), SpanSearch::new(stuck)));
        let now = self.run.api.now();
        self.rescanned_state(|state| state.plan(now, self.run.settings.rescan));

        // Uses our own clock, as the run's times do.
        let began = Millis::now();
        let share = Share {
            requests: self.requests() + REQUESTS_A_RUN,
            until: began + (self.run.times.read_until - began) / 2,
        };

        let (mut known, mut failed) = (None, None);
        loop {
            let snapshot = self.open_snapshot(Class::Rescanned, known, None, |line| facts.key_of(line)).await?;
            let mut reading =
                SweepReading::new(snapshot, round, search, self.rescanned_state(|state| state.sweep_progress()));
            let ended = self.read_snapshot(facts, &mut reading, &share, &due).await;
            failed = reading.failed.take().or(failed);
            let closed = Box::pin(self.close_sweeps(reading)).await?;
            (known, round, search) = (Some(closed.0), closed.1, closed.2);

            if matches!(ended, Ok(true)) {
                continue;
            }
            if let Some(known) = known {
                self.remember(Class::Rescanned, known);
            }
            return match (ended, failed) {
                (Err(error), Some(failed)) if error.is_out_of_time() => Err(failed),
                (Err(error), _) => Err(error),
                (Ok(_), Some(failed)) => Err(failed),
                // The older records have had their share of this run.
                (Ok(_), None) if self.rescanned_state(|state| !state.sweeps.is_empty()) => {
                    Err(ApiError::OutOfTime.into())
                }
                (Ok(_), None) => Ok(()),
            };
        }
    }

    /// Reads what fits one snapshot: the sweeps, then what can be read of the slices that failed, then the stuck
    /// records that are `due`. Returns whether more is left than it has room for.
    async fn read_snapshot(
        &self,
        facts: &'static Rescanned,
        reading: &mut SweepReading,
        share: &Share,
        due: &[String],
    ) -> Result<bool, Error> {
        reading.may_doubt = true;
        let mut ended = self.sweep(facts, reading, share).await;
        reading.may_doubt = false;
        if let Some((error, before)) = reading.doubt.take() {
            // No record's list was answered, so their records are read again.
            reading.swept = before;
            return Err(ended.err().filter(Error::is_out_of_time).unwrap_or(error));
        }
        if matches!(ended, Ok(false)) {
            ended = self.search(facts, reading, share).await;
        }
        if let Some(error) = reading.judge_failures(self.rescanned_state(|state| state.sweep_progress()))
            && ended.as_ref().map_or_else(Error::is_out_of_time, |_| true)
        {
            return Err(error);
        }
        if ended? {
            return Ok(true);
        }
        reading.round.add_due(due.iter().cloned());
        self.read_due(facts, reading).await.map(|()| false)
    }

    /// Changes the stream's state on the checkpoint.
    fn rescanned_state<T>(&self, change: impl FnOnce(&mut RescannedState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.rescanned(self.stream)))
    }

    fn requests(&self) -> u64 {
        self.tally.calls.requests.get()
    }

    /// Reads the slices that are due. Returns whether more are due than this snapshot has room for.
    async fn sweep(&self, facts: &'static Rescanned, reading: &mut SweepReading, share: &Share) -> Result<bool, Error> {
        let mut has_read_older = false;
        loop {
            let Some(sweep) = reading.swept.sweeps.first().cloned() else { return Ok(false) };
            let is_over = self.requests() >= share.requests || Millis::now() >= share.until;
            // Even the shortest run tries one slice of older records. Otherwise they would never be read.
            if sweep.tier != Tier::Fresh && std::mem::replace(&mut has_read_older, true) && is_over {
                return Ok(false);
            }
            if reading.snapshot.bytes() >= OBJECT_BYTES {
                return Ok(true);
            }
            let slice = self.read_slice(facts, &sweep, reading).await?;
            reading.advance(&sweep, &slice);
        }
    }

    /// Stores the new and changed records. The swept time is covered, except for stuck records.
    async fn close_sweeps(&self, reading: SweepReading) -> Result<(Known, Round, SpanSearch), Error> {
        let SweepReading { mut snapshot, mut round, mut search, rows, total, swept, .. } = reading;
        if snapshot.has_changes() {
            let from = self.forget_before(&search);
            snapshot.known.forget_before(from);
        }
        let counted = Counted { rows, total: Some(total).filter(|total| *total == rows) };
        let judged = round.take_judged();
        let known = self
            .close_snapshot(snapshot, counted, |checkpoint| {
                checkpoint.rescanned(self.stream).take_over_progress(swept);
                let stuck = checkpoint.stuck(self.stream);
                judged.apply_to(stuck, Millis::now());
                search.apply_to(stuck);
            })
            .await?;
        Ok((known, round, search))
    }

    /// Returns the time before which known records may be forgotten. A stuck record or span may be older than
    /// `SESSIONS_RESCAN_HOURS`, and is compared with the known records once it answers. So the hours are counted back
    /// from the first failure, and the time is at least a day before the oldest stuck span.
    fn forget_before(&self, search: &SpanSearch) -> Millis {
        let now = self.run.api.now();
        let since = self.stuck(|stuck| stuck.iter().map(|stuck| stuck.since).min()).map_or(now, |since| since.min(now));
        let read_again = since - self.run.settings.rescan;
        let from = search.oldest().map_or(read_again, |oldest| oldest.min(read_again)) - KNOWN_FOR;
        self.rescanned_state(|state| state.forget_before(from))
    }
}
