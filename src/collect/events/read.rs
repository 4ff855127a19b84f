//! Reads a window: requests its rows and its count until the two agree.

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tracing::debug;

use super::PARTS_OF_RUN;
use super::open::OpenWindow;
use super::reading::{TooHeavy, WindowTry};
use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::checkpoint::Window;
use crate::core::density::halves;
use crate::core::intervals::Span;
use crate::core::ndjson;
use crate::core::schedule::{CutReason, Tries, WindowPlan};
use crate::core::time::{MILLISECOND, Millis};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Events, Total};
use crate::incydr::listing::Listing;
use crate::incydr::page::Lent;
use crate::incydr::request::{Caller, Request};

const MOST_TRIES: u64 = 3;
/// Limit for the records of one window, which are in memory until they are stored, in gzipped bytes. The second limit
/// is for a window that may not be cut, of which there is one at a time.
const MOST_HELD: u64 = 16 << 20;
const MOST_HELD_AS_LAST_RESORT: u64 = 96 << 20;

/// The reason why a window was not read.
pub enum Unread {
    /// It may be cut, and must be.
    Cut(CutReason),
    /// Rows and count don't agree. `shown` holds the rows of the last try. Equal rows are kept once, because two pages
    /// may have shown one row. If the last two tries returned the same rows, all are kept.
    Disagreed {
        why: String,
        shown: Option<Box<WindowTry>>,
    },
    /// Too many of its rows can't be read: `rows`. `shown` holds those that can.
    Unreadable {
        rows: u64,
        why: String,
        shown: Box<WindowTry>,
    },
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Unread {
    /// Holds the lock on large windows until the rows that were shown are stored or given up.
    fn holding(self, turn: OwnedMutexGuard<()>) -> Self {
        match self {
            Self::Disagreed { why, shown } => {
                Self::Disagreed { why, shown: shown.map(|shown| Box::new(shown.holding(turn))) }
            }
            Self::Unreadable { rows, why, shown } => {
                Self::Unreadable { rows, why, shown: Box::new(shown.holding(turn)) }
            }
            other => other,
        }
    }
}

impl Collector<'_> {
    /// Sends a request only to learn the API's clock, unless an earlier answer of this run has shown it.
    pub(super) async fn learn_api_clock(&self, facts: &'static Events, horizon: Millis) -> Result<(), ApiError> {
        let gap = self.read_state(|state, _| state.unopened_gaps(horizon).first());
        if let Some(gap) = gap.filter(|_| !self.run.api.clock().has_answered()) {
            let gap = Span { to: gap.to.min(gap.from + MILLISECOND), ..gap };
            let request = self.request(facts, gap);
            Listing::new(self.run.api, &facts.list, 1, Vec::new(), request).rows(&self.caller()).await?;
        }
        Ok(())
    }

    /// Returns the API's count of a request's rows. 0 for an API that counts nothing.
    pub(super) async fn count(
        &self,
        facts: &'static Events,
        request: &Value,
        caller: &Caller<'_>,
    ) -> Result<u64, ApiError> {
        match facts.total {
            Total::InPage => {
                Listing::new(self.run.api, &facts.list, 1, Vec::new(), request.clone()).count(caller).await
            }
            Total::Endpoint { path, count } => {
                let request = Request::post(path, request.clone());
                let read = |body: &Bytes| {
                    let answer = ndjson::lenient(body);
                    answer.and_then(|answer| crate::core::json::count(answer.get(count)?)).ok_or_else(|| {
                        ApiError::Unexpected { what: request.what(), why: format!("the answer has no {count:?}") }
                    })
                };
                self.run.api.send(&request, caller, read).await
            }
            Total::Nowhere { .. } => Ok(0),
        }
    }

