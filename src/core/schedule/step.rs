//! The steps that the schedule asks for.

use crate::core::checkpoint::{Recount, Window};
use crate::core::density::Sizes;
use crate::core::intervals::Span;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask how many rows a span has.
    Count { span: Span, tries: Tries },
    /// Open a window and read it.
    Open(WindowPlan),
    /// Read a window that a run left to the next one: nothing of it is stored.
    TakeOver(Window),
    /// Read a window that a run left open when it died or failed. `alone`: when nothing else is left to do.
    Resume { window: Window, alone: bool },
    /// Count a covered window again.
    Recount(Recount),
    /// Begin nothing until a step that is under way has ended.
    Wait,
    /// This run has nothing left to do.
    Done,
}

/// A window to open.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowPlan {
    pub span: Span,
    /// The API's count of this very span.
    pub counted: Option<u64>,
    /// Expected rows. None for a window that another run left, for a probe, and where the API counts no rows.
    pub(super) expected: Option<u64>,
    pub most_rows: u64,
    /// Expected size, gzipped; 0 while the size of a row is unknown.
    pub bytes: u64,
    pub tries: Tries,
    /// Whether its rows are requested even where the API counts none.
    pub reads_empty: bool,
    /// Unreadable rows outside of this span that count with its own for the drift rule: `StuckList::unreadable_around`,
    /// or 4 if more than three rows in a row couldn't be read before it.
    pub unreadable_beside: u64,
    /// Whether the window stores the rows that it shows and stays open with its bounds, if too many are unreadable, or
    /// if it disagrees and can't be cut. If false, it is closed and nothing of it is stored, unless another run may
    /// have stored some of it.
    pub keeps_shown: bool,
    /// With more rows than this it is cut again, if it may be.
    pub cut_above: u64,
    /// Runs died while they read it: it is read when nothing else is left to do.
    pub alone: bool,
}

/// The number of tries before a step counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// As often as the retry policy allows, and until the rows agree with the count.
    ByPolicy,
    /// Once: the span failed before, and is tried in smaller parts or later.
    Once,
    /// Once, to see whether the API answers at all.
    Probe,
}

impl WindowPlan {
    /// The plan for a window that another run left.
    pub fn of_left(span: Span, sizes: Sizes) -> Self {
        let most_rows = sizes.most();
        Self {
            span,
            counted: None,
            expected: None,
            most_rows,
            bytes: 0,
            tries: Tries::ByPolicy,
            // It may have been left because it shows rows that the API doesn't count.
            reads_empty: true,
            unreadable_beside: 0,
            keeps_shown: true,
            cut_above: sizes.limit_for(most_rows),
            alone: false,
        }
    }

    /// Whether this run cut the window by its expected rows.
    pub fn has_expected_rows(&self) -> bool {
        self.expected.is_some()
    }

    /// The rows that it has by the API's count, or at most.
    pub fn likely_rows(&self) -> u64 {
        self.counted.map_or(self.most_rows, |counted| counted.min(self.most_rows))
    }
}

impl Step {
    /// The span of a step that is begun.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Count { span, .. } => Some(*span),
            Self::Open(plan) => Some(plan.span),
            Self::TakeOver(window) | Self::Resume { window, .. } => Some(window.span),
            Self::Recount(recount) => Some(recount.span),
            Self::Wait | Self::Done => None,
        }
    }
}
