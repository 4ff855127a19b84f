//! Functions for records of any dataset, and for children of any record.

use std::{fmt::Display, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Dataset, Record, World, WorldHandle,
    generate::{Generator, Known},
    record::{id_in, time_in},
    spread,
};
use crate::clock;
use crate::locked;

impl WorldHandle {
    /// Adds `n` records of a dataset without parents, spread over the last 60 days. Users and datasets with functions
    /// of their own are spread as those do.
    pub fn add_records(&self, dataset: Dataset, n: usize) -> Vec<Record> {
        assert!(dataset.parent().is_none(), "{dataset:?} belong to a parent");
        let now = clock::now();
        let hour_ago = now - TimeDelta::hours(1);
        match dataset {
            Dataset::FileEvents => self.add_file_events(n, hour_ago, now),
            Dataset::Audit => self.add_audit(n, hour_ago, now),
            Dataset::Cases => self.add_cases(n, hour_ago, now),
            Dataset::Users => self.add_users(n),
            Dataset::Sessions => self.add_sessions(n, now - TimeDelta::days(1), now, true),
            _ => {
                let mut world = locked(&self.0);
                let known = world.known();
                let times = spread(n, now - TimeDelta::days(60), now);
                world.add(dataset, None, times, |generator, at| generator.record(dataset, at, &known))
            }
        }
    }

    /// Adds `n` sessions of existing actors, with `beginTime` spread over `[from, to)`.
    pub fn add_sessions(&self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>, with_alerts: bool) -> Vec<Record> {
        let mut world = locked(&self.0);
        let known = world.known();
        let times = spread(n, from, to);
        world.add(Dataset::Sessions, None, times, |generator, begin| generator.session(begin, with_alerts, &known))
    }

    /// Adds `n` children of a record, which need not exist. Their ids are those of existing users, actors, departments,
    /// directory groups or roles, as long as there are enough.
    pub fn add_children(&self, dataset: Dataset, parent_id: impl Display, n: usize) -> Vec<Record> {
        assert!(dataset.parent().is_some(), "{dataset:?} belong to no parent");
        let parent = parent_id.to_string();
        let now = clock::now();
        let mut world = locked(&self.0);
        let known = world.known();
        let mut place = world.held(dataset).records.iter().filter(|record| record.is_child_of(&parent)).count();
        world.add(dataset, Some(&parent), spread(n, now - TimeDelta::hours(1), now), |generator, at| {
            place += 1;
            generator.child(dataset, at, place - 1, &known)
        })
    }

    /// Adds a record's text unchanged. Its id and time are read from the text, even if the rest of it is invalid.
    pub fn push_record(&self, dataset: Dataset, raw: impl Into<String>) -> Arc<str> {
        self.push(dataset, raw.into(), None)
    }

    pub fn push_child(&self, dataset: Dataset, parent_id: impl Display, raw: impl Into<String>) -> Arc<str> {
        let mut world = locked(&self.0);
        let raw = world.push(dataset, None, None, raw.into(), None);
        if let Some(record) = world.held(dataset).records.last_mut() {
            record.parent = Some(parent_id.to_string().into());
        }
        raw
    }

    /// Changes only the text of the first record with this id. No time changes.
    pub fn change(&self, dataset: Dataset, id: impl Display, change: impl FnOnce(&str) -> String) -> Arc<str> {
        let id = id.to_string();
        locked(&self.0).change(dataset, |record| *record.id == *id, change)
    }

    /// The same for a child. Children of other parents may have the same id.
    pub fn change_child(
        &self,
        dataset: Dataset,
        parent_id: impl Display,
        id: impl Display,
        change: impl FnOnce(&str) -> String,
    ) -> Arc<str> {
        let (parent, id) = (parent_id.to_string(), id.to_string());
        locked(&self.0).change(dataset, |record| *record.id == *id && record.is_child_of(&parent), change)
    }

    pub fn remove_child(&self, dataset: Dataset, parent_id: impl Display, id: impl Display) {
        let (parent, id) = (parent_id.to_string(), id.to_string());
        let mut world = locked(&self.0);
        world.held(dataset).records.retain(|record| *record.id != *id || !record.is_child_of(&parent));
    }

