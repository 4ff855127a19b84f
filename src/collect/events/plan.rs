//! How a gap is cut into windows: plain arithmetic.

use crate::intervals::Span;
use crate::time::{DAY, Millis, SECOND};

/// The server's edges cut at milliseconds or seconds, inclusive or not: so much more is asked for on either side.
pub const MARGIN: i64 = SECOND;
/// A window is cut no shorter, for with the margin on both sides its parts would hold as many rows as it does.
const SHORTEST: i64 = 2 * SECOND;
/// Nor is one longer, since each of its hours is compressed on its own.
const LONGEST: i64 = DAY;

/// The sizes of windows, in rows.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    full_page: u64,
}

/// How fast windows went so far in this run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    millis_per_row: Option<f64>,
}

impl Sizes {
    pub fn new(full_page: u64) -> Self {
        Self { full_page }
    }

    /// A window holds at most four full pages by the API's count.
    pub fn most(self) -> u64 {
        4 * self.full_page
    }

    /// Records don't come evenly: a window that turns out to hold a page more than that is let be.
    pub fn too_many(self) -> u64 {
        5 * self.full_page
    }

    /// How many rows the next window should hold, in a run with so many milliseconds left. A short run of unknown
    /// pace begins with one page.
    pub fn next(self, left: i64, pace: Pace) -> u64 {
        const SHORT: i64 = 20 * SECOND;
        const SHARE_OF_TIME: f64 = 0.6;
        let fits = match pace.millis_per_row {
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            Some(millis) => (left.max(0) as f64 * SHARE_OF_TIME / millis) as u64,
            None if left < SHORT => self.full_page,
            None => self.most(),
        };
        fits.clamp(1, self.most())
    }
}

impl Pace {
    pub fn is_unknown(self) -> bool {
        self.millis_per_row.is_none()
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn note(&mut self, rows: u64, millis: i64) {
        if rows > 0 {
            self.millis_per_row = Some(millis.max(1) as f64 / rows as f64);
        }
    }
}

/// What is asked for, so that the window surely lies within.
pub fn asked(window: Span) -> Span {
    Span { from: window.from.floor(SECOND) - MARGIN, to: window.to.ceil(SECOND) + MARGIN }
}

/// Into windows of `rows` of the `count` rows of a span. Where there must be several they are made a fifth smaller on
/// average, so that most of them hold no more than `rows`.
pub fn windows(span: Span, count: u64, rows: u64) -> Vec<Span> {
    cut(span, if count <= rows { 1 } else { (count * 5).div_ceil(rows * 4) })
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
    fn what_fits_one_window_is_one_and_what_doesn_t_is_cut_with_room_to_spare() {
        assert_eq!(windows(span(0, 60_000), 400, 400).len(), 1);
        assert_eq!(windows(span(0, 60_000), 401, 400).len(), 2);
        assert_eq!(windows(span(0, 60_000), 4_000, 400).len(), 13);
    }

    #[test]
    fn the_next_window_is_what_fits_the_time() {
        let sizes = Sizes::new(100);
        let mut pace = Pace::default();
        assert_eq!((sizes.next(60_000, pace), sizes.next(3_000, pace)), (400, 100));
        pace.note(100, 1_000);
        assert_eq!((sizes.next(60_000, pace), sizes.next(3_000, pace), sizes.next(-1, pace)), (400, 180, 1));
    }

    #[test]
    fn more_is_asked_for_than_the_window_even_where_the_server_cuts_at_seconds() {
        assert_eq!(asked(span(10_500, 20_001)), span(9_000, 22_000));
        assert_eq!(asked(span(10_000, 20_000)), span(9_000, 21_000));
    }
}
