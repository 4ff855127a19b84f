//! Departments, as the directory names them.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// A list of plain text (SDK, `departments/models.py`): a record is `{"name":"Engineering"}`, like those of watchlists.
pub static FACTS: Facts = Facts {
    name: "departments",
    also: &[],
    permission: "Departments: Read",
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
