//! Collects versions: lists what was updated since the last list, fetches the detail of each record, and stores the
//! changed ones. Details that don't fit a run stay pending on the checkpoint.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::Value;
use tracing::info;

use super::Collector;
use super::compared::{Counted, Record, Snapshot};
use crate::collect::error::Error;
use crate::core::checkpoint::{UnfinishedList, VersionsState};
use crate::core::known::{Gone, Known};
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson;
use crate::core::round::Round;
use crate::core::shared::Shared;
use crate::core::stream::Class;
use crate::core::stuck::StuckItem;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::Versions;
use crate::incydr::listing::{ListRow, Listing, escape};
use crate::incydr::request::Caller;

/// A list begins this long before the instant at which the last one was opened.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
/// Limit for the details of one reading, and so of one object.
const PART: usize = 500;
const TRIES: u32 = 3;

/// The result of one list.
struct ListedIds {
    request: Value,
    ids: BTreeSet<String>,
    /// The keys under which rows without an id were set aside.
    odd: Vec<String>,
    total: u64,
    /// Set if a page failed, or too many rows have no id. The other ids are in `ids`.
    failed: Option<Error>,
}

impl Collector<'_> {
    pub(super) async fn versions(&self, facts: &'static Versions) -> Result<(), Error> {
        self.keep_known().await?;
        let due = self.due();
        // Pending details are fetched even if the list contradicts itself.
        let failed = match self.list(facts).await {
            Err(error) if error.may_be_local() => Some(error),
            listed => listed.map(|()| None)?,
        };
        let known = match (self.fetch_pending(facts, due, None).await, failed) {
            (Err(error), Some(failed)) if error.is_out_of_time() => return Err(failed),
            (Err(error), _) | (Ok(_), Some(error)) => return Err(error),
            (Ok(known), None) => known,
        };

        if self.versions_state(|state| state.is_to_be_compared(Millis::now())) {
            let known = self.compare_whole_list(facts, known).await?;
            self.fetch_pending(facts, Vec::new(), known).await?;
        }
        Ok(())
    }

    /// Fetches and stores all pending details. Of the stuck ones only those that are `due`. Returns the known records
    /// if they were needed.
    async fn fetch_pending(
        &self,
        facts: &'static Versions,
        due: Vec<StuckItem>,
        mut known: Option<Known>,
    ) -> Result<Option<Known>, Error> {
        let pending = self.versions_state(|state| state.pending.clone());
        let mut round = self.stuck(|stuck| Round::new(None, stuck, Millis::now()));
        round.add_due(due.into_iter().filter_map(StuckItem::into_id).filter(|id| pending.contains(id)));
        round.add(pending);
        let not_found = Shared::default();

        // The known records are needed only if there is something to compare.
        while !round.is_over() {
            let key_of = |line: &str| ndjson::field(line, facts.list.field);
            let mut snapshot = self.open_snapshot(Class::Versions, known, None, key_of).await?;
            round.set_witnesses(snapshot.known.ids());
            let fetched = self.fetch(facts, &mut round, &mut snapshot, &not_found).await;
            known = Some(self.close_part(&mut round, snapshot).await?);
            fetched?;
        }

        let not_found = not_found.into_inner();
        if !not_found.is_empty() {
            self.drop_gone(facts, &not_found).await?;
        }
        Ok(known)
    }

    /// Compares the whole list with the known records. Records missing from two whole lists are deleted, and get a
    /// tombstone. Records that are not known are pending: the list of what was updated may never have shown them.
    async fn compare_whole_list(&self, facts: &'static Versions, known: Option<Known>) -> Result<Option<Known>, Error> {
        let Some(shown) = self.shown(facts).await? else { return Ok(known) };
        let key_of = |line: &str| ndjson::field(line, facts.list.field);
        let mut snapshot = self.open_snapshot(Class::Versions, known, None, key_of).await?;

        let now = Millis::now();
        let mut seen = Known::default();
        for id in &shown {
            seen.keep(id, &snapshot.known);
        }

        let count = snapshot.known.count();
        let (mut next, missing) = snapshot.known.after_whole_reading(seen, now);
        let Gone { believed: gone, doubted } = Gone::of(missing, count, now);
        let doubted = (doubted > 0).then(|| {
            format!(
                "{doubted} of {count} known {} would be gone at once, so none of them counts as deleted until all whole lists of 24 hours agree",
                self.stream
            )
        });

        for id in &gone {
            snapshot.push(&tombstone(facts.list.id(), id, snapshot.at));
            next.remove(id);
        }
        let is_missing = next.is_any_missed();
        let unknown: Vec<String> = shown.iter().filter(|id| !next.has_id(id)).cloned().collect();
        snapshot.known = next;

        let rows = shown.len() as u64;
        let closed = self.close_snapshot(snapshot, Counted { rows, total: Some(rows) }, |checkpoint| {
            for id in &gone {
                checkpoint.stuck(self.stream).heal(&StuckItem::Id(id.clone()));
            }
            let state = checkpoint.versions(self.stream);
            (state.compared_at, state.is_missing) = (Some(now), is_missing);
            state.pending.retain(|id| !gone.contains(id));
            state.pending.extend(unknown);
        });
        let known = closed.await?;
        doubted.map_or(Ok(Some(known)), |why| Err(Error::Inconsistent(why)))
    }

    /// Drops pending records that can't be found and that the whole list doesn't show any more.
    async fn drop_gone(&self, facts: &'static Versions, not_found: &BTreeSet<String>) -> Result<(), Error> {
        let Some(shown) = self.shown(facts).await? else { return Ok(()) };
        for id in not_found.difference(&shown) {
            info!(stream = %self.stream, id, "a record is neither found nor listed any more: it is gone");
            self.versions_state(|state| state.pending.remove(id));
            self.stuck(|stuck| stuck.heal(&StuckItem::Id(id.clone())));
        }
        Ok(())
    }

    /// Returns the ids on the whole list. None if they are fewer than its total, or if it has none.
    async fn shown(&self, facts: &'static Versions) -> Result<Option<BTreeSet<String>>, Error> {
        let size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let mut listing = Listing::new(self.run.api, &facts.list, size, Vec::new(), Value::Null);
        let mut shown = BTreeSet::new();
        while let Some(rows) = listing.rows(&self.caller()).await? {
            shown.extend(rows.into_iter().filter_map(|row| match row {
                ListRow::Record { id, .. } => Some(id),
                ListRow::Unreadable { bytes, .. } => ndjson::member(&bytes, facts.list.id()),
            }));
        }
        Ok(listing.total().is_some_and(|total| total <= shown.len() as u64).then_some(shown))
    }

    /// Fetches as many details as one snapshot may hold.
    async fn fetch(
        &self,
        facts: &'static Versions,
        round: &mut Round,
        snapshot: &mut Snapshot,
        not_found: &Shared<BTreeSet<String>>,
    ) -> Result<(), Error> {
        let ask = async |id: &str, caller: &Caller<'_>| {
            let detail = self.detail(facts, id, caller).await;
            if matches!(&detail, Err(Error::Api(error)) if error.is_not_found())
                && self.stuck(|stuck| stuck.get(&StuckItem::Id(id.to_owned())).is_some())
            {
                not_found.lock().insert(id.to_owned());
            }
            detail
        };

        let take = async |id: &str, detail: ListRow| {
            match detail {
                ListRow::Record { line, .. } => {
                    snapshot.take(&Record { key: id, line: &line, began: None, is_index: false });
                }
                ListRow::Unreadable { bytes, why } => snapshot.set_aside(self.set_aside(&bytes, &why).await?),
            }
            Ok(())
        };
        self.request_each(round, PART, ask, take).await
    }

    /// Closes a snapshot. Fetched records are not pending any more. The stream is covered once only stuck records are
    /// pending.
    async fn close_part(&self, round: &mut Round, snapshot: Snapshot) -> Result<Known, Error> {
        let judged = round.take_judged();
        let counted = Counted { rows: judged.answered.len() as u64, total: None };
        self.close_snapshot(snapshot, counted, |checkpoint| {
            let stuck = checkpoint.stuck(self.stream);
            judged.apply_to(stuck, Millis::now());
            let held_up = stuck.ids();
            let state = checkpoint.versions(self.stream);
            for id in &judged.answered {
                state.pending.remove(id);
            }
            if state.pending.is_subset(&held_up) {
                state.covered_to = state.listed_to.or(state.covered_to);
            }
        })
        .await
    }

    /// Stores the known records again each month, even if nothing has changed: a lifecycle rule may delete older
    /// objects.
    async fn keep_known(&self) -> Result<(), Error> {
        let known = self.versions_state(|state| state.stored.known.clone());
        let Some(old) = known.filter(|at| !Known::is_of_this_month(at)) else { return Ok(()) };
        let known = self.load_known(Some(&old)).await?;
        let (_, kept) = self.store_known(known, Some(&old)).await?;
        self.versions_state(|state| state.stored.known = kept);
        Ok(())
    }

    /// Changes the stream's state on the checkpoint.
    fn versions_state<T>(&self, change: impl FnOnce(&mut VersionsState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.versions(self.stream)))
    }

    /// Lists what was updated, until there are as many ids as the API counts. Stores no record.
    async fn list(&self, facts: &'static Versions) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (since, part) = self.versions_state(|state| (state.listed_to, state.listing.clone()));
            let is_new = part.is_none();
            let mut part =
                part.unwrap_or_else(|| UnfinishedList { began: Millis::now(), page: 0, seen: BTreeSet::new(), odd: 0 });
            let ListedIds { request, ids, odd, total, failed } = self.list_once(facts, since, &part).await?;
            if is_new {
                // A warm container learns the API's clock from the run's first answer.
                part.began = self.run.api.at(part.began);
            }

            let rows = ids.len() as u64 + part.odd + odd.len() as u64;
            // If the list has more rows than its total, the total is wrong.
            let whole = rows >= total && failed.is_none();
            let done = ReadingEntry {
                request,
                rows,
                total: Some(total).filter(|total| rows == *total),
                set_aside: odd,
                ..ReadingEntry::of_instant(self.stream, part.began, part.began)
            };
            self.note(done, |checkpoint| {
                let held_up = checkpoint.stuck(self.stream).ids();
                let state = checkpoint.versions(self.stream);
                state.pending.extend(ids);
                state.listing = None;
                if whole {
                    state.listed_to = Some(part.began);
                    if since.is_none() {
                        // Everything was listed while nothing was known, so there is nothing to compare.
                        state.compared_at.get_or_insert(part.began);
                    }
                    if state.pending.is_subset(&held_up) {
                        state.covered_to = Some(part.began);
                    }
                }
            });

            if whole {
                return Ok(());
            }
            if let Some(failed) = failed {
                return Err(failed);
            }
        }

        let message = format!(
            "the list of {} doesn't agree with the API's own total after {TRIES} readings; the next run reads it again",
            self.stream
        );
        Err(Error::Inconsistent(message))
    }

    /// Reads the list of the records that were updated since `since`, or of all, from the page at which an earlier run
    /// stopped. If the time is up, keeps its ids and its place.
    async fn list_once(
        &self,
        facts: &'static Versions,
        since: Option<Millis>,
        part: &UnfinishedList,
    ) -> Result<ListedIds, Error> {
        let interval = |since: Millis| {
            let iso = |at: Millis| at.date_time().format("%Y-%m-%dT%H:%M:%SZ");
            // Asks for the time up to a day from now. Otherwise a wrong clock could hide records that have just been
            // updated.
            (facts.updated.to_owned(), format!("{}/{}", iso(since - OVERLAP), iso(part.began + DAY)))
        };

        let size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let query: Vec<(String, String)> = since.map(interval).into_iter().collect();
        let request = query.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let mut listing = Listing::new(self.run.api, &facts.list, size, query, Value::Null).with_smaller_pages();
        if part.page > 0 {
            listing = listing.from_page(part.page, part.seen.len() as u64 + part.odd);
        }

        let mut ids = part.seen.clone();
        let (mut odd, mut failed, mut drifted) = (Vec::new(), None, None);
        loop {
            let rows = match self.next_rows(&mut listing, &self.caller(), &mut failed).await {
                Ok(Some(rows)) => rows,
                Ok(None) => break,
                Err(error) => {
                    // The next run reads the page that failed, too.
                    let is_sound = failed.is_none() && drifted.is_none();
                    let page = listing.next_page().filter(|_| is_sound && error.is_out_of_time());
                    self.keep_list(page, part, ids, odd.len() as u64);
                    return Err(error);
                }
            };

            let mut unnamed = Vec::new();
            for row in rows {
                match row {
                    ListRow::Record { id, .. } => {
                        ids.insert(id);
                    }
                    ListRow::Unreadable { bytes, why } => match ndjson::member(&bytes, facts.list.id()) {
                        // Its detail may be readable.
                        Some(id) => {
                            ids.insert(id);
                        }
                        None => unnamed.push(ListRow::Unreadable { bytes, why }),
                    },
                }
            }

            let before = part.odd + odd.len() as u64;
            if let Some(drift) = self.note_drift(&unnamed, before, before + ids.len() as u64, listing.total()) {
                drifted.get_or_insert_with(|| drift.error(self.stream.name()));
                continue;
            }
            for row in unnamed {
                if let ListRow::Unreadable { bytes, why } = row {
                    odd.push(self.set_aside(&bytes, &why).await?);
                }
            }
        }

        Ok(ListedIds {
            request: Value::Object(request),
            ids,
            odd,
            total: listing.total().unwrap_or(0),
            failed: drifted.or(failed),
        })
    }

    /// Keeps the ids of a list that was not read to its end. The next run continues at `page`, or begins the list
    /// again.
    fn keep_list(&self, page: Option<u64>, part: &UnfinishedList, ids: BTreeSet<String>, odd: u64) {
        self.versions_state(|state| state.pending.extend(ids.iter().cloned()));
        if let Some(page) = page {
            self.versions_state(|state| {
                let began = state.listing.as_ref().map_or_else(|| self.run.api.at(part.began), |part| part.began);
                state.listing = Some(UnfinishedList { began, page, seen: ids, odd: part.odd + odd });
            });
        }
    }

    async fn detail(&self, facts: &'static Versions, id: &str, caller: &Caller<'_>) -> Result<ListRow, Error> {
        let path = format!("{}{}", facts.detail, escape(id));
        Ok(ListRow::fetch(self.run.api, path, facts.list.field, id, caller).await?)
    }
}

/// For example `{"number":7,"_deleted":true,…}`, with the id in the API's form.
fn tombstone(name: &str, id: &str, at: Millis) -> String {
    let id = id.parse::<u64>().map_or_else(|_| Value::from(id), Value::from);
    format!(r#"{{"{name}":{id},"_deleted":true,"_deletedAt":"{at}"}}"#)
}
