//! The settings of runs beside the live ones: replays, and the shards of a backfill.

use super::Settings;
use super::checks::{PREFIX, STATE, beside, is_prefix};
use crate::core::checkpoint::Reserved;
use crate::core::digest::sha256;
use crate::core::identity::Identity;
use crate::core::stream::Stream;

impl Settings {
    /// The settings for a replay into another prefix. Its checkpoint lies beside the live one. The error says how the
    /// prefix must be.
    pub fn for_replay(&self, prefix: &str) -> Result<Self, String> {
        self.check_apart(&self.bucket, prefix)?;
        let name = sha256(prefix)[..16].to_owned();
        let checkpoint_key = format!("{}replay/{name}/checkpoint.json", self.state_prefix());
        let prefix = prefix.to_owned();
        Ok(Self { prefix, checkpoint_key, reconcile: Vec::new(), is_live: false, ..self.clone() })
    }

    /// The settings for a shard of a backfill. It writes its records where live runs do, and notes what it covers on a
    /// checkpoint of its own, until that is merged into the live one.
    #[must_use]
    pub fn for_shard(&self, stream: Stream, reserved: &Reserved, live: Identity) -> Self {
        Self {
            checkpoint_key: self.shard_checkpoint_key(&reserved.shard),
            streams: vec![stream],
            requests_per_minute: self.requests_per_minute.min(reserved.requests_per_minute),
            is_live: false,
            tenant: live.tenant,
            ..self.clone()
        }
    }

    pub fn shard_checkpoint_key(&self, shard: &str) -> String {
        format!("{}backfill/{shard}/checkpoint.json", self.state_prefix())
    }

    /// Checks that a prefix for other objects lies apart from the live records, and in this bucket from the state.
    pub fn check_apart(&self, bucket: &str, prefix: &str) -> Result<(), String> {
        if !is_prefix(prefix) {
            return Err(PREFIX.into());
        }
        let overlaps = |taken: &str| prefix.starts_with(taken) || taken.starts_with(prefix);
        if overlaps(&self.prefix) {
            return Err(format!("it must lie apart from S3_PREFIX ({:?})", self.prefix));
        }
        let state = match self.state_prefix() {
            "" => STATE.map(|part| format!("{part}/")).to_vec(),
            beside => vec![beside.to_owned()],
        };
        if let Some(taken) = state.iter().find(|taken| bucket == self.state_bucket && overlaps(taken)) {
            return Err(format!("it must lie apart from the state beside CHECKPOINT_KEY ({taken:?})"));
        }
        Ok(())
    }

    /// The prefix of state other than the checkpoint: it lies beside the checkpoint.
    pub fn state_prefix(&self) -> &str {
        beside(&self.checkpoint_key)
    }
}
