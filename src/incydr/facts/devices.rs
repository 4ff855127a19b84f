//! Devices: deprecated in favour of agents, but with fields that agents lack: alert state, addresses, OS versions.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Newest, Part};
use crate::incydr::facts::list::{List, Paging};

/// SDK, `devices/client.py`. Pages of 500 time out (code42cli, changelog).
pub static FACTS: Facts = Facts {
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
