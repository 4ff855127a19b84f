//! Users: everyone, also the deactivated and the blocked, for leavers matter most.

use super::{Inventory, List, Method, Paging};

/// Neither a sort nor a modified-since filter, so the whole list is read and compared (SDK, `users/client.py`).
/// PY42 sends pages of 500.
pub static USERS: Inventory = Inventory {
    list: List {
        method: Method::Get,
        path: "/v1/users",
        rows: "users",
        field: &["userId"],
        total: Some("totalCount"),
        paging: Paging::Number { page: "page", size: "pageSize", first: 1 },
        fixed: &[],
        max_page_size: 500,
    },
};
