//! Organizations, active and inactive.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::{List, Paging};

/// Not paged (SDK, `orgs/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "orgs",
        List::get("/v1/orgs", Place::under(&["orgs"]), &["orgGuid"], Paging::Whole),
    )])),
};
