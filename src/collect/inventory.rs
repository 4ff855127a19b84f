//! Inventory: read whole, compared with what is known, and only what is new, changed or gone is stored. A reading
//! that doesn't fit a run goes on where it stopped in the next one, and is compared as a whole at its end.

mod key;
mod list;

use futures::future::join_all;

use self::key::{Member, key_of, with_member};
use self::list::{Begun, FETCHES_AT_ONCE, Shown, Whole};
use super::{Applied, Collector, Outcome};
use crate::collect::error::Error;
use crate::core::checkpoint::{InventoryState, Pass};
use crate::core::known::Known;
use crate::core::manifest::ReadingEntry as Entry;
use crate::core::ndjson::{Fingerprint, Packer};
use crate::core::time::{Millis, SECOND};
use crate::incydr::facts::{Inventory, Part};

/// A schedule doesn't tick to the millisecond: so much early is not too early, and no more than a twentieth.
pub(super) const EARLY: i64 = 30 * SECOND;
/// Where more than one in so many would be gone at once, it is the list that is wrong; but one alone may go.
const ONE_IN: usize = 5;
/// After so many lists in a row that failed it is the API that fails, not a list.
const FAILURES_IN_A_ROW: u32 = 3;

/// A reading under way.
struct Reading {
    at: Millis,
    pass: Pass,
    known: Known,
    /// On the pages so far, this run's and those of the runs before it.
    seen: Known,
    /// New or changed.
    packer: Packer,
    opened_at: Millis,
    /// What a run that died stored under the same key.
    before: Applied,
    set_aside: Vec<String>,
    /// A list that failed, and was passed over.
    failed: Option<Error>,
}

