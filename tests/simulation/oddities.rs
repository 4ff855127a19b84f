//! Faults that came after many seeds had been named. They are drawn apart and only for [`SEEDS`], so that all others play
//! what they played: answers that are odd for a while, an API that behaves in another manner, and the loss of state.

use std::ops::RangeInclusive;

use fastrand::Rng;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use simulator::http::Request;
use simulator::{Behaviour, Endpoint, Fault, S3Fault, SessionFilter, member_text, reordered, with_member};

use crate::classes::CLASSES;
use crate::plan::Plan;
use crate::rarities::{Echo, has_oddities, with_half_a_pair};
use crate::secrecy;
use crate::small;
use crate::weather::{ENDPOINTS, Storm, in_storm, pick};

/// The seeds whose schedules have these.
pub const SEEDS: RangeInclusive<u64> = 10_001..=4_294_967_295;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Oddities {
    /// For each round.
    pub rounds: Vec<Round>,
    pub manner: Manner,
    /// There are few records and few streams, so that many schedules can be played.
    pub is_small: bool,
    /// What becomes of the state when everything was collected.
    pub loss: Option<Loss>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    pub api: Vec<Storm<Endpoint, Oddity>>,
    pub s3: Vec<Storm<&'static str, Refusal>>,
}

/// What S3 does instead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// This status and this code.
    Code(u16, &'static str),
    /// It accepts the connection and never answers.
    Silent,
}

/// The API's manner, the same in the whole schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Manner {
    /// Answers are gzipped in members of this size, and named `x-gzip`.
    pub gzip_member: Option<usize>,
    pub session_filter: Option<SessionFilter>,
    /// Every other answer has the members of its users, or of its case, in reverse.
    pub reorders: bool,
}

impl Manner {
    pub fn shape(self, api: &mut Behaviour) {
        if let Some(size) = self.gzip_member {
            (api.gzip_member, api.gzip_name) = (Some(size), "x-gzip");
        }
        if let Some(filter) = self.session_filter {
            api.session_filter = filter;
        }
    }
}

impl Oddities {
    pub fn strikes_api(&self, endpoint: Endpoint, ordinal: u64) -> Option<Fault> {
        let is_struck = self.manner.reorders && ordinal.is_multiple_of(2);
        match endpoint {
            Endpoint::Users if is_struck => {
                Some(Fault::edited(|body| with_rows_reordered(body, "users").unwrap_or(body.to_owned())))
            }
            Endpoint::CaseDetail if is_struck => {
                Some(Fault::edited(|body| if is_sound(body) { reordered(body) } else { body.to_owned() }))
            }
            _ => None,
        }
    }
}

/// None where there is no list, or a row that no parser reads.
pub fn with_rows_reordered(body: &str, list: &str) -> Option<String> {
    let rows: Vec<&RawValue> = serde_json::from_str(member_text(body, list)?).ok()?;
    let rows: Vec<String> = rows.into_iter().map(|row| reordered(row.get())).collect();
    Some(with_member(body, list, &format!("[{}]", rows.join(","))))
}

fn is_sound(body: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(body).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// The checkpoint is deleted.
    Checkpoint,
    /// An earlier version of the checkpoint is put back.
    Older,
    /// A byte of what is known of a list is another.
    Known,
    /// The checkpoint is deleted, or an earlier version put back, and a person asks for its recovery.
    Recovered,
    OlderRecovered,
    /// Half of what is known of some list is gone.
    KnownOfAny,
    /// A case is deleted.
    Case,
    /// The tenant keeps file events for a day, and they can't be read for longer.
    Retention,
}

