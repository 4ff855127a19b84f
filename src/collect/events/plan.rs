//! How a gap is cut into windows: plain arithmetic.

use crate::core::intervals::Span;
use crate::core::time::{DAY, Millis, SECOND};

/// The server's edges cut at milliseconds or seconds, inclusive or not: so much more is asked for on either side.
pub const MARGIN: i64 = SECOND;
/// A window is cut no shorter, for with the margin on both sides its parts would hold as many rows as it does.
const SHORTEST: i64 = 2 * SECOND;
/// Nor is one longer, since each of its hours is compressed on its own.
const LONGEST: i64 = DAY;

/// A window's records are held in memory, gzipped, until it is stored: so many bytes at most, as far as can be told.
const MOST_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

/// The sizes of windows, in rows.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    full_page: u64,
}

/// How windows went so far in this run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    per_row: Option<PerRow>,
}

#[derive(Clone, Copy, Debug)]
struct PerRow {
    millis: f64,
    /// Gzipped.
    bytes: f64,
}

impl Sizes {
    pub fn new(full_page: u64) -> Self {
        Self { full_page }
    }

    /// A window holds at most four full pages by the API's count.
    pub fn most(self) -> u64 {
        4 * self.full_page
    }

    /// Records don't come evenly: a window that turns out to hold a page more than it was cut for is let be.
    pub fn too_many(self, rows: u64) -> u64 {
        rows.saturating_add(self.full_page)
    }

    /// How many of `count` rows the next window should hold, in a run with so many milliseconds left: full pages, where
    /// it may be more than one. As long as nothing is known of the pace it is one, unless the window is the only one and
    /// there is time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn next(self, count: u64, left: i64, pace: Pace) -> u64 {
        const PLENTY: i64 = 20 * SECOND;
        const SHARE_OF_TIME: f64 = 0.6;
        let Some(PerRow { millis, bytes }) = pace.per_row else {
            return if count <= self.most() && left >= PLENTY { self.most() } else { self.full_page };
        };
        let in_time = left.max(0) as f64 * SHARE_OF_TIME / millis;
        let fits = (in_time.min(MOST_BYTES / bytes) as u64).clamp(1, self.most());
        if fits > self.full_page { fits / self.full_page * self.full_page } else { fits }
    }
}

impl Pace {
    pub fn is_unknown(self) -> bool {
        self.per_row.is_none()
    }

    /// How many so many rows take, gzipped, and a tenth more: none, while nothing is known.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn bytes(self, rows: u64) -> u64 {
        self.per_row.map_or(0, |per_row| (per_row.bytes * rows as f64 * 1.1) as u64)
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn note(&mut self, rows: u64, bytes: u64, millis: i64) {
        if rows > 0 {
            let rows = rows as f64;
            self.per_row = Some(PerRow { millis: millis.max(1) as f64 / rows, bytes: bytes.max(1) as f64 / rows });
        }
    }
}

/// What is asked for, so that the window surely lies within.
pub fn asked(window: Span) -> Span {
    Span { from: window.from.floor(SECOND) - MARGIN, to: window.to.ceil(SECOND) + MARGIN }
}

/// The first window of `rows` of the `count` rows of a span. Where there must be several, the margin counts too, and
/// it is made a twentieth smaller, so that it seldom takes one more page for a few rows.
pub fn first(span: Span, count: u64, rows: u64) -> Span {
    let fits = if count <= rows {
        span.millis()
    } else {
        let exact = i128::from(span.millis()) * i128::from(rows) * 19 / (i128::from(count) * 20);
        i64::try_from(exact).unwrap_or(i64::MAX) - 2 * MARGIN
    };
    let to = (span.from + fits.clamp(SHORTEST, LONGEST)).ceil(SECOND);
    Span { to: if to + SHORTEST > span.to { span.to } else { to }, ..span }
}

