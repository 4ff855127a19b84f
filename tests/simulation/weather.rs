//! The random faults of a round: which kinds, how often, and where several follow each other. Each is decided only by
//! its place: seed, round, endpoint (or method and class of key) and ordinal.
//!
//! A fault may be odd, but must not be a lie that nobody could detect. A page that is the whole answer to another
//! question, or a total that is too small, would look like the truth.

use std::time::Duration;

use fastrand::Rng;
use simulator::http::Request;
use simulator::{Endpoint, Fault, S3Fault};

use crate::classes::CLASSES;

pub const ENDPOINTS: [Endpoint; 7] = [
    Endpoint::SignIn,
    Endpoint::FileEvents,
    Endpoint::AuditSearch,
    Endpoint::AuditCount,
    Endpoint::Users,
    Endpoint::CaseList,
    Endpoint::CaseDetail,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKind {
    RateLimited,
    ServerError,
    CutBody,
    BrokenJson,
    Html,
    Dropped,
    Unauthorized,
    Late,
    Hang,
    RepeatPage,
    ShiftPages,
    NoList,
    NewestFirst,
    OldestFirst,
    InvalidPageToken,
    TimedOut,
    Problems,
    TotalOff,
}

const API_KINDS: [ApiKind; 18] = [
    ApiKind::RateLimited,
    ApiKind::ServerError,
    ApiKind::CutBody,
    ApiKind::BrokenJson,
    ApiKind::Html,
    ApiKind::Dropped,
    ApiKind::Unauthorized,
    ApiKind::Late,
    ApiKind::Hang,
    ApiKind::RepeatPage,
    ApiKind::ShiftPages,
    ApiKind::NoList,
    ApiKind::NewestFirst,
    ApiKind::OldestFirst,
    ApiKind::InvalidPageToken,
    ApiKind::TimedOut,
    ApiKind::Problems,
    ApiKind::TotalOff,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Kind {
    Conflict,
    InternalError,
    SlowDown,
    Dropped,
    LostAnswer,
    Late,
    LandsLate,
    Twice,
}

const S3_KINDS: [S3Kind; 8] = [
    S3Kind::Conflict,
    S3Kind::InternalError,
    S3Kind::SlowDown,
    S3Kind::Dropped,
    S3Kind::LostAnswer,
    S3Kind::Late,
    S3Kind::LandsLate,
    S3Kind::Twice,
];

const API_STORMS: [ApiKind; 9] = [
    ApiKind::RateLimited,
    ApiKind::RateLimited,
    ApiKind::ServerError,
    ApiKind::Dropped,
    ApiKind::TimedOut,
    ApiKind::InvalidPageToken,
    ApiKind::ShiftPages,
    ApiKind::ShiftPages,
    ApiKind::NoList,
];

const S3_STORMS: [S3Kind; 5] =
    [S3Kind::SlowDown, S3Kind::InternalError, S3Kind::Conflict, S3Kind::LostAnswer, S3Kind::LandsLate];

/// The same fault for several requests in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Storm<Place, Kind> {
    /// None means everywhere.
    pub place: Option<Place>,
    pub from: u64,
    pub length: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weather {
    /// Decides which requests are struck.
    pub seed: u64,
    /// Lists come in this order, whatever the request says.
    pub newest_first: bool,
    /// The number of requests in a thousand that are struck, each by one of these.
    pub api_rate: u64,
    pub api: Vec<ApiKind>,
    pub api_storms: Vec<Storm<Endpoint, ApiKind>>,
    pub s3_rate: u64,
    pub s3: Vec<S3Kind>,
    pub s3_storms: Vec<Storm<&'static str, S3Kind>>,
    /// The endpoints of the further streams.
    pub further: Vec<Endpoint>,
    /// No list has a total.
    pub in_guide: bool,
}

/// The faults of a schedule: a random selection of kinds, and rates from zero to very high.
#[derive(Debug, Clone)]
pub struct Climate {
    api_rate: u64,
    api: Vec<ApiKind>,
    s3_rate: u64,
    s3: Vec<S3Kind>,
    newest_first: bool,
}

impl Climate {
    pub fn of(random: &mut Rng) -> Self {
        let mut some = |likely: f64| random.f64() < likely;
        let api = API_KINDS.into_iter().filter(|_| some(0.4)).collect();
        let s3 = S3_KINDS.into_iter().filter(|_| some(0.5)).collect();
        Self {
            api_rate: pick(random, &[0, 30, 80, 150, 300]),
            api,
            s3_rate: pick(random, &[0, 30, 80, 150, 300]),
            s3,
            newest_first: random.u8(0..6) == 0,
        }
    }

    /// The weather of one round. Some rounds are calm in any climate.
    pub fn weather(&self, random: &mut Rng) -> Weather {
        let strength = pick(random, &[0, 1, 1, 2]);
        let mut weather = Weather {
            seed: random.u64(..),
            newest_first: self.newest_first,
            api_rate: if self.api.is_empty() { 0 } else { self.api_rate * strength },
            api: self.api.clone(),
            s3_rate: if self.s3.is_empty() { 0 } else { self.s3_rate * strength },
            s3: self.s3.clone(),
            ..Weather::default()
        };
        if strength > 0 && random.u8(0..3) == 0 {
            let kind = pick(random, &API_STORMS);
            let place = match kind {
                ApiKind::ShiftPages => {
                    Some(pick(random, &[Endpoint::AuditSearch, Endpoint::AuditSearch, Endpoint::Users]))
                }
                ApiKind::NoList => Some(pick(random, &[Endpoint::AuditSearch, Endpoint::FileEvents])),
                _ => (random.u8(0..4) > 0).then(|| pick(random, &ENDPOINTS)),
            };
            let storm = Storm { place, from: random.u64(1..20), length: random.u64(1..12), kind };
            weather.api_storms.push(storm);
        }
        if strength > 0 && random.u8(0..4) == 0 {
            let place = (random.u8(0..4) > 0).then(|| pick(random, &CLASSES[..7]));
            let kind = pick(random, &S3_STORMS);
            weather.s3_storms.push(Storm { place, from: random.u64(1..6), length: random.u64(2..8), kind });
        }
        weather
    }
}

pub fn pick<T: Clone>(random: &mut Rng, among: &[T]) -> T {
    among[random.usize(..among.len())].clone()
}

impl Weather {
    pub fn strikes_api(&self, endpoint: Endpoint, ordinal: u64, request: &Request) -> Option<Fault> {
        let mut random = self.chance(&format!("{endpoint:?}"), ordinal);
        let is_further = self.further.contains(&endpoint);
        let may_strike = |kind: &ApiKind| {
            may_strike(*kind, endpoint, is_further, request) && (!self.in_guide || strikes_what_tells_nothing(*kind))
        };
        let able: Vec<ApiKind> = self.api.iter().copied().filter(may_strike).collect();
        let by_chance = random.u64(..1_000) < self.api_rate && !able.is_empty();
        let kind = by_chance.then(|| pick(&mut random, &able));
        let kind = in_storm(&self.api_storms, endpoint, ordinal).filter(may_strike).or(kind);
        let usual = Some(ApiKind::NewestFirst).filter(|kind| self.newest_first && may_strike(kind));
        Some(api_fault(kind.or(usual)?, &mut random))
    }

    pub fn strikes_s3(&self, method: &str, class: &str, ordinal: u64) -> Option<S3Fault> {
        let mut random = self.chance(&format!("{method} {class}"), ordinal);
        let by_chance = random.u64(..1_000) < self.s3_rate && !self.s3.is_empty();
        let kind = by_chance.then(|| pick(&mut random, &self.s3));
        let kind = in_storm(&self.s3_storms, class, ordinal).or(kind)?;
        Some(s3_fault(kind, &mut random))
    }

    /// Returns the random numbers for one request, which depend only on its place.
    fn chance(&self, place: &str, ordinal: u64) -> Rng {
        let bytes = place.bytes().chain(ordinal.to_le_bytes());
        let hash = bytes.fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        });
        Rng::with_seed(hash)
    }
}

