//! The end dates of people who may have left: the list of actors doesn't show them, only an actor's profile does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt};

use crate::collect::error::Error;
use crate::collect::health::known_ends::KnownEnds;
use crate::collect::health::reader::{LISTS_AT_ONCE, Reader, RowsById, part};
use crate::collect::health::records::{Actor, User, text};
use crate::core::stream::Stream;
use crate::incydr::error::ApiError;
use crate::incydr::facts::Kind;

/// At most this many profiles of actors are read, with one request each.
const MOST_PROFILES: usize = 300;
/// The watchlists that hold people who leave (SDK, `WatchlistType`). The `OpenAPI` writes the type without underscores.
const DEPARTING: &str = "DEPARTING_EMPLOYEE";

/// The end dates in the profiles of actors.
#[derive(Debug, Default)]
pub struct EndDates {
    /// The end dates, by actor id.
    pub by_actor: HashMap<String, String>,
    /// The reason why the profiles of some actors were not read.
    pub unread: Option<String>,
    /// The errors for which profiles or watchlists were not read.
    pub errors: Vec<(Stream, Error)>,
}

/// The active users by name. An actor and a user are the same person if they have the same name. Several users may
/// have one name.
pub fn active_by_name(users: &BTreeMap<String, User>) -> HashMap<String, Vec<&String>> {
    let mut by_name = HashMap::<_, Vec<_>>::new();
    for (id, user) in users.iter().filter(|(_, user)| !user.is_inactive) {
        if let Some(name) = &user.username {
            by_name.entry(name.to_lowercase()).or_default().push(id);
        }
    }
    by_name
}

/// The actors whose end date matters and is not known: they are active, and so is their user.
fn in_question(actors: &BTreeMap<String, Actor>, users: &BTreeMap<String, User>) -> BTreeSet<String> {
    let by_name = active_by_name(users);
    let is_user = |actor: &Actor| actor.name.as_ref().is_some_and(|name| by_name.contains_key(&name.to_lowercase()));
    let matters = |actor: &Actor| !actor.is_inactive && actor.end.is_none() && is_user(actor);
    actors.iter().filter(|(_, actor)| matters(actor)).map(|(id, _)| id.clone()).collect()
}

impl Reader<'_> {
    /// Takes the end dates that are known, and reads the profiles of the other actors in question, if there are few. If
    /// there are many, reads those on the watchlists of people who leave.
    pub async fn ends(
        &self,
        actors: &BTreeMap<String, Actor>,
        users: &BTreeMap<String, User>,
        known: &KnownEnds,
    ) -> EndDates {
        let in_question = in_question(actors, users);
        let all = in_question.len();
        let (have, mut asked): (BTreeSet<_>, BTreeSet<_>) =
            in_question.into_iter().partition(|actor| known.contains_key(actor));
        let unknown = asked.len();

        let mut ends = EndDates::default();
        let of_known = have.into_iter().filter_map(|actor| Some((known.get(&actor)?.clone(), actor)));
        ends.by_actor.extend(of_known.filter(|(end, _)| !end.is_empty()).map(|(end, actor)| (actor, end)));

        let mut unread = None;
        if unknown > MOST_PROFILES {
            let departing = match self.departing().await {
                Ok(departing) => departing,
                Err(error) => {
                    let why = if error.is_forbidden() { "may not be read".to_owned() } else { error.to_string() };
                    unread = Some(format!("watchlists: {why}"));
                    ends.errors.push((Stream::Watchlists, error));
                    BTreeSet::new()
                }
            };
            asked = asked.intersection(&departing).take(MOST_PROFILES).cloned().collect();
        }

        let Some(part) = part(Stream::ActorProfiles) else { return ends };
        let of_actor = |actor: &String| {
            let actor = actor.clone();
            async move {
                let end = |profile: &_| text(profile, "endDate");
                (self.rows(Stream::ActorProfiles, &part.list, Some(&actor), &[], end).await, actor)
            }
        };

        let (mut read, mut failed) = (0, None);
        let mut answers = stream::iter(asked.iter()).map(of_actor).buffered(LISTS_AT_ONCE);
        while let Some((answer, actor)) = answers.next().await {
            let answer: Result<RowsById<Option<String>>, Error> = answer;
            match answer {
                Ok(profile) => {
                    read += 1;
                    if let Some(end) = profile.by_id.into_values().next().flatten() {
                        ends.by_actor.insert(actor, end);
                    }
                }
                // Gone since it was listed.
                Err(Error::Api(ApiError::Status { status: 404, .. })) => read += 1,
                Err(error) => {
                    failed.get_or_insert(error.to_string());
                    ends.errors.push((Stream::ActorProfiles, error));
                }
            }
        }

        let left = unknown - read;
        if left > 0 {
            let why = failed.or(unread).map(|why| format!(" ({why})")).unwrap_or_default();
            let rule = format!(
                "each is one request, and of more than {MOST_PROFILES} only those on a watchlist of type {DEPARTING} are asked for; the stream {} reads all of them, if STREAMS names it, and the end dates that it has read are known",
                Stream::ActorProfiles
            );
            ends.unread = Some(format!("the end dates of {left} of {all} active actors were not read{why}: {rule}"));
        }
        ends
    }

    /// The ids of the actors on the watchlists of people who leave.
    async fn departing(&self) -> Result<BTreeSet<String>, Error> {
        let Kind::Inventory(facts) = Stream::Watchlists.kind() else { return Ok(BTreeSet::new()) };
        let [lists, members, ..] = facts.parts else { return Ok(BTreeSet::new()) };
        let kind = |watchlist: &_| text(watchlist, "listType");
        let watchlists = self.rows(Stream::Watchlists, &lists.list, None, &[], kind).await?;
        let mut departing = BTreeSet::new();
        for (id, kind) in watchlists.by_id {
            if kind.is_some_and(|kind| kind.replace('_', "") == DEPARTING.replace('_', "")) {
                match self.rows(Stream::Watchlists, &members.list, Some(&id), &[], |_| ()).await {
                    Ok(members) => departing.extend(members.by_id.into_keys()),
                    // Gone since it was listed.
                    Err(Error::Api(ApiError::Status { status: 404, .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(departing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_active_actors_of_active_users_whose_end_the_list_does_not_show_are_asked_for() {
        let actor = |name: &str, changes: (bool, Option<&str>)| {
            Actor::of(&json!({"name": name, "active": changes.0, "endDate": changes.1}))
        };
        let actors = BTreeMap::from([
            ("a".to_owned(), actor("Ann@example.com", (true, None))),
            ("b".to_owned(), actor("ann@example.com", (false, None))),
            ("c".to_owned(), actor("ann@example.com", (true, Some("2026-01-01")))),
            ("d".to_owned(), actor("bob@example.com", (true, None))),
            ("e".to_owned(), actor("nobody@example.com", (true, None))),
        ]);
        let user = |name: &str, active: bool| User::of(&json!({"username": name, "active": active}));
        let users = [("1".to_owned(), user("ann@example.com", true)), ("2".to_owned(), user("bob@example.com", false))];
        assert_eq!(in_question(&actors, &users.into()), BTreeSet::from(["a".to_owned()]));
    }
}
