//! Changes that came later: records that are odd and sound, and many or few that are gone for good.

use std::sync::Arc;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::Value;
use simulator::{Dataset, Late, Record, text_at, with_member};

use super::{Tenant, stream};
use crate::rarities::{HALF_A_PAIR, TimeForm};
use crate::round::Change;

impl Tenant {
    pub(super) fn apply_rare(&self, change: &Change) {
        match change {
            Change::Astray(dataset, time) => self.add_astray(*dataset, time),
            Change::Half(dataset) => self.add_half_a_pair(*dataset),
            Change::MostAreRemoved(dataset) => self.remove_most(*dataset),
            Change::CaseIsRemoved(n) => {
                if let Some(number) = self.nth(Dataset::Cases, *n) {
                    self.world.remove(Dataset::Cases, &number);
                    self.note_taken(Dataset::Cases);
                    self.note_of(Dataset::Cases);
                }
            }
            Change::Seen => self.are_seen_again(),
            _ => unreachable!("{change:?} is made elsewhere"),
        }
    }

    /// A record whose time nobody asks for, among sound ones of the same instant: by itself it would be another form of the
    /// answer. One of each stream.
    fn add_astray(&self, dataset: Dataset, time: &str) {
        let at = simulator::clock::now();
        let raw = match dataset {
            Dataset::FileEvents => format!(r#"{{"event":{{"id":"astray","inserted":"{time}"}}}}"#),
            _ => format!(r#"{{"timestamp":"{time}","actorName":"astray"}}"#),
        };
        {
            let mut past = self.past();
            let odd = past.malformed.entry(stream(dataset)).or_default();
            if odd.len() >= 3 || odd.iter().any(|odd| odd.contains("astray")) {
                return;
            }
            odd.insert(raw.clone());
        }
        match dataset {
            Dataset::FileEvents => drop(self.world.add_file_events(4, at, at)),
            _ => drop(self.world.add_audit(4, at, at)),
        }
        self.world.push_raw(dataset, "astray", at, raw);
    }

    fn add_half_a_pair(&self, dataset: Dataset) {
        let at = simulator::clock::now();
        let halve = |member: &'static str| move |raw: &str| with_member(raw, member, HALF_A_PAIR);
        match dataset {
            Dataset::FileEvents | Dataset::Audit => {
                let added = match dataset {
                    Dataset::FileEvents => self.world.add_file_events(1, at, at),
                    _ => self.world.add_audit(1, at, at),
                };
                for record in added {
                    self.world.change(dataset, &record.id, halve("half"));
                }
            }
            Dataset::Users => {
                if let Some(id) = self.nth(dataset, 0) {
                    self.world.update_user(&id, halve("notes"));
                }
            }
            _ => {
                if let Some(id) = self.nth(dataset, 0) {
                    self.world.change(dataset, &id, halve("osHostname"));
                }
            }
        }
        self.note_of(dataset);
    }

    /// Every second record is gone. One that two readings lack by itself would be deleted too early.
    fn remove_most(&self, dataset: Dataset) {
        let missed = self.past().missed.clone();
        let ids: Vec<Arc<str>> = self.records(dataset).into_iter().map(|(record, _)| record.id).collect();
        for id in ids.iter().step_by(2).filter(|id| !missed.contains(&***id)) {
            self.world.remove(dataset, id);
        }
        if dataset == Dataset::Users {
            // A reading takes fewer requests now, and these were hidden for those of one.
            for id in &missed {
                self.world.late(dataset, id, Late::Until(simulator::clock::now()));
            }
        }
        self.note_taken(dataset);
        self.note_of(dataset);
    }

    /// Only `lastConnected` moves, which is no change.
    fn are_seen_again(&self) {
        let at = Value::from(simulator::clock::now().to_rfc3339()).to_string();
        for dataset in [Dataset::Agents, Dataset::Devices] {
            for (record, _) in self.records(dataset) {
                self.world.change(dataset, &record.id, |raw| with_member(raw, "lastConnected", &at));
            }
        }
    }

    /// The API keeps none of them any more, and none was stored.
    pub fn forget_file_events_since(&self, since: DateTime<Utc>) {
        for (event, _) in self.records(Dataset::FileEvents) {
            if event.time >= since {
                self.world.remove(Dataset::FileEvents, &event.id);
            }
        }
    }

    /// The parent of the first such record.
    pub fn parent_of_some(&self, dataset: Dataset) -> Option<Arc<str>> {
        let parents = self.records(dataset.parent()?);
        let is_there = |id: &Arc<str>| parents.iter().any(|(parent, _)| parent.id == *id);
        self.records(dataset).into_iter().filter_map(|(record, _)| record.parent).find(is_there)
    }

    /// A record that only moved may be stored again once a day.
    pub fn may_be_stored_again(&self, stream: &str) -> bool {
        let is_old = simulator::clock::now() - self.begun > TimeDelta::hours(23);
        self.sees_again && is_old && matches!(stream, "agents" | "devices") || self.past().may_repeat(stream)
    }

    /// Adds events at full minutes, which can be written without seconds.
    pub(super) fn add_events_at_full_minutes(&self) {
        let now = simulator::clock::now();
        for minutes in [3, 5, 5] {
            let at = now - TimeDelta::minutes(minutes);
            let at = at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at);
            self.world.add_file_events(1, at, at);
            self.world.add_audit(1, at, at);
        }
    }

    /// The numbers of file events and audit events.
    pub(super) fn events(&self) -> [usize; 2] {
        if self.times.is_none() {
            return [0, 0];
        }
        [Dataset::FileEvents, Dataset::Audit].map(|dataset| self.world.all(dataset).len())
    }

    /// Writes the times of every third event that came after so many in the tenant's other form, if it has one.
    pub(super) fn write_times_otherwise(&self, before: [usize; 2]) {
        let Some(form) = self.times else { return };
        let paths = [(Dataset::FileEvents, &["event", "inserted"][..]), (Dataset::Audit, &["timestamp"])];
        for ((dataset, path), before) in paths.into_iter().zip(before) {
            let all = self.world.all(dataset);
            for (n, record) in all.iter().enumerate().skip(before) {
                let is_meant = form == TimeForm::WithoutSeconds || n % 3 == 0;
                let is_alone = all.iter().filter(|other| other.id == record.id).count() == 1;
                let Some(time) = text_at(&record.raw, path).map(|text| text.trim_matches('"')) else { continue };
                if let Some(other) = form.of(time).filter(|_| is_meant && is_alone && self.is_plain(dataset, record)) {
                    let (time, other) = (format!("\"{time}\""), format!("\"{other}\""));
                    self.world.change(dataset, &record.id, |raw| raw.replacen(&time, &other, 1));
                }
            }
        }
    }

    /// Whether nothing else is known of its text.
    fn is_plain(&self, dataset: Dataset, record: &Record) -> bool {
        let past = self.past();
        let is_odd = past.malformed.get(stream(dataset)).is_some_and(|odd| odd.contains(&*record.raw));
        !is_odd && !past.late.contains(&record.compact())
    }
}
