//! Estimates the rows that an event stream has per span, from what this run has seen, and cuts windows by that.

use chrono::TimeDelta;

use crate::core::intervals::Span;
use crate::core::time::{DAY, Millis, SECOND, millis, scaled};

/// Requests begin 1 s before their window and end at the next whole second. So they return every row of the window,
/// whether the API's filter cuts at milliseconds or at seconds, inclusive or not.
pub const MARGIN: TimeDelta = SECOND;
/// A window is at least 2 s long. In a shorter one the margins would hold more rows than the window.
pub const SHORTEST: TimeDelta = TimeDelta::seconds(2);
/// A window is at most a day long, because each of its hours becomes an object.
pub const LONGEST: TimeDelta = DAY;
/// If the last window or count was not typical, the next window is at most 8 times as long.
const GROWTH: f64 = 8.0;
/// A span is counted before it is read if, at its average density, it may have 16 times the rows that a window may
/// have.
const LIKELY_TOO_MANY: f64 = 16.0;
/// Limit for a window's records, which are held in memory until they are stored, in gzipped bytes as far as known.
const MOST_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

/// Spans with their numbers of rows, disjoint and in order.
#[derive(Clone, Debug, Default)]
pub struct Density {
    pieces: Vec<Piece>,
    /// The last window or count that ended.
    last: Option<Last>,
    /// The greatest number that the API counts to, if it has shown one.
    cap: Option<u64>,
    counts: usize,
}

/// The number of rows in a span.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub span: Span,
    pub rows: u64,
    /// The number is the API's own count, and nothing was subtracted.
    pub is_exact: bool,
    /// The count that this is a part of.
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    span: Span,
    /// Rows per millisecond, averaged over similar windows before it.
    density: f64,
    /// It had at least a third of the rows that it could have had.
    is_typical: bool,
}

/// The next step at the beginning of a gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NextSpan {
    Count(Span),
    /// Wait: a window or count under way determines where to cut.
    Wait,
    Read {
        span: Span,
        count: Option<u64>,
        expected: Option<u64>,
    },
}

impl Density {
    /// Notes the API's count of a span.
    pub fn note_count(&mut self, span: Span, rows: u64) {
        self.put(span, rows);
        self.last = Some(Last { span, density: per_milli(span, rows), is_typical: false });
    }

    /// Notes that a window was planned, with its expected rows.
    pub fn note_plan(&mut self, span: Span, expected: u64) {
        let Some(whole) = self.at(span.from).filter(|piece| piece.span != span) else { return };
        self.put(span, expected);
        for piece in self.pieces.iter_mut().filter(|piece| piece.span == span) {
            (piece.is_exact, piece.count) = (false, whole.count);
        }
    }

    /// Notes that a window was read: `inside` is the number of rows that lie in it, `most` how many it could have had.
    pub fn note_read(&mut self, span: Span, inside: u64, most: u64) {
        self.correct(span, inside);
        self.pieces.retain(|piece| piece.span != span);
        let (density, is_typical) = (per_milli(span, inside), 3 * inside >= most);
        let before = self.last.filter(|last| last.is_typical && is_typical).map(|last| last.density);
        let before = before.filter(|before| (0.7..1.4).contains(&(density / before)));
        let density = before.map_or(density, |before| (density + 2.0 * before) / 3.0);
        self.last = Some(Last { span, density, is_typical });
    }

    /// Moves the difference between expected and real rows of a window to the rest of its count.
    fn correct(&mut self, span: Span, rows: u64) {
        let Some(piece) = self.pieces.iter().find(|piece| piece.span == span).copied() else { return };
        let rest = self.pieces.iter_mut().filter(|rest| rest.count == piece.count && rest.span > span);
        if let Some(rest) = rest.last() {
            rest.rows = (rest.rows + piece.rows).saturating_sub(rows);
        }
    }

