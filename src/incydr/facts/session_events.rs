//! The file events of each alerted session that is new or has changed. Plans without access to `/v2/file-events` may be
//! able to read them here.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Kind, Rescanned, Sublist};
use crate::incydr::facts::list::{List, Paging};
use crate::incydr::facts::sessions;

/// One answer contains all of a session's events, inside an object `queryResult` (SDK, `sessions/client.py`).
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Rescanned(Rescanned {
        list: sessions::LIST,
        begin: &["beginTime"],
        bounds: ("on_or_after", "before"),
        views: ("has_alerts", &["true"]),
        sublist: Some(Sublist {
            list: List::get(
                "/v1/sessions/{}/events",
                Place::Under { keys: &["fileEvents"], within: Some("queryResult") },
                &["event", "id"],
                Paging::Whole,
            ),
            detail: "/v1/sessions/",
            parent: "_sessionId",
        }),
    }),
};
