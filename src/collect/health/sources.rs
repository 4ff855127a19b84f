//! Reads the lists from which findings are derived, each as a whole.

use std::collections::HashMap;

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};

use crate::collect::error::Error;
use crate::collect::health::counts::Counts;
use crate::collect::health::ends::EndDates;
use crate::collect::health::known_ends::KnownEnds;
use crate::collect::health::reader::{LISTS_AT_ONCE, Reader, RowsById};
use crate::collect::health::records::{Actor, Agent, Case, Custodian, Held, Matter, User};
use crate::collect::health::roles::{Roles, without_agent};
use crate::collect::health::silent::{DEVICE, Observers};
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{actors, agents, cases, legal_hold, users};
use crate::incydr::request::Caller;

/// The number of lists that are read as a whole.
const LISTS: usize = 7;
/// Half of the 90 days for which most plans keep file events: an observer's events are counted in the silent time and
/// in as long a time before.
const LONGEST_SILENCE: TimeDelta = TimeDelta::days(45);

/// The lists, each with its records or the error for which it is missing.
pub struct Sources {
    pub agents: Result<RowsById<Agent>, Error>,
    pub users: Result<RowsById<User>, Error>,
    /// The users in legal hold.
    pub custodians: Result<HeldList, Error>,
    pub subjects: Result<HeldList, Error>,
    /// The number of file events of each device within the last `longest_silence`.
    pub reporting: Result<Counts, Error>,
    /// By agent's id, the times of the last events of some agents that connect and have sent none since, in the API's
    /// own form.
    pub last_events: HashMap<String, String>,
    /// The numbers of file events of each observer.
    pub observers: Result<Observers, Error>,
    pub actors: Result<RowsById<Actor>, Error>,
    /// The roles of the active users who have no active agent.
    pub roles: Roles,
    /// The end dates of those active actors whose users are active.
    pub ends: EndDates,
}

/// The users in legal hold, or the subjects of open cases.
#[derive(Debug, Default)]
pub struct HeldList {
    pub held: Vec<Held>,
    /// The number of further rows that can't be read. They may hold anybody.
    pub unreadable: u64,
}

/// The time after which an agent or an observer that sends nothing is silent.
pub fn longest_silence(settings: &Settings) -> TimeDelta {
    settings.stale_agent.min(LONGEST_SILENCE)
}

impl Sources {
    pub async fn read(settings: &Settings, api: &Api, caller: &Caller<'_>, now: Millis, known: &KnownEnds) -> Self {
        let reader = Reader { settings, api, caller };
        let days = longest_silence(settings);
        let (agents, users, custodians, subjects, reporting, observers, actors) = futures::join!(
            reader.rows(Stream::Agents, &agents::LIST, None, &[], Agent::of),
            reader.rows(Stream::Users, &users::LIST, None, &[], User::of),
            reader.custodians(),
            reader.subjects(),
            reader.counts(DEVICE, None, now - days, now),
            reader.observers(days, now),
            reader.rows(Stream::Actors, &actors::LIST, None, &[], Actor::of),
        );
        let last_events = match (&agents, &reporting) {
            (Ok(agents), Ok(reporting)) => reader.last_events_of(&agents.by_id, reporting, days, now).await,
            _ => HashMap::new(),
        };
        let roles = match (&agents, &users) {
            (Ok(agents), Ok(users)) => reader.roles(without_agent(&agents.by_id, &users.by_id)).await,
            _ => Roles::default(),
        };
        let ends = match (&actors, &users) {
            (Ok(actors), Ok(users)) => reader.ends(&actors.by_id, &users.by_id, known).await,
            _ => EndDates::default(),
        };
        Self { agents, users, custodians, subjects, reporting, last_events, observers, actors, roles, ends }
    }