    /// Notes that a window has more rows than it may have.
    pub fn note_too_dense(&mut self, span: Span, rows: u64) {
        self.correct(span, rows);
        self.put(span, rows);
        // The rows may be anywhere in the window. So each window waits for the one before it, until one is typical.
        let before = Span { from: span.from - span.length(), to: span.from };
        self.last = Some(Last { span: before, density: per_milli(span, rows), is_typical: false });
    }

    /// Notes that the API's counts stop at `at`, because it returned more rows than it counted.
    pub fn note_cap(&mut self, at: u64) {
        self.cap = Some(self.cap.map_or(at, |cap| cap.min(at)));
        self.pieces.retain(|piece| piece.rows < at);
        self.last = None;
    }

    /// Whether a count may be a cap: it has reached one that was seen before, or is a multiple of 10,000.
    pub fn may_be_capped(&self, rows: u64) -> bool {
        self.cap.is_some_and(|cap| rows >= cap) || rows > 0 && rows.is_multiple_of(10_000)
    }

    /// Replaces the rows of a span. The spans around it keep the rest of their rows.
    fn put(&mut self, span: Span, rows: u64) {
        let mut rest = Vec::new();
        self.counts += 1;
        let count = self.counts;
        self.pieces.retain(|piece| {
            let Some(inner) = piece.span.intersection(span) else { return true };
            let gone = if inner == span { rows } else { share(piece.rows, inner.length(), piece.span.length()) };
            let left = piece.rows.saturating_sub(gone);
            let around = [Span::new(piece.span.from, inner.from), Span::new(inner.to, piece.span.to)];
            let length: TimeDelta = around.iter().flatten().map(|span| span.length()).sum();
            for span in around.into_iter().flatten() {
                let rows = share(left, span.length(), length);
                rest.push(Piece { span, rows, is_exact: false, count: piece.count });
            }
            false
        });
        self.pieces.extend(rest);
        self.pieces.push(Piece { span, rows, is_exact: true, count });
        self.pieces.sort_by_key(|piece| piece.span);
    }

    pub fn at(&self, at: Millis) -> Option<Piece> {
        self.pieces.iter().find(|piece| piece.span.contains(at)).copied()
    }

    /// Returns the next window at the beginning of a gap, or the span to count first. `most` takes the rows expected in
    /// the rest of the count, and returns how many the window may have.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn cut(&self, gap: Span, is_busy: bool, most: impl FnOnce(u64) -> u64) -> NextSpan {
        let Some(piece) = self.at(gap.from) else { return NextSpan::Count(gap) };
        let Some(counted) = piece.span.intersection(gap) else { return NextSpan::Count(gap) };

        let is_whole = counted == piece.span;
        let rows = if is_whole { piece.rows } else { share(piece.rows, counted.length(), piece.span.length()) };
        let is_exact = piece.is_exact && is_whole;
        if self.may_be_capped(rows) && is_exact && counted.length() >= SHORTEST * 2 {
            return NextSpan::Count(first_half(counted));
        }

        let most = most(rows.max(1));
        if rows == 0 && !is_exact {
            // The rest of a piece whose rows have all been read. One count says whether it is empty.
            return NextSpan::Count(counted);
        }
        if rows <= most && counted.length() <= LONGEST {
            let count = is_exact.then_some(rows);
            return NextSpan::Read { span: counted, count, expected: Some(rows) };
        }
        if is_sparse(counted, rows) {
            return NextSpan::Count(first_half(counted));
        }

        // 5 % below the limit: a window that is slightly denser than expected still fits its pages.
        let target = most as f64 * 0.95;
        let average = per_milli(counted, rows);
        let last = self.last.filter(|last| last.is_typical || last.span.to == counted.from || is_busy);
        let ideal = match last {
            // The last window was not typical, or the rest has more than twice the rows that its density predicts. The
            // window under way shows where they begin.
            Some(last) if is_busy && (!last.is_typical || average > 2.0 * last.density) => return NextSpan::Wait,
            Some(last) if last.is_typical => target / last.density,
            Some(last) => (target / last.density).min(in_millis(last.span.length()) * GROWTH),
            None => target / average,
        };