    /// A record's children in the order of addition, including hidden ones.
    pub fn children(&self, dataset: Dataset, parent_id: impl Display) -> Vec<Record> {
        let parent = parent_id.to_string();
        self.all(dataset).into_iter().filter(|record| record.is_child_of(&parent)).collect()
    }

    /// The children that a request sees now.
    pub(crate) fn visible_children(&self, dataset: Dataset, parent_id: &str) -> Vec<Record> {
        self.visible_if(dataset, |record| record.is_child_of(parent_id))
    }
}

impl World {
    fn change(
        &mut self,
        dataset: Dataset,
        is_meant: impl Fn(&Record) -> bool,
        change: impl FnOnce(&str) -> String,
    ) -> Arc<str> {
        let record = self.held(dataset).records.iter_mut().find(|record| is_meant(record));
        let record = record.expect("a test changes only records that it added");
        let raw = change(&record.raw);
        // An id or time that is not the text's stays.
        let id = id_in(dataset, &raw).unwrap_or_else(|| record.id.to_string());
        let is_its_own = time_in(dataset, &record.raw).is_none_or(|time| time == record.time);
        let mut changed = Record::new(dataset, record.sequence, Some(id), None, raw, record.hidden);
        if changed.time == DateTime::<Utc>::default() || !is_its_own {
            changed.time = record.time;
        }
        changed.parent = record.parent.take();
        *record = changed;
        record.raw.clone()
    }

    fn known(&mut self) -> Known {
        let mut texts = |dataset, text: fn(&Record) -> &Arc<str>| {
            let records = &self.held(dataset).records;
            records.iter().map(|record| text(record).clone()).collect()
        };
        Known {
            users: texts(Dataset::Users, |user| &user.id),
            actors: texts(Dataset::Actors, |actor| &actor.id),
            departments: texts(Dataset::Departments, |department| &department.raw),
            groups: texts(Dataset::DirectoryGroups, |group| &group.id),
            roles: texts(Dataset::Roles, |role| &role.id),
        }
    }
}

impl Record {
    fn is_child_of(&self, parent_id: &str) -> bool {
        self.parent.as_deref() == Some(parent_id)
    }
}

impl Generator {
    /// A record of a dataset without parents and without a function of its own.
    fn record(&mut self, dataset: Dataset, at: DateTime<Utc>, known: &Known) -> String {
        match dataset {
            Dataset::Agents => self.agent(at, known),
            Dataset::Devices => self.device(at, known),
            Dataset::Actors => self.actor(),
            Dataset::Watchlists => self.watchlist(),
            Dataset::Departments => self.department(),
            Dataset::DirectoryGroups => self.directory_group(),
            Dataset::AlertRules => self.alert_rule(at),
            Dataset::TrustedActivities => self.trusted_activity(at),
            Dataset::Roles => self.role(at),
            Dataset::Orgs => self.org(at),
            Dataset::RiskIndicatorCategories => self.risk_indicator_category(),
            Dataset::SavedSearches => self.saved_search(at),
            Dataset::Matters => self.matter(at),
            Dataset::Policies => self.policy(at),
            Dataset::Customer => self.customer(),
            _ => unreachable!("{dataset:?} are not made here"),
        }
    }

    /// The child at this place among its parent's. The first is 0.
    fn child(&mut self, dataset: Dataset, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        match dataset {
            Dataset::CaseFileEvents | Dataset::SessionEvents => self.file_event(at),
            Dataset::WatchlistMembers | Dataset::IncludedActors | Dataset::ExcludedActors => {
                self.listed_actor(at, place, known)
            }
            Dataset::IncludedDepartments => self.included_department(at, place, known),
            Dataset::IncludedDirectoryGroups => self.included_group(at, place, known),
            Dataset::RuleUsers => self.rule_user(place, known),
            Dataset::UserRoles => self.user_role(at, place, known),
            Dataset::Custodians => self.custodian(at, place, known),
            _ => unreachable!("{dataset:?} are nobody's children"),
        }
    }
}