pub fn in_storm<Place: PartialEq<Other>, Other: Copy, Kind: Copy>(
    storms: &[Storm<Place, Kind>],
    place: Other,
    ordinal: u64,
) -> Option<Kind> {
    let rages = |storm: &&Storm<Place, Kind>| {
        storm.place.as_ref().is_none_or(|here| *here == place)
            && (storm.from..storm.from + storm.length).contains(&ordinal)
    };
    storms.iter().find(rages).map(|storm| storm.kind)
}

/// Whether this endpoint can have this fault without a lie that nobody could detect.
fn may_strike(kind: ApiKind, endpoint: Endpoint, is_further: bool, request: &Request) -> bool {
    use Endpoint::{AuditCount, AuditSearch, CaseList, Custodians, FileEvents, Matters, Policies, SignIn, Users};
    let tells = if is_further { Tells::of(endpoint) } else { Tells::Nothing };
    match kind {
        ApiKind::RateLimited
        | ApiKind::ServerError
        | ApiKind::CutBody
        | ApiKind::BrokenJson
        | ApiKind::Html
        | ApiKind::Dropped
        | ApiKind::Late
        | ApiKind::Hang => true,
        // A refused sign-in would mean wrong credentials, and two refusals of a legal hold a missing permission.
        ApiKind::Unauthorized => !matches!(endpoint, SignIn | Matters | Custodians | Policies),
        // Nobody can doubt a list's first page or its total.
        ApiKind::RepeatPage => !is_first_page(endpoint, request),
        ApiKind::ShiftPages | ApiKind::OldestFirst => {
            matches!(endpoint, AuditSearch | Users | CaseList) || tells == Tells::PagesAndTotal
        }
        ApiKind::NoList if tells == Tells::Pages => is_first_page(endpoint, request),
        ApiKind::NoList if tells == Tells::All => true,
        ApiKind::NoList | ApiKind::NewestFirst | ApiKind::TotalOff => {
            let is_one_of_the_four = matches!(endpoint, FileEvents | AuditSearch | Users | CaseList);
            is_one_of_the_four || matches!(tells, Tells::PagesAndTotal | Tells::AllAndTotal)
        }
        ApiKind::InvalidPageToken | ApiKind::Problems => endpoint == FileEvents,
        ApiKind::TimedOut => matches!(endpoint, FileEvents | AuditSearch | AuditCount),
    }
}

