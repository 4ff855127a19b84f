//! Reads one list until it agrees with the API's total.

use std::collections::HashSet;

use futures::stream::{self, StreamExt};
use serde_json::Value;
use tracing::warn;

use super::super::Collector;
use super::deletions::{is_believed, missed_since};
use super::key::Member;
use super::pass::{PassReading, Whole};
use crate::collect::each::FETCHES_AT_ONCE;
use crate::collect::error::Error;
use crate::core::checkpoint::{ListPlace, Pass};
use crate::core::ndjson::{self, Fingerprint};
use crate::core::quote;
use crate::core::stuck::StuckItem;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Detail, Inventory, Part};
use crate::incydr::listing::{ListRow, Listing, escape, is_json};
use crate::incydr::request::Caller;

const TRIES: u32 = 3;
/// The end date in the whole of a record. `health` asks for it.
const END: &[&str] = &["endDate"];

/// A list that is being read, and its rows so far.
pub struct ListReading<'a> {
    part: &'static Part,
    /// The record that the list belongs to.
    parent: Option<String>,
    listing: Listing<'a>,
    /// The first page, if it was requested already.
    first_page: Option<Result<Option<Vec<ListRow>>, ApiError>>,
    ids: HashSet<String>,
    /// The ids that several rows have.
    repeated: HashSet<String>,
    /// The number of rows, including repeated ones.
    rows: u64,
    /// The number of rows that couldn't be read.
    set_aside: u64,
    /// Set if they are so many that the API must have changed their form.
    drifted: Option<Error>,
    /// The error of the first record whose detail failed. The others are stored.
    undetailed: Option<Error>,
    /// The distinct rows.
    distinct: HashSet<Fingerprint>,
}

