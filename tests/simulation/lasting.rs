//! Faults that last while the world goes on, and what they excuse.

use fastrand::Rng;
use simulator::{Dataset, Endpoint, SecretsFault};

use crate::beyond::Phase;
use crate::further::Further;
use crate::oddities;
use crate::plan::{Pages, Plan};
use crate::rarities::Trouble;
use crate::round::Change;
use crate::streams;
use crate::weather::pick;

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
    /// A firewall's page is the answer to everything.
    Firewall,
    /// The secret can't be read, or is another client's.
    Secret(Trouble),
    /// S3 never answers a write under keys of this class.
    Silent(&'static str),
    /// One record's list can't be found.
    ListOf(Endpoint),
    /// The list counts only its full pages, of this size.
    FullPages(Endpoint, usize),
    /// A session counts more events than it shows: the one that changes, by its number.
    Session(usize),
    /// S3 refuses one key: the first of this class that is asked for with this method.
    Key {
        method: &'static str,
        class: &'static str,
        status: u16,
    },
    /// Each run dies that reads the records with which the phase begins.
    Deadly {
        audit: bool,
    },
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
    /// 401: the credentials are wrong; below, 400: they may not sign in.
    Refused,
    Unauthorized,
    NotFound,
    /// 206, with all of the page.
    InPart,
    TooManyRequests,
    /// It accepts the connection and never answers.
    Silent,
}

const HOWS: [How; 5] = [How::Forbidden, How::Firewall, How::ServerError, How::Html, How::Dropped];

