//! The tenant: the world as it changes, and the facts about its past that the oracle needs.

mod further;
mod past;
mod rare;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use simulator::{Dataset, Late, Record, WorldHandle, with_member};

use crate::happenings::locked;
use crate::history::Stored;
use crate::objects;
use crate::plan::Plan;
use crate::rarities::TimeForm;
use crate::round::Change;
use crate::streams::{self, Part, Stream, key};

pub use past::Past;

/// The ends of the old records' span, in seconds before now. They are older than a first run's lookback
/// (`LOOKBACK_MINUTES`).
pub const OLD: (i64, i64) = (10_000, 4_000);

/// Datasets whose records never change and have no parent.
pub const EVENTS: [Dataset; 2] = [Dataset::FileEvents, Dataset::Audit];

pub struct Tenant {
    pub world: WorldHandle,
    /// Generates the further streams' records, so that those of the other streams stay the same.
    workshop: WorldHandle,
    past: Mutex<Past>,
    /// Changes are made one at a time, so that none is missed between two others.
    turn: Mutex<()>,
    streams: Vec<&'static Stream>,
    /// The streams of this schedule whose records never change.
    pub event_streams: Vec<Dataset>,
    page: usize,
    most_removed: usize,
    /// The order of a record's members says nothing.
    is_reordered: bool,
    times: Option<TimeForm>,
    has_odd_begins: bool,
    /// `lastConnected` says nothing.
    sees_again: bool,
    begun: DateTime<Utc>,
    /// The objects that were checked before.
    seen: Mutex<BTreeMap<String, Arc<Content>>>,
    /// The forms of lines that were compared before.
    forms: Mutex<HashMap<String, Arc<str>>>,
}

/// What an object holds.
pub struct Content {
    pub lines: Vec<Line>,
    /// The number of records, the size, and the hash of the uncompressed content. None if nobody has asked.
    pub measure: Option<Measure>,
}

pub type Measure = (u64, u64, String);

/// A stored line.
#[derive(Clone)]
pub struct Line {
    pub text: Arc<str>,
    /// Whose it is, where records change. None if nobody can say.
    pub key: Option<Arc<str>>,
    pub is_tombstone: bool,
}

impl Tenant {
    pub fn of(plan: &Plan, world: WorldHandle) -> Self {
        let tenant = Self {
            world,
            workshop: WorldHandle::new(plan.seed),
            past: Mutex::default(),
            turn: Mutex::default(),
            // In the guide's dialect a case is its list item.
            streams: streams::ALWAYS
                .iter()
                .chain(plan.further.picked())
                .filter(|stream| (!plan.in_guide || stream.name != "cases") && plan.collects(stream.name))
                .collect(),
            event_streams: EVENTS.into_iter().filter(|dataset| plan.collects(stream(*dataset))).collect(),
            page: plan.pages.others,
            most_removed: plan.tenant.users / 10,
            is_reordered: plan.oddities.manner.reorders || plan.rarities.reorders,
            times: plan.rarities.times,
            has_odd_begins: plan.rarities.has_odd_begins,
            sees_again: plan.rarities.sees_again,
            begun: simulator::clock::now(),
            seen: Mutex::default(),
            forms: Mutex::default(),
        };
        tenant.past().filters_otherwise = plan.oddities.manner.session_filter.is_some();
        let ago = |seconds| simulator::clock::now() - TimeDelta::seconds(seconds);
        let holds = &plan.tenant;
        let events = tenant.world.add_file_events(holds.file_events, ago(holds.reaches_back), ago(5));
        for event in events.iter().take(holds.doubled) {
            tenant.world.push_file_event(&*event.raw);
        }
        for event in events.iter().rev().take(holds.same_id) {
            tenant.world.push_file_event(with_member(&event.raw, "alsoKnownAs", "\"another\""));
        }
        tenant.world.add_audit(holds.audit, ago(holds.reaches_back), ago(5));
        tenant.world.add_file_events(holds.old, ago(OLD.0), ago(OLD.1));
        tenant.world.add_audit(holds.old, ago(OLD.0), ago(OLD.1));
        tenant.world.add_audit(holds.burst, ago(holds.reaches_back / 2), ago(holds.reaches_back / 2));
        tenant.world.add_users(holds.users);
        tenant.world.add_cases(holds.cases, ago(80_000), ago(900));
        for dataset in &holds.malformed {
            tenant.add_malformed(*dataset);
        }
        tenant.populate(&plan.further);
        tenant.note(|_| true);
        tenant
    }