/// An answer that is odd. It says so, so that nobody has to believe it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Oddity {
    /// A firewall's page, with 403.
    Firewall,
    /// A refused sign-in that says nothing of the credentials.
    Refused(u16, &'static str),
    NotFound,
    /// 308, to somewhere else.
    Elsewhere,
    /// The first half of the body, and then nothing.
    Stalled,
    /// 206, with all of the page.
    InPart,
    /// Numbers that count are text; below, they have a fraction.
    Text,
    Fraction,
    /// 429, with a `Retry-After` that is no whole number of seconds.
    Wait(&'static str),
    /// A page without rows that names a next one.
    EmptyPage,
    /// The body of another record.
    AnotherRecord,
    /// This status, and the request's token in the body.
    Echo(u16, Echo),
    /// A further member with half a surrogate pair. Nobody needs it.
    HalfOfAPair,
}

const REFUSALS: [Oddity; 5] = [
    Oddity::Refused(403, r#"{"status":403,"error":"Forbidden","path":"/v1/oauth"}"#),
    Oddity::Refused(403, r#"{"error":"access_denied"}"#),
    Oddity::Refused(400, r#"{"error":"temporarily_unavailable"}"#),
    Oddity::Refused(401, ""),
    Oddity::Refused(401, "<html><body><h1>Sign in</h1></body></html>"),
];

/// Below a record: "not found" is not believed at once. Where nothing is known of a list, it says that there is none.
const BELOW_A_RECORD: [Endpoint; 3] = [Endpoint::CaseDetail, Endpoint::CaseFileEventDetail, Endpoint::SessionEvents];

const CODES: [Refusal; 6] = [
    Refusal::Code(400, "RequestTimeout"),
    Refusal::Code(400, "IncompleteBody"),
    Refusal::Code(400, "BadDigest"),
    Refusal::Code(400, "ThrottlingException"),
    Refusal::Code(500, "InternalError"),
    Refusal::Code(503, "ServiceUnavailable"),
];

impl Plan {
    pub fn with_oddities(mut self) -> Self {
        if !has_oddities(self.seed) {
            return self;
        }
        let mut random = Rng::with_seed(self.seed ^ 0xa076_1d64_78bd_642f);
        let mut is_small = random.u8(0..4) > 0;
        if small::is_small(self.seed) {
            is_small = true;
        } else if is_small {
            self.is_reduced();
        }
        let endpoints = self.further.endpoints();
        let filters = [SessionFilter::EndTime, SessionFilter::LastUpdated, SessionFilter::Nothing];
        self.oddities = Oddities {
            rounds: self.rounds.iter().map(|_| Round::of(&endpoints, &mut random)).collect(),
            manner: Manner {
                gzip_member: (random.u8(0..3) == 0).then(|| random.usize(50..3_000)),
                session_filter: (random.u8(0..4) == 0).then(|| pick(&mut random, &filters)),
                reorders: random.u8(0..4) == 0,
            },
            is_small,
            loss: (random.u8(0..4) == 0).then(|| pick(&mut random, &[Loss::Checkpoint, Loss::Older, Loss::Known])),
        };
        self
    }
}

impl Plan {
    fn is_reduced(&mut self) {
        let holds = &mut self.tenant;
        holds.file_events %= 60;
        holds.audit %= 50;
        holds.old %= 41;
        holds.burst = holds.burst.min(5);
        holds.users = 10 + holds.users % 10;
        holds.cases = 2 + holds.cases % 4;
        self.pages.file_events = 5 + self.pages.file_events % 10;
        self.pages.audit = 5 + self.pages.audit % 10;
        self.further.records = 3 + self.further.records % 5;
        self.further.old_sessions = self.further.old_sessions.min(5);
        self.further.streams.truncate(2);
    }
}

impl Round {
    fn of(further: &[Endpoint], random: &mut Rng) -> Self {
        let api = (0..pick(random, &[0, 1, 1, 2, 4])).map(|_| {
            let (place, kind) = Oddity::of(further, random);
            Storm { place: Some(place), from: random.u64(1..8), length: pick(random, &[1, 1, 2, 3, 6]), kind }
        });
        let api = api.collect();
        let s3 = (0..pick(random, &[0, 0, 1, 2])).map(|_| {
            let place = (random.u8(0..4) > 0).then(|| pick(random, &CLASSES));
            Storm { place, from: random.u64(1..6), length: pick(random, &[1, 1, 2, 4]), kind: pick(random, &CODES) }
        });
        Self { api, s3: s3.collect() }
    }

    pub fn strikes_api(&self, endpoint: Endpoint, ordinal: u64, request: &Request) -> Option<Fault> {
        in_storm(&self.api, endpoint, ordinal).map(|oddity| oddity.fault(request))
    }

    pub fn strikes_s3(&self, class: &'static str, ordinal: u64) -> Option<S3Fault> {
        in_storm(&self.s3, class, ordinal).map(|refusal| match refusal {
            Refusal::Code(status, code) => S3Fault::Code(status, code),
            Refusal::Silent => S3Fault::Hang,
        })
    }
}

impl Oddity {
    /// An oddity, where it can be.
    fn of(further: &[Endpoint], random: &mut Rng) -> (Endpoint, Self) {
        use Endpoint::{AuditCount, CaseDetail, CaseList, FileEvents, SignIn, Users};
        let anywhere = |random: &mut Rng| match random.u8(0..3) {
            0 if !further.is_empty() => pick(random, further),
            _ => pick(random, &ENDPOINTS),
        };
        match random.u8(0..12) {
            0 => (anywhere(random), Self::Firewall),
            1 => (SignIn, pick(random, &REFUSALS)),
            2 | 3 => {
                let below: Vec<Endpoint> = further.iter().copied().filter(|at| BELOW_A_RECORD.contains(at)).collect();
                let place = if below.is_empty() || random.bool() { CaseDetail } else { pick(random, &below) };
                (place, Self::NotFound)
            }
            4 => (pick(random, &[Users, CaseList, FileEvents]), Self::NotFound),
            5 => (anywhere(random), Self::Elsewhere),
            6 => (anywhere(random), Self::Stalled),
            7 => (anywhere(random), Self::InPart),
            8 => {
                let places = [FileEvents, AuditCount, Users, CaseList, SignIn];
                (pick(random, &places), pick(random, &[Self::Text, Self::Fraction]))
            }
            9 => (anywhere(random), Self::Wait(pick(random, &["0.5", "-1", "soon", "0"]))),
            10 => (FileEvents, Self::EmptyPage),
            _ => (CaseDetail, Self::AnotherRecord),
        }
    }

    fn fault(self, request: &Request) -> Fault {
        match self {
            Self::Firewall => firewall(),
            Self::Refused(status, body) => Fault::Status(status, body.to_owned()),
            Self::NotFound => Fault::Status(404, "{}".to_owned()),
            Self::Elsewhere => {
                Fault::Reply(308, vec![("location", "https://elsewhere.example/".to_owned())], String::new())
            }
            Self::Stalled => Fault::Stalled,
            Self::InPart => Fault::Under(206),
            Self::Text => Fault::edited(|body| counted(body, |count| format!("\"{count}\""))),
            Self::Fraction => Fault::edited(|body| counted(body, |count| format!("{count}.0"))),
            Self::Wait(text) => Fault::RateLimited { retry_after: Some(text.to_owned()) },
            Self::EmptyPage => empty_page(),
            Self::Echo(status, echo) => Fault::echo(status, move |token| {
                secrecy::note(token.trim_start_matches("Basic "));
                echo.of(token)
            }),
            Self::HalfOfAPair => with_half_a_pair(),
            Self::AnotherRecord => {
                let number: u64 = request.path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or_default();
                let another = (number + 1).to_string();
                // One that no parser reads could be anybody's.
                Fault::edited(
                    move |body| {
                        if is_sound(body) { with_member(body, "number", &another) } else { body.to_owned() }
                    },
                )
            }
        }
    }
}

pub fn firewall() -> Fault {
    Fault::Reply(403, Vec::new(), "<html><body><h1>Access denied by policy</h1></body></html>".to_owned())
}

/// A search's page without rows that names a next one.
pub fn empty_page() -> Fault {
    Fault::edited(|body| with_member(&with_member(body, "fileEvents", "[]"), "nextPgToken", "\"again\""))
}

/// The body with each number that counts written in another way.
pub fn counted(body: &str, written: impl Fn(&str) -> String) -> String {
    let mut edited = body.to_owned();
    for name in ["\"totalCount\":", "\"totalResultCount\":", "\"expires_in\":"] {
        let Some(at) = edited.rfind(name).map(|at| at + name.len()) else { continue };
        let digits = edited[at..].bytes().take_while(u8::is_ascii_digit).count();
        let count = written(&edited[at..at + digits]);
        edited.replace_range(at..at + digits, &count);
    }
    edited
}

/// The least rows of a page whose times have another name: more than are set aside one by one.
pub const LEAST_RENAMED: usize = 5;

/// A page whose rows' times have another name, or are numbers, where it has more rows than are set aside one by one.
pub fn unreadable(audit: bool, is_epoch: bool) -> Fault {
    let name = if audit { "\"timestamp\"" } else { "\"inserted\"" };
    Fault::edited(move |body| {
        if body.matches(name).count() < LEAST_RENAMED {
            return body.to_owned();
        }
        if !is_epoch {
            return body.replace(name, "\"at\"");
        }
        let mut parts = body.split(name);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |edited, rest| {
            let after = rest.splitn(3, '"').nth(2).unwrap_or_default();
            format!("{edited}{name}:1795268220{after}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_edited_where_it_counts_and_nowhere_else() {
        let text = |count: &str| format!("\"{count}\"");
        assert_eq!(counted(r#"{"users":[{"a":1}],"totalCount":31}"#, text), r#"{"users":[{"a":1}],"totalCount":"31"}"#);
        assert_eq!(counted("[]", text), "[]");
    }

    #[test]
    fn earlier_seeds_play_what_they_played() {
        for seed in [1, 250, 10_000, u64::MAX] {
            assert_eq!(Plan::in_memory(seed).oddities, Oddities::default(), "{seed}");
        }
        assert!((10_001..10_021).all(|seed| Plan::in_memory(seed).oddities != Oddities::default()));
    }
}
