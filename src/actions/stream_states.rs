//! The streams' states over one run: what is stopped is not tried, what came of the others is put on the checkpoint,
//! and each change is told.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tracing::{error, warn};

use crate::actions::answer::Status;
use crate::actions::work::{Collected, Work};
use crate::bucket::health_records;
use crate::bucket::ledger::{Found, Ledger};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::Checkpoint;
use crate::core::error_kind::{ErrorInfo, ErrorType};
use crate::core::identity::Identity;
use crate::core::states::{self, Milestones, RunResult, Setup, State, StreamState};
use crate::core::stream::Stream;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;

impl Work<'_> {
    /// Signs in, unless all that this run is for is stopped: then nothing is asked of the API.
    pub(super) async fn admit(&self, found: Option<&Found>) -> Result<Identity, Error> {
        self.find_stopped(found).await?;
        let stopped: Option<Vec<Error>> = self.streams.iter().map(|stream| self.stopped(*stream)).collect();
        match stopped.and_then(|stopped| stopped.into_iter().next()) {
            Some(stopped) => Err(stopped),
            None => self.sign_in(found).await,
        }
    }

    /// The same, and where it fails the checkpoint says so, if it still can.
    pub(super) async fn admit_or_tell(&self, state: &Bucket, found: Option<&Found>) -> Result<Identity, Error> {
        let admitted = self.admit(found).await;
        if let Err(why) = &admitted
            && let Err(error) = self.tell_failure(state, found, why).await
        {
            error!(%error, "the checkpoint doesn't say how the run failed");
        }
        admitted
    }

    /// Finds what was stopped with the very settings and the very secret that there are now.
    async fn find_stopped(&self, found: Option<&Found>) -> Result<(), Error> {
        let states = found.iter().flat_map(|found| &found.checkpoint.states);
        let mut stopped: states::States = states
            .filter(|(stream, state)| self.streams.contains(stream) && state.is_stopped_with(&self.settings.hash))
            .map(|(stream, state)| (*stream, state.clone()))
            .collect();
        if !stopped.is_empty() {
            let tally = Tally::default();
            let version = self.clients.api.read_secret_version(&tally.caller(self.times.read_until)).await?;
            stopped.retain(|_, state| state.stopped_with.as_ref().is_some_and(|with| with.secret_version == version));
        }
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = stopped;
        Ok(())
    }

    /// Why a stream is not tried by this run.
    pub(super) fn stopped(&self, stream: Stream) -> Option<Error> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let StreamState { since, error, .. } = stopped.get(&stream)?;
        let why = error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        Some(Error::Stopped { since: *since, why })
    }

    /// A dry run, a replay and a shard leave them as they are.
    fn keeps_states(&self) -> bool {
        !self.asked.dry_run && self.settings.is_live
    }

    /// What a person reads by hand and is not enabled has no state.
    fn keeps_state_of(&self, stream: Stream) -> bool {
        self.keeps_states() && self.settings.streams.contains(&stream)
    }

    /// The run ends before it comes to its streams. Where that changes their states, it takes the lease to say so.
    async fn tell_failure(&self, state: &Bucket, found: Option<&Found>, why: &Error) -> Result<(), Error> {
        // A checkpoint that is another's is not touched.
        if !self.keeps_states() || why.is_out_of_time() || matches!(why, Error::Ledger(_)) {
            return Ok(());
        }
        let identity = self.settings.identity(None);
        let mut changed = found.map_or_else(|| Checkpoint::new(identity.clone()), |found| found.checkpoint.clone());
        if !matches!(why, Error::Stopped { .. }) {
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
        if changed.health.unwritten.is_empty() {
            return Ok(());
        }
        let put = |checkpoint: &mut Checkpoint| {
            (checkpoint.states, checkpoint.health) = (changed.states.clone(), changed.health.clone());
        };
        // Another run that was faster says what came of it.
        let Some(ledger) = self.acquire(state, found.cloned(), identity, put).await? else { return Ok(()) };
        self.note_states(&changed);
        self.tell_what_is_left(&ledger).await;
        Ok(ledger.release(self.times.commit_until).await?)
    }

    /// Puts the states in which this run left its streams on the checkpoint, and tells what has changed. Where nothing
    /// has, the commit that gives the lease back is enough.
    pub(super) async fn tell_states(&self, ledger: &Ledger<'_>, collected: &Collected) -> Result<(), Error> {
        if !self.keeps_states() {
            return Ok(());
        }
        let setup = self.setup().await;
        let results: Vec<(Stream, RunResult)> = collected
            .iter()
            .filter_map(|(stream, tally, outcome)| Some((*stream, self.result_of(*stream, tally, outcome, &setup)?)))
            .collect();
        let signed_in = self.signed_in_at.get().copied();
        let milestones = Milestones { started: self.began, initialized: signed_in, authenticated: signed_in };
        let is_told = ledger.update(|checkpoint| {
            self.change_states(checkpoint, &milestones, results);
            checkpoint.health.unwritten.is_empty()
        });
        if is_told {
            return Ok(());
        }
        ledger.commit(self.times.tell_until).await?;
        self.store_health(ledger, self.times.tell_until).await
    }

    /// What a run that died left to be told, before anything else is written below the prefix.
    pub(super) async fn tell_what_is_left(&self, ledger: &Ledger<'_>) {
        if self.keeps_states()
            && let Err(error) = self.store_health(ledger, self.times.store_until).await
        {
            warn!(%error, "health records are not stored yet");
        }
    }

    async fn store_health(&self, ledger: &Ledger<'_>, until: Millis) -> Result<(), Error> {
        let bucket = Bucket::of_records(self.settings, &self.clients.s3);
        Ok(health_records::store(ledger, &bucket, self.settings, until).await?)
    }

    fn change_states(
        &self,
        checkpoint: &mut Checkpoint,
        milestones: &Milestones,
        results: impl IntoIterator<Item = (Stream, RunResult)>,
    ) {
        let now = Millis::now();
        let mut changes = states::leave(&mut checkpoint.states, &self.settings.streams, now);
        for (stream, result) in results.into_iter().filter(|(stream, _)| self.keeps_state_of(*stream)) {
            // What is stopped stays so also where the secret can't be read, and so nobody can tell whether it is another.
            let is_stopped = self.stopped(stream).is_some()
                || milestones.initialized.is_none()
                    && matches!(result, RunResult::Failed(_))
                    && checkpoint.states.get(&stream).is_some_and(|state| state.is_stopped_with(&self.settings.hash));
            if !is_stopped {
                let stuck = checkpoint.stuck(stream).summary();
                changes.extend(states::change(&mut checkpoint.states, stream, milestones, result, stuck, now));
            }
        }
        checkpoint.health.tell(changes, self.run_id, now);
    }

    /// What came of a stream; none where it was not tried.
    fn result_of(
        &self,
        stream: Stream,
        tally: &Tally,
        outcome: &Result<Status, Error>,
        setup: &Setup,
    ) -> Option<RunResult> {
        let is_answered = tally.calls.answers.load(Ordering::Relaxed) > 0;
        let told = |error: Option<ErrorInfo>| self.with_what_expires(stream, error);
        Some(match outcome {
            Err(Error::Stopped { .. }) => return None,
            Err(error) if error.stops() => RunResult::Misconfigured(ErrorInfo::from(error), setup.clone()),
            Ok(Status::NotPermitted) => {
                let message = format!(
                    "the API client lacks the permission {:?}; it is tried again once an hour",
                    stream.permission()
                );
                RunResult::Failed(ErrorInfo { error_type: ErrorType::ThirdPartyConfigError, message })
            }
            outcome => match told(outcome.as_ref().err().map(ErrorInfo::from)) {
                Some(told) => RunResult::Failed(told),
                None if is_answered => RunResult::Collected,
                None if matches!(outcome, Ok(Status::Partial)) => RunResult::Nothing,
                None => RunResult::Idle,
            },
        })
    }

    async fn setup(&self) -> Setup {
        Setup { settings: self.settings.hash.clone(), secret_version: self.clients.api.secret_version().await }
    }

    /// As the answer tells it, once the run has ended.
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

    /// What is told of a stream to which the run did not come, and its state.
    pub(super) fn of_ended(
        &self,
        stream: Stream,
        why: &Error,
        told: Option<ErrorInfo>,
    ) -> (Option<ErrorInfo>, Option<State>) {
        let stopped = self.stopped(stream).as_ref().map(ErrorInfo::from);
        let told = self.with_what_expires(stream, stopped.or(told));
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = states.get(&stream);
        let state = match &told {
            Some(_) if self.keeps_state_of(stream) => Some(match seen {
                Some(seen) if seen.stopped_with.is_some() => State::Stopped,
                _ if why.stops() => State::Stopping,
                _ => State::Error,
            }),
            _ => seen.map(|seen| seen.state),
        };
        (told, state)
    }
}
