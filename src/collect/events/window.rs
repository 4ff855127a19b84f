//! One window: opened on the checkpoint, read, stored, covered; or withdrawn, as long as nothing of it can be stored.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::Collector;
use super::backlog::Planned;
use super::plan::cut;
use super::read::{Expected, Unread, panicked};
use super::reading::Reading;
use crate::bucket::records::{Placed, hours};
use crate::collect::error::Error;
use crate::core::checkpoint::Window;
use crate::core::intervals::Span;
use crate::core::manifest::ReadingEntry as Entry;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};

const WRITES_AT_ONCE: usize = 4;

/// A window that is open, and what was planned of it.
pub struct Opened {
    pub window: Window,
    pub planned: Planned,
}

/// What became of a window.
pub enum Done {
    Covered {
        /// All that were read, and those of the window itself.
        rows: u64,
        inside: u64,
        expected: Option<u64>,
        /// Gzipped.
        bytes: u64,
        millis: i64,
    },
    /// It is to be withdrawn, and read in parts.
    CutAgain { window: Window, parts: Vec<Planned> },
    /// For a reason of its own; to be withdrawn where nothing of it can be stored.
    Failed { window: Window, is_withdrawn: bool, error: Error },
}

impl Collector<'_> {
    /// Fixes a window on the checkpoint, before the first request whose records are stored.
    pub(super) async fn open(&self, facts: &Events, planned: Planned) -> Result<Opened, Error> {
        let window = Window {
            span: planned.span,
            request: self.request(facts, planned.span),
            opened_at: Millis::now(),
            opened_by: self.run.ledger.lease.clone(),
        };
        self.events_state(|state| state.open.push(window.clone()));
        match self.commit().await {
            Ok(()) => Ok(Opened { window, planned }),
            Err(error) => {
                self.withdraw(&window);
                Err(error)
            }
        }
    }

    /// Reads, stores and covers an open window. Where that fails for a reason of the window's own, it is read in
    /// halves, of which next time only the one that fails is left; and then it is skipped for this run.
    pub(super) async fn finish(&self, facts: &'static Events, opened: Opened) -> Result<Done, Error> {
        let Opened { window, planned } = &opened;
        let is_new = window.opened_by == self.run.ledger.lease;
        let began = Millis::now();
        let most = planned.rows;
        let expected = Expected { count: planned.count, bytes: planned.bytes };
        let error = match self.read(facts, window, expected, self.sizes(facts).too_many(most)).await {
            Ok(reading) => {
                let (rows, inside) = (reading.rows, reading.inside);
                let (done, _) = self.store(window, reading, is_new).await?;
                let bytes = done.objects.iter().map(|object| object.bytes).sum();
                self.cover(facts, window, done);
                let millis = Millis::now().0 - began.0;
                return Ok(Done::Covered { rows, inside, expected: planned.expected, bytes, millis });
            }
            Err(Unread::TooDense { rows }) => {
                let parts = planned.cut_again(rows.div_ceil(most), planned.is_half);
                return Ok(Done::CutAgain { window: opened.window, parts });
            }
            Err(Unread::Failed(error)) => error,
        };
        if error.is_out_of_time() {
            // One that was left already is too large.
            let is_planned = planned.expected.is_some();
            if is_new && is_planned && self.look(|state| state.window_rows.is_some()) {
                self.leave(window);
            } else if self.is_ours_alone(window).await.unwrap_or(false) {
                self.withdraw(window);
            }
            return Err(error);
        }
        if !error.may_be_local() {
            return Err(error);
        }
        let is_too_large = matches!(error, Error::Api(ApiError::TooLarge { .. }));
        if (is_too_large || !planned.is_half) && self.may_be_cut(window).await? {
            let parts = planned.cut_again(2, !is_too_large);
            return Ok(Done::CutAgain { window: opened.window, parts });
        }
        let is_withdrawn = self.is_ours_alone(window).await?;
        Ok(Done::Failed { window: opened.window, is_withdrawn, error })
    }

    fn cover(&self, facts: &Events, window: &Window, done: Entry) {
        let usual = self.sizes(facts).most();
        let recount = self.recount_of(&done);
        self.note(done, |checkpoint| {
            let state = checkpoint.events(self.stream);
            state.cover(window.span);
            state.count_again(recount);
            state.window_rows = state.window_rows.map(|rows| 2 * rows).filter(|rows| *rows < usual);
        });
    }

    /// A span in which the API counts nothing was read by that.
    pub(super) fn cover_empty(&self, facts: &Events, span: Span) {
        let now = Millis::now();
        let done =
            Entry { request: self.request(facts, span), total: Some(0), ..Entry::of_window(self.stream, span, now) };
        let recount = self.recount_of(&done);
        self.note(done, |checkpoint| {
            let state = checkpoint.events(self.stream);
            state.cover(span);
            state.count_again(recount);
        });
    }

    pub(super) async fn may_be_cut(&self, window: &Window) -> Result<bool, Error> {
        Ok(cut(window.span, 2).len() > 1 && self.is_ours_alone(window).await?)
    }

    /// Whether nothing of the window is stored, and nobody else can still be storing it.
    async fn is_ours_alone(&self, window: &Window) -> Result<bool, Error> {
        if window.opened_by == self.run.ledger.lease {
            return Ok(true);
        }
        let abandoned = window.is_abandoned(Millis::now());
        Ok(abandoned && !self.run.records.any_of(self.stream, window.span, self.run.times.store_until).await?)
    }

    /// Leaves a window of which nothing was stored to the next run, which then has nothing to plan, and so more time.
    fn leave(&self, window: &Window) {
        self.events_state(|state| {
            for open in state.open.iter_mut().filter(|open| *open == window) {
                open.opened_by = window.opened_by.clone().of_nobody();
            }
        });
    }

    /// A window that a run left, and stored nothing of, is ours from now on: who finds it must know that we may be
    /// storing it.
    pub(super) async fn take_over(&self, opened: Opened) -> Result<Opened, Error> {
        if !opened.window.opened_by.is_of_nobody() {
            return Ok(opened);
        }
        let window = Window { opened_by: self.run.ledger.lease.clone(), ..opened.window.clone() };
        self.events_state(|state| {
            for open in state.open.iter_mut().filter(|open| **open == opened.window) {
                open.clone_from(&window);
            }
        });
        self.commit().await?;
        Ok(Opened { window, ..opened })
    }

    /// Makes a window a gap again, of which nothing is stored.
    pub(super) fn withdraw(&self, window: &Window) {
        self.events_state(|state| state.open.retain(|open| open != window));
    }

    /// What can't be parsed first, so that nothing is covered whose bytes are not kept. Of a window that is new nothing
    /// can be stored yet. Answers the reading as it is told, and which of its objects are new.
    pub(super) async fn store(
        &self,
        window: &Window,
        reading: Reading,
        is_new: bool,
    ) -> Result<(Entry, Vec<Placed>), Error> {
        let mut set_aside = Vec::new();
        for (bytes, why) in &reading.set_aside {
            set_aside.push(self.set_aside(bytes, why).await?);
        }
        let total = (!matches!(reading.facts.total, Total::Nowhere { .. })).then_some(reading.total);
        let rows = reading.agreed();
        let objects = tokio::task::spawn_blocking(move || reading.objects()).await.map_err(panicked)?;
        self.run.ledger.check_lease()?;
        let until = self.run.times.store_until;
        // Of hours without a record now there may be some that an earlier reading stored.
        let is_other = |hour: &Span| !is_new && objects.iter().all(|(stored, _)| stored != hour);
        let others: Vec<Span> = hours(window.span).filter(is_other).collect();
        let add = |(hour, packed)| self.run.records.add(self.stream, hour, packed, until);
        let look = |hour| self.run.records.stored_in(self.stream, hour, until);
        let mut placed: Vec<Placed> =
            stream::iter(objects).map(add).buffer_unordered(WRITES_AT_ONCE).try_concat().await?;
        placed.extend(stream::iter(others).map(look).buffer_unordered(WRITES_AT_ONCE).try_concat().await?);
        placed.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        self.tally.add(&placed);
        let done = Entry {
            request: window.request.clone(),
            rows,
            total,
            set_aside,
            objects: placed.iter().map(|placed| placed.object.clone()).collect(),
            ..Entry::of_window(self.stream, window.span, window.opened_at)
        };
        Ok((done, placed))
    }
}
