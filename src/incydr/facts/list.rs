//! One list of the API: where it is, how it is paged, where its records stand.

use crate::core::ndjson::Place;

/// One endpoint that answers a list in pages.
pub struct List {
    pub method: Method,
    /// `{}` stands for the id of the record whose list it is.
    pub path: &'static str,
    pub place: Place,
    /// Where an event's cursor time stands, or another record's id: from the outermost key inwards.
    pub field: &'static [&'static str],
    /// The key of the API's own total.
    pub total: Option<&'static str>,
    pub paging: Paging,
    /// Parameters that never change.
    pub fixed: &'static [(&'static str, &'static str)],
    pub max_page_size: u64,
    /// Records that are plain text are stored as objects, with the text under this key.
    pub text_as: Option<&'static str>,
    /// A page of fewer rows, where as many were asked for, is the last: the API gives so many where nobody says how many.
    pub last_below: u64,
    /// It answers 401, and not 403, to who may not read it.
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
        /// What asks for the first page.
        first: Option<&'static str>,
        /// The keys under which the next one's token may stand.
        next: &'static [&'static str],
    },
    /// One answer holds all.
    Whole,
    /// The same, for which a request may hold its page's number and size: these are left out.
    WholeWithout(&'static [&'static str]),
}

impl List {
    /// What most lists have in common, for the rest to be stated.
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
