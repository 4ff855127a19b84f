//! Which missed records count as deleted.

use chrono::TimeDelta;

use crate::core::time::{DAY, Millis};

/// More than one in 5 records of a list, gone at once, is doubted.
const ONE_IN: usize = 5;
/// After a day in which every reading missed them, records are gone, however many they are.
pub const BELIEVED_AFTER: TimeDelta = DAY;

/// A record that two or more whole readings in a row have missed, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub id: String,
    pub since: Millis,
}

/// The verdict on the records of a list that whole readings have missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub believed: Vec<String>,
    /// How many records would be gone at once, where they are too many to believe it.
    pub doubted: usize,
}

impl Gone {
    /// `known` is how many records of the list were known before. If more than a fifth of them would be gone at once, the
    /// list is wrong, unless all readings of a day agree. A single record may always go.
    pub fn of(missing: Vec<Missing>, known: usize, now: Millis) -> Self {
        let (old, new): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|missing| missing.since + BELIEVED_AFTER <= now);
        let is_much = new.len() > 1 && new.len() * ONE_IN > known - old.len();
        let doubted = if is_much { new.len() } else { 0 };
        let believed = old.into_iter().chain(new.into_iter().filter(|_| !is_much));
        Self { believed: believed.map(|missing| missing.id).collect(), doubted }
    }
}