impl Collector<'_> {
    pub(super) async fn inventory(&self, facts: &'static Inventory) -> Result<Outcome, Error> {
        let state = self.inventory_state(|state| state.clone());
        if !facts.in_every_run && !self.is_due(&state) {
            return Ok(Outcome::NotDue);
        }
        let mut reading = self.open_reading(facts, &state).await?;
        match self.read_parts(facts, &mut reading).await {
            Ok(()) => self.close(facts, reading).await,
            Err(error) => {
                if !error.is_out_of_time() && reading.pass.parent.is_none() {
                    reading.pass.page = 0;
                    reading.pass.part = 0;
                }
                self.suspend(reading).await?;
                Err(error)
            }
        }
    }

    /// The stream's part of the checkpoint.
    pub(super) fn inventory_state<T>(&self, change: impl FnOnce(&mut InventoryState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.inventory(self.stream)))
    }

    fn is_due(&self, state: &InventoryState) -> bool {
        let interval = self.run.settings.inventory_interval;
        let early = EARLY.min(interval / 20);
        let fresh = state.covered_to.is_some_and(|at| Millis::now() < at + interval - early);
        !fresh || state.pass.is_some() || state.stored.open.is_some()
    }

    /// Opens the reading, or goes on with one that was cut off or whose run died.
    async fn open_reading(&self, facts: &'static Inventory, state: &InventoryState) -> Result<Reading, Error> {
        let pass = state.pass.clone().unwrap_or_else(|| Pass::new(self.run.api.now()));
        let mut known = self.load_known(state.stored.known.as_ref()).await?;
        let mut seen = self.load_known(pass.seen.as_ref()).await?;
        let apply = |key: &str, line: &str| {
            known.apply(key, line);
            // That run saw it later.
            if seen.has_id(key) {
                seen.apply(key, line);
            }
        };
        let before = self.apply_stored(&state.stored, |line| key_of(facts, line), apply).await?;
        let at = self.inventory_state(|state| {
            state.pass = Some(pass.clone());
            state.stored.open(Millis::now(), &self.run.ledger.lease)
        });
        self.commit().await?;
        let packer = Packer::new(&self.run.settings.packing);
        let (opened_at, set_aside) = (Millis::now(), Vec::new());
        Ok(Reading { at, pass, known, seen, packer, opened_at, before, set_aside, failed: None })
    }

    /// The lists that stand by themselves, and those that each record of the first one has.
    async fn read_parts(&self, facts: &'static Inventory, reading: &mut Reading) -> Result<(), Error> {
        while let Some(part) = facts.parts.get(reading.pass.part) {
            if part.parent.is_some() {
                self.read_of_each(facts, part, reading).await?;
            } else {
                let mut begun = Begun { listing: self.listing(part, None), first: None };
                let mut shown = Shown::default();
                if reading.pass.page > 0 {
                    shown = Shown::before(reading, facts, part);
                    let rows = shown.ids.len() as u64 + shown.set_aside;
                    begun.listing = begun.listing.from_page(reading.pass.page, rows);
                }
                let whole = self.read_list(facts, (part, None), begun, shown, reading).await?;
                reading.note(&whole);
            }
            reading.pass.next_part();
        }
        Ok(())
    }

    /// One record's list after another's; the first pages of a few are asked for at once. All of these are there before
    /// the first of them is read on: a request that nobody polls might hold the token that the next page waits for. A
    /// list that fails holds up no other.
    async fn read_of_each(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let mut parents: Vec<String> = reading.ids_of(facts, &facts.parts[0]).collect();
        parents.sort_unstable();
        if let Some(last) = &reading.pass.parent {
            parents.retain(|parent| parent > last);
        }
        let mut failures = 0;
        for some in parents.chunks(FETCHES_AT_ONCE) {
            let begun = join_all(some.iter().map(|parent| async move {
                let mut listing = self.listing(part, Some(parent));
                let first = Some(listing.rows(&self.caller()).await);
                (parent, Begun { listing, first })
            }));
            for (parent, begun) in begun.await {
                match self.read_list(facts, (part, Some(parent)), begun, Shown::default(), reading).await {
                    Ok(whole) => {
                        failures = 0;
                        reading.note(&whole);
                    }
                    Err(error) if error.may_be_local() => {
                        failures += 1;
                        (reading.pass.is_partial, reading.pass.lacks) = (true, true);
                        if failures >= FAILURES_IN_A_ROW {
                            return Err(error);
                        }
                        reading.failed.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
                reading.pass.parent = Some(parent.clone());
            }
        }
        Ok(())
    }

    /// The reading is at its end. Where it is whole, what it didn't see is missed, and what was missed twice is gone.
    async fn close(&self, facts: &'static Inventory, mut reading: Reading) -> Result<Outcome, Error> {
        let mut refused = reading.failed.take();
        let (known, seen) = (std::mem::take(&mut reading.known), std::mem::take(&mut reading.seen));
        let is_whole = !reading.pass.is_partial && facts.tells_deleted;
        let next = if is_whole {
            let (mut next, gone) = known.after_whole_reading(seen);
            if gone.len() > 1 && gone.len() * ONE_IN > known.count() {
                refused = Some(Error::Totals(format!(
                    "{} of {} known {} would be gone at once, so nobody is taken for deleted; what is new or changed is stored",
                    gone.len(),
                    known.count(),
                    self.stream
                )));
            } else {
                for key in gone {
                    let told =
                        |member: Member<'_>| (!member.part.is_index).then(|| member.tombstone(facts, reading.at));
                    if let Some(line) = with_member(facts, &key, told).flatten() {
                        reading.packer.push(&line);
                    }
                    next.remove(&key);
                }
            }
            next
        } else {
            known.updated_with(seen)
        };
        // The list that failed may have done so in a run before this one.
        let covered_to = (refused.is_none() && !reading.pass.lacks).then_some(reading.pass.began);
        let (rows, total) = (reading.pass.rows, reading.pass.counted);
        self.store_and_close(reading, &next, None, (rows, total), covered_to).await?;
        refused.map_or(Ok(Outcome::Complete), Err)
    }

    /// The reading is not at its end: what is new or changed is stored, and the next run goes on, or begins again.
    async fn suspend(&self, mut reading: Reading) -> Result<(), Error> {
        let (known, seen) = (std::mem::take(&mut reading.known), std::mem::take(&mut reading.seen));
        let rows = (seen.count() as u64 + reading.pass.set_aside, None);
        if reading.pass.is_at_beginning() {
            let known = known.updated_with(seen);
            return self.store_and_close(reading, &known, None, rows, None).await;
        }
        let seen = self.store_known(&seen, reading.pass.seen.as_ref()).await?;
        let pass = Pass { seen, ..reading.pass.clone() };
        self.store_and_close(reading, &known, Some(pass), rows, None).await
    }

    /// `pass` is where the next run goes on. `total` is the API's, of a reading that is whole.
    async fn store_and_close(
        &self,
        reading: Reading,
        known: &Known,
        pass: Option<Pass>,
        (rows, total): (u64, Option<u64>),
        covered_to: Option<Millis>,
    ) -> Result<(), Error> {
        let applied = reading.before.count;
        let (objects, met) = self.store_at(reading.at, reading.packer.finish(), reading.before).await?;
        let before = self.inventory_state(|state| state.stored.known.clone());
        let after = self.store_known(known, before.as_ref()).await?;
        let done = Entry {
            rows,
            total,
            set_aside: reading.set_aside,
            objects,
            ..Entry::of_instant(self.stream, reading.at, reading.opened_at)
        };
        self.note(done, |checkpoint| {
            let state = checkpoint.inventory(self.stream);
            state.stored.known = after;
            state.stored.close(&self.run.ledger.lease, met, applied, Millis::now());
            state.pass = pass;
            state.covered_to = covered_to.or(state.covered_to);
        });
        Ok(())
    }
}

impl Reading {
    fn note(&mut self, whole: &Whole) {
        self.pass.rows += whole.rows;
        self.pass.counted = self.pass.counted.zip(whole.total).map(|(sum, total)| sum + total);
        self.pass.is_partial |= !whole.is_exact;
    }

    /// A record, as it is stored.
    fn take(&mut self, key: &str, line: &str, is_index: bool) {
        let fingerprint = Fingerprint::of(line.as_bytes());
        if !is_index && !self.known.has(key, fingerprint) && !self.seen.has(key, fingerprint) {
            self.packer.push(line);
        }
        self.seen.add(key, fingerprint);
    }

    fn knows(&self, key: &str) -> bool {
        self.known.has_id(key) || self.seen.has_id(key)
    }

    /// A record that never changes is still there.
    fn keep(&mut self, key: &str) {
        self.seen.keep(key, &self.known);
    }

    /// The ids on a list that stands by itself, as far as it was read.
    fn ids_of(&self, facts: &'static Inventory, part: &Part) -> impl Iterator<Item = String> {
        self.seen.ids().filter_map(move |key| {
            let id = |member: Member<'_>| std::ptr::eq(member.part, part).then(|| member.id.to_owned());
            with_member(facts, key, id).flatten()
        })
    }
}
