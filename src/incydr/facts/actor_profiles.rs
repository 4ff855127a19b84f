//! Actors' profiles: title, department, manager, when they start and leave, notes. The list of actors shows none of it.

use crate::core::time::DAY;
use crate::incydr::facts::actors;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};

/// One request an actor (`OpenAPI`, `/v1/actors/actor/id/{actorId}`; SDK, `actors/client.py`). The list shows when an
/// actor is new, renamed, or active no longer; what else changes shows only in the profile.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("actors", actors::LIST).index(),
        Part::whole_of_each("profiles", &["actorId"], "/v1/actors/actor/id/{}", DAY),
    ])),
};
