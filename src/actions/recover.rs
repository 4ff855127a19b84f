//! Restores a checkpoint that is gone, or that was replaced by an older version of itself: takes over what the
//! manifests list, so that nothing is stored twice, and reports it.

mod taking;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::Serialize;
use tracing::warn;

use self::taking::Taken;
use crate::actions::answer::Status;
use crate::actions::call::Call;
use crate::actions::invocation::CollectArgs;
use crate::actions::leased_run::LeasedRun;
use crate::bucket::ledger::{Ledger, LoadedCheckpoint};
use crate::bucket::manifests::{LinkedManifest, following, read, read_after, read_newest};
use crate::bucket::s3::Bucket;
use crate::collect::Trigger;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Recovery};
use crate::core::intervals::Intervals;
use crate::core::manifest::Link;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

/// For this long after its last write of the checkpoint, a process recognises that version as its own.
const RECOGNISED_FOR: TimeDelta = TimeDelta::minutes(15);
/// If the checkpoint is gone, this many manifests are searched for each stream's end: the newest may be of an older
/// span that was asked for.
const LOOKED_AT: usize = 50;
/// The answer names at most this many missing objects, and as many missing manifests.
const MOST_NAMED: usize = 100;
/// Facts that no manifest holds, so that they can't be recovered. Part of the answer.
const UNKNOWN: [&str; 3] = [
    "stuck spans and records, and ids still to be fetched: later runs find them again",
    "records that one reading of a list lacked: they count as deleted only after two more readings without them",
    "the shards of a backfill that were not merged: plan the span again; some of its records may be stored twice",
];

/// The answer to `recover`.
#[derive(Debug, Serialize)]
pub struct Recovered {
    pub action: &'static str,
    pub run_id: String,
    /// `Partial` if the time was over before the last manifest. The same call continues.
    pub status: Status,
    /// The number of manifests that this call took over.
    pub manifests: u64,
    /// The time of the event streams that is covered now.
    pub covered: BTreeMap<Stream, Intervals>,
    /// Objects that a manifest lists and that don't exist: the first of them. Their windows are read again.
    pub missing: Vec<String>,
    /// Manifests that another one names and that don't exist: the first of them.
    pub missing_manifests: Vec<String>,
    pub unknown: Vec<String>,
}

/// Takes over all manifests, oldest first, or those that an earlier call left. Sends no request to the API.
pub async fn recover(call: Call<'_>) -> Result<Recovered, Error> {
    let Call { settings, clients, run_id, .. } = call;
    let work = LeasedRun::new(call, &CollectArgs::ALL, Trigger::Person);
    let state = Bucket::of_state(settings, &clients.s3);

    let admit = async |_: Option<&LoadedCheckpoint>| Ok(settings.identity(None));
    let begin = |checkpoint: &mut Checkpoint| {
        checkpoint.recovery.get_or_insert_with(|| Box::new(Recovery::afresh()));
    };
    let Some(ledger) = work.take_lease(&state, admit, begin).await? else {
        return Ok(Recovered::of(run_id, Status::Skipped, &Taken::default(), BTreeMap::new()));
    };

    let (taken, done) = work.continue_recovery(&state, &ledger).await;
    ledger.release(work.times.commit_until).await?;
    let status = match done {
        Ok(()) => Status::Complete,
        Err(error) if error.is_out_of_time() => Status::Partial,
        Err(error) => return Err(error),
    };

    let covered = ledger
        .read(|checkpoint| checkpoint.events.iter().map(|(stream, state)| (*stream, state.covered.clone())).collect());
    Ok(Recovered::of(run_id, status, &taken, covered))
}

