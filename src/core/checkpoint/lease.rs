//! The lease: which run may write.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::time::Millis;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub run_id: String,
    pub until: Millis,
}

impl Lease {
    /// Whether what its run sent can no longer be on its way: no Lambda runs for more than 15 minutes, and none sends
    /// anything after its lease.
    pub fn is_long_over(&self, now: Millis) -> bool {
        self.until + TimeDelta::minutes(15) < now
    }

    /// Of a run that surely stored nothing under it, and holds it no longer.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self { until: Millis(0), ..self }
    }

    pub fn is_of_nobody(&self) -> bool {
        self.until == Millis(0)
    }
}
