//! Collects one stream in one run. Each kind of stream has a file of its own. This one has what they share.
//!
//! * [`events`]: records that never change, window by window
//! * [`versions`]: records whose changes the API lists; [`rescanned`]: records whose changes it can't list;
//!   [`inventory`]: lists that are read whole. All three compare with what is stored, by [`compared`]
//! * [`findings`]: findings that [`health`] derives from other streams
//! * [`pages`]: the pages of a list; [`each`]: one request for each record; [`keys`]: the keys of stored
//!   records; [`unreadable`]: rows that can't be read
//! * [`mod@drift`]: whether rows that can't be read are a change of the API; [`mod@error`]: the errors of a run

mod compared;
mod drift;
mod each;
pub mod error;
mod events;
mod findings;
pub mod health;
mod inventory;
pub mod keys;
mod pages;
mod rescanned;
pub mod suspects;
mod unreadable;
mod versions;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::Value;
use tracing::warn;

use crate::bucket::chain::Chain;
use crate::bucket::ledger::Ledger;
use crate::bucket::records::{Placed, Records};
use crate::bucket::s3::{Bucket, Condition, Object};
use crate::collect::error::Error;
use crate::collect::suspects::Suspects;
use crate::core::checkpoint::{Checkpoint, Throttled};
use crate::core::digest::sha256;
use crate::core::intervals::Span;
use crate::core::known::Memory;
use crate::core::manifest::ReadingEntry;
use crate::core::refusals;
use crate::core::schedule::Tries;
use crate::core::settings::{FileEventQuery, Settings};
use crate::core::shared::Shared;
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::tally::{SIGNIFICANT_WAIT, Tally};
use crate::core::time::{HOUR, Millis};
use crate::core::times::Times;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Kind, users};
use crate::incydr::listing::Listing;
use crate::incydr::request::Caller;

/// A stream that the API client may not read is tried at this interval. Nobody tells the collector when the permission
/// is granted.
const NOT_PERMITTED_FOR: TimeDelta = HOUR;
/// The least time for an answer about a part of a span that failed.
const SHORTEST_SILENCE: Duration = Duration::from_millis(500);

/// The parts of one run that all its streams share.
pub struct Run<'a> {
    pub settings: &'a Settings,
    pub api: &'a Api,
    pub records: Records<'a>,
    pub state: &'a Bucket,
    pub ledger: &'a Ledger<'a>,
    pub chain: &'a Chain<'a>,
    pub memory: &'a Memory,
    pub times: Times,
    pub suspects: Suspects,
    /// The span that somebody asked for. None means everything that is due.
    pub span: Option<Span>,
    pub trigger: Trigger,
}

/// Who started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The schedule, or the state machine of a backfill. The run is skipped while another one holds the lease.
    Schedule,
    /// A person. The run waits for the lease, and also tries streams that were refused less than an hour ago.
    Person,
}

/// The result of a stream that had no error. `Status` of the answer describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOutcome {
    Complete,
    Partial,
    NotPermitted,
    NotDue,
}

/// The run of one stream.
struct Collector<'a> {
    run: &'a Run<'a>,
    stream: Stream,
    tally: &'a Tally,
    /// Whether an earlier run has covered any of the stream.
    has_worked: bool,
    /// The requests that the API throttled until the end of an earlier run.
    throttled: Throttled,
    /// Damage to the stream's own state. This run repairs it, and reports it nevertheless.
    damaged: Shared<Option<Error>>,
    /// Refusals that may be about one span of an event stream.
    refusals: Shared<Vec<Error>>,
    /// The query that selects file events, once it was read.
    query: OnceLock<FileEventQuery>,
}

