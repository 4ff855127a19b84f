//! Saved searches: the queries for file events that people keep in the console.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// One of them stands below it, under its id (`OpenAPI`; SDK, `file_events/client.py`).
pub const PATH: &str = "/v2/file-events/saved-searches";
/// Where it stands in the answer, which is a list also for one.
pub const SEARCHES: &str = "searches";

/// All at once, and without a total. The list may be null (`OpenAPI`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "saved_searches",
        List::get(PATH, Place::under(&[SEARCHES]), &["id"], Paging::Whole).without_total(),
    )])),
};
