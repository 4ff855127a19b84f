//! An inventory's part of the checkpoint.

use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::{StateObject, StoredState};
use crate::core::json::is_default;
use crate::core::time::Millis;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryState {
    /// When the last whole reading was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_to: Option<Millis>,
    /// A reading that goes on over several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    pub stored: StoredState,
    /// So many whole readings are believed, however much is gone: a person said so.
    #[serde(skip_serializing_if = "is_default")]
    pub accept_deletions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    pub began: Millis,
    /// The list to go on with, of those that make up the stream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub part: usize,
    /// The record whose list was the last to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The page to go on from.
    pub page: u64,
    /// What was read so far.
    pub seen: Option<StateObject>,
    /// How many rows of the list's pages so far were set aside.
    pub set_aside: u64,
    /// The list's rows have another form than they should have, so its end is an error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_drifted: bool,
    /// How many rows the lists before it have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rows: u64,
    /// How many the API counts there, where it tells of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// One of the lists couldn't be read whole, so that nothing is missed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_partial: bool,
    /// One failed and was passed over, so that not all is covered when the reading ends. Since format 5 it is stuck.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lacks: bool,
    /// How many runs ended before the reading did, since a list didn't agree with its total and was begun again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_since_restart: Option<u32>,
}

impl Pass {
    pub fn new(began: Millis) -> Self {
        let (seen, counted) = (None, Some(0));
        Self {
            began,
            part: 0,
            parent: None,
            page: 0,
            seen,
            set_aside: 0,
            is_drifted: false,
            rows: 0,
            counted,
            is_partial: false,
            lacks: false,
            runs_since_restart: None,
        }
    }

    pub fn next_part(&mut self) {
        self.part += 1;
        (self.parent, self.page, self.set_aside, self.runs_since_restart) = (None, 0, 0, None);
    }

    pub fn is_at_beginning(&self) -> bool {
        self.part == 0 && self.page == 0 && self.runs_since_restart.is_none()
    }
}
