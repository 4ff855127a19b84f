//! Reports the streams' states, lag and gaps from the checkpoint alone. Sends no request to the API, doesn't load the
//! secret, takes no lease and writes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::info;

use crate::actions::answer::Status;
use crate::actions::call::Call;
use crate::actions::expiring::{expiring, or_expiring};
use crate::actions::leased_run::OVERDUE_AFTER;
use crate::bucket::ledger;
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::core::checkpoint::Checkpoint;
use crate::core::error_type::ErrorInfo;
use crate::core::intervals::{Intervals, Span};
use crate::core::json::is_default;
use crate::core::manifest::Link;
use crate::core::settings::Settings;
use crate::core::states::State;
use crate::core::stream::Stream;
use crate::core::stuck::{StuckList, StuckSummary};
use crate::core::time::Millis;
use crate::core::times::Times;

#[derive(Debug, Serialize)]
pub struct StatusAnswer {
    pub action: &'static str,
    pub run_id: String,
    /// Always `Complete`, also if there is no checkpoint yet.
    pub status: Status,
    /// Our own clock's time, from which the lags are calculated.
    pub at: Millis,
    /// Null before the first run.
    pub checkpoint: Option<Revision>,
    /// Null if no run holds it.
    pub lease: Option<HeldLease>,
    /// The newest; null before the first.
    pub manifest: Option<Link>,
    /// The enabled streams, and others that the checkpoint has.
    pub streams: BTreeMap<Stream, StreamStatus>,
}

#[derive(Debug, Serialize)]
pub struct Revision {
    pub revision: u64,
    pub written_by: String,
    /// Whether manifests are still to be taken over. No run collects before that is done.
    #[serde(skip_serializing_if = "is_default")]
    pub is_recovering: bool,
}

#[derive(Debug, Serialize)]
pub struct HeldLease {
    pub run_id: String,
    pub until: Millis,
    /// The lease has ended without being given back: its run died. The next run takes over.
    pub is_over: bool,
}

#[derive(Debug, Serialize)]
pub struct StreamStatus {
    pub enabled: bool,
    pub state: State,
    pub since: Option<Millis>,
    pub covered_to: Option<Millis>,
    pub lag_s: Option<u64>,
    /// Spans that should have been covered more than 15 minutes ago.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub gaps: Intervals,
    /// Spans that the shards of a backfill read.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub reserved: Intervals,
    /// Spans that were never covered, and whose records the API no longer keeps.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub expired: Intervals,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckSummary>,
    /// The next try of anything stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Millis>,
    /// The instant at which the API last refused the stream for lack of a permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

pub async fn status(call: Call<'_>) -> Result<StatusAnswer, Error> {
    let Call { settings, clients, run_id, deadline } = call;
    let at = Millis::now();
    let state = Bucket::of_state(settings, &clients.s3);
    let until = Times::new(at, deadline).read_until;
    let found = ledger::load(&state, &settings.checkpoint_key, &settings.identity(None), until).await?;
    let checkpoint = found.map(|found| found.checkpoint);

    let revision = checkpoint.as_ref().map(|checkpoint| Revision {
        revision: checkpoint.revision,
        written_by: checkpoint.written_by.clone(),
        is_recovering: checkpoint.recovery.is_some(),
    });
    let checkpoint = checkpoint.unwrap_or_else(|| Checkpoint::new(settings.identity(None)));
    info!(run_id, revision = checkpoint.revision, "status read");

    Ok(StatusAnswer {
        action: "status",
        run_id: run_id.to_owned(),
        status: Status::Complete,
        at,
        checkpoint: revision,
        lease: checkpoint.lease.as_ref().map(|lease| HeldLease {
            run_id: lease.run_id.clone(),
            until: lease.until,
            is_over: lease.until <= at,
        }),
        manifest: checkpoint.manifests.head.clone(),
        streams: streams(settings, &checkpoint, at),
    })
}

fn streams(settings: &Settings, checkpoint: &Checkpoint, at: Millis) -> BTreeMap<Stream, StreamStatus> {
    let expiring = expiring(settings, checkpoint, at);
    let mut streams: Vec<Stream> = settings.streams.iter().chain(checkpoint.states.keys()).copied().collect();
    streams.sort_unstable();
    streams.dedup();
    let status = |stream: Stream| (stream, stream_status(settings, checkpoint, expiring.get(&stream), stream, at));
    streams.into_iter().map(status).collect()
}

fn stream_status(
    settings: &Settings,
    checkpoint: &Checkpoint,
    expiring: Option<&Span>,
    stream: Stream,
    at: Millis,
) -> StreamStatus {
    let covered_to = checkpoint.covered_to(stream);
    let state = checkpoint.states.get(&stream);
    let (error, since) = (state.and_then(|state| state.error.clone()), state.map(|state| state.since));
    let state = state.map_or(State::Pending, |state| state.state);

    let events = checkpoint.events.get(&stream);
    let stuck = checkpoint.stuck.get(&stream);
    let horizon = at - settings.settle(stream) - OVERDUE_AFTER;

    StreamStatus {
        enabled: settings.streams.contains(&stream),
        state,
        since,
        covered_to,
        lag_s: covered_to.map(|to| at.since(to).as_secs()),
        gaps: events.map(|events| events.due(horizon)).unwrap_or_default(),
        reserved: events
            .map(|events| events.reserved.iter().map(|reserved| reserved.span).collect())
            .unwrap_or_default(),
        expired: events.map(|events| events.expired.clone()).unwrap_or_default(),
        stuck: stuck.and_then(StuckList::summary),
        next_try: stuck.and_then(|stuck| stuck.iter().map(|stuck| stuck.next_try).min()),
        error: or_expiring(stream, expiring, error),
        not_permitted_at: checkpoint.not_permitted_at(stream),
    }
}
