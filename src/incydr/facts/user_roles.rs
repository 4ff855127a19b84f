//! Which user has which roles: one request a user.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};
use crate::incydr::facts::users;

/// SDK, `users/client.py`.
pub static FACTS: Facts = Facts {
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
