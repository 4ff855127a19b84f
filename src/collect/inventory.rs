//! Collects inventory: reads it as a whole, compares it with the known records, and stores those that are new, changed
//! or deleted. A reading that doesn't fit a run continues in the next one and is compared at its end.

mod deletions;
mod gone;
mod key;
mod list;
mod of_each;
mod pass;
mod rows;
mod unjudged;
mod whole;

use self::deletions::Deletions;
use self::key::{Member, alone};
pub use self::key::{key_of, with_member};
use self::of_each::parents_due;
use self::pass::PassReading;
use self::unjudged::{Found, UnjudgedLists};
use super::compared::Counted;
use super::{Collector, StreamOutcome};
use crate::collect::error::Error;
use crate::core::checkpoint::{InventoryState, Pass};
use crate::core::round::Round;
use crate::core::shared::Shared;
use crate::core::stream::Class;
use crate::core::stuck::StuckItem;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Part};
use chrono::TimeDelta;

/// Tolerance for the schedule's jitter: 30 s, at most 5 % of the interval.
pub(super) const EARLY: TimeDelta = TimeDelta::seconds(30);
/// A list that disagreed with its total and then wasn't read to its end by this many runs changes faster than it is
/// read.
const MOST_RUNS: u32 = 5;

impl Collector<'_> {
    pub(super) async fn inventory(&self, facts: &'static Inventory) -> Result<StreamOutcome, Error> {
        let state = self.inventory_state(|state| state.clone());
        let due = self.due();
        let is_due = facts.in_every_run || self.is_due(&state) || due.contains(&alone(&facts.parts[0]));
        if !is_due && due.is_empty() {
            return Ok(StreamOutcome::NotDue);
        }

        let mut is_new = state.pass.is_none();
        let mut pass = state.pass.unwrap_or_else(|| Pass::new(Millis::now()));
        let seen = self.load_known(pass.seen.as_ref()).await?;
        if pass.seen.is_some() && seen.count() == 0 {
            // The records seen by earlier runs are lost, so the pass begins again.
            (pass, is_new) = (Pass::new(Millis::now()), true);
        }
        if is_due {
            self.inventory_state(|state| state.pass = Some(pass.clone()));
        }

        let stored = Shared::new(Vec::new());
        let key_of_stored = |line: &str| {
            let key = key_of(facts, line)?;
            stored.lock().push(key.clone());
            Some(key)
        };
        let snapshot = self.open_snapshot(Class::Inventory, None, Some(seen), key_of_stored).await?;
        let mut reading = PassReading::new(snapshot, pass, state.nameless);
        for key in stored.into_inner() {
            // A run that died stored this whole record. Its summary may have changed since, so the record is read
            // again.
            let whose = with_member(facts, &key, |member| member.part.every.and(member.parent).map(str::to_owned));
            if let Some(id) = whose.flatten() {
                reading.forget_request(&id);
            }
        }

        if !is_due {
            let read = self.read_stuck(facts, &due, &mut reading).await;
            Box::pin(self.close_unfinished(reading, None)).await?;
            return read.map(|()| StreamOutcome::Complete);
        }

        let read = Box::pin(self.read_parts(facts, &due, &mut reading)).await;
        // A warm container learns the API's clock from the run's first answer.
        let began = reading.pass.began;
        reading.pass.began = if is_new { self.run.api.at(began) } else { began.min(self.run.api.now()) };
        match read {
            Ok(()) => Box::pin(self.close_whole(facts, reading)).await,
            Err(error) => Box::pin(self.suspend(reading, error)).await,
        }
    }

    /// Changes the stream's state on the checkpoint.
    pub(super) fn inventory_state<T>(&self, change: impl FnOnce(&mut InventoryState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.inventory(self.stream)))
    }

    fn is_due(&self, state: &InventoryState) -> bool {
        let interval = self.run.settings.inventory_interval;
        let early = EARLY.min(interval / 20);
        let fresh = state.covered_to.is_some_and(|at| Millis::now() < at + interval - early);
        !fresh || state.pass.is_some() || state.stored.open.is_some() || state.accept_deletions > 0
    }

    /// Reads all lists: those that belong to no record, and those of each record of the first list.
    async fn read_parts(
        &self,
        facts: &'static Inventory,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let mut failed = None;
        if reading.pass.part == 0 {
            let records = &facts.parts[0];
            let read = self.read_list(facts, self.list_alone(facts, records, reading), reading).await;
            let shows_some = reading.ids_of(facts, records).next().is_some();
            match read {
                Ok(whole) => {
                    reading.note(&whole);
                    reading.judged.list_answered(records.name);
                }
                // Go on with the records that were shown. Nothing that is missing counts as deleted.
                Err(Error::IncompleteList(info)) if shows_some => {
                    reading.judged.list_failed(records.name, info);
                    reading.pass.is_partial = true;
                }
                Err(error) if error.may_be_local() && shows_some => {
                    failed = Some(error);
                    reading.pass.is_partial = true;
                }
                Err(error) => return Err(error),
            }
            reading.pass.next_part();
        }

        let read = self.read_further_parts(facts, due, reading).await;
        match failed {
            // The next run begins with the first list again.
            Some(failed) => {
                reading.pass.parent = None;
                Err(failed)
            }
            None => read,
        }
    }

    async fn read_further_parts(
        &self,
        facts: &'static Inventory,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        while let Some(part) = facts.parts.get(reading.pass.part) {
            if part.parent.is_none() {
                self.read_further(facts, part, due, reading).await?;
            } else if self.stuck(|stuck| stuck.get(&alone(part)).is_none()) {
                self.read_of_each(facts, part, reading).await?;
            }
            reading.pass.next_part();
        }

        let mut read = self.read_lists_due(facts, due, reading).await;
        if read.is_ok() {
            read = self.read_lists_stuck_for_all(facts, due, reading).await;
        }
        match read {
            // The stuck lists stay stuck. All other lists are read.
            Err(error) if error.is_out_of_time() && reading.pass.part == facts.parts.len() => Ok(()),
            read => read,
        }
    }

    /// Reads only the lists that are stuck and due.
    async fn read_stuck(
        &self,
        facts: &'static Inventory,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        for part in facts.parts.iter().skip(1) {
            if part.parent.is_some() {
                let mut round = self.stuck(|stuck| Round::new(Some(part.name), stuck, Millis::now()));
                round.add_due(parents_due(due, part).map(str::to_owned));
                self.read_lists(facts, part, &mut round, reading).await?;
            } else if due.contains(&alone(part)) {
                self.read_further(facts, part, due, reading).await?;
            }
        }
        Ok(())
    }

    /// Reads a list that belongs to no record, other than the first. If it fails, it is stuck, and the others are read.
    async fn read_further(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let is_stuck = self.stuck(|stuck| stuck.get(&alone(part)).is_some());
        if is_stuck && !due.contains(&alone(part)) {
            return Ok(());
        }
        match self.read_list(facts, self.list_alone(facts, part, reading), reading).await {
            Ok(whole) => {
                reading.note(&whole);
                reading.judged.list_answered(part.name);
            }
            Err(error) if error.may_be_local_or_refused() => {
                reading.judged.list_failed(part.name, error.info_for_one());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Closes a pass that was read to its end. If it is complete, records that it lacks count as missed, and records
    /// missed twice as deleted.
    async fn close_whole(&self, facts: &'static Inventory, mut reading: PassReading) -> Result<StreamOutcome, Error> {
        let (known, mut seen) = reading.take_compared();
        let mut stuck = self.stuck(|stuck| stuck.clone());
        reading.judged.apply_to(&mut stuck, Millis::now());
        let is_whole = !reading.pass.is_partial && facts.tells_deleted;
        let (accept, nameless) = self.inventory_state(|state| (state.accept_deletions, state.nameless.clone()));
        let found = Found::of(facts, &known, &seen, &nameless, &reading.pass.nameless);
        let mut unjudged = UnjudgedLists::of(&stuck);
        if accept == 0 {
            unjudged.add_nameless(&found);
        }
        let nameless = unjudged.nameless_after(&found);
        unjudged.hold_records(facts, &known, &mut seen, &reading.not_found);

        let mut refused = None;
        let next = if is_whole {
            let now = Millis::now();
            let (mut next, missing) = known.after_whole_reading(seen, now);
            let deletions = Deletions::of(facts, &known, &next, missing, now, accept > 0);
            refused = deletions.doubt_message(self.stream).map(Error::Inconsistent);
            for key in deletions.believed {
                let at = reading.snapshot.at;
                let told = |member: Member<'_>| (!member.part.is_index).then(|| member.tombstone(facts, at));
                if let Some(line) = with_member(facts, &key, told).flatten() {
                    reading.snapshot.push(&line);
                }
                next.remove(&key);
            }
            next
        } else {
            known.updated_with(seen)
        };

        let covered_to = (refused.is_none() && !reading.pass.passed_over_a_list).then_some(reading.pass.began);
        let (rows, total) = (reading.pass.rows, reading.pass.counted.filter(|_| !unjudged.is_any_stuck()));
        reading.snapshot.known = next;
        Box::pin(self.close(reading, None, Counted { rows, total }, covered_to)).await?;
        if is_whole {
            // Only a stored reading uses up one of those whose deletions a person accepted.
            self.inventory_state(|state| {
                (state.accept_deletions, state.nameless) = (accept.saturating_sub(1), nameless);
            });
        }
        // The stream is covered all the same: reading it again in the next run would show no more.
        let doubt = unjudged.doubt(self.stream).filter(|_| is_whole).map(Error::Inconsistent);
        refused.or(doubt).map_or(Ok(StreamOutcome::Complete), Err)
    }

    /// Closes a pass that was not read to its end. New and changed records are stored. The next run continues or begins
    /// again.
    async fn suspend(&self, mut reading: PassReading, error: Error) -> Result<StreamOutcome, Error> {
        let pass = &mut reading.pass;
        let mut told = None;
        if error.is_out_of_time() {
            pass.runs_since_restart = pass.runs_since_restart.map(|runs| runs + 1);
            told = pass.runs_since_restart.filter(|runs| *runs >= MOST_RUNS).map(|runs| {
                Error::Inconsistent(format!(
                    "the list of {} disagreed with the API's own total and was begun again, and none of the {runs} runs since has read it to its end: it changes faster than it is read; new and changed records are stored, and none counts as deleted",
                    self.stream
                ))
            });
            // The list goes on behind a page that failed, and its error is told all the same.
            told = told.or_else(|| pass.failed_page().cloned().map(Error::Noted));
        } else if pass.parent.is_none() {
            pass.part = 0;
            pass.begin_list();
        }
        let before = reading.pass.seen.clone();
        if reading.pass.is_at_beginning() {
            Box::pin(self.close_unfinished(reading, None)).await?;
        } else {
            let seen = std::mem::take(reading.seen());
            let (kept, seen) = self.store_known(seen, before.as_ref()).await?;
            *reading.seen() = kept;
            let pass = Pass { seen, ..reading.pass.clone() };
            Box::pin(self.close_unfinished(reading, Some(pass))).await?;
        }
        Err(told.unwrap_or(error))
    }

    /// Closes with `pass`, from which the next run continues. Without it the seen records become the known ones.
    async fn close_unfinished(&self, mut reading: PassReading, pass: Option<Pass>) -> Result<(), Error> {
        let (known, seen) = reading.take_compared();
        let rows = seen.count() as u64 + reading.pass.set_aside;
        reading.snapshot.known = if pass.is_some() { known } else { known.updated_with(seen) };
        Box::pin(self.close(reading, pass, Counted { rows, total: None }, None)).await
    }

    async fn close(
        &self,
        reading: PassReading,
        pass: Option<Pass>,
        counted: Counted,
        covered_to: Option<Millis>,
    ) -> Result<(), Error> {
        let PassReading { snapshot, judged, .. } = reading;
        self.close_snapshot(snapshot, counted, |checkpoint| {
            judged.apply_to(checkpoint.stuck(self.stream), Millis::now());
            let state = checkpoint.inventory(self.stream);
            state.pass = pass;
            state.covered_to = covered_to.or(state.covered_to);
        })
        .await?;
        Ok(())
    }
}
