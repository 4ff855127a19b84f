//! What of a stream is still to be read in this run, and how it went so far.

use std::collections::VecDeque;

use super::plan::{Pace, cut, first, samples, share};
use super::window::{Done, Opened};
use crate::collect::error::Error;
use crate::core::checkpoint::Window;
use crate::core::intervals::{Intervals, Span};
use crate::core::time::Millis;

/// After so many windows in a row that failed it is the API that fails, not a window.
const FAILURES_IN_A_ROW: u32 = 3;
/// A gap that can't be counted is counted in so many pieces, and so is each of these.
const PIECES: u64 = 8;
/// After so many of the shortest in a row nothing of that gap can be counted: its ends and its middle come first, and
/// where one of these can be counted, more may fail, for with its margin an instant lies in three.
const UNCOUNTED_AT_FIRST: u32 = 3;
const UNCOUNTED_IN_A_ROW: u32 = 5;

pub struct Backlog {
    /// Windows end here at the latest.
    pub horizon: Millis,
    /// What failed and is not tried again in this run, so that it holds up nothing that is younger.
    pub skipped: Intervals,
    pub failed: Option<Error>,
    /// An error has ended the reading of this stream.
    pub is_over: bool,
    pub pace: Pace,
    /// By runs before this one, oldest first.
    left_open: VecDeque<Window>,
    /// Of windows that were cut again.
    parts: VecDeque<Planned>,
    /// Of a gap that could not be counted as a whole. The newest is the last, and looked at first: so what is wrong with
    /// the past holds up nothing that is younger.
    pieces: Vec<Span>,
    /// That gap, and whether anything of it could be counted.
    in_pieces: Option<Span>,
    is_countable: bool,
    /// The last count.
    pub has_just_failed: bool,
    /// What is left of the span that was counted last.
    counted: Option<Counted>,
    failures_in_a_row: u32,
    uncounted_in_a_row: u32,
}

/// A window that is to be read.
#[derive(Clone, Debug)]
pub struct Planned {
    pub span: Span,
    /// The API's own, where it was just asked for this very span.
    pub count: Option<u64>,
    /// How many rows it may hold.
    pub rows: u64,
    /// How many of those that were counted were taken to lie in it.
    pub expected: Option<u64>,
    /// How large it may become, gzipped, as far as is known.
    pub bytes: u64,
    /// It is half of one that failed.
    pub is_half: bool,
}

struct Counted {
    span: Span,
    rows: u64,
    /// Nothing was taken off yet: the rows are the API's own count.
    is_exact: bool,
}

impl Backlog {
    pub fn new(horizon: Millis, left_open: Vec<Window>) -> Self {
        let mut left_open = left_open;
        left_open.sort_by_key(|window| window.span);
        Self {
            horizon,
            skipped: Intervals::default(),
            failed: None,
            is_over: false,
            pace: Pace::default(),
            left_open: left_open.into(),
            parts: VecDeque::new(),
            pieces: Vec::new(),
            in_pieces: None,
            is_countable: false,
            has_just_failed: false,
            counted: None,
            failures_in_a_row: 0,
            uncounted_in_a_row: 0,
        }
    }

    /// `rows` is the most that a window may hold.
    pub fn left_open(&mut self, rows: u64) -> Option<Opened> {
        let window = self.left_open.pop_front()?;
        let planned = Planned::uncounted(window.span, rows);
        Some(Opened { window, planned })
    }

    pub fn part(&mut self) -> Option<Planned> {
        self.parts.pop_front()
    }

    pub fn counted(&mut self, span: Span, rows: u64) {
        self.counted = Some(Counted { span, rows, is_exact: true });
        self.uncounted_in_a_row = 0;
        self.has_just_failed = false;
        self.is_countable = true;
    }

    /// It is counted in pieces, and what is too short for that is skipped; and all of the gap, once there is no use in
    /// it. If another one can't be counted then, it is the API that fails, not a gap.
    pub fn uncounted(&mut self, span: Span, error: Error) -> Result<(), Error> {
        if self.in_pieces.is_none() && self.uncounted_in_a_row >= UNCOUNTED_AT_FIRST {
            return Err(error);
        }
        self.has_just_failed = true;
        let pieces = cut(span, PIECES);
        if pieces.len() > 1 {
            self.pieces.extend(pieces);
        } else {
            self.skipped.insert(span);
            self.uncounted_in_a_row += 1;
            self.failed.get_or_insert(error);
        }
        let gap = *self.in_pieces.get_or_insert_with(|| {
            self.is_countable = false;
            self.pieces.extend(samples(span));
            span
        });
        let most = if self.is_countable { UNCOUNTED_IN_A_ROW } else { UNCOUNTED_AT_FIRST };
        if self.uncounted_in_a_row >= most {
            self.skipped.insert(gap);
            self.pieces.clear();
            self.in_pieces = None;
        }
        Ok(())
    }

    /// What is owed of the newest piece of which anything is.
    pub fn first_of_pieces(&mut self, owed: &Intervals) -> Option<Span> {
        while let Some(piece) = self.pieces.last() {
            if let Some(gap) = owed.within(*piece).first() {
                return Some(gap);
            }
            self.pieces.pop();
        }
        self.in_pieces = None;
        None
    }

    /// A window at the beginning of a gap, if it is known how dense that is. `rows` says how many it may hold, of as many.
    pub fn of_counted(&mut self, gap: Span, rows: impl FnOnce(u64, Pace) -> u64) -> Option<Planned> {
        let counted = self.counted.as_mut().filter(|counted| counted.rows > 0)?;
        let gap = counted.span.intersection(gap).filter(|known| known.from == gap.from)?;
        let rows = rows(counted.rows, self.pace);
        let span = first(gap, counted.rows, rows);
        let is_whole = counted.is_exact && span == counted.span;
        let count = is_whole.then_some(counted.rows);
        let expected = share(counted.rows, span.millis(), gap.millis());
        counted.rows -= expected;
        counted.is_exact = false;
        counted.span.from = span.to;
        let bytes = self.pace.bytes(expected);
        Some(Planned { span, count, rows, expected: Some(expected), bytes, is_half: false })
    }

    /// An error ends the reading of this stream.
    pub fn note(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Covered { rows, inside, expected, bytes, millis } => {
                self.pace.note(rows, bytes, millis);
                self.failures_in_a_row = 0;
                // Records don't come evenly: what is left holds so many more, or fewer.
                if let (Some(counted), Some(expected)) = (&mut self.counted, expected) {
                    counted.rows = (counted.rows + expected).saturating_sub(inside);
                }
            }
            Done::CutAgain { parts, .. } => {
                for part in parts.into_iter().rev() {
                    self.parts.push_front(part);
                }
            }
            Done::Failed { window, error, .. } => {
                self.skipped.insert(window.span);
                self.failures_in_a_row += 1;
                if self.failures_in_a_row >= FAILURES_IN_A_ROW {
                    return Err(error);
                }
                self.failed.get_or_insert(error);
            }
        }
        Ok(())
    }
}

impl Planned {
    /// Of which nothing is known but that it may hold so many rows.
    pub fn uncounted(span: Span, rows: u64) -> Self {
        Self { span, count: None, rows, expected: None, bytes: 0, is_half: false }
    }
}

impl Planned {
    pub fn cut_again(&self, parts: u64, is_half: bool) -> Vec<Self> {
        let part = |span: Span| {
            let expected = self.expected.map(|rows| share(rows, span.millis(), self.span.millis()));
            Self { span, count: None, expected, bytes: 0, is_half, ..self.clone() }
        };
        cut(self.span, parts).into_iter().map(part).collect()
    }
}
