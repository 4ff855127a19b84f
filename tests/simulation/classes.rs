//! The classes of keys, by which requests to S3 have their ordinals: the stored streams, and the kinds of state.

use crate::backfill;
use crate::oracle::{PREFIX, STATE};
use crate::streams;

pub const CLASSES: [&str; 10] = [
    "checkpoint",
    "known",
    "set-aside",
    "file_events",
    "audit",
    "users",
    "cases",
    "manifests",
    "collector_health",
    backfill::CLASS,
];

/// The classes of the further streams, separate so that the others' ordinals stay the same.
pub const OTHER_KNOWN: &str = "known of others";
pub const OTHER_SET_ASIDE: &str = "set-aside of others";

/// The stream, or the kind of state, that a key belongs to.
pub fn class(key: &str) -> String {
    let rest = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(STATE)).unwrap_or(key);
    let mut parts = rest.split(['/', '.']);
    let class = parts.next().unwrap_or_default();
    match (class, parts.next().is_some_and(|stream| streams::FURTHER.iter().any(|further| further.name == stream))) {
        ("known", true) => OTHER_KNOWN.to_owned(),
        ("set-aside", true) => OTHER_SET_ASIDE.to_owned(),
        (class, _) => class.to_owned(),
    }
}

pub fn classes() -> impl Iterator<Item = &'static str> {
    let further = streams::FURTHER.iter().map(|stream| stream.name);
    CLASSES.into_iter().chain([OTHER_KNOWN, OTHER_SET_ASIDE]).chain(further)
}
