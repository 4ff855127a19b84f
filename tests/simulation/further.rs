//! The further streams of a schedule, and their changes. They are drawn separately, so that the rest of the plan stays
//! the same whatever streams exist.

use std::time::Duration;

use fastrand::Rng;
use simulator::{Dataset, Endpoint};

use crate::classes::OTHER_KNOWN;
use crate::plan::Plan;
use crate::round::{Change, Happening, Place, Round, Second};
use crate::streams::{self, Stream};
use crate::weather::{ApiKind, S3Kind, Storm, pick};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Further {
    pub streams: Vec<&'static str>,
    /// The number of records of each at first; below, of sessions that began long ago.
    pub records: usize,
    pub old_sessions: usize,
}

impl Further {
    pub fn of(seed: u64) -> (Self, Rng) {
        let mut random = Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut names: Vec<_> = streams::FURTHER.iter().map(|stream| stream.name).collect();
        random.shuffle(&mut names);
        names.truncate(random.usize(2..=4));
        let (records, old_sessions) = (random.usize(6..16), pick(&mut random, &[0, 5, 20]));
        // Drawn apart, so that most seeds play the same as before there were such streams.
        let mut apart = Rng::with_seed(seed ^ 0xd1b5_4a32_d192_ed03);
        names.extend(streams::LATER.iter().filter(|_| apart.u8(0..6) == 0).map(|stream| stream.name));
        (Self { streams: names, records, old_sessions }, random)
    }

    pub fn picked(&self) -> impl Iterator<Item = &'static Stream> {
        self.streams.iter().filter_map(|name| streams::named(name))
    }

    pub fn has(&self, name: &str) -> bool {
        self.streams.contains(&name)
    }

    pub fn has_sessions(&self) -> bool {
        self.has("sessions") || self.has("session_events")
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.picked().flat_map(|stream| stream.endpoints.iter().copied()).collect()
    }

    fn changes(&self, random: &mut Rng) -> Vec<Change> {
        let count = random.usize(0..7);
        (0..count).filter_map(|_| Some(change(streams::named(pick(random, &self.streams))?, random))).collect()
    }
}

fn change(stream: &Stream, random: &mut Rng) -> Change {
    let dataset = pick(random, &stream.parts.iter().map(|part| part.dataset).collect::<Vec<_>>());
    let n = random.usize(..100);
    match (dataset, random.u8(0..12)) {
        (Dataset::Customer, _) => Change::Changed(dataset, 0),
        (Dataset::Sessions, 0..4) => Change::Added(dataset, n),
        (Dataset::Sessions, 4..8) => Change::Changed(dataset, n),
        (Dataset::Sessions, 8) => Change::ChangedBack(dataset, n),
        (Dataset::Sessions, _) | (Dataset::SessionEvents, 0..3) => Change::Alerted(n),
        (Dataset::SessionEvents, 3 | 4) => Change::Added(Dataset::Sessions, n),
        (Dataset::CaseFileEvents, 0..2) => Change::Archived(n),
        (Dataset::SessionEvents | Dataset::CaseFileEvents, _) | (_, 0..4) => Change::Added(dataset, n),
        (Dataset::Departments, 4..9) | (_, 9 | 10) => Change::Removed(dataset, n),
        (Dataset::Departments, _) | (_, 11) => Change::Returns(dataset),
        (_, 8) => Change::ChangedBack(dataset, n),
        _ => Change::Changed(dataset, n),
    }
}

impl Plan {
    /// Adds the further streams' changes and faults to the plan.
    pub fn with_further(mut self) -> Self {
        let (further, mut random) = Further::of(self.seed);
        for round in &mut self.rounds {
            round.has_further(&further, &mut random);
        }
        self.further = further;
        self
    }
}

impl Round {
    fn has_further(&mut self, further: &Further, random: &mut Rng) {
        self.changes.extend(further.changes(random));
        self.weather.further = further.endpoints();
        let at = Place::Api(pick(random, &self.weather.further), random.u64(1..6));
        let class = if random.u8(0..4) == 0 { OTHER_KNOWN } else { pick(random, &further.streams) };
        let write = Place::S3 { method: "PUT", class, ordinal: 1 };
        // Rounds with other faults mostly get none of these.
        let is_free = self.instants.is_empty() || random.u8(0..10) == 0;
        if random.bool() {
            self.instants.push((at, Happening::Changes(further.changes(random))));
        }
        match random.u8(0..8) {
            0 | 1 if is_free => self.instants.push((write, Happening::DiesAfter)),
            2 if is_free => self.instants.push((write, Happening::DiesBefore)),
            3 if is_free => {
                let lands = Duration::from_millis(random.u64(50..400));
                self.instants.push((write, Happening::DiesAndLandsLate(lands)));
            }
            4 if is_free && self.second == Second::None => self.is_overtaken_in(at, further, random),
            _ => {}
        }
        match random.u8(0..10) {
            0 => self.weather.api_storms.push(Storm {
                place: Some(pick(random, &self.weather.further)),
                from: random.u64(1..10),
                length: random.u64(1..8),
                kind: pick(random, &[ApiKind::ShiftPages, ApiKind::NoList, ApiKind::ServerError, ApiKind::TotalOff]),
            }),
            1 => self.weather.s3_storms.push(Storm {
                place: Some(class),
                from: 1,
                length: 1_000,
                kind: S3Kind::SlowDown,
            }),
            _ => {}
        }
    }

    /// A run freezes in the middle of such a list. Another run comes, and then the first one continues.
    fn is_overtaken_in(&mut self, at: Place, further: &Further, random: &mut Rng) {
        let lasts = Duration::from_millis(random.u64(1_500..3_000));
        self.deadline = Duration::from_millis(random.u64(4_500..6_000));
        self.second = Second::Beside { by_hand: random.u8(0..4) == 0, deadline: Duration::from_secs(4) };
        let overtakes = Place::S3 { method: "PUT", class: pick(random, &further.streams), ordinal: 1 };
        self.instants.insert(0, (at, Happening::SecondBeginsAndFirstFreezes(lasts)));
        self.instants.push((overtakes, Happening::Changes(further.changes(random))));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_stream_comes_up_often() {
        let mut often: BTreeMap<&str, usize> = BTreeMap::new();
        for seed in 0..300 {
            for name in Further::of(seed).0.streams {
                *often.entry(name).or_default() += 1;
            }
        }
        assert_eq!(often.len(), streams::FURTHER.len() + streams::LATER.len());
        assert!(often.values().all(|times| *times >= 20), "{often:?}");
    }
}
