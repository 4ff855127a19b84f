//! What is wrong with agents, users and observers: no dataset of the API, but found in several. Once a day.

use crate::core::time::DAY;
use crate::incydr::facts::kind::{Facts, Findings, Kind};

/// Without some of the permissions the findings that need them are left out.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Findings(Findings { every: DAY }),
};