/// So much of the whole as `part` is of `of`.
pub fn share(whole: u64, part: i64, of: i64) -> u64 {
    let exact = u128::from(whole) * u128::from(part.unsigned_abs()) / u128::from(of.unsigned_abs().max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Into `parts` of about the same length, at full seconds where it can be.
pub fn cut(span: Span, parts: u64) -> Vec<Span> {
    let least = (span.millis() + LONGEST - 1) / LONGEST;
    let most = (span.millis() / SHORTEST).max(1);
    let parts = i64::try_from(parts).unwrap_or(i64::MAX).clamp(least, most);
    let mut from = span.from;
    let mut cut = Vec::new();
    for n in 1..=parts {
        let exact = i128::from(span.millis()) * i128::from(n) / i128::from(parts);
        let to = Millis(span.from.0 + i64::try_from(exact).unwrap_or(0)).floor(SECOND);
        let to = if n == parts { span.to } else { to };
        cut.extend(Span::new(from, to));
        from = from.max(to);
    }
    cut
}

/// As short as may be: at the beginning of a span, in its middle, and at its end. None of what is hardly longer itself.
pub fn samples(span: Span) -> Vec<Span> {
    let last = span.millis() - SHORTEST;
    let starts = if last < 3 * SHORTEST { Vec::new() } else { vec![0, last / 2, last] };
    let sample = |after: i64| {
        let from = (span.from + after).floor(SECOND).max(span.from);
        Span { from, to: if after == last { span.to } else { from + SHORTEST } }
    };
    starts.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn the_parts_of_a_cut_make_up_the_whole() {
        for (whole, parts) in
            [(span(0, 10), 3), (span(7, 100_003), 9), (span(0, 20_500), 50), (span(5, 6), 2), (span(0, 3 * DAY + 1), 1)]
        {
            let cut = cut(whole, parts);
            assert_eq!((cut[0].from, cut[cut.len() - 1].to), (whole.from, whole.to));
            assert!(cut.windows(2).all(|pair| pair[0].to == pair[1].from), "{cut:?}");
            assert!(cut.iter().all(|part| part.millis() <= LONGEST + SECOND), "{cut:?}");
        }
        assert_eq!(cut(span(0, 10_000), 2), [span(0, 5_000), span(5_000, 10_000)]);
        assert_eq!(cut(span(0, 3_999), 2), [span(0, 3_999)], "no shorter than its margin");
    }

    #[test]
    fn samples_are_the_ends_and_the_middle() {
        assert_eq!(samples(span(0, 100_000)), [span(0, 2_000), span(49_000, 51_000), span(98_000, 100_000)]);
        assert_eq!(samples(span(500, 9_700)), [span(500, 2_500), span(4_000, 6_000), span(7_000, 9_700)]);
        assert_eq!(samples(span(0, 5_000)), []);
    }

    #[test]
    fn what_fits_one_window_is_one_and_what_doesn_t_is_cut_with_a_little_room() {
        assert_eq!(first(span(0, 60_000), 400, 400), span(0, 60_000));
        assert_eq!(first(span(0, 60_000), 800, 400), span(0, 27_000), "28.5 s less the margin, at full seconds");
        assert_eq!(first(span(500, 60_000), 1_000_000, 400), span(500, 3_000), "no shorter than its margin");
        assert_eq!(first(span(0, 60_000), 401, 400), span(0, 55_000));
        assert_eq!(first(span(0, 60_000), 420, 430), span(0, 60_000));
        assert_eq!(first(span(0, 3 * DAY), 1, 400), span(0, DAY));
    }

    #[test]
    fn the_next_window_is_what_fits_the_time_in_full_pages() {
        let sizes = Sizes::new(100);
        let mut pace = Pace::default();
        assert_eq!((sizes.next(401, 60_000, pace), sizes.next(400, 60_000, pace)), (100, 400));
        assert_eq!(sizes.next(400, 19_999, pace), 100);
        pace.note(100, 60_000, 1_000);
        assert_eq!([60_000, 4_000, 3_000, 150, -1].map(|left| sizes.next(9_999, left, pace)), [400, 200, 100, 9, 1]);
    }

    #[test]
    fn the_next_window_is_what_fits_the_memory() {
        let mut pace = Pace::default();
        pace.note(10_000, 5 << 20, 1);
        assert_eq!(Sizes::new(10_000).next(99_999, 60_000, pace), 10_000);
        assert_eq!(Sizes::new(5_000).next(99_999, 60_000, pace), 15_000);
        pace.note(1_000, 5 << 20, 1);
        assert_eq!(Sizes::new(10_000).next(99_999, 60_000, pace), 1_600, "no full page");
    }

    #[test]
    fn more_is_asked_for_than_the_window_even_where_the_server_cuts_at_seconds() {
        assert_eq!(asked(span(10_500, 20_001)), span(9_000, 22_000));
        assert_eq!(asked(span(10_000, 20_000)), span(9_000, 21_000));
    }
}
