//! `VOLATILE_FIELDS`: the fields that only say that a record was seen again.

use std::collections::BTreeMap;

use crate::core::ndjson::FieldPath;
use crate::core::settings::checks::bad;
use crate::core::settings::error::SettingsError;
use crate::core::stream::Stream;

/// Parses `<stream>.<field>` or, for nested fields, `<stream>.<field>.<field>`, separated by commas. May be empty.
pub(super) fn volatile_fields(held: &str) -> Result<BTreeMap<Stream, Vec<FieldPath>>, SettingsError> {
    let mut fields: BTreeMap<Stream, Vec<FieldPath>> = BTreeMap::new();
    if held.is_empty() {
        return Ok(fields);
    }
    for part in held.split(',') {
        let refused = |why: String| {
            let takes = "it takes <stream>.<field> separated by commas (\"agents.lastConnected\"), or nothing";
            bad("VOLATILE_FIELDS", held, format!("{why}; {takes}"))
        };
        let mut names = part.trim().split('.');
        let stream = names.next().unwrap_or_default();
        let path: FieldPath = names.map(str::to_owned).collect();
        if path.is_empty() || path.iter().any(String::is_empty) {
            return Err(refused(format!("{:?} is not a stream and a field", part.trim())));
        }
        let stream = Stream::parse(stream).map_err(refused)?;
        if !stream.class().is_compared() {
            return Err(refused(format!("{stream} has no volatile fields: each of its records is stored once")));
        }
        fields.entry(stream).or_default().push(path);
    }
    Ok(fields)
}
