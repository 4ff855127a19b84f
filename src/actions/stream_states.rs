//! The streams' states during one run: skips stopped streams, puts the results of the others on the checkpoint, and
//! reports each change.

use chrono::TimeDelta;
use tracing::{error, warn};

use crate::actions::answer::{NotReached, Status};
use crate::actions::leased_run::{Collected, LeasedRun, Stopped};
use crate::bucket::health_records;
use crate::bucket::ledger::{Ledger, LoadedCheckpoint};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::Checkpoint;
use crate::core::error_type::ErrorInfo;
use crate::core::identity::Identity;
use crate::core::refusals::{StreamRefusals, not_permitted};
use crate::core::states::{self, Milestones, RunResult, Setup, State, StreamState};
use crate::core::stream::Stream;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;

/// The longest time for health records that an earlier run left.
const LONGEST_FOR_HEALTH: TimeDelta = TimeDelta::seconds(5);

impl LeasedRun<'_> {
    /// Signs in. If all streams of this run are stopped, returns the reason instead and sends nothing to the API.
    pub(super) async fn admit(&self, found: Option<&LoadedCheckpoint>) -> Result<Identity, Error> {
        self.find_stopped(found).await?;
        let stopped: Option<Vec<Error>> = self.streams.iter().map(|stream| self.stopped(*stream)).collect();
        match stopped.and_then(|stopped| stopped.into_iter().next()) {
            Some(stopped) => Err(stopped),
            None => self.sign_in(found).await,
        }
    }

    /// Signs in for a dry run, which writes nothing.
    pub(super) async fn admit_dry(&self, found: Option<&LoadedCheckpoint>) -> Result<Identity, Error> {
        match self.admit(found).await {
            Err(why) => Err(self.note_sign_in_failure(&mut self.checkpoint_of(found), why).await),
            admitted => admitted,
        }
    }

    /// Signs in. If that fails, notes the failure on the checkpoint if that is still possible.
    pub(super) async fn admit_or_report(
        &self,
        state: &Bucket,
        found: Option<&LoadedCheckpoint>,
    ) -> Result<Identity, Error> {
        let why = match self.admit(found).await {
            Ok(admitted) => return Ok(admitted),
            Err(why) => why,
        };
        let mut changed = self.checkpoint_of(found);
        let why = self.note_sign_in_failure(&mut changed, why).await;
        if let Err(error) = Box::pin(self.report_failure(state, found, changed, &why)).await {
            error!(%error, "the run's failure could not be written to the checkpoint");
        }
        Err(why)
    }

    fn checkpoint_of(&self, found: Option<&LoadedCheckpoint>) -> Checkpoint {
        found.map_or_else(|| Checkpoint::new(self.settings.identity(None)), |found| found.checkpoint.clone())
    }

    /// Turns a refusal of credentials that worked before into an ordinary failure, until it has lasted for half an
    /// hour.
    async fn note_sign_in_failure(&self, checkpoint: &mut Checkpoint, error: Error) -> Error {
        let Error::Api(ApiError::BadCredentials { status, said, worked_before }) = error else { return error };
        let version = self.clients.api.secret_version().await;
        Error::Api(if checkpoint.sign_ins.note_refusal(version, worked_before, Millis::now()) {
            ApiError::BadCredentials { status, said, worked_before }
        } else {
            ApiError::RefusedForNow { status, said }
        })
    }

    /// Judges credentials that were refused while the streams were read. Counts once for all streams.
    pub(super) async fn judge_refusals(&self, ledger: &Ledger<'_>, collected: &mut [Collected]) {
        let is_refused =
            |outcome: &Result<Status, Error>| matches!(outcome, Err(Error::Api(ApiError::BadCredentials { .. })));
        let refused: Vec<_> = collected.iter_mut().filter(|each| is_refused(&each.outcome)).collect();
        let mut sign_ins = None;
        for Collected { outcome, .. } in refused {
            let Err(error) = std::mem::replace(outcome, Ok(Status::Partial)) else { continue };
            let mut before = ledger.read(Checkpoint::clone);
            *outcome = Err(self.note_sign_in_failure(&mut before, error).await);
            sign_ins.get_or_insert(before.sign_ins);
        }
        if let Some(sign_ins) = sign_ins {
            ledger.update(|checkpoint| checkpoint.sign_ins = sign_ins);
        }
    }

    /// Finds the streams that were stopped with the present settings and the present secret, and aren't to be tried in
    /// this run. A stream whose credentials the API refused is tried once an hour.
    async fn find_stopped(&self, found: Option<&LoadedCheckpoint>) -> Result<(), Error> {
        let states = found.iter().flat_map(|found| &found.checkpoint.states);
        let mut stopped: states::States = states
            .filter(|(stream, state)| self.streams.contains(stream) && state.is_stopped_with(&self.settings.hash))
            .map(|(stream, state)| (*stream, state.clone()))
            .collect();

        let mut next_try = None;
        if !stopped.is_empty() {
            let tally = Tally::default();
            let secret = self.clients.api.read_secret_version(&tally.caller(self.times.read_until)).await?;
            stopped.retain(|_, state| {
                state.stopped_with.as_ref().is_some_and(|with| with.secret_version == secret.version)
            });

            if let Some(found) = found.filter(|_| secret.is_well_formed) {
                let at =
                    |state: &StreamState| found.checkpoint.sign_ins.next_try(secret.version.as_deref(), state.since);
                stopped.retain(|_, state| Millis::now() < at(state));
                next_try = stopped.values().map(at).min();
            }
        }

        *self.stopped.lock() = Stopped { states: stopped, next_try };
        Ok(())
    }

    /// Returns the error of a stream that is stopped, so that this run doesn't try it. None for any other stream.
    pub(super) fn stopped(&self, stream: Stream) -> Option<Error> {
        let stopped = self.stopped.lock();
        let StreamState { since, error, .. } = stopped.states.get(&stream)?;
        let why = error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        Some(Error::Stopped { since: *since, next_try: stopped.next_try, why })
    }

    /// False for a dry run, a replay and a shard, which must not change the states.
    pub(super) fn keeps_states(&self) -> bool {
        !self.asked.dry_run && self.settings.is_live
    }

    /// Only enabled streams have a state, not others that a person reads by hand.
    fn keeps_state_of(&self, stream: Stream) -> bool {
        self.keeps_states() && self.settings.streams.contains(&stream)
    }

    /// Called if the run ended before it reached its streams. If that changes their states, it takes the lease to write
    /// them.
    async fn report_failure(
        &self,
        state: &Bucket,
        found: Option<&LoadedCheckpoint>,
        mut changed: Checkpoint,
        why: &Error,
    ) -> Result<(), Error> {
        // The checkpoint of another tenant must not be changed.
        if !self.keeps_states() || matches!(why, Error::Ledger(_)) {
            return Ok(());
        }

        let identity = self.settings.identity(None);
        let is_first = self.note_attempts(&mut changed);
        if !matches!(why, Error::Stopped { .. }) && !why.is_out_of_time() {
            let result = match ErrorInfo::from(why) {
                told if why.stops() => RunResult::Misconfigured(told, self.setup().await),
                told => RunResult::Failed(told),
            };
            let is_read = !matches!(why, Error::Api(ApiError::Secret(_)));
            let milestones =
                Milestones { started: self.began, initialized: is_read.then(Millis::now), authenticated: None };
            let of_streams = self.streams.iter().map(|stream| (*stream, result.clone()));
            self.change_states(&mut changed, &milestones, of_streams);
        }

        let is_noted = self.checkpoint_of(found).sign_ins == changed.sign_ins;
        if changed.health.unwritten.is_empty() && is_noted && !is_first {
            return Ok(());
        }

        let put = |checkpoint: &mut Checkpoint| {
            (checkpoint.states, checkpoint.health) = (changed.states.clone(), changed.health.clone());
            checkpoint.sign_ins = changed.sign_ins.clone();
            checkpoint.attempted.clone_from(&changed.attempted);
        };
        // If another run was faster, that run writes the states.
        let Some(ledger) = self.acquire(state, found.cloned(), identity, put).await? else { return Ok(()) };

        self.note_states(&changed);
        self.store_left_health_records(&ledger).await;
        Ok(ledger.release(self.times.commit_until).await?)
    }

    /// Puts the streams' states after this run on the checkpoint, and stores a health record for each change. If
    /// nothing changed, the commit that gives the lease back is enough.
    pub(super) async fn report_states(&self, ledger: &Ledger<'_>, collected: &[Collected]) -> Result<(), Error> {
        if !self.keeps_states() {
            return Ok(());
        }

        let setup = self.setup().await;
        let refused = ledger.read(|checkpoint| checkpoint.refused.clone());
        let results: Vec<(Stream, RunResult)> = collected
            .iter()
            .filter_map(|Collected { stream, tally, outcome }| {
                Some((*stream, self.result_of(*stream, tally, outcome, &setup, refused.get(stream))?))
            })
            .collect();

        let signed_in = self.signed_in_at.get().copied();
        let milestones = Milestones { started: self.began, initialized: signed_in, authenticated: signed_in };
        let is_told = ledger.update(|checkpoint| {
            for Collected { stream, tally, .. } in collected.iter().filter(|each| self.keeps_state_of(each.stream)) {
                let expired = tally.expired.lock();
                if let (Some(first), Some(last)) = (expired.first(), expired.iter().last()) {
                    let note = format!(
                        "expired: {} to {}: the API no longer keeps these records of {stream}",
                        first.from, last.to
                    );
                    checkpoint.health.note(*stream, &note);
                }
            }
            self.change_states(checkpoint, &milestones, results);
            checkpoint.health.unwritten.is_empty()
        });
        if is_told {
            return Ok(());
        }

        let until = self.times_by_now().report_until;
        ledger.commit(until).await?;
        self.store_health(ledger, until).await
    }

    /// Stores the health records that an earlier run left, before anything else is written below the prefix. Takes a
    /// tenth of the run at most: S3 may refuse these keys and still take records, so the run goes on.
    pub(super) async fn store_left_health_records(&self, ledger: &Ledger<'_>) {
        let now = Millis::now();
        let until = now + ((self.times_by_now().store_until - now) / 10).min(LONGEST_FOR_HEALTH);
        if self.keeps_states()
            && let Err(error) = self.store_health(ledger, until).await
        {
            warn!(%error, "health records are not stored yet");
        }
    }

    async fn store_health(&self, ledger: &Ledger<'_>, until: Millis) -> Result<(), Error> {
        let bucket = Bucket::of_records(self.settings, &self.clients.s3);
        Ok(health_records::store(ledger, &bucket, self.settings, until).await?)
    }

    /// Sets the states of streams by their results, and queues the health records of the changes.
    fn change_states(
        &self,
        checkpoint: &mut Checkpoint,
        milestones: &Milestones,
        results: impl IntoIterator<Item = (Stream, RunResult)>,
    ) {
        let now = Millis::now();
        let mut changes = states::stop_disabled(&mut checkpoint.states, &self.settings.streams, now);

        for (stream, result) in results.into_iter().filter(|(stream, _)| self.keeps_state_of(*stream)) {
            // Without the secret's version the collector can't tell whether the secret changed, so a stopped stream
            // stays stopped.
            let is_stopped = self.stopped(stream).is_some()
                || milestones.initialized.is_none()
                    && matches!(result, RunResult::Failed(_))
                    && checkpoint.states.get(&stream).is_some_and(|state| state.is_stopped_with(&self.settings.hash));
            if !is_stopped {
                let stuck = checkpoint.stuck(stream).summary();
                changes.extend(states::change(&mut checkpoint.states, stream, milestones, result, stuck, now));
            }
        }

        checkpoint.health.attach_notes(&mut changes, &checkpoint.states, now);
        checkpoint.health.queue(changes, self.run_id, now);
    }

    /// The result of a stream, or none if it was not tried.
    fn result_of(
        &self,
        stream: Stream,
        tally: &Tally,
        outcome: &Result<Status, Error>,
        setup: &Setup,
        refused: Option<&StreamRefusals>,
    ) -> Option<RunResult> {
        let is_answered = tally.calls.successes.get() > 0;
        Some(match outcome {
            Err(Error::Stopped { .. }) => return None,
            Err(error) if error.stops() => RunResult::Misconfigured(ErrorInfo::from(error), setup.clone()),
            Ok(Status::NotPermitted) => RunResult::Failed(not_permitted(stream, refused)),
            outcome => match self.or_expiring(stream, outcome.as_ref().err().map(ErrorInfo::from)) {
                Some(error) => RunResult::Failed(error),
                None if is_answered => RunResult::Collected,
                None if matches!(outcome, Ok(Status::Partial)) => RunResult::Nothing,
                None => RunResult::Idle,
            },
        })
    }

    async fn setup(&self) -> Setup {
        Setup { settings: self.settings.hash.clone(), secret_version: self.clients.api.secret_version().await }
    }

    /// The state for the answer, after the run has ended.
    pub(super) fn state_after(
        &self,
        ledger: &Ledger<'_>,
        stream: Stream,
        failed: bool,
        is_committed: bool,
    ) -> Option<State> {
        let state = ledger.read(|checkpoint| checkpoint.states.get(&stream).map(|state| state.state))?;
        Some(match state {
            State::Stopped if !is_committed => State::Stopping,
            State::Collecting if failed && self.keeps_state_of(stream) => State::Error,
            state => state,
        })
    }

    /// Returns the state of a stream that the run did not reach.
    pub(super) fn not_reached(&self, stream: Stream, why: &Error, error: Option<ErrorInfo>) -> NotReached {
        let stopped = self.stopped(stream).as_ref().map(ErrorInfo::from);
        let error = self.or_expiring(stream, stopped.or(error));
        let states = self.states.lock();
        let seen = states.get(&stream);
        let state = match &error {
            Some(_) if self.keeps_state_of(stream) => Some(match seen {
                Some(seen) if seen.stopped_with.is_some() => State::Stopped,
                _ if why.stops() => State::Stopping,
                _ => State::Error,
            }),
            _ => seen.map(|seen| seen.state),
        };
        let covered_to = self.covered_to.lock().get(&stream).copied();
        let (gaps, is_expiring) = (self.old_gaps(stream), self.is_expiring(stream));
        NotReached { error, state, covered_to, gaps, is_expiring }
    }
}
