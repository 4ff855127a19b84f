//! One run: the lease, every stream side by side, and the commit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use tracing::{error, info};

use crate::answer::{Answer, Status, StreamAnswer, Told};
use crate::api::{Api, Caller};
use crate::chain::Chain;
use crate::checkpoint::{Checkpoint, Identity, Lease};
use crate::collect::{Run, Tally, Times, collect};
use crate::error::{Error, ErrorType};
use crate::event::Collect;
use crate::intervals::Span;
use crate::known::Memory;
use crate::ledger::{self, Found, Ledger};
use crate::retry::sleep_within;
use crate::settings::Settings;
use crate::store::{Bucket, Records};
use crate::stream::{Events, Kind, Stream};
use crate::time::{HOUR, Millis, SECOND};

/// The lease outlives the deadline by so much, for what was sent just before it.
const LEASE_AFTER_DEADLINE: i64 = 5 * SECOND;
/// What is not covered is an error so long before the API keeps it no longer: a long weekend.
const EXPIRES_SOON: i64 = 72 * HOUR;
/// How often a person's own run looks whether another's lease is over.
const LEASE_POLL: std::time::Duration = std::time::Duration::from_millis(500);

/// What the process lends to its runs.
pub struct Clients {
    pub api: Api,
    pub s3: aws_sdk_s3::Client,
    pub memory: Memory,
}

/// `by_hand` is a person's own request, which waits for its turn.
pub async fn run(
    settings: &Settings,
    clients: &Clients,
    run_id: &str,
    by_hand: bool,
    asked: &Collect,
    deadline: Millis,
) -> Answer {
    let work = Work {
        settings,
        clients,
        run_id,
        by_hand,
        asked,
        streams: asked.streams.as_deref().unwrap_or(&settings.streams),
        deadline,
        times: Times::new(Millis::now(), deadline),
        expiring: Mutex::default(),
    };
    match work.run().await {
        Ok(answer) => answer,
        Err(error) => Answer::ended(run_id, work.streams, &error, |stream, told| work.with_what_expires(stream, told)),
    }
}

struct Work<'a> {
    settings: &'a Settings,
    clients: &'a Clients,
    run_id: &'a str,
    by_hand: bool,
    asked: &'a Collect,
    streams: &'a [Stream],
    deadline: Millis,
    times: Times,
    /// What is about to fall out of the API's retention, as the checkpoint was last seen.
    expiring: Mutex<BTreeMap<Stream, Span>>,
}

/// What came of each stream.
type Collected = Vec<(Stream, Tally, Result<Status, Error>)>;

