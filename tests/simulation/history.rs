//! The versions of a stream's records that the API has shown, and whether the bucket has the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::oracle::{Wrong, wrong};
use crate::streams::Stream;

/// The line that the API showed, or none if it didn't show the record; and since when.
type State = (DateTime<Utc>, Option<Arc<str>>);

/// The states of each record in order.
#[derive(Default)]
pub struct History(BTreeMap<Arc<str>, Vec<State>>);

/// The stored lines of each record in order. None is a tombstone.
pub type Stored = BTreeMap<Arc<str>, Vec<Option<Arc<str>>>>;

impl History {
    /// Notes the present records.
    pub fn note(&mut self, now: DateTime<Utc>, lines: Vec<(String, Arc<str>)>) {
        let shown: BTreeSet<&str> = lines.iter().map(|(key, _)| key.as_str()).collect();
        for (key, states) in &mut self.0 {
            if !shown.contains(&**key) && states.last().is_some_and(|(_, last)| last.is_some()) {
                states.push((now, None));
            }
        }
        for (key, line) in lines {
            let states = self.0.entry(key.into()).or_default();
            if states.last().is_none_or(|(_, last)| last.as_ref() != Some(&line)) {
                states.push((now, Some(line)));
            }
        }
    }

    /// Notes that for a while the API may not have shown these records.
    pub fn note_hidden(&mut self, now: DateTime<Utc>, is_hidden: impl Fn(&str) -> bool) {
        for (_, states) in self.0.iter_mut().filter(|(key, _)| is_hidden(key)) {
            if let Some((_, Some(line))) = states.last().cloned() {
                states.extend([(now, None), (now, Some(line))]);
            }
        }
    }

    /// The existing records.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(key, states)| Some((&**key, states.last()?.1.as_deref()?)))
    }

    pub fn gone(&self) -> usize {
        self.0.len() - self.shown().count()
    }

    /// Checks that the bucket has no state that the API didn't show, and none twice in a row. It may lack some, because
    /// the collector doesn't look all the time. `may_repeat`: the last one may be there twice.
    pub fn allows(&self, stream: &Stream, stored: &Stored, may_repeat: bool) -> Result<(), Wrong> {
        for (key, lines) in stored {
            let mut lines = lines.clone();
            if may_repeat {
                lines.dedup();
            }
            let told = |line: &Option<Arc<str>>| line.as_deref().map_or("its tombstone".to_owned(), excerpt);
            let states = self.0.get(key).map(Vec::as_slice).unwrap_or_default();
            if let Some(odd) = lines.iter().find(|line| !states.iter().any(|(_, state)| state == *line)) {
                return Err(wrong("altered", format!("{}: there never was {key}: {}", stream.name, told(odd))));
            }
            if let Some((twice, _)) = lines.iter().zip(lines.iter().skip(1)).find(|(line, next)| line == next) {
                return Err(wrong("twice", format!("{}: {key}, unchanged: {}", stream.name, told(twice))));
            }
            let mut left = states.iter();
            if let Some(odd) = lines.iter().find(|line| !left.any(|(_, state)| state == *line)) {
                let how = format!("{}: {key}, again or too late: {}", stream.name, told(odd));
                return Err(wrong("twice", how));
            }
            if lines.first().is_some_and(Option::is_none) {
                return Err(wrong("altered", format!("{}: a tombstone of {key}, which is not stored", stream.name)));
            }
        }
        Ok(())
    }

    /// Checks that every record is stored that hasn't changed since before the covered time, except those that are
    /// `excused`.
    pub fn is_told_to(
        &self,
        covered_to: DateTime<Utc>,
        stream: &Stream,
        stored: &Stored,
        excused: impl Fn(&str) -> bool,
    ) -> Result<(), Wrong> {
        let covered = self.0.iter().filter(|(_, states)| states.last().is_some_and(|(since, _)| *since < covered_to));
        match self.lacking(stored, covered.map(|(key, _)| &**key).filter(|key| !excused(key))) {
            None => Ok(()),
            Some(how) => Err(wrong("covered, but not stored", format!("{}: {how}", stream.name))),
        }
    }

    /// Checks that the newest version of every record is stored, and that deleted ones have a tombstone if that is
    /// possible.
    pub fn is_told(&self, stream: &Stream, stored: &Stored, can_tell_gone: bool) -> Result<(), Wrong> {
        if let Some(how) = self.lacking(stored, self.0.keys().map(|key| &**key)) {
            return Err(wrong("lost", format!("{}: {how}", stream.name)));
        }
        let is_gone =
            |key: &str| self.0.get(key).and_then(|states| states.last()).is_some_and(|(_, line)| line.is_none());
        let untold = stored.iter().find(|(key, lines)| is_gone(key) && lines.last().is_some_and(Option::is_some));
        match untold.filter(|_| stream.tells_deleted && can_tell_gone) {
            Some((key, _)) => Err(wrong("lost", format!("{}: {key} is gone and has no tombstone", stream.name))),
            None => Ok(()),
        }
    }

    fn lacking<'a>(&self, stored: &Stored, keys: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut keys = keys.filter_map(|key| Some((key, self.0.get(key)?.last()?.1.as_ref()?)));
        let last = |key: &str| stored.get(key).and_then(|lines| lines.last());
        let (key, line) = keys.find(|(key, line)| last(key).is_none_or(|last| last.as_ref() != Some(*line)))?;
        let instead = match last(key) {
            None => "nothing".to_owned(),
            Some(None) => "its tombstone".to_owned(),
            Some(Some(line)) => excerpt(line),
        };
        Some(format!("{key} is not stored as it is now: {}, but {instead}", excerpt(line)))
    }
}

/// Whether a session began recently enough to be read in every run, with some time for the run itself.
pub fn began_lately(session: &str, covered_to: DateTime<Utc>) -> bool {
    began(session).is_some_and(|began| began > covered_to - TimeDelta::minutes(110))
}

/// The time at which a session began, which the simulated tenant writes at the end of its id.
pub fn began(session: &str) -> Option<DateTime<Utc>> {
    session.rsplit('_').next().and_then(|began| began.parse().ok()).and_then(DateTime::from_timestamp_millis)
}

fn excerpt(line: &str) -> String {
    line.chars().take(160).collect()
}