/// Collects one stream. A stream that was refused less than an hour ago is `NotPermitted` without a request, unless a
/// person started the run.
pub async fn collect(run: &Run<'_>, stream: Stream, tally: &Tally) -> Result<StreamOutcome, Error> {
    let refused_at = run.ledger.read(|checkpoint| checkpoint.not_permitted_at(stream));
    if run.trigger == Trigger::Schedule && refused_at.is_some_and(|at| Millis::now() < at + NOT_PERMITTED_FOR) {
        return Ok(StreamOutcome::NotPermitted);
    }

    let (has_worked, stalled, throttled) = run.ledger.read(|checkpoint| {
        let stalled = checkpoint.stalled.get(&stream).copied().unwrap_or_default();
        let throttled = checkpoint.throttled.get(&stream).cloned().unwrap_or_default();
        let is_under_way = answers_prove_permission(stream, run.settings) && checkpoint.is_under_way(stream);
        (checkpoint.covered_to(stream).is_some() || is_under_way, stalled, throttled)
    });
    let _turn = run.api.budget().enter(stream, stalled);
    let (damaged, refusals, query) = (Shared::default(), Shared::default(), OnceLock::new());
    let collector = Collector { run, stream, tally, has_worked, throttled, damaged, refusals, query };

    let Some(kind) = stream.kind_by(run.settings) else {
        let why = format!("\"streams\" names {stream}, which an API of INCYDR_API_DIALECT \"guide\" doesn't have");
        return Err(Error::InvalidEvent(why));
    };
    let collected = match kind {
        Kind::Events(facts) => collector.events(facts).await,
        Kind::Versions(facts) => Box::pin(collector.versions(facts)).await.map(|()| StreamOutcome::Complete),
        Kind::Rescanned(facts) => Box::pin(collector.rescanned(facts)).await.map(|()| StreamOutcome::Complete),
        Kind::Inventory(facts) => Box::pin(collector.inventory(facts)).await,
        Kind::Findings(facts) => collector.findings(facts).await,
    };

    let outcome = collector.judge(collected, refused_at.is_some()).await?;
    collector.damaged.into_inner().map_or(Ok(outcome), Err)
}

/// Whether every answer proves the stream's own permission. Some streams first read another stream's list, which needs
/// another permission.
fn answers_prove_permission(stream: Stream, settings: &Settings) -> bool {
    match stream.kind_by(settings) {
        Some(Kind::Events(_) | Kind::Versions(_)) => true,
        Some(Kind::Rescanned(facts)) => facts.sublist.is_none(),
        Some(Kind::Inventory(facts)) => !facts.parts[0].is_index,
        Some(Kind::Findings(_)) | None => false,
    }
}

impl Tally {
    /// A caller whose requests are counted here.
    pub fn caller(&self, until: Millis) -> Caller<'_> {
        Caller::new(until, &self.calls)
    }

    /// Counts new objects only. Existing ones were counted by the run that wrote them.
    fn add(&self, placed: &[Placed]) {
        for Placed { object, .. } in placed.iter().filter(|placed| placed.is_new) {
            self.records.add(object.records);
            self.objects.add(1);
            self.bytes.add(object.bytes);
        }
    }
}

