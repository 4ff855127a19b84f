//! One stream, one run. A kind of stream is a story of its own, told in a file of its own; here stands what they share.

mod compared;
mod each;
pub mod error;
mod events;
mod findings;
pub mod health;
mod inventory;
pub mod keys;
mod rescanned;
mod versions;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::bucket::chain::Chain;
use crate::bucket::ledger::Ledger;
use crate::bucket::records::{Placed, Records};
use crate::bucket::s3::{Bucket, Condition, Object};
use crate::collect::error::Error;
use crate::core::checkpoint::Checkpoint;
use crate::core::intervals::Span;
use crate::core::known::Memory;
use crate::core::manifest::ReadingEntry;
use crate::core::ndjson::hex;
use crate::core::refusals;
use crate::core::settings::{FileEventQuery, Settings};
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::tally::Tally;
use crate::core::time::{HOUR, Millis};
use crate::core::times::Times;
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::Kind;
use crate::incydr::request::Caller;

/// How often a stream is tried that the API client may not read: the permission is granted at the vendor, where
/// nobody tells us.
const NOT_PERMITTED_FOR: i64 = HOUR;

/// What one run lends to its streams.
pub struct Run<'a> {
    pub settings: &'a Settings,
    pub api: &'a Api,
    pub records: Records<'a>,
    pub state: &'a Bucket,
    pub ledger: &'a Ledger<'a>,
    pub chain: &'a Chain<'a>,
    pub memory: &'a Memory,
    pub times: Times,
    /// Somebody asked for this span; otherwise all that is owed.
    pub span: Option<Span>,
    /// A person's own invocation tries also what was refused a moment ago.
    pub by_hand: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Complete,
    Partial,
    NotPermitted,
    NotDue,
}

/// A stream in its run.
struct Collector<'a> {
    run: &'a Run<'a>,
    stream: Stream,
    tally: &'a Tally,
    /// A run before this one has covered something of it.
    has_worked: bool,
    /// What is wrong with the stream's own state, and is mended by this run: it is told all the same.
    damaged: Mutex<Option<Error>>,
    /// Which file events are wanted, once that is known.
    query: OnceLock<FileEventQuery>,
}

pub async fn collect(run: &Run<'_>, stream: Stream, tally: &Tally) -> Result<Outcome, Error> {
    let refused_at = run.ledger.update(|checkpoint| *checkpoint.not_permitted_at(stream));
    if !run.by_hand && refused_at.is_some_and(|at| Millis::now() < at + NOT_PERMITTED_FOR) {
        return Ok(Outcome::NotPermitted);
    }
    let (has_worked, stalled) = run.ledger.read(|checkpoint| {
        (checkpoint.covered_to(stream).is_some(), checkpoint.stalled.get(&stream).copied().unwrap_or_default())
    });
    let _turn = run.api.enter(stream, stalled);
    let collector = Collector { run, stream, tally, has_worked, damaged: Mutex::default(), query: OnceLock::new() };
    let Some(kind) = stream.kind_by(run.settings) else {
        let why = format!("\"streams\" names {stream}, which an API of INCYDR_API_DIALECT \"guide\" doesn't have");
        return Err(Error::InvalidEvent(why));
    };
    let collected = match kind {
        Kind::Events(facts) => collector.events(facts).await,
        Kind::Versions(facts) => Box::pin(collector.versions(facts)).await.map(|()| Outcome::Complete),
        Kind::Rescanned(facts) => Box::pin(collector.rescanned(facts)).await.map(|()| Outcome::Complete),
        Kind::Inventory(facts) => Box::pin(collector.inventory(facts)).await,
        Kind::Findings(facts) => collector.findings(facts).await,
    };
    let is_partial = matches!(&collected, Ok(Outcome::Partial)) || collected.as_ref().is_err_and(Error::is_out_of_time);
    if let Some(waited) = tally.calls.unanswered().filter(|_| is_partial) {
        let (what, waited_s) = (stream.to_string(), waited.as_secs());
        return Err(ApiError::NoAnswer { what, waited_s }.into());
    }
    let collected = match collected {
        Err(Error::Api(ApiError::Forbidden { what, said })) => collector.forbidden(what, said, refused_at.is_some()),
        Err(error) if error.is_out_of_time() => Ok(Outcome::Partial),
        Ok(outcome) => {
            let has_answered = tally.calls.answers.load(Ordering::Relaxed) > 0;
            run.ledger.update(|checkpoint| {
                if outcome == Outcome::Complete {
                    *checkpoint.not_permitted_at(stream) = None;
                }
                if outcome == Outcome::Complete || has_answered {
                    checkpoint.refused.remove(&stream);
                }
            });
            Ok(outcome)
        }
        other => other,
    };
    let damaged = collector.damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (collected, damaged) {
        (Ok(_), Some(damaged)) => Err(damaged),
        (collected, _) => collected,
    }
}

