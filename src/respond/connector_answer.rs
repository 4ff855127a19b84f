//! An HTTP answer in the form of the vendor's SOAR connector.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectorAnswer {
    pub status_code: u16,
    pub reason: String,
    pub response_headers: Map<String, Value>,
    pub json_body: Value,
}

impl ConnectorAnswer {
    pub fn message(status_code: u16, reason: &str, message: &str) -> Self {
        Self {
            status_code,
            reason: reason.to_owned(),
            response_headers: Map::new(),
            json_body: json!({"message": message}),
        }
    }
}
