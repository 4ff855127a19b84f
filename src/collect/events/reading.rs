//! One try of one window. Packs its rows by hour while they arrive, and decides whether they agree with the API's
//! count.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono::TimeDelta;
use tokio::sync::OwnedMutexGuard;

use super::shown::Shown;
use super::torn::TornPages;
use crate::bucket::records::hours;
use crate::core::density::share;
use crate::core::drift::is_drifted;
use crate::core::intervals::Span;
use crate::core::ndjson::{Fingerprint, Packed, Packer, Packing, Row};
use crate::core::quote;
use crate::core::time::{HOUR, Millis, SECOND};
use crate::incydr::facts::{Events, Total};
use crate::incydr::listing::may_be_cap;
use crate::incydr::page::Rows;

/// A row may lie this far outside of the window, because the server's filters cut at whole seconds.
const NEAR: TimeDelta = TimeDelta::seconds(2);
/// A filter that cuts at minutes may show rows this far outside of the window; they belong to other windows. A row
/// farther off is set aside.
const FAR: TimeDelta = TimeDelta::seconds(90);

pub struct WindowTry {
    pub facts: &'static Events,
    window: Span,
    packing: Packing,
    /// The expected size of all its objects.
    bytes: u64,
    pub pages: u64,
    /// All rows, as the API counts them: including those in the margin and those set aside.
    pub rows: u64,
    /// Distinct rows.
    pub unique: u64,
    /// Rows whose time lies in the window.
    pub inside: u64,
    /// The API's count before and after the rows were read.
    pub total: u64,
    pub total_after: u64,
    /// Rows that can't be parsed or have a time outside of the request, each once, with the reason.
    pub set_aside: Vec<(Bytes, String)>,
    /// The number of such rows, with repetitions. `astray`: rows with a time outside of the request, set aside or not.
    unreadable: u64,
    astray: u64,
    /// The API's count shows that too many rows can't be read, whatever is still to come. None is kept to be set aside.
    is_refused: bool,
    by_hour: BTreeMap<Millis, Packer>,
    /// The bytes in `by_hour`, gzipped, and in `alike` and `set_aside`, and the limit for them.
    held: u64,
    most_held: u64,
    /// Set once the limit was exceeded. From then on rows are only counted, not kept.
    pub too_heavy: Option<TooHeavy>,
    /// The page on which each row was first seen.
    seen: HashMap<Fingerprint, u64>,
    /// Rows of the window that equal an earlier one. Empty if records have ids: then they are the same record.
    alike: Vec<(Millis, String)>,
    /// Whether equal rows are on different pages, as happens if pages shift or repeat.
    alike_across_pages: bool,
    /// A hash of all rows, independent of their order.
    digest: u128,
    /// The number of tries before this one that returned the same rows, in a row.
    same_before: u32,
    /// The hash of the rows for a later run's recount, if they are few.
    pub shown: Shown,
    torn: TornPages,
    /// The lock of the one window that may use 96 MB; released once it is stored.
    turn: Option<OwnedMutexGuard<()>>,
}

/// The point at which a try exceeded its limit.
#[derive(Clone, Copy, Debug)]
pub struct TooHeavy {
    pub rows: u64,
    /// The gzipped bytes.
    pub bytes: u64,
}

impl Rows for WindowTry {
    fn take(&mut self, row: Row<'_>) {
        let fingerprint = match &row {
            Row::Record { line, .. } => Fingerprint::quick(line.as_bytes()),
            Row::Unreadable { bytes, .. } => Fingerprint::quick(bytes),
        };
        if self.torn.note_row(fingerprint) {
            self.note(row, fingerprint);
        }
    }

    fn page_broken(&mut self) {
        self.torn.broken();
    }

    fn page_complete(&mut self) {
        self.torn.complete();
        self.pages += 1;
    }
}

impl WindowTry {
    /// `bytes` is the expected size of the objects, `most_held` the limit.
    pub fn new(facts: &'static Events, window: Span, packing: &Packing, bytes: u64, most_held: u64) -> Self {
        Self {
            facts,
            window,
            packing: packing.clone(),
            bytes,
            pages: 0,
            rows: 0,
            unique: 0,
            inside: 0,
            total: 0,
            total_after: 0,
            set_aside: Vec::new(),
            unreadable: 0,
            astray: 0,
            is_refused: false,
            by_hour: BTreeMap::new(),
            held: 0,
            most_held,
            too_heavy: None,
            seen: HashMap::new(),
            alike: Vec::new(),
            alike_across_pages: false,
            digest: 0,
            same_before: 0,
            shown: Shown::default(),
            torn: TornPages::default(),
            turn: None,
        }
    }

