//! Faults that came later still, in virtual time only. They are drawn apart and only for [`SEEDS`] and small schedules, which
//! have oddities too, so that all other seeds play what they played.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use simulator::{Dataset, Endpoint, Fault, SecretsFault, with_member};

use crate::classes::CLASSES;
use crate::lasting::Lasting;
use crate::oddities::{self, Loss, Oddity, Refusal, with_rows_reordered};
use crate::plan::Plan;
use crate::round::Change;
use crate::small::is_small;
use crate::weather::{ENDPOINTS, Storm, pick};

/// The seeds whose schedules have these.
pub const SEEDS: RangeInclusive<u64> = 10_000_000_001..=99_999_999_999;

#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of fault by itself")]
pub struct Rarities {
    /// Secrets Manager's trouble in each round.
    pub secrets: Vec<Option<Trouble>>,
    /// The form of some events' times, where it is not the usual one.
    pub times: Option<TimeForm>,
    /// Some sessions' `beginTime` is no time in milliseconds.
    pub has_odd_begins: bool,
    /// Every other answer has the members of its agents, sessions or watchlists in reverse.
    pub reorders: bool,
    /// `lastConnected` of agents and devices moves.
    pub sees_again: bool,
    /// The collector's own limit. None means that there is hardly one.
    pub requests_per_minute: Option<usize>,
    /// Nobody confirms a large deletion.
    pub waits_a_day: bool,
    /// Some answers repeat the token, so what the collector says is searched for it.
    pub has_echoes: bool,
}

impl Rarities {
    pub fn strikes_api(&self, endpoint: Endpoint, ordinal: u64) -> Option<Fault> {
        let list = match endpoint {
            Endpoint::Agents => "agents",
            Endpoint::Sessions => "items",
            Endpoint::Watchlists => "watchlists",
            _ => return None,
        };
        let reorder = move |body: &str| with_rows_reordered(body, list).unwrap_or(body.to_owned());
        (self.reorders && ordinal.is_multiple_of(2)).then(|| Fault::edited(reorder))
    }
}

/// What is wrong with the secret.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    Fault(SecretsFault),
    /// It holds another client's secret.
    Wrong,
}

/// A time that is written in another form than `2026-11-21T13:37:00Z`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeForm {
    /// `+0000`; below, `+00`.
    Offset,
    Hours,
    /// A blank for the `T`.
    Blank,
    /// Only full minutes are written in this form.
    WithoutSeconds,
}

impl TimeForm {
    /// None if this time can't be written so.
    pub fn of(self, text: &str) -> Option<String> {
        let local = text.strip_suffix('Z').filter(|local| local.len() >= 19)?;
        let is_full = || local[17..].bytes().all(|byte| matches!(byte, b'0' | b'.'));
        match self {
            Self::Offset => Some(format!("{local}+0000")),
            Self::Hours => Some(format!("{local}+00")),
            Self::Blank => Some(text.replacen('T', " ", 1)),
            Self::WithoutSeconds => is_full().then(|| format!("{}Z", &local[..16])),
        }
    }
}

/// A part of a token that an error's body repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Echo {
    Whole,
    WithoutItsBeginning,
    InPieces,
    Quoted,
}

