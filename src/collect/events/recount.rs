//! Reconciliation: the very request by which a window was covered is counted once more, later. Where the API counts
//! more by then, the window is read again, and what it lacks is added.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::super::Collector;
use super::plan::cut;
use super::read::{Expected, Unread};
use crate::collect::error::Error;
use crate::core::checkpoint::{EventsState, Recount, Window};
use crate::core::manifest::ReadingEntry as Entry;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::Events;

/// So many a run and stream: each is one small request.
const AT_MOST: usize = 100;
/// A recount that the API has been failing for so long is given up.
const GIVEN_UP_AFTER: i64 = DAY;
/// After so many failures in a row it is the API that fails, not a window.
const FAILURES_IN_A_ROW: u32 = 3;

impl Collector<'_> {
    /// When a window that is covered now is to be counted again.
    pub(super) fn recount_of(&self, done: &Entry) -> Option<Recount> {
        let (span, count) = (done.window?, done.total?);
        let due: Vec<Millis> = self.run.settings.reconcile.iter().map(|delay| done.closed_at + *delay).collect();
        if due.is_empty() {
            return None;
        }
        let request = done.request.clone();
        Some(Recount { span, request, count, covered_at: done.closed_at, due, read_by: None, has_key: false })
    }

    /// What was due when this run began: what it covers itself is the next run's.
    pub(super) fn due_recounts(&self) -> VecDeque<Recount> {
        if self.run.span.is_some() {
            return VecDeque::new();
        }
        let now = Millis::now();
        let is_due = |recount: &Recount| recount.due.first().is_some_and(|due| *due <= now);
        let mut due: Vec<Recount> =
            self.look(|state| state.recount.iter().filter(|recount| is_due(recount)).cloned().collect());
        due.sort_by(|a, b| a.due.cmp(&b.due));
        due.truncate(AT_MOST);
        due.into()
    }

    pub(super) async fn recount(&self, facts: &'static Events, due: VecDeque<Recount>) -> Result<(), Error> {
        let mut due = due;
        let (mut failed, mut failures) = (None, 0);
        while let Some(recount) = due.pop_front() {
            match self.recount_one(facts, &recount).await {
                Ok(parts) => {
                    failures = 0;
                    for part in parts.into_iter().rev() {
                        due.push_front(part);
                    }
                }
                // All that is owed is covered: the recount waits for the next run.
                Err(error) if error.is_out_of_time() => break,
                Err(error) if !error.may_be_local() => return Err(error),
                Err(error) => {
                    failures += 1;
                    self.give_up_if_overdue(&recount, &error);
                    failed.get_or_insert(error);
                    if failures >= FAILURES_IN_A_ROW {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Answers the parts to count instead, of a span that was empty and holds too much for one window now.
    async fn recount_one(&self, facts: &'static Events, recount: &Recount) -> Result<Vec<Recount>, Error> {
        let count = self.count(facts, &recount.request).await?;
        if count <= recount.count {
            if count < recount.count {
                let gone = recount.count - count;
                self.tally.vanished.fetch_add(gone, Ordering::Relaxed);
                warn!(stream = %self.stream, from = %recount.span.from, to = %recount.span.to, gone, "the API counts fewer rows than when this window was covered: it no longer keeps them, or they were deleted; what is stored stays");
            }
            self.events_state(|state| counted(state, recount, count));
            return Ok(Vec::new());
        }
        // Nothing of it can be stored, so that it has no key yet.
        let is_new = recount.count == 0 && !recount.has_key && recount.request == self.request(facts, recount.span);
        if is_new && count > self.sizes(facts).too_many(self.sizes(facts).most()) {
            let parts = self.cut_recount(facts, recount, count);
            if parts.len() > 1 {
                return Ok(parts);
            }
        }
        self.read_again(facts, recount).await?;
        Ok(Vec::new())
    }

    /// Reads a window once more under its own keys.
    async fn read_again(&self, facts: &'static Events, recount: &Recount) -> Result<(), Error> {
        let lease = &self.run.ledger.lease;
        self.events_state(|state| {
            if let Some(waiting) = waiting(state, recount) {
                waiting.read_by = Some(lease.clone());
                waiting.has_key = true;
            }
        });
        self.commit().await?;
        let window = Window {
            span: recount.span,
            request: recount.request.clone(),
            opened_at: Millis::now(),
            opened_by: lease.clone(),
        };
        let reading = match self.read(facts, &window, Expected::default(), u64::MAX).await {
            Ok(reading) => reading,
            Err(Unread::Failed(error)) => return Err(error),
            Err(Unread::TooDense { rows }) => unreachable!("{rows} are not more than the most there is"),
        };
        let count = reading.total;
        let is_new = recount.count == 0 && !recount.has_key;
        let (done, placed) = self.store(&window, reading, is_new).await?;
        for late in placed.iter().filter(|placed| placed.is_new).map(|placed| &placed.object) {
            let by = (recount.covered_at.0 - late.first.0).max(0);
            self.tally.late.fetch_add(late.records, Ordering::Relaxed);
            self.tally.late_by.fetch_max(by, Ordering::Relaxed);
            info!(stream = %self.stream, key = late.key, records = late.records, late_by_s = by / 1_000, "records that showed up after their window was covered were added");
        }
        self.note(done, |checkpoint| counted(checkpoint.events(self.stream), recount, count));
        Ok(())
    }

    fn cut_recount(&self, facts: &Events, recount: &Recount, count: u64) -> Vec<Recount> {
        let part = |span| Recount { span, request: self.request(facts, span), ..recount.clone() };
        let parts: Vec<Recount> =
            cut(recount.span, count.div_ceil(self.sizes(facts).most())).into_iter().map(part).collect();
        self.events_state(|state| {
            if let Some(at) = state.recount.iter().position(|waiting| waiting.span == recount.span) {
                state.recount.splice(at..=at, parts.iter().cloned());
            }
        });
        parts
    }

    fn give_up_if_overdue(&self, recount: &Recount, error: &Error) {
        let now = Millis::now();
        if recount.due.first().is_some_and(|due| *due + GIVEN_UP_AFTER < now) {
            warn!(stream = %self.stream, from = %recount.span.from, to = %recount.span.to, error = %error, "a window could not be counted again for a day: given up");
            self.events_state(|state| counted(state, recount, recount.count));
        }
    }
}

/// Not until the next time, if there is one.
fn counted(state: &mut EventsState, recount: &Recount, count: u64) {
    let now = Millis::now();
    if let Some(waiting) = waiting(state, recount) {
        waiting.count = count;
        waiting.read_by = None;
        waiting.due.retain(|due| *due > now);
    }
    state.recount.retain(|recount| !recount.due.is_empty());
}

fn waiting<'a>(state: &'a mut EventsState, recount: &Recount) -> Option<&'a mut Recount> {
    state.recount.iter_mut().find(|waiting| waiting.span == recount.span)
}
