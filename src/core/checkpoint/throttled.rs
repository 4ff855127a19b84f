//! What of a stream the API throttled until a run's end.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::json::is_default;
use crate::core::stuck::StuckItem;

/// A 429 pauses the requests of all streams, so the next run asks for this after everything else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttled {
    /// Whether the stream's last run ended so.
    #[serde(skip_serializing_if = "is_default")]
    pub last_run: bool,
    /// Records and lists of records, until they are answered.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub items: BTreeSet<StuckItem>,
}
