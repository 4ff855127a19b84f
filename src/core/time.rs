//! Instants in whole milliseconds, the precision of windows and of the API's time filters.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDateTime, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::core::clock;

pub const MILLISECOND: TimeDelta = TimeDelta::milliseconds(1);
pub const SECOND: TimeDelta = TimeDelta::seconds(1);
pub const MINUTE: TimeDelta = TimeDelta::minutes(1);
pub const HOUR: TimeDelta = TimeDelta::hours(1);
pub const DAY: TimeDelta = TimeDelta::days(1);

/// Milliseconds since the epoch, UTC. Written as RFC 3339 with three digits: `2026-11-21T13:00:00.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    pub fn now() -> Self {
        Self(clock::now())
    }

    /// Parses RFC 3339 with up to nine fraction digits, and cuts it to milliseconds. Windows begin and end at whole
    /// milliseconds, so the cut never moves a record into another window. Without an offset the time is UTC. Also
    /// accepts `+0000` or `+00`, a space instead of the `T`, and a time without seconds. None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.timestamp_millis()));
        }
        let (date, time) = text.split_once(['T', 't', ' '])?;
        let offset_at = time.find(['Z', 'z', '+', '-', ' ']).unwrap_or(time.len());
        let (time, offset) = (&time[..offset_at], offset(time[offset_at..].trim())?);
        let seconds = if time.matches(':').count() == 1 { ":00" } else { "" };
        let local = format!("{date}T{time}{seconds}").parse::<NaiveDateTime>().ok()?.and_utc();
        Some(Self(local.timestamp_millis()) - offset)
    }

    #[must_use]
    pub fn floor(self, unit: TimeDelta) -> Self {
        let unit = unit.num_milliseconds();
        Self(self.0.div_euclid(unit) * unit)
    }

    #[must_use]
    pub fn ceil(self, unit: TimeDelta) -> Self {
        let unit = unit.num_milliseconds();
        Self(-(-self.0).div_euclid(unit) * unit)
    }

    /// The time from `earlier` to this instant. 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        (self - earlier).to_std().unwrap_or_default()
    }

    pub fn date_time(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// The form in keys: `20261121T130000000Z`.
    pub fn compact(self) -> impl fmt::Display {
        self.date_time().format("%Y%m%dT%H%M%S%3fZ")
    }
}

