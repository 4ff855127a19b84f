//! The clients that a process keeps from run to run.

use crate::bucket::s3::S3;
use crate::core::checkpoint::CheckpointWrite;
use crate::core::known::Memory;
use crate::core::settings::Settings;
use crate::core::shared::Shared;
use crate::core::time::Millis;
use crate::incydr::client::Api;

pub struct Clients {
    pub api: Api,
    pub s3: S3,
    pub memory: Memory,
    /// The beginning of the first run that could not write the checkpoint, since the last run that could.
    pub attempted: Shared<Option<Millis>>,
    /// The last write of the checkpoint by this process.
    pub written: Shared<Option<(CheckpointWrite, Millis)>>,
}

impl Clients {
    pub fn new(api: Api, s3: S3) -> Self {
        Self { api, s3, memory: Memory::default(), attempted: Shared::default(), written: Shared::default() }
    }

    /// Called when any action begins. The clients forget what was true of the last run alone: its budget, the API's
    /// clock, a secret that was read and not used.
    pub async fn begin_run(&self, settings: &Settings, deadline: Millis) {
        self.s3.begin_run(deadline);
        self.api.begin_run(settings.requests_per_minute).await;
    }
}
