//! Reads a checkpoint: of this format, of an older one, or another owner's.

use serde::Deserialize;
use serde_json::Value;

use super::{Checkpoint, FORMAT_VERSION};
use crate::core::identity::{Identity, normalised};
use crate::core::json::to_json;

/// The oldest format that is read. It is written in the current one.
const OLDEST_FORMAT_VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(
        "the checkpoint can't be read ({why}); it is left as it is: mend it, put an older version back, or move it away and send {{\"action\": \"recover\"}}"
    )]
    Unreadable { why: String },
    #[error(
        "the checkpoint has format version {found}, newer than this collector's {FORMAT_VERSION}; deploy the newer version of the collector again, which wrote it"
    )]
    Newer { found: u64 },
    #[error("the checkpoint belongs to another {what} ({theirs:?}, not {ours:?}); give each its own CHECKPOINT_KEY")]
    Foreign { what: &'static str, theirs: String, ours: String },
}

impl Checkpoint {
    /// Reads the format's version first, so that a newer format is not taken for damage.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Versioned {
            format_version: u64,
        }

        let unreadable = |error: serde_json::Error| CheckpointError::Unreadable { why: error.to_string() };
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(unreadable)?;
        match versioned.format_version {
            FORMAT_VERSION => serde_json::from_slice(bytes).map_err(unreadable),
            older @ OLDEST_FORMAT_VERSION..FORMAT_VERSION => Self::of_format(older, bytes).map_err(unreadable),
            newer if newer > FORMAT_VERSION => Err(CheckpointError::Newer { found: newer }),
            older => Err(CheckpointError::Unreadable { why: format!("format version {older} never existed") }),
        }
    }

    /// Format 1 did not name the ids of a list under way: such a list begins again.
    fn of_format(version: u64, bytes: &[u8]) -> serde_json::Result<Self> {
        let mut json: Value = serde_json::from_slice(bytes)?;
        if version == 1 {
            for versions in json["versions"].as_object_mut().into_iter().flat_map(|streams| streams.values_mut()) {
                if let Some(versions) = versions.as_object_mut() {
                    versions.remove("listing");
                }
            }
        }
        let checkpoint: Self = serde_json::from_value(json)?;
        Ok(Self { format_version: FORMAT_VERSION, ..checkpoint })
    }

    /// Indented, for a person to read.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Whether no run has collected anything, nor learnt the tenant: a run that could not sign in leaves such a
    /// checkpoint.
    pub fn is_blank(&self) -> bool {
        let blank = Self::new(self.identity.clone());
        self.identity.tenant.is_none()
            && self.events == blank.events
            && self.versions == blank.versions
            && self.rescanned == blank.rescanned
            && self.inventory == blank.inventory
            && self.manifests == blank.manifests
    }

    /// A tenant that one side doesn't know is no contradiction. A blank checkpoint belongs to anybody: its settings
    /// were most likely a mistake that has been mended since.
    pub fn check_identity(&self, ours: &Identity) -> Result<(), CheckpointError> {
        if self.is_blank() {
            return Ok(());
        }
        let theirs = &self.identity;
        same("INCYDR_BASE_URL", &normalised(&theirs.base_url), &ours.base_url)?;
        same("S3_BUCKET", &theirs.bucket, &ours.bucket)?;
        same("S3_PREFIX", &theirs.prefix, &ours.prefix)?;
        match (&theirs.tenant, &ours.tenant) {
            (Some(theirs), Some(ours)) => same("tenant", theirs, ours),
            _ => Ok(()),
        }
    }
}

fn same(what: &'static str, theirs: &str, ours: &str) -> Result<(), CheckpointError> {
    if theirs == ours {
        return Ok(());
    }
    Err(CheckpointError::Foreign { what, theirs: theirs.to_owned(), ours: ours.to_owned() })
}
