//! One list, page by page.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::http::says_too_large;
use super::page::{Page, Rows};
use super::{Api, ApiError, Caller, Request};
use crate::ndjson::{self, Row};
use crate::stream::{List, Method, Paging};

/// Where a list is being read. A caller asks for the next page until there is none, and compares what it got with
/// the API's total.
pub struct Listing<'a> {
    list: &'static List,
    request: Request,
    size: u64,
    next: Next,
    rows: u64,
    total: Option<u64>,
    expected: Option<u64>,
    api: &'a Api,
}

enum Next {
    Number(u64),
    Token { token: String, seen: HashSet<String> },
    End,
}

/// A row that outlives its page.
#[derive(Debug)]
pub enum ListRow {
    Record {
        line: String,
        id: String,
    },
    /// Not JSON, not an object, or without an id: the bytes as they were sent, and why.
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

    /// A record that was asked for by itself.
    pub fn single(record: &[u8], list: &'static List) -> Self {
        ndjson::row(record, list.field, Self::of)
    }
}

/// A page of a short list. What was taken of a page that tore begins anew with it.
impl Rows for Vec<ListRow> {
    fn take(&mut self, row: Row<'_>) {
        self.push(ListRow::of(row));
    }

    fn tear(&mut self) {
        self.clear();
    }

    fn turn(&mut self) {}
}

impl<'a> Listing<'a> {
    /// `query` or `body` is what the request holds beside its paging.
    pub fn new(api: &'a Api, list: &'static List, size: u64, query: Vec<(String, String)>, body: Value) -> Self {
        let mut request = Request { method: list.method, path: list.path.into(), query, body };
        for (name, value) in list.fixed {
            request.set(name, Value::from(*value));
        }
        let next = match list.paging {
            Paging::Number { first, .. } => Next::Number(first),
            Paging::Token { .. } => Next::Token { token: String::new(), seen: HashSet::new() },
        };
        Self { list, request, size, next, rows: 0, total: None, expected: None, api }
    }

    /// Goes on from a page number instead of the first, with as many rows before it.
    #[must_use]
    pub fn from_page(mut self, page: u64, rows: u64) -> Self {
        if let Next::Number(number) = &mut self.next {
            (*number, self.rows) = (page, rows);
        }
        self
    }

    /// How many rows there must be, where the pages themselves don't say.
    #[must_use]
    pub fn expecting(mut self, rows: u64) -> Self {
        self.expected = Some(rows);
        self
    }

    /// The greatest total that any page told so far.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The number of the page that comes next, of a list that is paged by number.
    pub fn next_page(&self) -> Option<u64> {
        match self.next {
            Next::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Only the API's total: one small request.
    pub async fn count(mut self, caller: &Caller<'_>) -> Result<u64, ApiError> {
        self.size = 1;
        self.rows(caller).await?;
        let what = self.request.what();
        self.total.ok_or_else(|| {
            let why = format!("the answer has no {:?}", self.list.total.unwrap_or("total"));
            ApiError::Unexpected { what, why }
        })
    }

    /// The rows of the next page of a short list; `None` at the end.
    pub async fn rows(&mut self, caller: &Caller<'_>) -> Result<Option<Vec<ListRow>>, ApiError> {
        let (rows, more) = self.page(caller, Vec::new()).await?;
        Ok(more.then_some(rows))
    }

    /// Hands over the rows of the next page as they arrive; answers whether there were any, or this was the end.
    pub async fn page<R: Rows>(&mut self, caller: &Caller<'_>, rows: R) -> Result<(R, bool), ApiError> {
        let request = match &self.next {
            Next::End => return Ok((rows, false)),
            Next::Number(number) => self.request_for(&Value::from(*number)),
            Next::Token { token, .. } => self.request_for(&Value::from(token.as_str())),
        };
        let (first, what) = (self.total.is_none(), request.what());
        let check = |envelope: &Map<String, Value>| check(self.list, &what, envelope, first);
        let (rows, page) = self.api.page(&request, caller, self.list, rows, check).await?;
        self.note_total(&page.envelope);
        self.rows += page.rows;
        self.go_on(&page, &request)?;
        Ok((rows, page.rows > 0))
    }

    fn request_for(&self, page: &Value) -> Request {
        let mut request = self.request.clone();
        match self.list.paging {
            Paging::Number { page: name, size, .. } | Paging::Token { token: name, size, .. } => {
                request.set(name, page.clone());
                request.set(size, Value::from(self.size));
            }
        }
        request
    }

    fn note_total(&mut self, envelope: &Map<String, Value>) {
        let told = self.list.total.and_then(|key| envelope.get(key)).and_then(Value::as_u64);
        self.total = self.total.max(told);
    }

    /// A short page is not taken for the last while the total says that there are more: the server may allow fewer
    /// rows a page than were asked for. An empty one is, and so is one after which all rows are there.
    fn go_on(&mut self, page: &Page, request: &Request) -> Result<(), ApiError> {
        let count = page.rows;
        let expected = self.expected.or(self.total);
        self.next = match (std::mem::replace(&mut self.next, Next::End), &self.list.paging) {
            (Next::Number(number), _) => {
                let more = expected.map_or(count >= self.size, |expected| self.rows < expected);
                if count > 0 && more { Next::Number(number + 1) } else { Next::End }
            }
            (Next::Token { mut seen, .. }, Paging::Token { next, .. }) => match page.envelope.get(*next) {
                None | Some(Value::Null) => Next::End,
                Some(Value::String(token)) if token.is_empty() => Next::End,
                Some(Value::String(token)) => {
                    let why = if !seen.insert(token.clone()) {
                        "the page token repeats"
                    } else if expected.is_some_and(|expected| self.rows > expected + self.size) {
                        "the pages go on beyond the API's own total"
                    } else {
                        self.next = Next::Token { token: token.clone(), seen };
                        return Ok(());
                    };
                    return Err(ApiError::Unexpected { what: request.what(), why: why.into() });
                }
                Some(_) => {
                    let why = format!("{next:?} is neither text nor null");
                    return Err(ApiError::Unexpected { what: request.what(), why });
                }
            },
            _ => Next::End,
        };
        Ok(())
    }
}

impl Request {
    fn set(&mut self, name: &str, value: Value) {
        match self.method {
            Method::Get => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.query.push((name.to_owned(), text));
            }
            Method::Post => {
                if let Value::Object(body) = &mut self.body {
                    body.insert(name.to_owned(), value);
                }
            }
        }
    }
}

/// `problems` may be set in a 200. The first page must tell the total, which an error's body in a 200 doesn't; a page
/// past the end may lack it.
fn check(list: &List, what: &str, envelope: &Map<String, Value>, first: bool) -> Result<(), ApiError> {
    let what = what.to_owned();
    if let Some(problems) = problems(envelope) {
        return Err(match () {
            () if says_too_large(&problems) => ApiError::TooLarge { what },
            () if problems.contains("INVALID_PAGE_TOKEN") => ApiError::InvalidPageToken { what },
            () => ApiError::Unexpected { what, why: format!("the answer tells problems: {problems}") },
        });
    }
    match list.total {
        Some(key) if first && !envelope.get(key).is_some_and(Value::is_u64) => {
            Err(ApiError::Unexpected { what, why: format!("the answer has no {key:?}") })
        }
        _ => Ok(()),
    }
}

fn problems(envelope: &Map<String, Value>) -> Option<String> {
    match envelope.get("problems")? {
        Value::Null => None,
        Value::Array(problems) if problems.is_empty() => None,
        problems => Some(problems.to_string()),
    }
}
