//! Collects findings: one object per day. If a run that died has stored a day's findings, they are that day's reading.
//! They aren't derived again, because some findings contain how many days they have lasted.

use super::inventory::EARLY;
use super::{Collector, StreamOutcome};
use crate::bucket::records::Form;
use crate::collect::error::Error;
use crate::collect::health;
use crate::core::checkpoint::WriteOutcome;
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson::{Packed, Packer};
use crate::core::time::Millis;
use crate::incydr::facts::Findings;

impl Collector<'_> {
    pub(super) async fn findings(&self, facts: &'static Findings) -> Result<StreamOutcome, Error> {
        let state = self.inventory_state(|state| state.clone());
        let is_due = state.covered_to.is_none_or(|at| Millis::now() >= at + facts.every - EARLY);
        let left_open = state.stored.open;
        let is_stored = match left_open {
            Some(at) => self.is_stored(at).await?,
            None => false,
        };
        // There were no findings, and nothing is stored. A run that died may still store its findings.
        let only_waits = left_open.is_some() && state.covered_to >= left_open && !is_stored;
        if only_waits {
            let (by, now) = (&self.run.ledger.lease, Millis::now());
            self.inventory_state(|state| state.stored.close(by, WriteOutcome::Nothing, 0, now));
        }
        if !is_due && (left_open.is_none() || only_waits) {
            return Ok(StreamOutcome::NotDue);
        }
        let at = self.inventory_state(|state| state.stored.open(Millis::now(), &self.run.ledger.lease));
        self.commit().await?;
        let opened_at = Millis::now();
        let packed = if is_stored {
            Packer::new(&self.run.settings.packing).finish()
        } else {
            health::pack(self.run.settings, self.run.api, &self.caller(), at).await?
        };
        self.store_findings(at, opened_at, packed).await?;
        Ok(StreamOutcome::Complete)
    }

    /// Whether a run that died has stored the reading that it left open.
    async fn is_stored(&self, at: Millis) -> Result<bool, Error> {
        let stored = self.run.records.stored_at(self.stream, at, 0, self.run.times.store_until).await?;
        Ok(!stored.is_empty())
    }

    async fn store_findings(&self, at: Millis, opened_at: Millis, packed: Packed) -> Result<(), Error> {
        self.run.ledger.check_lease()?;
        let until = self.run.times.store_until;
        let placed = self.run.records.once_at(self.stream, at, packed, Form::Ndjson, until).await?;
        self.tally.add(placed.as_slice());
        let outcome = if placed.is_some() { WriteOutcome::Written } else { WriteOutcome::Nothing };
        let objects: Vec<_> = placed.into_iter().map(|placed| placed.object).collect();
        let done = ReadingEntry {
            rows: objects.iter().map(|object| object.records).sum(),
            objects,
            ..ReadingEntry::of_instant(self.stream, at, opened_at)
        };
        self.note(done, |checkpoint| {
            let state = checkpoint.inventory(self.stream);
            state.stored.close(&self.run.ledger.lease, outcome, 0, Millis::now());
            state.covered_to = Some(at);
        });
        Ok(())
    }
}
