//! Reads the lists from which findings are derived, each as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use crate::collect::error::Error;
use crate::collect::health::records::{Actor, Agent, Case, Custodian, Held, Matter, User, text};
use crate::core::intervals::Span;
use crate::core::json::count;
use crate::core::ndjson;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Kind, List, Part, actors, agents, cases, file_events, legal_hold, users};
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::{Caller, Request};

const TRIES: u32 = 3;
pub(super) const LISTS_AT_ONCE: usize = 4;
/// Limit for the users whose roles are read, with one request each.
const MOST_ROLES: usize = 300;
/// Half of the 90 days for which most plans keep file events: an observer's events are counted in the silent time and
/// in as long a time before.
const LONGEST_SILENCE: TimeDelta = TimeDelta::days(45);

/// The lists, each with its records or the error for which it is missing.
pub struct Sources {
    pub agents: Result<Listed<Agent>, Error>,
    pub users: Result<Listed<User>, Error>,
    /// The users in legal hold.
    pub custodians: Result<Vec<Held>, Error>,
    pub subjects: Result<Vec<Held>, Error>,
    /// The number of file events of each device within the last `longest_silence`.
    pub reporting: Result<Counts, Error>,
    /// The numbers of file events of each observer.
    pub observers: Result<Observers, Error>,
    pub actors: Result<Listed<Actor>, Error>,
    /// The roles of the active users who have no active agent.
    pub roles: Roles,
    /// Of those active actors whose users are active.
    pub ends: Ends,
}

/// The number of file events of each observer within the last `longest_silence`, and within as long a time before.
#[derive(Debug, Default)]
pub struct Observers {
    pub last: Counts,
    pub before: Counts,
    /// The same numbers of each connection, for observers that still send events.
    pub detectors: BTreeMap<String, (Counts, Counts)>,
}

/// The roles of some users.
#[derive(Debug, Default)]
pub struct Roles {
    /// Administrators and analysts, who need no agent.
    pub spared: HashSet<String>,
    /// Users whose roles were not read.
    pub unread: HashSet<String>,
}

/// The end dates in the profiles of actors.
#[derive(Debug, Default)]
pub struct Ends {
    /// The end dates, by actor id.
    pub by_actor: HashMap<String, String>,
    /// The reason why the profiles of some actors were not read.
    pub unread: Option<String>,
}

/// The records of a list, by their ids.
#[derive(Debug)]
pub struct Listed<T> {
    pub by_id: BTreeMap<String, T>,
    /// The number of further rows, which are not JSON or have no id.
    pub unreadable: u64,
}

pub type Counts = HashMap<String, u64>;

/// The time after which an agent or an observer that sends nothing is silent.
pub fn longest_silence(settings: &Settings) -> TimeDelta {
    settings.stale_agent.min(LONGEST_SILENCE)
}

impl Sources {
    pub async fn read(settings: &Settings, api: &Api, caller: &Caller<'_>, now: Millis) -> Self {
        let reader = Reader { settings, api, caller };
        let days = longest_silence(settings);
        let (agents, users, custodians, subjects, reporting, observers, actors) = futures::join!(
            reader.rows(Stream::Agents, &agents::LIST, None, &[], Agent::of),
            reader.rows(Stream::Users, &users::LIST, None, &[], User::of),
            reader.custodians(),
            reader.subjects(),
            reader.counts("user.deviceUid", None, now - days, now),
            reader.observers(days, now),
            reader.rows(Stream::Actors, &actors::LIST, None, &[], Actor::of),
        );
        let roles = match (&agents, &users) {
            (Ok(agents), Ok(users)) => reader.roles(without_agent(&agents.by_id, &users.by_id)).await,
            _ => Roles::default(),
        };
        let ends = match (&actors, &users) {
            (Ok(actors), Ok(users)) => reader.ends(&actors.by_id, &users.by_id).await,
            _ => Ends::default(),
        };
        Self { agents, users, custodians, subjects, reporting, observers, actors, roles, ends }
    }

    /// Returns the error of each missing list, with the stream whose permission the list needs.
    pub fn errors(&self) -> impl Iterator<Item = (Stream, &Error)> {
        let errors = [
            (Stream::Agents, self.agents.as_ref().err()),
            (Stream::Users, self.users.as_ref().err()),
            (Stream::LegalHold, self.custodians.as_ref().err()),
            (Stream::Cases, self.subjects.as_ref().err()),
            (Stream::FileEvents, self.reporting.as_ref().err()),
            (Stream::FileEvents, self.observers.as_ref().err()),
            (Stream::Actors, self.actors.as_ref().err()),
        ];
        errors.into_iter().filter_map(|(stream, error)| Some((stream, error?)))
    }