impl Echo {
    pub fn of(self, token: &str) -> String {
        let said = match self {
            Self::Whole => token.to_owned(),
            Self::WithoutItsBeginning => token.chars().skip(1).collect(),
            Self::InPieces => {
                let letters: Vec<char> = token.chars().collect();
                letters.chunks(12).map(|piece| piece.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
            }
            Self::Quoted => token.replace('.', "%2E").replace('-', "%2D").replace('_', "%5F"),
        };
        format!("the token {said} is not what it should be")
    }
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Fault(SecretsFault::AccessDenied),
    Trouble::Fault(SecretsFault::InternalServiceError),
    Trouble::Fault(SecretsFault::ResourceNotFound),
    Trouble::Fault(SecretsFault::ExpiredToken),
    Trouble::Fault(SecretsFault::Hang),
];

/// Their records may be gone in great number: nothing else belongs to most of them.
const MAY_BE_CLEARED: [Dataset; 10] = [
    Dataset::Agents,
    Dataset::Devices,
    Dataset::Departments,
    Dataset::DirectoryGroups,
    Dataset::TrustedActivities,
    Dataset::Roles,
    Dataset::Orgs,
    Dataset::RiskIndicatorCategories,
    Dataset::SavedSearches,
    Dataset::Watchlists,
];

const LOSSES: [Loss; 7] = [
    Loss::Recovered,
    Loss::Recovered,
    Loss::OlderRecovered,
    Loss::KnownOfAny,
    Loss::KnownOfAny,
    Loss::Case,
    Loss::Retention,
];

impl Plan {
    /// Needs the plan's siege, so it comes last.
    pub fn with_rarities(mut self) -> Self {
        if !SEEDS.contains(&self.seed) && !is_small(self.seed) {
            return self;
        }
        let mut random = Rng::with_seed(self.seed ^ 0x8ebc_6af0_9c88_c6e3);
        let random = &mut random;
        self.rarities.secrets =
            self.rounds.iter().map(|_| (random.u8(0..6) == 0).then(|| pick(random, &TROUBLES))).collect();
        self.rarities.times = (random.u8(0..3) == 0)
            .then(|| pick(random, &[TimeForm::Offset, TimeForm::Hours, TimeForm::Blank, TimeForm::WithoutSeconds]));
        self.rarities.has_odd_begins = random.u8(0..3) == 0;
        self.rarities.reorders = random.u8(0..4) == 0;
        self.rarities.sees_again = random.u8(0..3) == 0;
        self.rarities.waits_a_day = random.u8(0..3) == 0;
        self.rarities.has_echoes = random.u8(0..4) == 0;
        for n in 0..self.rounds.len() {
            self.round_is_rare(n, random);
        }
        if random.u8(0..3) == 0 {
            self.oddities.loss = Some(pick(random, &LOSSES));
        }
        if let Some(siege) = &mut self.beyond.siege
            && random.u8(0..3) > 0
        {
            siege.has_a_rarity(&self.further, self.pages, random);
        }
        self.has_little_time(random);
        self.without_what_contradicts()
    }

    fn round_is_rare(&mut self, n: usize, random: &mut Rng) {
        let changes = (0..random.u8(0..3)).filter_map(|_| self.change(random)).collect::<Vec<_>>();
        let in_mid_run = self.rarities.sees_again.then_some(Change::Seen);
        let round = &mut self.rounds[n];
        round.changes.extend(changes.into_iter().chain(in_mid_run));
        let odd = &mut self.oddities.rounds[n];
        if random.u8(0..3) == 0 {
            let place = (random.u8(0..4) > 0).then(|| pick(random, &CLASSES));
            let kinds = [Refusal::Silent, Refusal::Code(400, "InternalError"), Refusal::Code(400, "ExpiredToken")];
            let (from, length) = (random.u64(1..6), pick(random, &[1, 1, 2, 4]));
            odd.s3.push(Storm { place, from, length, kind: pick(random, &kinds) });
        }
        if self.rarities.has_echoes {
            let echo = pick(random, &[Echo::Whole, Echo::WithoutItsBeginning, Echo::InPieces, Echo::Quoted]);
            // 400 would say that a rule has no users.
            let kind = Oddity::Echo(pick(random, &[418, 500, 503]), echo);
            let place = (random.u8(0..3) > 0).then(|| pick(random, &ENDPOINTS));
            odd.api.push(Storm { place, from: random.u64(1..6), length: pick(random, &[1, 2, 6]), kind });
        }
        if random.u8(0..4) == 0 {
            let lists = [Endpoint::FileEvents, Endpoint::AuditSearch, Endpoint::Users, Endpoint::CaseList];
            let (place, from) = (Some(pick(random, &lists)), random.u64(1..4));
            odd.api.push(Storm { place, from, length: 6, kind: Oddity::HalfOfAPair });
        }
    }

