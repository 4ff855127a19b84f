//! Returns the key of a stored line, for callers that have only lines.

use crate::collect::inventory;
use crate::core::dialect::Dialect;
use crate::core::ndjson;
use crate::core::stream::Stream;
use crate::incydr::facts::Kind;

/// None for a stream without known records.
pub fn known_key(dialect: Dialect, stream: Stream, line: &str) -> Option<String> {
    match stream.kind_in(dialect)? {
        Kind::Events(_) | Kind::Findings(_) => None,
        Kind::Versions(facts) => ndjson::field(line, facts.list.field),
        Kind::Rescanned(facts) => facts.key_of(line),
        Kind::Inventory(facts) => inventory::key_of(facts, line),
    }
}
