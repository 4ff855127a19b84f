//! What the process lends to its runs.

use crate::core::known::Memory;
use crate::incydr::client::Api;

/// What the process lends to its runs.
pub struct Clients {
    pub api: Api,
    pub s3: aws_sdk_s3::Client,
    pub memory: Memory,
}
