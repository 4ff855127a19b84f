//! Reads one list as a whole.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::collect::error::Error;
use crate::collect::unreadable::UnreadableRows;
use crate::core::ndjson;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Kind, List, Part};
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

const TRIES: u32 = 3;
pub const LISTS_AT_ONCE: usize = 4;

/// The records of a list, by their ids.
#[derive(Debug)]
pub struct RowsById<T> {
    pub by_id: BTreeMap<String, T>,
    /// The number of further rows, which are not JSON or have no id.
    pub unreadable: u64,
}

/// The part of a stream that is read once for each record of another one.
pub fn part(stream: Stream) -> Option<&'static Part> {
    let Kind::Inventory(facts) = stream.kind() else { return None };
    facts.parts.iter().find(|part| part.parent.is_some())
}

pub struct Reader<'a> {
    pub settings: &'a Settings,
    pub api: &'a Api,
    pub caller: &'a Caller<'a>,
}

impl Reader<'_> {
    /// Reads a whole list until it agrees with the API's own total.
    pub async fn rows<T>(
        &self,
        stream: Stream,
        list: &'static List,
        parent: Option<&str>,
        query: &[(&str, &str)],
        of: impl Fn(&Value) -> T,
    ) -> Result<RowsById<T>, Error> {
        let size = self.settings.page_size(stream, list.max_page_size);
        for tried in 1..=TRIES {
            let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let mut listing = Listing::new(self.api, list, size, query, Value::Null);
            if let Some(parent) = parent {
                listing = listing.of(parent);
            }

            let mut rows = RowsById { by_id: BTreeMap::new(), unreadable: 0 };
            let (mut unreadable, mut shown) = (UnreadableRows::default(), 0);
            while let Some(page) = listing.rows(self.caller).await? {
                let (before, count) = (rows.count(), page.len() as u64);
                shown += count;
                unreadable.begin_page();
                for row in page {
                    rows.take(row, &of, &mut unreadable);
                }
                rows.unreadable = unreadable.count();
                if rows.count() == before {
                    if listing.total().is_none() && count >= size {
                        let why = "the pages repeat, so the rest of the list is unknown".to_owned();
                        let error = ApiError::Unexpected { what: format!("GET {}", list.path), why };
                        return Err(listing.quoted(error).into());
                    }
                    break;
                }
            }

            // If several records have one id in every try, the API itself has them.
            let is_last = tried == TRIES;
            if listing.total().is_none_or(|total| rows.count() >= total || is_last && shown >= total) {
                return Ok(rows);
            }
        }

        Err(Error::Inconsistent(format!(
            "the list of {stream} doesn't agree with the API's own total after {TRIES} tries"
        )))
    }
}

impl<T> RowsById<T> {
    fn count(&self) -> u64 {
        self.by_id.len() as u64 + self.unreadable
    }

    fn take(&mut self, row: ListRow, of: impl Fn(&Value) -> T, unreadable: &mut UnreadableRows) {
        let bytes = match row {
            ListRow::Record { line, id } => match ndjson::lenient(line.as_bytes()) {
                Some(record) => return drop(self.by_id.insert(id, of(&record))),
                None => line.into(),
            },
            ListRow::Unreadable { bytes, .. } => bytes,
        };
        unreadable.note(&bytes);
    }
}
