//! The fingerprints of one version of a record.

use chrono::TimeDelta;

use crate::core::ndjson::{FieldPath, Fingerprint, canonical};
use crate::core::time::{DAY, Millis};

/// A record of which only volatile fields change is stored again once a day.
const STEADY_FOR: TimeDelta = DAY;

/// A version of a record, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordVersion {
    /// The fingerprint of the whole record. It doesn't depend on the order of its fields.
    pub(super) full: Fingerprint,
    /// The fingerprint without the volatile fields, and the instant at which it was stored. None for a stream without
    /// such fields.
    pub(super) steady: Option<(Fingerprint, Millis)>,
}

impl RecordVersion {
    /// The version of a record that is stored `at` an instant. A change of `volatile` fields alone is no change.
    pub fn of(line: &str, volatile: &[FieldPath], at: Millis) -> Self {
        let of = |but_for| Fingerprint::of(&canonical(line.as_bytes(), but_for));
        Self { full: of(&[]), steady: (!volatile.is_empty()).then(|| (of(volatile), at)) }
    }

    /// Whether this version need not be stored: it equals the stored one, or differs only in volatile fields and the
    /// stored one is less than a day old.
    pub(super) fn is_same(&self, stored: &Self) -> bool {
        let moved = self.steady.zip(stored.steady);
        self.full == stored.full || moved.is_some_and(|(now, then)| now.0 == then.0 && now.1 < then.1 + STEADY_FOR)
    }
}