impl Recovered {
    fn of(run_id: &str, status: Status, taken: &Taken, covered: BTreeMap<Stream, Intervals>) -> Self {
        let mut unknown: Vec<String> = UNKNOWN.iter().map(|fact| (*fact).to_owned()).collect();
        if let Some(at) = taken.begins_at {
            unknown.push(format!(
                "what was collected before {at}, the time of the oldest manifest: that time is neither covered nor a gap, so it isn't collected, and records of lists that were stored before may be stored again"
            ));
        }
        if taken.not_opened > 0 {
            unknown.push(format!(
                "the windows of {} objects that no manifest lists: there are too many for the checkpoint, and their records may be stored twice",
                taken.not_opened
            ));
        }
        if taken.missing.len() > MOST_NAMED || taken.missing_manifests.len() > MOST_NAMED {
            unknown.push(format!(
                "of {} missing objects and {} missing manifests the first {MOST_NAMED} are named",
                taken.missing.len(),
                taken.missing_manifests.len()
            ));
        }

        Self {
            action: "recover",
            run_id: run_id.to_owned(),
            status,
            manifests: taken.manifests,
            covered,
            missing: taken.missing.iter().take(MOST_NAMED).cloned().collect(),
            missing_manifests: taken.missing_manifests.iter().take(MOST_NAMED).map(|link| link.key.clone()).collect(),
            unknown,
        }
    }
}

