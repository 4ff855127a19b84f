//! Trusted activities: domains, accounts and repositories whose use counts as no risk.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Inventory, Kind, Newest, Part};
use crate::incydr::facts::list::{List, Paging};

/// Older SDKs sent `page_num`. The API ignores it and returns the first page for ever (SDK, changelog).
pub static FACTS: Facts = Facts {
    newest: Some(Newest {
        list: LIST.fixed(&[("sort_key", "UPDATE_TIME"), ("sort_direction", "DESC")]),
        time: &["updateTime"],
    }),
    kind: Kind::Inventory(Inventory::of(&[Part::alone(
        "trusted_activities",
        LIST.fixed(&[("sort_key", "ACTIVITY_ID"), ("sort_direction", "ASC")]),
    )])),
};

const LIST: List = List::get(
    "/v2/trusted-activities",
    Place::under(&["trustedActivities"]),
    &["activityId"],
    Paging::Number { page: "page", size: "page_size", first: 1 },
);
