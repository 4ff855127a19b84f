//! The facts about one list of the API: endpoint, paging, and where its records are.

use crate::core::ndjson::Place;

/// An endpoint that returns a list in pages.
pub struct List {
    pub method: Method,
    /// `{}` is the id of the record that the list belongs to.
    pub path: &'static str,
    pub place: Place,
    /// The path to an event's cursor time or another record's id, outermost key first.
    pub field: &'static [&'static str],
    /// The key of the API's own total.
    pub total: Option<&'static str>,
    pub paging: Paging,
    /// Parameters with a constant value.
    pub fixed: &'static [(&'static str, &'static str)],
    pub max_page_size: u64,
    /// A record that is a plain string is stored as an object with the string under this key.
    pub text_as: Option<&'static str>,
    /// The API's default page size. A page with a number is the last if it has fewer rows than this and fewer than were
    /// asked for.
    pub last_below: u64,
    /// If set, the first request names neither page nor size. The API then shows so many rows at most, or all if it has
    /// no pages.
    pub bare_first: Option<u64>,
    /// The API answers 401 instead of 403 if the permission is missing.
    pub refuses_with_401: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Parameters go into the query string.
    Get,
    /// Parameters go into a JSON body.
    Post,
}

pub enum Paging {
    Number {
        page: &'static str,
        size: &'static str,
        first: u64,
    },
    Token {
        token: &'static str,
        size: &'static str,
        /// The token that asks for the first page.
        first: Option<&'static str>,
        /// The keys under which the next page's token may be.
        next: &'static [&'static str],
    },
    /// One answer contains all rows.
    Whole,
    /// One answer contains all rows. The request may hold these parameters for a page's number and size, which are left
    /// out.
    WholeWithout(&'static [&'static str]),
}

impl List {
    /// The defaults of most lists.
    pub const fn get(path: &'static str, place: Place, id: &'static [&'static str], paging: Paging) -> Self {
        let total = Some("totalCount");
        Self {
            method: Method::Get,
            path,
            place,
            field: id,
            total,
            paging,
            fixed: &[],
            max_page_size: 500,
            text_as: None,
            last_below: 0,
            bare_first: None,
            refuses_with_401: false,
        }
    }

    #[must_use]
    pub const fn without_total(self) -> Self {
        Self { total: None, ..self }
    }

    #[must_use]
    pub const fn fixed(self, fixed: &'static [(&'static str, &'static str)]) -> Self {
        Self { fixed, ..self }
    }

    /// The key of a record's id.
    pub fn id(&self) -> &'static str {
        self.field.last().copied().unwrap_or_default()
    }
}