impl LeasedRun<'_> {
    /// Continues a recovery that an earlier run left. Otherwise compares the checkpoint with the last one that this
    /// process wrote. If they differ, the checkpoint may be an older version, or gone, and the manifests are followed.
    pub(super) async fn catch_up(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        if ledger.read(|checkpoint| self.is_own_write(checkpoint)) || !self.keeps_states() {
            return Ok(());
        }
        if ledger.read(|checkpoint| checkpoint.recovery.is_none()) {
            if ledger.read(Checkpoint::knows_nothing) {
                return self.begin_after_manifests(state, ledger).await;
            }
            if !self.is_older(state, ledger).await? {
                return Ok(());
            }
            ledger.update(|checkpoint| checkpoint.recovery = Some(Box::new(checkpoint.recovery_of_older())));
        }
        self.continue_recovery(state, ledger).await.1
    }

    /// Whether the checkpoint is an older version of itself.
    async fn is_older(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<bool, Error> {
        let head = ledger.read(|checkpoint| checkpoint.manifests.head.clone());
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let mut later = read_after(state, prefix, head.as_ref(), until).await?;
        // A manifest with the head's own number is an orphan.
        let follows = |link: &Link| head.as_ref().is_none_or(|head| link.number > head.number);
        later.retain(|found| self.is_ours(&found.manifest) && follows(&found.link));

        let mut chain = following(&later, head.as_ref());
        if chain.is_empty() {
            // None follows the head directly: a manifest between them is missing.
            chain = later;
        }
        if chain.is_empty() {
            return Ok(false);
        }

        // The manifests may be about shards that a later run has merged. One that can't be merged stays reserved.
        let (_, failed) = Box::pin(self.merge_shards(state, ledger, |_| true)).await;
        if let Some(error) = failed.filter(Error::is_out_of_time) {
            return Err(error);
        }
        Ok(chain.iter().any(|found| ledger.read(|checkpoint| checkpoint.is_behind(&found.manifest))))
    }

    /// Continues the checkpoint's recovery, and reports it.
    async fn continue_recovery(&self, state: &Bucket, ledger: &Ledger<'_>) -> (Taken, Result<(), Error>) {
        let is_afresh = ledger.read(|checkpoint| checkpoint.recovery.as_ref().is_some_and(|recovery| recovery.afresh));
        let (taken, done) = self.take_over(state, ledger).await;

        let manifests = taken.manifests;
        let note = match (&done, is_afresh) {
            (Ok(()), true) => {
                format!("the checkpoint was recovered from {manifests} manifests{}", missing_note(&taken))
            }
            (Ok(()), false) => format!(
                "the checkpoint was an older version of itself, and {manifests} later manifests were taken over{}",
                missing_note(&taken)
            ),
            (Err(error), _) => format!(
                "the checkpoint is being recovered, {manifests} manifests were taken over{}, and the next run continues: {error}",
                missing_note(&taken)
            ),
        };

        warn!("{note}");
        self.note_loss(ledger, &note);
        (taken, done)
    }

    /// Remembers this run's last write, so that the process's next run can recognise the checkpoint.
    pub(super) async fn remember_written(&self, ledger: &Ledger<'_>) {
        let written = (ledger.last_write().await, Millis::now());
        *self.clients.written.lock() = Some(written);
    }

    /// Whether the checkpoint is the one that this process wrote last, within the last 15 minutes. After that the
    /// comparison says nothing: others may have written since, and this very version may have been put back.
    pub(super) fn is_own_write(&self, checkpoint: &Checkpoint) -> bool {
        let written = self.clients.written.lock();
        let known =
            written.as_ref().filter(|(_, at)| Millis::now() - *at < RECOGNISED_FOR).map(|(write, _)| write.clone());
        known.is_some() && known == checkpoint.found()
    }

    /// Called if the checkpoint is gone and manifests exist. The event streams begin where the newest manifests end.
    async fn begin_after_manifests(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let (prefix, until) = (self.settings.state_prefix(), self.times.store_until);
        let newest = read_newest(state, prefix, |manifest| self.is_ours(manifest), until).await?;
        let Some(head) = newest.first().map(|found| found.link.clone()) else { return Ok(()) };
        let written_by = ledger.read(|checkpoint| checkpoint.written_by.clone());
        if newest.iter().any(|found| found.manifest.run_id == written_by) {
            return Ok(());
        }

        let mut ends: BTreeMap<Stream, Millis> = BTreeMap::new();
        let half_time = self.began + (self.times.read_until - self.began) / 2;
        // All readings that a manifest lists are stored, whether or not a checkpoint names it.
        let mut found = newest;
        for _ in 0..LOOKED_AT {
            let Some(LinkedManifest { manifest: last, .. }) = found.first() else { break };
            for entry in found.iter().flat_map(|found| &found.manifest.readings) {
                if let Some(window) = entry.window {
                    let end = ends.entry(entry.stream).or_insert(window.to);
                    *end = window.to.max(*end);
                }
            }

            let is_looked_for = |stream: &Stream| stream.class() == Class::Events && !ends.contains_key(stream);
            if Millis::now() > half_time && !self.streams.iter().any(is_looked_for) {
                break;
            }
            found = match &last.previous {
                Some(previous) => read(state, prefix, &previous.key, until).await?.into_iter().collect(),
                None => Vec::new(),
            };
        }

        let note = format!(
            "the checkpoint is gone, but there are manifests: audit and file_events begin where the newest ({}) end, lists are stored again as a whole, and earlier gaps are not known; {{\"action\": \"recover\"}} takes over what the manifests list",
            head.key
        );
        warn!("{note}");

        ledger.update(|checkpoint| {
            for (stream, end) in ends {
                checkpoint.attempted.remove(&stream);
                checkpoint.health.notes.remove(&stream);
                checkpoint.events(stream).live_from = Some(end);
            }
            checkpoint.manifests.head = Some(head);
        });
        self.note_loss(ledger, &note);
        Ok(ledger.commit(until).await?)
    }

    /// Puts a note into each stream's next health record, and into the run's answer.
    fn note_loss(&self, ledger: &Ledger<'_>, note: &str) {
        ledger.update(|checkpoint| {
            for stream in &self.settings.streams {
                checkpoint.health.note(*stream, note);
            }
        });
        let _ = self.state_lost.set(note.to_owned());
    }
}

/// The part of a note about missing objects and manifests. Empty if none is missing.
fn missing_note(taken: &Taken) -> String {
    let of = |count: usize, what: &str, first: &str| match count {
        0 => String::new(),
        count => format!(", without {count} {what} that no longer exist, among them {first}"),
    };
    let objects = of(taken.missing.len(), "objects", taken.missing.first().map_or("", String::as_str));
    let first = taken.missing_manifests.first().map_or("", |link| &link.key);
    objects + &of(taken.missing_manifests.len(), "manifests", first)
}
