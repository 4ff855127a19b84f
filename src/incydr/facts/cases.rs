//! Cases: investigations, which change until they are archived.

use crate::core::ndjson::Place;
use crate::incydr::facts::kind::{Facts, Kind, Newest, Versions};
use crate::incydr::facts::list::{List, Paging};

/// The list lacks `description` and `findings`; the detail has them (SDK, `cases/models.py`). Sorted by number,
/// which never changes while the list is paged. `updatedAt` takes an ISO interval (Swimlane connector, PY42);
/// PY42 sends pages of 500.
pub static FACTS: Facts = Facts {
    newest: Some(Newest { list: LIST.fixed(&[("srtKey", "updatedAt"), ("srtDir", "desc")]), time: &["updatedAt"] }),
    kind: Kind::Versions(Versions {
        list: BY_NUMBER,
        updated: "updatedAt",
        detail: "/v1/cases/",
    }),
};

pub const PAGING: Paging = Paging::Number { page: "pgNum", size: "pgSize", first: 1 };
pub const LIST: List = List::get("/v1/cases", Place::under(&["cases"]), &["number"], PAGING);
pub const BY_NUMBER: List = LIST.fixed(&[("srtKey", "number"), ("srtDir", "asc")]);
