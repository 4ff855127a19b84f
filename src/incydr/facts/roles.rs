//! Roles: what each allows.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The answer is the list (SDK, `users/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "roles",
        List::get("/v1/users/roles", Place::Top, &["roleId"], Paging::Whole).without_total(),
    )])),
};
