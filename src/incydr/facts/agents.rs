//! Agents: the endpoint software and its state.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Newest, Part};
use crate::incydr::facts::list::{List, Paging};

/// SDK, `agents/client.py`: pages of 500.
pub static FACTS: Facts = Facts {
    newest: Some(Newest {
        list: LIST.fixed(&[("srtKey", "LAST_CONNECTED"), ("srtDir", "DESC")]),
        time: &["lastConnected"],
    }),
    kind: Kind::Inventory(Inventory::of(&[Part::alone("agents", LIST)])),
};

/// Sorted by name, which doesn't change during the paging. `LAST_CONNECTED` does.
pub const LIST: List = List::get(
    "/v1/agents",
    Place::under(&["agents"]),
    &["agentId"],
    Paging::Number { page: "page", size: "pageSize", first: 1 },
)
.fixed(&[("srtKey", "NAME"), ("srtDir", "ASC")]);
