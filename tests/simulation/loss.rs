//! The state is lost, or set back, when everything was collected. The manifests make up for it: nothing is lost or twice,
//! and it is told.

use std::time::Duration;

use serde_json::json;
use simulator::Outcome;

use crate::chain;
use crate::oddities::Loss;
use crate::oracle::{self, CHECKPOINT, Wrong, wrong};
use crate::plan::Change;
use crate::schedule::Stage;

/// More runs than anything takes.
const AT_MOST: usize = 12;

impl Stage<'_> {
    /// Notes the checkpoint as it is after a round, to be put back much later.
    pub async fn keep_the_checkpoint(&self, round: usize) {
        let rounds = self.plan.rounds.len() as u64;
        let is_meant = self.plan.oddities.loss == Some(Loss::Older) && round as u64 == self.plan.seed % rounds;
        if is_meant && self.has_begun().await {
            // One that knows nothing is as good as none.
            let knows = oracle::checkpoint(&self.sim).await["manifests"]["head"].is_object();
            let object = self.sim.s3.object(self.sim.bucket(), CHECKPOINT).await;
            self.tenant.past().older = object.filter(|_| knows).map(|object| object.bytes);
        }
    }

    pub async fn outlives_a_loss(&self) -> Result<(), Wrong> {
        let Some(loss) = self.plan.oddities.loss.filter(|_| self.is_in_memory()) else { return Ok(()) };
        // Nothing that was sent can arrive any more, and no lease is left.
        tokio::time::sleep(Duration::from_mins(16)).await;
        if !self.suffers(loss).await {
            return Ok(());
        }
        self.tenant.past().lost = Some(loss);
        self.tenant.apply(&[Change::FileEvents(7), Change::Audit(7), Change::User(3), Change::Case(1)]);
        let since = simulator::clock::now();
        let mut last = None;
        for _ in 0..AT_MOST {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let outcome = self.calmly(&self.first, json!({"action": "collect"})).await;
            if matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete")
                && self.nothing_is_owed(since).await
            {
                let in_the_end = |wrong: Wrong| Wrong { how: format!("after {loss:?}: {}", wrong.how), ..wrong };
                oracle::at_the_end(&self.sim, &self.tenant).await.map_err(in_the_end)?;
                self.is_told(loss).await.map_err(in_the_end)?;
                return chain::tells_every_object(&self.sim).await.map_err(in_the_end);
            }
            if let Outcome::Failed { error_message, .. } = &outcome {
                let accepts = error_message.contains("accept_deletions");
                self.calmly(&self.first, json!({"action": "restart", "accept_deletions": accepts})).await;
            }
            last = Some(outcome);
        }
        Err(wrong("stuck", format!("after {loss:?} it never completes: {last:?}")))
    }

    /// Whether the loss of the checkpoint is told. One that was put back may lack nothing.
    async fn is_told(&self, loss: Loss) -> Result<(), Wrong> {
        let told = oracle::lines_below(&self.sim, &self.tenant, oracle::HEALTH).await;
        if loss == Loss::Checkpoint && !told.iter().any(|line| line.contains("the checkpoint is gone")) {
            return Err(wrong("untold", "no health record says that the checkpoint is gone"));
        }
        Ok(())
    }

    /// Whether there was something to lose.
    async fn suffers(&self, loss: Loss) -> bool {
        let (s3, bucket) = (&self.sim.s3, self.sim.bucket());
        match loss {
            Loss::Checkpoint => s3.delete_raw(bucket, CHECKPOINT).await,
            Loss::Older => {
                let Some(older) = self.tenant.past().older.take() else { return false };
                s3.put_raw(bucket, CHECKPOINT, older).await;
            }
            Loss::Known => {
                let checkpoint = oracle::checkpoint(&self.sim).await;
                let Some(key) = checkpoint["versions"]["cases"]["stored"]["known"]["key"].as_str() else {
                    return false;
                };
                let Some(object) = s3.object(bucket, key).await else { return false };
                let mut bytes = object.bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                s3.put_raw(bucket, key, bytes).await;
            }
        }
        true
    }
}
