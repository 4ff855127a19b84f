//! Collects findings: one object per day. If a run that died has stored a day's findings, they are that day's reading.
//! They aren't derived again, because some findings contain how many days they have lasted.

use super::inventory::EARLY;
use super::{Collector, StreamOutcome};
use crate::bucket::records::Form;
use crate::collect::error::Error;
use crate::collect::health;
use crate::collect::health::known_ends::{KnownEnds, known_ends};
use crate::core::checkpoint::{Checkpoint, WriteOutcome};
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson::{Packed, Packer};
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::facts::Findings;

/// The reading that an earlier run left open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeftOpen {
    Nothing,
    /// A day without findings, so nothing was stored. It is open because a write of a run that died may still arrive.
    WithoutFindings,
    /// A run that died may have stored the day's findings: `is_stored`.
    Unfinished {
        is_stored: bool,
    },
}

impl Collector<'_> {
    pub(super) async fn findings(&self, facts: &'static Findings) -> Result<StreamOutcome, Error> {
        let covered_to = self.inventory_state(|state| state.covered_to);
        let is_due = covered_to.is_none_or(|at| Millis::now() >= at + facts.every - EARLY);
        let left_open = self.left_open().await?;
        if left_open == LeftOpen::WithoutFindings {
            let (by, now) = (&self.run.ledger.lease, Millis::now());
            self.inventory_state(|state| state.stored.close(by, WriteOutcome::Nothing, 0, now));
        }
        if !is_due && !matches!(left_open, LeftOpen::Unfinished { .. }) {
            return Ok(StreamOutcome::NotDue);
        }
        let at = self.inventory_state(|state| state.stored.open(Millis::now(), &self.run.ledger.lease));
        self.commit().await?;
        let opened_at = Millis::now();
        let packed = if left_open == (LeftOpen::Unfinished { is_stored: true }) {
            Packer::new(&self.run.settings.packing).finish()
        } else {
            let known = self.known_ends().await;
            health::pack(self.run.settings, self.run.api, &self.caller(), at, &known).await?
        };
        self.store_findings(at, opened_at, packed).await?;
        Ok(StreamOutcome::Complete)
    }

    /// The end dates that `actor_profiles` has read so far.
    async fn known_ends(&self) -> KnownEnds {
        let of_profiles = |checkpoint: &Checkpoint| checkpoint.inventory.get(&Stream::ActorProfiles).cloned();
        let Some(state) = self.run.ledger.read(of_profiles) else { return KnownEnds::default() };
        known_ends(self.run.settings, self.run.state, &state, self.run.times.read_until).await
    }

    async fn left_open(&self) -> Result<LeftOpen, Error> {
        let (open, covered_to) = self.inventory_state(|state| (state.stored.open, state.covered_to));
        let Some(at) = open else { return Ok(LeftOpen::Nothing) };
        let stored = self.run.records.stored_at(self.stream, at, 0, self.run.times.store_until).await?;
        let is_stored = !stored.is_empty();
        let is_covered = covered_to >= open;
        Ok(if is_covered && !is_stored { LeftOpen::WithoutFindings } else { LeftOpen::Unfinished { is_stored } })
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
