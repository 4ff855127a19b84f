//! One list, read until it agrees with the API's own total.

use std::collections::HashSet;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::super::Collector;
use super::Reading;
use super::key::Member;
use crate::collect::error::Error;
use crate::core::ndjson::{self, Fingerprint};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Detail, Inventory, Part};
use crate::incydr::listing::{ListRow, Listing, escape};
use crate::incydr::request::Request;

const TRIES: u32 = 3;
pub const FETCHES_AT_ONCE: usize = 4;

/// What a list has shown, in one try.
#[derive(Default)]
pub struct Shown {
    pub ids: HashSet<String>,
    /// Rows that couldn't be read.
    pub set_aside: u64,
    /// Of all rows, what differs from the others.
    distinct: HashSet<Fingerprint>,
}

/// What came of a list.
pub struct Whole {
    pub rows: u64,
    pub total: Option<u64>,
    /// What it doesn't show isn't there. A record that was set aside, or is hidden, could be any of those missing.
    pub is_exact: bool,
}

/// A list at its beginning, with its first page, if that was asked for already.
pub struct Begun<'a> {
    pub listing: Listing<'a>,
    pub first: Option<Result<Option<Vec<ListRow>>, ApiError>>,
}

impl Collector<'_> {
    pub(super) fn listing(&self, part: &'static Part, parent: Option<&str>) -> Listing<'_> {
        let size = self.run.settings.page_size(self.stream, part.list.max_page_size);
        let listing = Listing::new(self.run.api, &part.list, size, Vec::new(), Value::Null);
        match parent {
            Some(parent) => listing.of(parent),
            None => listing,
        }
    }

    /// `shown` is what was read of it by the runs before this one.
    pub(super) async fn read_list(
        &self,
        facts: &'static Inventory,
        (part, parent): (&'static Part, Option<&str>),
        begun: Begun<'_>,
        shown: Shown,
        reading: &mut Reading,
    ) -> Result<Whole, Error> {
        let (mut begun, mut shown) = (begun, shown);
        let mut tries = 0;
        loop {
            tries += 1;
            let read = self.read_pages(facts, (part, parent), &mut begun, &mut shown, reading).await;
            let total = match read {
                Err(Error::Api(ApiError::Status { status, .. })) if part.none.contains(&status) => Some(0),
                read => read?,
            };
            let ids = shown.ids.len() as u64;
            let distinct = shown.distinct.len() as u64;
            let Some(total) = total else {
                return Ok(Whole { rows: ids + shown.set_aside, total, is_exact: shown.set_aside == 0 });
            };
            // Several records under one id may be two states of it that the paging showed, and then another is hidden;
            // where they are still there in the last reading, they are the API's own.
            if ids + shown.set_aside == total || tries == TRIES && distinct == total {
                return Ok(Whole { rows: total, total: Some(total), is_exact: ids == total });
            }
            if tries == TRIES {
                let whose = parent.map(|parent| format!(" of {parent}")).unwrap_or_default();
                return Err(Error::Totals(format!(
                    "{ids} {}{whose} were read and the API counts {total}, after {tries} readings; what is new or changed is stored, nobody is taken for deleted, and the next run reads them again",
                    part.name
                )));
            }
            // It is in the object, and may have changed back by now.
            for id in std::mem::take(&mut shown.ids) {
                reading.known.take_over(&Member { part, parent, id: &id }.key(facts), &mut reading.seen);
            }
            begun = Begun { listing: self.listing(part, parent), first: None };
            shown = Shown::default();
            if parent.is_none() {
                (reading.pass.page, reading.pass.set_aside) = (0, 0);
            }
        }
    }

    /// Reads on to the last page; answers the API's total.
    async fn read_pages(
        &self,
        facts: &'static Inventory,
        (part, parent): (&'static Part, Option<&str>),
        begun: &mut Begun<'_>,
        shown: &mut Shown,
        reading: &mut Reading,
    ) -> Result<Option<u64>, Error> {
        let mut page_before = None;
        loop {
            let page = match begun.first.take() {
                Some(first) => first,
                None => begun.listing.rows(&self.caller()).await,
            };
            let Some(rows) = page? else { break };
            let (count, before) = (rows.len() as u64, (shown.ids.len(), shown.set_aside));
            self.take(facts, (part, parent), rows, shown, reading).await?;
            if parent.is_none() {
                reading.pass.page = begun.listing.next_page().unwrap_or(reading.pass.page);
                reading.pass.set_aside = shown.set_aside;
            }
            let is_numbered = begun.listing.next_page().is_some();
            if is_numbered && before == (shown.ids.len(), shown.set_aside) {
                // A page that shows only what was there before: the total tells whether that is all. Without one, and
                // with a page that was full, the API seems not to page at all.
                if part.list.total.is_none() && page_before.is_some_and(|full| full) {
                    let why = "the pages repeat, so that there is no telling what is left".to_owned();
                    return Err(ApiError::Unexpected { what: format!("GET {}", part.list.path), why }.into());
                }
                break;
            }
            page_before = Some(count >= self.run.settings.page_size(self.stream, part.list.max_page_size));
        }
        Ok(begun.listing.total())
    }

    async fn take(
        &self,
        facts: &'static Inventory,
        (part, parent): (&'static Part, Option<&str>),
        rows: Vec<ListRow>,
        shown: &mut Shown,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let mut to_fetch = Vec::new();
        for row in rows {
            let (line, id) = match row {
                ListRow::Record { line, id } => (line, id),
                ListRow::Unreadable { bytes, why } => {
                    if shown.distinct.insert(Fingerprint::of(&bytes)) {
                        reading.set_aside.push(self.set_aside(&bytes, &why).await?);
                        shown.set_aside += 1;
                    }
                    continue;
                }
            };
            shown.distinct.insert(Fingerprint::of(line.as_bytes()));
            let member = Member { part, parent, id: &id };
            let key = member.key(facts);
            match &part.detail {
                Some(_) if reading.knows(&key) => reading.keep(&key),
                Some(_) => to_fetch.push(id.clone()),
                None => reading.take(&key, &member.line(facts, line), part.is_index),
            }
            shown.ids.insert(id);
        }
        let (Some(detail), Some(parent)) = (&part.detail, parent) else { return Ok(()) };
        let mut details = stream::iter(to_fetch).map(|id| self.detail_of(detail, parent, id)).buffered(FETCHES_AT_ONCE);
        while let Some(fetched) = details.next().await {
            let (id, record) = fetched?;
            let member = Member { part, parent: Some(parent), id: &id };
            match record {
                Some(ListRow::Record { line, .. }) => {
                    reading.take(&member.key(facts), &member.line(facts, line), false);
                }
                Some(ListRow::Unreadable { bytes, why }) => {
                    reading.set_aside.push(self.set_aside(&bytes, &why).await?);
                }
                // Gone since it was listed.
                None => {}
            }
        }
        Ok(())
    }

    async fn detail_of(
        &self,
        detail: &'static Detail,
        parent: &str,
        id: String,
    ) -> Result<(String, Option<ListRow>), Error> {
        let path = detail.path.replacen("{}", &escape(parent), 1).replacen("{}", &escape(&id), 1);
        let request = Request::get(path);
        let read = |body: &Bytes| match ndjson::single(body) {
            Some(record) => Ok(ListRow::single(record, detail.id)),
            None => Err(ApiError::Unexpected { what: request.what(), why: "the answer is not a JSON object".into() }),
        };
        match self.run.api.send(&request, &self.caller(), read).await {
            Ok(row) => Ok((id, Some(row))),
            Err(ApiError::Status { status: 404 | 410, .. }) => Ok((id, None)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Shown {
    /// What the runs before this one have read of it.
    pub fn before(reading: &Reading, facts: &'static Inventory, part: &Part) -> Self {
        let ids = reading.ids_of(facts, part).collect();
        Self { ids, set_aside: reading.pass.set_aside, distinct: HashSet::new() }
    }
}
