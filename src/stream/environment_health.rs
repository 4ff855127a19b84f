//! What is wrong with agents, users and observers: no dataset of the API, but found in several. Once a day.

use super::{Facts, Findings, Kind};
use crate::time::DAY;

/// Without some of the permissions the findings that need them are left out.
pub static FACTS: Facts = Facts {
    name: "environment_health",
    also: &[],
    permission: "Agents: Read (with Users, Legal Hold, Cases and File Events: Read for all findings)",
    newest: None,
    kind: Kind::Findings(Findings { every: DAY }),
};
