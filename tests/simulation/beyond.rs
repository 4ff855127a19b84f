//! Faults that only a world in memory can have, drawn separately from the rest of the plan: death at any `await`,
//! writes that arrive much later, containers with different clocks, hours that pass, and a siege of lasting faults.

use std::time::Duration;

use fastrand::Rng;
use simulator::{Dataset, Endpoint};

use crate::oddities;
use crate::plan::{Change, Happening, Plan, Round};
use crate::streams;
use crate::weather::pick;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beyond {
    /// One for each round.
    pub odds: Vec<Odds>,
    pub siege: Option<Siege>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Odds {
    /// The time that passes before it.
    pub pause: Duration,
    /// The number of steps after which the first and the second container die.
    pub deaths: [Option<u64>; 2],
    /// The delay of writes whose sender has died.
    pub lands: Duration,
    /// The seconds by which their clocks are ahead. Negative means behind.
    pub ahead: [i64; 2],
    pub third: Option<Third>,
}

/// A third container's run, beside the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Third {
    /// The time from the round's beginning until this run begins.
    pub begins: Duration,
    pub by_hand: bool,
    pub deadline: Duration,
    pub death: Option<u64>,
    pub ahead: i64,
}

/// Faults that last while the world goes on. All runs meet them and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Siege {
    pub lasting: Vec<Lasting>,
    pub phases: Vec<Phase>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    pub changes: Vec<Change>,
    /// Another run dies before those that are checked.
    pub death: Option<u64>,
    /// The time that passes afterwards.
    pub pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lasting {
    /// From its beginning on, more rows are counted than returned.
    NeverAgrees {
        audit: bool,
        by: i64,
    },
    /// A limit for every total.
    Capped {
        audit: bool,
        most: i64,
    },
    Endpoint(Endpoint, How),
    /// A fault of the case that changes first.
    Case(How),
    SignIn(How),
    /// Nothing can be written under keys of this class, or under any key.
    Store {
        class: Option<&'static str>,
        status: u16,
    },
    /// The error of the API's clock, in hours.
    Date(i64),
    /// The list counts fewer than it shows.
    Undercounted(Endpoint),
    /// The rows' times have another name; below, they are numbers.
    Renamed {
        audit: bool,
    },
    Epoch {
        audit: bool,
    },
    /// Each page of file events is empty and names a next one.
    EmptyPages,
    /// The list shows, and counts, half of the users.
    Halved,
    /// The answers come from a cache, whose `Date` is so many hours old.
    Aged(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// 403 in the API's form; below, in a firewall's.
    Forbidden,
    Firewall,
    ServerError,
    /// A 200 with a page of HTML.
    Html,
    Dropped,
    /// 401: the credentials are wrong.
    Refused,
    NotFound,
    /// 206, with all of the page.
    InPart,
    TooManyRequests,
    /// It accepts the connection and never answers.
    Silent,
}

const HOWS: [How; 5] = [How::Forbidden, How::Firewall, How::ServerError, How::Html, How::Dropped];
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

impl Plan {
    pub fn in_memory(seed: u64) -> Self {
        let plan = Self::of(seed);
        let mut random = Rng::with_seed(seed ^ 0x2545_f491_4f6c_dd1d);
        // These seeds are played by processes too.
        if random.u8(0..4) == 0 {
            return plan;
        }
        let odds = plan.rounds.iter().map(|round| Odds::of(round, &mut random)).collect();
        let siege = random.bool().then(|| Siege::of(&plan, &mut random));
        let mut beyond = Beyond { odds, siege };
        beyond.goes_further(&plan, &mut Rng::with_seed(seed ^ 0x6c62_272e_07bb_0142));
        if oddities::SEEDS.contains(&seed) {
            beyond.lasts_oddly(&mut Rng::with_seed(seed ^ 0xe703_7ed1_a0b4_28db));
        }
        let plan = Self { beyond, ..plan };
        plan.with_sound_rows_where_all_are_doubted()
    }
}

impl Plan {
    /// A row that no parser reads stays stuck, and is not set aside, where most rows around it could not be read for a
    /// while. So there is none where that lasts.
    fn with_sound_rows_where_all_are_doubted(mut self) -> Self {
        let lasting = self.beyond.siege.iter().flat_map(|siege| siege.lasting.clone());
        for audit in lasting.filter_map(Lasting::doubted).collect::<Vec<_>>() {
            let doubted = if audit { Dataset::Audit } else { Dataset::FileEvents };
            let is_sound = |change: &Change| !matches!(change, Change::Malformed(dataset) if *dataset == doubted);
            self.tenant.malformed.retain(|dataset| *dataset != doubted);
            for round in &mut self.rounds {
                round.changes.retain(is_sound);
                for (_, happening) in &mut round.instants {
                    if let Happening::Changes(changes) = happening {
                        changes.retain(is_sound);
                    }
                }
            }
        }
        self
    }
}

impl Beyond {
    /// Drawn apart from the rest, in some schedules: a third container, clocks that are ahead, and more that lasts.
    fn goes_further(&mut self, plan: &Plan, random: &mut Rng) {
        if random.u8(0..4) > 0 {
            return;
        }
        for (odds, round) in self.odds.iter_mut().zip(&plan.rounds) {
            odds.third = random.bool().then(|| Third::of(random));
            if odds.ahead == [0, 0] && round.clock_offset == 0 && !round.outliving() && random.u8(0..3) == 0 {
                odds.ahead = [pick(random, &[3, 20, 120, 840]), pick(random, &[0, 20, -20])];
            }
        }
        if let Some(siege) = &mut self.siege
            && random.bool()
        {
            siege.lasts_too(Lasting::further(plan, random));
        }
    }

    /// Of the seeds that have oddities, half of the sieges have one that lasts.
    fn lasts_oddly(&mut self, random: &mut Rng) {
        if let Some(siege) = &mut self.siege
            && random.bool()
        {
            let lasting = Lasting::odd(random);
            if random.bool() {
                siege.lasting.clear();
            }
            siege.lasts_too(lasting);
            let is_unreadable = lasting.doubted().is_some();
            for change in siege.phases.iter_mut().flat_map(|phase| &mut phase.changes).filter(|_| is_unreadable) {
                // More than are set aside one by one.
                if let Change::FileEvents(count) | Change::Audit(count) = change {
                    *count += 10;
                }
            }
        }
    }
}

impl Third {
    fn of(random: &mut Rng) -> Self {
        Self {
            begins: Duration::from_millis(random.u64(0..3_000)),
            by_hand: random.bool(),
            deadline: Duration::from_millis(random.u64(1_500..6_000)),
            death: (random.u8(0..3) == 0).then(|| random.u64(1..500)),
            ahead: pick(random, &[0, 0, 0, -20, 20]),
        }
    }
}

impl Odds {
    fn of(round: &Round, random: &mut Rng) -> Self {
        let mut odds = Self::default();
        if random.u8(0..3) == 0 {
            odds.pause = pick(random, &[MINUTE, 17 * MINUTE, HOUR, 7 * HOUR]);
        }
        if random.bool() {
            odds.deaths[0] = Some(random.u64(1..500));
        }
        if random.u8(0..4) == 0 {
            odds.deaths[1] = Some(random.u64(1..500));
        }
        odds.lands =
            pick(random, &[Duration::ZERO, Duration::from_millis(300), 5 * Duration::from_secs(1), 9 * MINUTE]);
        if round.clock_offset == 0 && !round.outliving() && random.u8(0..6) == 0 {
            odds.ahead = [pick(random, &[-120, -20, -3]), pick(random, &[0, -20])];
        }
        odds
    }
}

impl Siege {
    fn of(plan: &Plan, random: &mut Rng) -> Self {
        let count = pick(random, &[1, 1, 1, 2, 3]);
        let lasting = (0..count).map(|_| Lasting::of(plan, random)).collect();
        // Sessions that began long ago are not read any more.
        let pauses = [MINUTE, 40 * MINUTE, 2 * HOUR, 7 * HOUR, 26 * HOUR];
        let longest = if plan.further.has_sessions() { 3 } else { pauses.len() };
        let phases = (0..random.usize(1..=3)).map(|_| {
            let first = random.usize(..15);
            Phase {
                changes: vec![
                    Change::FileEvents(random.usize(1..30)),
                    Change::Audit(random.usize(1..30)),
                    Change::User(random.usize(..40)),
                    Change::Case(first),
                    Change::Case(random.usize(..15)),
                ],
                death: (random.u8(0..3) == 0).then(|| random.u64(1..400)),
                pause: pick(random, &pauses[..longest]),
            }
        });
        let phases = phases.collect();
        Self { lasting, phases }
    }
}

impl Siege {
    fn lasts_too(&mut self, lasting: Lasting) {
        if let Lasting::Endpoint(_, How::NotFound) | Lasting::Case(How::NotFound) | Lasting::Halved = lasting {
            // What can't be found for a day is gone.
            for phase in &mut self.phases {
                phase.pause = phase.pause.min(2 * HOUR);
            }
        }
        self.lasting.push(lasting);
    }
}

impl Lasting {
    fn odd(random: &mut Rng) -> Self {
        let audit = random.bool();
        match random.u8(0..8) {
            0 | 1 => Self::Renamed { audit },
            2 => Self::Epoch { audit },
            3 => Self::EmptyPages,
            4 => Self::Halved,
            5 => Self::Aged(pick(random, &[1, 6, 30])),
            // In 1970.
            6 => Self::Date(-499_000),
            // A count of none is believed. So windows are no place for this.
            _ => Self::Undercounted(Endpoint::CaseList),
        }
    }

    fn of(plan: &Plan, random: &mut Rng) -> Self {
        let audit = random.bool();
        match random.u8(0..10) {
            0 | 1 => Self::NeverAgrees { audit, by: pick(random, &[1, 1, 7]) },
            // A window with as many rows as the cap counts the same after a late one.
            2 if plan.has_late_ones => Self::NeverAgrees { audit, by: 1 },
            2 => Self::Capped { audit, most: pick(random, &[3, 10, 50]) },
            3 => Self::Case(pick(random, &HOWS)),
            4 => Self::SignIn(pick(random, &[How::Refused, How::ServerError, How::Firewall, How::Dropped])),
            5 => Self::Store { class: None, status: pick(random, &[403, 503]) },
            6 => {
                let classes = ["file_events", "audit", "users", "cases", "manifests", "known", "collector_health"];
                Self::Store { class: Some(pick(random, &classes)), status: pick(random, &[403, 503]) }
            }
            7 => Self::Date(pick(random, &[-30, -1, 1, 30])),
            8 => {
                let endpoints = plan.further.endpoints();
                Self::Endpoint(pick(random, &endpoints), pick(random, &HOWS))
            }
            _ => {
                use Endpoint::{AuditCount, AuditSearch, CaseDetail, CaseList, FileEvents, Users};
                let endpoints = [FileEvents, AuditSearch, AuditCount, Users, CaseList, CaseDetail];
                Self::Endpoint(pick(random, &endpoints), pick(random, &HOWS))
            }
        }
    }

    fn further(plan: &Plan, random: &mut Rng) -> Self {
        let how = pick(random, &[How::NotFound, How::NotFound, How::InPart, How::TooManyRequests, How::Silent]);
        let endpoints = plan.further.endpoints();
        match random.u8(0..8) {
            0 | 1 => Self::Undercounted(Endpoint::Users),
            2 => Self::SignIn(pick(random, &[How::Forbidden, How::TooManyRequests, How::Silent])),
            3 => Self::Case(how),
            // For a record without known entries, "not found" means that it has no such list.
            4 | 5 => {
                let how = pick(random, &[How::InPart, How::TooManyRequests, How::Silent]);
                Self::Endpoint(pick(random, &endpoints), how)
            }
            _ => {
                use Endpoint::{AuditCount, AuditSearch, CaseDetail, CaseList, FileEvents, Users};
                Self::Endpoint(pick(random, &[FileEvents, AuditSearch, AuditCount, Users, CaseList, CaseDetail]), how)
            }
        }
    }

    /// The event stream of which no row can be read.
    fn doubted(self) -> Option<bool> {
        match self {
            Self::Renamed { audit } | Self::Epoch { audit } => Some(audit),
            _ => None,
        }
    }

    /// Whether new records of a stream may stay unstored while this lasts.
    pub fn holds_up(self, stream: &str) -> bool {
        match self {
            Self::NeverAgrees { audit, .. }
            | Self::Capped { audit, .. }
            | Self::Renamed { audit }
            | Self::Epoch { audit } => stream == event_stream(audit),
            Self::EmptyPages => stream == "file_events",
            Self::Halved => matches!(stream, "users" | "user_roles"),
            Self::Case(_) => matches!(stream, "cases" | "case_file_events"),
            // A 429 pauses all requests of the process.
            Self::SignIn(_) | Self::Store { class: None, .. } | Self::Endpoint(_, How::TooManyRequests) => true,
            Self::Store { class: Some("manifests"), .. } | Self::Date(_) | Self::Aged(_) => false,
            Self::Store { class: Some("known"), .. } => !matches!(stream, "file_events" | "audit"),
            Self::Store { class: Some(class), .. } => class == stream,
            // An answer with more rows than it counts is an error.
            Self::Undercounted(endpoint) | Self::Endpoint(endpoint, _) => reads(stream, endpoint),
        }
    }

    /// Whether no run can be complete while this lasts and everything keeps changing.
    pub fn must_be_told(self) -> bool {
        match self {
            Self::Capped { .. } | Self::Date(_) | Self::Aged(_) | Self::Undercounted(_) | Self::Halved => false,
            // An inventory may have no changes, and then its known records stay the same.
            Self::Store { class, .. } => matches!(class, None | Some("file_events" | "audit" | "manifests")),
            // After a while it counts as a missing permission, which is reported in another way.
            Self::Endpoint(endpoint, how) => how != How::Forbidden && is_always_asked(endpoint),
            Self::NeverAgrees { .. }
            | Self::Case(_)
            | Self::SignIn(_)
            | Self::Renamed { .. }
            | Self::Epoch { .. }
            | Self::EmptyPages => true,
        }
    }
}

pub fn event_stream(audit: bool) -> &'static str {
    if audit { "audit" } else { "file_events" }
}

/// Whether every run that gets so far requests it. Other endpoints are requested only if there is a reason.
fn is_always_asked(endpoint: Endpoint) -> bool {
    use Endpoint::{AuditCount, AuditSearch, CaseDetail, CaseList, FileEvents, Users};
    matches!(endpoint, FileEvents | AuditSearch | AuditCount | CaseList | CaseDetail | Users)
}

fn reads(stream: &str, endpoint: Endpoint) -> bool {
    match stream {
        "file_events" => endpoint == Endpoint::FileEvents,
        "audit" => matches!(endpoint, Endpoint::AuditSearch | Endpoint::AuditCount),
        // These streams read their parents' lists.
        "user_roles" => matches!(endpoint, Endpoint::Users | Endpoint::UserRoles),
        "case_file_events" => matches!(endpoint, Endpoint::CaseList | Endpoint::CaseDetail) || is_own(stream, endpoint),
        _ => is_own(stream, endpoint),
    }
}

fn is_own(stream: &str, endpoint: Endpoint) -> bool {
    streams::named(stream).is_some_and(|stream| stream.endpoints.contains(&endpoint))
}
