//! The datasets: what each is called, of which kind it is, and the facts by which it is read.
//! A stream's own file states facts; how they are used is told once, in `collect`.

pub mod guide;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::intervals::Span;
use crate::ndjson::{self, Place};
use crate::time::Millis;

/// Each dataset has a module of its own, which holds its `FACTS`. In the order in which a run asks for them: events
/// first, and what takes many requests last.
macro_rules! streams {
    ($($variant:ident: $module:ident),+ $(,)?) => {
        $(pub mod $module;)+

        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stream {
            $($variant,)+
        }

        impl Stream {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$variant => &$module::FACTS,)+
                }
            }
        }
    };
}

streams! {
    FileEvents: file_events,
    Audit: audit,
    Sessions: sessions,
    Cases: cases,
    Users: users,
    Agents: agents,
    Devices: devices,
    Actors: actors,
    Departments: departments,
    DirectoryGroups: directory_groups,
    TrustedActivities: trusted_activities,
    Roles: roles,
    Orgs: orgs,
    RiskIndicatorCategories: risk_indicator_categories,
    Customer: customer,
    AlertRules: alert_rules,
    Watchlists: watchlists,
    LegalHold: legal_hold,
    CaseFileEvents: case_file_events,
    SessionEvents: session_events,
    UserRoles: user_roles,
    EnvironmentHealth: environment_health,
}

/// Which endpoints the API has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those that the vendor's SDK calls.
    Sdk,
    /// Those that the Google `SecOps` guide prints.
    Guide,
}

pub struct Facts {
    /// As `STREAMS`, the keys of objects and the checkpoint name it.
    pub name: &'static str,
    /// Other names that `STREAMS` takes for it.
    pub also: &'static [&'static str],
    /// What the API client must be allowed to, as the console calls it.
    pub permission: &'static str,
    /// Where one request finds the newest record; an event stream's own list does.
    pub newest: Option<Newest>,
    pub kind: Kind,
}

/// A list with the newest record first.
pub struct Newest {
    pub list: List,
    /// Where the time stands by which it is sorted: RFC 3339, or epoch milliseconds.
    pub time: &'static [&'static str],
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
    pub request: fn(&file_events::Query, Span) -> Value,
    /// What a request holds otherwise, for the newest to come first.
    pub newest_first: &'static [(&'static str, &'static str)],
    pub total: Total,
    /// Rows that are alike in every byte are one record, for each has an id.
    pub has_id: bool,
    /// How long the API keeps a record, in milliseconds; what is older can never be read again.
    pub retention: Option<i64>,
    /// An answer that is not JSON is set aside whole, and counts as the last page.
    pub keeps_what_is_not_json: bool,
}

/// Where the API's own count of a request's rows comes from.
pub enum Total {
    /// In each page of the list.
    InPage,
    /// From an endpoint of its own, which takes the same request: its path, and where the count stands.
    Endpoint { path: &'static str, count: &'static str },
    /// There is none: what was read is all there is. A window is cut no longer than `longest` milliseconds, and what
    /// is asked for has an end, or not.
    Nowhere { longest: i64, has_end: bool },
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
    pub behind: Option<Behind>,
}

/// A list of its own behind each record that is new or has changed.
pub struct Behind {
    pub list: List,
    /// Its records carry the id of the record they stand behind, under this key.
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
    /// How often, in milliseconds.
    pub every: i64,
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
}

/// The whole of a record of which a list shows only a summary. It never changes.
pub struct Detail {
    /// `{}` stands for the parent's id, and then for the record's own.
    pub path: &'static str,
    /// Where the id stands in it.
    pub id: &'static [&'static str],
}

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

impl Part {
    /// A list that stands by itself.
    pub const fn alone(name: &'static str, list: List) -> Self {
        Self { name, list, parent: None, is_index: false, none: &[], detail: None }
    }

    /// A list that each record of the first part has.
    pub const fn of_each(name: &'static str, parent: &'static str, list: List) -> Self {
        Self { name, list, parent: Some(parent), is_index: false, none: &[], detail: None }
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

impl Stream {
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    pub fn kind(self) -> &'static Kind {
        &self.facts().kind
    }

    /// The same in a dialect; a guide has few streams, and then this is none.
    pub fn kind_in(self, dialect: Dialect) -> Option<&'static Kind> {
        match dialect {
            Dialect::Sdk => Some(self.kind()),
            Dialect::Guide => guide::kind(self),
        }
    }

    pub fn permission(self) -> &'static str {
        self.facts().permission
    }

    /// An event's own time; the records of other streams have none by which they are stored.
    pub fn time_of(self, record: &str) -> Option<Millis> {
        let Kind::Events(facts) = self.kind() else { return None };
        Millis::parse(&ndjson::field(record, facts.list.field)?)
    }

    /// Reads a name of `STREAMS`; the error lists the known ones.
    pub fn parse(name: &str) -> Result<Self, String> {
        let is_called = |stream: &Self| stream.name() == name || stream.facts().also.contains(&name);
        let known = || Self::ALL.iter().map(|stream| stream.name()).collect::<Vec<_>>().join(", ");
        Self::ALL
            .iter()
            .copied()
            .find(is_called)
            .ok_or_else(|| format!("{name:?} is not a stream; the known ones are {}", known()))
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}
