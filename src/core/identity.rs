//! The identity: whose data is collected.

use serde::{Deserialize, Serialize};

use crate::core::dialect::Dialect;

/// The tenant, API, bucket and prefix that a checkpoint belongs to. A run for another identity is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The tenant that the API's token names; null if it names none.
    pub tenant: Option<String>,
    pub base_url: String,
    pub bucket: String,
    pub prefix: String,
    /// The API's dialect, which decides under which class a stream's state lies. It is a setting and is not written.
    #[serde(skip)]
    pub dialect: Dialect,
}

#[cfg(test)]
impl Identity {
    pub fn example() -> Self {
        let (base_url, bucket, prefix) = ("https://a".to_owned(), "b".to_owned(), "c/".to_owned());
        Self { tenant: None, base_url, bucket, prefix, dialect: Dialect::Sdk }
    }
}

/// Normalises a base URL as the settings do. Older checkpoints may hold it unnormalised.
pub fn normalised(base_url: &str) -> String {
    base_url.trim_end_matches('/').to_ascii_lowercase()
}
