//! The times of a stream's events, as a rule instead of a list, so that a tenant takes no memory.

use std::ops::Range;

use crate::text::mixed;

/// An uneven density changes at this interval, in milliseconds.
const BURST: i64 = 5 * 60 * 1000;

/// Any number of events in the span `[from, to)` of milliseconds, in order of time.
#[derive(Debug)]
pub struct Spread {
    from: i64,
    to: i64,
    /// The number of events before each of the equal parts of the span. The last is the number of all events.
    before: Vec<u64>,
}

impl Spread {
    pub fn even(count: u64, from: i64, to: i64) -> Self {
        Self { from, to, before: vec![0, count] }
    }

    /// The density changes every five minutes. It is between a tenth of the greatest and the greatest, log-uniform.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn uneven(count: u64, from: i64, to: i64) -> Self {
        let parts = ((to - from) / BURST).max(1).unsigned_abs();
        let density = |part| 10_f64.powf(mixed(part) as f64 / u64::MAX as f64);
        let total: f64 = (0..parts).map(density).sum();
        let mut sum = 0.0;
        let mut before = vec![0];
        for part in 0..parts {
            sum += density(part);
            before.push((count as f64 * sum / total).round() as u64);
        }
        Self { from, to, before }
    }

    pub fn count(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// The time of an event, by its number.
    pub fn time(&self, event: u64) -> i64 {
        let part = self.before.partition_point(|before| *before <= event).clamp(1, self.before.len() - 1);
        let (first, next) = (self.before[part - 1], self.before[part]);
        let (start, end) = (self.start_of(part - 1), self.start_of(part));
        let into = i128::from(end - start) * i128::from(event - first) / i128::from((next - first).max(1));
        start + i64::try_from(into).unwrap_or(0)
    }

    /// The events whose times lie in the span, including both ends.
    pub fn within(&self, from: i64, to: i64) -> Range<u64> {
        let first = self.first_at(from);
        first..self.first_at(to.saturating_add(1)).max(first)
    }

    fn first_at(&self, time: i64) -> u64 {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn start_of(&self, part: usize) -> i64 {
        let of_span = i128::from(self.to - self.from) * part as i128 / (self.before.len() - 1) as i128;
        self.from + i64::try_from(of_span).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn every_event_has_its_time_within_the_span_and_in_order() {
        for spread in [Spread::even(10_000, 5, DAY), Spread::uneven(10_000, 5, DAY), Spread::even(7, 0, 3)] {
            let times: Vec<i64> = (0..spread.count()).map(|event| spread.time(event)).collect();
            assert!(times.is_sorted());
            assert!(spread.from == times[0] && times[times.len() - 1] < spread.to);
        }
    }

    #[test]
    fn windows_that_follow_each_other_hold_every_event_once() {
        let spread = Spread::uneven(10_000, 0, DAY);
        let windows = (0..24).map(|hour| spread.within(hour * DAY / 24, (hour + 1) * DAY / 24 - 1));
        let held: Vec<u64> = windows.flatten().collect();
        assert_eq!(held, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_uneven_hour_can_hold_several_times_what_another_does() {
        let spread = Spread::uneven(1_000_000, 0, DAY);
        let parts = (0..DAY / BURST).map(|part| spread.within(part * BURST, (part + 1) * BURST - 1));
        let counts: Vec<u64> = parts.map(|events| events.end - events.start).collect();
        let (most, least) = (counts.iter().max().expect("parts"), counts.iter().min().expect("parts"));
        assert!((7..=10).contains(&(most / least)), "{most} and {least}");
    }
}
