//! Inventory: read whole, compared with what is known, and only what is new, changed or gone is stored. A reading
//! that doesn't fit a run goes on from its page in the next one, and is compared as a whole at its end.

use std::collections::HashSet;

use serde_json::Value;

use super::{Applied, Collector, Outcome};
use crate::api::{ListRow, Listing};
use crate::checkpoint::{InventoryState, Pass};
use crate::error::Error;
use crate::known::{Known, tombstone};
use crate::manifest::Entry;
use crate::ndjson::{Fingerprint, Packer};
use crate::stream::Inventory;
use crate::time::{Millis, SECOND};

const TRIES: u32 = 3;
/// A schedule doesn't tick to the millisecond: so much early is not too early, and no more than a twentieth.
const EARLY: i64 = 30 * SECOND;
/// Where more than one in so many would be gone at once, it is the list that is wrong.
const ONE_IN: usize = 5;

/// A reading under way.
struct Reading {
    at: Millis,
    pass: Pass,
    known: Known,
    /// On the pages so far, this run's and those of the runs before it.
    seen: Known,
    /// The same in this try alone.
    ids: HashSet<String>,
    /// This run's records in this try, and rows set aside: what differs from all others.
    distinct: HashSet<Fingerprint>,
    /// New or changed.
    packer: Packer,
    opened_at: Millis,
    /// What a run that died stored under the same key.
    before: Applied,
    set_aside: Vec<String>,
}

