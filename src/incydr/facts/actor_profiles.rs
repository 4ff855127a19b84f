//! Actors' profiles: title, department, manager, first and last day, notes. The list of actors has none of these.

use crate::core::time::DAY;
use crate::incydr::facts::actors;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};

/// One request per actor (`OpenAPI`, `/v1/actors/actor/id/{actorId}`; SDK, `actors/client.py`). The list shows that an
/// actor is new, renamed or inactive. Other changes are only in the profile.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[
        Part::alone("actors", actors::LIST).index(),
        Part::whole_of_each("profiles", &["actorId"], "/v1/actors/actor/id/{}", DAY),
    ])),
};
