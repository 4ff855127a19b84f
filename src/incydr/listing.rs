//! Reads one list, page by page.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::core::error_type::ErrorInfo;
use crate::core::failed_pages::{AfterFailure, FailedPages, NumberedPage};
use crate::core::json::count;
use crate::core::ndjson::Fingerprint;
use crate::core::quote;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{List, Method, Paging};
use crate::incydr::http::verdict;
pub use crate::incydr::list_row::{ListRow, is_json};
use crate::incydr::page::{Lent, Page, Rows};
use crate::incydr::request::{Caller, Request};

/// The list fails after this many empty pages in a row that each name a next one.
const EMPTY_PAGES: u32 = 10;
/// A list ends at the latest one page beyond the API's own total, or at 20 times a round total: that may be the point
/// where the API stops counting.
const BEYOND_CAP: u64 = 20;

/// The position in a list. The caller asks for pages until there is none, and compares the rows with the API's total.
pub struct Listing<'a> {
    list: &'static List,
    request: Request,
    size: u64,
    next: Next,
    rows: u64,
    total: Option<u64>,
    expected: Option<u64>,
    /// The number of rows of a full page, as far as known, and the first row of the last page.
    full: u64,
    first_row: Option<Fingerprint>,
    /// The last answer.
    last: Answered,
    /// The number of empty pages in a row.
    empty_pages: u32,
    failed_pages: FailedPages,
    /// Whether failed pages are read again in smaller ones, behind the list's end.
    reads_smaller: bool,
    /// Whether the list goes on once a smaller page has shown that the API doesn't fail as a whole.
    is_interrupted: bool,
    /// The page that follows, if smaller pages are read first.
    goes_on_at: u64,
    /// The beginning of the last page's body.
    begins: Vec<u8>,
    api: &'a Api,
}

#[derive(PartialEq, Eq)]
enum Answered {
    Nothing,
    Page,
    SmallerPage,
}

enum Next {
    Number(u64),
    Token { token: Option<String>, seen: HashSet<String> },
    Whole,
    End,
}