impl Lasting {
    pub fn odd(random: &mut Rng) -> Self {
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

    pub fn of(plan: &Plan, random: &mut Rng) -> Self {
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
            8 if !plan.further.streams.is_empty() => {
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

    pub fn further(plan: &Plan, random: &mut Rng) -> Self {
        let how = pick(random, &[How::NotFound, How::NotFound, How::InPart, How::TooManyRequests, How::Silent]);
        let endpoints = plan.further.endpoints();
        match random.u8(0..8) {
            0 | 1 => Self::Undercounted(Endpoint::Users),
            2 => Self::SignIn(pick(random, &[How::Forbidden, How::TooManyRequests, How::Silent])),
            3 => Self::Case(how),
            // For a record without known entries, "not found" means that it has no such list.
            4 | 5 if !endpoints.is_empty() => {
                let how = pick(random, &[How::InPart, How::TooManyRequests, How::Silent]);
                Self::Endpoint(pick(random, &endpoints), how)
            }
            _ => {
                use Endpoint::{AuditCount, AuditSearch, CaseDetail, CaseList, FileEvents, Users};
                Self::Endpoint(pick(random, &[FileEvents, AuditSearch, AuditCount, Users, CaseList, CaseDetail]), how)
            }
        }
    }

    pub fn rare(further: &Further, pages: Pages, random: &mut Rng) -> Self {
        let lists: Vec<Endpoint> =
            further.endpoints().into_iter().filter(|endpoint| children(*endpoint).is_some()).collect();
        match random.u8(0..12) {
            0 => Self::Firewall,
            1 => Self::SignIn(How::Unauthorized),
            2 => Self::Secret(Trouble::Wrong),
            3 => Self::Secret(Trouble::Fault(pick(random, &[SecretsFault::Hang, SecretsFault::AccessDenied]))),
            4 => {
                Self::Silent(pick(random, &["file_events", "audit", "users", "cases", "manifests", "collector_health"]))
            }
            5..8 if !lists.is_empty() => Self::ListOf(pick(random, &lists)),
            8 if further.has("agents") => Self::FullPages(Endpoint::Agents, pages.others),
            8 | 9 if further.has_sessions() => Self::FullPages(Endpoint::Sessions, pages.others.min(50)),
            10 if further.has("session_events") => Self::Session(random.usize(..20)),
            _ => Self::FullPages(Endpoint::AuditCount, pages.audit),
        }
    }

    /// The kinds of [`besieged`](crate::besieged) schedules.
    pub fn narrow(plan: &Plan, random: &mut Rng) -> Self {
        let events: Vec<bool> = [false, true].into_iter().filter(|audit| plan.collects(event_stream(*audit))).collect();
        let lists = ["users", "cases"]
            .into_iter()
            .filter(|stream| plan.collects(stream))
            .chain(plan.further.streams.iter().copied());
        let lists: Vec<&str> = lists.collect();
        let status = pick(random, &[403, 503]);
        match random.u8(0..10) {
            0..3 => Self::Deadly { audit: pick(random, &events) },
            3..6 => Self::Key { method: "PUT", class: event_stream(pick(random, &events)), status },
            6 | 7 if !lists.is_empty() => Self::Key { method: "PUT", class: pick(random, &lists), status },
            8 if !lists.is_empty() => Self::Key { method: pick(random, &["PUT", "GET"]), class: "known", status },
            _ => Self::Key {
                method: "PUT",
                class: pick(random, &["checkpoint", "manifests", "collector_health"]),
                status,
            },
        }
    }

    /// The event stream of which no row can be read.
    pub fn doubted(self) -> Option<bool> {
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
            Self::SignIn(_)
            | Self::Store { class: None, .. }
            | Self::Endpoint(_, How::TooManyRequests)
            | Self::Firewall
            | Self::Secret(_)
            | Self::Key { class: "checkpoint", .. } => true,
            Self::Store { class: Some("manifests"), .. } | Self::Date(_) | Self::Aged(_) | Self::Deadly { .. } => false,
            Self::Store { class: Some("known"), .. } | Self::Key { class: "known", .. } => {
                !matches!(stream, "file_events" | "audit")
            }
            // Its window is stuck, and holds up no other. A list has one reading at a time, and finishes it in a later run.
            Self::Key { class, .. } => class == stream && !matches!(class, "file_events" | "audit"),
            Self::Store { class: Some(class), .. } | Self::Silent(class) => class == stream,
            Self::ListOf(endpoint) => is_own(stream, endpoint),
            // Lists with more rows than they count are believed, windows are not.
            Self::FullPages(endpoint, _) => stream == "audit" && endpoint == Endpoint::AuditCount,
            Self::Session(_) => stream == "session_events",
            // An answer with more rows than it counts is an error.
            Self::Undercounted(endpoint) | Self::Endpoint(endpoint, _) => reads(stream, endpoint),
        }
    }

    /// Whether this strikes anything where these streams are collected.
    pub fn strikes_one_of(self, collected: &[&str]) -> bool {
        let is_everywhere = match self {
            Self::Date(_) | Self::Aged(_) | Self::Key { .. } | Self::Deadly { .. } => true,
            Self::Store { class: Some(class), .. } | Self::Silent(class) => {
                matches!(class, "manifests" | "collector_health")
            }
            _ => false,
        };
        // A 429 holds up everything, where anything asks this endpoint.
        let where_it_strikes = match self {
            Self::Endpoint(endpoint, How::TooManyRequests) => Self::Endpoint(endpoint, How::ServerError),
            lasting => lasting,
        };
        is_everywhere || collected.iter().any(|stream| where_it_strikes.holds_up(stream))
    }

    /// Whether a part of a stream may be stuck while this lasts.
    pub fn may_stick(self, stream: &str) -> bool {
        match self {
            Self::Key { class, .. } => class == stream || self.holds_up(stream),
            Self::Deadly { audit } => stream == event_stream(audit),
            lasting => lasting.holds_up(stream),
        }
    }

    /// Whether no run can be complete while this lasts and everything keeps changing, as in this phase.
    pub fn must_be_told(self, phase: &Phase, pages: &Pages) -> bool {
        match self {
            Self::Date(_)
            | Self::Aged(_)
            | Self::Undercounted(_)
            | Self::Halved
            // A pass that goes on behind the list comes to it only in the next run.
            | Self::ListOf(_)
            | Self::FullPages(..)
            | Self::Session(_)
            | Self::Deadly { .. } => false,
            // A window that is cut has other keys.
            Self::Key { class, .. } => class == "checkpoint",
            Self::Capped { audit, most } => phase.changes.iter().any(|change| match change {
                // They are of one instant, so no window can be cut between them.
                Change::FileEvents(count) if !audit => i64::try_from(*count).is_ok_and(|count| count > most),
                Change::Audit(count) if audit => i64::try_from(*count).is_ok_and(|count| count > most),
                _ => false,
            }),
            // A window that is read again has pages of one row less each time, and short pages are left alone.
            Self::Renamed { audit } | Self::Epoch { audit } => {
                (if audit { pages.audit } else { pages.file_events }) >= oddities::LEAST_RENAMED + 2
            }
            Self::Silent(class) => matches!(class, "file_events" | "audit" | "manifests"),
            // An inventory may have no changes, and then its known records stay the same.
            Self::Store { class, .. } => matches!(class, None | Some("file_events" | "audit" | "manifests")),
            // After a while it counts as a missing permission, which is reported in another way.
            Self::Endpoint(endpoint, how) => how != How::Forbidden && is_always_asked(endpoint),
            Self::NeverAgrees { .. }
            | Self::Case(_)
            | Self::SignIn(_)
            | Self::EmptyPages
            | Self::Firewall
            | Self::Secret(_) => true,
        }
    }
}

/// The records of a list that each record of another dataset has.
pub fn children(endpoint: Endpoint) -> Option<Dataset> {
    Some(match endpoint {
        Endpoint::WatchlistMembers => Dataset::WatchlistMembers,
        Endpoint::IncludedActors => Dataset::IncludedActors,
        Endpoint::ExcludedActors => Dataset::ExcludedActors,
        Endpoint::IncludedDepartments => Dataset::IncludedDepartments,
        Endpoint::IncludedDirectoryGroups => Dataset::IncludedDirectoryGroups,
        Endpoint::RuleUsers => Dataset::RuleUsers,
        Endpoint::Custodians => Dataset::Custodians,
        Endpoint::UserRoles => Dataset::UserRoles,
        _ => return None,
    })
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
