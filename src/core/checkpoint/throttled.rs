//! The parts of a stream that the next run asks for last: the API throttled them (429) until a run's end, or they failed
//! while nothing showed whether the API works.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::json::is_default;
use crate::core::stuck::StuckItem;

/// A 429 pauses the requests of all streams, so the next run sends these after all others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttled {
    /// Whether a 429 ended the stream's last run, or an earlier one since which the stream was not asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub last_run: bool,
    /// Records and lists of records, until they are answered.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub items: BTreeSet<StuckItem>,
}
