//! One stream, one run. A kind of stream is a story of its own, told in a file of its own; here stands what they share.

pub mod error;
mod events;
mod findings;
pub mod health;
mod inventory;
mod rescanned;
mod versions;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::bucket::chain::Chain;
use crate::bucket::ledger::Ledger;
use crate::bucket::records::{Placed, Records};
use crate::bucket::s3::{Bucket, Condition, Object};
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Met, StateObject, StoredState};
use crate::core::intervals::Span;
use crate::core::known::{Known, Memory};
use crate::core::manifest::{ReadingEntry as Entry, StoredObject};
use crate::core::ndjson::{self, Packed, hex};
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::tally::Tally;
use crate::core::time::{HOUR, Millis};
use crate::core::times::Times;
use crate::incydr::client::Api;
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

/// What was found under the key of a reading that a run had left open.
#[derive(Default)]
struct Applied {
    /// With what was found there before.
    count: u32,
    objects: Vec<StoredObject>,
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
}

pub async fn collect(run: &Run<'_>, stream: Stream, tally: &Tally) -> Result<Outcome, Error> {
    let refused_at = run.ledger.update(|checkpoint| *checkpoint.not_permitted_at(stream));
    if !run.by_hand && refused_at.is_some_and(|at| Millis::now() < at + NOT_PERMITTED_FOR) {
        return Ok(Outcome::NotPermitted);
    }
    let collector = Collector { run, stream, tally };
    let Some(kind) = stream.kind_in(run.settings.dialect) else {
        let why = format!("\"streams\" names {stream}, which an API of INCYDR_API_DIALECT \"guide\" doesn't have");
        return Err(Error::InvalidEvent(why));
    };
    let collected = match kind {
        Kind::Events(facts) => collector.events(facts).await,
        Kind::Versions(facts) => collector.versions(facts).await.map(|()| Outcome::Complete),
        Kind::Rescanned(facts) => collector.rescanned(facts).await.map(|()| Outcome::Complete),
        Kind::Inventory(facts) => collector.inventory(facts).await,
        Kind::Findings(facts) => collector.findings(facts).await,
    };
    let refused_at = match &collected {
        Err(error) if error.is_forbidden() => {
            warn!(stream = %stream, permission = stream.permission(), "{stream} is not permitted: the API client needs {}", stream.permission());
            Some(Millis::now())
        }
        Ok(Outcome::Complete) => None,
        _ => refused_at,
    };
    run.ledger.update(|checkpoint| *checkpoint.not_permitted_at(stream) = refused_at);
    match collected {
        Err(error) if error.is_forbidden() => Ok(Outcome::NotPermitted),
        Err(error) if error.is_out_of_time() => Ok(Outcome::Partial),
        other => other,
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
        self.tally.caller(self.run.times.read_until)
    }

    async fn commit(&self) -> Result<(), Error> {
        self.run.chain.write_if_long(self.run.times.store_until).await?;
        Ok(self.run.ledger.commit(self.run.times.store_until).await?)
    }

    /// A reading that is done is told by the next manifest, from the moment at which its change is committed.
    fn note<T>(&self, done: Entry, change: impl FnOnce(&mut Checkpoint) -> T) -> T {
        self.run.chain.note(done, change)
    }

    /// Stores what one reading of versions or inventory found; answers all that stands under its key, and what of it
    /// was met only now. `before` is what stood there already.
    async fn store_at(&self, at: Millis, packed: Packed, before: Applied) -> Result<(Vec<StoredObject>, Met), Error> {
        self.run.ledger.check_lease()?;
        let placed = self.run.records.add_at(self.stream, at, before.count, packed, self.run.times.store_until).await?;
        self.tally.add(&placed);
        let met = match () {
            () if placed.iter().any(|placed| !placed.is_new) => Met::Unknown,
            () if !placed.is_empty() => Met::New,
            () => Met::Nothing,
        };
        let placed = placed.into_iter().map(|placed| placed.object);
        Ok((before.objects.into_iter().chain(placed).collect(), met))
    }

    /// A run that died may have stored its reading without saying so: what stands under its key is known, once. `apply`
    /// takes a record's key and its line.
    async fn apply_stored(
        &self,
        stored: &StoredState,
        key_of: impl Fn(&str) -> Option<String>,
        mut apply: impl FnMut(&str, &str),
    ) -> Result<Applied, Error> {
        let mut applied = Applied { count: stored.applied, objects: Vec::new() };
        let Some(at) = stored.open else { return Ok(applied) };
        let until = self.run.times.store_until;
        for (object, lines) in self.run.records.stored_at(self.stream, at, stored.applied, until).await? {
            for line in lines {
                let line = ndjson::bare(&line);
                if let Some(key) = key_of(&line) {
                    apply(&key, &line);
                }
            }
            applied.count += 1;
            applied.objects.push(object);
        }
        Ok(applied)
    }

    async fn load_known(&self, at: Option<&StateObject>) -> Result<Known, Error> {
        Ok(Known::load(self.run.state, at, self.run.times.store_until).await?)
    }

    /// The same, without asking the bucket for what this process stored itself.
    async fn recall_known(&self, at: Option<&StateObject>) -> Result<Known, Error> {
        match at.and_then(|at| self.run.memory.take(self.stream, at)) {
            Some(known) => Ok(known),
            None => self.load_known(at).await,
        }
    }

    async fn store_known(&self, known: &Known, before: Option<&StateObject>) -> Result<Option<StateObject>, Error> {
        if self.run.records.dry_run {
            return Ok(before.cloned());
        }
        let prefix = self.run.settings.state_prefix();
        Ok(known.store(self.run.state, prefix, self.stream, before, self.run.times.store_until).await?)
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
