//! Groups of the directory that provisions the tenant.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// The array's key is `directoryGroups` in the SDK's model and `directory_groups` in the SDK's tests.
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