/// Whether every client can detect this fault, whatever the answer should contain.
fn strikes_what_tells_nothing(kind: ApiKind) -> bool {
    use ApiKind::{BrokenJson, CutBody, Dropped, Hang, Html, Late, RateLimited, ServerError, Unauthorized};
    matches!(kind, RateLimited | ServerError | CutBody | BrokenJson | Html | Dropped | Late | Hang | Unauthorized)
}

fn is_first_page(endpoint: Endpoint, request: &Request) -> bool {
    let body = || request.json();
    match endpoint {
        Endpoint::FileEvents => body()["pgToken"].as_str().is_none_or(str::is_empty),
        Endpoint::AuditSearch => body()["page"] == 0,
        Endpoint::Users => request.parameter("page").is_none_or(|page| page == "1"),
        Endpoint::CaseList | Endpoint::CaseFileEvents => request.parameter("pgNum").is_none_or(|page| page == "1"),
        Endpoint::Sessions => request.parameter("page_number").is_none_or(|page| page == "0"),
        Endpoint::AlertRules => request.parameter("PageNumber").is_none_or(|page| page == "0"),
        _ => request.parameter("page").is_none_or(|page| page == "1"),
    }
}

/// The parts of a further stream's list besides rows. They decide which lies can be detected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// It isn't a list in an object.
    Nothing,
    /// Pages without a total. Only the first page must have a list.
    Pages,
    PagesAndTotal,
    /// One page, which must have a list.
    All,
    AllAndTotal,
}

impl Tells {
    fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Actors | Endpoint::Matters | Endpoint::Custodians | Endpoint::UserRoles => Self::Pages,
            Endpoint::RiskIndicatorCategories | Endpoint::SavedSearches | Endpoint::Policies | Endpoint::RuleUsers => {
                Self::All
            }
            Endpoint::Orgs | Endpoint::SessionEvents => Self::AllAndTotal,
            Endpoint::Sessions
            | Endpoint::CaseFileEvents
            | Endpoint::Agents
            | Endpoint::Devices
            | Endpoint::Departments
            | Endpoint::DirectoryGroups
            | Endpoint::TrustedActivities
            | Endpoint::Watchlists
            | Endpoint::WatchlistMembers
            | Endpoint::IncludedActors
            | Endpoint::ExcludedActors
            | Endpoint::IncludedDepartments
            | Endpoint::IncludedDirectoryGroups => Self::PagesAndTotal,
            _ => Self::Nothing,
        }
    }
}

