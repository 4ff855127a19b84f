//! Reads one slice of a sweep: all records that began in it, as many as the API counts. A slice that fails is cut,
//! until all is read but the seconds that fail.

use std::collections::HashSet;

use chrono::TimeDelta;
use serde_json::Value;

use super::super::Collector;
use super::sweep::{Changed, Slice, SliceAnswer, SweepReading};
use super::{OBJECT_BYTES, Share};
use crate::collect::compared::{Record, Snapshot};
use crate::collect::error::Error;
use crate::collect::unreadable::UnreadableRows;
use crate::core::checkpoint::{Sweep, Tier};
use crate::core::intervals::Span;
use crate::core::ndjson::{self, Fingerprint};
use crate::core::schedule::Tries;
use crate::core::time::{DAY, MINUTE, Millis, SECOND};
use crate::incydr::facts::Rescanned;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

/// A slice with more rows is cut, unless it has the shortest length.
const MOST_ROWS: u64 = 1_000;
const SHORTEST: TimeDelta = MINUTE;
const TRIES: u32 = 3;
/// The search for the readable parts of failed slices may make this many requests more than the sweeps.
const SEARCH_REQUESTS: u64 = 600;

/// A slice has two lists. Each takes at most one of this many parts of a run, so that others are read even if neither
/// is answered.
const PARTS_OF_RUN: i32 = 4;

