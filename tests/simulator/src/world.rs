//! The tenant's records as raw text. Tests add, change and read them while they are served.

mod any;
mod dataset;
mod generate;
mod record;
mod text;

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

pub use dataset::{Dataset, actor_item};
pub use record::{Late, Record};
pub use text::{compact, member_text, reordered, string_at, text_at, with_member, without_members};

use crate::clock;
use crate::locked;
use generate::Generator;

#[derive(Debug)]
struct World {
    by_dataset: HashMap<Dataset, Held>,
    generator: Generator,
    next_sequence: u64,
}

/// The records of one dataset, including the children of all parents.
#[derive(Debug, Default)]
struct Held {
    records: Vec<Record>,
    /// The number of times that the dataset was listed or counted.
    asked: u64,
}

/// The world, shared. Cheap to clone; changes take effect at once.
#[derive(Debug, Clone)]
pub struct WorldHandle(Arc<Mutex<World>>);

impl WorldHandle {
    /// An empty world. Later additions depend only on the seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            by_dataset: HashMap::new(),
            generator: Generator::new(seed),
            next_sequence: 0,
        })))
    }

    /// `n` file events with `event.inserted` spread over `[from, to)`.
    pub fn add_file_events(&self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Record> {
        self.add(Dataset::FileEvents, spread(n, from, to), Generator::file_event)
    }

    /// `n` audit events with `timestamp` spread over `[from, to)`. Some pairs are equal in every byte.
    pub fn add_audit(&self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Record> {
        self.add(Dataset::Audit, spread(n, from, to), Generator::audit_event)
    }

    pub fn add_users(&self, n: usize) -> Vec<Record> {
        let now = clock::now();
        self.add(Dataset::Users, spread(n, now - TimeDelta::days(400), now), Generator::user)
    }

    /// `n` cases with `updatedAt` spread over `[from, to)`. Their numbers continue from the last.
    pub fn add_cases(&self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Record> {
        self.add(Dataset::Cases, spread(n, from, to), Generator::case)
    }

    /// Adds a record's text unchanged. Its id and time are read from the text, even if the rest of it is invalid.
    pub fn push_file_event(&self, raw: impl Into<String>) -> Arc<str> {
        self.push(Dataset::FileEvents, raw.into(), None)
    }

    pub fn push_audit(&self, raw: impl Into<String>) -> Arc<str> {
        self.push(Dataset::Audit, raw.into(), None)
    }

    pub fn push_user(&self, raw: impl Into<String>) -> Arc<str> {
        self.push(Dataset::Users, raw.into(), None)
    }

    /// Adds a case's detail. The list shows it without `description` and `findings`.
    pub fn push_case(&self, raw_detail: impl Into<String>) -> Arc<str> {
        self.push(Dataset::Cases, raw_detail.into(), None)
    }

    /// Adds a record with an id and a time that need not be in its text.
    pub fn push_raw(&self, dataset: Dataset, id: &str, time: DateTime<Utc>, raw: impl Into<String>) -> Arc<str> {
        locked(&self.0).push(dataset, Some(id.to_owned()), Some(time), raw.into(), None)
    }

    pub fn push_file_event_raw(&self, id: &str, inserted: DateTime<Utc>, raw: impl Into<String>) -> Arc<str> {
        self.push_raw(Dataset::FileEvents, id, inserted, raw)
    }

    /// Adds a record that stays hidden for a while, whatever its time.
    pub fn push_late(&self, dataset: Dataset, raw: impl Into<String>, late: Late) -> Arc<str> {
        self.push(dataset, raw.into(), Some(late))
    }

    /// Hides the records with this id or exactly this text.
    pub fn late(&self, dataset: Dataset, id_or_raw: &str, late: Late) {
        let mut world = locked(&self.0);
        let hidden = world.hidden(dataset, late);
        for record in &mut world.held(dataset).records {
            if &*record.id == id_or_raw || &*record.raw == id_or_raw {
                record.hidden = Some(hidden);
            }
        }
    }

    /// Changes a user's text, and its `modificationDate` to now.
    pub fn update_user(&self, id: &str, change: impl FnOnce(&str) -> String) -> Arc<str> {
        locked(&self.0).update(Dataset::Users, id, "modificationDate", clock::now(), change)
    }

    /// Changes a case's text, and its `updatedAt` to now.
    pub fn update_case(&self, number: impl Display, change: impl FnOnce(&str) -> String) -> Arc<str> {
        self.update_case_at(number, clock::now(), change)
    }

    pub fn update_case_at(
        &self,
        number: impl Display,
        at: DateTime<Utc>,
        change: impl FnOnce(&str) -> String,
    ) -> Arc<str> {
        locked(&self.0).update(Dataset::Cases, &number.to_string(), "updatedAt", at, change)
    }

    pub fn remove_user(&self, id: &str) {
        self.remove(Dataset::Users, id);
    }

    /// Removes every record with this id or exactly this text.
    pub fn remove(&self, dataset: Dataset, id_or_raw: &str) {
        let mut world = locked(&self.0);
        world.held(dataset).records.retain(|record| &*record.id != id_or_raw && &*record.raw != id_or_raw);
    }

    pub fn clear(&self, dataset: Dataset) {
        locked(&self.0).held(dataset).records.clear();
    }

    /// Every file event in the order of addition, including hidden ones.
    pub fn file_events(&self) -> Vec<Record> {
        self.all(Dataset::FileEvents)
    }

    pub fn audit(&self) -> Vec<Record> {
        self.all(Dataset::Audit)
    }

    pub fn users(&self) -> Vec<Record> {
        self.all(Dataset::Users)
    }

    /// Every case's detail.
    pub fn cases(&self) -> Vec<Record> {
        self.all(Dataset::Cases)
    }

    pub fn all(&self, dataset: Dataset) -> Vec<Record> {
        locked(&self.0).held(dataset).records.clone()
    }

    /// The records that a request sees now. Counts as a request for [`Late::Requests`].
    pub(crate) fn visible(&self, dataset: Dataset) -> Vec<Record> {
        self.visible_if(dataset, |_| true)
    }

    /// Those of them that are meant.
    pub(crate) fn visible_if(&self, dataset: Dataset, is_meant: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut world = locked(&self.0);
        let held = world.held(dataset);
        held.asked += 1;
        let now = clock::now();
        held.records.iter().filter(|record| record.shows(now, held.asked) && is_meant(record)).cloned().collect()
    }

    /// The first such record, visible or not. Doesn't count as a request.
    pub(crate) fn find(&self, dataset: Dataset, is_meant: impl Fn(&Record) -> bool) -> Option<Record> {
        locked(&self.0).held(dataset).records.iter().find(|record| is_meant(record)).cloned()
    }

    /// Whether a request sees the record. Doesn't count as a request.
    pub(crate) fn shows(&self, dataset: Dataset, id: &str) -> bool {
        let mut world = locked(&self.0);
        let held = world.held(dataset);
        let now = clock::now();
        held.records.iter().any(|record| &*record.id == id && record.shows(now, held.asked))
    }

    fn push(&self, dataset: Dataset, raw: String, late: Option<Late>) -> Arc<str> {
        locked(&self.0).push(dataset, None, None, raw, late)
    }

    fn add(
        &self,
        dataset: Dataset,
        times: Vec<DateTime<Utc>>,
        generate: fn(&mut Generator, DateTime<Utc>) -> String,
    ) -> Vec<Record> {
        locked(&self.0).add(dataset, None, times, generate)
    }
}

impl World {
    fn held(&mut self, dataset: Dataset) -> &mut Held {
        self.by_dataset.entry(dataset).or_default()
    }

    fn add(
        &mut self,
        dataset: Dataset,
        parent: Option<&str>,
        times: Vec<DateTime<Utc>>,
        mut generate: impl FnMut(&mut Generator, DateTime<Utc>) -> String,
    ) -> Vec<Record> {
        let before = self.held(dataset).records.len();
        self.generator.begin(times.first().copied().unwrap_or_default());
        for time in times {
            let raw = generate(&mut self.generator, time);
            self.push(dataset, None, None, raw, None);
        }
        let added = &mut self.held(dataset).records[before..];
        if let Some(parent) = parent {
            for record in added.iter_mut() {
                record.parent = Some(parent.into());
            }
        }
        added.to_vec()
    }

    fn push(
        &mut self,
        dataset: Dataset,
        id: Option<String>,
        time: Option<DateTime<Utc>>,
        raw: String,
        late: Option<Late>,
    ) -> Arc<str> {
        self.next_sequence += 1;
        let hidden = late.map(|late| self.hidden(dataset, late));
        let record = Record::new(dataset, self.next_sequence, id, time, raw, hidden);
        let raw = record.raw.clone();
        self.held(dataset).records.push(record);
        raw
    }

    fn update(
        &mut self,
        dataset: Dataset,
        id: &str,
        time_member: &str,
        at: DateTime<Utc>,
        change: impl FnOnce(&str) -> String,
    ) -> Arc<str> {
        let held = self.held(dataset);
        let record = held
            .records
            .iter_mut()
            .find(|record| &*record.id == id)
            .expect("a test changes only records that it added");
        let time = format!("\"{}\"", at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let raw = with_member(&change(&record.raw), time_member, &time);
        *record = Record::new(dataset, record.sequence, None, None, raw, record.hidden);
        record.raw.clone()
    }

    /// Counts requests from now on.
    fn hidden(&mut self, dataset: Dataset, late: Late) -> Late {
        match late {
            Late::Requests(more) => Late::Requests(self.held(dataset).asked + more),
            until @ Late::Until(_) => until,
        }
    }
}

/// `n` instants in order, evenly over `[from, to)`.
fn spread(n: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let nanos = (to - from).num_nanoseconds().unwrap_or(i64::MAX);
    let step = nanos / i64::try_from(n.max(1)).unwrap_or(i64::MAX);
    let offsets = (0..n).map(|i| step * i64::try_from(i).unwrap_or_default());
    offsets.map(|offset| from + TimeDelta::nanoseconds(offset)).collect()
}
