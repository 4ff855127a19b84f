//! Agents: the endpoint software, and how it is.

use super::{Facts, Inventory, Kind, List, Newest, Paging, Part};
use crate::ndjson::Place;

/// SDK, `agents/client.py`: pages of 500.
pub static FACTS: Facts = Facts {
    name: "agents",
    also: &[],
    permission: "Agents: Read",
    newest: Some(Newest {
        list: LIST.fixed(&[("srtKey", "LAST_CONNECTED"), ("srtDir", "DESC")]),
        time: &["lastConnected"],
    }),
    kind: Kind::Inventory(Inventory::of(&[Part::alone("agents", LIST)])),
};

/// Sorted by what doesn't change while the list is paged: `LAST_CONNECTED` would.
pub const LIST: List = List::get(
    "/v1/agents",
    Place::under(&["agents"]),
    &["agentId"],
    Paging::Number { page: "page", size: "pageSize", first: 1 },
)
.fixed(&[("srtKey", "NAME"), ("srtDir", "ASC")]);
