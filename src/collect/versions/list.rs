//! Lists what was updated since the last list. A list that lacks rows holds nothing up: the ids that it shows are pending,
//! the next list goes on from it, and it is stuck until it shows the rest.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::Value;

use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::checkpoint::UnfinishedList;
use crate::core::error_type::ErrorInfo;
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson;
use crate::core::stuck::StuckItem;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::Versions;
use crate::incydr::listing::{ListRow, Listing};

/// A list begins this long before the instant at which the last one was opened.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
const TRIES: u32 = 3;

/// The end of a list. Its ids are in the [`UnfinishedList`].
struct ListEnd {
    request: Value,
    /// The keys under which rows without an id were set aside.
    set_aside: Vec<String>,
    total: u64,
    /// Set if rows of a page could not be read, or too many rows have no id.
    failed: Option<Error>,
}

impl Collector<'_> {
    /// The whole list, as a thing that may be stuck.
    pub(super) fn whole_list(&self) -> StuckItem {
        StuckItem::List { list: self.stream.to_string(), id: None }
    }

    /// Lists what was updated since the last list. Until there are as many ids as the API counts it is read again, up to
    /// three times in all.
    pub(super) async fn list(&self, facts: &'static Versions) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            let (since, unfinished) = self.versions_state(|state| (state.listed_to, state.listing.clone()));
            let size = self.page_size(&facts.list);
            let unfinished = unfinished.filter(|list| list.fits(size));
            let is_new = unfinished.is_none();
            let mut list = unfinished.unwrap_or_else(|| UnfinishedList::new(Millis::now(), size));
            let read = self.list_once(facts, since, &mut list).await;
            if is_new {
                // A warm container learns the API's clock from the run's first answer.
                list.began = self.run.api.at(list.began);
            }
            let end = match read {
                Ok(end) => end,
                Err(error) => {
                    // The next run goes on behind a page that failed, and its error is told all the same.
                    let failed = list.failed_pages.error().filter(|_| error.is_out_of_time()).cloned();
                    self.keep_unfinished(list, &error);
                    return Err(failed.map_or(error, Error::IncompleteList));
                }
            };

            let lack = self.lack(&list, &end);
            if lack.is_none() || end.failed.is_some() || attempt == TRIES {
                self.note_listed(since, list, &end, lack);
                return Ok(());
            }
            self.note(self.entry(&list, &end), |checkpoint| {
                let state = checkpoint.versions(self.stream);
                state.pending.extend(list.seen);
                state.listing = None;
            });
        }
        Ok(())
    }

    /// Has the next list go on from this one. If it lacks rows, it is stuck.
    fn note_listed(&self, since: Option<Millis>, list: UnfinishedList, end: &ListEnd, lack: Option<ErrorInfo>) {
        self.note(self.entry(&list, end), |checkpoint| {
            let (stuck, is_whole) = (checkpoint.stuck(self.stream), lack.is_none());
            if let Some(lack) = lack.filter(|_| stuck.get(&self.whole_list()).is_none()) {
                stuck.fail(self.whole_list(), lack, Millis::now());
            }
            let held_up = stuck.ids();
            let state = checkpoint.versions(self.stream);
            state.pending.extend(list.seen.iter().cloned());
            (state.listing, state.listed_to) = (None, Some(list.began));
            if !is_whole {
                state.note_incomplete(since, list.seen);
            } else if since.is_none() {
                // Everything was listed while nothing was known, so there is nothing to compare.
                state.compared_at.get_or_insert(list.began);
            }
            state.cover(&held_up);
        });
    }

    /// Whether a list that lacked rows is to be read again.
    pub(super) fn is_incomplete_list_due(&self) -> bool {
        let (is_due, is_incomplete) = (
            self.stuck(|stuck| stuck.is_due(&self.whole_list(), Millis::now())),
            self.versions_state(|state| state.incomplete_list.is_some()),
        );
        if !is_incomplete {
            // The other dialect calls its list of cases by the same name.
            self.stuck(|stuck| stuck.heal(&self.whole_list()));
        }
        is_due && is_incomplete
    }

    /// Reads the list that lacked rows once more, or goes on with that. Once it is whole, all of its ids are pending.
    pub(super) async fn list_again(&self, facts: &'static Versions) -> Result<(), Error> {
        let Some(incomplete) = self.versions_state(|state| state.incomplete_list.clone()) else { return Ok(()) };
        let size = self.page_size(&facts.list);
        let unfinished = incomplete.unfinished.filter(|list| list.fits(size));
        let mut list = unfinished.unwrap_or_else(|| UnfinishedList::new(Millis::now(), size));
        let end = match self.list_once(facts, incomplete.since, &mut list).await {
            Ok(end) => end,
            Err(error) => {
                self.versions_state(|state| {
                    state.note_shown_again(&list.seen);
                    if let Some(incomplete) = &mut state.incomplete_list {
                        incomplete.unfinished = Some(list).filter(|list| error.is_out_of_time() && list.page > 0);
                    }
                });
                if !error.may_be_local() {
                    return Err(error);
                }
                self.stuck(|stuck| stuck.fail(self.whole_list(), ErrorInfo::from(&error), Millis::now()));
                return Ok(());
            }
        };

        let lack = self.lack(&list, &end);
        self.note(self.entry(&list, &end), |checkpoint| {
            if let Some(lack) = lack {
                checkpoint.stuck(self.stream).fail(self.whole_list(), lack, Millis::now());
                let state = checkpoint.versions(self.stream);
                state.note_shown_again(&list.seen);
                state.incomplete_list.iter_mut().for_each(|list| list.unfinished = None);
            } else {
                let stuck = checkpoint.stuck(self.stream);
                stuck.heal(&self.whole_list());
                let held_up = stuck.ids();
                let state = checkpoint.versions(self.stream);
                state.pending.extend(list.seen);
                state.incomplete_list = None;
                state.cover(&held_up);
            }
        });
        Ok(())
    }

    /// Returns the ids on the whole list, which may take several runs. None if rows have no id: each may be any record. If
    /// it lacks rows, it is read again in an hour.
    pub(super) async fn whole_list_ids(&self, facts: &'static Versions) -> Result<Option<BTreeSet<String>>, Error> {
        let size = self.page_size(&facts.list);
        let unfinished = self.versions_state(|state| state.comparing.take()).filter(|list| list.fits(size));
        let mut list = unfinished.unwrap_or_else(|| UnfinishedList::new(Millis::now(), size));
        let end = match self.list_once(facts, None, &mut list).await {
            Ok(end) => end,
            Err(error) => {
                let keeps = error.is_out_of_time() && list.page > 0;
                self.versions_state(|state| state.comparing = Some(list).filter(|_| keeps));
                return Err(error);
            }
        };
        match self.lack(&list, &end) {
            None if list.without_id > 0 => {
                self.versions_state(|state| state.compared_at = Some(Millis::now()));
                Ok(None)
            }
            None => Ok(Some(list.seen)),
            Some(lack) => {
                self.versions_state(|state| (state.compared_at, state.is_missing) = (Some(Millis::now()), true));
                Err(Error::IncompleteList(lack))
            }
        }
    }

    /// Reads the list from the page that `list` names, and adds the ids to it. After an error `list` has the ids and the
    /// page at which the next run goes on.
    async fn list_once(
        &self,
        facts: &'static Versions,
        since: Option<Millis>,
        list: &mut UnfinishedList,
    ) -> Result<ListEnd, Error> {
        let interval = |since: Millis| {
            let iso = |at: Millis| at.date_time().format("%Y-%m-%dT%H:%M:%SZ");
            // Asks for the time up to a day from now. Otherwise a wrong clock could hide records that have just been
            // updated.
            (facts.updated.to_owned(), format!("{}/{}", iso(since - OVERLAP), iso(list.began + DAY)))
        };

        let query: Vec<(String, String)> = since.map(interval).into_iter().collect();
        let request = query.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let mut listing = Listing::new(self.run.api, &facts.list, self.page_size(&facts.list), query, Value::Null);
        if list.page > 0 {
            listing = listing.from_page(list.page, list.rows());
        }
        listing = listing.with_smaller_pages(list.failed_pages.clone());

        let (mut set_aside, mut drifted) = (Vec::new(), None);
        loop {
            let rows = match self.next_rows(&mut listing, &self.caller()).await {
                Ok(Some(rows)) => rows,
                Ok(None) => break,
                Err(error) => {
                    list.page = listing.next_page().filter(|_| drifted.is_none()).unwrap_or(0);
                    list.failed_pages = listing.failed_pages();
                    return Err(error);
                }
            };

            let mut unnamed = Vec::new();
            for row in rows {
                match row {
                    ListRow::Record { id, .. } => {
                        list.seen.insert(id);
                    }
                    ListRow::Unreadable { bytes, why } => match ndjson::member(&bytes, facts.list.id()) {
                        // Its detail may be readable.
                        Some(id) => {
                            list.seen.insert(id);
                        }
                        None => unnamed.push(ListRow::Unreadable { bytes, why }),
                    },
                }
            }

            if let Some(drift) = self.note_drift(&unnamed, list.without_id, list.rows(), listing.total()) {
                drifted.get_or_insert_with(|| drift.error(self.stream.name()));
                continue;
            }
            for row in unnamed {
                if let ListRow::Unreadable { bytes, why } = row {
                    set_aside.push(self.set_aside(&bytes, &why).await?);
                    list.without_id += 1;
                }
            }
        }

        let failed = drifted.or_else(|| listing.failure().cloned().map(Error::IncompleteList));
        Ok(ListEnd { request: Value::Object(request), set_aside, total: listing.total().unwrap_or(0), failed })
    }

    /// Why the list lacks rows. None if it is whole. If it has more rows than its total, the total is wrong.
    fn lack(&self, list: &UnfinishedList, end: &ListEnd) -> Option<ErrorInfo> {
        if let Some(failed) = &end.failed {
            return Some(ErrorInfo::from(failed));
        }
        let message = || {
            let (rows, total) = (list.rows(), end.total);
            format!("{rows} {} were listed and the API counts {total}, after {TRIES} tries", self.stream)
        };
        (list.rows() < end.total).then(|| ErrorInfo::from(&Error::Inconsistent(message())))
    }

    fn entry(&self, list: &UnfinishedList, end: &ListEnd) -> ReadingEntry {
        let rows = list.rows();
        ReadingEntry {
            request: end.request.clone(),
            rows,
            total: Some(end.total).filter(|total| rows == *total),
            set_aside: end.set_aside.clone(),
            ..ReadingEntry::of_instant(self.stream, list.began, list.began)
        }
    }

    /// Keeps the ids of a list that was not read to its end. If the time is up, the next run continues at its page.
    fn keep_unfinished(&self, list: UnfinishedList, error: &Error) {
        self.versions_state(|state| {
            state.pending.extend(list.seen.iter().cloned());
            if error.is_out_of_time() && list.page > 0 {
                state.listing = Some(list);
            }
        });
    }
}
