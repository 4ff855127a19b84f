//! Records that change without the API telling when: what began lately is read again in every run, what is older ever
//! more rarely, slice by slice of the time at which it began. What differs from what is stored is stored once more.

mod behind;
mod slice;

use self::slice::Slice;
use super::{Applied, Collector};
use crate::collect::error::Error;
use crate::core::checkpoint::{RescannedState, Sweep, Swept, Tier};
use crate::core::known::Known;
use crate::core::manifest::ReadingEntry as Entry;
use crate::core::ndjson::Packer;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::Rescanned;

/// For what is older than the youngest so many requests are made in one run, and half of its time is used: the rest is
/// the next run's, so that a large tenant's sessions never take what its events need.
const REQUESTS_A_RUN: u64 = 120;
/// One object holds about so many bytes at most, gzipped.
const OBJECT_BYTES: u64 = 8 << 20;
/// What began earlier than what is read again is known for so much longer.
const KNOWN_FOR: i64 = DAY;

/// What of a run may be used for what is older than the youngest.
struct Share {
    requests: u64,
    until: Millis,
}

/// A reading: what it found in some slices.
struct Reading {
    at: Millis,
    opened_at: Millis,
    known: Known,
    packer: Packer,
    /// What a run that died stored under the same key.
    before: Applied,
    set_aside: Vec<String>,
    rows: u64,
    total: u64,
    /// How far it came. Streams share the checkpoint, and any of them may write it: what is not stored yet must not be
    /// covered there.
    swept: Swept,
    /// A record whose list failed, and was passed over.
    failed: Option<Error>,
}

impl Collector<'_> {
    pub(super) async fn rescanned(&self, facts: &'static Rescanned) -> Result<(), Error> {
        let stored = self.rescanned_state(|state| state.stored.clone());
        let mut known = self.recall_known(stored.known.as_ref()).await?;
        let is_ours = stored.opened_by.iter().all(|opener| *opener == self.run.ledger.lease);
        let mut before = Applied::default();
        if !is_ours {
            before = self.apply_stored(&stored, |line| facts.key_of(line), |key, line| known.apply(key, line)).await?;
        }
        let now = self.run.api.now();
        self.rescanned_state(|state| state.plan(now, self.run.settings.rescan));
        // By our own clock, as the run's times are.
        let began = Millis::now();
        let share = Share {
            requests: self.requests() + REQUESTS_A_RUN,
            until: began + (self.run.times.read_until.0 - began.0) / 2,
        };
        let mut failed = None;
        loop {
            let mut reading = self.open_rescan(known, before).await?;
            let ended = self.sweep(facts, &mut reading, &share).await;
            failed = reading.failed.take().or(failed);
            known = self.close_rescan(reading).await?;
            before = Applied::default();
            if matches!(ended, Ok(true)) {
                continue;
            }
            if let Some(at) = self.rescanned_state(|state| state.stored.known.clone()) {
                self.run.memory.keep(self.stream, at, known);
            }
            return match (ended, failed) {
                (Err(error), Some(failed)) if error.is_out_of_time() => Err(failed),
                (Err(error), _) => Err(error),
                (Ok(_), failed) => failed.map_or(Ok(()), Err),
            };
        }
    }

    /// The stream's part of the checkpoint.
    fn rescanned_state<T>(&self, change: impl FnOnce(&mut RescannedState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.rescanned(self.stream)))
    }

    fn requests(&self) -> u64 {
        self.tally.calls.requests.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The first reading of a run was opened with its lease.
    async fn open_rescan(&self, known: Known, before: Applied) -> Result<Reading, Error> {
        let is_open = self.rescanned_state(|state| {
            state.stored.open.is_some() && state.stored.opened_by.contains(&self.run.ledger.lease)
        });
        let at = self.rescanned_state(|state| state.stored.open(Millis::now(), &self.run.ledger.lease));
        if !is_open {
            self.commit().await?;
        }
        Ok(Reading {
            at,
            opened_at: Millis::now(),
            known,
            packer: Packer::new(&self.run.settings.packing),
            before,
            set_aside: Vec::new(),
            rows: 0,
            total: 0,
            swept: self.rescanned_state(|state| state.swept()),
            failed: None,
        })
    }

    /// Reads what is due; answers whether there is more, for which this reading has no room.
    async fn sweep(&self, facts: &'static Rescanned, reading: &mut Reading, share: &Share) -> Result<bool, Error> {
        loop {
            let Some(sweep) = reading.swept.sweeps.first().cloned() else { return Ok(false) };
            let is_over = self.requests() >= share.requests || Millis::now() >= share.until;
            if sweep.tier != Tier::Fresh && is_over {
                return Ok(false);
            }
            if reading.packer.bytes() >= OBJECT_BYTES {
                return Ok(true);
            }
            let slice = self.read_slice(facts, &sweep, reading).await?;
            reading.go_on(&sweep, &slice);
        }
    }

    /// Stores what was found, and answers what is known now.
    async fn close_rescan(&self, reading: Reading) -> Result<Known, Error> {
        let Reading { at, opened_at, mut known, packer, before, set_aside, rows, total, swept, .. } = reading;
        let applied = before.count;
        let packed = packer.finish();
        if packed.records > 0 {
            let from = self.run.api.now() - self.run.settings.rescan - KNOWN_FOR;
            known.forget_before(self.rescanned_state(|state| state.forget_before(from)));
        }
        let (objects, met) = self.store_at(at, packed, before).await?;
        let before = self.rescanned_state(|state| state.stored.known.clone());
        let after = self.store_known(&known, before.as_ref()).await?;
        let done = Entry {
            rows,
            total: Some(total).filter(|total| *total == rows),
            set_aside,
            objects,
            ..Entry::of_instant(self.stream, at, opened_at)
        };
        self.note(done, |checkpoint| {
            let state = checkpoint.rescanned(self.stream);
            state.stored.known = after;
            state.go_on_from(swept);
            state.stored.close(&self.run.ledger.lease, met, applied, Millis::now());
        });
        Ok(known)
    }
}

impl Reading {
    /// The slice is read. A sweep that is at its end is noted, and of the youngest ones: covered.
    fn go_on(&mut self, sweep: &Sweep, slice: &Slice) {
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