    /// Counts a row. Packs it if its time lies in the window, and keeps it to be set aside if it can't be read.
    fn note(&mut self, row: Row<'_>, fingerprint: Fingerprint) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(fingerprint.0);
        self.shown.add(&row);

        let (is_first, is_shifted) = match self.seen.entry(fingerprint) {
            Entry::Vacant(entry) => {
                entry.insert(self.pages);
                self.unique += 1;
                (true, false)
            }
            Entry::Occupied(entry) => (false, *entry.get() != self.pages),
        };
        self.alike_across_pages |= is_shifted;
        // If the API has no count, a row that another page has shown counts as the same row.
        let is_same = is_shifted && matches!(self.facts.total, Total::Nowhere { .. });

        let placed = match row {
            Row::Record { bytes, line, field } => match Millis::parse(&field) {
                Some(time) if self.lies_beyond(time, FAR) => {
                    self.astray += 1;
                    Err((bytes, format!("its time {:?} lies outside of what was asked for", quote::value(&field))))
                }
                Some(time) => {
                    self.astray += u64::from(self.lies_beyond(time, NEAR));
                    Ok((time, line))
                }
                None => Err((bytes, format!("its time {:?} is not RFC 3339", quote::value(&field)))),
            },
            Row::Unreadable { bytes, why } => Err((bytes, why)),
        };
        match placed {
            Ok((time, line)) if self.window.contains(time) => {
                self.inside += 1;
                if is_first {
                    self.pack(time, line);
                } else if !is_same && !self.facts.has_id && self.count_held(line.len() as u64) {
                    self.alike.push((time, line.to_owned()));
                }
            }
            Ok(_) => {}
            Err((bytes, why)) => {
                self.unreadable += 1;
                let is_kept = is_first && (!self.is_refused || self.set_aside.is_empty());
                if is_kept && self.count_held(bytes.len() as u64) {
                    self.set_aside.push((Bytes::copy_from_slice(bytes), why));
                }
            }
        }
    }

    fn lies_beyond(&self, time: Millis, margin: TimeDelta) -> bool {
        let (from, to) = (self.window.from.floor(SECOND) - margin, self.window.to.ceil(SECOND) + margin);
        let has_end = !matches!(self.facts.total, Total::Nowhere { has_end: false, .. });
        time < from || has_end && time >= to
    }

    fn pack(&mut self, time: Millis, line: &str) {
        if self.too_heavy.is_some() {
            return;
        }
        let hour = time.floor(HOUR);
        let packer = self.by_hour.entry(hour).or_insert_with(|| {
            let of_window = Span { from: hour, to: hour + HOUR }.intersection(self.window);
            let bytes = share(self.bytes, of_window.map_or(TimeDelta::zero(), Span::length), self.window.length());
            Packer::with_capacity(&self.packing, usize::try_from(bytes).unwrap_or(0))
        });
        let before = packer.bytes();
        packer.push_at(time, line);
        let more = packer.bytes() - before;
        self.count_held(more);
    }

    /// Counts further bytes. Returns false if they are too many: from then on rows are only counted, not kept.
    fn count_held(&mut self, bytes: u64) -> bool {
        self.held += bytes;
        if self.held > self.most_held && self.too_heavy.is_none() {
            self.too_heavy = Some(TooHeavy { rows: self.rows, bytes: self.held });
            self.forget_rows();
        }
        self.too_heavy.is_none()
    }

    /// Frees the memory of a try that is only compared with another, or given up.
    pub fn forget_rows(&mut self) {
        self.by_hour.clear();
        self.alike.clear();
        // An error may still quote the reason of the first.
        self.set_aside.truncate(1);
    }

    pub fn holding(self, turn: OwnedMutexGuard<()>) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// Takes the lock of a window that may use 96 MB. The caller holds it until the reading is stored. None for others.
    pub fn turn(&mut self) -> Option<OwnedMutexGuard<()>> {
        self.turn.take()
    }

    /// Whether `total` is a cap: the API shows more rows, and `total` is a round number.
    pub fn is_capped_at(&self, total: u64) -> bool {
        self.rows > total && may_be_cap(total)
    }