    /// Whether all lists are missing.
    pub fn is_nothing(&self) -> bool {
        self.errors().count() == 7
    }

    /// Returns the first error after which another try may succeed, or else the first of all.
    pub fn into_error(self) -> Error {
        let all = [
            self.agents.err(),
            self.users.err(),
            self.custodians.err(),
            self.subjects.err(),
            self.reporting.err(),
            self.observers.err(),
            self.actors.err(),
        ];
        let (lasting, passing): (Vec<Error>, Vec<Error>) = all.into_iter().flatten().partition(is_lasting);
        passing.into_iter().chain(lasting).next().unwrap_or(ApiError::OutOfTime.into())
    }
}

/// Whether another try changes nothing: the list is not permitted, or the API doesn't have it.
pub fn is_lasting(error: &Error) -> bool {
    match error {
        Error::Api(ApiError::Forbidden { .. }) => true,
        Error::Api(ApiError::Status { status, .. }) => (400..500).contains(status) && !matches!(status, 403 | 408),
        _ => false,
    }
}

/// Returns the ids of the active users who have no active agent.
pub fn without_agent(agents: &BTreeMap<String, Agent>, users: &BTreeMap<String, User>) -> Vec<String> {
    let active = agents.values().filter(|agent| !agent.is_inactive);
    let with: HashSet<&str> = active.filter_map(|agent| agent.user_id.as_deref()).collect();
    let without = users.iter().filter(|(id, user)| !user.is_inactive && !with.contains(id.as_str()));
    without.map(|(id, _)| id.clone()).collect()
}

/// The part of a stream that is read once for each record of another one.
pub(super) fn part(stream: Stream) -> Option<&'static Part> {
    let Kind::Inventory(facts) = stream.kind() else { return None };
    facts.parts.iter().find(|part| part.parent.is_some())
}

pub(super) struct Reader<'a> {
    settings: &'a Settings,
    api: &'a Api,
    caller: &'a Caller<'a>,
}

