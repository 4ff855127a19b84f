//! Actors: the people behind users and cloud accounts, with what human resources know of them.

use super::{Facts, Inventory, Kind, List, Paging, Part};
use crate::ndjson::Place;

/// Pages of 1 to 500, without a total (SDK, `actors/client.py`).
pub static FACTS: Facts = Facts {
    name: "actors",
    also: &[],
    permission: "Actors: Read",
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "actors",
        List::get(
            "/v1/actors/actor/search",
            Place::under(&["actors"]),
            &["actorId"],
            Paging::Number { page: "page", size: "pageSize", first: 1 },
        )
        .without_total(),
    )])),
};
