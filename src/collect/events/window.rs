//! Reads and stores one open window, or says why not.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::open::OpenWindow;
use super::read::Unread;
use super::reading::WindowTry;
use super::{FinishedReading, StepResult};
use crate::bucket::records::{Placed, hours};
use crate::bucket::s3::StoreError;
use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::clock::off_thread;
use crate::core::density::halves;
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Span;
use crate::core::manifest::ReadingEntry;
use crate::core::schedule::{Leftover, Outcome, UnreadReason, WindowPlan};
use crate::core::time::Millis;
use crate::incydr::facts::Events;

const WRITES_AT_ONCE: usize = 4;
const SMALL_WRITES_AT_ONCE: usize = 32;

impl Collector<'_> {
    /// Reads and stores a window. Returns an error only if it isn't about this window.
    pub(super) async fn finish(
        &self,
        facts: &'static Events,
        window: &OpenWindow,
        plan: &WindowPlan,
    ) -> Result<StepResult, Error> {
        let (span, began) = (window.span(), Millis::now());
        let reading = match self.read(facts, window, plan).await {
            Ok(reading) => reading,
            Err(unread) => return Ok(self.outcome_of(window, plan, unread).await?.into()),
        };

        if span.to > self.horizon() {
            // A warm container learns the API's clock from the run's first answer.
            let leaves = if matches!(window, OpenWindow::Ours(_)) { Leftover::Planned } else { Leftover::Stored };
            return Ok(Outcome::TooEarly { span, leaves }.into());
        }

        let (rows, inside, rows_hash) = (reading.rows, reading.inside, reading.shown.hash());
        // After the first write the window keeps its bounds. Otherwise its records could be stored under another key
        // again.
        match self.store(window, reading).await {
            Ok((done, _)) => {
                let bytes = done.objects.iter().map(|object| object.bytes).sum();
                let took = Millis::now() - began;
                let outcome = Outcome::Read { span, rows, inside, bytes, took };
                Ok(StepResult { outcome, reading: Some(FinishedReading { span, done, rows_hash }) })
            }
            Err(error) => Ok(not_stored(window, plan, error)?.into()),
        }
    }

    /// Decides the outcome of a window that was not read. If cutting it is impossible or of no use, the rows that it
    /// showed are stored: they must not wait for the others. Then it stays open.
    async fn outcome_of(&self, window: &OpenWindow, plan: &WindowPlan, unread: Unread) -> Result<Outcome, Error> {
        let span = window.span();
        let (error, why, shown) = match unread {
            Unread::Cut(why) => return Ok(Outcome::Cut { span, why }),
            Unread::Failed(error) if error.is_out_of_time() => {
                let is_unstored = self.is_ours_alone(window).await.unwrap_or(false);
                return Ok(out_of_time(window, plan, is_unstored));
            }
            Unread::Failed(error) => (self.of_one_span(error)?, UnreadReason::Failed, None),
            Unread::Disagreed { why, shown } => (Error::Inconsistent(why), UnreadReason::Disagreed, shown),
            Unread::Unreadable { why, rows, shown } => {
                self.tally.drift.add(rows);
                (Error::Inconsistent(why), UnreadReason::Unreadable { rows }, Some(shown))
            }
        };

        let unread = |error: Error, why| {
            Ok(Outcome::Unread { window: window.window().clone(), error: ErrorInfo::from(&error), why })
        };

        let shows_some = shown.as_ref().is_some_and(|shown| shown.inside > 0);
        // Shorter windows would have as many unreadable rows, and the shortest can't be cut.
        let is_kept = match why {
            UnreadReason::Unreadable { .. } => plan.keeps_shown && shows_some,
            UnreadReason::Disagreed => plan.keeps_shown && shows_some && halves(span).is_none(),
            _ => false,
        };
        if !is_kept && self.is_ours_alone(window).await? {
            return unread(error, why);
        }

        let Some(shown) = shown else { return unread(error, UnreadReason::KeepsBounds) };
        match self.store(window, *shown).await {
            Ok(_) => {
                let unreadable = if let UnreadReason::Unreadable { rows } = why { rows } else { 0 };
                unread(error, UnreadReason::Kept { unreadable })
            }
            Err(error) => not_stored(window, plan, error),
        }
    }

    /// Stores a window. Unreadable rows are set aside first, so that no window is covered without them. Returns the
    /// finished reading, and all objects with its records.
    pub(super) async fn store(
        &self,
        window: &OpenWindow,
        mut reading: WindowTry,
    ) -> Result<(ReadingEntry, Vec<Placed>), Error> {
        let _turn = reading.turn();
        let set_aside = self.keep_unreadable(&reading).await?;
        let total = reading.count();
        let rows = reading.agreed();
        let objects = off_thread(move || reading.objects()).await;
        let until = self.run.times.store_until;

        // An earlier run may have stored objects in hours that show no record now. The manifest must list them.
        let others: Vec<Span> = match window {
            OpenWindow::Ours(_) => Vec::new(),
            OpenWindow::Foreign { window, .. } => {
                hours(window.span).filter(|hour| objects.iter().all(|(stored, _)| stored != hour)).collect()
            }
        };

        // A window may be many objects, and the lease may be lost between two of them.
        let add = |(hour, packed)| async move {
            self.run.ledger.check_lease()?;
            Ok::<_, Error>(self.run.records.add(self.stream, hour, packed, until).await?)
        };
        let look = |hour| self.run.records.stored_in(self.stream, hour, until);
        // An hour whose object S3 refuses holds up no other hour.
        let results: Vec<_> = stream::iter(objects).map(add).buffer_unordered(WRITES_AT_ONCE).collect().await;
        let (mut placed, mut failed) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(of_hour) => placed.extend(of_hour),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            self.tally.add(&placed);
            return Err(error);
        }
        placed.extend(stream::iter(others).map(look).buffer_unordered(WRITES_AT_ONCE).try_concat().await?);
        placed.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        self.tally.add(&placed);

        let window = window.window();
        let done = ReadingEntry {
            request: window.request.clone(),
            rows,
            total,
            set_aside,
            objects: placed.iter().map(|placed| placed.object.clone()).collect(),
            ..ReadingEntry::of_window(self.stream, window.span, window.opened_at)
        };
        Ok((done, placed))
    }

    /// Sets the unreadable rows aside, and returns their keys.
    pub(super) async fn keep_unreadable(&self, reading: &WindowTry) -> Result<Vec<String>, Error> {
        let keep = |(bytes, why): &(Bytes, String)| {
            let (bytes, why) = (bytes.clone(), why.clone());
            async move { self.set_aside(&bytes, &why).await }
        };
        let kept: Vec<_> = reading.set_aside.iter().map(keep).collect();
        stream::iter(kept).buffered(SMALL_WRITES_AT_ONCE).try_collect().await
    }

    /// The reading of a span in which the API counts no rows.
    pub(super) fn empty(&self, facts: &Events, span: Span) -> ReadingEntry {
        let now = Millis::now();
        let request = self.request(facts, span);
        ReadingEntry { request, total: Some(0), ..ReadingEntry::of_window(self.stream, span, now) }
    }
}

/// The outcome if the time is up.
fn out_of_time(window: &OpenWindow, plan: &WindowPlan, is_unstored: bool) -> Outcome {
    let leaves = match is_unstored {
        true if plan.has_expected_rows() => Leftover::Planned,
        true => Leftover::Found,
        false => Leftover::Stored,
    };
    Outcome::OutOfTime { window: window.window().clone(), most_rows: plan.most_rows, leaves }
}

/// The outcome of a window that was read and could not be stored. Returns an error only if it isn't about this window.
fn not_stored(window: &OpenWindow, plan: &WindowPlan, error: Error) -> Result<Outcome, Error> {
    let (open, told) = (window.window().clone(), ErrorInfo::from(&error));
    match error {
        late if late.is_out_of_time() => Ok(out_of_time(window, plan, false)),
        Error::Store(StoreError::Foreign { .. }) => {
            Ok(Outcome::Unread { window: open, error: told, why: UnreadReason::KeepsBounds })
        }
        error if error.may_be_of_one_key() => Ok(Outcome::NotStored { window: open, error: told }),
        error => Err(error),
    }
}