    /// An object that was checked before.
    pub fn seen(&self, key: &str) -> Option<Arc<Content>> {
        locked(&self.seen).get(key).cloned()
    }

    pub fn note_seen(&self, key: &str, content: Content) -> Arc<Content> {
        locked(&self.seen).entry(key.to_owned()).or_insert_with(|| Arc::new(content)).clone()
    }

    pub fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The streams of this schedule whose records may change.
    pub fn streams(&self) -> impl Iterator<Item = &'static Stream> {
        self.streams.iter().copied()
    }

    /// The API's records of a stream without the unreadable ones, in the form in which they must be stored.
    pub fn records(&self, dataset: Dataset) -> Vec<(Record, Arc<str>)> {
        let records = self.world.all(dataset).into_iter().map(|record| {
            let line = record.compact();
            (record, line)
        });
        let past = self.past();
        let malformed = past.malformed.get(stream(dataset));
        records.filter(|(record, _)| malformed.is_none_or(|malformed| !malformed.contains(&*record.raw))).collect()
    }

    pub fn apply(&self, changes: &[Change]) {
        let _turn = locked(&self.turn);
        let before = self.events();
        for change in changes {
            self.apply_one(change);
        }
        self.write_times_otherwise(before);
    }

    fn apply_one(&self, change: &Change) {
        let now = simulator::clock::now();
        match change {
            Change::FileEvents(count) => drop(self.world.add_file_events(*count, now, now)),
            Change::Audit(count) => {
                for _ in 0..*count {
                    let now = simulator::clock::now();
                    self.world.add_audit(1, now, now);
                }
            }
            Change::AuditBurst(count) => drop(self.world.add_audit(*count, now, now)),
            Change::LateFileEvent => self.hide(Dataset::FileEvents, &self.world.add_file_events(1, now, now)),
            Change::LateAudit => self.hide(Dataset::Audit, &self.world.add_audit(1, now, now)),
            Change::User(n) => {
                if let Some(id) = self.nth(Dataset::Users, *n) {
                    let notes = self.marked("notes");
                    self.world.update_user(&id, notes);
                    self.note_of(Dataset::Users);
                }
            }
            Change::UserIsNew => {
                self.world.add_users(1);
                self.note_of(Dataset::Users);
            }
            Change::UserIsRemoved(n) => self.remove_user(*n),
            Change::UserIsMissedOnce(n) => self.miss_user(*n),
            Change::Case(n) => {
                if let Some(number) = self.nth(Dataset::Cases, *n) {
                    let name = self.marked("name");
                    self.world.update_case(number, name);
                    self.note_of(Dataset::Cases);
                }
            }
            Change::CaseIsNew => {
                self.world.add_cases(1, now, now);
                self.note_of(Dataset::Cases);
            }
            Change::Malformed(dataset) => self.add_malformed(*dataset),
            further => self.apply_further(further),
        }
    }

    /// A change that gives the text a new value.
    fn marked(&self, member: &'static str) -> impl FnOnce(&str) -> String {
        let mark = self.next_mark();
        move |raw| with_member(raw, member, &format!("\"change {mark}\""))
    }

    fn next_mark(&self) -> u64 {
        let mut past = self.past();
        past.changes += 1;
        past.changes
    }

    pub fn nth(&self, dataset: Dataset, n: usize) -> Option<String> {
        let records = self.records(dataset);
        (!records.is_empty()).then(|| records[n % records.len()].0.id.to_string())
    }

    fn remove_user(&self, n: usize) {
        let Some(id) = self.nth(Dataset::Users, n) else { return };
        let mut past = self.past();
        // At most a fifth may be removed at once. A user who was missed before would be deleted too early.
        if past.removed_users < self.most_removed && !past.missed.contains(&id) {
            self.world.remove_user(&id);
            past.removed_users += 1;
            drop(past);
            self.note_taken(Dataset::Users);
            self.note_of(Dataset::Users);
        }
    }

    /// Hides a user for the least number of requests that a reading takes, so that no two readings lack it.
    fn miss_user(&self, n: usize) {
        let Some(id) = self.nth(Dataset::Users, n) else { return };
        let mut past = self.past();
        if past.missed.insert(id.clone()) {
            let at_least = self.world.users().len().saturating_sub(self.most_removed + 2);
            let requests = at_least.div_ceil(self.page).max(1);
            self.world.late(Dataset::Users, &id, Late::Requests(requests as u64));
            for stream in self.streams().filter(|stream| stream.shows(Dataset::Users)) {
                past.taken.insert(stream.name, simulator::clock::now());
            }
            // Its roles are hidden from requests in between, too.
            if let Some(roles) = past.histories.get_mut("user_roles") {
                let of_user = key(Dataset::UserRoles, &id, "");
                roles.note_hidden(simulator::clock::now(), |key| key.starts_with(&of_user));
            }
        }
    }

    /// The next request doesn't see these records. So an empty window may be covered without them and be counted again
    /// later. Only one count misses them, so any recount sees them.
    fn hide(&self, dataset: Dataset, records: &[Record]) {
        for record in records {
            self.past().late.insert(record.compact());
            self.world.late(dataset, &record.raw, Late::Requests(1));
        }
    }

    /// Adds late records to covered windows that wait for a recount.
    pub fn show_up_late(&self, dataset: Dataset, at: DateTime<Utc>) {
        let added = match dataset {
            Dataset::FileEvents => self.world.add_file_events(1, at, at),
            _ => self.world.add_audit(1, at, at),
        };
        self.past().late.extend(added.iter().map(Record::compact));
    }

    /// Hides every second user from all lists and counts, and the same ones when it is called again. `stored` are the users
    /// that the collector knows.
    pub fn hide_half_of_the_users(&self, stored: &Stored) {
        let for_long = Late::Until(simulator::clock::now() + TimeDelta::days(1_000));
        let before = self.past().halved_before.clone();
        for (n, (user, _)) in self.records(Dataset::Users).iter().enumerate() {
            let mut past = self.past();
            // One that two readings lack by itself is deleted.
            let is_meant = n % 2 == 0 && !past.missed.contains(&*user.id);
            let is_meant = if before.is_empty() { is_meant } else { before.contains(&*user.id) };
            if !is_meant {
                continue;
            }
            self.world.late(Dataset::Users, &user.id, for_long);
            past.halved.push(user.id.clone());
            past.halved_before.insert(user.id.to_string());
            past.missed.insert(user.id.to_string());
            if let Some(roles) = past.histories.get_mut("user_roles") {
                let of_user = key(Dataset::UserRoles, &user.id, "");
                roles.note_hidden(simulator::clock::now(), |key| key.starts_with(&of_user));
            }
        }
        let mut past = self.past();
        // A single known one that two readings lack is deleted, however short the list is.
        let hidden: Vec<String> = past.halved.iter().map(|id| key(Dataset::Users, "", id)).collect();
        let known: Vec<&String> = hidden.iter().filter(|key| stored.contains_key(key.as_str())).collect();
        if let ([only], Some(users)) = (&known[..], past.histories.get_mut("users")) {
            users.note_hidden(simulator::clock::now(), |key| key == *only);
        }
        drop(past);
        self.note_taken(Dataset::Users);
    }

    pub fn show_all_users(&self) {
        let hidden = std::mem::take(&mut self.past().halved);
        for id in hidden {
            self.world.late(Dataset::Users, &id, Late::Until(simulator::clock::now()));
        }
    }

    /// Rows of this stream were shown in a form in which they can't be read, and a few may be set aside in that form.
    pub fn may_set_aside_more(&self, stream: &'static str) {
        self.past().set_aside_too.insert(stream);
    }

    /// At most three of each. More of a small tenant's would be another form of the answer.
    fn add_malformed(&self, dataset: Dataset) {
        if self.past().malformed.get(stream(dataset)).is_some_and(|odd| odd.len() >= 3) {
            return;
        }
        let mark = self.next_mark();
        let at = simulator::clock::now();
        let time = at.to_rfc3339();
        let (id, raw) = match dataset {
            Dataset::FileEvents => (
                format!("odd-{mark}"),
                format!(r#"{{ "event": {{"id":"odd-{mark}","inserted":"{time}"}}, "owner": "\Everyone" }}"#),
            ),
            Dataset::Audit => {
                (format!("odd-{mark}"), format!(r#"{{"timestamp":"{time}", "actorName":"\Everyone","mark":{mark}}}"#))
            }
            Dataset::Users => (format!("odd-{mark}"), format!(r#"{{"userId":"odd-{mark}","notes":"\Everyone"}}"#)),
            _ => {
                let number = 10_000 + mark;
                (number.to_string(), format!(r#"{{"number":{number}, "name":"\Everyone","updatedAt":"{time}"}}"#))
            }
        };
        self.past().malformed.entry(stream(dataset)).or_default().insert(raw.clone());
        self.world.push_raw(dataset, &id, at, raw);
    }

    /// The form in which lines are compared.
    pub fn form(&self, line: &str) -> Arc<str> {
        if !self.is_reordered && !self.sees_again {
            return line.into();
        }
        if let Some(form) = locked(&self.forms).get(line) {
            return form.clone();
        }
        let without_what_moves = |mut record: Value| {
            if self.sees_again && record["lastConnected"].is_string() {
                record["lastConnected"] = Value::Null;
            }
            record
        };
        let record = objects::parsed(line).map(without_what_moves);
        let form: Arc<str> = record.map_or_else(|| line.into(), |record| record.to_string().into());
        locked(&self.forms).insert(line.to_owned(), form.clone());
        form
    }

    /// Notes the present records of the streams that show such a record.
    fn note_of(&self, dataset: Dataset) {
        self.note(|stream| stream.shows(dataset));
    }

    fn note_taken(&self, dataset: Dataset) {
        for stream in self.streams().filter(|stream| stream.shows(dataset)) {
            self.past().taken.insert(stream.name, simulator::clock::now());
        }
    }

    fn note(&self, of: impl Fn(&Stream) -> bool) {
        for stream in self.streams().filter(|stream| of(stream)) {
            let lines = self.lines(stream);
            self.past().histories.entry(stream.name).or_default().note(simulator::clock::now(), lines);
        }
    }

    /// The API's records of a stream, with their keys.
    fn lines(&self, stream: &Stream) -> Vec<(String, Arc<str>)> {
        let of = |part: &Part| -> Vec<(String, Arc<str>)> {
            let mut records: Vec<Record> = self.records(part.dataset).into_iter().map(|(record, _)| record).collect();
            if let Some(parents) = part.dataset.parent() {
                let parents = self.records(parents);
                let shown: BTreeSet<&str> =
                    parents.iter().filter(|(parent, _)| lists(part, parent)).map(|(parent, _)| &*parent.id).collect();
                records.retain(|record| record.parent.as_deref().is_some_and(|parent| shown.contains(parent)));
            }
            let stored = records.iter().map(|record| part.stored(record));
            stored.map(|(key, line)| (key, self.form(&line))).collect()
        };
        stream.parts.iter().flat_map(of).collect()
    }
}

/// Whether such a record's list is to be collected.
fn lists(part: &Part, parent: &Record) -> bool {
    match part.dataset {
        Dataset::SessionEvents => further::has_alerts(parent),
        Dataset::CaseFileEvents => !further::is_archived(parent),
        _ => true,
    }
}

pub fn stream(dataset: Dataset) -> &'static str {
    dataset.name()
}