    /// Reads a window. If its records need more memory than a window may take, and it may not be cut, it waits until no
    /// other such window is in memory, and is read again.
    pub(super) async fn read(
        &self,
        facts: &'static Events,
        window: &OpenWindow,
        plan: &WindowPlan,
    ) -> Result<WindowTry, Unread> {
        let heavy = match self.read_until_agreed(facts, window, plan, MOST_HELD).await {
            Err(heavy @ Unread::Cut(CutReason::TooHeavy { .. })) => heavy,
            read => return read,
        };
        if self.may_be_cut(window).await? {
            return Err(heavy);
        }

        let turn = self.run.api.lanes().heavy().await;
        match self.read_until_agreed(facts, window, plan, MOST_HELD_AS_LAST_RESORT).await {
            Ok(reading) => Ok(reading.holding(turn)),
            Err(Unread::Cut(CutReason::TooHeavy { bytes, .. })) => {
                let Span { from, to } = window.span();
                let why = format!(
                    "the records from {from} to {to} are more than {} MB, gzipped, and they can't be read in parts",
                    bytes >> 20
                );
                Err(Unread::Disagreed { why, shown: None })
            }
            Err(unread) => Err(unread.holding(turn)),
        }
    }

    /// Reads a window until the rows agree with the API's count, at most three times.
    async fn read_until_agreed(
        &self,
        facts: &'static Events,
        window: &OpenWindow,
        plan: &WindowPlan,
        most_held: u64,
    ) -> Result<WindowTry, Unread> {
        let page_size = self.page_size(&facts.list);
        // A window whose rows may be stored although they disagree is read again: two equal tries show which equal rows
        // are several records.
        let may_be_kept = plan.keeps_shown && halves(window.span()).is_none();
        let most_readings = if plan.tries == Tries::ByPolicy || may_be_kept { MOST_TRIES } else { 1 };
        let (mut counted, mut before, mut is_stable) = (plan.counted, None::<WindowTry>, false);

        for attempt in 0..most_readings {
            if let Some(before) = &mut before {
                before.forget_rows();
            }
            // Uses another page size for each try. Rows that are equal only because pages shifted then don't come out
            // equal twice.
            let size = if page_size > attempt + 1 { page_size - attempt } else { page_size + attempt };
            let mut reading = match self.read_once(facts, window, plan, counted.take(), size, most_held).await {
                Err(Unread::Failed(Error::Api(ApiError::InvalidPageToken { what, .. })))
                    if attempt + 1 < most_readings =>
                {
                    debug!(window = ?window.span(), "{what}: the page token is no longer valid, so the window is read again");
                    continue;
                }
                Err(Unread::Failed(Error::Api(ApiError::TooLarge { .. }))) if self.may_be_cut(window).await? => {
                    return Err(Unread::Cut(CutReason::TooLarge { rows: Some(plan.likely_rows()) }));
                }
                reading => reading?,
            };
            if reading.agrees(before.as_ref()) {
                return refuse_if_unreadable(window, reading, plan);
            }

            debug!(window = ?window.span(), rows = reading.rows, total = reading.total, "the rows don't agree with the API's count");
            is_stable = before.as_ref().is_some_and(|before| reading.is_like(before));
            let is_final = reading.is_final(before.as_ref());
            before = Some(reading);
            if is_final {
                break;
            }
        }

        let told = before.as_ref().map(|reading| {
            format!(
                " ({} rows were read, {} of them distinct, and the API counts {})",
                reading.rows, reading.unique, reading.total
            )
        });
        let Span { from, to } = window.span();
        let why = format!(
            "the window from {from} to {to} doesn't agree with the API's own count{}; it is read again by the next run",
            told.unwrap_or_default(),
        );
        let shown = before.map(|reading| if is_stable { reading } else { reading.distinct() });
        let shown = shown.map(|shown| refuse_if_unreadable(window, shown, plan)).transpose()?;
        Err(Unread::Disagreed { why, shown: shown.map(Box::new) })
    }

