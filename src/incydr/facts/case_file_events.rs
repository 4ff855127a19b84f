//! What is attached to each case, stored before the case is archived: that deletes it (Swimlane connector).

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Detail, Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::List;
use crate::incydr::facts::cases;

/// The list shows summaries, the detail is the whole file event (SDK, `cases/client.py`). What is not shown any more is
/// not told: that is what archival does.
pub static FACTS: Facts = Facts {
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