impl Collector<'_> {
    fn caller(&self) -> Caller<'_> {
        let stream = Some(self.stream);
        Caller { stream, retries_forbidden: self.has_worked, ..self.tally.caller(self.run.times.read_until) }
    }

    /// A caller that leaves time for other spans. Retries end after 1/`parts` of the time left. The wait for one answer
    /// is at most 1/`parts` of the run. For a span that is tried once, it is at most ten times the longest wait of this
    /// run, doubled for each of the `attempts` that earlier runs made: old records may take the API longer.
    fn patient(&self, tries: Tries, parts: i32, attempts: u32) -> Caller<'_> {
        let (now, times) = (Millis::now(), &self.run.times);
        let left = (times.read_until - now).max(TimeDelta::zero());
        let longest = SIGNIFICANT_WAIT.max(times.read_until.since(times.began) / parts.unsigned_abs());
        let longest_silence = match (tries, self.tally.calls.longest_wait()) {
            (Tries::Once | Tries::Probe, Some(waited)) => {
                let usual = (10 * waited).max(SHORTEST_SILENCE);
                usual.saturating_mul(2_u32.saturating_pow(attempts)).min(longest)
            }
            _ => longest,
        };
        let retry_until = (tries == Tries::ByPolicy).then_some(now + left / parts);
        Caller { retry_until, longest_silence: Some(longest_silence), ..self.caller() }
    }

    /// The number of times that a stuck span was tried.
    fn attempts(&self, span: Span) -> u32 {
        let stuck = |checkpoint: &Checkpoint| Some(checkpoint.stuck.get(&self.stream)?.holding(span)?.attempts);
        self.run.ledger.read(stuck).unwrap_or(0)
    }

    /// Judges what a kind of stream returned: a run out of time is partial, unless nothing answered; and a refusal may mean
    /// that the permission is missing. `was_refused`: the stream counts as not permitted.
    async fn judge(&self, collected: Result<StreamOutcome, Error>, was_refused: bool) -> Result<StreamOutcome, Error> {
        let (stream, calls) = (self.stream, &self.tally.calls);
        let is_partial =
            matches!(&collected, Ok(StreamOutcome::Partial)) || collected.as_ref().is_err_and(Error::is_out_of_time);
        if let Some(waited) = calls.unanswered().filter(|_| is_partial) {
            let (what, waited_s) = (stream.to_string(), waited.as_secs());
            return Err(ApiError::NoAnswer { what, waited_s }.into());
        }

        match collected {
            Err(Error::Api(ApiError::Forbidden { what, status: 401, said })) if self.is_token_refused().await => {
                Err(ApiError::Unauthorized { what, said }.into())
            }
            Err(Error::Api(ApiError::Forbidden { what, status, said })) => {
                self.forbidden(what, status, said, was_refused)
            }
            // If nothing was answered after an error of the API, that error is the news.
            Err(error) if error.is_out_of_time() => match calls.last_failure.lock().take() {
                Some(failure) => Err(Error::Noted(failure)),
                None => Ok(StreamOutcome::Partial),
            },
            Ok(outcome) => {
                let has_answered = calls.successes.get() > 0;
                self.run.ledger.update(|checkpoint| {
                    if outcome == StreamOutcome::Complete
                        || has_answered && answers_prove_permission(stream, self.run.settings)
                    {
                        checkpoint.note_not_permitted(stream, None);
                    }
                    if outcome == StreamOutcome::Complete || has_answered {
                        checkpoint.refused.remove(&stream);
                    }
                });
                Ok(outcome)
            }
            failed => failed,
        }
    }

    /// Whether the API refuses the present token for other requests, too. Asks for one user.
    async fn is_token_refused(&self) -> bool {
        // An answer here says nothing of the stream.
        let tally = Tally::default();
        let caller = Caller { retry_until: None, ..tally.caller(self.run.times.read_until) };
        let users = Listing::new(self.run.api, &users::LIST, 1, Vec::new(), Value::Null).first(&caller).await;
        self.tally.calls.requests.add(tally.calls.requests.get());
        matches!(users, Err(ApiError::Unauthorized { .. }))
    }

    /// Called if the stream as a whole answers 403. Either its permission is missing, or something between the API and
    /// us refuses for a while. `is_believed` means that the stream was refused before.
    fn forbidden(&self, what: String, status: u16, said: String, is_believed: bool) -> Result<StreamOutcome, Error> {
        let stream = self.stream;
        let has_answered = self.has_worked
            || self.tally.records.get() > 0
            || answers_prove_permission(stream, self.run.settings) && self.tally.calls.successes.get() > 0;
        let is_believed = self.run.ledger.update(|checkpoint| {
            let mut refusals = checkpoint.refused.remove(&stream);
            // Refusals are noted only of a stream that had answered.
            let has_worked = (has_answered || refusals.is_some()) && !is_believed;
            let is_believed = refusals::note_refusal(&mut refusals, &said, has_worked);
            checkpoint.refused.extend(refusals.map(|refusals| (stream, refusals)));
            if is_believed {
                checkpoint.note_not_permitted(stream, Some(Millis::now()));
            }
            is_believed
        });
        if !is_believed {
            return Err(Error::Api(ApiError::Forbidden { what, status, said }).not_believed());
        }
        warn!(stream = %stream, permission = stream.permission(), said, "{stream} is not permitted: the API client needs {}", stream.permission());
        Ok(StreamOutcome::NotPermitted)
    }

    async fn commit(&self) -> Result<(), Error> {
        self.run.chain.write_if_long(self.run.times.store_until).await?;
        Ok(self.run.ledger.commit(self.run.times.store_until).await?)
    }

    /// Changes the stream's list of stuck spans, records and lists.
    fn stuck<T>(&self, change: impl FnOnce(&mut StuckList) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.stuck(self.stream)))
    }

    /// Adds a finished reading to those that the next manifest lists, and makes `change`, in one update.
    fn note<T>(&self, done: ReadingEntry, change: impl FnOnce(&mut Checkpoint) -> T) -> T {
        self.run.chain.note(done, change)
    }

    /// Stores the bytes of a row that can't become a record, and returns the key. The rest of the reading continues.
    async fn set_aside(&self, bytes: &Bytes, why: &str) -> Result<String, Error> {
        self.run.ledger.check_lease()?;
        let sha256 = sha256(bytes);
        let key = format!("{}set-aside/{}/{sha256}.bin", self.run.settings.state_prefix(), self.stream);
        if !self.run.records.dry_run {
            let metadata = HashMap::from([("stream".to_owned(), self.stream.to_string())]);
            let object = Object { key: &key, bytes: bytes.clone(), content_type: "application/octet-stream", metadata };
            // A refused write means that the same bytes are there.
            self.run.state.put(&object, Condition::Absent, self.run.times.store_until).await?;
        }
        warn!(stream = %self.stream, key, why, "a row of {} can't be read and is set aside", self.stream);
        self.tally.set_aside.add(1);
        Ok(key)
    }
}
