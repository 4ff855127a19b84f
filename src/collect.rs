//! One stream, one run. A kind of stream is a story of its own, told in a file of its own; here stands what they share.

mod events;
mod findings;
mod inventory;
mod rescanned;
mod versions;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::api::{Api, Caller, Calls};
use crate::chain::Chain;
use crate::checkpoint::{Checkpoint, Met, StateObject, StoredState};
use crate::error::Error;
use crate::intervals::{Intervals, Span};
use crate::known::{Known, Memory};
use crate::ledger::Ledger;
use crate::manifest::{Entry, StoredObject};
use crate::ndjson::{self, Packed, hex};
use crate::settings::Settings;
use crate::store::{Bucket, Condition, Object, Placed, Records};
use crate::stream::{Kind, Stream};
use crate::time::{HOUR, Millis};

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

/// A run's time: it stops reading first, then storing, then telling what it did, then committing.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub read_until: Millis,
    pub store_until: Millis,
    pub tell_until: Millis,
    pub commit_until: Millis,
}

impl Times {
    /// At most a fifth of the time that was given is kept back, and at most ten seconds.
    pub fn new(began: Millis, deadline: Millis) -> Self {
        let kept = ((deadline.0 - began.0) / 5).clamp(0, 10_000);
        Self {
            read_until: deadline - kept,
            store_until: deadline - kept / 2,
            tell_until: deadline - kept * 3 / 10,
            commit_until: deadline - kept / 10,
        }
    }
}

/// One stream's figures in one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub records: AtomicU64,
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
    pub calls: Calls,
    pub set_aside: AtomicU64,
    /// Records that showed up after their window was covered, and how long after their own time that was at the
    /// least, in milliseconds: a settle time as long as the longest would have waited for them all.
    pub late: AtomicU64,
    pub late_by: AtomicI64,
    /// Rows that the API counted when their window was covered, and counts no longer.
    pub vanished: AtomicU64,
    /// What this run had to give up, for the API keeps it no longer.
    pub expired: Mutex<Intervals>,
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
        known.store(self.run.state, prefix, self.stream, before, self.run.times.store_until).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_fifth_of_the_time_is_kept_back() {
        let times = Times::new(Millis(0), Millis(4_000));
        assert_eq!(
            (times.read_until, times.store_until, times.tell_until, times.commit_until),
            (Millis(3_200), Millis(3_600), Millis(3_760), Millis(3_920))
        );
        assert_eq!(Times::new(Millis(0), Millis(900_000)).read_until, Millis(890_000));
        assert_eq!(Times::new(Millis(5_000), Millis(4_000)).read_until, Millis(4_000));
    }
}
