//! Legal hold: matters, who is in their custody, and by which policies.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// Paged without a total (SDK, `legal_hold/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("matters", MATTERS),
        Part { none: &[404], ..Part::of_each("custodians", "_matterId", CUSTODIANS) },
        Part::alone("policies", paged("/v1/legal-hold/policies", &["policies"], &["policyId"])),
    ])),
};

pub const MATTERS: List = paged("/v1/legal-hold/matters", &["matters"], &["matterId"]);
pub const CUSTODIANS: List = paged("/v1/legal-hold/matters/{}/custodians", &["custodians"], &["userId"]);

const fn paged(path: &'static str, keys: &'static [&'static str], id: &'static [&'static str]) -> List {
    let paging = Paging::Number { page: "page", size: "pageSize", first: 1 };
    List::get(path, Place::under(keys), id, paging).without_total()
}
