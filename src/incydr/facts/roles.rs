//! Roles: what each allows.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The answer is the list (SDK, `users/client.py`), in pages of 100, or at most 1,000 (`OpenAPI`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "roles",
        List::get("/v1/users/roles", Place::Top, &["roleId"], PAGING).without_total(),
    )])),
};

pub const PAGING: Paging = Paging::Number { page: "page", size: "pageSize", first: 1 };
