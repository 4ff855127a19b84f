//! Risk indicators, by category: what the indicators of events and sessions mean.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// Not paged (SDK, `risk_indicator_categories/client.py`).
pub static FACTS: Facts = Facts {
    name: "risk_indicator_categories",
    also: &[],
    permission: "Risk Indicators: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "risk_indicator_categories",
        List::get("/v1/risk-indicator-categories", Place::under(&["categories"]), &["id"], Paging::Whole)
            .without_total(),
    )])),
};
