//! The file events attached to each case. They are stored while the case isn't archived, because archiving deletes them
//! (Swimlane connector).

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Detail, Facts, Inventory, Kind, Part};
use crate::incydr::facts::list::List;
use crate::incydr::facts::cases;

/// The list has summaries, the detail the whole file event (SDK, `cases/client.py`). An event that the list no longer
/// has gets no tombstone: archiving removed it.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Inventory(Inventory {
        parts: &[
            Part::alone("cases", cases::LIST.fixed(NOT_ARCHIVED)).index(),
            Part {
                no_list_statuses: &[404],
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
