//! Cheap generators of text: times, and numbers that look random.

use chrono::DateTime;

const DAY: i64 = 86_400_000;

/// A one-to-one mapping of numbers (the finalizer of `SplitMix64`).
pub fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Writes times as RFC 3339 with milliseconds. The date is formatted only when the day changes.
#[derive(Debug, Default)]
pub struct Clock {
    day: Option<i64>,
    text: Vec<u8>,
}

impl Clock {
    pub fn text(&mut self, millis: i64) -> &[u8] {
        let day = millis.div_euclid(DAY);
        if self.day != Some(day) {
            self.day = Some(day);
            let date = DateTime::from_timestamp_millis(day * DAY).unwrap_or_default();
            self.text = date.format("%Y-%m-%dT00:00:00.000Z").to_string().into_bytes();
        }
        let rest = millis.rem_euclid(DAY);
        for (at, digits, value) in
            [(11, 2, rest / 3_600_000), (14, 2, rest / 60_000 % 60), (17, 2, rest / 1000 % 60), (20, 3, rest % 1000)]
        {
            self.put(at, digits, value);
        }
        &self.text
    }

    fn put(&mut self, at: usize, digits: usize, mut value: i64) {
        for place in (at..at + digits).rev() {
            self.text[place] = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{SecondsFormat, TimeDelta};

    use super::*;

    #[test]
    fn a_clock_writes_what_chrono_writes() {
        let mut clock = Clock::default();
        let mut time = DateTime::UNIX_EPOCH;
        for _ in 0..1000 {
            time += TimeDelta::milliseconds(12_345_678_901);
            let expected = time.to_rfc3339_opts(SecondsFormat::Millis, true);
            assert_eq!(clock.text(time.timestamp_millis()), expected.as_bytes());
        }
    }
}