    /// Returns the error of each missing list, with the stream whose permission the list needs.
    fn of_lists(&self) -> impl Iterator<Item = (Stream, &Error)> {
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

    /// The same for the roles of users and the profiles of actors, which are read one by one.
    fn of_people(&self) -> impl Iterator<Item = (Stream, &Error)> {
        self.roles.errors.iter().chain(&self.ends.errors).map(|(stream, error)| (*stream, error))
    }

    /// Whether all lists are missing.
    pub fn is_nothing(&self) -> bool {
        self.of_lists().count() == LISTS
    }

    /// Whether another try may tell more.
    pub fn may_do_better(&self) -> bool {
        self.of_lists().chain(self.of_people()).any(|(_, error)| !is_lasting(error))
    }

    /// Whether another try may tell so much more that the day's findings must wait for it. Roles and profiles that were
    /// not read for lack of time don't count: that may happen every day, and the findings say whose were not read.
    pub fn must_be_read_again(&self) -> bool {
        let is_for_time = |error: &Error| matches!(error, Error::Api(error) if error.is_out_of_time());
        let of_people = self.of_people().filter(|(_, error)| !is_for_time(error));
        self.of_lists().chain(of_people).any(|(_, error)| !is_lasting(error))
    }

    /// Returns the first error after which another try may succeed, or else the first of all.
    pub fn into_error(self) -> Error {
        let of_lists = [
            self.agents.err(),
            self.users.err(),
            self.custodians.err(),
            self.subjects.err(),
            self.reporting.err(),
            self.observers.err(),
            self.actors.err(),
        ];
        let of_people = self.roles.errors.into_iter().chain(self.ends.errors).map(|(_, error)| error);
        let (lasting, passing): (Vec<Error>, Vec<Error>) =
            of_lists.into_iter().flatten().chain(of_people).partition(is_lasting);
        passing.into_iter().chain(lasting).next().unwrap_or(ApiError::OutOfTime.into())
    }
}

/// Whether another try changes nothing: the list is not permitted, the API doesn't have it, or a count takes the API
/// too long even for a day.
pub fn is_lasting(error: &Error) -> bool {
    match error {
        Error::Api(ApiError::Forbidden { .. } | ApiError::TooLarge { .. }) => true,
        Error::Api(ApiError::Status { status, .. }) => (400..500).contains(status) && !matches!(status, 403 | 408),
        _ => false,
    }
}

impl Reader<'_> {
    async fn custodians(&self) -> Result<HeldList, Error> {
        let active = [("active", "true")];
        let matters = self.rows(Stream::LegalHold, &legal_hold::MATTERS, None, &active, Matter::of).await?;
        let of_matter = |(id, matter): (String, Matter)| async move {
            let rows = self.rows(Stream::LegalHold, &legal_hold::CUSTODIANS, Some(&id), &[], Custodian::of).await;
            match rows {
                // The matter was deleted since it was listed.
                Err(Error::Api(ApiError::Status { status: 404, .. })) => Ok(HeldList::default()),
                // A 401 means "deleted" or "not permitted". If it is not permitted, it may hold anybody.
                Err(Error::Api(ApiError::Forbidden { .. })) => Ok(HeldList { unreadable: 1, ..HeldList::default() }),
                rows => Ok(HeldList::of(rows?, |user, custodian| custodian.held(user, &id, &matter))),
            }
        };
        let mut all = HeldList { unreadable: matters.unreadable, ..HeldList::default() };
        let active = matters.by_id.into_iter().filter(|(_, matter)| !matter.is_inactive);
        let mut lists = stream::iter(active).map(of_matter).buffered(LISTS_AT_ONCE);
        while let Some(of_matter) = lists.next().await {
            let of_matter: Result<HeldList, Error> = of_matter;
            let of_matter = of_matter?;
            all.held.extend(of_matter.held);
            all.unreadable += of_matter.unreadable;
        }
        Ok(all)
    }

    async fn subjects(&self) -> Result<HeldList, Error> {
        let open = self.rows(Stream::Cases, &cases::BY_NUMBER, None, &[("status", "OPEN")], Case::of).await?;
        Ok(HeldList::of(open, |number, case| case.held(number)))
    }
}

impl HeldList {
    fn of<T>(rows: RowsById<T>, held: impl Fn(String, T) -> Option<Held>) -> Self {
        let unreadable = rows.unreadable;
        Self { held: rows.by_id.into_iter().filter_map(|(id, row)| held(id, row)).collect(), unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_may_mend_is_told_from_what_it_does_not() {
        let status = |status| Error::Api(ApiError::Status { what: String::new(), status, said: String::new() });
        assert!(is_lasting(&Error::Api(ApiError::Forbidden { what: String::new(), status: 403, said: String::new() })));
        assert!(is_lasting(&status(404)) && is_lasting(&status(400)));
        assert!(!is_lasting(&status(403)) && !is_lasting(&status(408)) && !is_lasting(&status(503)));
        assert!(!is_lasting(&Error::Api(ApiError::OutOfTime)) && !is_lasting(&Error::Inconsistent(String::new())));
    }
}
