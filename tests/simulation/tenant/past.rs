//! What the oracle must know of the tenant's past.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::history::History;
use crate::oddities::Loss;

#[derive(Default)]
pub struct Past {
    /// The history of each stream whose records may change.
    pub histories: BTreeMap<&'static str, History>,
    pub(super) removed_users: usize,
    /// The instant at which something was last removed from a stream's lists. A list that is being read then may skip a
    /// record, and if another one was added meanwhile the total doesn't show it.
    pub taken: BTreeMap<&'static str, DateTime<Utc>>,
    /// Users that one reading lacks.
    pub missed: BTreeSet<String>,
    /// Users that are hidden for a while.
    pub(super) halved: Vec<Arc<str>>,
    pub(super) halved_before: BTreeSet<String>,
    /// Sessions are not filtered by their beginning.
    pub filters_otherwise: bool,
    /// An earlier version of the checkpoint, to be put back.
    pub older: Option<Bytes>,
    /// From then on it may be told again, and that it was lost: of this stream, if it was one's.
    pub lost: Option<(Loss, &'static str)>,
    /// Streams of which other things may be set aside too.
    pub set_aside_too: BTreeSet<&'static str>,
    pub(super) further: super::further::Past,
    /// The unreadable rows by stream, as they are served.
    pub malformed: BTreeMap<&'static str, BTreeSet<String>>,
    /// Event records that may be found long after their window was covered.
    pub late: BTreeSet<Arc<str>>,
    pub(super) changes: u64,
}

impl Past {
    /// Whether what is stored of such a stream may be stored once more: nothing says any longer that it is.
    pub fn may_repeat(&self, stream: &str) -> bool {
        match self.lost {
            Some((Loss::Checkpoint, _)) => true,
            Some((Loss::Known | Loss::KnownOfAny, of)) => stream == of,
            _ => false,
        }
    }

    /// The unreadable rows that a stream requests.
    pub fn malformed_of(&self, stream: &str) -> BTreeSet<String> {
        let stream = if stream == "user_roles" { "users" } else { stream };
        self.malformed.get(stream).cloned().unwrap_or_default()
    }
}
