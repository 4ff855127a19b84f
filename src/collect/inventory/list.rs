//! Reads one list until it agrees with the API's total.

use std::collections::HashSet;

use serde_json::Value;
use tracing::warn;

use super::super::Collector;
use super::key::{Member, list_name};
use super::pass::{FinishedList, PassReading};
use crate::collect::error::Error;
use crate::collect::unreadable::UnreadableRows;
use crate::core::checkpoint::{Pass, UnfinishedSublist};
use crate::core::error_type::ErrorInfo;
use crate::core::failed_pages::FailedPages;
use crate::core::ndjson::Fingerprint;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Inventory, Part};
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

const TRIES: u32 = 3;

/// A list that is being read, and its rows so far.
pub struct ListReading<'a> {
    pub(super) part: &'static Part,
    /// The record that the list belongs to.
    pub(super) parent: Option<String>,
    pub(super) listing: Listing<'a>,
    /// The first page, if it was requested already.
    first_page: Option<Result<Option<Vec<ListRow>>, Error>>,
    pub(super) ids: HashSet<String>,
    /// The ids that several rows have.
    pub(super) repeated: HashSet<String>,
    /// The number of rows, including repeated ones.
    rows: u64,
    /// The number of rows that earlier runs couldn't read.
    pub(super) set_aside_before: u64,
    /// The rows that can't be read.
    pub(super) unreadable_rows: UnreadableRows,
    /// Whether this is the last of several readings.
    is_last: bool,
    /// Set if so many rows can't be read that the API must have changed their form.
    pub(super) drifted: Option<Error>,
    /// The error of the first record whose detail failed. The others are stored.
    pub(super) undetailed: Option<Error>,
    /// The distinct rows.
    pub(super) distinct: HashSet<Fingerprint>,
}

