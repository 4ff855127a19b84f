//! Roles and their permissions.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The body is the array itself (SDK, `users/client.py`), in pages of 100 by default and 1,000 at most (`OpenAPI`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "roles",
        List::get("/v1/users/roles", Place::Top, &["roleId"], PAGING).without_total(),
    )])),
};

pub const PAGING: Paging = Paging::Number { page: "page", size: "pageSize", first: 1 };
