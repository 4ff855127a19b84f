//! Collects, by the schedule or by hand: takes the lease, reads all streams side by side, commits.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::Value;
use tracing::{error, info, warn};

use crate::actions::answer::{Answer, STALLED, Status, StreamAnswer};
use crate::actions::call::Call;
use crate::actions::invocation::CollectArgs;
use crate::actions::leased_run::{Collected, LeasedRun, ok_if_out_of_time};
use crate::bucket::chain::Chain;
use crate::bucket::ledger::{Ledger, LoadedCheckpoint};
use crate::bucket::records::Records;
use crate::bucket::s3::Bucket;
use crate::collect::error::{Error, or_panicked};
use crate::collect::suspects::Suspects;
use crate::collect::{self, Run, Trigger};
use crate::core::checkpoint::{Checkpoint, Throttled};
use crate::core::error_type::ErrorInfo;
use crate::core::refusals::not_permitted;
use crate::core::settings::LEAST_REQUESTS_PER_MINUTE;
use crate::core::stream::{Class, Stream};
use crate::core::stuck::StuckList;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::incydr::facts::Kind;

/// Live runs keep at least one fifth of the request budget, however much the shards of a backfill may use.
const LIVE_SHARE: usize = 5;
/// Streams that were throttled until the last run's end wait for the others: events for a quarter of the run at most,
/// the others for half of it.
const SHARE_BEFORE_EVENTS: u32 = 4;
const SHARE_BEFORE_OTHERS: u32 = 2;

/// Collects everything that is due, or the span that `asked` names. `trigger` decides whether it waits for another
/// run's lease.
pub async fn collect(call: Call<'_>, asked: &CollectArgs, trigger: Trigger) -> Answer {
    let work = LeasedRun::new(call, asked, trigger);
    match Box::pin(work.run()).await {
        Ok(answer) => answer,
        Err(error) => {
            work.remember_attempt();
            let answer =
                Answer::ended(call.run_id, work.streams, &error, |stream, told| work.not_reached(stream, &error, told));
            Answer { state_lost: work.state_lost.get().cloned(), ..answer }
        }
    }
}

impl<'a> LeasedRun<'a> {
    /// Makes one run, in this order:
    ///
    /// 1. Take the lease. If another run holds it, this run is `skipped`; a run by hand waits for it first.
    /// 2. Follow the manifests that are later than the checkpoint, if it may be an older version of itself.
    /// 3. Store the health records that an earlier run left, and merge the shards that are overdue.
    /// 4. Collect all streams at once. None waits for another, and each fails alone.
    /// 5. Write the last manifest and the health records, then the checkpoint, which gives the lease back.
    ///
    /// A dry run takes no lease and writes nothing. An error returned here ended the run for all streams; an error of
    /// one stream is in its part of the answer.
    async fn run(&self) -> Result<Answer, Error> {
        let state = Bucket::of_state(self.settings, &self.clients.s3);
        let Some(ledger) = self.begin(&state).await? else { return Ok(Answer::skipped(self.run_id)) };
        self.forget_attempt();

        self.catch_up_or_release(&state, &ledger).await?;
        self.leave_to_shards(&ledger);
        self.store_left_health_records(&ledger).await;
        let overdue = if self.asked.dry_run { Ok(()) } else { self.merge_overdue(&state, &ledger).await };

        let chain = Chain::new(&state, self.settings.state_prefix(), &ledger, self.asked.dry_run);
        let before = ledger.read(|checkpoint| self.progress(checkpoint));
        let mut collected = self.collect(&state, &ledger, &chain).await;

        self.note_throttled(&ledger, &collected);
        self.note_stalled(&ledger, &mut collected, &before);
        fail_if_stuck(&ledger, &mut collected);
        self.judge_refusals(&ledger, &mut collected).await;
        if let Err(error) = overdue {
            // The stream may not be among those of this run, so the error is logged as well.
            warn!("{error}");
            not_merged(&mut collected, &ledger, &error);
        }

        self.finish(&ledger, &chain, collected).await
    }

