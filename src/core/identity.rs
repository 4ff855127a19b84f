//! Whose data is collected.

use serde::{Deserialize, Serialize};

/// Whose data this is the checkpoint of. A run for another is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// As the API's token tells it; null when it doesn't.
    pub tenant: Option<String>,
    pub base_url: String,
    pub bucket: String,
    pub prefix: String,
}

/// A base URL as the settings have it; an older checkpoint may have it as it was written.
pub fn normalised(base_url: &str) -> String {
    base_url.trim_end_matches('/').to_ascii_lowercase()
}
