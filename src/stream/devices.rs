//! Devices: deprecated in favour of agents, but with what agents don't tell: alert state, addresses, versions of the OS.

use super::{Facts, Inventory, Kind, List, Newest, Paging, Part};
use crate::ndjson::Place;

/// SDK, `devices/client.py`. Pages of 500 time out (code42cli, changelog).
pub static FACTS: Facts = Facts {
    name: "devices",
    also: &[],
    permission: "Devices: Read",
    newest: Some(Newest {
        list: LIST.fixed(&[("sortKey", "lastConnected"), ("sortDirection", "desc")]),
        time: &["lastConnected"],
    }),
    kind: Kind::Inventory(Inventory::of(&[Part::alone("devices", LIST)])),
};

pub const LIST: List = List {
    max_page_size: 100,
    ..List::get(
        "/v1/devices",
        Place::under(&["devices"]),
        &["deviceId"],
        Paging::Number { page: "page", size: "pageSize", first: 1 },
    )
    .fixed(&[("sortKey", "name"), ("sortDirection", "asc")])
};
