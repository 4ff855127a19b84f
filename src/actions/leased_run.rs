//! A run of an action that takes the lease: its clients, its times, and its notes from the checkpoint.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::TimeDelta;

use crate::actions::answer::Status;
use crate::actions::call::Call;
use crate::actions::clients::Clients;
use crate::actions::expiring::{expiring, or_expiring};
use crate::actions::invocation::CollectArgs;
use crate::bucket::ledger::{self, Ledger, LoadedCheckpoint};
use crate::bucket::s3::Bucket;
use crate::collect::Trigger;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Lease};
use crate::core::error_type::ErrorInfo;
use crate::core::identity::Identity;
use crate::core::intervals::Span;
use crate::core::retry::sleep_within;
use crate::core::settings::Settings;
use crate::core::shared::Shared;
use crate::core::states::States;
use crate::core::stream::Stream;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::core::times::{LEASE_AFTER_DEADLINE, Times};
use crate::incydr::error::ApiError;

/// A run by hand checks at this interval whether the other run's lease has ended.
const LEASE_POLL: Duration = Duration::from_millis(500);
/// A gap that is due for longer is reported: an earlier run should have covered it.
pub const OVERDUE_AFTER: TimeDelta = TimeDelta::minutes(15);

/// One run. Built from the invocation at its beginning; the cells are filled while it goes on.
pub struct LeasedRun<'a> {
    pub settings: &'a Settings,
    pub clients: &'a Clients,
    pub run_id: &'a str,
    pub trigger: Trigger,
    /// The arguments of `collect`. Empty for a scheduled run.
    pub asked: &'a CollectArgs,
    /// The streams that were asked for, or else the enabled ones.
    pub streams: &'a [Stream],
    pub began: Millis,
    /// Lambda ends the process at this instant.
    pub deadline: Millis,
    /// The ends of the run's phases, all before the deadline.
    pub times: Times,
    /// Empty until the sign-in succeeded.
    pub signed_in_at: OnceLock<Millis>,
    /// The version of the secret that this run's token was granted for.
    pub granted_to: OnceLock<Option<String>>,
    /// The streams' states on the checkpoint when it was last loaded.
    pub states: Shared<States>,
    /// The end of each stream's covered time, on the checkpoint when it was last loaded.
    pub covered_to: Shared<BTreeMap<Stream, Millis>>,
    /// The streams that this run doesn't try: they are stopped, and neither the settings nor the secret have changed.
    pub stopped: Shared<Stopped>,
    /// The gaps that expire soon, on the checkpoint when it was last loaded.
    pub expiring: Shared<BTreeMap<Stream, Span>>,
    /// The number of spans that have been due for more than 15 minutes, on the checkpoint when it was last loaded.
    pub gaps: Shared<BTreeMap<Stream, u64>>,
    /// The report, if the checkpoint was found gone or an older version of itself.
    pub state_lost: OnceLock<String>,
}

/// The stopped streams, and when they are next tried without a change, if at all.
#[derive(Default)]
pub struct Stopped {
    pub states: States,
    pub next_try: Option<Millis>,
}

/// The result of one stream in a run.
pub struct Collected {
    pub stream: Stream,
    pub tally: Tally,
    pub outcome: Result<Status, Error>,
}

impl<'a> LeasedRun<'a> {
    pub fn new(call: Call<'a>, asked: &'a CollectArgs, trigger: Trigger) -> Self {
        let Call { settings, clients, run_id, deadline } = call;
        let (began, streams) = (Millis::now(), asked.streams.as_deref().unwrap_or(&settings.streams));

        Self {
            settings,
            clients,
            run_id,
            trigger,
            asked,
            streams,
            began,
            deadline,
            times: Times::new(began, deadline),
            signed_in_at: OnceLock::new(),
            granted_to: OnceLock::new(),
            states: Shared::default(),
            covered_to: Shared::default(),
            stopped: Shared::default(),
            expiring: Shared::default(),
            gaps: Shared::default(),
            state_lost: OnceLock::new(),
        }
    }

    /// The ends of the run's phases, by the longest write that S3 has taken so far.
    pub fn times_by_now(&self) -> Times {
        self.times.with_time_to_commit(self.clients.s3.longest_write())
    }

    pub fn lease(&self) -> Lease {
        Lease { run_id: self.run_id.to_owned(), until: self.deadline + LEASE_AFTER_DEADLINE }
    }

