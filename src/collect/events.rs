//! Events: closed windows, oldest first. A gap is counted, cut into windows, and each window is opened on the
//! checkpoint, read until it agrees with the API's own count, stored, and covered.

mod plan;
mod read;
mod reading;
mod recount;

use std::collections::VecDeque;
use std::sync::PoisonError;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tracing::warn;

use self::plan::{MARGIN, Pace, Sizes, asked, cut, windows};
use self::read::{Unread, panicked};
use self::reading::Reading;
use super::Collector;
use crate::api::ApiError;
use crate::checkpoint::{EventsState, Window};
use crate::error::Error;
use crate::intervals::{Intervals, Span};
use crate::manifest::Entry;
use crate::store::{Placed, hours};
use crate::stream::Events;
use crate::time::{Millis, SECOND};

/// So many windows are cut by one count; then what is left is counted again, for it may be denser or sparser.
const WINDOWS_PER_COUNT: usize = 8;
const WRITES_AT_ONCE: usize = 4;

/// After so many windows in a row that failed it is the API that fails, not a window.
const FAILURES_IN_A_ROW: u32 = 3;

/// What became of a window.
enum Done {
    /// It is covered, or left for the next run.
    Over,
    /// It is open no longer, and to be read in parts.
    CutAgain(Vec<Planned>),
}

/// A window that is to be read.
struct Planned {
    span: Span,
    /// The API's own, where it was just asked for this very span.
    count: Option<u64>,
    /// How many rows it was cut to hold.
    rows: u64,
    /// It is half of one that failed.
    is_half: bool,
}

/// How the windows of this run went so far.
#[derive(Default)]
struct Progress {
    pace: Pace,
    /// What failed and is not tried again in this run, so that it holds up nothing that is younger.
    skipped: Intervals,
    failed: Option<Error>,
    failures_in_a_row: u32,
}