        let is_sure = is_exact || last.is_none_or(|last| last.is_typical) || average * ideal < target * LIKELY_TOO_MANY;
        let fits = (millis(ideal.min(1e15) as i64) - MARGIN).max(SHORTEST);
        let fits = if rows > most { fits.min((counted.length() / 2).max(SHORTEST)) } else { fits };
        if is_sure {
            let span = first(counted, fits.min(LONGEST));
            return NextSpan::Read { span, count: None, expected: Some(share(rows, span.length(), counted.length())) };
        }
        NextSpan::Count(first(counted, fits))
    }
}

/// Whether counts, which halve a span until each row's day is found, take less than half as many requests as windows of
/// a day. A half without rows is covered by its count.
#[allow(clippy::cast_precision_loss)]
fn is_sparse(span: Span, rows: u64) -> bool {
    let days = in_millis(span.length()) / in_millis(LONGEST);
    days > 2.0 && (rows.max(1) as f64 + 1.0) * days.log2() < days / 2.0
}

/// Rows per millisecond.
#[allow(clippy::cast_precision_loss)]
fn per_milli(span: Span, rows: u64) -> f64 {
    rows as f64 / in_millis(span.length())
}

#[allow(clippy::cast_precision_loss)]
fn in_millis(length: TimeDelta) -> f64 {
    length.num_milliseconds() as f64
}

/// The speed at which this run read the rows of its last window, and their size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    per_row: Option<PerRow>,
}

#[derive(Clone, Copy, Debug)]
struct PerRow {
    millis: f64,
    /// A row's gzipped bytes.
    bytes: f64,
    /// A page's time, in milliseconds.
    page_millis: f64,
    /// The number of steps that were under way together, this one included.
    at_once: f64,
}

impl Pace {
    pub fn is_unknown(self) -> bool {
        self.per_row.is_none()
    }

    /// Notes a window that took `pages`, while `at_once` steps were under way.
    #[allow(clippy::cast_precision_loss)]
    pub fn note(&mut self, rows: u64, bytes: u64, took: TimeDelta, pages: u64, at_once: usize) {
        if rows > 0 {
            let (rows, took) = (rows as f64, in_millis(took).max(1.0));
            let (page_millis, at_once) = (took / pages.max(1) as f64, at_once.max(1) as f64);
            self.per_row =
                Some(PerRow { millis: took / rows, bytes: bytes.max(1) as f64 / rows, page_millis, at_once });
        }
    }

    /// The expected gzipped size of this many rows, plus 10 %. 0 until a window was read.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn bytes(self, rows: u64) -> u64 {
        self.per_row.map_or(0, |per_row| (per_row.bytes * rows as f64 * 1.1) as u64)
    }
}

/// The rest of a run for reading windows.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub time: TimeDelta,
    /// The requests that the budget allows in this time, without those that windows under way will need.
    pub requests: u64,
}

/// The requests of a window beside those for its full pages: a count, and a page for rows of the margins.
pub const BESIDE_PAGES: u64 = 2;

/// The limits for the rows of a window.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub full_page: u64,
}

impl Sizes {
    /// A window has at most four full pages of rows by the API's count.
    pub fn most(self) -> u64 {
        4 * self.full_page
    }

    /// Returns the most rows that a window planned for `rows` may have: one page more is read all the same.
    pub fn limit_for(self, rows: u64) -> u64 {
        rows.saturating_add(self.full_page)
    }

    pub fn pages(self, rows: u64) -> u64 {
        rows.div_ceil(self.full_page).max(1)
    }

    /// The requests that a window with this many rows needs.
    pub fn requests(self, rows: u64) -> u64 {
        self.pages(rows) + BESIDE_PAGES
    }