    /// Loads the checkpoint and takes the lease. Returns none if another run holds it. A dry run takes no lease.
    async fn begin<'l>(&self, state: &'l Bucket) -> Result<Option<Ledger<'l>>, Error>
    where
        'a: 'l,
    {
        if self.asked.dry_run {
            let found = self.load(state).await?;
            let identity = self.admit_dry(found.as_ref()).await?;
            let key = &self.settings.checkpoint_key;
            return Ok(Some(Ledger::unwritten(state, key, found, identity, self.lease())));
        }
        let admit = async |found: Option<&LoadedCheckpoint>| Box::pin(self.admit_or_report(state, found)).await;
        Box::pin(self.take_lease(state, admit, |checkpoint| self.open_with(checkpoint))).await
    }

    /// Takes over manifests that the checkpoint doesn't name yet. If they can't be read, gives the lease back and ends
    /// the run: later runs may have stored records that this checkpoint doesn't know.
    pub(super) async fn catch_up_or_release(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let caught_up = self.catch_up(state, ledger).await;
        if caught_up.is_err()
            && let Err(failed) = ledger.release(self.times.commit_until).await
        {
            warn!(error = %failed, "the lease could not be given back; it ends 5 s after the deadline");
        }
        caught_up
    }

    /// Lowers the request budget by what the shards of a backfill may use meanwhile, but not below a fifth.
    fn leave_to_shards(&self, ledger: &Ledger<'_>) {
        let shards = ledger.read(Checkpoint::requests_of_shards);
        if shards > 0 {
            let all = self.settings.requests_per_minute;
            let left = all.saturating_sub(shards).max(all / LIVE_SHARE).max(LEAST_REQUESTS_PER_MINUTE);
            self.clients.api.budget().limit(left);
        }
    }

    /// Opens the readings that every run makes in the same commit that takes the lease, which saves a write. Not on a
    /// checkpoint that may be an older version of itself: the change would hide that.
    fn open_with(&self, checkpoint: &mut Checkpoint) {
        if let Some(version) = self.granted_to.get() {
            checkpoint.sign_ins.note_grant(version.clone());
        }
        self.begin_streams(checkpoint);
        if !self.is_own_write(checkpoint) {
            return;
        }
        for stream in self.streams {
            let may_be_read = checkpoint.not_permitted_at(*stream).is_none() && self.stopped(*stream).is_none();
            if may_be_read && matches!(stream.kind_in(self.settings.dialect), Some(Kind::Rescanned(_))) {
                checkpoint.rescanned(*stream).stored.open(Millis::now(), &self.lease());
            }
        }
    }

    /// Collects all streams at once. None holds another back, and each fails alone.
    async fn collect(&self, state: &Bucket, ledger: &Ledger<'_>, chain: &Chain<'_>) -> Vec<Collected> {
        let bucket = Bucket::of_records(self.settings, &self.clients.s3);
        let run = Run {
            settings: self.settings,
            api: &self.clients.api,
            records: Records {
                bucket: &bucket,
                prefix: &self.settings.prefix,
                run_id: self.run_id,
                metadata: &self.settings.metadata,
                dry_run: self.asked.dry_run,
            },
            state,
            ledger,
            chain,
            memory: &self.clients.memory,
            times: self.times_by_now(),
            suspects: Suspects::default(),
            span: self.asked.span,
            trigger: self.trigger,
        };

        let run = &run;
        join_all(self.streams.iter().map(|stream| {
            let throttled = ledger.read(|checkpoint| checkpoint.throttled.get(stream).cloned().unwrap_or_default());
            let at_work = run.suspects.at_work(throttled.last_run);
            async move {
                let _at_work = at_work;
                let tally = Tally::default();
                tally.calls.throttled_items.lock().clone_from(&throttled.items);
                // Its first 429 would pause the requests of all streams once more.
                if throttled.last_run {
                    let share = if stream.class() == Class::Events { SHARE_BEFORE_EVENTS } else { SHARE_BEFORE_OTHERS };
                    run.suspects.wait_for_unthrottled(run.times.read_until.since(Millis::now()) / share).await;
                }
                let outcome = if let Some(stopped) = self.stopped(*stream) {
                    Err(stopped)
                } else {
                    or_panicked(Box::pin(collect::collect(run, *stream, &tally))).await.map(Status::from)
                };
                Collected { stream: *stream, tally, outcome }
            }
        }))
        .await
    }

    /// The progress of this run's streams, to compare before and after.
    fn progress(&self, checkpoint: &Checkpoint) -> BTreeMap<Stream, Value> {
        self.streams.iter().map(|stream| (*stream, checkpoint.progress(*stream))).collect()
    }

    /// Notes what the API throttled until the run's end, and what it throttled in earlier runs and has not answered since.
    fn note_throttled(&self, ledger: &Ledger<'_>, collected: &[Collected]) {
        ledger.update(|checkpoint| {
            // A pass that is under way may be past these items, also of a stream that isn't enabled now.
            checkpoint
                .throttled
                .retain(|stream, throttled| self.settings.streams.contains(stream) || !throttled.items.is_empty());
            for Collected { stream, tally, outcome } in collected {
                // A stream that another stream's 429 kept from asking at all may still be throttled.
                let was_throttled = checkpoint.throttled.get(stream).is_some_and(|before| before.last_run);
                let is_asked =
                    tally.calls.successes.get() > 0 || matches!(outcome, Ok(Status::Complete | Status::NotDue));
                let last_run = tally.calls.last_throttle.lock().is_some() || was_throttled && !is_asked;
                let stuck = checkpoint.stuck(*stream);
                let mut items = tally.calls.throttled_items.lock().clone();
                // These are planned last anyway.
                items.retain(|item| stuck.get(item).is_none());
                let throttled = Throttled { last_run, items };
                if throttled == Throttled::default() {
                    checkpoint.throttled.remove(stream);
                } else {
                    checkpoint.throttled.insert(*stream, throttled);
                }
            }
        });
    }

    /// Counts runs in a row that ended for lack of time without progress. One may be chance; several mean that the
    /// run's time is too short.
    fn note_stalled(&self, ledger: &Ledger<'_>, collected: &mut [Collected], before: &BTreeMap<Stream, Value>) {
        let is_throttled = collected.iter().any(|each| each.tally.calls.throttles.get() > 0);

        ledger.update(|checkpoint| {
            let after = self.progress(checkpoint);
            for Collected { stream, tally, outcome } in collected {
                let has_stored = tally.records.get() > 0;
                let is_stalled =
                    matches!(outcome, Ok(Status::Partial)) && !has_stored && before.get(stream) == after.get(stream);
                if is_stalled {
                    let runs = checkpoint.stalled.entry(*stream).or_default();
                    *runs += 1;

                    // A stream that got some answers may be served more in turn.
                    let is_answered = tally.calls.successes.get() > 0;
                    if is_throttled && !is_answered && *runs >= STALLED {
                        *outcome = Err(Error::Throttled { runs: *runs });
                    } else if is_answered && *runs >= 2 * STALLED {
                        *outcome = Err(Error::NoProgress { runs: *runs });
                    }
                } else {
                    checkpoint.stalled.remove(stream);
                }
            }
        });
    }

    /// Writes the last manifest, the health records and the checkpoint, and returns the answer. If the commit fails,
    /// every stream has failed.
    async fn finish(
        &self,
        ledger: &Ledger<'_>,
        chain: &Chain<'_>,
        mut collected: Vec<Collected>,
    ) -> Result<Answer, Error> {
        let times = self.times_by_now();
        let closed = chain.close(times.store_until, times.report_until).await.map_err(Error::from);
        // If there was no time for the manifest, the next run writes it.
        if let Err(error) = closed.or_else(ok_if_out_of_time) {
            not_committed(&mut collected, &error);
        }

        ledger.read(|checkpoint| self.note_what_expires(checkpoint));
        let states_told = self.report_states(ledger, &collected).await.or_else(ok_if_out_of_time);
        let released = ledger.release(self.times.commit_until).await.map_err(Error::from);
        if released.is_ok() {
            self.remember_written(ledger).await;
        }

        let lease_lost = released.as_ref().is_err_and(Error::is_lease_lost);
        let wrote = ledger.has_committed().await || collected.iter().any(|each| each.tally.objects.get() > 0);
        if lease_lost && !wrote {
            return Ok(Answer::skipped(self.run_id));
        }
        if let Err(error) = released.as_ref().and(states_told.as_ref()) {
            not_committed(&mut collected, error);
        }

        let damaged = collected.iter().find_map(|each| each.outcome.as_ref().err().filter(|error| error.is_damage()));
        let state_lost = self.state_lost.get().cloned().or_else(|| damaged.map(|error| ErrorInfo::from(error).message));

        let streams: BTreeMap<Stream, StreamAnswer> =
            collected.into_iter().map(|each| (each.stream, self.answer(ledger, each, released.is_ok()))).collect();
        let manifest = ledger
            .read(|checkpoint| checkpoint.manifests.head.clone())
            .filter(|_| !self.asked.dry_run && released.is_ok());
        let clock = self.clients.api.clock().doubted();
        Ok(Answer { manifest, clock, state_lost, ..Answer::of_streams(self.run_id, streams) })
    }

    fn answer(
        &self,
        ledger: &Ledger<'_>,
        Collected { stream, tally, outcome }: Collected,
        is_committed: bool,
    ) -> StreamAnswer {
        let (status, error) = match outcome {
            Ok(status) => (status, None),
            Err(error) => (Status::Failed, Some(ErrorInfo::from(&error))),
        };
        let error = self.or_expiring(stream, error);
        let status = if error.is_some() && status != Status::NotPermitted { Status::Failed } else { status };
        if let Some(error) = &error {
            error!(stream = %stream, error_type = %error.error_type, "{stream} failed: {}", error.message);
        }

        let covered_to = ledger.read(|checkpoint| checkpoint.covered_to(stream));
        let state = self.state_after(ledger, stream, error.is_some(), is_committed);
        let answer = StreamAnswer::new(status, &tally, covered_to, Millis::now(), error);

        let (gaps, is_expiring) = (self.old_gaps(stream), self.is_expiring(stream));
        let stuck = ledger.read(|checkpoint| checkpoint.stuck.get(&stream).and_then(StuckList::summary));
        let stalled = ledger.read(|checkpoint| checkpoint.stalled.get(&stream).copied().unwrap_or_default());

        let refused = ledger.read(|checkpoint| checkpoint.refused.get(&stream).cloned());
        let error = match status {
            Status::NotPermitted => answer.error.or_else(|| Some(not_permitted(stream, refused.as_ref()))),
            _ => answer.error,
        };
        let answer = StreamAnswer { state, error, stuck, stalled, gaps, is_expiring, ..answer };
        log(stream, &answer);
        answer
    }
}

