//! Alert rules, and the users that each is limited to.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The body is the array itself, and the first page is 0. The request for a rule's users answers 400 if the rule has no
/// username filter, and 404 if the rule was deleted (SDK, `alert_rules/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone(
            "alert_rules",
            List {
                max_page_size: 100,
                ..List::get(
                    "/v2/alert-rules",
                    Place::Top,
                    &["id"],
                    Paging::Number { page: "PageNumber", size: "PageSize", first: 0 },
                )
                .without_total()
            },
        ),
        Part {
            no_list_statuses: &[400, 404],
            ..Part::of_each(
                "users",
                "_ruleId",
                List::get(
                    "/v2/alert-rules/{}/users",
                    Place::under(&["users"]),
                    &["userIdFromAuthority"],
                    Paging::Whole,
                )
                .without_total(),
            )
        },
    ])),
};
