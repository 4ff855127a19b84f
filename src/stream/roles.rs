//! Roles: what each allows.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// The answer is the list (SDK, `users/client.py`).
pub static FACTS: Facts = Facts {
    name: "roles",
    also: &[],
    permission: "Users: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "roles",
        List::get("/v1/users/roles", Place::Top, &["roleId"], Paging::Whole).without_total(),
    )])),
};
