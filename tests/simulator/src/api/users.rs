//! `GET /v1/users` (SDK, `users/client.py`): offset paging from 1 over an unsorted set.

use super::page::{self, Twist};
use crate::{
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// A larger page size is cut to this (py42 sends 500).
const MAX_PAGE: usize = 500;

/// Accepts `active`, `blocked`, `username` (exact), `page` (0 means 1) and `pageSize`. Ignores everything else, in
/// particular `pageToken`.
pub(super) fn list(world: &WorldHandle, request: &Request, twist: Twist) -> Reply {
    let (page, size) = match (page::number(request, "page", 1), page::number(request, "pageSize", 100)) {
        (Ok(page), Ok(size)) => (page.max(1) - 1, twist.size(size.clamp(1, MAX_PAGE))),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let rows = match rows(world, request, twist) {
        Ok(rows) => rows,
        Err(refused) => return refused,
    };
    let users = page::array(twist.page(&rows, page, size));
    Reply::json(200, format!(r#"{{"users":{users},"totalCount":{}}}"#, twist.total(rows.len())))
}

/// Returns every user that the filters match.
pub(super) fn rows(world: &WorldHandle, request: &Request, twist: Twist) -> Result<Vec<Record>, Reply> {
    let mut rows = world.visible(Dataset::Users);
    for flag in ["active", "blocked"] {
        match request.parameter(flag).map(|text| text.to_lowercase()).as_deref() {
            None => {}
            Some("true") => rows.retain(|user| user.fields()[flag] == true),
            Some("false") => rows.retain(|user| user.fields()[flag] == false),
            Some(_) => {
                return Err(page::problem(400, &format!("{flag} must be true or false"), request));
            }
        }
    }
    if let Some(username) = request.parameter("username") {
        rows.retain(|user: &Record| user.fields()["username"] == *username);
    }
    twist.arrange(&mut rows);
    Ok(rows)
}
