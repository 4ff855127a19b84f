//! A long span, read in shards beside the live runs: `plan` reserves it on the live checkpoint, each shard covers its
//! part on a checkpoint of its own, and `merge` takes over what they came to. No window is ever opened by both: the live
//! runs open none in what is reserved, and a shard's checkpoint is sealed before it is merged.

use futures::stream::{self, StreamExt};
use serde::Serialize;
use tracing::info;

use super::{Clients, Work, in_time, run};
use crate::answer::{Answer, Status};
use crate::chain::Chain;
use crate::checkpoint::{Checkpoint, Identity, Lease, Reserved};
use crate::collect::Times;
use crate::error::{Error, Told};
use crate::event::{Collect, Plan};
use crate::intervals::Span;
use crate::ledger::{self, Ledger};
use crate::settings::Settings;
use crate::store::Bucket;
use crate::stream::{Dialect, Events, Kind, Stream};
use crate::time::{DAY, HOUR, Millis};

/// What is younger is the live runs', which are about to read it.
const LIVE: i64 = HOUR;
/// Each stands on the checkpoint that every run writes, and in what Step Functions hands on, which is at most 256 KB.
const MOST_SHARDS: usize = 500;
const SEALED_AT_ONCE: usize = 8;
/// The end of a lease that nobody gets after: the last instant that RFC 3339 can say.
const FOR_EVER: Millis = Millis(253_402_300_799_999);

#[derive(Debug, Serialize)]
pub struct Backfilled {
    pub action: &'static str,
    pub run_id: String,
    /// Partial while shards are left, unless it was to plan them.
    pub status: Status,
    /// What they covered is part of the live checkpoint from now on.
    pub merged: Vec<String>,
    /// Those that are reserved now.
    pub shards: Vec<String>,
    /// The events that ask whether what was planned is whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Check>,
}

/// An event that asks for a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    action: &'static str,
    streams: [Stream; 1],
    from: Millis,
    to: Millis,
}

/// Reserves what of a span is not covered, and cuts it into shards. Merges what is done, waits for its turn, and asks
/// nothing of the API.
pub async fn plan(
    settings: &Settings,
    clients: &Clients,
    run_id: &str,
    asked: &Plan,
    deadline: Millis,
) -> Result<Backfilled, Error> {
    let spans = spans(settings, asked, Millis::now())?;
    let share = share(settings, asked)?;
    let reserve = |checkpoint: &mut Checkpoint| reserve(checkpoint, asked, &spans, share, run_id);
    let check =
        |(stream, span): &(Stream, Span)| Check { action: "verify", streams: [*stream], from: span.from, to: span.to };
    let nothing = Collect::default();
    let work = Work::new(settings, clients, run_id, true, &nothing, deadline);
    let planned = work.backfill("plan", reserve).await?;
    let status = if planned.status == Status::Partial { Status::Complete } else { planned.status };
    Ok(Backfilled { status, verify: spans.iter().map(check).collect(), ..planned })
}

/// Takes over what the shards have come to that are done, or whose reservation is over.
pub async fn merge(
    settings: &Settings,
    clients: &Clients,
    run_id: &str,
    deadline: Millis,
) -> Result<Backfilled, Error> {
    let nothing = Collect::default();
    let work = Work::new(settings, clients, run_id, true, &nothing, deadline);
    if work.load(&Bucket::of_state(settings, &clients.s3)).await?.is_none() {
        return Ok(Backfilled::new("merge", run_id, Status::Complete));
    }
    work.backfill("merge", |_| Ok(())).await
}

/// Collects one shard: a run like any other, but for its checkpoint, its budget and its span.
pub async fn shard(settings: &Settings, clients: &Clients, run_id: &str, shard: &str, deadline: Millis) -> Answer {
    let answer = match settings_of(settings, clients, shard, deadline).await {
        Ok((settings, span)) => {
            let asked = Collect { span: Some(span), ..Collect::default() };
            run(&settings, clients, run_id, false, &asked, deadline).await
        }
        Err(error) => Answer::failed(None, run_id, &error),
    };
    answer.of_action("shard")
}

/// By the live checkpoint, which says what is reserved, and for whom.
async fn settings_of(
    settings: &Settings,
    clients: &Clients,
    shard: &str,
    deadline: Millis,
) -> Result<(Settings, Span), Error> {
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
    settings.ok_or_else(|| Error::InvalidEvent(format!("\"shard\" is {shard:?}, which is not reserved: it is merged, its time was up, or it never was; \"plan\" answers those that are")))
}

