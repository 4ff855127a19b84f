//! The SHA-256 of bytes, in hex: of manifests, of what is set aside, of settings.

use sha2::{Digest, Sha256};

use crate::core::ndjson::hex;

pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}
