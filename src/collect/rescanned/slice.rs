//! Reads one slice of a sweep: all records that began in it, as many as the API counts.

use std::collections::HashSet;

use chrono::TimeDelta;
use serde_json::Value;

use super::super::Collector;
use super::sweep::{Changed, Slice, SweepReading};
use crate::collect::compared::{Record, Snapshot};
use crate::collect::error::Error;
use crate::core::checkpoint::{Sweep, Tier};
use crate::core::intervals::Span;
use crate::core::ndjson::{self, Fingerprint};
use crate::core::time::{DAY, MINUTE, Millis, SECOND};
use crate::incydr::facts::Rescanned;
use crate::incydr::listing::{ListRow, Listing};

/// A slice with more rows is cut, unless it has the shortest length.
const MOST_ROWS: u64 = 1_000;
const SHORTEST: TimeDelta = MINUTE;
const TRIES: u32 = 3;

impl Collector<'_> {
    pub(super) async fn read_slice(
        &self,
        facts: &'static Rescanned,
        sweep: &Sweep,
        reading: &mut SweepReading,
    ) -> Result<Slice, Error> {
        let mut length = sweep.slice;
        loop {
            let to = sweep.to.min(sweep.done_to + length);
            let Some(mut asked) = Span::new(sweep.done_to - SECOND, to + SECOND) else {
                return Ok(Slice { to: sweep.to, next: length });
            };
            if sweep.tier == Tier::Fresh && to == sweep.to {
                // Asks for the time up to a day from now. Otherwise a wrong clock could hide records that have just
                // begun.
                asked.to = to + DAY;
            }
            length = to - sweep.done_to;
            let read = self.read_passes(facts, asked, length > SHORTEST, reading).await;
            if read.as_ref().is_err_and(Error::is_out_of_time) {
                // The next run begins with a smaller slice.
                if let Some(sweep) = reading.swept.sweeps.first_mut() {
                    sweep.slice = (length / 2).max(SHORTEST);
                }
            }
            match read? {
                Some(rows) => {
                    return Ok(Slice {
                        to,
                        next: if rows < MOST_ROWS / 2 { length.max(SHORTEST) * 2 } else { length },
                    });
                }
                None => length = (length / 2).max(SHORTEST),
            }
        }
    }

    /// Returns the number of rows. None if there are too many for one slice and it may be cut. If one of the lists fails,
    /// the other one is read all the same.
    async fn read_passes(
        &self,
        facts: &'static Rescanned,
        asked: Span,
        may_be_cut: bool,
        reading: &mut SweepReading,
    ) -> Result<Option<u64>, Error> {
        let (mut rows, mut failed, mut has_answered) = (0, None, false);
        for value in facts.passes.1 {
            let mut query = vec![(facts.passes.0.to_owned(), (*value).to_owned())];
            for (name, at) in [(facts.bounds.0, asked.from), (facts.bounds.1, asked.to)] {
                query.push((name.to_owned(), at.0.to_string()));
            }
            match self.read_pass(facts, asked, &query, may_be_cut, reading).await {
                Ok(Some(count)) => (rows, has_answered) = (rows + count, true),
                Ok(None) => return Ok(None),
                Err(error) if error.may_be_of_one() && failed.is_none() => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failed {
            Some(error) if !has_answered => return Err(error),
            Some(error) => reading.fail(error.of_one()),
            None => {}
        }
        Ok(Some(rows))
    }

    /// Reads a list until it has as many ids as the API counts. A list that is sorted by something that changes may
    /// return rows twice and others not at all, until it is read again.
    async fn read_pass(
        &self,
        facts: &'static Rescanned,
        asked: Span,
        query: &[(String, String)],
        may_be_cut: bool,
        reading: &mut SweepReading,
    ) -> Result<Option<u64>, Error> {
        let size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let (mut ids, mut odd) = (HashSet::new(), HashSet::new());
        let mut total = 0;
        for _ in 0..TRIES {
            let mut listing = Listing::new(self.run.api, &facts.list, size, query.to_vec(), Value::Null);
            let mut failed = None;
            while let Some(rows) = self.next_rows(&mut listing, &mut failed).await? {
                if may_be_cut && listing.total().is_some_and(|total| total > MOST_ROWS) {
                    return Ok(None);
                }
                let mut changed: Vec<Changed> = Vec::new();
                let (before, unreadable) = (reading.rows, reading.unreadable + odd.len() as u64);
                let shown = before + (ids.len() + odd.len()) as u64;
                let drift = self.drift(&rows, unreadable, shown, listing.total().map(|total| before + total));
                if let Some(drift) = &drift {
                    reading.fail(drift.error(self.stream.name()));
                }
                for row in rows {
                    match row {
                        ListRow::Record { line, id } => {
                            let record = self.changed(facts, &id, line, asked, &mut reading.snapshot);
                            changed.extend(record.filter(|record| !changed.iter().any(|other| other.is_same(record))));
                            ids.insert(id);
                        }
                        ListRow::Unreadable { bytes, why } => {
                            if odd.insert(Fingerprint::of(&bytes)) && drift.is_none() {
                                reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                            }
                        }
                    }
                }
                match &facts.sublist {
                    Some(sublist) => self.read_sublists(sublist, changed, reading).await?,
                    None => {
                        for Changed { id, line, began, .. } in &changed {
                            let began = Some(*began);
                            reading.snapshot.take(&Record { key: id, line, began, is_index: false });
                        }
                    }
                }
            }
            if let Some(error) = failed {
                reading.fail(error);
                reading.rows += ids.len() as u64;
                return Ok(Some(ids.len() as u64));
            }
            total = listing.total().unwrap_or(0);
            // If the list has more rows than its total, the total is wrong.
            let shown = (ids.len() + odd.len()) as u64;
            if shown >= total {
                reading.rows += shown;
                reading.unreadable += odd.len() as u64;
                reading.total += total;
                return Ok(Some(shown));
            }
        }
        reading.rows += ids.len() as u64;
        reading.total += total;
        reading.fail(Error::Totals(format!(
            "{} {} were read and the API counts {total}, after {TRIES} readings; new and changed records are stored, and the rest is read again",
            ids.len(),
            self.stream
        )));
        Ok(Some(total))
    }

    /// Returns the record if it is new or changed. A record outside of the request is compared too: the server may
    /// filter by something else or not at all, or its beginning may not be a time. Such a record is known for as long
    /// as it is shown.
    fn changed(
        &self,
        facts: &Rescanned,
        id: &str,
        line: String,
        asked: Span,
        snapshot: &mut Snapshot,
    ) -> Option<Changed> {
        let now = self.run.api.now();
        if snapshot.is_stored(id, &line) {
            let below = facts.sublist.as_ref().map(|_| format!("[{},", Value::from(id))).unwrap_or_default();
            snapshot.known.keep_from(id, &below, now - self.run.settings.rescan, now);
            return None;
        }
        let fingerprint = Fingerprint::of(line.as_bytes());
        let began = ndjson::field(&line, facts.begin).and_then(|text| text.parse().ok()).map(Millis);
        let began = began.filter(|began| asked.contains(*began)).unwrap_or(now);
        Some(Changed { id: id.to_owned(), line, fingerprint, began })
    }
}

impl Changed {
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.id == other.id
    }
}
