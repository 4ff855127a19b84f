//! Departments, as the directory names them.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// A list of plain text (SDK, `departments/models.py`): a record is `{"name":"Engineering"}`, like those of watchlists.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "departments",
        List {
            text_as: Some("name"),
            ..List::get(
                "/v1/departments",
                Place::under(&["departments"]),
                &["name"],
                Paging::Number { page: "page", size: "page_size", first: 1 },
            )
        },
    )])),
};
