//! The users that must not be deactivated, because of legal hold or an open case.

use std::collections::HashMap;

use crate::collect::health::records::{Held, Hold};
use crate::collect::health::sources::Sources;

/// The users in legal hold, and the subjects of open cases.
pub struct Holds {
    /// The reason, by the user's id.
    by_user: HashMap<String, String>,
    /// The user's id, by the id in the hold if that is an actor's.
    users: HashMap<String, String>,
    /// False if legal hold or cases could not be read.
    are_known: bool,
}

impl Holds {
    /// A case names its subject by the id of a user or of an actor. A user is found by an actor's name.
    pub fn of(sources: &Sources) -> Self {
        let users = sources.users.as_ref().ok().map(|users| &users.by_id);
        let listed = users.into_iter().flatten();
        let by_name: HashMap<String, &String> =
            listed.filter_map(|(id, user)| Some((user.username.as_ref()?.to_lowercase(), id))).collect();
        let actor = |id: &str| sources.actors.as_ref().ok()?.by_id.get(id)?.name.clone();
        let mut holds = Self {
            by_user: HashMap::new(),
            users: HashMap::new(),
            are_known: sources.custodians.is_ok() && sources.subjects.is_ok(),
        };
        let of_both = [&sources.custodians, &sources.subjects];
        for held in of_both.into_iter().flatten().flatten() {
            let is_user = users.is_some_and(|users| users.contains_key(&held.user_id));
            let name = held.username.clone().or_else(|| actor(&held.user_id)).map(|name| name.to_lowercase());
            let by_that = name.and_then(|name| by_name.get(&name)).filter(|_| !is_user);
            if let Some(user) = by_that {
                holds.users.insert(held.user_id.clone(), (*user).clone());
            }
            let user = holds.user_of(held).to_owned();
            holds.by_user.entry(user).or_insert_with(|| reason_of(&held.by));
        }
        holds
    }

    /// Returns the user's id, or the id in the hold if no user was found.
    pub fn user_of<'h>(&'h self, held: &'h Held) -> &'h str {
        self.users.get(&held.user_id).unwrap_or(&held.user_id)
    }

    /// Returns the advice `otherwise`, unless it may end in the deactivation of a user that must be kept.
    pub fn before_deactivation(&self, user: Option<&str>, otherwise: &str) -> String {
        match user.and_then(|user| self.by_user.get(user)) {
            Some(reason) => format!("deactivate nothing: the user is {reason}"),
            None if !self.are_known => {
                format!("{otherwise}; but first check legal hold and cases, which could not be read")
            }
            None => otherwise.to_owned(),
        }
    }
}

/// For example `a custodian of the legal hold matter "Doe v. Roe"`.
pub fn reason_of(by: &Hold) -> String {
    let quoted = |name: &Option<String>| name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    match by {
        Hold::Matter { name, .. } => format!("a custodian of the legal hold matter{}", quoted(name)),
        Hold::Case { number, name } => format!("the subject of the open case {number}{}", quoted(name)),
    }
}
