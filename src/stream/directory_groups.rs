//! Groups of the directory that the tenant is provisioned from.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// The list stands under `directoryGroups` by the SDK's model, under `directory_groups` in its tests.
pub static FACTS: Facts = Facts {
    name: "directory_groups",
    also: &[],
    permission: "Directory Groups: Read",
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