impl Work<'_> {
    async fn run(&self) -> Result<Answer, Error> {
        self.clients.api.forget_clock();
        let state = Bucket::of_state(self.settings, &self.clients.s3);
        let lease = Lease { run_id: self.run_id.to_owned(), until: self.deadline + LEASE_AFTER_DEADLINE };
        let ledger = if self.asked.dry_run {
            let found = self.load(&state).await?;
            let identity = self.sign_in(found.as_ref()).await?;
            Ledger::unwritten(&state, &self.settings.checkpoint_key, found, identity, lease)
        } else {
            match self.take_lease(&state, lease).await? {
                Some(ledger) => ledger,
                None => return Ok(Answer::skipped(self.run_id)),
            }
        };
        let chain = Chain::new(&state, self.settings.state_prefix(), &ledger, self.asked.dry_run);
        let collected = self.collect(&state, &ledger, &chain).await;
        self.finish(&ledger, &chain, collected).await
    }

    /// `None` while another run holds the lease; a person's own run waits for it until its time is up.
    async fn take_lease<'l>(&'l self, state: &'l Bucket, lease: Lease) -> Result<Option<Ledger<'l>>, Error> {
        loop {
            let found = self.load(state).await?;
            let busy = found.as_ref().is_some_and(|found| found.is_leased(Millis::now()));
            if !busy {
                // Signed in before the lease is taken, for a checkpoint of another tenant is not touched.
                let identity = self.sign_in(found.as_ref()).await?;
                let until = self.times.store_until;
                let key = &self.settings.checkpoint_key;
                let open = |checkpoint: &mut Checkpoint| self.open_with(&lease, checkpoint);
                if let Some(ledger) = Ledger::acquire(state, key, found, identity, lease.clone(), open, until).await? {
                    return Ok(Some(ledger));
                }
            }
            if !self.by_hand || !sleep_within(LEASE_POLL, self.times.read_until).await {
                return Ok(None);
            }
        }
    }

    /// What is read again in every run is opened with the lease, which saves a write.
    fn open_with(&self, lease: &Lease, checkpoint: &mut Checkpoint) {
        for stream in self.streams {
            let may_be_read = checkpoint.not_permitted_at(*stream).is_none();
            if may_be_read && matches!(stream.kind(), Kind::Rescanned(_)) {
                checkpoint.rescanned(*stream).stored.open(Millis::now(), lease);
            }
        }
    }

    async fn load(&self, state: &Bucket) -> Result<Option<Found>, Error> {
        let until = self.times.read_until;
        let found = ledger::load(state, &self.settings.checkpoint_key, &self.settings.identity(None), until).await?;
        if let Some(found) = &found {
            self.note_what_expires(&found.checkpoint);
        }
        Ok(found)
    }

    /// Answers whose data this is, now that the token tells the tenant.
    async fn sign_in(&self, found: Option<&Found>) -> Result<Identity, Error> {
        let tally = Tally::default();
        let caller = Caller { until: self.times.read_until, requests: &tally.requests, retries: &tally.retries };
        let identity = self.settings.identity(self.clients.api.sign_in(&caller).await?);
        if let Some(found) = found {
            found.checkpoint.check_identity(&identity).map_err(ledger::LedgerError::from)?;
        }
        Ok(identity)
    }

    /// All streams at once. None holds another back, and each that fails fails alone.
    async fn collect(&self, state: &Bucket, ledger: &Ledger<'_>, chain: &Chain<'_>) -> Collected {
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
            times: self.times,
            span: self.asked.span,
            by_hand: self.by_hand,
        };
        let run = &run;
        join_all(self.streams.iter().map(|stream| async move {
            let tally = Tally::default();
            let outcome = collect(run, *stream, &tally).await.map(Status::from);
            (*stream, tally, outcome)
        }))
        .await
    }

    /// Tells what was done, commits and answers. Where the commit fails, so has every stream.
    async fn finish(&self, ledger: &Ledger<'_>, chain: &Chain<'_>, mut collected: Collected) -> Result<Answer, Error> {
        let told = chain.close(self.times.store_until, self.times.tell_until).await.map_err(Error::from);
        let released = ledger.release(self.times.commit_until).await.map_err(Error::from);
        let lease_lost = released.as_ref().is_err_and(Error::is_lease_lost);
        let wrote = ledger.has_committed().await
            || collected.iter().any(|(_, tally, _)| tally.objects.load(std::sync::atomic::Ordering::Relaxed) > 0);
        if lease_lost && !wrote {
            return Ok(Answer::skipped(self.run_id));
        }
        // A manifest for which there was no time is the next run's.
        let told = told.or_else(|error| if error.is_out_of_time() { Ok(()) } else { Err(error) });
        if let Err(error) = released.as_ref().and(told.as_ref()) {
            let told = Told::from(error);
            for (_, _, outcome) in &mut collected {
                if outcome.is_ok() {
                    *outcome = Err(Error::NotCommitted { error_type: told.error_type, why: told.message.clone() });
                }
            }
        }
        ledger.read(|checkpoint| self.note_what_expires(checkpoint));
        let streams: BTreeMap<Stream, StreamAnswer> = collected
            .into_iter()
            .map(|(stream, tally, outcome)| (stream, self.answer(ledger, stream, &tally, outcome)))
            .collect();
        let manifest = ledger
            .read(|checkpoint| checkpoint.manifests.head.clone())
            .filter(|_| !self.asked.dry_run && released.is_ok());
        Ok(Answer { manifest, ..Answer::of_streams(self.run_id, streams) })
    }

    fn answer(
        &self,
        ledger: &Ledger<'_>,
        stream: Stream,
        tally: &Tally,
        outcome: Result<Status, Error>,
    ) -> StreamAnswer {
        let (status, told) = match outcome {
            Ok(status) => (status, None),
            Err(error) => (Status::Failed, Some(Told::from(&error))),
        };
        let told = self.with_what_expires(stream, told);
        let status = if told.is_some() && status != Status::NotPermitted { Status::Failed } else { status };
        if let Some(told) = &told {
            error!(stream = %stream, error_type = %told.error_type, "{stream} failed: {}", told.message);
        }
        let covered_to = ledger.read(|checkpoint| checkpoint.covered_to(stream));
        let answer = StreamAnswer::new(status, tally, covered_to, self.clients.api.now(), told);
        log(stream, &answer);
        answer
    }

    /// A replay owes nothing that would be lost.
    fn note_what_expires(&self, checkpoint: &Checkpoint) {
        if self.settings.is_replay {
            return;
        }
        let now = Millis::now();
        let expiring = checkpoint.events.iter().filter_map(|(stream, state)| {
            let Kind::Events(Events { retention: Some(retention), .. }) = stream.kind() else { return None };
            let gap = state.owed(now - self.settings.settle(*stream)).first()?;
            (gap.from < now - *retention + EXPIRES_SOON).then_some((*stream, gap))
        });
        *self.expiring.lock().unwrap_or_else(PoisonError::into_inner) = expiring.collect();
    }

    /// An error, before anything is lost: with the hours that are left.
    fn with_what_expires(&self, stream: Stream, told: Option<Told>) -> Option<Told> {
        let expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(gap), Kind::Events(Events { retention: Some(retention), .. })) =
            (expiring.get(&stream), stream.kind())
        else {
            return told;
        };
        let (error_type, because) = match told {
            Some(told) => (told.error_type, Some(told.message)),
            None => (ErrorType::ThirdPartyGenericError, None),
        };
        let hours_left = ((gap.from + *retention).0 - Millis::now().0).max(0) / HOUR;
        Some(Told::from(&Error::Expiring { from: gap.from, to: gap.to, hours_left, error_type, because }))
    }
}

/// One line a stream.
fn log(stream: Stream, answer: &StreamAnswer) {
    info!(
        stream = %stream,
        status = %answer.status,
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