    /// Returns how many of `count` rows the next window may have: as many as fit in 60 % of the time that is `left`, in
    /// the requests that are left, and in memory, in full pages if it is more than one. Until the pace is known it is
    /// one page, unless all rows fit one window and 20 s are left.
    ///
    /// `busy` steps are under way. An API that answers one request after the other takes longer over each if there are
    /// more than when the pace was noted. None if the window could not end: then it is begun only if nothing is under
    /// way.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn next(self, count: u64, left: Left, pace: Pace, busy: usize) -> Option<u64> {
        const PLENTY: TimeDelta = TimeDelta::seconds(20);
        const SHARE_OF_TIME: f64 = 0.6;
        /// A page up to this size takes as long with fewer rows, because the API's search is most of it.
        const LIGHT: f64 = 512.0 * 1024.0;
        let in_budget = left.requests.saturating_sub(BESIDE_PAGES).max(1).saturating_mul(self.full_page);
        let Some(PerRow { millis, bytes, page_millis, at_once }) = pace.per_row else {
            let is_short = count <= self.most() && left.time >= PLENTY;
            return Some(if is_short { self.most().min(in_budget) } else { self.full_page });
        };

        let slower = ((busy + 1) as f64 / at_once).max(1.0);
        let time = in_millis(left.time).max(0.0) * SHARE_OF_TIME / slower;
        let full = self.full_page as f64;
        let is_light = bytes * full <= LIGHT;
        let in_time = if is_light { (time / page_millis).floor() * full } else { time / millis };
        if in_time < 1.0 && busy > 0 {
            return None;
        }
        let least = if is_light { full } else { 1.0 };

        let fits = (in_time.max(least).min(MOST_BYTES / bytes) as u64).clamp(1, self.most()).min(in_budget);
        Some(if fits > self.full_page { fits / self.full_page * self.full_page } else { fits })
    }
}

/// The span that is requested for a window.
pub fn asked(window: Span) -> Span {
    Span { from: window.from.floor(SECOND) - MARGIN, to: window.to.ceil(SECOND) }
}

/// Returns the first `length` of a span, up to a whole second. The whole span if less than 2 s would be left.
pub fn first(span: Span, length: TimeDelta) -> Span {
    if length >= span.length() {
        return span;
    }
    let to = (span.from + length).ceil(SECOND);
    Span { to: if to + SHORTEST > span.to { span.to } else { to }, ..span }
}

fn first_half(span: Span) -> Span {
    first(span, span.length() / 2)
}

/// The share of `whole` for `part` of `of`, rounded down.
pub fn share(whole: u64, part: TimeDelta, of: TimeDelta) -> u64 {
    let [part, of] = [part, of].map(|length| u128::from(length.num_milliseconds().unsigned_abs()));
    let exact = u128::from(whole) * part / of.max(1);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Cuts a span into `parts` of about equal length, at least 2 s and not much more than a day, at whole seconds if
/// possible.
pub fn cut(span: Span, parts: u64) -> Vec<Span> {
    let [length, shortest, longest] =
        [span.length(), SHORTEST, LONGEST].map(|length| length.num_milliseconds().unsigned_abs());
    let most = (length / shortest).max(1);
    let parts = parts.clamp(length.div_ceil(longest).min(most), most);
    let mut from = span.from;
    let mut cut = Vec::new();
    for n in 1..=parts {
        let to = (span.from + scaled(span.length(), n, parts)).floor(SECOND);
        let to = if n == parts { span.to } else { to };
        cut.extend(Span::new(from, to));
        from = from.max(to);
    }
    cut
}

/// Cuts a span into halves. None if they would be shorter than 2 s.
pub fn halves(span: Span) -> Option<[Span; 2]> {
    if span.length() < SHORTEST * 2 {
        return None;
    }
    let middle = (span.from + span.length() / 2).floor(SECOND);
    Some([Span::new(span.from, middle)?, Span::new(middle, span.to)?])
}
