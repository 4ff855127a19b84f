//! Actors: the people behind users and cloud accounts, with what human resources know of them.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// Pages of 1 to 500, without a total (SDK, `actors/client.py`).
pub static FACTS: Facts = Facts {
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
