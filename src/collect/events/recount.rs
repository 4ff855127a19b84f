//! Counts covered windows again, with the request that covered them. If the API counts more, or shows other rows, the
//! window is read again, and missing records are added. A window that has grown too large for one reading is read in
//! slices. Each slice adds its missing records, so other recounts and other runs come in between.

use std::collections::VecDeque;

use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::{info, warn};

use super::open::OpenWindow;
use super::read::Unread;
use super::reading::WindowTry;
use super::shown::{PAGE, ShownPage};
use super::{PARTS_OF_RUN, StepResult};
use crate::bucket::records::{Placed, hours};
use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::checkpoint::{EventsState, Recount, Slices, Window};
use crate::core::clock::off_thread;
use crate::core::density::{SHORTEST, cut, first, halves};
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Span;
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson::Packed;
use crate::core::schedule::{Outcome, Tries, WindowPlan};
use crate::core::time::{Millis, scaled};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::listing::Listing;
use crate::incydr::page::Lent;

/// Limit per run and stream. Each is one small request.
const AT_MOST: usize = 100;
const WRITES_AT_ONCE: usize = 4;

impl Collector<'_> {
    /// Plans the recounts of a window that is covered now. None if the API doesn't count it, or no recount is to
    /// follow.
    pub(super) fn recount_of(&self, done: &ReadingEntry, rows_hash: Option<String>) -> Option<Recount> {
        let (span, count) = (done.window?, done.total?);
        let mut due: Vec<Millis> = self.run.settings.reconcile.iter().map(|delay| done.closed_at + *delay).collect();
        if self.run.api.clock().doubted().is_some_and(|clock| clock.ours > clock.api) {
            // If our clock is ahead, time was covered that is still to come. It has settled once a right clock shows
            // this.
            due.push(done.closed_at + self.run.settings.settle(self.stream));
            due.sort_unstable();
        }
        if due.is_empty() {
            return None;
        }
        let (request, covered_at) = (done.request.clone(), done.closed_at);
        let (read_by, deaths, has_key, slices) = (None, 0, false, None);
        Some(Recount { span, request, count, rows_hash, covered_at, due, read_by, deaths, has_key, slices })
    }

    /// Returns the recounts that are due, 100 at most; none for a run that was asked for a span, or of an API that
    /// counts nothing. Called at the beginning of a run, so a window that this run covers is recounted by a later run.
    pub(super) fn due_recounts(&self, facts: &Events) -> VecDeque<Recount> {
        if self.run.span.is_some() || !super::counts(facts) {
            return VecDeque::new();
        }
        let now = Millis::now();
        let is_due = |recount: &Recount| recount.due.first().is_some_and(|due| *due <= now);
        let mut due: Vec<Recount> =
            self.read_state(|state, _| state.recount.iter().filter(|recount| is_due(recount)).cloned().collect());
        due.sort_by(|a, b| a.due.cmp(&b.due));
        due.truncate(AT_MOST);
        due.into()
    }

    /// Counts a window again, or reads the next slice of one that has grown.
    pub(super) async fn recount(&self, facts: &'static Events, recount: Recount) -> Result<StepResult, Error> {
        let span = recount.span;
        let outcome = match self.recount_step(facts, &recount).await {
            Ok(outcome) => outcome,
            // All gaps were covered before; the recount waits for the next run.
            Err(error) if error.is_out_of_time() => Outcome::RecountWaits { span },
            Err(error) if !self.may_be_of_one_span(&error) && !error.may_be_of_one_key() => return Err(error),
            Err(error) if span.to < self.kept_from(facts) => {
                warn!(stream = %self.stream, from = %span.from, to = %span.to, error = %error, "this window's recount is given up, because the API no longer keeps its records; any late ones are lost");
                self.update_events(|state, _| counted(state, &recount, recount.count, None));
                Outcome::Recounted { span }
            }
            Err(error) => Outcome::NotRecounted { span, error: ErrorInfo::from(&error) },
        };
        Ok(outcome.into())
    }

    /// Counts the window again. If the API counts more, or shows other rows, reads it again, and begins slices if it
    /// has grown too large.
    async fn recount_step(&self, facts: &'static Events, recount: &Recount) -> Result<Outcome, Error> {
        // After a death any recount may be what kills runs, so the checkpoint names the one that is under way.
        let died = self.run.ledger.died.as_ref();
        let is_suspect = died.is_some() || recount.read_by.is_some();
        let _turn = self.last_turn(is_suspect, 0).await;
        if is_suspect {
            let has_died_here = died == recount.read_by.as_ref();
            let deaths = recount.deaths + u32::from(has_died_here);
            self.update_events(|state, _| waiting(state, recount).map(|waiting| waiting.deaths = deaths));
            if has_died_here && deaths > 1 {
                let Span { from, to } = recount.span;
                return Err(Error::Inconsistent(format!("{deaths} runs died while they counted {from} to {to} again")));
            }
            self.note_read_by(recount);
            self.commit().await?;
        }
        if let Some(slices) = recount.slices {
            return self.read_grown(facts, recount, slices).await;
        }

        let span = recount.span;
        let (count, rows_hash) = self.count_or_show(facts, recount).await?;
        // If its page was looked at, the window is read even if the API counts 0: the page may show rows.
        let reads_empty = rows_hash.is_some();
        let is_as_asked = recount.request == self.request(facts, span);
        let has_others = rows_hash.is_some() && rows_hash != recount.rows_hash;
        if count == recount.count && !has_others || count < recount.count && !is_as_asked {
            self.note_vanished(recount, recount.count - count);
            self.update_events(|state, _| counted(state, recount, count, rows_hash.or(recount.rows_hash.clone())));
            return Ok(Outcome::Recounted { span });
        }

        // The window was empty and was never read again: no key of it exists, so it may be cut.
        let is_new = recount.count == 0 && !recount.has_key && is_as_asked;
        if is_new && count > self.sizes(facts).limit_for(self.sizes(facts).most()) {
            let parts = self.cut_recount(facts, recount, count);
            if parts.len() > 1 {
                return Ok(Outcome::RecountCut { span, parts });
            }
        }

        self.note_read_by(recount);
        self.update_events(|state, _| waiting(state, recount).map(|waiting| waiting.has_key = true));
        self.commit().await?;

        match self.read_again(facts, span, recount, is_as_asked, reads_empty).await? {
            // A count below the last one may be a cap. So the rows that were read decide, not the count.
            Reread::All(reading) => {
                let (count, rows_hash) = (reading.total, reading.shown.hash());
                self.note_vanished(recount, recount.count.saturating_sub(count));
                let (done, _) = self.add_late(recount, *reading, Some(count)).await?;
                self.note(done, |checkpoint| counted(checkpoint.events(self.stream), recount, count, rows_hash));
                Ok(Outcome::Recounted { span })
            }
            Reread::TooMuch { .. } => {
                let count = count.max(recount.count);
                Ok(self.keep_slices(recount, Slices { done_to: span.from, count }))
            }
        }
    }

    /// Returns the API's count of a window. If its rows are few and fit a page, requests that page and also returns the
    /// rows' hash: a row may have vanished while another one came. If the page has no total and shows the same rows as
    /// the last time, the endpoint for counts is asked too: the page may be an outdated answer.
    async fn count_or_show(
        &self,
        facts: &'static Events,
        recount: &Recount,
    ) -> Result<(u64, Option<String>), ApiError> {
        let (caller, size) = (self.patient(Tries::ByPolicy, PARTS_OF_RUN, 0), self.sizes(facts).full_page.min(PAGE));
        // Where the count is in a page, an empty window is counted by that page.
        let fewest = u64::from(!matches!(facts.total, Total::Endpoint { .. }));
        if recount.rows_hash.is_some() && (fewest..size).contains(&recount.count) {
            let request = recount.request.clone();
            let mut listing =
                Listing::new(self.run.api, &facts.list, size, Vec::new(), request).expecting(recount.count);
            let mut page = Lent::new(ShownPage::default());
            listing.page(&caller, &mut page).await?;
            let shown = page.back()?.whole;
            let count = listing.total().or((shown.hash() != recount.rows_hash).then_some(shown.rows));
            if let (Some(count), true) = (count, shown.rows < size) {
                return Ok((count, shown.hash()));
            }
        }
        Ok((self.count(facts, &recount.request, &caller).await?, None))
    }

    /// Reads the next slice of a window that has grown, of about as many rows as a window may have.
    async fn read_grown(&self, facts: &'static Events, recount: &Recount, slices: Slices) -> Result<Outcome, Error> {
        let rest = Span { from: slices.done_to, ..recount.span };
        let length = scaled(recount.span.length(), self.sizes(facts).most(), slices.count);
        let mut slice = first(rest, length.max(SHORTEST));
        let reading = loop {
            match self.read_again(facts, slice, recount, true, false).await? {
                Reread::All(reading) => break reading,
                Reread::TooMuch { shorter } => slice = shorter,
            }
        };
        let (done, _) = self.add_late(recount, *reading, None).await?;
        let is_last = slice.to == recount.span.to;
        let slices = Slices { done_to: slice.to, ..slices };
        self.note(done, |checkpoint| {
            if is_last {
                counted(checkpoint.events(self.stream), recount, slices.count, None);
            }
        });
        Ok(if is_last { Outcome::Recounted { span: recount.span } } else { self.keep_slices(recount, slices) })
    }

    fn note_read_by(&self, recount: &Recount) {
        let lease = &self.run.ledger.lease;
        self.update_events(|state, _| waiting(state, recount).map(|waiting| waiting.read_by = Some(lease.clone())));
    }

    /// Notes the slices. The rest is read after the other recounts, or by a later run.
    fn keep_slices(&self, recount: &Recount, slices: Slices) -> Outcome {
        self.update_events(|state, _| {
            if let Some(waiting) = waiting(state, recount) {
                waiting.slices = Some(slices);
            }
        });
        Outcome::RecountGoesOn(Recount { slices: Some(slices), ..recount.clone() })
    }

    /// Reads a window or a slice of it again. `may_be_cut` is false if the covered request had other settings;
    /// `reads_empty` requests the rows even if the API counts none. After a failure the rows that were shown are
    /// stored.
    async fn read_again(
        &self,
        facts: &'static Events,
        span: Span,
        recount: &Recount,
        may_be_cut: bool,
        reads_empty: bool,
    ) -> Result<Reread, Error> {
        let request = if span == recount.span { recount.request.clone() } else { self.request(facts, span) };
        let opened_by = self.run.ledger.lease.clone();
        let window = Window { span, request, opened_at: Millis::now(), opened_by, resumed: 0 };
        // If the covered request had other settings, no request for a part of it can be built.
        let window =
            if may_be_cut { OpenWindow::Ours(window) } else { OpenWindow::Foreign { window, was_abandoned: false } };
        let mut plan = WindowPlan::of_left(span, self.sizes(facts));
        plan.reads_empty = reads_empty;

        match self.read(facts, &window, &plan).await {
            Ok(reading) => Ok(Reread::All(Box::new(reading))),
            Err(Unread::Failed(error)) => Err(error),
            Err(Unread::Disagreed { why, shown }) => {
                if let Some(shown) = shown {
                    self.keep_late(recount, *shown).await?;
                }
                Err(Error::Inconsistent(why))
            }
            Err(Unread::Unreadable { why, rows, shown }) => {
                self.tally.drift.add(rows);
                self.keep_late(recount, *shown).await?;
                Err(Error::Inconsistent(why))
            }
            Err(Unread::Cut(_)) => {
                let Some([shorter, _]) = halves(span) else {
                    let what = format!("{} to {}", span.from, span.to);
                    return Err(ApiError::TooLarge { what, said: String::new() }.into());
                };
                Ok(Reread::TooMuch { shorter })
            }
        }
    }

    /// Called after a failed recount. Stores the records that it showed and the bucket lacks.
    async fn keep_late(&self, recount: &Recount, shown: WindowTry) -> Result<(), Error> {
        let (done, has_new) = self.add_late(recount, shown, None).await?;
        if has_new {
            self.note(done, |_| ());
        }
        Ok(())
    }

    /// Stores the missing records in further objects of each hour. `total` is the API's count of the whole window.
    /// Returns the reading, and whether any were missing.
    async fn add_late(
        &self,
        recount: &Recount,
        mut reading: WindowTry,
        total: Option<u64>,
    ) -> Result<(ReadingEntry, bool), Error> {
        let _turn = reading.turn();
        let set_aside = self.keep_unreadable(&reading).await?;
        let (rows, opened_at) = (reading.agreed(), Millis::now());
        let objects = off_thread(move || reading.objects()).await;
        self.run.ledger.check_lease()?;
        let until = self.run.times.store_until;

        // A slice may be a part of an hour. Its records are stored under the key of the window's hour.
        let add = |(part, packed): (Span, Packed)| async move {
            let hour = hours(recount.span).find(|hour| hour.contains(part.from)).unwrap_or(part);
            self.run.records.add(self.stream, hour, packed, until).await
        };
        let mut placed: Vec<Placed> =
            stream::iter(objects).map(add).buffer_unordered(WRITES_AT_ONCE).try_concat().await?;
        placed.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        self.tally.add(&placed);

        for late in placed.iter().filter(|placed| placed.is_new).map(|placed| &placed.object) {
            let by = recount.covered_at.since(late.first);
            self.tally.late.add(late.records);
            self.tally.late_by.raise_to_ms(by);
            info!(stream = %self.stream, key = late.key, records = late.records, late_by_s = by.as_secs(), "records that became visible after their window was covered were added");
        }

        let has_new = placed.iter().any(|placed| placed.is_new);
        let done = ReadingEntry {
            request: recount.request.clone(),
            rows,
            total,
            set_aside,
            objects: placed.into_iter().map(|placed| placed.object).collect(),
            ..ReadingEntry::of_window(self.stream, recount.span, opened_at)
        };
        Ok((done, has_new))
    }

    fn note_vanished(&self, recount: &Recount, gone: u64) {
        if gone > 0 {
            let Span { from, to } = recount.span;
            self.tally.vanished.add(gone);
            warn!(stream = %self.stream, %from, %to, gone, "the API counts fewer rows than when this window was covered: it no longer keeps them, or they were deleted; stored records stay");
        }
    }

    /// Cuts the recount of a span that was empty and now has too many rows for one window.
    fn cut_recount(&self, facts: &Events, recount: &Recount, count: u64) -> Vec<Recount> {
        let part = |span| Recount { span, request: self.request(facts, span), ..recount.clone() };
        let parts: Vec<Recount> =
            cut(recount.span, count.div_ceil(self.sizes(facts).most())).into_iter().map(part).collect();
        self.update_events(|state, _| {
            if let Some(at) = state.recount.iter().position(|waiting| waiting.span == recount.span) {
                state.recount.splice(at..=at, parts.iter().cloned());
            }
        });
        parts
    }
}

/// A window or slice that was read again.
enum Reread {
    All(Box<WindowTry>),
    TooMuch { shorter: Span },
}

/// Removes the recount that was done. The window waits for its next one, if there is one.
fn counted(state: &mut EventsState, recount: &Recount, count: u64, rows_hash: Option<String>) {
    let now = Millis::now();
    if let Some(waiting) = waiting(state, recount) {
        (waiting.count, waiting.rows_hash) = (count, rows_hash);
        (waiting.read_by, waiting.deaths, waiting.slices) = (None, 0, None);
        waiting.due.retain(|due| *due > now);
    }
    state.recount.retain(|recount| !recount.due.is_empty());
}

/// The recount as it is on the checkpoint. None if it is no longer planned.
fn waiting<'a>(state: &'a mut EventsState, recount: &Recount) -> Option<&'a mut Recount> {
    state.recount.iter_mut().find(|waiting| waiting.span == recount.span)
}
