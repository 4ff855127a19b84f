//! The records of the further streams, and their changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use simulator::{Dataset, Record, member_text, text_at, with_member};

use super::Tenant;
use crate::further::Further;
use crate::history::History;
use crate::rarities::TimeForm;
use crate::round::Change;

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The dataset's name, the parent's id and the record's id.
type Place = (&'static str, Option<Arc<str>>, Arc<str>);

/// The texts before changes, and the removed records.
#[derive(Default)]
pub struct Past {
    before: BTreeMap<Place, Arc<str>>,
    removed: Vec<(Dataset, Record)>,
}

impl Tenant {
    pub(super) fn populate(&self, further: &Further) {
        for stream in further.picked() {
            for dataset in stream.parts.iter().map(|part| part.dataset) {
                match dataset {
                    // The customer exists from the start, and there are enough of the others.
                    Dataset::Customer | Dataset::Users | Dataset::Cases => {}
                    Dataset::SessionEvents if !further.has("sessions") => {
                        self.add_sessions(further);
                        self.add_lists(dataset);
                    }
                    Dataset::Sessions => self.add_sessions(further),
                    Dataset::Watchlists => self.add(dataset, further.records / 3),
                    _ if dataset.parent().is_some() => self.add_lists(dataset),
                    _ => self.add(dataset, further.records),
                }
            }
        }
        if further.has("sessions") && further.has("session_events") {
            self.add_lists(Dataset::SessionEvents);
        }
        if self.times == Some(TimeForm::WithoutSeconds) {
            self.add_events_at_full_minutes();
        }
        self.write_times_otherwise([0, 0]);
    }

    pub(super) fn apply_further(&self, change: &Change) {
        match change {
            Change::Added(Dataset::SessionEvents, n) => {
                if let Some(session) = self.nth_of(Dataset::Sessions, *n, |_| true) {
                    self.add_child(Dataset::SessionEvents, &session);
                    // The event changes its session for good: the earlier version couldn't have the event.
                    self.change(Dataset::Sessions, &session);
                    self.past().further.before.remove(&place(Dataset::Sessions, &session));
                }
            }
            Change::Added(Dataset::Sessions, n) => self.add_session(SECOND, *n, n % 3 > 0),
            Change::Added(dataset, n) => match dataset.parent() {
                None => self.add(*dataset, 1),
                Some(parents) => {
                    if let Some(parent) = self.nth_of(parents, *n, |parent| may_have(*dataset, parent)) {
                        self.add_child(*dataset, &parent);
                    }
                }
            },
            Change::Changed(dataset, n) => {
                if let Some(record) = self.nth_of(*dataset, *n, |_| true) {
                    self.change(*dataset, &record);
                }
            }
            Change::ChangedBack(dataset, n) => self.change_back(*dataset, *n),
            Change::Removed(dataset, n) => self.remove(*dataset, *n),
            Change::Returns(dataset) => self.bring_back(*dataset),
            Change::Alerted(n) => self.alert(*n),
            Change::Archived(n) => self.archive(*n),
            rare => self.apply_rare(rare),
        }
        // A change of a child is visible in its parent's streams.
        self.note(|stream| dataset_of(change).is_some_and(|dataset| stream.shows(dataset)));
    }

    fn add(&self, dataset: Dataset, n: usize) {
        for record in self.workshop.add_records(dataset, n) {
            self.world.push_record(dataset, &*record.raw);
        }
    }

    /// Most sessions began within the two hours that every run reads.
    fn add_sessions(&self, further: &Further) {
        for n in 0..2 * further.records {
            self.add_session(SECOND * 170, n, n % 3 > 0);
        }
        for n in 1..=further.old_sessions {
            self.add_session(SECOND * 3 * 3_600, n, n % 3 > 0);
        }
    }

    /// A session that began `n` times this long ago.
    fn add_session(&self, ago: TimeDelta, n: usize, with_alerts: bool) {
        let began = simulator::clock::now() - ago * i32::try_from(n).unwrap_or_default();
        for session in self.workshop.add_sessions(1, began, began, with_alerts) {
            for event in self.workshop.add_children(Dataset::SessionEvents, &session.id, 1) {
                self.world.push_child(Dataset::SessionEvents, &session.id, &*event.raw);
            }
            let odd_time = match n % 4 {
                1 if self.has_odd_begins => Some(began.timestamp()),
                2 if self.has_odd_begins => Some(-began.timestamp_millis()),
                _ => None,
            };
            match odd_time {
                None => self.world.push_record(Dataset::Sessions, &*session.raw),
                Some(time) => {
                    let raw = with_member(&session.raw, "beginTime", &time.to_string());
                    self.world.push_raw(Dataset::Sessions, &session.id, began, raw)
                }
            };
        }
    }

    /// One record in four has none.
    fn add_lists(&self, dataset: Dataset) {
        let Some(parents) = dataset.parent() else { return };
        let parents = self.records(parents);
        let parents = parents.iter().map(|(parent, _)| parent).filter(|parent| may_have(dataset, parent));
        for (at, parent) in parents.enumerate() {
            let count = if dataset == Dataset::UserRoles { 2 } else { [1, 7, 0, 2][at % 4] };
            for _ in 0..count {
                self.add_child(dataset, parent);
            }
        }
    }

    fn add_child(&self, dataset: Dataset, parent: &Record) {
        for record in self.workshop.add_children(dataset, &parent.id, 1) {
            self.world.push_child(dataset, &parent.id, &*record.raw);
        }
    }

    fn nth_of(&self, dataset: Dataset, n: usize, is_meant: impl Fn(&Record) -> bool) -> Option<Record> {
        let mut records: Vec<Record> = self.records(dataset).into_iter().map(|(record, _)| record).collect();
        records.retain(is_meant);
        (!records.is_empty()).then(|| records.swap_remove(n % records.len()))
    }

    /// Changes a record to a new text. None of its times change.
    fn change(&self, dataset: Dataset, record: &Record) {
        let change = self.marked("changed");
        self.past().further.before.insert(place(dataset, record), record.raw.clone());
        self.change_text(dataset, record, change);
    }

    fn change_back(&self, dataset: Dataset, n: usize) {
        // An actor that changes between its list and its profile, and back later, is read again only after a day.
        if dataset == Dataset::Actors && self.streams().any(|stream| stream.name == "actor_profiles") {
            return;
        }
        let Some(record) = self.nth_of(dataset, n, |record| member_text(&record.raw, "changed").is_some()) else {
            return;
        };
        let before = self.past().further.before.insert(place(dataset, &record), record.raw.clone());
        if let Some(before) = before {
            self.change_text(dataset, &record, |_| before.to_string());
        }
    }

    fn change_text(&self, dataset: Dataset, record: &Record, change: impl FnOnce(&str) -> String) {
        match &record.parent {
            Some(parent) => self.world.change_child(dataset, parent, &record.id, change),
            None => self.world.change(dataset, &record.id, change),
        };
    }

    /// Removes a record. At most a fifth of a list is removed altogether, because more at once would not count as
    /// deleted.
    fn remove(&self, dataset: Dataset, n: usize) {
        let Some(record) = self.nth_of(dataset, n, |_| true) else { return };
        let Some(stream) = self.streams().find(|stream| stream.parts.iter().any(|part| part.dataset == dataset)) else {
            return;
        };
        let (left, gone) = {
            let (lines, of_it) = (self.lines(stream), format!("/{}/", record.id));
            let with_it = lines.iter().filter(|(key, _)| key.contains(&of_it)).count() + 1;
            let gone = self.past().histories.get(stream.name).map_or(0, History::gone);
            (lines.len().saturating_sub(with_it), gone + with_it)
        };
        if gone > 1 && gone * 8 > left {
            return;
        }
        match &record.parent {
            Some(parent) => self.world.remove_child(dataset, parent, &record.id),
            None => self.world.remove(dataset, &record.id),
        }
        self.note_taken(dataset);
        self.past().further.removed.push((dataset, record));
    }

    fn bring_back(&self, dataset: Dataset) {
        let mut past = self.past();
        let Some(at) = past.further.removed.iter().rposition(|(of, _)| *of == dataset) else { return };
        let (_, record) = past.further.removed.remove(at);
        match &record.parent {
            Some(parent) => self.world.push_child(dataset, parent, &*record.raw),
            None => self.world.push_record(dataset, &*record.raw),
        };
    }

    fn alert(&self, n: usize) {
        let Some(session) = self.nth_of(Dataset::Sessions, n, |_| true) else { return };
        let mark = self.next_mark();
        let alerts =
            format!(r#"[{{"alertId":"alert-of-change-{mark}","ruleId":"rule","ruleName":"r","lessonId":null}}]"#);
        self.world.change(Dataset::Sessions, &session.id, |raw| with_member(raw, "triggeredAlerts", &alerts));
        self.note_taken(Dataset::Sessions);
    }

    fn archive(&self, n: usize) {
        let Some(case) = self.nth_of(Dataset::Cases, n, |case| !is_archived(case)) else { return };
        self.world.update_case(&case.id, |raw| with_member(raw, "status", "\"ARCHIVED\""));
        self.note_taken(Dataset::Cases);
        for event in self.world.children(Dataset::CaseFileEvents, &case.id) {
            self.world.remove_child(Dataset::CaseFileEvents, &case.id, &event.id);
        }
    }
}

fn dataset_of(change: &Change) -> Option<Dataset> {
    match change {
        Change::Added(Dataset::SessionEvents, _) | Change::Alerted(_) => Some(Dataset::Sessions),
        Change::Archived(_) => Some(Dataset::Cases),
        Change::Added(dataset, _)
        | Change::Changed(dataset, _)
        | Change::ChangedBack(dataset, _)
        | Change::Removed(dataset, _)
        | Change::Returns(dataset) => Some(*dataset),
        _ => None,
    }
}

fn place(dataset: Dataset, record: &Record) -> Place {
    (dataset.name(), record.parent.clone(), record.id.clone())
}

/// A rule without a username filter has no users, and an archived case no events.
fn may_have(dataset: Dataset, parent: &Record) -> bool {
    match dataset {
        Dataset::RuleUsers => text_at(&parent.raw, &["filters", "username"]) != Some("null"),
        Dataset::CaseFileEvents => !is_archived(parent),
        _ => true,
    }
}

pub fn has_alerts(session: &Record) -> bool {
    member_text(&session.raw, "triggeredAlerts").is_some_and(|alerts| alerts.contains('{'))
}

pub fn is_archived(case: &Record) -> bool {
    member_text(&case.raw, "status") == Some("\"ARCHIVED\"")
}