/// What of each stream can be backfilled.
fn spans(settings: &Settings, asked: &Plan, now: Millis) -> Result<Vec<(Stream, Span)>, Error> {
    if settings.dialect == Dialect::Guide {
        let why = "\"plan\" needs INCYDR_API_DIALECT \"sdk\": the guide's lists have no end to cut them by".into();
        return Err(Error::InvalidEvent(why));
    }
    let has_windows = |stream: &Stream| matches!(stream.kind(), Kind::Events(_));
    if let Some(other) = asked.streams.iter().flatten().find(|stream| !has_windows(stream)) {
        let why = format!(
            "\"streams\" names {other}, which is not read by spans of time: a backfill takes audit and file_events"
        );
        return Err(Error::InvalidEvent(why));
    }
    let streams = asked.streams.as_deref().unwrap_or(&settings.streams);
    let span = |stream: Stream| {
        let Kind::Events(Events { retention, .. }) = stream.kind() else { return None };
        let to = asked.span.to.min(now - settings.settle(stream) - LIVE);
        // An hour of what expires now is left for the shard to be begun in.
        let from = retention.map_or(asked.span.from, |kept| asked.span.from.max(now - kept + HOUR));
        Some((stream, Span::new(from, to)?))
    };
    let spans: Vec<_> = streams.iter().filter_map(|stream| span(*stream)).collect();
    if spans.is_empty() {
        let why = format!(
            "\"from\" to \"to\" is {} to {}, of which nothing can be backfilled: it is younger than an hour, or older than the API keeps",
            asked.span.from, asked.span.to
        );
        return Err(Error::InvalidEvent(why));
    }
    Ok(spans)
}

/// A shard's requests a minute.
fn share(settings: &Settings, asked: &Plan) -> Result<usize, Error> {
    let budget = settings.requests_per_minute;
    let all = asked.requests_per_minute.unwrap_or(budget.div_ceil(2));
    if all > budget {
        let why = format!("\"requests_per_minute\" is {all}, but must be at most REQUESTS_PER_MINUTE, {budget}");
        return Err(Error::InvalidEvent(why));
    }
    Ok((all / asked.at_once).max(1))
}

/// All or, with an error, nothing.
fn reserve(
    checkpoint: &mut Checkpoint,
    asked: &Plan,
    spans: &[(Stream, Span)],
    requests_per_minute: usize,
    run_id: &str,
) -> Result<(), Error> {
    let until = Millis::now() + asked.expires_after;
    let run = run_id.split('-').next().unwrap_or_default();
    let mut planned = checkpoint.clone();
    for (stream, span) in spans {
        let state = planned.events(*stream);
        for left in state.reserved.iter_mut().filter(|left| left.span.intersection(*span).is_some()) {
            left.until = left.until.max(until);
        }
        for gap in state.gaps_within(*span).iter() {
            state.asked.insert(gap);
            state.reserved.extend(days(gap).map(|span| {
                let shard = format!("{stream}-{}-{run}", span.from.compact());
                Reserved { shard, span, requests_per_minute, until }
            }));
        }
    }
    let shards = planned.reserved().count();
    if shards > MOST_SHARDS {
        let why = format!(
            "\"from\" to \"to\" makes it {shards} shards of a day each, but there are {MOST_SHARDS} at most: plan a shorter span"
        );
        return Err(Error::InvalidEvent(why));
    }
    *checkpoint = planned;
    Ok(())
}

/// Cut where a day ends.
fn days(span: Span) -> impl Iterator<Item = Span> {
    let part = move |from: Millis| Span::new(from, span.to.min(from.floor(DAY) + DAY));
    std::iter::successors(part(span.from), move |before| part(before.to))
}

impl Backfilled {
    fn new(action: &'static str, run_id: &str, status: Status) -> Self {
        Self { action, run_id: run_id.to_owned(), status, merged: Vec::new(), shards: Vec::new(), verify: Vec::new() }
    }
}

