//! Events: closed windows, oldest first. A gap is counted, cut into windows, and each window is opened on the
//! checkpoint, read until it agrees with the API's own count, stored, and covered.

mod reading;

use std::collections::VecDeque;

use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::{debug, warn};

use self::reading::Reading;
use super::Collector;
use crate::api::{ApiError, Listing, Request};
use crate::checkpoint::{EventsState, Span, Window};
use crate::error::Error;
use crate::stream::{Events, Total};
use crate::time::{DAY, Millis, SECOND};

/// The server's edges cut at milliseconds or seconds, inclusive or not: so much more is asked for on either side.
const MARGIN: i64 = SECOND;
/// A window holds at most so many full pages by the API's count.
const PAGES_PER_WINDOW: u64 = 4;
/// A window that turns out to hold more than this many times that is cut again.
const TOO_DENSE: u64 = 2;
/// And spans no more than this, since each of its hours is compressed on its own.
const LONGEST_WINDOW: i64 = DAY;
/// And is cut no shorter, for with the margin on both sides its parts would hold as many rows as it does.
const SHORTEST_CUT: i64 = 2 * SECOND;
/// A run with less time than this begins with windows of one page.
const SHORT_RUN: i64 = 20 * SECOND;
/// The part of the time that is left which the next window may take, by the pace so far.
const SHARE_OF_TIME: f64 = 0.6;
/// So many windows are cut by one count; then what is left is counted again, for it may be denser or sparser.
const WINDOWS_PER_COUNT: usize = 8;
const TRIES: u64 = 3;
const WRITES_AT_ONCE: usize = 4;

/// What became of a window.
enum Done {
    Covered,
    /// It must be cut into this many parts and is open no longer.
    CutAgain {
        parts: u64,
    },
}

/// How fast windows went so far in this run.
#[derive(Default)]
struct Pace {
    millis_per_row: Option<f64>,
}

