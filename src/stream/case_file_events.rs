//! What is attached to each case, stored before the case is archived: that deletes it (Swimlane connector).

use super::{Detail, Facts, Inventory, Kind, List, Part, cases};
use crate::ndjson::Place;

/// The list shows summaries, the detail is the whole file event (SDK, `cases/client.py`). What is not shown any more is
/// not told: that is what archival does.
pub static FACTS: Facts = Facts {
    name: "case_file_events",
    also: &[],
    permission: "Cases: Read",
    newest: None,
    kind: Kind::Inventory(Inventory {
        parts: &[
            Part::alone("cases", cases::LIST.fixed(NOT_ARCHIVED)).index(),
            Part {
                none: &[404],
                detail: Some(Detail { path: "/v1/cases/{}/fileevent/{}", id: &["event", "id"] }),
                ..Part::of_each(
                    "file_events",
                    "_caseNumber",
                    List::get("/v1/cases/{}/fileevent", Place::under(&["events"]), &["eventId"], cases::PAGING),
                )
            },
        ],
        tells_deleted: false,
        in_every_run: false,
    }),
};

const NOT_ARCHIVED: &[(&str, &str)] =
    &[("status", "OPEN"), ("status", "CLOSED"), ("srtKey", "number"), ("srtDir", "asc")];
