//! `GET /v1/users` (SDK, `users/client.py`): offset paging from 1 over an unsorted set.

use super::page::{self, Twist};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// A larger page is cut to this. It is also the default (`OpenAPI`; py42 sends 500).
const MAX_PAGE: usize = 500;

/// Takes `active`, `blocked`, `username` (exact), `page` and `pageSize`, both from 1; anything else is ignored, above
pub(super) fn list(world: &WorldHandle, request: &Request, twist: Twist) -> Result<Reply, Reply> {
    let (page, size) = (page::number(request, "page", 1)?, page::number(request, "pageSize", MAX_PAGE)?);
    if page == 0 || size == 0 {
        return Err(page::problem(400, "page and pageSize must be at least 1", request));
    }
    let rows = rows(world, request, twist)?;
    let users = page::array(twist.page(&rows, page - 1, twist.size(size.min(MAX_PAGE))));
    Ok(Reply::json(200, format!(r#"{{"users":{users},"totalCount":{}}}"#, twist.total(rows.len()))))
}

/// Returns every user that the filters match.
pub(super) fn rows(world: &WorldHandle, request: &Request, twist: Twist) -> Result<Vec<Record>, Reply> {
    let mut rows = world.visible(Dataset::Users);
    for flag in ["active", "blocked"] {
        if let Some(wanted) = page::flag(request, flag)? {
            rows.retain(|user| user.fields()[flag] == wanted);
        }
    }
    if let Some(username) = request.parameter("username") {
        rows.retain(|user: &Record| user.fields()["username"] == *username);
    }
    twist.arrange(&mut rows);
    Ok(rows)
}
