//! Groups of the directory that the tenant is provisioned from.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The list stands under `directoryGroups` by the SDK's model, under `directory_groups` in its tests.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "directory_groups",
        List::get(
            "/v1/directory-groups",
            Place::under(&["directoryGroups", "directory_groups"]),
            &["groupId"],
            Paging::Number { page: "page", size: "page_size", first: 1 },
        ),
    )])),
};
