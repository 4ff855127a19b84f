//! Decides which missed records count as deleted.

use chrono::TimeDelta;

use crate::core::time::{DAY, Millis};

/// If more than one in 5 records of a list is missed at once, the list is doubted.
const ONE_IN: usize = 5;
/// Records that every reading of a day has missed count as deleted, however many they are.
pub const BELIEVED_AFTER: TimeDelta = DAY;

/// A record that at least two whole readings in a row have missed. The first of them was at `since`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub id: String,
    pub since: Millis,
}

/// The verdict on the records of a list that whole readings have missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub believed: Vec<String>,
    /// The number of records that are missed at once, if they are too many to be believed.
    pub doubted: usize,
}

impl Gone {
    /// `known` is the number of records of the list that were known before. If more than a fifth of them are missed at
    /// once, none of these counts as deleted until all readings of a day have missed it. A single record is always
    /// believed.
    pub fn of(missing: Vec<Missing>, known: usize, now: Millis) -> Self {
        let (old, new): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|missing| missing.since + BELIEVED_AFTER <= now);
        let is_much = new.len() > 1 && new.len() * ONE_IN > known - old.len();
        let doubted = if is_much { new.len() } else { 0 };
        let believed = old.into_iter().chain(new.into_iter().filter(|_| !is_much));
        Self { believed: believed.map(|missing| missing.id).collect(), doubted }
    }
}