    /// Whether the try agrees with the API's count. `before` is the try before it, with other page boundaries.
    ///
    /// * With ids (file events): equal rows are one record.
    /// * Without ids (audit): equal rows are several records if the API counts them so.
    /// * Without ids, and equal rows on different pages: three equal tries. One row may have been shown twice in
    ///   another's place, because pages shifted or repeated.
    /// * Rows of another time: two equal tries. A page may have answered another request.
    /// * More rows than the API counts to, in a window that may not be cut: two equal tries.
    pub fn agrees(&self, before: Option<&Self>) -> bool {
        let counted = self.rows == self.total && self.total == self.total_after;
        let same_before = self.same_after(before);
        let same_as_before = same_before > 0;
        let is_believed = |is_doubtful: bool| !is_doubtful || same_as_before;
        let may_be_shifted = self.alike_across_pages && same_before < 2;
        match self.facts.total {
            _ if self.torn.have_lost_rows() => false,
            _ if self.is_capped() => same_as_before,
            Total::InPage => self.unique == self.total && is_believed(self.astray > 0) || counted && same_as_before,
            Total::Endpoint { .. } => counted && is_believed(self.astray > 0) && !may_be_shifted,
            Total::Nowhere { .. } => true,
        }
    }

    /// The number of tries in a row, up to `before`, that returned the same rows as this one.
    fn same_after(&self, before: Option<&Self>) -> u32 {
        let same = before.filter(|before| before.rows == self.rows && before.digest == self.digest);
        same.map_or(0, |before| before.same_before + 1)
    }

    /// Called after a try that doesn't agree. Returns whether a further try is useless: this one equals the one
    /// `before`, and equal rows on different pages are not its only fault.
    pub fn is_final(&mut self, before: Option<&Self>) -> bool {
        self.same_before = self.same_after(before);
        let may_be_believed = self.alike_across_pages && self.rows == self.total && self.same_before < 2;
        before.is_some_and(|before| self.is_like(before)) && !may_be_believed
    }

    /// Whether most rows have a time outside of the request.
    pub fn answers_another_question(&self) -> bool {
        2 * self.astray > self.rows
    }

    /// Whether too many rows can't be read: more than a fifth, and more than three, together with those `beside`.
    pub fn has_too_many_unreadable(&self, beside: u64) -> bool {
        self.is_refused || is_drifted(self.unreadable, self.rows, beside)
    }

    /// Called after each page with the API's count, if it is known. Once too many of all rows can't be read, none will
    /// be set aside, so none needs memory.
    pub fn refuse_unreadable(&mut self, total: u64, beside: u64) {
        if is_drifted(self.unreadable, total.max(self.rows), beside) {
            self.is_refused = true;
            // The error quotes the reason of the first.
            self.set_aside.truncate(1);
        }
    }

    /// The readable rows, of a window that stays open. Nothing is set aside.
    pub fn readable(mut self) -> Self {
        self.set_aside.clear();
        self
    }

    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// For example `30 of 40 rows can't be read; of the first: its time … is not RFC 3339`.
    pub fn what_is_unreadable(&self) -> String {
        let first = self.set_aside.first().map_or("", |(_, why)| why.as_str());
        format!("{} of {} rows can't be read; of the first: {first}", self.unreadable, self.rows)
    }

    /// Whether another try of the window returned the same rows and the same count.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.rows, self.digest, self.total, self.total_after)
            == (other.rows, other.digest, other.total, other.total_after)
    }

    /// The API's count. None if it can't count these rows.
    pub fn count(&self) -> Option<u64> {
        let is_uncounted = matches!(self.facts.total, Total::Nowhere { .. }) || self.is_capped();
        (!is_uncounted).then_some(self.total)
    }

    /// Whether it has more rows than the API counts to.
    fn is_capped(&self) -> bool {
        self.is_capped_at(self.total) && self.unique > self.total && self.total == self.total_after
    }

    /// The number of rows that agree with the API's count.
    pub fn agreed(&self) -> u64 {
        match self.facts.total {
            Total::InPage if self.unique == self.total => self.unique,
            _ => self.rows,
        }
    }

    /// The try with each row once.
    pub fn distinct(mut self) -> Self {
        self.alike.clear();
        self
    }

    /// Returns the window's objects, each with its hour.
    pub fn objects(mut self) -> Vec<(Span, Packed)> {
        // No limit any more: these rows already count towards it.
        self.most_held = u64::MAX;
        for (time, line) in std::mem::take(&mut self.alike) {
            self.pack(time, &line);
        }
        hours(self.window)
            .filter_map(|hour| Some((hour, self.by_hour.remove(&hour.from.floor(HOUR))?.finish())))
            .collect()
    }
}

#[cfg(test)]
mod tests;
