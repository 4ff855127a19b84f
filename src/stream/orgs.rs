//! Organizations, active or not.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// Not paged (SDK, `orgs/client.py`).
pub static FACTS: Facts = Facts {
    name: "orgs",
    also: &[],
    permission: "Organizations: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "orgs",
        List::get("/v1/orgs", Place::under(&["orgs"]), &["orgGuid"], Paging::Whole),
    )])),
};
