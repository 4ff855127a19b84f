//! `GET /v2/alert-rules/{id}/users` (SDK, `alert_rules/client.py`).

use serde_json::json;

use super::{page, route};
use crate::{
    http::{Reply, Request},
    world::{Dataset, WorldHandle},
};

pub(super) const USERS: &str = "/v2/alert-rules/{}/users";

/// All users in one answer, or 400 for a rule without a username filter.
pub(super) fn users(world: &WorldHandle, request: &Request) -> Result<Reply, Reply> {
    let id = route::placeholders(USERS, &request.path).unwrap_or_default().concat();
    // A request for the users doesn't count as one for the rules.
    let rule = world.all(Dataset::AlertRules).into_iter().find(|rule| *rule.id == *id);
    let rule = rule.filter(|rule| world.shows(Dataset::AlertRules, &rule.id));
    let rule = rule.ok_or_else(|| page::not_found(request))?;
    let filter = &rule.fields()["filters"]["username"];
    if filter.is_null() {
        return Err(page::problem(400, "the rule has no username filter", request));
    }
    let users = page::array(&world.visible_children(Dataset::RuleUsers, &id));
    Ok(Reply::json(200, format!(r#"{{"id":{},"users":{users},"mode":{}}}"#, json!(id), filter["mode"])))
}
