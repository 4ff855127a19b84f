//! Generates records from a seed, in the form of the vendor's samples (SDK models; developer portal). They contain
//! everything that collectors have failed on: fractions of 0 to 9 digits, numbers beyond 2^53, escapes, spaces.

mod events;
mod legal_hold;
mod people;
mod risk;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::json;

use super::{Dataset, compact};

const TENANT: &str = "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42";

/// JSON string contents, escaped in various ways.
const SPICE: [&str; 12] = [
    "plain",
    "Zo\u{eb} M\\u00fcller",
    "\u{1f4c8} Q3 \\ud83d\\ude80",
    "zero\u{200b}width and \u{2028} line separator",
    "a<b>&amp;</b>",
    "https:\\/\\/example.com\\/a?b=c&d=%20",
    "C:\\\\Users\\\\x\\\\",
    "tab\\tline\\nquote \\\"x\\\"",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}rtl",
    "e\u{301} combining",
    "{\\\"not\\\": [\\\"json\\\"]}",
    "  two  blanks ,: ",
];

/// JSON numbers whose text must be kept.
const NUMBERS: [&str; 8] =
    ["0", "4748", "9007199254740993", "18446744073709551617", "1.10", "1e3", "-0.0", "1000204883968"];

#[derive(Debug)]
pub(super) struct Generator {
    /// The earliest time of a generated record.
    floor: DateTime<Utc>,
    rng: Rng,
    made: u64,
    cases: u64,
    last_audit: Option<String>,
    /// The number of records made of each dataset that has no counter of its own.
    numbers: HashMap<Dataset, u64>,
    /// The actor and the beginning of each session.
    sessions: HashSet<(String, i64)>,
}

/// The ids of existing records, for references. Of departments the texts.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) users: Vec<Arc<str>>,
    pub(super) actors: Vec<Arc<str>>,
    pub(super) departments: Vec<Arc<str>>,
    pub(super) groups: Vec<Arc<str>>,
    pub(super) roles: Vec<Arc<str>>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            floor: DateTime::default(),
            rng: Rng::with_seed(seed),
            made: 0,
            cases: 0,
            last_audit: None,
            numbers: HashMap::new(),
            sessions: HashSet::new(),
        }
    }

    /// Begins a group of records. None of them equals one of an earlier group.
    pub(super) fn begin(&mut self, floor: DateTime<Utc>) {
        self.floor = floor;
        self.last_audit = None;
    }

    /// A user. One in five is deactivated, one in seven blocked.
    pub(super) fn user(&mut self, modified: DateTime<Utc>) -> String {
        self.made += 1;
        let n = self.made;
        let raw = format!(
            r#"{{"legacyUserId":"{legacy}","userId":"{id}","username":"user{n}@example.com","firstName":"{first}",
                "lastName":"{last}","legacyOrgId":"{n}","orgId":"{org}","orgGuid":"{org}","orgName":"{name}",
                "notes":{notes},"active":{active},"blocked":{blocked},"creationDate":"{created}",
                "modificationDate":"{modified}","newNumber":{number}}}"#,
            legacy = n + 1000,
            id = 9_007_199_254_740_993 + n * 7919,
            org = self.rng.u64(100..110),
            first = self.spice(),
            last = self.spice(),
            name = self.spice(),
            notes = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            active = !n.is_multiple_of(5),
            blocked = n.is_multiple_of(7),
            created = (modified - TimeDelta::days(30)).to_rfc3339_opts(SecondsFormat::Micros, true),
            modified = modified.to_rfc3339_opts(SecondsFormat::Micros, true),
            number = self.number(),
        );
        self.spaced(&compact(&raw))
    }

    /// A case's detail, as in `GET /v1/cases/{number}`.
    pub(super) fn case(&mut self, updated: DateTime<Utc>) -> String {
        self.cases += 1;
        let n = self.cases;
        let person = self.rng.bool().then(|| self.email());
        let text = |value: &Option<String>| value.as_ref().map_or("null".to_owned(), |value| format!("\"{value}\""));
        let raw = format!(
            r#"{{"number":{n},"name":"case {n} {spice1}","createdAt":"{created}","updatedAt":"{updated}",
                "subject":{subject},"subjectUsername":{person},"status":"{status}","assignee":{subject},
                "assigneeUsername":{person},"createdByUserUid":null,"createdByUsername":null,
                "lastModifiedByUserUid":"942564422882759874","lastModifiedByUsername":"admin@example.com",
                "archivalTime":"2027-07-18T00:00:00Z","description":"{spice2}","findings":{findings},"size":{number}}}"#,
            created = (updated - TimeDelta::hours(self.rng.i64(1..2000))).to_rfc3339_opts(SecondsFormat::Micros, true),
            updated = updated.to_rfc3339_opts(SecondsFormat::Micros, true),
            subject = text(&person.as_ref().map(|_| "945056771151950748".to_owned())),
            person = text(&person),
            status = self.rng.choice(["OPEN", "OPEN", "CLOSED", "ARCHIVED"]).unwrap_or_default(),
            findings = if self.rng.bool() { "null".to_owned() } else { format!("\"# {}\\n* a\\n* b\"", self.spice()) },
            spice1 = self.spice(),
            spice2 = self.spice(),
            number = self.number(),
        );
        self.spaced(&compact(&raw))
    }

    /// Counts each dataset from 1.
    fn next(&mut self, dataset: Dataset) -> u64 {
        let number = self.numbers.entry(dataset).or_default();
        *number += 1;
        *number
    }

    fn laid_out(&mut self, raw: &str) -> String {
        self.spaced(&compact(raw))
    }

    fn spice(&mut self) -> &'static str {
        self.rng.choice(SPICE).unwrap_or_default()
    }

    fn number(&mut self) -> &'static str {
        self.rng.choice(NUMBERS).unwrap_or_default()
    }

    fn email(&mut self) -> String {
        format!("user{}@example.com", self.rng.u16(0..40))
    }

    /// A time with 0, 3, 6, 7 or 9 fraction digits, cut and never rounded up, and never before the requested span.
    fn time_text(&mut self, time: DateTime<Utc>) -> String {
        let digits = self.rng.choice([0_u16, 3, 6, 6, 7, 9]).unwrap_or_default();
        let cut = time.trunc_subsecs(digits);
        let full = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
        match digits {
            9 => full,
            _ if cut < self.floor => full,
            0 => cut.to_rfc3339_opts(SecondsFormat::Secs, true),
            digits => format!("{}Z", &full[..20 + usize::from(digits)]),
        }
    }

    /// Adds spaces or line breaks between the tokens of one record in three.
    fn spaced(&mut self, raw: &str) -> String {
        let (colon, comma) = match self.rng.u8(0..9) {
            0 => (": ", ", "),
            1 => (" : ", " ,\n\t"),
            2 => (":", ",\r\n  "),
            _ => return raw.to_owned(),
        };
        let mut spaced = String::with_capacity(raw.len() * 5 / 4);
        let (mut in_string, mut escaped) = (false, false);
        for c in raw.chars() {
            match c {
                ':' if !in_string => spaced.push_str(colon),
                ',' if !in_string => spaced.push_str(comma),
                _ => spaced.push(c),
            }
            in_string ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
        }
        spaced
    }
}

fn choice<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    rng.choice(of).copied().unwrap_or_default()
}

fn micros(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// An existing id or a made-up one, in quotes.
fn nth_or(ids: &[Arc<str>], place: usize, made_up: impl FnOnce() -> String) -> String {
    ids.get(place).map_or_else(|| quoted(&made_up()), |id| quoted(id))
}
