//! What the process lends to its runs.

use crate::bucket::s3::S3;
use crate::core::known::Memory;
use crate::incydr::client::Api;

/// What the process lends to its runs.
pub struct Clients {
    pub api: Api,
    pub s3: S3,
    pub memory: Memory,
}
