//! Risk indicators by category. They explain the indicators of events and sessions.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// Not paged (SDK, `risk_indicator_categories/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "risk_indicator_categories",
        List::get("/v1/risk-indicator-categories", Place::under(&["categories"]), &["id"], Paging::Whole)
            .without_total(),
    )])),
};
