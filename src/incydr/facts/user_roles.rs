//! The roles of each user: one request per user.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::List;
use crate::incydr::facts::{roles, users};

/// Pages of 100 by default and 1,000 at most, without a total (`OpenAPI`). A user with fewer than 100 roles takes one
/// request.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("users", users::LIST).index(),
        Part {
            no_list_statuses: &[404],
            ..Part::of_each(
                "roles",
                "_userId",
                List {
                    last_below: 100,
                    ..List::get("/v1/users/{}/roles", Place::under(&["roles"]), &["roleId"], roles::PAGING)
                        .without_total()
                },
            )
        },
    ])),
};
