//! Trusted activities: domains, accounts and repositories whose use is no risk.

use super::{Facts, Inventory, Kind, List, Newest, Paging, Part};
use crate::ndjson::Place;

/// `page_num`, which older SDKs sent, is ignored: the first page without end (SDK, changelog).
pub static FACTS: Facts = Facts {
    name: "trusted_activities",
    also: &[],
    permission: "Trusted Activities: Read",
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
