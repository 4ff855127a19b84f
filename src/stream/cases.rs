//! Cases: investigations, which change until they are archived.

use super::{List, Method, Paging, Versions};

/// The list lacks `description` and `findings`; the detail has them (SDK, `cases/models.py`). Sorted by number,
/// which never changes while the list is paged. `updatedAt` takes an ISO interval (Swimlane connector, PY42);
/// PY42 sends pages of 500.
pub static CASES: Versions = Versions {
    list: List {
        method: Method::Get,
        path: "/v1/cases",
        rows: "cases",
        field: &["number"],
        total: Some("totalCount"),
        paging: Paging::Number { page: "pgNum", size: "pgSize", first: 1 },
        fixed: &[("srtKey", "number"), ("srtDir", "asc")],
        max_page_size: 500,
    },
    updated: "updatedAt",
    detail: "/v1/cases/",
};
