//! The outcomes of the schedule's steps.

use chrono::TimeDelta;

use super::{Task, TaskKind};
use crate::core::checkpoint::{Recount, Window};
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Span;
use crate::core::stuck::StuckItem;

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Counted {
        span: Span,
        rows: u64,
    },
    /// The span is to be asked for in parts. Nothing of it is stored.
    Cut {
        span: Span,
        why: CutReason,
    },
    NotCounted {
        span: Span,
        error: ErrorInfo,
    },
    /// A window is stored and covered. `rows` were shown, of which `inside` lie in the window.
    Read {
        span: Span,
        rows: u64,
        inside: u64,
        bytes: u64,
        took: TimeDelta,
    },
    /// The answers showed that the API's clock is behind ours. The window ends after the new horizon. This run stores
    /// nothing of it.
    TooEarly {
        span: Span,
        leaves: Leftover,
    },
    /// A window was not read.
    Unread {
        window: Window,
        error: ErrorInfo,
        why: UnreadReason,
    },
    /// Two or more runs died at this window. Nothing of it is stored; it is read alone, and in parts.
    Died {
        span: Span,
    },
    /// S3 fails for the window's objects. Some of it may be stored, so it keeps its bounds.
    NotStored {
        window: Window,
        error: ErrorInfo,
    },
    /// The run's time was over before the window was read.
    OutOfTime {
        window: Window,
        most_rows: u64,
        leaves: Leftover,
    },
    Recounted {
        span: Span,
    },
    /// A recount is replaced by recounts of its parts.
    RecountCut {
        span: Span,
        parts: Vec<Recount>,
    },
    /// The run had no time for the recount.
    RecountWaits {
        span: Span,
    },
    /// One slice of a recount was read. The rest comes after the other recounts.
    RecountGoesOn(Recount),
    NotRecounted {
        span: Span,
        error: ErrorInfo,
    },
}

/// The state of a window that the run could not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// This run planned it. Nothing of it is stored, and no other run is storing it.
    Planned,
    /// The run found it open. Nothing of it is stored, and no other run is storing it.
    Found,
    /// Some of it may be stored, or about to be: it stays open with its bounds.
    Stored,
}

/// The reason for which a span is asked for in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// It has more rows than a window may have.
    TooDense { rows: u64 },
    /// The API takes too long over it. `rows` is the number of rows that a window was to have; `None` for a count.
    TooLarge { rows: Option<u64> },
    /// The API showed more rows than it counts: its counts stop at `cap`.
    Capped { cap: u64 },
    /// Its records need more memory than a window may take. `rows` of the API's `total` made up `bytes`.
    TooHeavy { rows: u64, bytes: u64, total: u64 },
}

/// The reason for which a window was not read. It decides whether the window may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadReason {
    /// Its rows don't agree with the API's count. Nothing of it is stored.
    Disagreed,
    /// Too many of its rows are unreadable: `rows`. Nothing of it is stored.
    Unreadable { rows: u64 },
    /// The API fails for it. Nothing of it is stored.
    Failed,
    /// The rows that it showed are stored, so it keeps its bounds. `unreadable`: its unreadable rows, if they were too
    /// many.
    Kept { unreadable: u64 },
    /// Some of it may be stored under its own keys, so its bounds must not change.
    KeepsBounds,
}

impl Outcome {
    /// The thing that could not be read, and the error. None for any other outcome.
    pub fn failed(&self) -> Option<(StuckItem, &ErrorInfo)> {
        match self {
            Self::NotCounted { span, error } => Some((StuckItem::Span(*span), error)),
            Self::Unread { window, error, .. } | Self::NotStored { window, error } => {
                Some((StuckItem::Span(window.span), error))
            }
            Self::NotRecounted { span, error } => Some((StuckItem::Recount(*span), error)),
            _ => None,
        }
    }

    /// Whether `task` has this outcome.
    pub(super) fn ends(&self, task: &Task) -> bool {
        let (span, is_recount) = match self {
            Self::Counted { span, .. }
            | Self::Cut { span, .. }
            | Self::NotCounted { span, .. }
            | Self::Read { span, .. }
            | Self::TooEarly { span, .. }
            | Self::Died { span } => (*span, false),
            Self::Unread { window, .. } | Self::NotStored { window, .. } | Self::OutOfTime { window, .. } => {
                (window.span, false)
            }
            Self::Recounted { span }
            | Self::RecountCut { span, .. }
            | Self::RecountWaits { span }
            | Self::NotRecounted { span, .. } => (*span, true),
            Self::RecountGoesOn(recount) => (recount.span, true),
        };
        task.span == span && (task.kind == TaskKind::Recount) == is_recount
    }
}
