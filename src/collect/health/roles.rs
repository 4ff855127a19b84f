//! The roles of users who have no agent: administrators and analysts need none.

use std::collections::{BTreeMap, HashSet};

use futures::stream::{self, StreamExt};
use serde_json::Value;

use crate::collect::error::Error;
use crate::collect::health::reader::{LISTS_AT_ONCE, Reader, RowsById, part};
use crate::collect::health::records::{Agent, User, text};
use crate::core::stream::Stream;

/// Limit for the users whose roles are read, with one request each.
const MOST_ROLES: usize = 300;

/// The roles of some users.
#[derive(Debug, Default)]
pub struct Roles {
    /// Administrators and analysts, who need no agent.
    pub spared: HashSet<String>,
    /// Users whose roles were not read.
    pub unread: HashSet<String>,
    /// The errors for which roles were not read.
    pub errors: Vec<(Stream, Error)>,
}

/// Returns the ids of the active users who have no active agent.
pub fn without_agent(agents: &BTreeMap<String, Agent>, users: &BTreeMap<String, User>) -> Vec<String> {
    let active = agents.values().filter(|agent| !agent.is_inactive);
    let with: HashSet<&str> = active.filter_map(|agent| agent.user_id.as_deref()).collect();
    let without = users.iter().filter(|(id, user)| !user.is_inactive && !with.contains(id.as_str()));
    without.map(|(id, _)| id.clone()).collect()
}

impl Reader<'_> {
    /// Reads which of these users are administrators or analysts. A user whose roles can't be read is not spared.
    pub async fn roles(&self, users: Vec<String>) -> Roles {
        let mut roles = Roles::default();
        let Some(part) = part(Stream::UserRoles) else { return roles };
        let (users, rest) = users.split_at(users.len().min(MOST_ROLES));
        roles.unread.extend(rest.iter().cloned());

        let name = |role: &Value| text(role, "roleName").unwrap_or_default().to_lowercase();
        let of_user = |user: &String| {
            let user = user.clone();
            async move { (self.rows(Stream::UserRoles, &part.list, Some(&user), &[], name).await, user) }
        };
        let mut answers = stream::iter(users.iter()).map(of_user).buffered(LISTS_AT_ONCE);
        while let Some((answer, user)) = answers.next().await {
            let answer: Result<RowsById<String>, Error> = answer;
            match answer {
                Ok(listed) => {
                    let is_spared = |role: &String| role.contains("admin") || role.contains("analyst");
                    if listed.by_id.values().any(is_spared) {
                        roles.spared.insert(user);
                    }
                }
                Err(error) => {
                    roles.errors.push((Stream::UserRoles, error));
                    roles.unread.insert(user);
                }
            }
        }
        roles
    }
}
