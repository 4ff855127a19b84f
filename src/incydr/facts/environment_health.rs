//! Findings about agents, users and observers. They are no dataset of the API but are derived from several, once a day.

use crate::core::time::DAY;
use crate::incydr::facts::kind::{Facts, Findings, Kind};

/// If a permission is missing, the checks that need it are left out.
pub static FACTS: Facts = Facts {
    newest: None,
    kind: Kind::Findings(Findings { every: DAY }),
};