/// Fails each stream that has anything stuck, even if the rest of it was collected.
fn fail_if_stuck(ledger: &Ledger<'_>, collected: &mut [Collected]) {
    ledger.read(|checkpoint| {
        for Collected { stream, outcome, .. } in collected {
            let is_well = matches!(outcome, Ok(Status::Complete | Status::Partial | Status::NotDue));
            let stuck = checkpoint.stuck.get(stream).filter(|stuck| !stuck.is_empty());
            if let Some(stuck) = stuck.filter(|_| is_well) {
                *outcome = Err(Error::Stuck { error_type: stuck.error_type(), told: stuck.message() });
            }
        }
    });
}

/// Fails every stream that has not failed by itself.
fn not_committed(collected: &mut [Collected], error: &Error) {
    let info = ErrorInfo::from(error);
    for each in collected.iter_mut().filter(|each| each.outcome.is_ok()) {
        each.outcome = Err(Error::NotCommitted { error_type: info.error_type, why: info.message.clone() });
    }
}

/// Fails the stream whose shard could not be merged: its span is still due.
fn not_merged(collected: &mut [Collected], ledger: &Ledger<'_>, error: &Error) {
    let Error::NotMerged { error_type, shard, why } = error else { return };
    let of_shard = |checkpoint: &Checkpoint| {
        checkpoint.reserved().find(|(_, reserved)| reserved.shard == *shard).map(|(stream, _)| stream)
    };
    let waiting = ledger.read(of_shard);
    for each in collected.iter_mut().filter(|each| Some(each.stream) == waiting) {
        if each.outcome.is_ok() {
            let (error_type, shard, why) = (*error_type, shard.clone(), why.clone());
            each.outcome = Err(Error::NotMerged { error_type, shard, why });
        }
    }
}

/// Logs one line per stream.
fn log(stream: Stream, answer: &StreamAnswer) {
    info!(
        stream = %stream,
        status = %answer.status,
        state = answer.state.map(tracing::field::display),
        records = answer.records,
        objects = answer.objects,
        bytes = answer.bytes,
        requests = answer.requests,
        retries = answer.retries,
        set_aside = answer.set_aside,
        covered_to = answer.covered_to.map(tracing::field::display),
        lag_s = answer.lag_s,
        "collected {stream}"
    );
}
