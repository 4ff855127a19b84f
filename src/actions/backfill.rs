//! Covers a long span in shards, beside the live runs. `plan` reserves the span on the live checkpoint. Each shard
//! covers its part on a checkpoint of its own. `merge` takes the shards' results over into the live checkpoint.
//!
//! No window is read by both sides: live runs open none in reserved time, and a shard's checkpoint is sealed before it
//! is merged.

mod merge;
mod reserve;

use serde::Serialize;

use self::reserve::{reserve, share, spans};
use crate::actions::answer::{Answer, Status};
use crate::actions::call::Call;
use crate::actions::collect::collect;
use crate::actions::invocation::{CollectArgs, PlanArgs};
use crate::actions::leased_run::{LeasedRun, ok_if_out_of_time};
use crate::bucket::chain::Chain;
use crate::bucket::ledger;
use crate::bucket::s3::Bucket;
use crate::collect::Trigger;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Reserved};
use crate::core::intervals::Span;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::core::times::Times;

#[derive(Debug, Serialize)]
pub struct Backfilled {
    pub action: &'static str,
    pub run_id: String,
    /// `Partial` if `merge` leaves shards that are not done. `plan` is `Complete` once the shards are reserved.
    pub status: Status,
    /// The shards that were merged into the live checkpoint.
    pub merged: Vec<String>,
    /// The shards that are reserved now.
    pub shards: Vec<String>,
    /// The events to send later to verify the planned spans.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<VerifyEvent>,
}

/// An event for the action `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyEvent {
    action: &'static str,
    streams: [Stream; 1],
    from: Millis,
    to: Millis,
}

/// Reserves the uncovered parts of a span and cuts them into shards. Merges finished shards first. Waits for the lease.
/// Sends no request to the API.
pub async fn plan(call: Call<'_>, asked: &PlanArgs) -> Result<Backfilled, Error> {
    let spans = spans(call.settings, asked, Millis::now())?;
    let share = share(call.settings, asked)?;

    let reserve = |checkpoint: &mut Checkpoint| reserve(checkpoint, asked, &spans, share, call.run_id);
    let check = |(stream, span): &(Stream, Span)| VerifyEvent {
        action: "verify",
        streams: [*stream],
        from: span.from,
        to: span.to,
    };

    let planned = LeasedRun::new(call, &CollectArgs::ALL, Trigger::Person).backfill("plan", reserve).await?;

    let status = if planned.status == Status::Partial { Status::Complete } else { planned.status };
    Ok(Backfilled { status, verify: spans.iter().map(check).collect(), ..planned })
}

/// Merges the shards that are done or whose reservation has ended.
pub async fn merge(call: Call<'_>) -> Result<Backfilled, Error> {
    let work = LeasedRun::new(call, &CollectArgs::ALL, Trigger::Person);
    if work.load(&Bucket::of_state(call.settings, &call.clients.s3)).await?.is_none() {
        return Ok(Backfilled::new("merge", call.run_id, Status::Complete));
    }
    work.backfill("merge", |_| Ok(())).await
}

/// Collects one shard: an ordinary run with a checkpoint, a budget and a span of its own.
pub async fn shard(call: Call<'_>, shard: &str) -> Answer {
    let answer = match settings_of(call, shard).await {
        Ok((settings, span)) => {
            call.clients.api.budget().limit(settings.requests_per_minute);
            let asked = CollectArgs { span: Some(span), ..CollectArgs::ALL };
            Box::pin(collect(Call { settings: &settings, ..call }, &asked, Trigger::Schedule)).await
        }
        Err(error) => Answer::failed(None, call.run_id, &error),
    };
    answer.of_action("shard")
}

/// Returns the shard's settings and span, which the live checkpoint reserves for it.
async fn settings_of(call: Call<'_>, shard: &str) -> Result<(Settings, Span), Error> {
    let Call { settings, clients, deadline, .. } = call;
    let now = Millis::now();
    let state = Bucket::of_state(settings, &clients.s3);
    let until = Times::new(now, deadline).read_until;
    let found = ledger::load(&state, &settings.checkpoint_key, &settings.identity(None), until).await?;
    let is_it = |(_, reserved): &(Stream, &Reserved)| reserved.shard == shard && now < reserved.until;
    let live = found.as_ref().map(|found| &found.checkpoint);
    let settings = live.and_then(|live| {
        let (stream, reserved) = live.reserved().find(is_it)?;
        Some((settings.for_shard(stream, reserved, live.identity.clone()), reserved.span))
    });
    settings.ok_or_else(|| Error::InvalidEvent(format!("\"shard\" is {shard:?}, which is not reserved: it was merged, its time was up, or it never existed; the answer of \"plan\" lists the shards that are reserved")))
}

impl Backfilled {
    fn new(action: &'static str, run_id: &str, status: Status) -> Self {
        Self { action, run_id: run_id.to_owned(), status, merged: Vec::new(), shards: Vec::new(), verify: Vec::new() }
    }
}

impl LeasedRun<'_> {
    /// Takes the lease, merges the shards that are done or overdue, makes `change`, and gives the lease back.
    async fn backfill(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut Checkpoint) -> Result<(), Error>,
    ) -> Result<Backfilled, Error> {
        let state = Bucket::of_state(self.settings, &self.clients.s3);
        // Without a sign-in the tenant is unknown.
        let admit = async |_: Option<&ledger::LoadedCheckpoint>| Ok(self.settings.identity(None));
        let Some(ledger) = self.take_lease(&state, admit, |_| {}).await? else {
            return Ok(Backfilled::new(action, self.run_id, Status::Skipped));
        };

        if ledger.read(|checkpoint| checkpoint.recovery.is_some()) {
            ledger.release(self.times.commit_until).await?;
            let why = "the checkpoint is being recovered, and which time is covered is not known yet: send {\"action\": \"recover\"} until it is \"complete\"";
            return Err(Error::InvalidEvent(why.to_owned()));
        }

        // To an older version of the checkpoint, time that later runs covered is a gap. Their manifests are taken over
        // first.
        Box::pin(self.catch_up_or_release(&state, &ledger)).await?;
        let (merged, failed) = self.merge_shards(&state, &ledger, |_| true).await;
        let changed = ledger.update(change);

        let chain = Chain::new(&state, self.settings.state_prefix(), &ledger, false);
        let closed = chain.close(self.times.store_until, self.times.report_until).await;
        ledger.release(self.times.commit_until).await?;
        failed.map_or(Ok(()), Err).and(changed)?;
        // If there was no time for the manifest, the next run writes it.
        closed.map_err(Error::from).or_else(ok_if_out_of_time)?;

        let shards: Vec<String> =
            ledger.read(|checkpoint| checkpoint.reserved().map(|(_, reserved)| reserved.shard.clone()).collect());
        let status = if shards.is_empty() { Status::Complete } else { Status::Partial };
        Ok(Backfilled { merged, shards, ..Backfilled::new(action, self.run_id, status) })
    }
}
