//! Saved searches: the queries for file events that people keep in the console.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The path of all saved searches. One of them has its id appended (`OpenAPI`; SDK, `file_events/client.py`).
pub const PATH: &str = "/v2/file-events/saved-searches";
/// The key of the list in the answer. An answer about one saved search has a list, too.
pub const SEARCHES: &str = "searches";

/// One page without a total. The list may be null (`OpenAPI`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "saved_searches",
        List::get(PATH, Place::under(&[SEARCHES]), &["id"], Paging::Whole).without_total(),
    )])),
};
