//! What a run tells its caller.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::collect::{Outcome, Tally};
use crate::error::{Error, ErrorType, chain};
use crate::stream::Stream;
use crate::time::Millis;

#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub run_id: String,
    pub status: Status,
    pub streams: BTreeMap<Stream, StreamAnswer>,
    /// Why the run failed: of several errors, the first in the order of their types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Covered up to now minus settle.
    Complete,
    /// The time ran short; the next run goes on from there.
    Partial,
    /// Another run holds the lease.
    Skipped,
    Failed,
    /// The API client lacks the permission for this stream.
    NotPermitted,
    /// An inventory stream that was read less than its interval ago.
    NotDue,
}

#[derive(Clone, Debug, Serialize)]
pub struct StreamAnswer {
    pub status: Status,
    pub records: u64,
    pub objects: u64,
    pub bytes: u64,
    pub requests: u64,
    pub retries: u64,
    pub set_aside: u64,
    pub covered_to: Option<Millis>,
    pub lag_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Told {
    #[serde(rename = "type")]
    pub error_type: ErrorType,
    pub message: String,
}

impl fmt::Display for Status {
    /// As it stands in the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<&Error> for Told {
    fn from(error: &Error) -> Self {
        Self { error_type: error.error_type(), message: chain(error) }
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::Partial => Self::Partial,
            Outcome::NotPermitted => Self::NotPermitted,
            Outcome::NotDue => Self::NotDue,
        }
    }
}

impl StreamAnswer {
    pub fn new(status: Status, tally: &Tally, covered_to: Option<Millis>, now: Millis, error: Option<Told>) -> Self {
        let figure = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Self {
            status,
            records: figure(&tally.records),
            objects: figure(&tally.objects),
            bytes: figure(&tally.bytes),
            requests: figure(&tally.requests),
            retries: figure(&tally.retries),
            set_aside: figure(&tally.set_aside),
            covered_to,
            lag_s: covered_to.map(|to| now.since(to).as_secs()),
            error,
        }
    }
}

impl Answer {
    /// The run's status follows from its streams'.
    pub fn of_streams(run_id: &str, streams: BTreeMap<Stream, StreamAnswer>) -> Self {
        let mut answer = Self { run_id: run_id.to_owned(), status: Status::Complete, streams, error: None };
        let any = |status| answer.streams.values().any(|stream| stream.status == status);
        answer.status = match () {
            () if any(Status::Failed) => Status::Failed,
            () if any(Status::Partial) => Status::Partial,
            () => Status::Complete,
        };
        answer.error =
            answer.streams.values().filter_map(|stream| stream.error.clone()).min_by_key(|told| told.error_type);
        let refused: Vec<&str> = answer.not_permitted().map(Stream::permission).collect();
        if !refused.is_empty() && refused.len() == answer.streams.len() {
            answer.status = Status::Failed;
            answer.error = Some(Told::from(&Error::NothingPermitted(refused.join(", "))));
        }
        answer
    }

    pub fn skipped(run_id: &str) -> Self {
        Self { run_id: run_id.to_owned(), status: Status::Skipped, streams: BTreeMap::new(), error: None }
    }

    /// The run ended before it came to its streams.
    pub fn ended(run_id: &str, streams: &[Stream], error: &Error) -> Self {
        let status = if error.is_out_of_time() { Status::Partial } else { Status::Failed };
        let told = (status == Status::Failed).then(|| Told::from(error));
        let of_stream = |_| StreamAnswer::new(status, &Tally::default(), None, Millis::now(), told.clone());
        let streams = streams.iter().map(|stream| (*stream, of_stream(stream))).collect();
        Self { run_id: run_id.to_owned(), status, streams, error: told }
    }

    fn not_permitted(&self) -> impl Iterator<Item = Stream> {
        self.streams.iter().filter(|(_, answer)| answer.status == Status::NotPermitted).map(|(stream, _)| *stream)
    }
}
