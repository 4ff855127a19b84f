//! What the actions that hold the lease have in common: the run, its checkpoint, and what was seen there.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;

use crate::actions::answer::Status;
use crate::actions::clients::Clients;
use crate::actions::expiring::{expiring, with_what_expires};
use crate::actions::request::Collect;
use crate::bucket::ledger::{self, Found, Ledger};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Lease};
use crate::core::error_kind::ErrorInfo;
use crate::core::identity::Identity;
use crate::core::intervals::Span;
use crate::core::retry::sleep_within;
use crate::core::settings::Settings;
use crate::core::states::States;
use crate::core::stream::Stream;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::core::times::Times;
use crate::incydr::error::ApiError;

/// The lease outlives the deadline by so much, for what was sent just before it.
const LEASE_AFTER_DEADLINE: TimeDelta = TimeDelta::seconds(5);
/// How often a person's own run looks whether another's lease is over.
const LEASE_POLL: Duration = Duration::from_millis(500);
/// What is still owed after so long should have been covered by an earlier run.
pub const FEW_TICKS: TimeDelta = TimeDelta::minutes(15);

/// One run of such an action.
pub struct Work<'a> {
    pub settings: &'a Settings,
    pub clients: &'a Clients,
    pub run_id: &'a str,
    pub by_hand: bool,
    pub asked: &'a Collect,
    pub streams: &'a [Stream],
    pub began: Millis,
    pub deadline: Millis,
    pub times: Times,
    pub signed_in_at: OnceLock<Millis>,
    /// The version of the secret to which this run's token was granted.
    pub granted_to: OnceLock<Option<String>>,
    /// The streams' states, as the checkpoint was last seen.
    pub states: Mutex<States>,
    /// Not tried by this run: these are stopped, and nothing has changed since.
    pub stopped: Mutex<Stopped>,
    /// What is about to fall out of the API's retention, as the checkpoint was last seen.
    pub expiring: Mutex<BTreeMap<Stream, Span>>,
}

/// The streams that are stopped, and when they are tried again of themselves, where they are.
#[derive(Default)]
pub struct Stopped {
    pub states: States,
    pub next_try: Option<Millis>,
}

/// What came of each stream.
pub type Collected = Vec<(Stream, Tally, Result<Status, Error>)>;

impl<'a> Work<'a> {
    pub fn new(
        settings: &'a Settings,
        clients: &'a Clients,
        run_id: &'a str,
        by_hand: bool,
        asked: &'a Collect,
        deadline: Millis,
    ) -> Self {
        clients.s3.begin_run();
        let (began, streams) = (Millis::now(), asked.streams.as_deref().unwrap_or(&settings.streams));
        Self {
            settings,
            clients,
            run_id,
            by_hand,
            asked,
            streams,
            began,
            deadline,
            times: Times::new(began, deadline),
            signed_in_at: OnceLock::new(),
            granted_to: OnceLock::new(),
            states: Mutex::default(),
            stopped: Mutex::default(),
            expiring: Mutex::default(),
        }
    }

    pub fn lease(&self) -> Lease {
        Lease { run_id: self.run_id.to_owned(), until: self.deadline + LEASE_AFTER_DEADLINE }
    }

    /// `None` while another run holds the lease; a person's own run waits for it until its time is up. `admit` says for
    /// whom it is taken, before it is: a checkpoint of another tenant is not touched. What `prepare` changes is committed
    /// with it.
    pub async fn take_lease<'l>(
        &self,
        state: &'l Bucket,
        admit: impl AsyncFn(Option<&Found>) -> Result<Identity, Error>,
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
            if !self.by_hand || !sleep_within(LEASE_POLL, self.times.read_until).await {
                return Ok(None);
            }
        }
    }

    pub async fn acquire<'l>(
        &self,
        state: &'l Bucket,
        found: Option<Found>,
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

    pub async fn load(&self, state: &Bucket) -> Result<Option<Found>, Error> {
        let until = self.times.read_until;
        let found = ledger::load(state, &self.settings.checkpoint_key, &self.settings.identity(None), until).await?;
        if let Some(found) = &found {
            self.note_what_expires(&found.checkpoint);
            self.note_states(&found.checkpoint);
        }
        Ok(found)
    }

    /// Answers whose data this is, now that the token tells the tenant.
    pub async fn sign_in(&self, found: Option<&Found>) -> Result<Identity, Error> {
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

    /// Keeps the streams' states as they stand on this checkpoint.
    pub fn note_states(&self, checkpoint: &Checkpoint) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&checkpoint.states);
    }

    /// The same for what is about to expire.
    pub fn note_what_expires(&self, checkpoint: &Checkpoint) {
        let expiring = expiring(self.settings, checkpoint, Millis::now());
        *self.expiring.lock().unwrap_or_else(PoisonError::into_inner) = expiring;
    }

    pub fn is_expiring(&self, stream: Stream) -> bool {
        self.expiring.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&stream)
    }

    /// How many spans are due that a few ticks ago should have been covered.
    pub fn old_gaps(&self, ledger: &Ledger<'_>, stream: Stream) -> u64 {
        let horizon = Millis::now() - self.settings.settle(stream) - FEW_TICKS;
        let owed = |checkpoint: &Checkpoint| Some(checkpoint.events.get(&stream)?.due(horizon).iter().count() as u64);
        ledger.read(owed).unwrap_or(0)
    }

    /// What is told of a stream, or that it is about to lose something.
    pub fn with_what_expires(&self, stream: Stream, told: Option<ErrorInfo>) -> Option<ErrorInfo> {
        let expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        with_what_expires(stream, expiring.get(&stream), told)
    }
}

/// What there was no time for is left to the next run.
pub fn in_time(error: Error) -> Result<(), Error> {
    if error.is_out_of_time() { Ok(()) } else { Err(error) }
}
