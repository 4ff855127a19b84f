//! How a stream behaves over time, and by which facts it is read.

use chrono::TimeDelta;
use serde_json::Value;

use crate::core::intervals::Span;
use crate::core::ndjson::Place;
use crate::core::settings::FileEventQuery;
use crate::incydr::facts::list::{List, Paging};

pub struct Facts {
    /// Where one request finds the newest record; an event stream's own list does.
    pub newest: Option<Newest>,
    pub kind: Kind,
}

/// How a stream behaves over time, with the facts by which it is read. All are constants, whatever their size.
#[allow(clippy::large_enum_variant)]
pub enum Kind {
    Events(Events),
    Versions(Versions),
    Rescanned(Rescanned),
    Inventory(Inventory),
    Findings(Findings),
}

/// Records that never change once visible; read by window.
pub struct Events {
    pub list: List,
    /// The request for a span, without its paging. The server's edges are not trusted: `asked` is wider than the window.
    pub request: fn(&FileEventQuery, Span) -> Value,
    /// What a request holds otherwise, for the newest to come first.
    pub newest_first: &'static [(&'static str, &'static str)],
    pub total: Total,
    /// Rows that are alike in every byte are one record, for each has an id.
    pub has_id: bool,
    /// How long the API keeps a record, where that is the same for all tenants: older spans expire unread. None: it
    /// depends on the tenant's plan, of which `FILE_EVENTS_RETENTION_DAYS` tells. An older span expires if the API shows
    /// nothing in it.
    pub retention: Option<TimeDelta>,
    /// An answer that is not JSON is set aside whole, and counts as the last page.
    pub keeps_what_is_not_json: bool,
}

/// Where the API's own count of a request's rows comes from.
pub enum Total {
    /// In each page of the list.
    InPage,
    /// From an endpoint of its own, which takes the same request: its path, and where the count stands.
    Endpoint { path: &'static str, count: &'static str },
    /// There is none: what was read is all there is. A window is cut no longer than `longest`, and what
    /// is asked for has an end, or not.
    Nowhere { longest: TimeDelta, has_end: bool },
}

/// Records that change after they appear; read by when they were last updated, each with its detail.
pub struct Versions {
    pub list: List,
    /// The query parameter that takes an interval of update times, `<from>/<to>`.
    pub updated: &'static str,
    /// The path below which a record's detail stands under its id.
    pub detail: &'static str,
}

/// Records that change after they appear, of which the API doesn't tell when; read again by when they began.
pub struct Rescanned {
    pub list: List,
    /// Where a record's begin stands, in epoch milliseconds.
    pub begin: &'static [&'static str],
    /// The query parameters that bound the begin, in epoch milliseconds.
    pub bounds: (&'static str, &'static str),
    /// The list shows only some of its records at a time: a parameter, and the values that together show all. A record
    /// only ever goes over from an earlier value to a later one, so that none is missed on its way.
    pub passes: (&'static str, &'static [&'static str]),
    /// What is stored is not the records, but a list that each has.
    pub sublist: Option<Sublist>,
}

/// A list that each record has.
pub struct Sublist {
    pub list: List,
    /// The path below which the record itself stands under its id.
    pub detail: &'static str,
    /// Its records carry the id of the record whose list it is, under this key.
    pub parent: &'static str,
}

/// Records without a time filter; read whole, at most once an interval.
pub struct Inventory {
    /// One after the other.
    pub parts: &'static [Part],
    /// What is not shown any more is told as deleted.
    pub tells_deleted: bool,
    /// However long ago it was read last.
    pub in_every_run: bool,
}

/// What is found in other records, and read from none of its own.
pub struct Findings {
    pub every: TimeDelta,
}

/// One of the lists that make up an inventory.
pub struct Part {
    /// Tells it from the others.
    pub name: &'static str,
    pub list: List,
    /// It is a list that each record of the first part has. Its records carry that one's id under this key.
    pub parent: Option<&'static str>,
    /// Its records are not stored: they are here for the lists that they have.
    pub is_index: bool,
    /// What the API answers where a record has no such list.
    pub none: &'static [u16],
    /// What is stored is not the list's item.
    pub detail: Option<Detail>,
    /// It is no list, but the whole of a record of which the first part shows a summary: asked for where that is new or
    /// has changed, and otherwise once in this time, as far as a share of the budget goes.
    pub every: Option<TimeDelta>,
}

/// The whole of a record of which a list shows only a summary. It never changes.
pub struct Detail {
    /// `{}` stands for the parent's id, and then for the record's own.
    pub path: &'static str,
    /// Where the id stands in it.
    pub id: &'static [&'static str],
}

/// A list with the newest record first.
pub struct Newest {
    pub list: List,
    /// Where the time stands by which it is sorted: RFC 3339, or epoch milliseconds.
    pub time: &'static [&'static str],
}

impl Part {
    /// A list that stands by itself.
    pub const fn alone(name: &'static str, list: List) -> Self {
        Self { name, list, parent: None, is_index: false, none: &[], detail: None, every: None }
    }

    /// A list that each record of the first part has.
    pub const fn of_each(name: &'static str, parent: &'static str, list: List) -> Self {
        Self { name, list, parent: Some(parent), is_index: false, none: &[], detail: None, every: None }
    }

    /// The whole of each record of the first part, which carries its id under `id` itself.
    pub const fn whole_of_each(
        name: &'static str,
        id: &'static [&'static str],
        path: &'static str,
        every: TimeDelta,
    ) -> Self {
        let list = List::get(path, Place::Alone, id, Paging::Whole).without_total();
        Self { none: &[404], every: Some(every), ..Self::of_each(name, id[0], list) }
    }

    #[must_use]
    pub const fn index(self) -> Self {
        Self { is_index: true, ..self }
    }

    /// Where the id stands in what is stored.
    pub fn stored_id(&self) -> &'static [&'static str] {
        self.detail.as_ref().map_or(self.list.field, |detail| detail.id)
    }
}

impl Inventory {
    pub const fn of(parts: &'static [Part]) -> Self {
        Self { parts, tells_deleted: true, in_every_run: false }
    }
}
