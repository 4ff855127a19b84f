//! Time filters as the API compares them: cut, and inclusive or not.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// The precision with which the server compares times. The vendor's own clients rely on no more than milliseconds
/// (XSOAR, `CODE42_DATETIME_ACCURACY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Milliseconds,
    Seconds,
}

/// The comparison of the server with the ends of a span. Ends and records are cut alike before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgePolicy {
    pub precision: Precision,
    pub from_inclusive: bool,
    pub to_inclusive: bool,
}

impl Default for EdgePolicy {
    fn default() -> Self {
        Self { precision: Precision::Milliseconds, from_inclusive: true, to_inclusive: true }
    }
}

impl EdgePolicy {
    pub(crate) fn cut(self, time: DateTime<Utc>) -> DateTime<Utc> {
        match self.precision {
            Precision::Milliseconds => time.trunc_subsecs(3),
            Precision::Seconds => time.trunc_subsecs(0),
        }
    }

    pub(crate) fn not_before(self, time: DateTime<Utc>, from: DateTime<Utc>) -> bool {
        let (time, from) = (self.cut(time), self.cut(from));
        time > from || (self.from_inclusive && time == from)
    }

    pub(crate) fn not_after(self, time: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let (time, to) = (self.cut(time), self.cut(to));
        time < to || (self.to_inclusive && time == to)
    }
}

/// Parses RFC 3339 or a date.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let day = || format!("{text}T00:00:00Z");
    let time = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&day()));
    time.ok().map(|time| time.to_utc())
}

/// Epoch seconds as a float (SDK, `audit_log/models.py`, `DateRange`), exact to the microsecond.
pub(crate) fn from_epoch_seconds(seconds: f64) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "an instant beyond i64 microseconds is none")]
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

/// An ISO 8601 duration of days, hours, minutes and seconds: `P7D`, `PT15M`, `P1DT2H`.
pub(crate) fn duration(text: &str) -> Option<TimeDelta> {
    let mut total = TimeDelta::zero();
    let mut digits = String::new();
    let mut after_t = false;
    for c in text.strip_prefix('P')?.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if c == 'T' {
            after_t = true;
            continue;
        }
        let n: i64 = digits.parse().ok()?;
        digits.clear();
        total += match (c, after_t) {
            ('W', false) => TimeDelta::weeks(n),
            ('D', false) => TimeDelta::days(n),
            ('M', false) => TimeDelta::days(30 * n),
            ('H', true) => TimeDelta::hours(n),
            ('M', true) => TimeDelta::minutes(n),
            ('S', true) => TimeDelta::seconds(n),
            _ => return None,
        };
    }
    digits.is_empty().then_some(total)
}
