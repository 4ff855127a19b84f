//! Users, including the deactivated and the blocked ones, because leavers matter most.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone("users", LIST)])),
};

/// The API can neither sort nor filter by change, so the whole list is read and compared (SDK, `users/client.py`).
/// PY42 sends pages of 500.
pub const LIST: List = List::get(
    "/v1/users",
    Place::under(&["users"]),
    &["userId"],
    Paging::Number { page: "page", size: "pageSize", first: 1 },
);
