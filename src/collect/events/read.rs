//! What the API is asked about a window: how many rows there are, and the rows, until the two agree.

use bytes::Bytes;
use serde_json::Value;
use tracing::debug;

use super::super::Collector;
use super::plan::cut;
use super::reading::Reading;
use crate::collect::error::Error;
use crate::core::checkpoint::Window;
use crate::core::intervals::Span;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::listing::Listing;
use crate::incydr::request::{Caller, Request};

const TRIES: u64 = 3;

/// What is known of a window before it is read.
#[derive(Clone, Copy, Default)]
pub struct Expected {
    /// The API's own, where it was just asked for this very span.
    pub count: Option<u64>,
    /// Of its records, gzipped.
    pub bytes: u64,
}

/// Why a window was not read.
pub enum Unread {
    TooDense { rows: u64 },
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Collector<'_> {
    /// How many rows the API counts for a gap; for the first half of it, or the first half of that, where the API
    /// says that the query takes it too long.
    pub(super) async fn count_gap(
        &self,
        facts: &'static Events,
        gap: Span,
        caller: &Caller<'_>,
    ) -> (Span, Result<u64, Error>) {
        let mut span = gap;
        loop {
            match self.count_by(facts, &self.request(facts, span), caller).await {
                Err(ApiError::TooLarge { .. }) if !caller.tries_once && cut(span, 2).len() > 1 => {
                    span = cut(span, 2)[0];
                }
                counted => return (span, counted.map_err(Error::from)),
            }
        }
    }

    /// A request whose answer counts for nothing but the time that the API has.
    pub(super) async fn hear_clock(&self, facts: &'static Events, gap: Span) -> Result<(), ApiError> {
        if !self.run.api.has_told_time() {
            Listing::new(self.run.api, &facts.list, 1, Vec::new(), self.request(facts, gap))
                .rows(&self.caller())
                .await?;
        }
        Ok(())
    }

    pub(super) async fn count(&self, facts: &'static Events, request: &Value) -> Result<u64, ApiError> {
        self.count_by(facts, request, &self.caller()).await
    }

    async fn count_by(&self, facts: &'static Events, request: &Value, caller: &Caller<'_>) -> Result<u64, ApiError> {
        match facts.total {
            Total::InPage => {
                Listing::new(self.run.api, &facts.list, 1, Vec::new(), request.clone()).count(caller).await
            }
            Total::Endpoint { path, count } => {
                let request = Request::post(path, request.clone());
                let read = |body: &Bytes| {
                    let answer = serde_json::from_slice::<Value>(body).ok();
                    answer.and_then(|answer| answer.get(count)?.as_u64()).ok_or_else(|| ApiError::Unexpected {
                        what: request.what(),
                        why: format!("the answer has no {count:?}"),
                    })
                };
                self.run.api.send(&request, caller, read).await
            }
            Total::Nowhere { .. } => Ok(0),
        }
    }

    /// Reads a window until what was read agrees with the API's own count. One that turns out to hold more than `most`
    /// rows is not read, if it may be cut.
    pub(super) async fn read(
        &self,
        facts: &'static Events,
        window: &Window,
        expected: Expected,
        most: u64,
    ) -> Result<Reading, Unread> {
        let page_size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let (mut count, mut before) = (expected.count, None::<Reading>);
        for attempt in 0..TRIES {
            // Other page boundaries each time: rows that are alike by the paging's fault don't come out alike twice.
            let size = if page_size > attempt + 1 { page_size - attempt } else { page_size + attempt };
            let reading = match self
                .read_once(facts, window, Expected { count: count.take(), ..expected }, size, most)
                .await
            {
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
            "the window from {} to {} doesn't agree with the API's own count after {TRIES} readings ({}); it is read again by the next run",
            span.from,
            span.to,
            told.unwrap_or_default(),
        ))))
    }

    async fn read_once(
        &self,
        facts: &'static Events,
        window: &Window,
        expected: Expected,
        size: u64,
        most: u64,
    ) -> Result<Reading, Unread> {
        let reading = Reading::new(facts, window.span, &self.run.settings.packing, expected.bytes);
        let mut listing = Listing::new(self.run.api, &facts.list, size, Vec::new(), window.request.clone());
        let before = match (&facts.total, expected.count) {
            (Total::InPage | Total::Nowhere { .. }, _) => None,
            (Total::Endpoint { .. }, Some(count)) => Some(count),
            (Total::Endpoint { .. }, None) => Some(self.count(facts, &window.request).await?),
        };
        if let Some(before) = before {
            self.refuse_if_too_dense(window, before, most).await?;
            listing = listing.expecting(before);
        }
        if before == Some(0) {
            return Ok(reading);
        }
        let mut rows = Some(reading);
        let mut is_first = true;
        while self.next_page(facts, &mut listing, &mut rows).await? {
            if let (true, Some(total)) = (std::mem::take(&mut is_first), listing.total()) {
                self.refuse_if_too_dense(window, total, most).await?;
            }
        }
        let Some(mut reading) = rows else { return Err(ApiError::OutOfTime.into()) };
        reading.total = before.or(listing.total()).unwrap_or(reading.rows);
        reading.total_after = match before {
            Some(_) => self.count(facts, &window.request).await?,
            None => reading.total,
        };
        Ok(reading)
    }

    async fn next_page(
        &self,
        facts: &Events,
        listing: &mut Listing<'_>,
        rows: &mut Option<Reading>,
    ) -> Result<bool, Unread> {
        let caller = self.caller();
        match listing.page(&caller, rows).await {
            Err(error) if facts.keeps_what_is_not_json => {
                let body = listing.whole_answer(&caller).await?;
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
                match rows {
                    Some(reading) if !is_json => {
                        reading.set_aside.push((body, "the answer is not JSON".into()));
                        Ok(false)
                    }
                    _ => Err(error.into()),
                }
            }
            page => Ok(page?),
        }
    }

    async fn refuse_if_too_dense(&self, window: &Window, rows: u64, most: u64) -> Result<(), Unread> {
        if rows > most && self.may_be_cut(window).await? {
            return Err(Unread::TooDense { rows });
        }
        Ok(())
    }
}

/// A panic of the worker is the run's own.
pub fn panicked(error: tokio::task::JoinError) -> Error {
    std::panic::resume_unwind(error.into_panic())
}
