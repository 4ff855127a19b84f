//! Alert rules, and the users that each is limited to.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The answer is the list, and its first page is 0. A rule without a username filter answers 400 to the question for its
/// users, and one that was deleted 404 (SDK, `alert_rules/client.py`).
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
            none: &[400, 404],
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