impl Collector<'_> {
    /// Reads the next slice of a sweep, up to the next stuck span. Passes over a stuck one.
    pub(super) async fn read_slice(
        &self,
        facts: &'static Rescanned,
        sweep: &Sweep,
        reading: &mut SweepReading,
    ) -> Result<Slice, Error> {
        let stuck = reading.search.stuck_after(sweep.done_to);
        let end = stuck.map_or(sweep.to, |stuck| stuck.from.min(sweep.to));
        let mut length = sweep.slice;
        loop {
            let Some(slice) = Span::new(sweep.done_to, end.min(sweep.done_to + length)) else {
                let to = stuck.map_or(sweep.to, |stuck| stuck.to.min(sweep.to));
                return Ok(Slice { to, next: length });
            };
            if sweep.tier == Tier::Fresh {
                reading.search.end = Some(sweep.to);
            }

            let asked = asked(slice, reading.search.end);
            length = slice.length();
            let tries = if reading.search.has_failed() { Tries::Once } else { Tries::ByPolicy };
            let caller = self.patient(tries, PARTS_OF_RUN, 0);
            let before = self.requests();
            let read = self.read_both_lists(facts, asked, length > SHORTEST, &caller, reading).await;
            let has_several_pages = self.requests() - before > facts.views.1.len() as u64;
            if has_several_pages && read.as_ref().is_err_and(Error::is_out_of_time) {
                // The next run begins with a smaller slice.
                if let Some(sweep) = reading.swept.sweeps.first_mut() {
                    sweep.slice = (length / 2).max(SHORTEST);
                }
            }

            match read? {
                SliceAnswer::Rows(rows) => {
                    reading.search.note_answer(slice);
                    let next = if rows < MOST_ROWS / 2 { length.max(SHORTEST) * 2 } else { length };
                    return Ok(Slice { to: slice.to, next });
                }
                SliceAnswer::TooMany => length = (length / 2).max(SHORTEST),
                SliceAnswer::Failed { error, is_half_answered } => {
                    reading.fail_slice(slice, sweep.tier, error, is_half_answered);
                    return Ok(Slice { to: slice.to, next: sweep.slice });
                }
            }
        }
    }

    /// Reads what can be read of the slices that failed, in this run and in earlier ones. Returns whether more is left
    /// than this snapshot has room for.
    pub(super) async fn search(
        &self,
        facts: &'static Rescanned,
        reading: &mut SweepReading,
        share: &Share,
    ) -> Result<bool, Error> {
        while let Some(span) = reading.search.next(Millis::now()) {
            let is_over = self.requests() >= share.requests + SEARCH_REQUESTS || Millis::now() >= share.until;
            if is_over || reading.search.is_api_failing() {
                break;
            }
            if reading.snapshot.bytes() >= OBJECT_BYTES {
                return Ok(true);
            }

            let may_be_cut = span.length() > SHORTEST;
            let asked = asked(span, reading.search.end);
            let caller = self.patient(Tries::Once, PARTS_OF_RUN, self.attempts(span));
            let answer = self.read_both_lists(facts, asked, may_be_cut, &caller, reading).await?;
            let is_whole = reading.take_whole();
            match answer {
                SliceAnswer::Rows(_) if is_whole => reading.search.note_answer(span),
                SliceAnswer::Rows(_) => reading.search.note_lacking(span),
                SliceAnswer::TooMany => reading.search.note_too_many(span, Millis::now()),
                SliceAnswer::Failed { error, .. } => {
                    reading.search.note_failure(span, error.info_for_one(), Millis::now());
                }
            }
        }
        Ok(false)
    }

    /// Reads the lists of a slice, such as sessions with and without alerts. If one of them fails, the other one is
    /// read all the same.
    async fn read_both_lists(
        &self,
        facts: &'static Rescanned,
        asked: Span,
        may_be_cut: bool,
        caller: &Caller<'_>,
        reading: &mut SweepReading,
    ) -> Result<SliceAnswer, Error> {
        let (mut rows, mut failed, mut has_answered) = (0, None, false);
        reading.shown_by_another.clear();
        for value in facts.views.1 {
            let mut query = vec![(facts.views.0.to_owned(), (*value).to_owned())];
            for (name, at) in [(facts.bounds.0, asked.from), (facts.bounds.1, asked.to)] {
                query.push((name.to_owned(), at.0.to_string()));
            }
            match self.read_view(facts, asked, &query, may_be_cut, caller, reading).await? {
                SliceAnswer::Rows(count) => (rows, has_answered) = (rows + count, true),
                SliceAnswer::TooMany => return Ok(SliceAnswer::TooMany),
                SliceAnswer::Failed { error, .. } => failed = failed.or(Some(error)),
            }
        }
        Ok(match failed {
            Some(error) => SliceAnswer::Failed { error, is_half_answered: has_answered },
            None => SliceAnswer::Rows(rows),
        })
    }

    /// Reads a list until it has as many ids as the API counts. A list that is sorted by something that changes may
    /// return rows twice and others not at all, until it is read again.
    async fn read_view(
        &self,
        facts: &'static Rescanned,
        asked: Span,
        query: &[(String, String)],
        may_be_cut: bool,
        caller: &Caller<'_>,
        reading: &mut SweepReading,
    ) -> Result<SliceAnswer, Error> {
        let size = self.page_size(&facts.list);
        let mut shown = ShownRows::default();
        for attempt in 1..=TRIES {
            if attempt > 1 {
                shown.unreadable_rows.begin_again();
            }
            let mut listing = Listing::new(self.run.api, &facts.list, size, query.to_vec(), Value::Null);
            let (mut failed, mut has_answered) = (None, false);
            loop {
                let rows = match self.next_rows(&mut listing, caller).await {
                    Ok(Some(rows)) => rows,
                    Ok(None) => break,
                    Err(error) if error.may_be_local_or_refused() => {
                        failed = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                };

                if may_be_cut && listing.total().is_some_and(|total| total > MOST_ROWS) {
                    return Ok(SliceAnswer::TooMany);
                }
                has_answered = true;
                self.take_page(facts, rows, asked, listing.total(), &mut shown, reading).await?;
            }

            let passed_over = listing.failure().cloned().map(Error::IncompleteList);
            if let Some(error) = passed_over.or(failed) {
                if has_answered {
                    reading.search.note_api_works();
                }
                return Ok(SliceAnswer::Failed { error, is_half_answered: false });
            }

            shown.total = listing.total().unwrap_or(0);
            // If the list has more rows than its total, the total is wrong.
            let unreadable =
                if attempt == TRIES { shown.unreadable_rows.count_after_all() } else { shown.unreadable_rows.count() };
            let rows = shown.ids.len() as u64 + unreadable;
            if rows >= shown.total {
                reading.rows += rows;
                reading.unreadable += unreadable;
                reading.total += shown.total;
                reading.shown_by_another.extend(shown.ids);
                return Ok(SliceAnswer::Rows(rows));
            }
        }

        reading.rows += shown.ids.len() as u64;
        reading.total += shown.total;
        reading.fail(Error::Inconsistent(format!(
            "{} {} were read and the API counts {}, after {TRIES} tries; new and changed records are stored, and the rest is read again",
            shown.ids.len(),
            self.stream,
            shown.total
        )));
        Ok(SliceAnswer::Rows(shown.total))
    }

    /// Takes the new and changed records of a page, with their lists.
    async fn take_page(
        &self,
        facts: &'static Rescanned,
        rows: Vec<ListRow>,
        asked: Span,
        total: Option<u64>,
        shown: &mut ShownRows,
        reading: &mut SweepReading,
    ) -> Result<(), Error> {
        let (before, unreadable) = (reading.rows, reading.unreadable + shown.unreadable_rows.in_this_try());
        let drift = self.note_drift(&rows, unreadable, before + shown.count(), total.map(|total| before + total));
        if let Some(drift) = &drift {
            reading.fail(drift.error(self.stream.name()));
        }

        shown.unreadable_rows.begin_page();
        let mut changed: Vec<Changed> = Vec::new();
        for row in rows {
            match row {
                // One record, of which the two lists may show different states for ever.
                ListRow::Record { id, .. } if reading.shown_by_another.contains(&id) => {
                    shown.ids.insert(id);
                }
                ListRow::Record { line, id } => {
                    let record = self.changed(facts, &id, line, asked, &mut reading.snapshot);
                    changed.extend(record.filter(|record| !changed.iter().any(|other| other.is_same(record))));
                    shown.ids.insert(id);
                }
                ListRow::Unreadable { bytes, why } => {
                    if shown.unreadable_rows.note(&bytes) && drift.is_none() {
                        reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                    }
                }
            }
        }

        if let Some(sublist) = &facts.sublist {
            return self.read_sublists(sublist, changed, reading).await;
        }
        for Changed { id, line, began, .. } in &changed {
            reading.snapshot.take(&Record { key: id, line, began: Some(*began), is_index: false });
        }
        Ok(())
    }

    /// Returns the record if it is new or changed. Records outside of the requested span are compared too: the server
    /// may filter by another time or not at all, or their beginning may not be a time. They stay known while they are
    /// shown.
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

/// The rows that one list of a slice has shown, in all its tries.
#[derive(Default)]
struct ShownRows {
    ids: HashSet<String>,
    unreadable_rows: UnreadableRows,
    total: u64,
}

impl ShownRows {
    fn count(&self) -> u64 {
        self.ids.len() as u64 + self.unreadable_rows.count()
    }
}

/// A slice with the margins that the server's filter may need. The youngest slice, at the `end`, is asked for up to a
/// day from now. The API's clock may be ahead of ours, and then the newest records begin after `to`.
fn asked(slice: Span, end: Option<Millis>) -> Span {
    let beyond = if Some(slice.to) == end { DAY } else { SECOND };
    Span { from: slice.from - SECOND, to: slice.to + beyond }
}

impl Changed {
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.id == other.id
    }
}
