//! The steps that the schedule asks for.

use crate::core::checkpoint::{Recount, Window};
use crate::core::density::Sizes;
use crate::core::intervals::Span;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask how many rows a span has.
    Count { span: Span, patience: Patience },
    /// Open a window and read it.
    Open(WindowPlan),
    /// Read a window that another run left open.
    Resume { window: Window, may_be_cut: bool },
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
    pub count: Option<u64>,
    /// Expected rows; `None` for a window that another run left.
    pub(super) expected: Option<u64>,
    /// Maximum rows.
    pub rows: u64,
    /// Expected size, gzipped; 0 while the size of a row is unknown.
    pub bytes: u64,
    pub patience: Patience,
    /// Whether its rows are requested even where the API counts none.
    pub reads_empty: bool,
    /// Unreadable rows elsewhere that are added to this span's, to decide whether the span has too many:
    /// `StuckList::unreadable_around`, or 4 if more than three rows in a row couldn't be read before it.
    pub unreadable_beside: u64,
    /// If it has too many unreadable rows, or disagrees and can't be cut, the rows that it shows are stored, and it stays
    /// open with its bounds. Otherwise nothing of it is stored.
    pub keeps_shown: bool,
    pub(super) too_many: u64,
}

/// The number of attempts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As often as the retry policy allows, and until the rows agree with the count.
    Full,
    /// Once: the span failed before, and is tried in smaller parts or later.
    Once,
    /// Once, to see whether the API answers at all.
    Probe,
}

impl WindowPlan {
    /// The plan for a window that another run left.
    pub fn of_left(span: Span, sizes: Sizes) -> Self {
        let (rows, too_many) = (sizes.most(), sizes.too_many(sizes.most()));
        let patience = Patience::Full;
        Self {
            span,
            count: None,
            expected: None,
            rows,
            bytes: 0,
            patience,
            // It may have been left because it shows rows that the API doesn't count.
            reads_empty: true,
            unreadable_beside: 0,
            keeps_shown: true,
            too_many,
        }
    }

    /// Whether this run planned the window, and did not find it open.
    pub fn is_planned(&self) -> bool {
        self.expected.is_some()
    }

    /// A window with more rows than this is cut again, if it may be.
    pub fn too_many(&self) -> u64 {
        self.too_many
    }
}

impl Step {
    /// The span of a step that is begun.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Count { span, .. } => Some(*span),
            Self::Open(plan) => Some(plan.span),
            Self::Resume { window, .. } => Some(window.span),
            Self::Recount(recount) => Some(recount.span),
            Self::Wait | Self::Done => None,
        }
    }
}