impl Collector<'_> {
    /// A list that belongs to no record, from the page at which an earlier run stopped.
    pub(super) fn list_alone(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        reading: &PassReading,
    ) -> ListReading<'_> {
        let list = self.begin_list(part, None);
        if !reading.pass.is_within_list(self.page_size(&part.list)) {
            return list;
        }

        let ids = reading.ids_of(facts, part).collect();
        let Pass { page, failed_pages, total, set_aside, is_drifted, .. } = reading.pass.clone();
        let mut list = list.continued(page, failed_pages, ids, set_aside);
        list.listing = list.listing.with_total(total);
        if is_drifted {
            list.drifted =
                Some(Error::Inconsistent(format!("rows of {} can't be read, as an earlier run found", part.name)));
        }
        list
    }

    /// The list of one record, with its first page, or with the next page if an earlier run left this list under way.
    pub(super) async fn list_of(
        &self,
        part: &'static Part,
        parent: &str,
        under_way: Option<&(UnfinishedSublist, HashSet<String>)>,
        caller: &Caller<'_>,
    ) -> Result<ListReading<'_>, Error> {
        let begin = || self.begin_list(part, Some(parent.to_owned()));
        let mut list = match under_way.filter(|(place, _)| place.is_of(parent, self.page_size(&part.list))) {
            Some((place, ids)) => {
                begin().continued(place.page, place.failed_pages.clone(), ids.clone(), place.set_aside)
            }
            None => begin(),
        };
        let mut answer = self.next_rows(&mut list.listing, caller).await;
        // If the first page failed and the second is empty, a smaller page must show that the list can be read at all.
        while list.listing.failure().is_some() && matches!(&answer, Ok(Some(rows)) if rows.is_empty()) {
            answer = self.next_rows(&mut list.listing, caller).await;
        }
        let first_page = match answer {
            // There is no such list any more.
            Err(Error::Api(error)) if list.listing.failure().is_none() && says_no_list(part, &error) => {
                list = begin();
                Err(error.into())
            }
            // Nothing of the list was read, and its first page failed before the time was up.
            Err(error) if error.is_out_of_time() && list.ids.is_empty() => return Err(list.failure().unwrap_or(error)),
            answer => Ok(answer?),
        };
        list.first_page = Some(first_page);
        Ok(list)
    }

    fn begin_list(&self, part: &'static Part, parent: Option<String>) -> ListReading<'_> {
        let listing = Listing::new(self.run.api, &part.list, self.page_size(&part.list), Vec::new(), Value::Null);
        let listing = listing.with_smaller_pages(FailedPages::default());
        let listing = match &parent {
            Some(parent) => listing.of(parent),
            None => listing,
        };
        ListReading {
            part,
            parent,
            listing,
            first_page: None,
            ids: HashSet::new(),
            repeated: HashSet::new(),
            rows: 0,
            set_aside_before: 0,
            unreadable_rows: UnreadableRows::default(),
            is_last: false,
            drifted: None,
            undetailed: None,
            distinct: HashSet::new(),
        }
    }

    /// Whether the API answers with a list's first page now.
    pub(super) async fn answers(&self, part: &'static Part) -> bool {
        let caller = Caller { retry_until: None, ..self.caller() };
        self.begin_list(part, None).listing.rows(&caller).await.is_ok()
    }

    /// Reads the list up to three times, until its rows agree with the API's total.
    pub(super) async fn read_list(
        &self,
        facts: &'static Inventory,
        mut list: ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<FinishedList, Error> {
        if list.ids.is_empty() {
            reading.forget_list(facts, list.part, list.parent.as_deref());
        }
        let (mut tries, mut repeated_before) = (0, HashSet::new());
        loop {
            tries += 1;
            let total = self.read_to_end(facts, &mut list, reading).await?;
            if let Some(error) = list.drifted.take().or(list.undetailed.take()) {
                return Err(Error::IncompleteList(ErrorInfo::from(&error)));
            }

            // Two rows with one id usually mean that pages shifted, and that another record was hidden. If the last two
            // tries repeat the same ids, the API itself has two records of one id.
            let repeats_are_real = tries == TRIES && list.repeated == repeated_before;
            if let Some(whole) = list.whole(total, repeats_are_real) {
                if let Some(total) = total.filter(|total| whole.rows > *total) {
                    warn!(stream = %self.stream, list = list.part.name, rows = whole.rows, total, "the API shows more rows than it counts; the rows are believed");
                }
                return Ok(whole);
            }
            if tries == TRIES {
                return Err(list.too_few(total));
            }

            repeated_before = std::mem::take(&mut list.repeated);
            list = ListReading { is_last: tries + 1 == TRIES, ..self.begin_again(list, facts, reading) };
        }
    }

    /// Forgets the rows that were read of a list, and returns to its first page.
    fn begin_again(
        &self,
        list: ListReading<'_>,
        facts: &'static Inventory,
        reading: &mut PassReading,
    ) -> ListReading<'_> {
        for id in &list.ids {
            reading.forget_seen(&Member { part: list.part, parent: list.parent.as_deref(), id }.key(facts));
        }
        match &list.parent {
            None => {
                let pass = &mut reading.pass;
                (pass.page, pass.failed_pages, pass.total, pass.set_aside) = (0, FailedPages::default(), None, 0);
            }
            Some(parent) => reading.pass.end_list(parent),
        }
        reading.pass.runs_since_restart.get_or_insert(0);
        let mut unreadable_rows = list.unreadable_rows;
        unreadable_rows.begin_again();
        ListReading { unreadable_rows, ..self.begin_list(list.part, list.parent) }
    }

    /// Reads to the last page, and returns the API's total. It is 0 if the record is known to have no such list.
    async fn read_to_end(
        &self,
        facts: &'static Inventory,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<Option<u64>, Error> {
        match self.read_pages(facts, list, reading).await {
            Err(Error::Api(error)) if says_no_list(list.part, &error) => {
                self.check_gone(facts, list, &error, reading)?;
                Ok(Some(0))
            }
            read => {
                let total = read?;
                if let Some(parent) = &list.parent {
                    self.inventory_state(|state| state.keep_empty(list.part.name, |empty| empty != parent));
                }
                Ok(total)
            }
        }
    }

    /// Reads page by page to the last one. Returns the API's total, if it has one.
    async fn read_pages(
        &self,
        facts: &'static Inventory,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<Option<u64>, Error> {
        let part = list.part;
        // If the list is continued, the page before was full.
        let mut page_before = (!list.ids.is_empty()).then_some(true);
        loop {
            let page = match list.first_page.take() {
                Some(first) => first,
                None => self.next_rows(&mut list.listing, &self.caller()).await,
            };
            let Some(rows) = page? else { break };

            let (count, before) = (rows.len() as u64, (list.ids.len(), list.unreadable()));
            list.rows += count;
            self.take_rows(facts, rows, list, reading).await?;
            list.note_place(&mut reading.pass, self.page_size(&part.list));

            if list.listing.is_within_list() && before == (list.ids.len(), list.unreadable()) {
                // The page has only rows that were read before. The total says whether that is all. If there is no
                // total and the page before was full, the API seems to ignore the paging.
                let must_have_pages = part.list.total.is_none() && part.list.bare_first.is_none();
                if must_have_pages && page_before.is_some_and(|full| full) {
                    return Err(list.unexpected("the pages repeat, so the rest of the list is unknown".to_owned()));
                }
                list.listing.end();
            }
            page_before = Some(count >= self.page_size(&part.list));
        }
        list.failure().map_or_else(|| Ok(list.listing.total()), Err)
    }
}

