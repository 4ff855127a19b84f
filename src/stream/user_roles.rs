//! Which user has which roles: one request a user.

use super::{Facts, Inventory, Kind, List, Paging, Part, users};
use crate::ndjson::Place;

/// SDK, `users/client.py`.
pub static FACTS: Facts = Facts {
    name: "user_roles",
    also: &[],
    permission: "Users: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("users", users::LIST).index(),
        Part {
            none: &[404],
            ..Part::of_each(
                "roles",
                "_userId",
                List::get("/v1/users/{}/roles", Place::under(&["roles"]), &["roleId"], Paging::Whole).without_total(),
            )
        },
    ])),
};