impl Tally {
    /// Whose requests are counted here.
    pub fn caller(&self, until: Millis) -> Caller<'_> {
        Caller::new(until, &self.calls)
    }

    /// What was there before was counted by the run that wrote it.
    fn add(&self, placed: &[Placed]) {
        for Placed { object, .. } in placed.iter().filter(|placed| placed.is_new) {
            self.records.fetch_add(object.records, Ordering::Relaxed);
            self.objects.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(object.bytes, Ordering::Relaxed);
        }
    }
}

impl Collector<'_> {
    fn caller(&self) -> Caller<'_> {
        let stream = Some(self.stream);
        Caller { stream, retries_forbidden: self.has_worked, ..self.tally.caller(self.run.times.read_until) }
    }

    /// The stream as a whole is refused: its permission is missing, or what stands before the API says so for a while.
    fn forbidden(&self, what: String, said: String, is_believed: bool) -> Result<Outcome, Error> {
        let stream = self.stream;
        let has_worked = (self.has_worked || self.tally.records.load(Ordering::Relaxed) > 0) && !is_believed;
        let is_believed = self.run.ledger.update(|checkpoint| {
            let mut refusals = checkpoint.refused.remove(&stream);
            let is_believed = refusals::refused(&mut refusals, &said, has_worked);
            checkpoint.refused.extend(refusals.map(|refusals| (stream, refusals)));
            if is_believed {
                *checkpoint.not_permitted_at(stream) = Some(Millis::now());
            }
            is_believed
        });
        if !is_believed {
            return Err(Error::Api(ApiError::Forbidden { what, said }).not_believed());
        }
        warn!(stream = %stream, permission = stream.permission(), said, "{stream} is not permitted: the API client needs {}", stream.permission());
        Ok(Outcome::NotPermitted)
    }

    async fn commit(&self) -> Result<(), Error> {
        self.run.chain.write_if_long(self.run.times.store_until).await?;
        Ok(self.run.ledger.commit(self.run.times.store_until).await?)
    }

    /// What is stuck of the stream.
    fn stuck<T>(&self, change: impl FnOnce(&mut StuckList) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.stuck(self.stream)))
    }

    /// A reading that is done is told by the next manifest, from the moment at which its change is committed.
    fn note<T>(&self, done: ReadingEntry, change: impl FnOnce(&mut Checkpoint) -> T) -> T {
        self.run.chain.note(done, change)
    }

    /// Keeps the bytes of a record that can't be parsed, says so, and lets the rest go on. Answers the key.
    async fn set_aside(&self, bytes: &Bytes, why: &str) -> Result<String, Error> {
        self.run.ledger.check_lease()?;
        let sha256 = hex(&Sha256::digest(bytes));
        let key = format!("{}set-aside/{}/{sha256}.bin", self.run.settings.state_prefix(), self.stream);
        if !self.run.records.dry_run {
            let metadata = HashMap::from([("stream".to_owned(), self.stream.to_string())]);
            let object = Object { key: &key, bytes: bytes.clone(), content_type: "application/octet-stream", metadata };
            // Refused means that the very same bytes are there.
            self.run.state.put(&object, Condition::Absent, self.run.times.store_until).await?;
        }
        warn!(stream = %self.stream, key, why, "a record of {} can't be parsed and is set aside", self.stream);
        self.tally.set_aside.fetch_add(1, Ordering::Relaxed);
        Ok(key)
    }
}