impl Collector<'_> {
    pub(super) async fn inventory(&self, facts: &'static Inventory) -> Result<Outcome, Error> {
        let state = self.inventory_state(|state| state.clone());
        if !self.is_due(&state) {
            return Ok(Outcome::NotDue);
        }
        let mut reading = self.open_reading(facts, &state).await?;
        let mut failed = None;
        for attempt in 1..=TRIES {
            match self.read_pages(facts, &mut reading).await {
                Ok(total) => {
                    let ids = reading.ids.len() as u64;
                    // Several records under one id may be two states of it that the paging showed, and then another
                    // is hidden; where they are still there in the last reading, they are the API's own.
                    let are_all = ids + reading.pass.set_aside == total
                        || attempt == TRIES && reading.distinct.len() as u64 == total;
                    if are_all {
                        // A record that was set aside, or is hidden, could be any of those that are missing.
                        return self.close(facts, reading, total).await;
                    }
                    let message = format!(
                        "{ids} {} were read and the API counts {total}, after {attempt} readings; what is new or changed is stored, nobody is taken for deleted, and the next run reads them again",
                        self.stream
                    );
                    failed = Some(Error::Totals(message));
                    reading.start_over();
                }
                Err(error) if error.is_out_of_time() => {
                    failed = Some(error);
                    break;
                }
                Err(error) => {
                    failed = Some(error);
                    reading.pass.page = 0;
                    break;
                }
            }
        }
        self.suspend(reading).await?;
        failed.map_or(Ok(Outcome::Complete), Err)
    }

    /// The stream's part of the checkpoint.
    fn inventory_state<T>(&self, change: impl FnOnce(&mut InventoryState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.inventory(self.stream)))
    }

    fn is_due(&self, state: &InventoryState) -> bool {
        let interval = self.run.settings.inventory_interval;
        let early = EARLY.min(interval / 20);
        let fresh = state.covered_to.is_some_and(|at| Millis::now() < at + interval - early);
        !fresh || state.pass.is_some() || state.stored.open.is_some()
    }

    /// Opens the reading, or goes on with one that was cut off or whose run died.
    async fn open_reading(&self, facts: &Inventory, state: &InventoryState) -> Result<Reading, Error> {
        let mut known = self.load_known(state.stored.known.as_ref()).await?;
        let before = self.apply_stored(facts.id(), &state.stored, &mut known).await?;
        let pass =
            state.pass.clone().unwrap_or_else(|| Pass { began: self.run.api.now(), page: 0, seen: None, set_aside: 0 });
        let seen = self.load_known(pass.seen.as_ref()).await?;
        let at = self.inventory_state(|state| {
            state.pass = Some(pass.clone());
            state.stored.open(Millis::now(), &self.run.ledger.lease)
        });
        self.commit().await?;
        let ids = seen.ids().map(str::to_owned).collect();
        let packer = Packer::new(self.run.settings.gzip_level);
        Ok(Reading {
            at,
            pass,
            known,
            seen,
            ids,
            distinct: HashSet::new(),
            packer,
            opened_at: Millis::now(),
            before,
            set_aside: Vec::new(),
        })
    }

    /// Reads on to the last page; answers the API's total.
    async fn read_pages(&self, facts: &'static Inventory, reading: &mut Reading) -> Result<u64, Error> {
        let size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let mut listing = Listing::new(self.run.api, &facts.list, size, Vec::new(), Value::Null);
        if reading.pass.page > 0 {
            listing = listing.from_page(reading.pass.page, reading.ids.len() as u64 + reading.pass.set_aside);
        }
        while let Some(rows) = listing.rows(&self.caller()).await? {
            let before = (reading.ids.len(), reading.pass.set_aside);
            self.take(rows, reading).await?;
            reading.pass.page = listing.next_page().unwrap_or(reading.pass.page);
            if before == (reading.ids.len(), reading.pass.set_aside) {
                // A page that shows only what was there before: the total tells whether that is all.
                break;
            }
        }
        Ok(listing.total().unwrap_or(0))
    }

    async fn take(&self, rows: Vec<ListRow>, reading: &mut Reading) -> Result<(), Error> {
        for row in rows {
            let (line, id) = match row {
                ListRow::Record { line, id } => (line, id),
                ListRow::Unreadable { bytes, why } => {
                    if reading.distinct.insert(Fingerprint::of(&bytes)) {
                        reading.set_aside.push(self.set_aside(&bytes, &why).await?);
                        reading.pass.set_aside += 1;
                    }
                    continue;
                }
            };
            let fingerprint = Fingerprint::of(line.as_bytes());
            if !reading.known.has(&id, fingerprint) && !reading.seen.has(&id, fingerprint) {
                reading.packer.push(&line);
            }
            reading.seen.add(&id, fingerprint);
            reading.distinct.insert(fingerprint);
            reading.ids.insert(id);
        }
        Ok(())
    }

    /// The reading is whole: what it didn't see is missed, and what was missed twice is gone.
    async fn close(&self, facts: &Inventory, mut reading: Reading, total: u64) -> Result<Outcome, Error> {
        let mut refused = None;
        let (known, seen) = (std::mem::take(&mut reading.known), std::mem::take(&mut reading.seen));
        let next = if reading.ids.len() as u64 == total {
            let (mut next, gone) = known.after_whole_reading(seen);
            if gone.len() * ONE_IN > known.count() {
                refused = Some(Error::Totals(format!(
                    "{} of {} known {} would be gone at once, so nobody is taken for deleted; what is new or changed is stored",
                    gone.len(),
                    known.count(),
                    self.stream
                )));
            } else {
                for id in gone {
                    reading.packer.push(&tombstone(facts.id(), &id, reading.at));
                    next.remove(&id);
                }
            }
            next
        } else {
            known.updated_with(seen)
        };
        let covered_to = refused.is_none().then_some(reading.pass.began);
        self.store_and_close(reading, &next, None, Some(total), covered_to).await?;
        refused.map_or(Ok(Outcome::Complete), Err)
    }

    /// The reading is not whole: what is new or changed is stored, and the next run goes on, or begins again.
    async fn suspend(&self, mut reading: Reading) -> Result<(), Error> {
        let (known, seen) = (std::mem::take(&mut reading.known), std::mem::take(&mut reading.seen));
        if reading.pass.page == 0 {
            let known = known.updated_with(seen);
            return self.store_and_close(reading, &known, None, None, None).await;
        }
        let seen = self.store_known(&seen, reading.pass.seen.as_ref()).await?;
        let pass = Pass { seen, ..reading.pass.clone() };
        self.store_and_close(reading, &known, Some(pass), None, None).await
    }

    /// `total` is the API's, of a reading that is whole.
    async fn store_and_close(
        &self,
        reading: Reading,
        known: &Known,
        pass: Option<Pass>,
        total: Option<u64>,
        covered_to: Option<Millis>,
    ) -> Result<(), Error> {
        let by_id = reading.ids.len() as u64 + reading.pass.set_aside;
        let rows = total.filter(|total| *total == reading.distinct.len() as u64).unwrap_or(by_id);
        let applied = reading.before.count;
        let (objects, met) = self.store_at(reading.at, reading.packer.finish(), reading.before).await?;
        let before = self.inventory_state(|state| state.stored.known.clone());
        let after = self.store_known(known, before.as_ref()).await?;
        let done = Entry {
            stream: self.stream,
            window: None,
            at: Some(reading.at),
            request: Value::Null,
            opened_at: reading.opened_at,
            closed_at: Millis::now(),
            rows,
            total,
            set_aside: reading.set_aside,
            objects,
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
    /// From the first page again. What was seen stays seen, for it is stored.
    fn start_over(&mut self) {
        self.pass.page = 0;
        self.pass.set_aside = 0;
        self.ids.clear();
        self.distinct.clear();
    }
}
