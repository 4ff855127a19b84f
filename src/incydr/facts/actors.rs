//! Actors: the people behind users and cloud accounts, by name. Their personnel data is in the profiles.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

pub static FACTS: Facts = Facts { newest: None, kind: Kind::Inventory(Inventory::of(&[Part::alone("actors", LIST)])) };

/// Pages of 1 to 500, without a total (SDK, `actors/client.py`). An item has an id, a name, an active flag and the
/// parent's id (`OpenAPI`).
pub const LIST: List = List::get(
    "/v1/actors/actor/search",
    Place::under(&["actors"]),
    &["actorId"],
    Paging::Number { page: "page", size: "pageSize", first: 1 },
)
.without_total();
