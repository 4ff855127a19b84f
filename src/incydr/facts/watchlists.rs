//! Watchlists: whom each of them watches, and by which actors, departments and groups it came to that.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// SDK, `watchlists/client.py`: the lists of a watchlist take `page_size`, the watchlists themselves `pageSize`.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone(
            "watchlists",
            List::get(
                "/v2/watchlists",
                Place::under(&["watchlists"]),
                &["watchlistId"],
                Paging::Number { page: "page", size: "pageSize", first: 1 },
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

const fn of_each(
    name: &'static str,
    path: &'static str,
    keys: &'static [&'static str],
    id: &'static [&'static str],
) -> Part {
    let paging = Paging::Number { page: "page", size: "page_size", first: 1 };
    Part { none: &[404], ..Part::of_each(name, "_watchlistId", List::get(path, Place::under(keys), id, paging)) }
}