impl ListReading<'_> {
    /// Continues at a page, behind rows that were read before.
    fn continued(mut self, page: u64, failed_pages: FailedPages, ids: HashSet<String>, set_aside: u64) -> Self {
        let rows = ids.len() as u64 + set_aside;
        (self.ids, self.set_aside_before, self.rows) = (ids, set_aside, rows);
        self.listing = self.listing.from_page(page, rows).with_smaller_pages(failed_pages);
        self
    }

    /// The error of a page of which not all rows were read.
    fn failure(&self) -> Option<Error> {
        self.listing.failure().cloned().map(Error::IncompleteList)
    }

    /// Notes the page from which the next run continues if the list doesn't fit this one.
    fn note_place(&self, pass: &mut Pass, page_size: u64) {
        let (page, failed_pages) = (self.listing.next_page(), self.listing.failed_pages());
        let (set_aside, is_drifted) = (self.unreadable(), self.drifted.is_some());
        match &self.parent {
            None => {
                (pass.page, pass.page_size, pass.failed_pages) = (page.unwrap_or(pass.page), page_size, failed_pages);
                (pass.total, pass.set_aside, pass.is_drifted) = (self.listing.total(), set_aside, is_drifted);
            }
            Some(parent) => {
                // The next run reads the list from before a record whose detail failed.
                if let Some(page) = page.filter(|_| !is_drifted && self.undetailed.is_none()) {
                    pass.note_list(UnfinishedSublist {
                        parent: parent.clone(),
                        page,
                        page_size,
                        failed_pages,
                        set_aside,
                    });
                }
            }
        }
    }

    /// The number of rows that can't be read.
    pub(super) fn unreadable(&self) -> u64 {
        let count = if self.is_last { self.unreadable_rows.count_after_all() } else { self.unreadable_rows.count() };
        self.set_aside_before + count
    }

    /// The whole list, if its rows agree with the API's total. None if it shows too few.
    fn whole(&self, total: Option<u64>, repeats_are_real: bool) -> Option<FinishedList> {
        let (ids, unreadable) = (self.ids.len() as u64, self.unreadable());
        let (list, rows) = (self.name(), ids + unreadable);
        match total {
            None => Some(FinishedList { list, rows, unreadable, total, nameless: Some(unreadable) }),
            Some(total) if rows == total || repeats_are_real && self.distinct.len() as u64 == total => {
                let nameless = Some(total.saturating_sub(ids));
                Some(FinishedList { list, rows: total, unreadable, total: Some(total), nameless })
            }
            // All pages were read and had more rows than the total: the total is wrong.
            Some(total) if rows > total => {
                let nameless = (rows == self.rows).then_some(unreadable);
                Some(FinishedList { list, rows, unreadable, total: None, nameless })
            }
            Some(_) => None,
        }
    }

    fn too_few(&self, total: Option<u64>) -> Error {
        let error = Error::Inconsistent(format!(
            "{} {} were read and the API counts {}, after {TRIES} tries; new and changed records are stored, and none counts as deleted",
            self.ids.len(),
            self.name(),
            total.unwrap_or_default(),
        ));
        Error::IncompleteList(ErrorInfo::from(&error))
    }

    /// For example `users`, or `members of 42`.
    pub(super) fn name(&self) -> String {
        list_name(self.part, self.parent.as_deref())
    }

    /// An answer that can't be right, with its beginning.
    pub(super) fn unexpected(&self, why: String) -> Error {
        let what = format!("GET {}", self.part.list.path);
        self.listing.quoted(ApiError::Unexpected { what, why }).into()
    }
}

/// Whether the answer means that the record has no such list.
fn says_no_list(part: &Part, error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status, .. } if part.no_list_statuses.contains(status))
}