/// Parses `Z`, an empty offset, `+01`, `+0130` and `+01:30`.
fn offset(text: &str) -> Option<TimeDelta> {
    if matches!(text, "" | "Z" | "z" | "UTC" | "GMT") {
        return Some(TimeDelta::zero());
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits.replacen(':', "", 1)),
        ("-", digits) => (-1, digits.replacen(':', "", 1)),
        _ => return None,
    };
    let is_offset = matches!(digits.len(), 2 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<i64>().ok().filter(|_| is_offset)?;
    let (hours, minutes) = if digits.len() == 2 { (number, 0) } else { (number / 100, number % 100) };
    (hours < 24 && minutes < 60).then(|| TimeDelta::minutes(sign * (60 * hours + minutes)))
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.date_time().naive_utc();
        let Ok(year @ 0..=9_999) = u32::try_from(at.year()) else {
            return f.write_str(&self.date_time().to_rfc3339_opts(SecondsFormat::Millis, true));
        };
        // Checkpoints and manifests are full of times. This takes a tenth of what a general format takes.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (end, number) in [
            (4, year),
            (7, at.month()),
            (10, at.day()),
            (13, at.hour()),
            (16, at.minute()),
            (19, at.second()),
            (23, at.nanosecond() / 1_000_000),
        ] {
            let (mut end, mut left) = (end, number);
            while left > 0 {
                end -= 1;
                text[end] += u8::try_from(left % 10).unwrap_or_default();
                left /= 10;
            }
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Saturates at the last instant.
impl Add<TimeDelta> for Millis {
    type Output = Self;

    fn add(self, length: TimeDelta) -> Self {
        Self(self.0.saturating_add(length.num_milliseconds()))
    }
}

/// Saturates at the first instant.
impl Sub<TimeDelta> for Millis {
    type Output = Self;

    fn sub(self, length: TimeDelta) -> Self {
        Self(self.0.saturating_sub(length.num_milliseconds()))
    }
}

/// Returns the time from the second instant to the first. Negative if the second is later.
impl Sub for Millis {
    type Output = TimeDelta;

    fn sub(self, earlier: Self) -> TimeDelta {
        millis(self.0.saturating_sub(earlier.0))
    }
}

/// Returns a number of milliseconds as a duration. `i64::MIN` becomes the least duration.
pub fn millis(count: i64) -> TimeDelta {
    TimeDelta::try_milliseconds(count).unwrap_or(TimeDelta::MIN)
}

/// `length * part / of`, rounded down to milliseconds.
pub fn scaled(length: TimeDelta, part: u64, of: u64) -> TimeDelta {
    let exact = i128::from(length.num_milliseconds()) * i128::from(part) / i128::from(of.max(1));
    i64::try_from(exact).map_or(TimeDelta::MAX, millis)
}

/// Durations as whole milliseconds in JSON: `#[serde(with = "as_millis")]`.
pub mod as_millis {
    use super::{Deserialize, Deserializer, Serializer, TimeDelta};

    pub fn serialize<S: Serializer>(length: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(length.num_milliseconds())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeDelta, D::Error> {
        i64::deserialize(deserializer).map(super::millis)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis::parse(text).expect("a time")
    }

    #[test]
    fn any_precision_is_read_and_cut_down_never_rounded_up() {
        for (text, cut) in [
            ("2026-11-21T13:00:00Z", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21T13:00:00.5Z", "2026-11-21T13:00:00.500Z"),
            ("2026-11-21T13:00:00.999999Z", "2026-11-21T13:00:00.999Z"),
            ("2026-11-21T12:59:59.999999999Z", "2026-11-21T12:59:59.999Z"),
            ("2026-11-21T14:00:00.1234567+01:00", "2026-11-21T13:00:00.123Z"),
            ("2026-11-21T13:00:00.25", "2026-11-21T13:00:00.250Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
            ("2026-11-21T13:00:00.5+0000", "2026-11-21T13:00:00.500Z"),
            ("2026-11-21T14:30:00.123456789+0130", "2026-11-21T13:00:00.123Z"),
            ("2026-11-21T11:00:00-02", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21 13:00:00.25+00", "2026-11-21T13:00:00.250Z"),
            ("2026-11-21 13:00:00 +0000", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21 13:00:00", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21T13:00Z", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21T13:00+00", "2026-11-21T13:00:00.000Z"),
            ("2026-11-21 13:00", "2026-11-21T13:00:00.000Z"),
        ] {
            assert_eq!(at(text).to_string(), cut);
        }
        for text in ["yesterday", "2026-11-21", "2026-11-21T13Z", "2026-11-21T13:00:00+1", "2026-11-21T13:00:00+2500"] {
            assert_eq!(Millis::parse(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_time_instead_of_failing() {
        let (first, last) = (Millis(i64::MIN), Millis(i64::MAX));
        assert_eq!((first - DAY, last + DAY, last + TimeDelta::MAX), (first, last, last));
        assert_eq!((last - first, first - last), (TimeDelta::MAX, TimeDelta::MIN));
        assert_eq!((Millis(5) - Millis(7), Millis(5).since(Millis(7))), (millis(-2), Duration::ZERO));
        assert_eq!((millis(i64::MAX), millis(i64::MIN)), (TimeDelta::MAX, TimeDelta::MIN));
        assert_eq!(scaled(millis(10), 2, 3), millis(6));
        assert_eq!(scaled(TimeDelta::MAX, u64::MAX, 0), TimeDelta::MAX);
    }

    #[test]
    fn it_is_written_as_any_library_writes_it() {
        for at in [0, 1, -1, 999, -62_167_219_200_000, -62_167_219_200_001, 253_402_300_799_999, 253_402_300_800_000] {
            let library = Millis(at).date_time().to_rfc3339_opts(SecondsFormat::Millis, true);
            assert_eq!(Millis(at).to_string(), library);
        }
    }

    #[test]
    fn a_key_sorts_as_its_instant() {
        assert_eq!(at("2026-11-21T13:00:00.042Z").compact().to_string(), "20261121T130000042Z");
    }

    #[test]
    fn rounding_holds_on_both_sides_of_the_epoch() {
        assert_eq!(Millis(1_500).floor(SECOND), Millis(1_000));
        assert_eq!(Millis(1_500).ceil(SECOND), Millis(2_000));
        assert_eq!(Millis(2_000).ceil(SECOND), Millis(2_000));
        assert_eq!(Millis(-1_500).floor(SECOND), Millis(-2_000));
    }
}
