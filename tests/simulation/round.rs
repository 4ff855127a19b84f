//! A round of a plan: the tenant's changes, the run and those beside it, and what happens to them.

use std::time::Duration;

use fastrand::Rng;
use simulator::{Dataset, Endpoint};

use crate::backfill::Step;
use crate::classes::CLASSES;
use crate::weather::{ApiKind, Climate, ENDPOINTS, Storm, Weather, pick};

#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, each yes or no")]
pub struct Round {
    /// The tenant's changes before it.
    pub changes: Vec<Change>,
    pub deadline: Duration,
    /// A run by hand waits for the lease. A scheduled run is skipped.
    pub by_hand: bool,
    /// The run by hand requests the old records.
    pub asks_for_old: bool,
    pub step: Step,
    pub second: Second,
    pub instants: Vec<(Place, Happening)>,
    pub weather: Weather,
    /// The seconds by which the API's clock is ahead.
    pub clock_offset: i64,
    pub latency: Duration,
    pub requests_per_minute: Option<usize>,
    /// After the round:
    pub frees_lease: bool,
    pub cold_start_next: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Second {
    None,
    /// A run of another container, which begins with [`Happening::SecondBegins`].
    Beside {
        by_hand: bool,
        deadline: Duration,
    },
    /// Another run of the same container.
    After,
}

/// A request of the round, by its ordinal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    Api(Endpoint, u64),
    S3 { method: &'static str, class: &'static str, ordinal: u64 },
}

