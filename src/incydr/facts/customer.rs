//! The tenant itself: one record.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// SDK, `customer/client.py`.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "customer",
        List::get("/v1/customer", Place::Alone, &["tenantId"], Paging::Whole).without_total(),
    )])),
};
