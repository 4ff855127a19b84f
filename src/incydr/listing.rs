//! One list, page by page.

use std::collections::HashSet;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::core::json::count;
use crate::core::ndjson::{self, Fingerprint, Row};
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{List, Method, Paging};
use crate::incydr::http::verdict;
use crate::incydr::page::{Page, Rows};
use crate::incydr::request::{Caller, Request};

/// So many empty pages in a row may each name a next one.
const EMPTY_PAGES: u32 = 10;

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
    /// How many rows a page has that is full, as far as can be told, and the first row of the last page.
    full: u64,
    first_row: Option<Fingerprint>,
    /// A page has arrived.
    is_begun: bool,
    /// How many pages without a row were the last.
    empty_pages: u32,
    api: &'a Api,
}

enum Next {
    Number(u64),
    Token { token: Option<String>, seen: HashSet<String> },
    Whole,
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

    /// A record that is plain text becomes an object with the text under `key`.
    fn text_as(self, key: &str) -> Self {
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

    /// A record that was asked for by itself.
    pub fn single(record: &[u8], id: &'static [&'static str]) -> Self {
        ndjson::row(record, id, Self::of)
    }
}

/// Only the first row.
impl Rows for Option<ListRow> {
    fn take(&mut self, row: Row<'_>) {
        self.get_or_insert_with(|| ListRow::of(row));
    }

    fn page_broken(&mut self) {
        *self = None;
    }

    fn page_complete(&mut self) {}
}

/// A page of a short list. What was taken of a page that tore begins anew with it.
impl Rows for Vec<ListRow> {
    fn take(&mut self, row: Row<'_>) {
        self.push(ListRow::of(row));
    }

    fn page_broken(&mut self) {
        self.clear();
    }

    fn page_complete(&mut self) {}
}

impl<'a> Listing<'a> {
    /// `query` or `body` is what the request holds beside its paging. A body's members go where the method has them.
    pub fn new(api: &'a Api, list: &'static List, size: u64, query: Vec<(String, String)>, body: Value) -> Self {
        let mut request = Request { method: list.method, path: list.path.into(), query, body };
        if let (Method::Get, Value::Object(members)) = (list.method, request.body.clone()) {
            members.into_iter().for_each(|(name, value)| request.set(&name, value));
        }
        for (name, value) in list.fixed {
            request.set(name, Value::from(*value));
        }
        let next = match list.paging {
            Paging::Number { first, .. } => Next::Number(first),
            Paging::Token { first, .. } => Next::Token { token: first.map(str::to_owned), seen: HashSet::new() },
            Paging::Whole => Next::Whole,
            Paging::WholeWithout(names) => {
                if let Value::Object(body) = &mut request.body {
                    body.retain(|name, _| !names.contains(&name.as_str()));
                }
                Next::Whole
            }
        };
        let (total, expected, first_row, rows, empty_pages) = (None, None, None, 0, 0);
        Self {
            list,
            request,
            size,
            next,
            rows,
            total,
            expected,
            full: size,
            first_row,
            is_begun: false,
            empty_pages,
            api,
        }
    }

    /// The list of one record, by its id.
    #[must_use]
    pub fn of(mut self, parent: &str) -> Self {
        self.request.path = self.request.path.replacen("{}", &escape(parent), 1);
        self
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

    /// Only the first record: one small request.
    pub async fn first(mut self, caller: &Caller<'_>) -> Result<Option<ListRow>, ApiError> {
        self.size = 1;
        let mut first = Some(None);
        self.page(caller, &mut first).await?;
        Ok(first.flatten())
    }

    /// The rows of the next page of a short list; `None` at the end.
    pub async fn rows(&mut self, caller: &Caller<'_>) -> Result<Option<Vec<ListRow>>, ApiError> {
        let mut rows = Some(Vec::new());
        let more = self.page(caller, &mut rows).await?;
        let mut rows = rows.unwrap_or_default();
        if let Some(key) = self.list.text_as {
            rows = rows.into_iter().map(|row: ListRow| row.text_as(key)).collect();
        }
        Ok(more.then_some(rows))
    }

    /// Hands over the rows of the next page as they arrive; answers whether to go on, or this was the end: an empty page
    /// that names no other. After an error they hold what came before it, unless the time ran out.
    pub async fn page<R: Rows>(&mut self, caller: &Caller<'_>, rows: &mut Option<R>) -> Result<bool, ApiError> {
        let Some(request) = self.next_request() else { return Ok(false) };
        let check = |page: &Page| self.check(&request.what(), page);
        let page = self.api.page(&request, caller, self.list, rows, check).await;
        let page = page.map_err(|error| self.refusal(error))?;
        self.note_total(&page.envelope);
        self.rows += page.rows;
        self.is_begun = true;
        self.go_on(&page, &request)?;
        Ok(page.rows > 0 || matches!(self.next, Next::Token { .. }))
    }

    fn refusal(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Unauthorized { what, said } if self.list.refuses_with_401 => {
                ApiError::Forbidden { what, said: format!("401 (not permitted, or not found): {said}") }
            }
            error => error,
        }
    }