    /// Makes one try: reads all pages. If the count has an endpoint of its own, counts before and after. `count` is a
    /// count of this very window that was made before; `size` is the page size.
    async fn read_once(
        &self,
        facts: &'static Events,
        window: &OpenWindow,
        plan: &WindowPlan,
        count: Option<u64>,
        size: u64,
        most_held: u64,
    ) -> Result<WindowTry, Unread> {
        let Window { span, request, .. } = window.window();
        let caller = self.patient(plan.tries, PARTS_OF_RUN, self.attempts(*span));
        let reading = WindowTry::new(facts, *span, &self.run.settings.packing, plan.bytes, most_held);
        let mut listing = Listing::new(self.run.api, &facts.list, size, Vec::new(), request.clone());

        let before = match (&facts.total, count) {
            (Total::InPage | Total::Nowhere { .. }, _) => None,
            (Total::Endpoint { .. }, Some(count)) => Some(count),
            (Total::Endpoint { .. }, None) => Some(self.count(facts, request, &caller).await?),
        };
        if let Some(before) = before {
            self.refuse_if_too_dense(window, plan, before).await?;
            listing = listing.expecting(before);
        }
        if before == Some(0) && !plan.reads_empty {
            return Ok(reading);
        }

        let mut rows = Lent::new(reading);
        let mut is_first = true;
        while listing.page(&caller, &mut rows).await? {
            if let (true, Some(total)) = (std::mem::take(&mut is_first), listing.total()) {
                self.refuse_if_too_dense(window, plan, total).await?;
            }
            self.check_page(rows.get()?, window, plan, before, listing.total()).await?;
        }

        let mut reading = rows.back()?;
        let total = before.or(listing.total()).unwrap_or(reading.rows);
        if let Some(heavy) = reading.too_heavy {
            return Err(Unread::Cut(CutReason::TooHeavy { rows: heavy.rows, bytes: heavy.bytes, total }));
        }
        reading.total = total;
        reading.total_after = match before {
            Some(before) if before + reading.rows > 0 => self.count(facts, request, &caller).await?,
            _ => reading.total,
        };
        Ok(reading)
    }

    /// Ends a try after a page that shows that it can't succeed. `before` is the count before it, `in_page` the page's
    /// own.
    async fn check_page(
        &self,
        reading: &mut WindowTry,
        window: &OpenWindow,
        plan: &WindowPlan,
        before: Option<u64>,
        in_page: Option<u64>,
    ) -> Result<(), Unread> {
        if let Some(cap) = in_page
            && reading.is_capped_at(cap)
            && self.may_be_cut(window).await?
        {
            return Err(Unread::Cut(CutReason::Capped { cap }));
        }
        if reading.answers_another_question() {
            let Span { from, to } = window.span();
            let why = format!("asked for {from} to {to}, the API answers with records of another time");
            return Err(Unread::Failed(Error::Inconsistent(why)));
        }

        let Some(total) = before.or(in_page) else { return Ok(()) };
        reading.refuse_unreadable(total, plan.unreadable_beside);
        match reading.too_heavy {
            Some(TooHeavy { rows, bytes }) => Err(Unread::Cut(CutReason::TooHeavy { rows, bytes, total })),
            None => Ok(()),
        }
    }

    async fn refuse_if_too_dense(&self, window: &OpenWindow, plan: &WindowPlan, rows: u64) -> Result<(), Unread> {
        if rows > plan.cut_above && self.may_be_cut(window).await? {
            return Err(Unread::Cut(CutReason::TooDense { rows }));
        }
        Ok(())
    }
}

/// If too many of a window's rows can't be read, the API has probably changed. The window is not covered, and none of
/// these rows is set aside.
fn refuse_if_unreadable(window: &OpenWindow, reading: WindowTry, plan: &WindowPlan) -> Result<WindowTry, Unread> {
    if !reading.has_too_many_unreadable(plan.unreadable_beside) {
        return Ok(reading);
    }
    let Span { from, to } = window.span();
    let why = format!("{from} to {to}: {}; the window stays open", reading.what_is_unreadable());
    Err(Unread::Unreadable { why, rows: reading.unreadable(), shown: Box::new(reading.readable()) })
}