impl Collector<'_> {
    pub(super) async fn events(&self, facts: &'static Events) -> Result<(), Error> {
        let due = self.due_recounts();
        let mut horizon = self.horizon();
        self.events_state(|state| self.owe(facts, state, horizon));
        let mut progress = Progress::default();
        for window in self.left_open() {
            let planned = Planned { span: window.span, count: None, rows: self.sizes(facts).most(), is_half: false };
            // Cut again, it is a gap like any other.
            self.finish(facts, &window, &planned, &mut progress).await?;
        }
        let mut plan = VecDeque::new();
        loop {
            let Some(planned) = plan.pop_front() else {
                let Some(gap) = self.oldest_gap(horizon, &progress.skipped) else {
                    let recounted = self.recount(facts, due).await;
                    return progress.failed.map_or(recounted, Err);
                };
                let (span, count) = self.count_gap(facts, gap).await?;
                // In a warm container this was the first answer, and so the first word of the API's clock.
                horizon = horizon.min(self.horizon());
                if span.to <= horizon {
                    plan = self.plan(facts, span, count, progress.pace);
                }
                continue;
            };
            let window = self.open(facts, planned.span).await?;
            if let Done::CutAgain(parts) = self.finish(facts, &window, &planned, &mut progress).await? {
                plan = parts.into_iter().chain(plan).collect();
            }
        }
    }

    /// The stream's part of the checkpoint, to look at.
    fn look<T>(&self, look: impl FnOnce(&EventsState) -> T) -> T {
        self.run.ledger.read(|checkpoint| match checkpoint.events.get(&self.stream) {
            Some(state) => look(state),
            None => look(&EventsState::default()),
        })
    }

    /// The same, to change it.
    fn events_state<T>(&self, change: impl FnOnce(&mut EventsState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.events(self.stream)))
    }

    /// The next windows of a span that was counted. A span without rows needs none: it is covered.
    fn plan(&self, facts: &Events, span: Span, count: u64, pace: Pace) -> VecDeque<Planned> {
        if count == 0 {
            self.cover_empty(facts, span);
            return VecDeque::new();
        }
        let rows = self.window_rows(facts, pace);
        let windows = windows(span, count, rows);
        let whole = windows.len() == 1;
        let planned = |span| Planned { span, count: whole.then_some(count), rows: rows.min(count), is_half: false };
        windows.into_iter().take(WINDOWS_PER_COUNT).map(planned).collect()
    }

    /// Windows end here at the latest, so that what is asked for, margin and all, lies before now minus settle.
    fn horizon(&self) -> Millis {
        (self.run.api.now() - self.run.settings.settle(self.stream)).floor(SECOND) - MARGIN
    }

    fn owe(&self, facts: &Events, state: &mut EventsState, horizon: Millis) {
        if let Some(span) = self.run.span {
            state.asked.insert(span);
        } else {
            let lookback = self.run.settings.lookback;
            state.live_from.get_or_insert((self.run.api.now() - lookback).floor(SECOND));
        }
        if let Some(retention) = facts.retention {
            let gone = state.expire(horizon.min(self.run.api.now() - retention));
            for span in gone.iter() {
                warn!(stream = %self.stream, from = %span.from, to = %span.to, "expired: the API keeps {} no longer", self.stream);
            }
            *self.tally.expired.lock().unwrap_or_else(PoisonError::into_inner) = gone;
        }
    }

    /// The request for a window, margin and all.
    fn request(&self, facts: &Events, span: Span) -> Value {
        (facts.request)(&self.run.settings.file_event_query, asked(span))
    }

    fn left_open(&self) -> Vec<Window> {
        let mut open = self.look(|state| state.open.clone());
        open.sort_by_key(|window| window.span);
        open
    }

    fn oldest_gap(&self, horizon: Millis, skipped: &Intervals) -> Option<Span> {
        let owed = self.look(|state| state.gaps(horizon)).without(skipped);
        match self.run.span {
            Some(span) => owed.within(span).first(),
            None => owed.first(),
        }
    }

    fn sizes(&self, facts: &Events) -> Sizes {
        Sizes::new(self.run.settings.page_size(self.stream, facts.list.max_page_size))
    }

    /// How many rows the next window should hold; fewer where a larger one didn't fit a run before.
    fn window_rows(&self, facts: &Events, pace: Pace) -> u64 {
        let left = self.run.times.read_until.0 - Millis::now().0;
        let hint = self.look(|state| state.window_rows);
        self.sizes(facts).next(left, pace).min(hint.unwrap_or(u64::MAX)).max(1)
    }

    /// Fixes a window on the checkpoint, before the first request whose records are stored.
    async fn open(&self, facts: &Events, span: Span) -> Result<Window, Error> {
        let window = Window {
            span,
            request: self.request(facts, span),
            opened_at: Millis::now(),
            opened_by: self.run.ledger.lease.clone(),
        };
        self.events_state(|state| state.open.push(window.clone()));
        match self.commit().await {
            Ok(()) => Ok(window),
            Err(error) => {
                self.withdraw(&window, None);
                Err(error)
            }
        }
    }

    /// Reads, stores and covers an open window. Where that fails for a reason of the window's own, it is read in
    /// halves, of which next time only the one that fails is left; and then it is skipped for this run.
    async fn finish(
        &self,
        facts: &'static Events,
        window: &Window,
        planned: &Planned,
        progress: &mut Progress,
    ) -> Result<Done, Error> {
        let began = Millis::now();
        let error = match self.read(facts, window, planned.count, self.sizes(facts).too_many()).await {
            Ok(reading) => {
                let rows = reading.rows;
                let is_new = window.opened_by == self.run.ledger.lease;
                let (done, _) = self.store(window, reading, is_new).await?;
                self.cover(facts, window, done);
                progress.pace.note(rows, Millis::now().0 - began.0);
                progress.failures_in_a_row = 0;
                return Ok(Done::Over);
            }
            Err(Unread::TooDense { rows }) => {
                self.withdraw(window, None);
                return Ok(planned.cut_again(rows.div_ceil(self.sizes(facts).most()), planned.is_half));
            }
            Err(Unread::Failed(error)) => error,
        };
        if error.is_out_of_time() {
            // The run's first window, and it didn't fit: the next run begins with a smaller one.
            let too_large = progress.pace.is_unknown().then_some(planned.rows / 2);
            if self.is_ours_alone(window).await.unwrap_or(false) {
                self.withdraw(window, too_large);
            }
            return Err(error);
        }
        if !error.may_be_local() {
            return Err(error);
        }
        let is_too_large = matches!(error, Error::Api(ApiError::TooLarge { .. }));
        if (is_too_large || !planned.is_half) && self.may_be_cut(window).await? {
            self.withdraw(window, None);
            return Ok(planned.cut_again(2, !is_too_large));
        }
        if self.is_ours_alone(window).await? {
            self.withdraw(window, None);
        }
        progress.skipped.insert(window.span);
        progress.failures_in_a_row += 1;
        if progress.failures_in_a_row >= FAILURES_IN_A_ROW {
            return Err(error);
        }
        progress.failed.get_or_insert(error);
        Ok(Done::Over)
    }

    fn cover(&self, facts: &Events, window: &Window, done: Entry) {
        let usual = self.sizes(facts).most();
        let recount = self.recount_of(&done);
        self.note(done, |checkpoint| {
            let state = checkpoint.events(self.stream);
            state.cover(window.span);
            state.recount.extend(recount);
            state.window_rows = state.window_rows.map(|rows| 2 * rows).filter(|rows| *rows < usual);
        });
    }

    /// A span in which the API counts nothing was read by that.
    fn cover_empty(&self, facts: &Events, span: Span) {
        let now = Millis::now();
        let done = Entry {
            stream: self.stream,
            window: Some(span),
            at: None,
            request: self.request(facts, span),
            opened_at: now,
            closed_at: now,
            rows: 0,
            total: Some(0),
            set_aside: Vec::new(),
            objects: Vec::new(),
        };
        let recount = self.recount_of(&done);
        self.note(done, |checkpoint| {
            let state = checkpoint.events(self.stream);
            state.cover(span);
            state.recount.extend(recount);
        });
    }

    async fn may_be_cut(&self, window: &Window) -> Result<bool, Error> {
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

    /// Makes a window a gap again, of which nothing is stored. `rows`: the next ones are cut smaller.
    fn withdraw(&self, window: &Window, rows: Option<u64>) {
        self.events_state(|state| {
            state.open.retain(|open| open != window);
            if let Some(rows) = rows {
                state.window_rows = Some(rows.max(1));
            }
        });
    }

    /// What can't be parsed first, so that nothing is covered whose bytes are not kept. Of a window that is new nothing
    /// can be stored yet. Answers the reading as it is told, and which of its objects are new.
    async fn store(&self, window: &Window, reading: Reading, is_new: bool) -> Result<(Entry, Vec<Placed>), Error> {
        let mut set_aside = Vec::new();
        for (bytes, why) in &reading.set_aside {
            set_aside.push(self.set_aside(bytes, why).await?);
        }
        let (rows, total) = (reading.agreed(), Some(reading.total));
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
            stream: self.stream,
            window: Some(window.span),
            at: None,
            request: window.request.clone(),
            opened_at: window.opened_at,
            closed_at: Millis::now(),
            rows,
            total,
            set_aside,
            objects: placed.iter().map(|placed| placed.object.clone()).collect(),
        };
        Ok((done, placed))
    }
}

impl Planned {
    fn cut_again(&self, parts: u64, is_half: bool) -> Done {
        let part = |span| Self { span, count: None, rows: self.rows, is_half };
        Done::CutAgain(cut(self.span, parts).into_iter().map(part).collect())
    }
}
