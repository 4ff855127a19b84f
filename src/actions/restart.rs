//! Lets stopped streams be tried again, because a person says that the cause is mended. The collector can't notice that
//! itself.

use std::collections::BTreeMap;

use crate::actions::answer::{Answer, Status, StreamAnswer};
use crate::actions::call::Call;
use crate::actions::invocation::{CollectArgs, RestartArgs};
use crate::actions::leased_run::LeasedRun;
use crate::bucket::ledger::LoadedCheckpoint;
use crate::bucket::s3::Bucket;
use crate::collect::Trigger;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Window};
use crate::core::states::{self, State};
use crate::core::stream::{Class, Stream};
use crate::core::stuck::StuckList;
use crate::core::tally::Tally;
use crate::core::time::Millis;

/// The number of readings of an inventory that are believed. Two are needed: a record counts as deleted after two
/// readings without it.
const READINGS_BELIEVED: u32 = 2;

/// Waits for the lease. Sends no request to the API; the next run does.
pub async fn restart(call: Call<'_>, restart: RestartArgs) -> Answer {
    let RestartArgs { streams, accept_deletions } = restart;
    let asked = CollectArgs { streams, ..CollectArgs::ALL };
    let work = LeasedRun::new(call, &asked, Trigger::Person);
    let answer = Box::pin(work.restart(accept_deletions))
        .await
        .unwrap_or_else(|error| Answer::failed(None, call.run_id, &error));
    answer.of_action("restart")
}

impl LeasedRun<'_> {
    async fn restart(&self, accept_deletions: bool) -> Result<Answer, Error> {
        let state = Bucket::of_state(self.settings, &self.clients.s3);
        let nothing = Checkpoint::new(self.settings.identity(None));
        if self.load(&state).await?.is_none() {
            return Ok(self.restarted(&nothing));
        }

        let admit = async |_: Option<&LoadedCheckpoint>| Ok(nothing.identity.clone());
        let prepare = |checkpoint: &mut Checkpoint| {
            self.clear_stopped(checkpoint);
            self.compare_at_once(checkpoint);
            if accept_deletions {
                self.accept_deletions(checkpoint);
            }
        };
        let Some(ledger) = self.take_lease(&state, admit, prepare).await? else {
            return Ok(Answer::skipped(self.run_id));
        };

        self.store_left_health_records(&ledger).await;
        ledger.release(self.times.commit_until).await?;
        Ok(ledger.read(|checkpoint| self.restarted(checkpoint)))
    }

    fn clear_stopped(&self, checkpoint: &mut Checkpoint) {
        let now = Millis::now();
        let changes = states::restart(&mut checkpoint.states, self.streams, now);
        checkpoint.health.queue(changes, self.run_id, now);
        checkpoint.sign_ins.restart();
        for stream in self.streams {
            checkpoint.note_not_permitted(*stream, None);
        }
        for (_, stuck) in checkpoint.stuck.iter_mut().filter(|(stream, _)| self.streams.contains(stream)) {
            stuck.try_now(now);
        }
        for (_, state) in checkpoint.events.iter_mut().filter(|(stream, _)| self.streams.contains(stream)) {
            state.open.iter_mut().for_each(Window::end_rest);
        }
    }

    /// Makes the next run list versions as a whole and look for deletions.
    fn compare_at_once(&self, checkpoint: &mut Checkpoint) {
        for (_, state) in checkpoint.versions.iter_mut().filter(|(stream, _)| self.streams.contains(stream)) {
            state.compared_at = None;
        }
    }

    /// Believes the next readings of the inventories. They take place in the next run, even if the interval isn't over.
    fn accept_deletions(&self, checkpoint: &mut Checkpoint) {
        for stream in self.streams.iter().filter(|stream| stream.class() == Class::Inventory) {
            checkpoint.inventory(*stream).accept_deletions = READINGS_BELIEVED;
        }
    }

    fn restarted(&self, checkpoint: &Checkpoint) -> Answer {
        let of = |stream: &Stream| {
            let state = checkpoint.states.get(stream).map_or(State::Pending, |state| state.state);
            let covered_to = checkpoint.covered_to(*stream);
            let stuck = checkpoint.stuck.get(stream).and_then(StuckList::summary);
            let status = if covered_to.is_none() || stuck.is_some() { Status::Partial } else { Status::Complete };
            let answer = StreamAnswer::new(status, &Tally::default(), covered_to, Millis::now(), None);
            (*stream, StreamAnswer { state: Some(state), stuck, ..answer })
        };
        let streams = self.streams.iter().map(of).collect::<BTreeMap<_, _>>();
        // The restart itself is complete, whatever the next run still has to read.
        Answer { status: Status::Complete, ..Answer::of_streams(self.run_id, streams) }
    }
}