impl Work<'_> {
    async fn backfill(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut Checkpoint) -> Result<(), Error>,
    ) -> Result<Backfilled, Error> {
        let state = Bucket::of_state(self.settings, &self.clients.s3);
        // Nobody has signed in, so that nobody knows the tenant.
        let admit = async |_: Option<&ledger::Found>| Ok(self.settings.identity(None));
        let Some(ledger) = self.take_lease(&state, admit, |_| {}).await? else {
            return Ok(Backfilled::new(action, self.run_id, Status::Skipped));
        };
        let (merged, failed) = self.merge_shards(&state, &ledger, |_| true).await;
        let changed = ledger.update(change);
        let chain = Chain::new(&state, self.settings.state_prefix(), &ledger, false);
        let told = chain.close(self.times.store_until, self.times.tell_until).await;
        ledger.release(self.times.commit_until).await?;
        failed.map_or(Ok(()), Err).and(changed)?;
        // A manifest for which there was no time is the next run's.
        told.map_err(Error::from).or_else(in_time)?;
        let shards: Vec<String> =
            ledger.read(|checkpoint| checkpoint.reserved().map(|(_, reserved)| reserved.shard.clone()).collect());
        let status = if shards.is_empty() { Status::Complete } else { Status::Partial };
        Ok(Backfilled { merged, shards, ..Backfilled::new(action, self.run_id, status) })
    }

    /// What nobody has merged in time is the live runs' again.
    pub(super) async fn merge_overdue(&self, state: &Bucket, ledger: &Ledger<'_>) -> Result<(), Error> {
        let now = Millis::now();
        let (_, failed) = self.merge_shards(state, ledger, |reserved| reserved.until <= now).await;
        failed.map_or(Ok(()), Err)
    }

    /// Those that go on are left to go on. Answers which were merged, and how the first failed that could not be.
    async fn merge_shards(
        &self,
        state: &Bucket,
        ledger: &Ledger<'_>,
        which: impl Fn(&Reserved) -> bool,
    ) -> (Vec<String>, Option<Error>) {
        let (identity, chosen) = ledger.read(|checkpoint| {
            let chosen = checkpoint.reserved().filter(|(_, reserved)| which(reserved));
            let chosen: Vec<_> = chosen.map(|(stream, reserved)| (stream, reserved.clone())).collect();
            (checkpoint.identity.clone(), chosen)
        });
        let identity = &identity;
        let seal = |(stream, reserved): (Stream, Reserved)| async move {
            let sealed = self.seal(state, identity, stream, &reserved).await;
            (stream, reserved.shard, sealed)
        };
        let sealed: Vec<_> = stream::iter(chosen).map(seal).buffered(SEALED_AT_ONCE).collect().await;
        let (mut merged, mut failed) = (Vec::new(), None);
        for (stream, shard, sealed) in sealed {
            match sealed {
                Ok(Some(theirs)) => {
                    ledger.update(|checkpoint| checkpoint.merge(stream, &shard, theirs));
                    info!(shard = shard.as_str(), "merged");
                    merged.push(shard);
                }
                Ok(None) => {}
                Err(error) if error.is_out_of_time() => failed = failed.or(Some(error)),
                Err(error) => {
                    let Told { error_type, message } = Told::from(&error);
                    failed = failed.or(Some(Error::NotMerged { error_type, shard, why: message }));
                }
            }
        }
        (merged, failed)
    }

    /// Takes a shard's lease for ever, so that what it has come to stays as it is, and answers that. None while it is
    /// running, and while it is neither done nor overdue.
    async fn seal(
        &self,
        state: &Bucket,
        identity: &Identity,
        stream: Stream,
        reserved: &Reserved,
    ) -> Result<Option<Checkpoint>, Error> {
        let (now, until) = (Millis::now(), self.times.store_until);
        let key = self.settings.shard_checkpoint_key(&reserved.shard);
        let found = ledger::load(state, &key, identity, until).await?;
        if let Some(found) = &found {
            let checkpoint = &found.checkpoint;
            if checkpoint.lease.as_ref().is_some_and(|lease| lease.until == FOR_EVER) {
                return Ok(Some(checkpoint.clone()));
            }
            if found.is_leased(now) {
                return Ok(None);
            }
        }
        let theirs = found.as_ref().and_then(|found| found.checkpoint.events.get(&stream));
        if now < reserved.until && !theirs.is_some_and(|theirs| reserved.is_covered_by(theirs)) {
            return Ok(None);
        }
        let lease = Lease { run_id: self.run_id.to_owned(), until: FOR_EVER };
        let sealed = Ledger::acquire(state, &key, found, identity.clone(), lease, |_| {}, until).await?;
        Ok(sealed.map(|sealed| sealed.read(Checkpoint::clone)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis::parse(text).expect("a time")
    }

    #[test]
    fn a_span_is_cut_where_its_days_end() {
        let span = Span::new(at("2026-11-01T22:30:00Z"), at("2026-11-03T01:00:00Z")).expect("not empty");
        let ends: Vec<String> = days(span).map(|day| format!("{} {}", day.from.compact(), day.to.compact())).collect();
        assert_eq!(
            ends,
            [
                "20261101T223000000Z 20261102T000000000Z",
                "20261102T000000000Z 20261103T000000000Z",
                "20261103T000000000Z 20261103T010000000Z",
            ]
        );
    }
}
