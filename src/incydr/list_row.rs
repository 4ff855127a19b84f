//! The rows of a list that outlive their page.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::core::ndjson::{self, Row};
use crate::core::quote;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::page::Rows;
use crate::incydr::request::{Caller, Request};

/// A row that outlives its page.
#[derive(Debug)]
pub enum ListRow {
    Record {
        line: String,
        id: String,
    },
    /// A row that isn't JSON, isn't an object or has no id: its bytes, and the reason.
    Unreadable {
        bytes: Bytes,
        why: String,
    },
}

impl ListRow {
    fn of(row: Row<'_>) -> Self {
        match row {
            Row::Record { line, field, .. } => Self::Record { line: line.to_owned(), id: field.into_owned() },
            Row::Unreadable { bytes, why } => Self::Unreadable { bytes: Bytes::copy_from_slice(bytes), why },
        }
    }

    /// Turns a plain string into an object with the string under `key`.
    #[must_use]
    pub fn text_as(self, key: &str) -> Self {
        match self {
            Self::Unreadable { bytes, why } => match serde_json::from_slice::<String>(&bytes) {
                Ok(id) => {
                    Self::Record { line: format!("{{{}:{}}}", Value::from(key), String::from_utf8_lossy(&bytes)), id }
                }
                Err(_) => Self::Unreadable { bytes, why },
            },
            record @ Self::Record { .. } => record,
        }
    }

    /// Requests a record by itself. An answer that is JSON and has another id or none is an error: its bytes aren't
    /// damaged, and the next answer may be the right one.
    pub async fn fetch(
        api: &Api,
        path: String,
        field: &'static [&'static str],
        asked: &str,
        caller: &Caller<'_>,
    ) -> Result<Self, ApiError> {
        let request = Request::get(path);
        let unexpected = |why| ApiError::Unexpected { what: request.what(), why };
        let read = |body: &Bytes| match ndjson::single(body) {
            Some(record) => Ok(record.to_vec()),
            None => Err(unexpected("the answer is not a JSON object".into())),
        };
        let record = api.send(&request, caller, read).await?;
        let name = field.join(".");
        let why = match ndjson::row(&record, field, Self::of) {
            Self::Record { id, .. } if id != asked => {
                format!("the answer has the {name} {}, not {asked}", quote::value(&id))
            }
            Self::Unreadable { .. } if is_json(&record) => format!("the answer has no {name}"),
            row => return Ok(row),
        };
        Err(api.quoted(unexpected(why), &record))
    }
}

pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// Keeps only the first row.
impl Rows for Option<ListRow> {
    fn take(&mut self, row: Row<'_>) {
        self.get_or_insert_with(|| ListRow::of(row));
    }

    fn page_broken(&mut self) {
        *self = None;
    }

    fn page_complete(&mut self) {}
}

/// Keeps all rows of a page. Starts again if the page breaks off.
impl Rows for Vec<ListRow> {
    fn take(&mut self, row: Row<'_>) {
        self.push(ListRow::of(row));
    }

    fn page_broken(&mut self) {
        self.clear();
    }

    fn page_complete(&mut self) {}
}