    /// The next page as it is sent, whatever that is.
    pub async fn whole_answer(&self, caller: &Caller<'_>) -> Result<Bytes, ApiError> {
        let Some(request) = self.next_request() else { return Ok(Bytes::new()) };
        self.api.send(&request, caller, |body| Ok(body.clone())).await
    }

    fn next_request(&self) -> Option<Request> {
        match &self.next {
            Next::End => None,
            Next::Number(number) => Some(self.request_for(Some(Value::from(*number)))),
            Next::Token { token, .. } => Some(self.request_for(token.as_deref().map(Value::from))),
            Next::Whole => Some(self.request.clone()),
        }
    }

    /// `problems` may be set in a 200. The first page must tell the total, which an error's body in a 200 doesn't; a
    /// page past the end may lack it. Where there is no total, or one that says that there are rows, the first page must
    /// show a list, and so must every page that names another.
    fn check(&self, what: &str, page: &Page) -> Result<(), ApiError> {
        let what = what.to_owned();
        if let Some(problems) = problems(&page.envelope) {
            let told = problems.to_string();
            let unexpected = |what| ApiError::Unexpected { what, why: format!("the answer tells problems: {told}") };
            return Err(verdict(&what, problems, &told).unwrap_or_else(|| unexpected(what)));
        }
        let lacks = |what, key: &str| Err(ApiError::Unexpected { what, why: format!("the answer has no {key}") });
        let names_next =
            matches!(self.list.paging, Paging::Token { next, .. } if token(&page.envelope, next).is_some());
        let total = |key: &str| page.envelope.get(key).and_then(count);
        match self.list.total {
            _ if names_next && !page.has_list => lacks(what, "list"),
            _ if self.is_begun => Ok(()),
            Some(key) if total(key).is_none() => lacks(what, &format!("{key:?}")),
            Some(key) if !page.has_list && total(key) > Some(self.rows) => lacks(what, "list"),
            None if self.expected.is_none() && !page.has_list => lacks(what, "list"),
            _ => Ok(()),
        }
    }

    fn request_for(&self, page: Option<Value>) -> Request {
        let mut request = self.request.clone();
        if let Paging::Number { page: name, size, .. } | Paging::Token { token: name, size, .. } = self.list.paging {
            if let Some(page) = page {
                request.set(name, page);
            }
            request.set(size, Value::from(self.size));
        }
        request
    }

    fn note_total(&mut self, envelope: &Map<String, Value>) {
        let told = self.list.total.and_then(|key| envelope.get(key)).and_then(count);
        self.total = self.total.max(told);
    }

    /// A short page is not taken for the last: the server may allow fewer rows a page than were asked for. An empty one
    /// is, where pages have numbers, and so is a short one after which all rows are there that the total tells of. After a
    /// full one there may be more than that, unless it only repeats the one before it. Where pages have tokens, the last is
    /// the one without.
    fn go_on(&mut self, page: &Page, request: &Request) -> Result<(), ApiError> {
        let count = page.rows;
        self.empty_pages = if count == 0 { self.empty_pages + 1 } else { 0 };
        let expected = self.expected.or(self.total);
        self.next = match (std::mem::replace(&mut self.next, Next::End), &self.list.paging) {
            (Next::Number(number), _) => {
                let is_short_of = expected.is_none_or(|expected| self.rows < expected);
                let repeats = page.first.is_some() && page.first == self.first_row;
                let more = is_short_of || count >= self.full && !repeats;
                // The server may allow fewer rows a page than were asked for: then that many are a full one.
                if is_short_of && expected.is_some() {
                    self.full = self.full.min(count);
                }
                self.first_row = page.first;
                let is_last = count < self.list.last_below.min(self.size);
                if count > 0 && more && !is_last { Next::Number(number + 1) } else { Next::End }
            }
            (Next::Token { mut seen, .. }, Paging::Token { next, .. }) => match token(&page.envelope, next) {
                None => Next::End,
                Some(Value::String(token)) => {
                    let why = if !seen.insert(token.clone()) {
                        "the page token repeats"
                    } else if self.empty_pages >= EMPTY_PAGES {
                        "ten pages in a row are empty, and each names a next one"
                    } else if expected.is_some_and(|expected| self.rows > expected + self.size) {
                        "the pages go on beyond the API's own total"
                    } else {
                        self.next = Next::Token { token: Some(token.clone()), seen };
                        return Ok(());
                    };
                    return Err(ApiError::Unexpected { what: request.what(), why: why.into() });
                }
                Some(_) => {
                    let why = format!("{:?} is neither text nor null", next.join("\" or \""));
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

/// The next page's, unless this is the last: it is null then, or empty, or not there (SDK, tests).
fn token<'e>(envelope: &'e Map<String, Value>, keys: &[&str]) -> Option<&'e Value> {
    let mut found = keys.iter().filter_map(|key| envelope.get(*key));
    found.find(|token| !token.is_null() && token.as_str() != Some(""))
}

/// An id as it stands in a path: a slash or a question mark in it would lead elsewhere.
pub fn escape(id: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(id, RESERVED).to_string()
}

fn problems(envelope: &Map<String, Value>) -> Option<&Value> {
    match envelope.get("problems")? {
        Value::Null => None,
        Value::Array(problems) if problems.is_empty() => None,
        problems => Some(problems),
    }
}