    fn change(&self, random: &mut Rng) -> Option<Change> {
        let of_events = pick(random, &[Dataset::FileEvents, Dataset::Audit]);
        Some(match random.u8(0..6) {
            0 | 1 => {
                let time = pick(random, &["1969-07-20T20:17:40Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]);
                Change::Astray(of_events, time)
            }
            2 | 3 => Change::Half(pick(random, &[of_events, Dataset::Users, Dataset::Agents])),
            4 => {
                let streams: Vec<Dataset> =
                    self.further.picked().flat_map(|stream| stream.parts).map(|part| part.dataset).collect();
                let cleared = MAY_BE_CLEARED.into_iter().filter(|dataset| streams.contains(dataset));
                Change::MostAreRemoved(pick(random, &cleared.chain([Dataset::Users]).collect::<Vec<_>>()))
            }
            _ => return None,
        })
    }

    /// Few requests in any minute. Then a small tenant takes hours.
    fn has_little_time(&mut self, random: &mut Rng) {
        if random.u8(0..8) == 0 && self.oddities.is_small && !self.is_backfilled {
            self.rarities.requests_per_minute = Some(random.usize(6..=30));
            self.oddities.loss = None;
            // No token may end before its second request.
            self.tenant.token_lifetime = Duration::from_mins(15);
        }
    }

    /// * A row astray stays stuck where most rows around it could not be read for a while.
    /// * A count that is too small may be the same as before a late record. Of a row too many and full pages only it may
    ///   be the right one.
    /// * Where file events expire after a day, nothing else takes a day.
    fn without_what_contradicts(mut self) -> Self {
        let lasting = self.beyond.siege.iter().flat_map(|siege| siege.lasting.clone());
        let doubted: Vec<Dataset> = lasting
            .filter_map(Lasting::doubted)
            .map(|audit| if audit { Dataset::Audit } else { Dataset::FileEvents })
            .collect();
        let is_sound = |change: &Change| !matches!(change, Change::Astray(dataset, _) if doubted.contains(dataset));
        for round in &mut self.rounds {
            round.retain_changes(is_sound);
        }
        let mut lasting = self.beyond.siege.iter().flat_map(|siege| &siege.lasting);
        if lasting.any(|lasting| matches!(lasting, Lasting::FullPages(Endpoint::AuditCount, _))) {
            self.has_late_ones = false;
            for round in &mut self.rounds {
                round.retain_changes(|change| *change != Change::LateAudit);
            }
            if let Some(siege) = &mut self.beyond.siege {
                siege.lasting.retain(|lasting| !matches!(lasting, Lasting::NeverAgrees { audit: true, .. }));
            }
        }
        if self.oddities.loss == Some(Loss::Retention) {
            self.beyond.siege = None;
            for odds in &mut self.beyond.odds {
                odds.pause = odds.pause.min(Duration::from_hours(1));
            }
        }
        self
    }
}

/// Whether a seed's schedule has oddities, too.
pub fn has_oddities(seed: u64) -> bool {
    oddities::SEEDS.contains(&seed) || SEEDS.contains(&seed) || is_small(seed)
}

/// A list that counts only its full pages, where it has one.
pub fn counts_full_pages(size: usize) -> Fault {
    Fault::edited(move |body| oddities::counted(body, |count| full_pages(count, size)))
}

fn full_pages(count: &str, size: usize) -> String {
    match count.parse::<usize>() {
        Ok(count) if count > size => ((count - 1) / size * size).to_string(),
        _ => count.to_owned(),
    }
}

/// A page with a further member that holds half a surrogate pair.
pub fn with_half_a_pair() -> Fault {
    Fault::edited(|body| if body.starts_with('{') { with_member(body, "note", HALF_A_PAIR) } else { body.to_owned() })
}

/// A JSON string that no UTF-8 holds.
pub const HALF_A_PAIR: &str = r#""\udbff""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_another_form_where_that_says_the_same() {
        let forms = [TimeForm::Offset, TimeForm::Hours, TimeForm::Blank, TimeForm::WithoutSeconds];
        let of = |text: &str| forms.map(|form| form.of(text).unwrap_or_default());
        assert_eq!(
            of("2026-11-21T13:37:00.000Z"),
            [
                "2026-11-21T13:37:00.000+0000",
                "2026-11-21T13:37:00.000+00",
                "2026-11-21 13:37:00.000Z",
                "2026-11-21T13:37Z"
            ]
        );
        assert_eq!(of("2026-11-21T13:37:01Z")[3], "");
    }

    #[test]
    fn only_full_pages_are_counted_where_there_is_one() {
        assert_eq!(["0", "10", "11", "20", "21"].map(|count| full_pages(count, 10)), ["0", "10", "10", "10", "20"]);
    }

    #[test]
    fn earlier_seeds_play_what_they_played() {
        for seed in [1, 10_001, 4_294_967_295, u64::MAX] {
            assert_eq!(Plan::in_memory(seed).rarities, Rarities::default(), "{seed}");
        }
        assert!(SEEDS.take(20).all(|seed| Plan::in_memory(seed).rarities != Rarities::default()));
    }
}
