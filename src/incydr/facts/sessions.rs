//! Sessions: an actor's activity within a period, with the alerts that it triggered. They replaced alerts, whose API
//! ended in February 2026 (support articles).

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Kind, Newest, Rescanned};
use crate::incydr::facts::list::{List, Paging};

/// `lastUpdated` misses changes and has no filter. `on_or_after` and `before` filter by `beginTime`. Without
/// `has_alerts` the API returns only sessions with alerts (SDK, `sessions/client.py`). Pages of 1 to 50, the first is
/// 0.
pub static FACTS: Facts = Facts {
    // The default order is by end, latest first (SDK, `sessions/client.py`).
    newest: Some(Newest { list: LIST, time: &["endTime"] }),
    kind: Kind::Rescanned(Rescanned {
        list: LIST,
        begin: &["beginTime"],
        bounds: ("on_or_after", "before"),
        views: ("has_alerts", &["false", "true"]),
        sublist: None,
    }),
};

pub const LIST: List = List {
    max_page_size: 50,
    ..List::get(
        "/v1/sessions",
        Place::under(&["items"]),
        &["sessionId"],
        Paging::Number { page: "page_number", size: "page_size", first: 0 },
    )
};
