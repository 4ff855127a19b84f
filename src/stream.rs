//! The datasets: what each is called, of which kind it is, and the facts by which it is read.
//! A stream's own file states facts; how they are used is told once, in `collect`.

pub mod audit;
pub mod cases;
pub mod file_events;
pub mod users;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::intervals::Span;
use crate::ndjson;
use crate::time::Millis;

/// In the order in which a run asks for them: events first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    FileEvents,
    Audit,
    Cases,
    Users,
}

/// How a stream behaves over time, with the facts by which it is read.
pub enum Kind {
    Events(&'static Events),
    Versions(&'static Versions),
    Inventory(&'static Inventory),
}

/// Records that never change once visible; read by window.
pub struct Events {
    pub list: List,
    /// The request for a span, without its paging. The server's edges are not trusted: `asked` is wider than the window.
    pub request: fn(&file_events::Query, Span) -> Value,
    pub total: Total,
    /// How long the API keeps a record, in milliseconds; what is older can never be read again.
    pub retention: Option<i64>,
}

/// Where the API's own count of a request's rows comes from.
pub enum Total {
    /// In each page of the list.
    InPage,
    /// From an endpoint of its own, which takes the same request: its path, and where the count stands.
    Endpoint { path: &'static str, count: &'static str },
}

/// Records that change after they appear; read by when they were last updated, each with its detail.
pub struct Versions {
    pub list: List,
    /// The query parameter that takes an interval of update times, `<from>/<to>`.
    pub updated: &'static str,
    /// The path below which a record's detail stands under its id.
    pub detail: &'static str,
}

/// Records without a time filter; read whole.
pub struct Inventory {
    pub list: List,
}

/// One endpoint that answers a list in pages.
pub struct List {
    pub method: Method,
    pub path: &'static str,
    /// The key of the page's list of records.
    pub rows: &'static str,
    /// Where an event's cursor time stands, or another record's id: from the outermost key inwards.
    pub field: &'static [&'static str],
    /// The key of the API's own total.
    pub total: Option<&'static str>,
    pub paging: Paging,
    /// Parameters that never change.
    pub fixed: &'static [(&'static str, &'static str)],
    pub max_page_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Parameters go into the query string.
    Get,
    /// Parameters go into a JSON body.
    Post,
}

pub enum Paging {
    Number { page: &'static str, size: &'static str, first: u64 },
    Token { token: &'static str, size: &'static str, next: &'static str },
}

impl Versions {
    pub fn id(&self) -> &'static str {
        self.list.id()
    }
}

impl Inventory {
    pub fn id(&self) -> &'static str {
        self.list.id()
    }
}

impl List {
    /// The key of a record's id.
    fn id(&self) -> &'static str {
        self.field.last().copied().unwrap_or_default()
    }
}

impl Stream {
    pub const ALL: [Self; 4] = [Self::FileEvents, Self::Audit, Self::Cases, Self::Users];

    pub fn name(self) -> &'static str {
        match self {
            Self::FileEvents => "file_events",
            Self::Audit => "audit",
            Self::Cases => "cases",
            Self::Users => "users",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::FileEvents => Kind::Events(&file_events::FILE_EVENTS),
            Self::Audit => Kind::Events(&audit::AUDIT),
            Self::Cases => Kind::Versions(&cases::CASES),
            Self::Users => Kind::Inventory(&users::USERS),
        }
    }

    /// An event's own time; the records of other streams have none by which they are stored.
    pub fn time_of(self, record: &str) -> Option<Millis> {
        let Kind::Events(facts) = self.kind() else { return None };
        Millis::parse(&ndjson::field(record, facts.list.field)?)
    }

    /// What the API client must be allowed to, as the console calls it (support articles).
    pub fn permission(self) -> &'static str {
        match self {
            Self::FileEvents => "File Events: Read (needs a plan with full API access)",
            Self::Audit => "Audit Log: Read",
            Self::Cases => "Cases: Read",
            Self::Users => "Users: Read",
        }
    }

    /// Reads a name of `STREAMS`; the error lists the known ones.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.name() == name)
            .ok_or_else(|| format!("{name:?} is not a stream; the known ones are {}", Self::known()))
    }

    fn known() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
