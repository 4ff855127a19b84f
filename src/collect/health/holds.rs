//! The users that must not be deactivated, because of legal hold or an open case.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::collect::health::finding::{Finding, FindingKind};
use crate::collect::health::records::{Actor, Agent, Held, Hold};
use crate::collect::health::rules::{Agents, Users, active};
use crate::collect::health::sources::Sources;

/// The users in legal hold, and the subjects of open cases.
pub struct Holds {
    /// The reason, by the user's id.
    by_user: HashMap<String, String>,
    /// The reason why further users may be held.
    doubt: Option<String>,
}

impl Holds {
    pub fn of(sources: &Sources) -> Self {
        let people = People::of(sources);
        let mut by_user = HashMap::new();
        let mut doubt = doubt_of_lists(sources);
        for held in [&sources.custodians, &sources.subjects].into_iter().flatten().flat_map(|list| &list.held) {
            let users = people.users_of(held);
            if users.is_empty() {
                doubt.get_or_insert_with(|| format!("{} is no user that was listed", reason_of(&held.by)));
            }
            // If users can't be read, a subject's id may still be an agent's user.
            for user in users.into_iter().chain(held.id.as_deref()) {
                by_user.entry(user.to_owned()).or_insert_with(|| reason_of(&held.by));
            }
        }
        Self { by_user, doubt }
    }

    /// Returns the advice `otherwise`, unless it may end in the deactivation of a user that must be kept.
    pub fn before_deactivation(&self, user: Option<&str>, otherwise: &str) -> String {
        match (user.and_then(|user| self.by_user.get(user)), &self.doubt) {
            (Some(reason), _) => format!("deactivate nothing: the user is {reason}"),
            (None, Some(doubt)) => format!("{otherwise}; but first check legal hold and cases: {doubt}"),
            (None, None) => otherwise.to_owned(),
        }
    }
}

/// The reason why the lists of custodians and subjects may not be whole. None if they are.
fn doubt_of_lists(sources: &Sources) -> Option<String> {
    let lists = [("legal hold", &sources.custodians), ("open cases", &sources.subjects)];
    lists.into_iter().find_map(|(name, list)| match list {
        Err(_) => Some(format!("{name} could not be read")),
        Ok(list) if list.unreadable > 0 => Some(format!("{} of the rows of {name} can't be read", list.unreadable)),
        Ok(_) => None,
    })
}

/// The users that a hold may mean.
pub struct People<'a> {
    users: Option<&'a Users>,
    actors: Option<&'a BTreeMap<String, Actor>>,
    /// The users' ids, by name. Several users may have one name.
    by_name: HashMap<String, Vec<&'a str>>,
}

impl<'a> People<'a> {
    pub fn of(sources: &'a Sources) -> Self {
        let users = sources.users.as_ref().ok().map(|users| &users.by_id);
        let mut by_name = HashMap::<_, Vec<_>>::new();
        for (id, user) in users.into_iter().flatten() {
            if let Some(name) = &user.username {
                by_name.entry(name.to_lowercase()).or_default().push(id.as_str());
            }
        }
        Self { users, actors: sources.actors.as_ref().ok().map(|actors| &actors.by_id), by_name }
    }

    /// A custodian's id is a user's. A case names its subject by the id of a user or of an actor, and by the user's
    /// name. A user is found by an actor's name.
    fn users_of<'h>(&'h self, held: &'h Held) -> BTreeSet<&'h str> {
        let id = held.id.as_deref();
        let is_user = |id: &&str| {
            matches!(held.by, Hold::Matter { .. }) || self.users.is_some_and(|users| users.contains_key(*id))
        };
        let actor = id.and_then(|id| self.actors?.get(id)?.name.as_deref());
        let names = actor.into_iter().chain(held.username.as_deref());
        let users = names.filter_map(|name| self.by_name.get(&name.to_lowercase())).flatten().copied();
        id.filter(is_user).into_iter().chain(users).collect()
    }
}

/// For example `a custodian of the legal hold matter "Doe v. Roe"`.
fn reason_of(by: &Hold) -> String {
    let quoted = |name: &Option<String>| name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    match by {
        Hold::Matter { name, .. } => format!("a custodian of the legal hold matter{}", quoted(name)),
        Hold::Case { number, name } => format!("the subject of the open case {number}{}", quoted(name)),
    }
}

/// Finds users in legal hold or in an open case, and each of their agents.
pub fn must_not_be_deactivated(
    held: &[Held],
    people: &People<'_>,
    agents: Option<&Agents>,
    tell: &mut impl FnMut(Finding),
) {
    let mut by_user = HashMap::<&str, Vec<(&str, &Agent)>>::new();
    for (id, agent) in agents.into_iter().flat_map(active) {
        if let Some(user) = &agent.user_id {
            by_user.entry(user).or_default().push((id, agent));
        }
    }

    for held in held {
        let mut users = people.users_of(held);
        // If users can't be read, the agents tell whether the id is a user's.
        users.extend(held.id.as_deref().filter(|id| by_user.contains_key(id)));
        if users.is_empty() {
            tell(of_user(held, None, people));
        }
        for user in users {
            tell(of_user(held, Some(user), people));
            for (id, agent) in by_user.get(user).into_iter().flatten() {
                let why = format!("its user is {}", reason_of(&held.by));
                let advice = "keep the agent until the matter or the case is closed".to_owned();
                let finding = Finding::of_agent(FindingKind::MustNotBeDeactivated, id, agent, why, advice);
                tell(with_hold(held, Some(user), people, finding));
            }
        }
    }
}

fn of_user(held: &Held, user: Option<&str>, people: &People<'_>) -> Finding {
    let record = user.and_then(|user| people.users?.get(user));
    let unknown = || match &held.id {
        Some(id) => format!(" (subject {id}, which is no user that was listed)"),
        None => " (no user of that name was listed)".to_owned(),
    };
    let (remark, advice) = match (user, record.is_some_and(|user| user.is_inactive)) {
        (None, _) => {
            (unknown(), "see in the case whom it means, and keep that user and their agents until the case is closed")
        }
        (_, true) => (", and deactivated already".into(), "tell whoever holds the matter or the case at once"),
        (_, false) => (String::new(), "keep the user and each agent of theirs until the matter or the case is closed"),
    };
    let why = format!("the user is {}{remark}", reason_of(&held.by));
    with_hold(held, user, people, Finding::new(FindingKind::MustNotBeDeactivated, why, advice.to_owned()))
}

/// Fills in the user, the matter or case, and since when it holds.
fn with_hold(held: &Held, user: Option<&str>, people: &People<'_>, finding: Finding) -> Finding {
    let record = user.and_then(|user| people.users?.get(user));
    let (matter_id, case_number) = match &held.by {
        Hold::Matter { id, .. } => (Some(id.clone()), None),
        Hold::Case { number, .. } => (None, number.parse().ok()),
    };
    let username = record.and_then(|user| user.username.clone()).or_else(|| held.username.clone());
    Finding { user_id: user.map(str::to_owned), username, matter_id, case_number, since: held.since.clone(), ..finding }
}