impl Collector<'_> {
    pub(super) async fn events(&self, facts: &'static Events) -> Result<(), Error> {
        let mut horizon = self.horizon();
        self.run.ledger.update(|checkpoint| self.owe(facts, checkpoint.events(self.stream), horizon));
        let mut pace = Pace::default();
        for window in self.left_open() {
            // Cut again, it is a gap like any other.
            self.finish(facts, &window, None, &mut pace).await?;
        }
        let mut plan = VecDeque::new();
        loop {
            let (span, count) = match plan.pop_front() {
                Some(span) => (span, None),
                None => match self.oldest_gap(horizon) {
                    None => return Ok(()),
                    Some(gap) => {
                        let (span, count) = self.count_gap(facts, gap).await?;
                        // In a warm container this was the first answer, and so the first word of the API's clock.
                        horizon = horizon.min(self.horizon());
                        if span.to > horizon {
                            continue;
                        }
                        if count == 0 {
                            self.run.ledger.update(|checkpoint| checkpoint.events(self.stream).cover(span));
                            continue;
                        }
                        plan.extend(cut(span, count.div_ceil(self.window_rows(facts, &pace))));
                        let whole = plan.len() == 1;
                        plan.truncate(WINDOWS_PER_COUNT);
                        let Some(first) = plan.pop_front() else { continue };
                        (first, whole.then_some(count))
                    }
                },
            };
            let window = self.open(facts, span).await?;
            if let Done::CutAgain { parts } = self.finish(facts, &window, count, &mut pace).await? {
                cut(span, parts).into_iter().rev().for_each(|part| plan.push_front(part));
            }
        }
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
        let oldest = facts.retention.map(|retention| self.run.api.now() - retention);
        if let Some(gone) = oldest.and_then(|oldest| Span::new(Millis(i64::MIN), oldest)) {
            for gap in state.owed(horizon).within(gone).iter().collect::<Vec<_>>() {
                warn!(stream = %self.stream, from = %gap.from, to = %gap.to, "expired: the API keeps {} no longer", self.stream);
                state.expired.insert(gap);
                state.asked.remove(gap);
            }
        }
    }

    fn left_open(&self) -> Vec<Window> {
        let mut open = self.run.ledger.update(|checkpoint| checkpoint.events(self.stream).open.clone());
        open.sort_by_key(|window| window.span);
        open
    }

    fn oldest_gap(&self, horizon: Millis) -> Option<Span> {
        let owed = self.run.ledger.update(|checkpoint| checkpoint.events(self.stream).owed(horizon));
        match self.run.span {
            Some(span) => owed.within(span).first(),
            None => owed.first(),
        }
    }

    /// How many rows the API counts for a gap; for the first half of it, or the first half of that, where the API
    /// says that the query takes it too long.
    async fn count_gap(&self, facts: &'static Events, gap: Span) -> Result<(Span, u64), Error> {
        let mut span = gap;
        loop {
            match self.count(facts, &(facts.request)(self.run.settings, asked(span))).await {
                Err(Error::Api(ApiError::TooLarge { .. })) if cut(span, 2).len() > 1 => span = cut(span, 2)[0],
                counted => return Ok((span, counted?)),
            }
        }
    }

    async fn count(&self, facts: &'static Events, request: &serde_json::Value) -> Result<u64, Error> {
        let caller = self.caller();
        match facts.total {
            Total::InPage => {
                Listing::new(self.run.api, &facts.list, 1, Vec::new(), request.clone()).count(&caller).await
            }
            Total::Endpoint { path, count } => {
                let request = Request::post(path, request.clone());
                let read = |body: &bytes::Bytes| {
                    let answer = serde_json::from_slice::<serde_json::Value>(body).ok();
                    answer.and_then(|answer| answer.get(count)?.as_u64()).ok_or_else(|| ApiError::Unexpected {
                        what: request.what(),
                        why: format!("the answer has no {count:?}"),
                    })
                };
                self.run.api.send(&request, &caller, read).await
            }
        }
    }

    /// How many rows the next window should hold: at most four full pages, and no more than can be read in time.
    fn window_rows(&self, facts: &Events, pace: &Pace) -> u64 {
        let full_page = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let most = PAGES_PER_WINDOW * full_page;
        let left = self.run.times.read_until.0 - Millis::now().0;
        let fits = match pace.millis_per_row {
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            Some(millis) => (left.max(0) as f64 * SHARE_OF_TIME / millis) as u64,
            None if left < SHORT_RUN => full_page,
            None => most,
        };
        let hint = self.run.ledger.update(|checkpoint| checkpoint.events(self.stream).window_rows);
        fits.min(hint.unwrap_or(most)).clamp(1, most)
    }

    /// Fixes a window on the checkpoint, before the first request whose records are stored.
    async fn open(&self, facts: &Events, span: Span) -> Result<Window, Error> {
        let window = Window {
            span,
            request: (facts.request)(self.run.settings, asked(span)),
            opened_at: Millis::now(),
            opened_by: self.run.ledger.lease.clone(),
        };
        self.run.ledger.update(|checkpoint| checkpoint.events(self.stream).open.push(window.clone()));
        self.commit().await?;
        Ok(window)
    }

    /// Reads, stores and covers an open window. `count` is the API's, where it was just asked for this very window.
    async fn finish(
        &self,
        facts: &'static Events,
        window: &Window,
        count: Option<u64>,
        pace: &mut Pace,
    ) -> Result<Done, Error> {
        let began = Millis::now();
        let most = TOO_DENSE * PAGES_PER_WINDOW * self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let reading = match self.read(facts, window, count).await {
            Ok(reading) => reading,
            Err(Unread::TooDense { rows }) => {
                self.withdraw(window, None);
                return Ok(Done::CutAgain { parts: rows.div_ceil(most / TOO_DENSE) });
            }
            Err(Unread::Failed(Error::Api(ApiError::TooLarge { .. }))) if self.may_cut(window).await? => {
                self.withdraw(window, None);
                return Ok(Done::CutAgain { parts: 2 });
            }
            Err(Unread::Failed(error)) => {
                // The run's first window, and it didn't fit: the next run begins with a smaller one.
                let too_large = error.is_out_of_time() && pace.millis_per_row.is_none();
                if self.may_cut(window).await.unwrap_or(false) {
                    let rows = count.unwrap_or_else(|| self.window_rows(facts, pace)) / 2;
                    self.withdraw(window, too_large.then_some(rows));
                }
                return Err(error);
            }
        };
        let rows = reading.rows;
        self.store(reading).await?;
        let usual = PAGES_PER_WINDOW * self.run.settings.page_size(self.stream, facts.list.max_page_size);
        self.run.ledger.update(|checkpoint| {
            let state = checkpoint.events(self.stream);
            state.cover(window.span);
            state.window_rows = state.window_rows.map(|rows| 2 * rows).filter(|rows| *rows < usual);
        });
        if rows > 0 {
            #[allow(clippy::cast_precision_loss)]
            let millis = (Millis::now().0 - began.0).max(1) as f64 / rows as f64;
            pace.millis_per_row = Some(millis);
        }
        Ok(Done::Covered)
    }

    /// Nothing of the window is stored, and nobody can still be storing it.
    async fn may_cut(&self, window: &Window) -> Result<bool, Error> {
        if cut(window.span, 2).len() < 2 || !window.may_be_cut_again(&self.run.ledger.lease.run_id, Millis::now()) {
            return Ok(false);
        }
        let ours = window.opened_by == self.run.ledger.lease;
        Ok(ours || !self.run.records.any_of(self.stream, window.span, self.run.times.store_until).await?)
    }

    /// Makes a window a gap again, of which nothing is stored. `rows`: the next ones are cut smaller.
    fn withdraw(&self, window: &Window, rows: Option<u64>) {
        self.run.ledger.update(|checkpoint| {
            let state = checkpoint.events(self.stream);
            state.open.retain(|open| open != window);
            if let Some(rows) = rows {
                state.window_rows = Some(rows.max(1));
            }
        });
    }

    /// Reads a window until what was read agrees with the API's own count.
    async fn read(&self, facts: &'static Events, window: &Window, count: Option<u64>) -> Result<Reading, Unread> {
        let page_size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let (mut count, mut before) = (count, None::<Reading>);
        for attempt in 0..TRIES {
            // Other page boundaries each time: rows that are alike by the paging's fault don't come out alike twice.
            let size = if page_size > attempt + 1 { page_size - attempt } else { page_size + attempt };
            let reading = match self.read_once(facts, window, count.take(), size).await {
                Err(Unread::Failed(Error::Api(ApiError::InvalidPageToken { what }))) if attempt + 1 < TRIES => {
                    debug!(window = ?window.span, "{what}: the page token is no longer valid, so the window is read again");
                    continue;
                }
                reading => reading?,
            };
            if reading.agrees(before.as_ref()) {
                return Ok(reading);
            }
            debug!(window = ?window.span, rows = reading.rows, total = reading.total, "not what the API counts");
            before = Some(reading);
        }
        let told = before.map(|reading| {
            format!(
                "{} rows were read, of which {} differ, and the API counts {}",
                reading.rows, reading.unique, reading.total
            )
        });
        let span = window.span;
        Err(Unread::Failed(Error::Totals(format!(
            "the window from {} to {} doesn't agree with the API's own count after {TRIES} readings ({}); it stays a gap and is read again by the next run",
            span.from,
            span.to,
            told.unwrap_or_default(),
        ))))
    }

    async fn read_once(
        &self,
        facts: &'static Events,
        window: &Window,
        count: Option<u64>,
        size: u64,
    ) -> Result<Reading, Unread> {
        let caller = self.caller();
        let mut reading = Reading::new(facts, window.span, self.run.settings.gzip_level);
        let mut listing = Listing::new(self.run.api, &facts.list, size, Vec::new(), window.request.clone());
        let before = match (&facts.total, count) {
            (Total::InPage, _) => None,
            (Total::Endpoint { .. }, Some(count)) => Some(count),
            (Total::Endpoint { .. }, None) => Some(self.count(facts, &window.request).await?),
        };
        if let Some(before) = before {
            self.refuse_if_too_dense(facts, window, before).await?;
            listing = listing.expecting(before);
        }
        if before == Some(0) {
            return Ok(reading);
        }
        while let Some(page) = listing.page(&caller).await? {
            if reading.pages == 0
                && let Some(total) = listing.total()
            {
                self.refuse_if_too_dense(facts, window, total).await?;
            }
            // Compression is work for a thread of its own.
            reading = tokio::task::spawn_blocking(move || reading.with(&page)).await.map_err(panicked)?;
        }
        (reading.total, reading.total_after) = match before {
            Some(before) => (before, self.count(facts, &window.request).await?),
            None => (listing.total().unwrap_or(0), listing.total().unwrap_or(0)),
        };
        Ok(reading)
    }

    async fn refuse_if_too_dense(&self, facts: &Events, window: &Window, rows: u64) -> Result<(), Unread> {
        let full_page = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        if rows > TOO_DENSE * PAGES_PER_WINDOW * full_page && self.may_cut(window).await? {
            return Err(Unread::TooDense { rows });
        }
        Ok(())
    }

    /// What can't be parsed first, so that nothing is covered whose bytes are not kept.
    async fn store(&self, reading: Reading) -> Result<(), Error> {
        for (bytes, why) in &reading.set_aside {
            self.set_aside(bytes, why).await?;
        }
        let objects = tokio::task::spawn_blocking(move || reading.objects()).await.map_err(panicked)?;
        self.run.ledger.check_lease()?;
        stream::iter(objects)
            .map(|(hour, packed)| self.run.records.add(self.stream, hour, packed, self.run.times.store_until))
            .buffer_unordered(WRITES_AT_ONCE)
            .try_for_each(async |added| {
                self.tally.add(added);
                Ok(())
            })
            .await?;
        Ok(())
    }
}