/// Strikes the sender of the request if S3 can tell which it is, otherwise the first container.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    DiesBefore,
    DiesAfter,
    /// It dies, and its write is carried out this much later.
    DiesAndLandsLate(Duration),
    Freezes(Duration),
    /// Frozen until its lease is over. After that it must send nothing to S3.
    FreezesBeyondItsLease,
    TokensAreRevoked,
    SecondBegins,
    SecondBeginsAndFirstFreezes(Duration),
    Changes(Vec<Change>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    FileEvents(usize),
    Audit(usize),
    /// This many at one instant.
    AuditBurst(usize),
    /// Becomes visible some time after its own time.
    LateFileEvent,
    LateAudit,
    User(usize),
    UserIsNew,
    UserIsRemoved(usize),
    /// A single whole reading of the users lacks this one.
    UserIsMissedOnce(usize),
    Case(usize),
    CaseIsNew,
    Malformed(Dataset),
    /// Adds a record of a further stream, or a row to a list of some record.
    Added(Dataset, usize),
    Changed(Dataset, usize),
    /// Changes a record back to its text before the last change.
    ChangedBack(Dataset, usize),
    Removed(Dataset, usize),
    /// Adds the last removed record again.
    Returns(Dataset),
    /// Gives a session an alert, or another one.
    Alerted(usize),
    /// Archives a case, which removes its events.
    Archived(usize),
    /// Adds an event of a time that nobody asks for.
    Astray(Dataset, &'static str),
    /// Adds a record with half a surrogate pair, or puts one into a record. That is sound.
    Half(Dataset),
    /// More than a fifth of a list is gone for good.
    MostAreRemoved(Dataset),
    CaseIsRemoved(usize),
    /// Agents and devices were seen again.
    Seen,
}

pub const MALFORMED: [Dataset; 4] = [Dataset::FileEvents, Dataset::Audit, Dataset::Users, Dataset::Cases];

impl Round {
    pub fn of(random: &mut Rng, climate: &Climate) -> Self {
        let mut round = Self {
            changes: changes(random),
            deadline: Duration::from_millis(random.u64(1_500..6_000)),
            by_hand: random.bool(),
            asks_for_old: random.u8(0..3) == 0,
            step: Step::None,
            second: Second::None,
            instants: Vec::new(),
            weather: climate.weather(random),
            clock_offset: pick(random, &[0, 0, 0, 1, -1, 60, -60, 3_600, -3_600]),
            latency: Duration::from_millis(pick(random, &[0, 0, 1, 5])),
            requests_per_minute: (random.u8(0..12) == 0).then(|| random.usize(10..60)),
            frees_lease: random.u8(0..4) > 0,
            cold_start_next: random.bool(),
        };
        match random.u8(0..20) {
            0..8 => round.dies(random),
            8..11 => round.is_overtaken(random),
            11 => round.outlives_its_lease(random),
            12 | 13 => round.freezes(random),
            _ => {}
        }
        match (round.second, random.u8(0..10)) {
            (Second::None, 0..3) => {
                round.second = Second::Beside {
                    by_hand: random.bool(),
                    deadline: Duration::from_millis(random.u64(1_500..6_000)),
                };
                round.instants.push((anywhere(random, 8), Happening::SecondBegins));
            }
            (Second::None, 3) => round.second = Second::After,
            _ => {}
        }
        if random.u8(0..4) == 0 {
            round.instants.push((Place::Api(pick(random, &ENDPOINTS), random.u64(1..10)), Happening::TokensAreRevoked));
        }
        if random.bool() {
            round.instants.push((anywhere(random, 10), Happening::Changes(changes(random))));
        }
        round
    }

    fn dies(&mut self, random: &mut Rng) {
        let happening = match random.u8(0..6) {
            0 | 1 => Happening::DiesBefore,
            2..5 => Happening::DiesAfter,
            _ => Happening::DiesAndLandsLate(Duration::from_millis(random.u64(50..400))),
        };
        let place = match happening {
            Happening::DiesAndLandsLate(_) => a_write(random),
            _ if random.u8(0..4) > 0 => a_write(random),
            _ => anywhere(random, 10),
        };
        self.instants.push((place, happening));
    }

    /// A run freezes for a while in the middle of a list. Another run comes, and then the first one continues.
    fn is_overtaken(&mut self, random: &mut Rng) {
        let stands_still = Duration::from_millis(random.u64(1_500..3_000));
        let endpoints = [Endpoint::Users, Endpoint::CaseDetail, Endpoint::FileEvents, Endpoint::AuditSearch];
        let at = match random.u8(0..4) {
            // Both have read the checkpoint, and neither has taken the lease.
            0 => Place::S3 { method: "GET", class: "checkpoint", ordinal: 1 },
            _ => Place::Api(pick(random, &endpoints), random.u64(1..4)),
        };
        let class = if random.bool() { "users" } else { "cases" };
        let many = (0..6).flat_map(|_| [Change::User(random.usize(..40)), Change::Case(random.usize(..15))]).collect();
        self.deadline = Duration::from_millis(random.u64(4_500..6_000));
        self.second = Second::Beside { by_hand: random.u8(0..4) == 0, deadline: Duration::from_secs(4) };
        let overtakes = Place::S3 { method: "PUT", class, ordinal: 1 };
        self.instants =
            vec![(at, Happening::SecondBeginsAndFirstFreezes(stands_still)), (overtakes, Happening::Changes(many))];
    }

    /// Lambda may freeze a container at any time and thaw it much later.
    fn outlives_its_lease(&mut self, random: &mut Rng) {
        self.deadline = Duration::from_millis(random.u64(1_500..2_500));
        let ordinal = if random.bool() { 1 } else { random.u64(2..6) };
        self.instants
            .push((Place::S3 { method: "PUT", class: "checkpoint", ordinal }, Happening::FreezesBeyondItsLease));
        if random.bool() {
            self.second = Second::Beside { by_hand: true, deadline: self.deadline + Duration::from_secs(9) };
            self.instants.push((Place::Api(Endpoint::SignIn, 1), Happening::SecondBegins));
        }
    }

    fn freezes(&mut self, random: &mut Rng) {
        let happening = Happening::Freezes(Duration::from_millis(random.u64(100..2_500)));
        self.instants.push((anywhere(random, 8), happening));
    }

    /// The next run reads a dead run's open window first, and the API fails just then.
    pub fn finds_trouble_with_what_was_left(&mut self, random: &mut Rng, dying: &mut Self) {
        let left = dying.instants.iter().find_map(|(place, happening)| match (place, happening) {
            (Place::S3 { class: class @ ("file_events" | "audit"), .. }, Happening::DiesAfter) => Some(*class),
            _ => None,
        });
        let endpoint = match left {
            Some("file_events") => Endpoint::FileEvents,
            Some(_) => Endpoint::AuditCount,
            None => return,
        };
        dying.frees_lease = true;
        let kind = pick(random, &[ApiKind::TimedOut, ApiKind::TimedOut, ApiKind::ServerError]);
        self.weather.api_storms.insert(0, Storm { place: Some(endpoint), from: 1, length: random.u64(1..4), kind });
    }

    /// Keeps only these changes, before it and within it.
    pub fn retain_changes(&mut self, is_kept: impl Fn(&Change) -> bool) {
        self.changes.retain(&is_kept);
        for (_, happening) in &mut self.instants {
            if let Happening::Changes(changes) = happening {
                changes.retain(&is_kept);
            }
        }
    }

    pub fn outliving(&self) -> bool {
        self.instants.iter().any(|(_, happening)| *happening == Happening::FreezesBeyondItsLease)
    }
}

fn a_write(random: &mut Rng) -> Place {
    let classes =
        ["checkpoint", "checkpoint", "known", "file_events", "file_events", "audit", "audit", "users", "cases"];
    let class = pick(random, &classes);
    let most = match class {
        "checkpoint" => 8,
        "file_events" | "audit" => 4,
        // Most runs write these once.
        _ => 1,
    };
    Place::S3 { method: "PUT", class, ordinal: random.u64(1..=most) }
}

fn anywhere(random: &mut Rng, most: u64) -> Place {
    match random.u8(0..4) {
        0 | 1 => Place::Api(pick(random, &ENDPOINTS), random.u64(1..most)),
        2 => a_write(random),
        _ => Place::S3 { method: "GET", class: pick(random, &CLASSES[..8]), ordinal: 1 },
    }
}

fn changes(random: &mut Rng) -> Vec<Change> {
    let count = random.usize(0..6);
    (0..count)
        .map(|_| match random.u8(0..20) {
            0..3 => Change::FileEvents(random.usize(1..30)),
            3..6 => Change::Audit(random.usize(1..30)),
            6 => Change::AuditBurst(random.usize(2..20)),
            7 => Change::LateFileEvent,
            8 => Change::LateAudit,
            9..12 => Change::User(random.usize(..40)),
            12 => Change::UserIsNew,
            13 => Change::UserIsRemoved(random.usize(..40)),
            14 => Change::UserIsMissedOnce(random.usize(..40)),
            15..18 => Change::Case(random.usize(..15)),
            18 => Change::CaseIsNew,
            _ => Change::Malformed(pick(random, &MALFORMED)),
        })
        .collect()
}