impl Collector<'_> {
    /// A list by itself, from the page at which an earlier run stopped.
    pub(super) fn list_alone(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        reading: &PassReading,
    ) -> ListReading<'_> {
        let mut list = self.begin_list(part, None);
        if reading.pass.page > 0 {
            let ids = reading.ids_of(facts, part).collect();
            list = list.continued(reading.pass.page, ids, reading.pass.set_aside);
            if reading.pass.is_drifted {
                list.drifted =
                    Some(Error::Totals(format!("rows of {} can't be read, as an earlier run found", part.name)));
            }
        }
        list
    }

    /// The list of one record, with its first page. If it is the list that an earlier run left under way, it is the
    /// next page.
    pub(super) async fn list_of(
        &self,
        part: &'static Part,
        parent: &str,
        under_way: Option<&(ListPlace, HashSet<String>)>,
        caller: &Caller<'_>,
    ) -> Result<ListReading<'_>, Error> {
        let begin = || self.begin_list(part, Some(parent.to_owned()));
        let mut list = match under_way.filter(|(place, _)| place.parent == parent) {
            Some((place, ids)) => begin().continued(place.page, ids.clone(), place.set_aside),
            None => begin(),
        };
        let first_page = match list.listing.rows(caller).await {
            Err(error) if !is_none(part, &error) => return Err(error.into()),
            // There is no such list any more.
            Err(error) => {
                list = begin();
                Err(error)
            }
            answer => answer,
        };
        list.first_page = Some(first_page);
        Ok(list)
    }

    fn begin_list(&self, part: &'static Part, parent: Option<String>) -> ListReading<'_> {
        let size = self.run.settings.page_size(self.stream, part.list.max_page_size);
        let mut listing = Listing::new(self.run.api, &part.list, size, Vec::new(), Value::Null);
        if let Some(parent) = &parent {
            listing = listing.of(parent);
        }
        let (ids, distinct) = (HashSet::new(), HashSet::new());
        let repeated = HashSet::new();
        ListReading {
            part,
            parent,
            listing,
            first_page: None,
            ids,
            repeated,
            rows: 0,
            set_aside: 0,
            drifted: None,
            undetailed: None,
            distinct,
        }
    }

    /// Whether the API answers with a list's first page now.
    pub(super) async fn answers(&self, part: &'static Part) -> bool {
        let caller = Caller { tries_once: true, ..self.caller() };
        self.begin_list(part, None).listing.rows(&caller).await.is_ok()
    }

    pub(super) async fn read_list(
        &self,
        facts: &'static Inventory,
        list: ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<Whole, Error> {
        let mut list = list;
        let part = list.part;
        if list.ids.is_empty() {
            reading.forget_list(facts, part, list.parent.as_deref());
        }
        let (mut tries, mut repeated_before) = (0, HashSet::new());
        loop {
            tries += 1;
            let total = match self.read_pages(facts, &mut list, reading).await {
                Err(Error::Api(error)) if is_none(part, &error) => {
                    self.check_gone(facts, &list, &error, reading)?;
                    Some(0)
                }
                read => {
                    let total = read?;
                    if let Some(parent) = &list.parent {
                        self.inventory_state(|state| state.keep_empty(part.name, |empty| empty != parent));
                    }
                    total
                }
            };
            if let Some(error) = list.drifted.or(list.undetailed) {
                return Err(error);
            }
            let ids = list.ids.len() as u64;
            let distinct = list.distinct.len() as u64;
            let Some(total) = total else {
                let rows = ids + list.set_aside;
                return Ok(Whole { rows, unreadable: list.set_aside, total, is_exact: list.set_aside == 0 });
            };
            // Several rows with one id may be two states of a record, because the paging shifted; then another record
            // is hidden. If the last two readings have them of the same ids, the API itself has them.
            let are_its_own = tries == TRIES && distinct == total && list.repeated == repeated_before;
            if ids + list.set_aside == total || are_its_own {
                let (rows, unreadable) = (total, list.set_aside);
                return Ok(Whole { rows, unreadable, total: Some(total), is_exact: ids == total });
            }
            // All pages were read and had more rows than the total: the total is wrong.
            if ids + list.set_aside > total {
                let rows = ids + list.set_aside;
                warn!(stream = %self.stream, list = part.name, rows, total, "the API shows more rows than it counts; the rows are believed");
                let unreadable = list.set_aside;
                return Ok(Whole { rows, unreadable, total: None, is_exact: unreadable == 0 && rows == list.rows });
            }
            if tries == TRIES {
                let whose = list.parent.map(|parent| format!(" of {parent}")).unwrap_or_default();
                return Err(Error::Totals(format!(
                    "{ids} {}{whose} were read and the API counts {total}, after {tries} readings; new and changed records are stored, none counts as deleted, and the next run reads them again",
                    part.name
                )));
            }
            for id in std::mem::take(&mut list.ids) {
                reading.forget_seen(&Member { part, parent: list.parent.as_deref(), id: &id }.key(facts));
            }
            repeated_before = list.repeated;
            list = self.begin_list(part, list.parent);
            match &list.parent {
                None => (reading.pass.page, reading.pass.set_aside) = (0, 0),
                Some(parent) => reading.pass.end_list(parent),
            }
            reading.pass.runs_since_restart.get_or_insert(0);
        }
    }

    /// Called if a record is said to have no such list. A list that can't be found is not the same as an empty one: it
    /// fails, until it wasn't found for a day. Then it counts as empty, and its known records as deleted.
    fn check_gone(
        &self,
        facts: &'static Inventory,
        list: &ListReading<'_>,
        error: &ApiError,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let (name, Some(parent)) = (list.part.name, list.parent.as_deref()) else { return Ok(()) };
        if !matches!(error, ApiError::Status { status: 404, .. }) {
            return Ok(());
        }
        let (count, missed_since) = missed_since(facts, &reading.snapshot.known, name, Some(parent));
        let is_known = count > 0 && facts.tells_deleted;
        let what = StuckItem::List { list: name.to_owned(), id: Some(parent.to_owned()) };
        let failed_since = self.stuck(|stuck| stuck.get(&what).map(|stuck| stuck.since));
        let since = if is_known { missed_since } else { failed_since };
        let is_gone = since.is_some_and(|since| is_believed(since, Millis::now()));
        let (is_accepted, counts_as_empty) =
            self.inventory_state(|state| (state.accept_deletions > 0, state.counts_as_empty(name, parent)));
        if is_gone || is_accepted || !is_known && counts_as_empty {
            self.inventory_state(|state| state.believe_empty(name, parent));
            return Ok(());
        }
        reading.not_found.insert((name, parent.to_owned()));
        Err(Error::Totals(format!(
            "{error}; {count} are known, and a list that can't be found is not an empty one: it counts as empty once it could not be found for 24 hours, or at once by {{\"action\": \"restart\", \"streams\": [\"{}\"], \"accept_deletions\": true}}",
            self.stream
        )))
    }

    /// Reads to the last page, and returns the API's total.
    async fn read_pages(
        &self,
        facts: &'static Inventory,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<Option<u64>, Error> {
        let part = list.part;
        // If the list is continued, the page before was full.
        let (mut page_before, mut failed) = ((!list.ids.is_empty()).then_some(true), None);
        loop {
            let page = match list.first_page.take() {
                Some(first) => first.map_err(Error::from),
                None => self.next_rows(&mut list.listing, &self.caller(), &mut failed).await,
            };
            // If the time is up behind a page that failed, the next run must not go on from here, because not every list
            // has a total that would miss the page.
            let Some(rows) = page.map_err(|error| failed.take().unwrap_or(error))? else { break };
            let (count, before) = (rows.len() as u64, (list.ids.len(), list.set_aside));
            list.rows += count;
            self.take_rows(facts, rows, list, reading).await?;
            list.note_place(&mut reading.pass);
            let is_numbered = list.listing.next_page().is_some();
            if is_numbered && before == (list.ids.len(), list.set_aside) {
                // The page has only rows that were read before. The total says whether that is all. If there is no
                // total and the page before was full, the API seems to ignore the paging.
                let must_have_pages = part.list.total.is_none() && part.list.bare_first.is_none();
                if must_have_pages && page_before.is_some_and(|full| full) {
                    let why = "the pages repeat, so the rest of the list is unknown".to_owned();
                    let error = ApiError::Unexpected { what: format!("GET {}", part.list.path), why };
                    return Err(list.listing.quoted(error).into());
                }
                break;
            }
            page_before = Some(count >= self.run.settings.page_size(self.stream, part.list.max_page_size));
        }
        failed.map_or_else(|| Ok(list.listing.total()), Err)
    }

    async fn take_rows(
        &self,
        facts: &'static Inventory,
        rows: Vec<ListRow>,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let shown = list.ids.len() as u64 + list.set_aside;
        let drift = self.drift(&rows, list.set_aside, shown, list.listing.total());
        let ListReading { part, parent, ids, repeated, set_aside, distinct, drifted, undetailed, .. } = list;
        let (part, parent) = (*part, parent.as_deref());
        if let Some(drift) = &drift {
            let list = parent.map_or_else(|| part.name.to_owned(), |parent| format!("{} of {parent}", part.name));
            drifted.get_or_insert_with(|| drift.error(&list));
        }
        let mut to_fetch = Vec::new();
        for row in rows {
            let (line, id) = match row {
                ListRow::Record { line, id } => (line, id),
                // A record that was asked for by itself. Its bytes aren't damaged, and the next answer may be the right one.
                ListRow::Unreadable { bytes, why } if part.every.is_some() && is_json(&bytes) => {
                    let error = ApiError::Unexpected { what: format!("GET {}", part.list.path), why };
                    return Err(list.listing.quoted(error).into());
                }
                ListRow::Unreadable { bytes, why } => {
                    if distinct.insert(Fingerprint::of(&bytes)) {
                        if drift.is_none() {
                            reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                        }
                        *set_aside += 1;
                    }
                    continue;
                }
            };
            if let Some(asked) = parent.filter(|parent| part.every.is_some() && **parent != *id) {
                let (what, why) = (
                    format!("GET {}", part.list.path),
                    format!("the answer is record {}, not {asked}", quote::value(&id)),
                );
                return Err(list.listing.quoted(ApiError::Unexpected { what, why }).into());
            }
            distinct.insert(Fingerprint::of(line.as_bytes()));
            let member = Member { part, parent, id: &id };
            let key = member.key(facts);
            match &part.detail {
                Some(_) if reading.knows(&key) => reading.keep(&key),
                Some(_) => to_fetch.push(id.clone()),
                None => {
                    let end = part.every.map(|_| ndjson::field(&line, END).unwrap_or_default());
                    reading.take(&key, &member.line(facts, line), part.is_index);
                    if let Some(end) = end {
                        reading.note_end(&key, end);
                    }
                }
            }
            if let Some(again) = ids.replace(id) {
                repeated.insert(again);
            }
        }
        let (Some(detail), Some(parent)) = (&part.detail, parent) else { return Ok(()) };
        let mut details = stream::iter(to_fetch).map(|id| self.detail_of(detail, parent, id)).buffered(FETCHES_AT_ONCE);
        let mut failed = None;
        while let Some(fetched) = details.next().await {
            let (id, record) = match fetched {
                // The other records are stored. The list is stuck until this detail can be read.
                Err(error) if error.may_be_of_one() => {
                    failed.get_or_insert(error);
                    continue;
                }
                fetched => fetched?,
            };
            let member = Member { part, parent: Some(parent), id: &id };
            match record {
                ListRow::Record { line, .. } => reading.take(&member.key(facts), &member.line(facts, line), false),
                ListRow::Unreadable { bytes, why } => {
                    reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                }
            }
        }
        if let Some(error) = failed {
            undetailed.get_or_insert_with(|| Error::Totals(error.of_one().to_string()));
        }
        Ok(())
    }

    async fn detail_of(&self, detail: &'static Detail, parent: &str, id: String) -> Result<(String, ListRow), Error> {
        let path = detail.path.replacen("{}", &escape(parent), 1).replacen("{}", &escape(&id), 1);
        let row = ListRow::asked_for(self.run.api, path, detail.id, &id, &self.caller()).await?;
        Ok((id, row))
    }
}

impl ListReading<'_> {
    /// Continues at a page, behind rows that were read before.
    fn continued(mut self, page: u64, ids: HashSet<String>, set_aside: u64) -> Self {
        let rows = ids.len() as u64 + set_aside;
        (self.ids, self.set_aside, self.rows) = (ids, set_aside, rows);
        self.listing = self.listing.from_page(page, rows);
        self
    }

    /// Notes the page from which the next run continues if the list doesn't fit this one.
    fn note_place(&self, pass: &mut Pass) {
        let (page, set_aside, is_drifted) = (self.listing.next_page(), self.set_aside, self.drifted.is_some());
        match &self.parent {
            None => {
                (pass.page, pass.set_aside, pass.is_drifted) = (page.unwrap_or(pass.page), set_aside, is_drifted);
            }
            Some(parent) => {
                // The next run reads the list from before a record whose detail failed.
                if let Some(page) = page.filter(|_| !is_drifted && self.undetailed.is_none()) {
                    pass.note_list(ListPlace { parent: parent.clone(), page, set_aside });
                }
            }
        }
    }
}

/// Whether the answer means that the record has no such list.
fn is_none(part: &Part, error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status, .. } if part.none.contains(status))
}