impl Reader<'_> {
    /// Reads a whole list until it agrees with the API's own total.
    pub(super) async fn rows<T>(
        &self,
        stream: Stream,
        list: &'static List,
        parent: Option<&str>,
        query: &[(&str, &str)],
        of: impl Fn(&Value) -> T,
    ) -> Result<Listed<T>, Error> {
        let size = self.settings.page_size(stream, list.max_page_size);
        for tried in 1..=TRIES {
            let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let mut listing = Listing::new(self.api, list, size, query, Value::Null);
            if let Some(parent) = parent {
                listing = listing.of(parent);
            }
            let mut rows = Listed { by_id: BTreeMap::new(), unreadable: 0 };
            let mut shown = 0;
            while let Some(page) = listing.rows(self.caller).await? {
                let (before, count) = (rows.count(), page.len() as u64);
                shown += count;
                for row in page {
                    rows.take(row, &of);
                }
                if rows.count() == before {
                    if listing.total().is_none() && count >= size {
                        let why = "the pages repeat, so the rest of the list is unknown".to_owned();
                        return Err(ApiError::Unexpected { what: format!("GET {}", list.path), why }.into());
                    }
                    break;
                }
            }
            // If several records have one id in every try, the API itself has them.
            let is_last = tried == TRIES;
            if listing.total().is_none_or(|total| rows.count() >= total || is_last && shown >= total) {
                return Ok(rows);
            }
        }
        Err(Error::Totals(format!(
            "the list of {stream} doesn't agree with the API's own total after {TRIES} readings"
        )))
    }

    async fn custodians(&self) -> Result<Vec<Held>, Error> {
        let active = [("active", "true")];
        let matters = self.rows(Stream::LegalHold, &legal_hold::MATTERS, None, &active, Matter::of).await?;
        let of_matter = |(id, matter): (String, Matter)| async move {
            let rows = self.rows(Stream::LegalHold, &legal_hold::CUSTODIANS, Some(&id), &[], Custodian::of).await;
            match rows {
                // The matter was deleted since it was listed.
                Err(Error::Api(ApiError::Status { status: 404, .. })) => Ok(Vec::new()),
                rows => Ok(rows?
                    .by_id
                    .into_iter()
                    .filter_map(|(user, custodian)| custodian.held(user, &id, &matter))
                    .collect()),
            }
        };
        let active = matters.by_id.into_iter().filter(|(_, matter)| !matter.is_inactive);
        let mut lists = stream::iter(active).map(of_matter).buffered(LISTS_AT_ONCE);
        let mut held: Vec<Held> = Vec::new();
        while let Some(of_matter) = lists.next().await {
            let of_matter: Result<Vec<Held>, Error> = of_matter;
            held.extend(of_matter?);
        }
        Ok(held)
    }

    async fn subjects(&self) -> Result<Vec<Held>, Error> {
        let open = self.rows(Stream::Cases, &cases::BY_NUMBER, None, &[("status", "OPEN")], Case::of).await?;
        Ok(open.by_id.into_iter().filter_map(|(number, case)| case.held(&number)).collect())
    }

    /// Counts the file events of each observer. Only for observers that still send events it counts each connection.
    async fn observers(&self, days: TimeDelta, now: Millis) -> Result<Observers, Error> {
        let both = async |term: &str, only: Option<(&str, &str)>| {
            let (last, before) = futures::join!(
                self.counts(term, only, now - days, now),
                self.counts(term, only, now - days * 2, now - days)
            );
            Ok::<_, Error>((last?, before?))
        };
        let (last, before) = both("event.observer", None).await?;
        let mut detectors = BTreeMap::new();
        for observer in before.keys().filter(|observer| last.contains_key(*observer)) {
            let of_observer = both("event.detectorDisplayName", Some(("event.observer", observer))).await?;
            detectors.insert(observer.clone(), of_observer);
        }
        Ok(Observers { last, before, detectors })
    }

    /// Reads which of these users are administrators or analysts. A user whose roles can't be read is not spared.
    async fn roles(&self, users: Vec<String>) -> Roles {
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
            let answer: Result<Listed<String>, Error> = answer;
            match answer {
                Ok(listed) => {
                    let is_spared = |role: &String| role.contains("admin") || role.contains("analyst");
                    if listed.by_id.values().any(is_spared) {
                        roles.spared.insert(user);
                    }
                }
                Err(_) => drop(roles.unread.insert(user)),
            }
        }
        roles
    }

    /// Returns the number of file events in a span for each value of a term. The API counts them without
    /// `FE_QUERY_JSON`.
    async fn counts(&self, term: &str, only: Option<(&str, &str)>, from: Millis, to: Millis) -> Result<Counts, Error> {
        let Some(span) = Span::new(from, to) else { return Ok(Counts::new()) };
        let request = Request::post(file_events::GROUPING, file_events::grouping(term, span, only));
        let unexpected = |why: &str| ApiError::Unexpected { what: request.what(), why: why.to_owned() };
        let read = |body: &bytes::Bytes| {
            let answer: Value = serde_json::from_slice(body).map_err(|_| unexpected("the answer is not JSON"))?;
            match &answer["problems"] {
                Value::Null => {}
                Value::Array(problems) if problems.is_empty() => {}
                problems => return Err(unexpected(&format!("the answer reports problems: {problems}"))),
            }
            let groups = answer["groups"].as_array().ok_or_else(|| unexpected("the answer has no \"groups\""))?;
            Ok(groups.iter().filter_map(|group| Some((text(group, "value")?, count(&group["docCount"])?))).collect())
        };
        Ok(self.api.send(&request, self.caller, read).await?)
    }
}

impl<T> Listed<T> {
    fn count(&self) -> u64 {
        self.by_id.len() as u64 + self.unreadable
    }

    fn take(&mut self, row: ListRow, of: impl Fn(&Value) -> T) {
        match row {
            ListRow::Record { line, id } => match ndjson::lenient(line.as_bytes()) {
                Some(record) => drop(self.by_id.insert(id, of(&record))),
                None => self.unreadable += 1,
            },
            ListRow::Unreadable { .. } => self.unreadable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_may_mend_is_told_from_what_it_does_not() {
        let status = |status| Error::Api(ApiError::Status { what: String::new(), status, said: String::new() });
        assert!(is_lasting(&Error::Api(ApiError::Forbidden { what: String::new(), said: String::new() })));
        assert!(is_lasting(&status(404)) && is_lasting(&status(400)));
        assert!(!is_lasting(&status(403)) && !is_lasting(&status(408)) && !is_lasting(&status(503)));
        assert!(!is_lasting(&Error::Api(ApiError::OutOfTime)) && !is_lasting(&Error::Totals(String::new())));
    }
}