    /// Takes the lease. Returns none while another run holds it; a run by hand waits until its time is up. `admit` is
    /// called before and returns the identity: it fails for a checkpoint of another tenant, which stays untouched. The
    /// changes that `prepare` makes are committed with the lease.
    pub async fn take_lease<'l>(
        &self,
        state: &'l Bucket,
        admit: impl AsyncFn(Option<&LoadedCheckpoint>) -> Result<Identity, Error>,
        prepare: impl Fn(&mut Checkpoint),
    ) -> Result<Option<Ledger<'l>>, Error>
    where
        'a: 'l,
    {
        loop {
            let found = self.load(state).await?;
            let busy = found.as_ref().is_some_and(|found| found.is_leased(Millis::now()));
            if !busy {
                let identity = admit(found.as_ref()).await?;
                if let Some(ledger) = self.acquire(state, found, identity, &prepare).await? {
                    return Ok(Some(ledger));
                }
            }

            if self.trigger == Trigger::Schedule || !sleep_within(LEASE_POLL, self.times.read_until).await {
                return Ok(None);
            }
        }
    }

    pub async fn acquire<'l>(
        &self,
        state: &'l Bucket,
        found: Option<LoadedCheckpoint>,
        identity: Identity,
        prepare: impl FnOnce(&mut Checkpoint),
    ) -> Result<Option<Ledger<'l>>, Error>
    where
        'a: 'l,
    {
        let key = &self.settings.checkpoint_key;
        let until = self.times.store_until;
        Ok(Ledger::acquire(state, key, found, identity, self.lease(), prepare, until).await?)
    }

    /// Loads the checkpoint, and notes what the answer tells of it if the run goes no further. None before the first
    /// run.
    pub async fn load(&self, state: &Bucket) -> Result<Option<LoadedCheckpoint>, Error> {
        let until = self.times.read_until;
        let found = ledger::load(state, &self.settings.checkpoint_key, &self.settings.identity(None), until).await?;
        if let Some(found) = &found {
            self.note_what_expires(&found.checkpoint);
            self.note_states(&found.checkpoint);
        }
        Ok(found)
    }

    /// Signs in and returns the identity, with the tenant that the token names.
    pub async fn sign_in(&self, found: Option<&LoadedCheckpoint>) -> Result<Identity, Error> {
        let tally = Tally::default();
        let caller = tally.caller(self.times.read_until);
        let tenant = self.clients.api.sign_in(&caller).await.map_err(|error| match tally.calls.unanswered() {
            Some(waited) if matches!(error, ApiError::OutOfTime) => {
                ApiError::NoAnswer { what: "sign-in".into(), waited_s: waited.as_secs() }
            }
            _ => error,
        });
        let identity = self.settings.identity(tenant?);
        self.signed_in_at.get_or_init(Millis::now);
        let _ = self.granted_to.set(self.clients.api.secret_version().await);
        let expected = Checkpoint::new(self.settings.identity(self.settings.tenant.clone()));
        for checkpoint in found.iter().map(|found| &found.checkpoint).chain([&expected]) {
            checkpoint.check_identity(&identity).map_err(ledger::LedgerError::from)?;
        }
        Ok(identity)
    }

    pub fn note_states(&self, checkpoint: &Checkpoint) {
        self.states.lock().clone_from(&checkpoint.states);
        let covered_to = self.streams.iter().filter_map(|stream| Some((*stream, checkpoint.covered_to(*stream)?)));
        *self.covered_to.lock() = covered_to.collect();
    }

    /// Notes the gaps that expire soon, and how many gaps each stream has that are overdue.
    pub fn note_what_expires(&self, checkpoint: &Checkpoint) {
        let expiring = expiring(self.settings, checkpoint, Millis::now());
        *self.expiring.lock() = expiring;
        let gaps = checkpoint.events.iter().map(|(stream, state)| {
            let horizon = Millis::now() - self.settings.settle(*stream) - OVERDUE_AFTER;
            (*stream, state.due(horizon).iter().count() as u64)
        });
        *self.gaps.lock() = gaps.collect();
    }

    pub fn is_expiring(&self, stream: Stream) -> bool {
        self.expiring.lock().contains_key(&stream)
    }

    /// Returns the number of spans that have been due for more than 15 minutes.
    pub fn old_gaps(&self, stream: Stream) -> u64 {
        self.gaps.lock().get(&stream).copied().unwrap_or(0)
    }

    /// Returns the error of a stream, or of its gap that expires soon.
    pub fn or_expiring(&self, stream: Stream, error: Option<ErrorInfo>) -> Option<ErrorInfo> {
        let expiring = self.expiring.lock();
        or_expiring(stream, expiring.get(&stream), error)
    }
}

/// Turns a lack of time into success: the next run continues.
pub fn ok_if_out_of_time(error: Error) -> Result<(), Error> {
    if error.is_out_of_time() { Ok(()) } else { Err(error) }
}