fn api_fault(kind: ApiKind, random: &mut Rng) -> Fault {
    match kind {
        ApiKind::RateLimited => {
            let retry_after = pick(random, &[None, None, Some("0"), Some("1")]).map(str::to_owned);
            Fault::RateLimited { retry_after }
        }
        ApiKind::ServerError => Fault::Status(pick(random, &[500, 502, 503, 504]), "{}".to_owned()),
        ApiKind::CutBody => Fault::CutBody,
        ApiKind::BrokenJson => Fault::BrokenJson,
        ApiKind::Html => Fault::Html,
        ApiKind::Dropped => Fault::Dropped,
        ApiKind::Unauthorized => Fault::Unauthorized,
        ApiKind::Late => Fault::Late(Duration::from_millis(random.u64(20..800))),
        ApiKind::Hang => Fault::Hang,
        ApiKind::RepeatPage => Fault::RepeatPage,
        ApiKind::ShiftPages => Fault::ShiftPages(pick(random, &[-3, -2, -1, 1, 2, 3])),
        ApiKind::NoList => Fault::NoList,
        ApiKind::NewestFirst => Fault::NewestFirst,
        ApiKind::OldestFirst => Fault::OldestFirst,
        ApiKind::InvalidPageToken => Fault::InvalidPageToken,
        ApiKind::TimedOut => Fault::TimedOut,
        ApiKind::Problems => Fault::Problems("something is wrong".to_owned()),
        // Too high: a total that is too low could agree with a page that lacks as many rows.
        ApiKind::TotalOff => Fault::TotalOff(random.i64(1..4)),
    }
}

fn s3_fault(kind: S3Kind, random: &mut Rng) -> S3Fault {
    match kind {
        S3Kind::Conflict => S3Fault::Status(409),
        S3Kind::InternalError => S3Fault::Status(500),
        S3Kind::SlowDown => S3Fault::Status(503),
        S3Kind::Dropped => S3Fault::Dropped,
        S3Kind::LostAnswer => S3Fault::LostAnswer,
        S3Kind::Late => S3Fault::Late(Duration::from_millis(random.u64(20..800))),
        S3Kind::LandsLate => S3Fault::LandsLate(Duration::from_millis(random.u64(20..400))),
        S3Kind::Twice => S3Fault::Twice,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    #[test]
    fn whom_a_fault_strikes_hangs_on_nothing_but_where_the_request_stands() {
        let mut random = Rng::with_seed(7);
        let climate = Climate { api_rate: 150, s3_rate: 150, ..Climate::of(&mut random) };
        let weather = Weather { api_rate: 150, s3_rate: 150, ..climate.weather(&mut random) };
        let request = Request {
            method: Method::POST,
            path: "/v2/file-events".to_owned(),
            query: String::new(),
            headers: reqwest::header::HeaderMap::new(),
            body: r#"{"pgToken":"a"}"#.into(),
        };
        let places: Vec<_> = ENDPOINTS.into_iter().flat_map(|endpoint| (1..50).map(move |n| (endpoint, n))).collect();
        let api = |(endpoint, n): &(Endpoint, u64)| format!("{:?}", weather.strikes_api(*endpoint, *n, &request));
        let forth: Vec<_> = places.iter().map(api).collect();
        let mut back: Vec<_> = places.iter().rev().map(api).collect();
        back.reverse();
        assert_eq!(forth, back);
        let struck = forth.iter().filter(|fault| *fault != "None").count();
        assert!((10..150).contains(&struck), "{struck} of {}", forth.len());
        let s3 = || (1..50).map(|n| format!("{:?}", weather.strikes_s3("PUT", "audit", n))).collect::<Vec<_>>();
        assert_eq!(s3(), s3());
    }
}
