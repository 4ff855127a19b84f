//! The answer of a run.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::collect::StreamOutcome;
use crate::collect::error::Error;
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::Intervals;
use crate::core::json::is_default;
use crate::core::manifest::Link;
use crate::core::states::State;
use crate::core::stream::Stream;
use crate::core::stuck::StuckSummary;
use crate::core::tally::Tally;
use crate::core::time::Millis;
use crate::incydr::api_clock::DoubtedClock;

/// A stream is stalled after this many runs in a row without progress.
pub const STALLED: u32 = 3;

#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The action, unless it was `collect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    pub run_id: String,
    pub status: Status,
    pub streams: BTreeMap<Stream, StreamAnswer>,
    /// The newest manifest of the chain, which includes this run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Link>,
    /// The clocks' difference, if it is too great to believe the API's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<DoubtedClock>,
    /// A sentence about the loss and its consequences, if the checkpoint was gone or an older version of itself, or if
    /// the known records of a list were gone or altered. It is the health record's note, or the error's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_lost: Option<String>,
    /// The error that failed the run. Of several errors, the first in the order of their types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Covered up to now minus settle.
    Complete,
    /// The time ran short. The next run continues.
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
    /// The state on the checkpoint. Absent if the stream has none there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    pub records: u64,
    pub objects: u64,
    pub bytes: u64,
    pub requests: u64,
    pub retries: u64,
    pub set_aside: u64,
    pub covered_to: Option<Millis>,
    pub lag_s: Option<u64>,
    /// The number of `records` that became visible after their window was covered.
    #[serde(skip_serializing_if = "is_default")]
    pub late: u64,
    /// The longest time, in seconds, from a late record's own time until its window was covered. The record became
    /// visible after that.
    #[serde(skip_serializing_if = "is_default")]
    pub late_by_s: u64,
    /// Rows that the API counted before and no longer counts.
    #[serde(skip_serializing_if = "is_default")]
    pub vanished: u64,
    /// Windows, counts and recounts that failed in this run. If a window fails and then its half fails, that is 2.
    #[serde(skip_serializing_if = "is_default")]
    pub failed_windows: u64,
    /// Spans that expired in this run.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub expired: Intervals,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The stuck spans, records and lists, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckSummary>,
    /// Unreadable rows of windows that failed because too many of their rows can't be read.
    #[serde(skip_serializing_if = "is_default")]
    pub drift: u64,
    /// The number of runs in a row that ended for lack of time without any progress of this stream.
    #[serde(skip_serializing_if = "is_default")]
    pub stalled: u32,
    /// Only for the metrics: answers with status 429, spans that are due for more than 15 minutes, and whether any span
    /// expires soon.
    #[serde(skip)]
    pub throttles: u64,
    #[serde(skip)]
    pub gaps: u64,
    #[serde(skip)]
    pub is_expiring: bool,
}

/// The state of a stream that the run did not reach, from the checkpoint as it was.
pub struct NotReached {
    pub error: Option<ErrorInfo>,
    pub state: Option<State>,
    pub covered_to: Option<Millis>,
    pub gaps: u64,
    pub is_expiring: bool,
}

impl fmt::Display for Status {
    /// The name in the answer, for example `not_permitted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<StreamOutcome> for Status {
    fn from(outcome: StreamOutcome) -> Self {
        match outcome {
            StreamOutcome::Complete => Self::Complete,
            StreamOutcome::Partial => Self::Partial,
            StreamOutcome::NotPermitted => Self::NotPermitted,
            StreamOutcome::NotDue => Self::NotDue,
        }
    }
}

impl StreamAnswer {
    pub fn new(
        status: Status,
        tally: &Tally,
        covered_to: Option<Millis>,
        now: Millis,
        error: Option<ErrorInfo>,
    ) -> Self {
        Self {
            status,
            state: None,
            records: tally.records.get(),
            objects: tally.objects.get(),
            bytes: tally.bytes.get(),
            requests: tally.calls.requests.get(),
            retries: tally.calls.retries.get(),
            set_aside: tally.set_aside.get(),
            throttles: tally.calls.throttles.get(),
            gaps: 0,
            is_expiring: false,
            covered_to,
            lag_s: covered_to.map(|to| now.since(to).as_secs()),
            late: tally.late.get(),
            late_by_s: tally.late_by.get().div_ceil(1_000),
            vanished: tally.vanished.get(),
            failed_windows: tally.failed_windows.get(),
            expired: tally.expired.lock().clone(),
            error,
            stuck: None,
            drift: tally.drift.get(),
            stalled: 0,
        }
    }
}

impl Answer {
    /// Derives the run's status from the streams'. A run that isn't permitted any of its streams fails.
    pub fn of_streams(run_id: &str, streams: BTreeMap<Stream, StreamAnswer>) -> Self {
        let mut answer = Self { streams, ..Self::new(run_id, Status::Complete) };
        let any = |status| answer.streams.values().any(|stream| stream.status == status);
        answer.status =
            [Status::Failed, Status::Partial].into_iter().find(|status| any(*status)).unwrap_or(answer.status);
        let failed = answer.streams.values().filter(|stream| stream.status == Status::Failed);
        answer.error = failed.filter_map(|stream| stream.error.clone()).min_by_key(|told| told.error_type);
        let refused: Vec<&str> = answer.not_permitted().map(Stream::permission).collect();
        if !refused.is_empty() && refused.len() == answer.streams.len() {
            answer.status = Status::Failed;
            answer.error = Some(ErrorInfo::from(&Error::NothingPermitted(refused.join(", "))));
        }
        answer
    }

    #[must_use]
    pub fn of_action(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }

    pub fn skipped(run_id: &str) -> Self {
        Self::new(run_id, Status::Skipped)
    }

    fn new(run_id: &str, status: Status) -> Self {
        let run_id = run_id.to_owned();
        let streams = BTreeMap::new();
        Self { action: None, run_id, status, streams, manifest: None, clock: None, state_lost: None, error: None }
    }

    /// The answer of a run that failed before it reached its streams. `of_stream` returns what is known of each.
    pub fn ended(
        run_id: &str,
        streams: &[Stream],
        error: &Error,
        of_stream: impl Fn(Stream, Option<ErrorInfo>) -> NotReached,
    ) -> Self {
        let error = Some(ErrorInfo::from(error)).filter(|_| !error.is_out_of_time());
        let streams = streams.iter().map(|stream| {
            let NotReached { error, state, covered_to, gaps, is_expiring } = of_stream(*stream, error.clone());
            let status = if error.is_some() { Status::Failed } else { Status::Partial };
            let answer = StreamAnswer::new(status, &Tally::default(), covered_to, Millis::now(), error);
            (*stream, StreamAnswer { state, gaps, is_expiring, ..answer })
        });
        let answer = Self::of_streams(run_id, streams.collect());
        let status = if error.is_some() { Status::Failed } else { answer.status };
        Self { status, error: error.or(answer.error.clone()), ..answer }
    }

    /// The answer of an invocation that failed as a whole.
    pub fn failed(action: Option<&'static str>, run_id: &str, error: &Error) -> Self {
        Self { action, error: Some(ErrorInfo::from(error)), ..Self::new(run_id, Status::Failed) }
    }

    fn not_permitted(&self) -> impl Iterator<Item = Stream> {
        self.streams.iter().filter(|(_, answer)| answer.status == Status::NotPermitted).map(|(stream, _)| *stream)
    }
}