impl<'a> Listing<'a> {
    /// `query` or `body` is the request without its paging. For a `GET` the members of `body` become query parameters.
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
        let size = list.bare_first.unwrap_or(size);
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
            last: Answered::Nothing,
            empty_pages,
            failed_pages: FailedPages::default(),
            reads_smaller: false,
            is_interrupted: false,
            goes_on_at: 0,
            begins: Vec::new(),
            api,
        }
    }

    /// The list that belongs to the record with this id.
    #[must_use]
    pub fn of(mut self, parent: &str) -> Self {
        self.request.path = self.request.path.replacen("{}", &escape(parent), 1);
        self
    }

    /// Continues at a page number, after `rows` rows.
    #[must_use]
    pub fn from_page(mut self, page: u64, rows: u64) -> Self {
        if let Next::Number(number) = &mut self.next {
            (*number, self.rows) = (page, rows);
        }
        self
    }

    /// Sets the greatest total of the pages before.
    #[must_use]
    pub fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }

    /// Has pages that fail read again in smaller ones, behind the list's end. `failed` are those that an earlier run left.
    #[must_use]
    pub fn with_smaller_pages(mut self, failed: FailedPages) -> Self {
        if failed.is_list_read() {
            self.goes_on_at = self.next_page().unwrap_or(0);
            self.next = Next::End;
        }
        (self.failed_pages, self.reads_smaller) = (failed, true);
        self
    }

    /// Sets the expected number of rows, for a list without a total.
    #[must_use]
    pub fn expecting(mut self, rows: u64) -> Self {
        self.expected = Some(rows);
        self
    }

    /// The greatest total of all pages so far. None if no page has one.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The number of the next page, for a list paged by number. None at its end.
    pub fn next_page(&self) -> Option<u64> {
        match self.next {
            Next::Number(number) => Some(number),
            Next::End if self.smaller_page().is_some() => Some(self.goes_on_at),
            _ => None,
        }
    }

    /// Returns only the API's total, with one small request.
    pub async fn count(mut self, caller: &Caller<'_>) -> Result<u64, ApiError> {
        self.size = 1;
        let shown = self.rows(caller).await?.map_or(0, |rows| rows.len() as u64);
        let what = self.request.what();
        let name = self.list.total.unwrap_or("total");
        let why = match self.total {
            Some(total) if total >= shown => return Ok(total),
            // With a total below the rows shown, the window would be covered as empty.
            Some(total) => format!("the answer shows {shown} rows, and its {name:?} is {total}"),
            None => format!("the answer has no {name:?}"),
        };
        Err(self.quoted(ApiError::Unexpected { what, why }))
    }

    /// The error that the last page gave rise to, with the beginning of that page.
    pub fn quoted(&self, error: ApiError) -> ApiError {
        self.api.quoted(error, &self.begins)
    }

    /// Returns only the first record, with one small request.
    pub async fn first(mut self, caller: &Caller<'_>) -> Result<Option<ListRow>, ApiError> {
        self.size = 1;
        let mut first = Lent::new(None);
        self.page(caller, &mut first).await?;
        first.back()
    }

    /// Returns the next page's rows of a short list, or none at the end.
    pub async fn rows(&mut self, caller: &Caller<'_>) -> Result<Option<Vec<ListRow>>, ApiError> {
        let mut rows = Lent::new(Vec::new());
        let more = self.page(caller, &mut rows).await?;
        let mut rows = rows.back()?;
        if let Some(key) = self.list.text_as {
            rows = rows.into_iter().map(|row: ListRow| row.text_as(key)).collect();
        }
        Ok(more.then_some(rows))
    }

    /// Passes on the rows of the next page while they arrive. Returns false at the end: after an empty page that names
    /// no next one. After an error `rows` has the rows of the pages before, unless the time ran out.
    pub async fn page<R: Rows>(&mut self, caller: &Caller<'_>, rows: &mut Lent<R>) -> Result<bool, ApiError> {
        let Some(request) = self.next_request() else { return Ok(false) };
        let check = |page: &Page| self.check(&request.what(), page);
        let page = self.api.page(&request, caller, self.list, rows, check).await;
        let page = page.map_err(|error| self.refusal(error))?;
        self.note_total(&page.envelope);
        self.rows += page.rows;
        self.last = if matches!(self.next, Next::End) { Answered::SmallerPage } else { Answered::Page };
        let next_page_set = if self.last == Answered::SmallerPage {
            // With a total the list is read again.
            let repeats = self.total.is_none() && page.first.is_some() && page.first == self.first_row;
            self.first_row = page.first;
            self.failed_pages.note_smaller_answer(page.rows, repeats);
            if std::mem::take(&mut self.is_interrupted) {
                self.next = Next::Number(self.goes_on_at);
            }
            Ok(())
        } else {
            self.failed_pages.note_answer(page.rows == self.size);
            self.set_next_page(&page, &request)
        };
        self.begins = page.begins;
        next_page_set.map_err(|error| self.quoted(error))?;
        Ok(page.rows > 0 || !matches!(self.next, Next::End) || self.smaller_page().is_some())
    }

    fn refusal(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Unauthorized { what, said } if self.list.refuses_with_401 => {
                ApiError::Forbidden { what, status: 401, said: format!("not permitted, or not found: {said}") }
            }
            error => error,
        }
    }

    /// Passes over the page that failed with `error`. Returns false if no other is read: it would need this one's answer, or
    /// the API may fail as a whole. After two pages in a row a smaller one must show that it doesn't.
    pub fn pass_over(&mut self, error: ErrorInfo) -> bool {
        let after = match (&self.next, &self.list.paging) {
            (Next::Number(number), Paging::Number { first, .. }) if !self.is_bare(*number) => {
                let (page, next) = (NumberedPage { number: number - first, size: self.full }, number + 1);
                let after = self.failed_pages.pass_over(page, error);
                self.next = Next::Number(next);
                if after == AfterFailure::SmallerPage && self.reads_smaller {
                    (self.next, self.goes_on_at, self.is_interrupted) = (Next::End, next, true);
                }
                after
            }
            (Next::End, _) => {
                let after = self.failed_pages.note_smaller_failure(self.is_interrupted);
                if after == AfterFailure::NextPage {
                    (self.next, self.is_interrupted) = (Next::Number(self.goes_on_at), false);
                }
                after
            }
            _ => AfterFailure::Nothing,
        };
        match after {
            AfterFailure::NextPage => true,
            AfterFailure::SmallerPage => self.reads_smaller,
            AfterFailure::Nothing => false,
        }
    }

    /// Whether the last answer was a page of the list, and another one is next.
    pub fn is_within_list(&self) -> bool {
        self.last == Answered::Page && matches!(self.next, Next::Number(_))
    }

    /// Ends the list. The smaller pages that are left follow.
    pub fn end(&mut self) {
        self.next = Next::End;
        self.failed_pages.note_end();
    }

    /// The pages that failed so far, to continue with in the next run.
    pub fn failed_pages(&self) -> FailedPages {
        self.failed_pages.left(self.total.is_some())
    }

    /// The smaller page that is next. None before the list's end.
    pub fn smaller_page(&self) -> Option<NumberedPage> {
        let is_at_end = self.reads_smaller && matches!(self.next, Next::End);
        self.failed_pages.smaller_page().filter(|_| is_at_end)
    }

    /// The first error of a page, unless all rows of the pages that failed were read after all.
    pub fn failure(&self) -> Option<&ErrorInfo> {
        self.failed_pages.error().filter(|_| !self.failed_pages.are_read(self.total.is_some()))
    }

    fn next_request(&self) -> Option<Request> {
        match &self.next {
            Next::End => self.smaller_page().map(|page| self.request_for_smaller(page)),
            Next::Number(number) if self.is_bare(*number) => Some(self.request.clone()),
            Next::Number(number) => Some(self.request_for(Some(Value::from(*number)), self.size)),
            Next::Token { token, .. } => Some(self.request_for(token.as_deref().map(Value::from), self.size)),
            Next::Whole => Some(self.request.clone()),
        }
    }

    /// Checks a page.
    ///
    /// * `problems` in a 200 are an error.
    /// * The first page must have the total: an error's body in a 200 has none. A page past the end may lack it.
    /// * A page that names a next one must have a list.
    /// * So must the first page, if there is no total or if the total says that there are rows.
    fn check(&self, what: &str, page: &Page) -> Result<(), ApiError> {
        let what = what.to_owned();
        if let Some(problems) = page.envelope.get("problems").and_then(reported) {
            return Err(of_problems(what, problems));
        }
        let lacks = |what, key: &str| Err(ApiError::Unexpected { what, why: format!("the answer has no {key}") });
        let names_next =
            matches!(self.list.paging, Paging::Token { next, .. } if token(&page.envelope, next).is_some());
        let total = |key: &str| page.envelope.get(key).and_then(count);
        match self.list.total {
            _ if names_next && !page.has_list => lacks(what, "list"),
            _ if self.last != Answered::Nothing => Ok(()),
            Some(key) if total(key).is_none() => lacks(what, &format!("{key:?}")),
            Some(key) if !page.has_list && total(key) > Some(self.rows) => lacks(what, "list"),
            None if self.expected.is_none() && !page.has_list => lacks(what, "list"),
            _ => Ok(()),
        }
    }

    /// Whether the page is requested without its number.
    fn is_bare(&self, number: u64) -> bool {
        let is_first = matches!(self.list.paging, Paging::Number { first, .. } if first == number);
        is_first && self.list.bare_first.is_some()
    }

    fn request_for_smaller(&self, page: NumberedPage) -> Request {
        let first = if let Paging::Number { first, .. } = self.list.paging { first } else { 0 };
        self.request_for(Some(Value::from(first + page.number)), page.size)
    }

    fn request_for(&self, page: Option<Value>, rows: u64) -> Request {
        let mut request = self.request.clone();
        if let Paging::Number { page: name, size, .. } | Paging::Token { token: name, size, .. } = self.list.paging {
            if let Some(page) = page {
                request.set(name, page);
            }
            request.set(size, Value::from(rows));
        }
        request
    }

    fn note_total(&mut self, envelope: &Map<String, Value>) {
        let told = self.list.total.and_then(|key| envelope.get(key)).and_then(count);
        self.total = self.total.max(told);
    }

    /// Determines the next page.
    ///
    /// Pages by number: an empty page is the last. A short page need not be: the server may allow fewer rows a page
    /// than were asked for. It is the last once as many rows were read as the total says. After a full page another is
    /// asked for even then, unless this one repeated the page before. If the first page is asked for without a number,
    /// any page that is not exactly full is the last: the API may have no pages at all. Pages by token: the page
    /// without a token is the last.
    fn set_next_page(&mut self, page: &Page, request: &Request) -> Result<(), ApiError> {
        let count = page.rows;
        self.empty_pages = if count == 0 { self.empty_pages + 1 } else { 0 };
        let expected = self.expected.or(self.total);

        self.next = match (std::mem::replace(&mut self.next, Next::End), &self.list.paging) {
            (Next::Number(number), _) => {
                let is_short_of = expected.is_none_or(|expected| self.rows < expected);
                let repeats = page.first.is_some() && page.first == self.first_row;
                let more = is_short_of || count >= self.full && !repeats;
                // The server may allow fewer rows a page than were asked for. Then this many rows are a full page.
                if is_short_of && expected.is_some() {
                    self.full = self.full.min(count);
                }
                self.first_row = page.first;
                let is_last = match self.list.bare_first {
                    Some(full) => count != full || repeats,
                    None => count < self.list.last_below.min(self.size),
                };
                self.goes_on_at = number + 1;
                if count > 0 && more && !is_last {
                    Next::Number(number + 1)
                } else {
                    self.failed_pages.note_end();
                    Next::End
                }
            }
            (Next::Token { mut seen, .. }, Paging::Token { next, .. }) => match token(&page.envelope, next) {
                None => Next::End,
                Some(Value::String(token)) => {
                    let why = if !seen.insert(token.clone()) {
                        "the page token repeats"
                    } else if self.empty_pages >= EMPTY_PAGES {
                        "ten pages in a row are empty, and each names a next one"
                    } else if expected.is_some_and(|expected| self.rows > most_rows(expected) + self.size) {
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

/// Whether the API may have stopped counting there: a total is capped at a round number, such as 10,000.
pub fn may_be_cap(total: u64) -> bool {
    const ROUND: u64 = 100;
    total > 0 && total.is_multiple_of(ROUND)
}

fn most_rows(total: u64) -> u64 {
    if may_be_cap(total) { total.saturating_mul(BEYOND_CAP) } else { total }
}

/// The token of the next page. On the last page it is null, empty or absent (SDK, tests).
fn token<'e>(envelope: &'e Map<String, Value>, keys: &[&str]) -> Option<&'e Value> {
    let mut found = keys.iter().filter_map(|key| envelope.get(*key));
    found.find(|token| !token.is_null() && token.as_str() != Some(""))
}

/// Escapes an id for a path. A slash or question mark in it would change the path.
pub fn escape(id: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(id, RESERVED).to_string()
}

/// The `problems` of an answer, if it reports any.
pub fn reported(problems: &Value) -> Option<&Value> {
    match problems {
        Value::Null => None,
        Value::Array(problems) if problems.is_empty() => None,
        problems => Some(problems),
    }
}

/// The error of an answer that reports problems. Their beginning is quoted.
pub fn of_problems(what: String, problems: &Value) -> ApiError {
    let told = quote::value(&problems.to_string());
    verdict(&what, problems, &told).unwrap_or_else(|| {
        let why = format!("the answer reports problems: {told}");
        ApiError::Unexpected { what, why }
    })
}
