//! The kinds of streams, and the facts that each kind needs.

use chrono::TimeDelta;
use serde_json::Value;

use crate::core::intervals::Span;
use crate::core::ndjson::Place;
use crate::core::settings::FileEventQuery;
use crate::incydr::facts::list::{List, Paging};

pub struct Facts {
    /// One request that finds the newest record. Event streams use their own list.
    pub newest: Option<Newest>,
    pub kind: Kind,
}

/// The behaviour of a stream's records over time. The values are constants, so their different sizes don't matter.
#[allow(clippy::large_enum_variant)]
pub enum Kind {
    Events(Events),
    Versions(Versions),
    Rescanned(Rescanned),
    Inventory(Inventory),
    Findings(Findings),
}

/// Records that never change once visible. Read by window.
pub struct Events {
    pub list: List,
    /// Builds the request for a span, without paging. `asked` is wider than the window, because the server's edges are
    /// not trusted.
    pub request: fn(&FileEventQuery, Span) -> Value,
    /// The members of the request that make it return the newest record first.
    pub newest_first: &'static [(&'static str, &'static str)],
    pub total: Total,
    /// Each record has an id, so rows that are equal in every byte are one record.
    pub has_id: bool,
    /// The time for which the API keeps a record.
    pub retention: Option<TimeDelta>,
}

/// The source of the API's count of a request's rows.
pub enum Total {
    /// In each page of the list.
    InPage,
    /// From an endpoint that takes the same request: its path, and the key of the count.
    Endpoint { path: &'static str, count: &'static str },
    /// The API has no count: the rows that were read are all there are. A window is at most `longest`.
    /// `has_end` says whether a request can be limited to a span's end.
    Nowhere { longest: TimeDelta, has_end: bool },
}

/// Records that change after they appear. Read by the time of their last update, each with its detail.
pub struct Versions {
    pub list: List,
    /// The query parameter that takes an interval of update times, `<from>/<to>`.
    pub updated: &'static str,
    /// The path that the record's id is appended to for its detail.
    pub detail: &'static str,
}

/// Records that change after they appear, without a filter for changes. Read again by the time at which they began.
pub struct Rescanned {
    pub list: List,
    /// The path to the beginning, in milliseconds since the epoch.
    pub begin: &'static [&'static str],
    /// The query parameters that limit the beginning, in milliseconds since the epoch.
    pub bounds: (&'static str, &'static str),
    /// The list has several views: a parameter, and the values that together show all records. A record can only move
    /// from an earlier value to a later one, so reading the views in this order misses none.
    pub views: (&'static str, &'static [&'static str]),
    /// If set, the stream's records are those of a list that each record has.
    pub sublist: Option<Sublist>,
}

/// A list that each record has.
pub struct Sublist {
    pub list: List,
    /// The path that the record's id is appended to for the record itself.
    pub detail: &'static str,
    /// The key under which each row gets the id of the record that the list belongs to.
    pub parent: &'static str,
}

/// Records without a time filter. Read as a whole, at most once per interval.
pub struct Inventory {
    /// Read in this order.
    pub parts: &'static [Part],
    /// Whether a record that the lists no longer have gets a tombstone.
    pub tells_deleted: bool,
    /// Read in every run, whatever the interval.
    pub in_every_run: bool,
}

/// Findings that are derived from other streams' records.
pub struct Findings {
    pub every: TimeDelta,
}

/// One of the lists that make up an inventory.
pub struct Part {
    /// Distinguishes the parts of an inventory.
    pub name: &'static str,
    pub list: List,
    /// If set, this is a list that each record of the first part has. Each row gets that record's id under this key.
    pub parent: Option<&'static str>,
    /// Its records aren't stored. They are read only for the lists that they have.
    pub is_index: bool,
    /// The statuses that the API answers for a record without such a list.
    pub no_list_statuses: &'static [u16],
    /// If set, the stored record is not the list's item but its detail.
    pub detail: Option<Detail>,
    /// If set, this is not a list but the whole record of which the first part has a summary. It is read when the
    /// summary is new or changed, and otherwise once in this time, within a share of the budget.
    pub every: Option<TimeDelta>,
}

/// The whole record of which a list has only a summary. It never changes.
pub struct Detail {
    /// The first `{}` is the parent's id, the second the record's own.
    pub path: &'static str,
    /// The path to the id.
    pub id: &'static [&'static str],
}

/// A list sorted with the newest record first.
pub struct Newest {
    pub list: List,
    /// The path to the time that it is sorted by: RFC 3339, or milliseconds since the epoch.
    pub time: &'static [&'static str],
}

impl Part {
    /// Whether its list is one record, which is requested by itself.
    pub fn is_of_one(&self) -> bool {
        self.every.is_some() || matches!(self.list.place, Place::Alone)
    }

    /// A list that belongs to no record.
    pub const fn alone(name: &'static str, list: List) -> Self {
        Self { name, list, parent: None, is_index: false, no_list_statuses: &[], detail: None, every: None }
    }

    /// A list that each record of the first part has.
    pub const fn of_each(name: &'static str, parent: &'static str, list: List) -> Self {
        Self { name, list, parent: Some(parent), is_index: false, no_list_statuses: &[], detail: None, every: None }
    }

    /// The whole of each record of the first part. It contains its own id under `id`.
    pub const fn whole_of_each(
        name: &'static str,
        id: &'static [&'static str],
        path: &'static str,
        every: TimeDelta,
    ) -> Self {
        let list = List::get(path, Place::Alone, id, Paging::Whole).without_total();
        Self { no_list_statuses: &[404], every: Some(every), ..Self::of_each(name, id[0], list) }
    }

    #[must_use]
    pub const fn index(self) -> Self {
        Self { is_index: true, ..self }
    }

    /// The path to the id in the stored record.
    pub fn stored_id(&self) -> &'static [&'static str] {
        self.detail.as_ref().map_or(self.list.field, |detail| detail.id)
    }
}

impl Inventory {
    pub const fn of(parts: &'static [Part]) -> Self {
        Self { parts, tells_deleted: true, in_every_run: false }
    }
}