enum Unread {
    TooDense { rows: u64 },
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A panic of the worker is the run's own.
fn panicked(error: tokio::task::JoinError) -> Error {
    std::panic::resume_unwind(error.into_panic())
}

/// What is asked for, so that the window surely lies within.
fn asked(window: Span) -> Span {
    Span { from: window.from.floor(SECOND) - MARGIN, to: window.to.ceil(SECOND) + MARGIN }
}

/// Into `parts` of about the same length, at full seconds where it can be.
fn cut(span: Span, parts: u64) -> Vec<Span> {
    let least = (span.millis() + LONGEST_WINDOW - 1) / LONGEST_WINDOW;
    let most = (span.millis() / SHORTEST_CUT).max(1);
    let parts = i64::try_from(parts).unwrap_or(i64::MAX).clamp(least, most);
    let mut from = span.from;
    let mut cut = Vec::new();
    for n in 1..=parts {
        let exact = i128::from(span.millis()) * i128::from(n) / i128::from(parts);
        let to = (span.from + i64::try_from(exact).unwrap_or(0)).floor(SECOND);
        let to = if n == parts { span.to } else { to };
        cut.extend(Span::new(from, to));
        from = from.max(to);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn the_parts_of_a_cut_make_up_the_whole() {
        for (whole, parts) in
            [(span(0, 10), 3), (span(7, 100_003), 9), (span(0, 2), 50), (span(5, 6), 2), (span(0, 3 * DAY + 1), 1)]
        {
            let cut = cut(whole, parts);
            assert_eq!((cut[0].from, cut[cut.len() - 1].to), (whole.from, whole.to));
            assert!(cut.windows(2).all(|pair| pair[0].to == pair[1].from), "{cut:?}");
            assert!(cut.iter().all(|part| part.millis() <= LONGEST_WINDOW), "{cut:?}");
        }
        assert_eq!(cut(span(0, 10_000), 2), [span(0, 5_000), span(5_000, 10_000)]);
        assert_eq!(cut(span(0, 3_999), 2), [span(0, 3_999)], "no shorter than its margin");
    }

    #[test]
    fn more_is_asked_for_than_the_window_even_where_the_server_cuts_at_seconds() {
        assert_eq!(asked(span(10_500, 20_001)), span(9_000, 22_000));
        assert_eq!(asked(span(10_000, 20_000)), span(9_000, 21_000));
    }
}
