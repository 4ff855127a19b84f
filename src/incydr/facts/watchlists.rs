//! Watchlists: the actors that each of them includes, and the actors, departments and groups by which it includes them.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// SDK, `watchlists/client.py`. According to the `OpenAPI` the watchlists themselves take `page_size` too.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone(
            "watchlists",
            List::get(
                "/v2/watchlists",
                Place::under(&["watchlists"]),
                &["watchlistId"],
                PAGING,
            ),
        ),
        of_each("members", "/v2/watchlists/{}/members", &["watchlistMembers"], &["actorId"]),
        of_each("included_actors", "/v2/watchlists/{}/included-actors", &["includedActors"], &["actorId"]),
        of_each("excluded_actors", "/v2/watchlists/{}/excluded-actors", &["excludedActors"], &["actorId"]),
        of_each("included_departments", "/v2/watchlists/{}/included-departments", &["includedDepartments"], &["name"]),
        of_each(
            "included_directory_groups",
            "/v2/watchlists/{}/included-directory-groups",
            &["includedDirectoryGroups"],
            &["groupId"],
        ),
    ])),
};

const PAGING: Paging = Paging::Number { page: "page", size: "page_size", first: 1 };

const fn of_each(
    name: &'static str,
    path: &'static str,
    keys: &'static [&'static str],
    id: &'static [&'static str],
) -> Part {
    Part { no_list_statuses: &[404], ..Part::of_each(name, "_watchlistId", List::get(path, Place::under(keys), id, PAGING)) }
}
