//! The lease: says which run may write.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::time::Millis;

/// The time after a lease's end from which no request of its run can still arrive.
pub const LONG_OVER: TimeDelta = TimeDelta::minutes(15);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub run_id: String,
    pub until: Millis,
}

impl Lease {
    /// Whether no request of its run can still arrive. A Lambda runs for at most 15 minutes and sends nothing after its
    /// lease.
    pub fn is_long_over(&self, now: Millis) -> bool {
        self.until + LONG_OVER < now
    }

    /// Returns the lease with its end at the epoch: the run stored nothing under it and no longer holds it.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self { until: Millis(0), ..self }
    }

    pub fn is_of_nobody(&self) -> bool {
        self.until == Millis(0)
    }
}
