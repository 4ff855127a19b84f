//! The tenant itself: one record.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// SDK, `customer/client.py`.
pub static FACTS: Facts = Facts {
    name: "customer",
    also: &[],
    permission: "Customer: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "customer",
        List::get("/v1/customer", Place::Alone, &["tenantId"], Paging::Whole).without_total(),
    )])),
};
