//! Things that can't be read: spans of event streams, and records or lists of others. Each is on the checkpoint with
//! its attempts, its last error and its next try, and holds up nothing else.

mod list;
mod spans;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::core::drift::FEW;
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Span;
use crate::core::json::is_default;
use crate::core::time::Millis;

pub use list::{LONGEST_PAUSE, StuckList};

/// A thing that can't be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    pub what: StuckItem,
    /// The time of the first failure.
    pub since: Millis,
    /// 0 if it is a part of a larger span that failed, and hasn't been tried itself.
    pub attempts: u32,
    pub tried_at: Millis,
    pub next_try: Millis,
    pub error: ErrorInfo,
    /// The last time that a list showed this record while it was stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Millis>,
    /// A run died while it read this. So nothing else is read at the same time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alone: bool,
    /// The number of unreadable rows, if the span failed because it had too many. 0 otherwise.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "rows_or_flag")]
    pub unreadable: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StuckItem {
    /// A gap.
    Span(Span),
    /// A covered window that can't be counted or read again.
    Recount(Span),
    /// A record whose detail fails, by a case's number or a session's id.
    Id(String),
    /// A list of a record: `{"list": "members", "id": "<watchlist id>"}`. A list that belongs to no record has no id.
    List {
        list: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
}

/// A stream's stuck things, as in the answer and the health records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StuckSummary {
    pub count: u64,
    /// The thing that failed first.
    pub oldest: Named,
    pub since: Millis,
    /// The last error of the oldest.
    pub error: ErrorInfo,
}

/// A span by its ends, a record by its id, a list by its name and the id of its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Named {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Older checkpoints have a flag.
fn rows_or_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum RowsOrFlag {
        Rows(u64),
        Flag(bool),
    }
    Ok(match RowsOrFlag::deserialize(deserializer)? {
        RowsOrFlag::Rows(rows) => rows,
        RowsOrFlag::Flag(is_suspected) => u64::from(is_suspected) * (FEW + 1),
    })
}

impl Stuck {
    /// The span, if it is a gap.
    pub fn span(&self) -> Option<Span> {
        self.what.span()
    }

    fn meets(&self, span: Span) -> bool {
        self.span().is_some_and(|held| held.intersection(span).is_some())
    }
}

impl StuckItem {
    /// The span, if it is a gap: time that is not covered.
    fn span(&self) -> Option<Span> {
        match self {
            Self::Span(span) => Some(*span),
            _ => None,
        }
    }

    /// The id, if it is a record.
    pub fn into_id(self) -> Option<String> {
        match self {
            Self::Id(id) => Some(id),
            _ => None,
        }
    }
}

impl From<&StuckItem> for Named {
    fn from(what: &StuckItem) -> Self {
        match what {
            StuckItem::Span(span) | StuckItem::Recount(span) => {
                Self { from: Some(span.from), to: Some(span.to), ..Self::default() }
            }
            StuckItem::Id(id) => Self { id: Some(id.clone()), ..Self::default() },
            StuckItem::List { list, id } => Self { list: Some(list.clone()), id: id.clone(), ..Self::default() },
        }
    }
}

impl fmt::Display for StuckItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Span(span) => write!(f, "{} to {}", span.from, span.to),
            Self::Recount(span) => write!(f, "the recount of {} to {}", span.from, span.to),
            Self::Id(id) => f.write_str(id),
            Self::List { list, id: Some(id) } => write!(f, "{list} of {id}"),
            Self::List { list, id: None } => f.write_str(list),
        }
    }
}
