//! Legal hold: matters, their custodians, and policies.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// Matters and custodians are paged. Policies are in the later `OpenAPI` (100 a page by default), and aren't in the
/// earlier one: a page is named only once 100 came. None has a total. A 401 means that the client may not read them,
/// or that the matter doesn't exist (`OpenAPI`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("matters", MATTERS),
        Part { no_list_statuses: &[404], ..Part::of_each("custodians", "_matterId", CUSTODIANS) },
        Part::alone("policies", POLICIES),
    ])),
};

pub const MATTERS: List = list("/v1/legal-hold/matters", &["matters"], &["matterId"], PAGING);
pub const CUSTODIANS: List = list("/v1/legal-hold/matters/{}/custodians", &["custodians"], &["userId"], PAGING);
const POLICIES: List = List {
    bare_first: Some(100),
    ..list("/v1/legal-hold/policies", &["policies"], &["policyId"], PAGING)
};
const PAGING: Paging = Paging::Number { page: "page", size: "pageSize", first: 1 };

const fn list(
    path: &'static str,
    keys: &'static [&'static str],
    id: &'static [&'static str],
    paging: Paging,
) -> List {
    List { refuses_with_401: true, ..List::get(path, Place::under(keys), id, paging).without_total() }
}
