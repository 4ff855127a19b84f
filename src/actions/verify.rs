//! Checks that the collected records are whole: compares the chain of manifests, the checkpoint and the bucket, hour by
//! hour. Reads only, and sends no request to the API.

mod history;
mod hour;
mod trail;
mod verification;

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::info;

use self::history::History;
use self::trail::Trail;
use self::verification::{CheckedTotals, Discrepancy, Progress, Verification};
use crate::actions::call::Call;
use crate::actions::clients::Clients;
use crate::actions::invocation::VerifyArgs;
use crate::actions::leased_run::OVERDUE_AFTER;
use crate::bucket::ledger;
use crate::bucket::s3::{Bucket, StoreError};
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, EventsState};
use crate::core::intervals::{Intervals, Span};
use crate::core::manifest::Link;
use crate::core::stream::Stream;
use crate::core::stuck::StuckList;
use crate::core::time::{DAY, HOUR, Millis};
use crate::core::times::Times;
use crate::incydr::facts::Kind;

/// Limit for the findings of one answer. Somebody mends these and verifies again.
const MOST_FINDINGS: usize = 100;

#[derive(Debug, Serialize)]
pub struct Verified {
    pub action: &'static str,
    pub run_id: String,
    pub status: Verdict,
    /// At most 100.
    pub findings: Vec<Discrepancy>,
    /// Everything before is verified. The next invocation begins here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_from: Option<Millis>,
    /// The newest manifest of the chain. The log should hold the same hash.
    pub manifest: Option<Link>,
    pub checked: CheckedTotals,
    /// The verified span of each stream, or null if there was nothing to verify.
    pub streams: BTreeMap<Stream, Option<VerifiedSpan>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Whole,
    Broken,
    /// The time ran short.
    Partial,
}

/// The span of a stream that was to be verified.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct VerifiedSpan {
    pub from: Millis,
    pub to: Millis,
}

pub async fn verify(call: Call<'_>, asked: &VerifyArgs) -> Result<Verified, Error> {
    let Call { settings, clients: Clients { s3, .. }, run_id, deadline } = call;
    let verification = Verification {
        settings,
        records: Bucket::of_records(settings, s3),
        state: Bucket::of_state(settings, s3),
        asked,
        now: Millis::now(),
        until: Times::new(Millis::now(), deadline).read_until,
    };
    let verified = match verification.run(run_id).await {
        Err(error) if error.is_out_of_time() => verification.not_begun(run_id),
        verified => verified?,
    };
    info!(run_id, status = ?verified.status, findings = verified.findings.len(), "verified");
    Ok(verified)
}

/// The span to verify of each stream, or none.
type Spans = BTreeMap<Stream, Option<Span>>;

impl Verification<'_> {
    /// Verifies once, and again if it found something and the checkpoint has changed meanwhile: a concurrent run may
    /// have stored objects that the first checkpoint doesn't know.
    async fn run(&self, run_id: &str) -> Result<Verified, Error> {
        let before = self.checkpoint().await?;
        let verified = self.once(run_id, &before).await?;
        if verified.status != Verdict::Broken {
            return Ok(verified);
        }
        match self.checkpoint().await {
            Ok(after) if after.revision != before.revision => self.once(run_id, &after).await,
            _ => Ok(verified),
        }
    }

    /// The current checkpoint, or an empty one if there is none.
    async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let identity = self.settings.identity(None);
        let found = ledger::load(&self.state, &self.settings.checkpoint_key, &identity, self.until).await?;
        Ok(found.map_or_else(|| Checkpoint::new(identity), |found| found.checkpoint))
    }

    /// Called if there is no checkpoint. Returns the finding if manifests or records show that there was one, and none
    /// before the first run.
    async fn what_is_left(&self) -> Result<Option<&'static str>, Error> {
        let manifests = format!("{}manifests/", self.settings.state_prefix());
        if !self.state.list(&manifests, self.until).await?.is_empty() {
            return Ok(Some("the checkpoint is missing, and only the checkpoint says which manifests count"));
        }
        let has_records = !self.records.list_folders(&self.settings.prefix, self.until).await?.is_empty();
        Ok(has_records
            .then_some("the checkpoint and all manifests are missing, so nothing says which records there should be"))
    }

    /// Verifies the bucket against the manifests that this checkpoint names.
    async fn once(&self, run_id: &str, checkpoint: &Checkpoint) -> Result<Verified, Error> {
        let mut progress = Progress::default();
        if checkpoint.revision == 0
            && let Some(wrong) = self.what_is_left().await?
        {
            progress.findings.push(Discrepancy::of_key(None, &self.settings.checkpoint_key, wrong));
        }

        let (history, mut trail, out_of_time) = match self.load(checkpoint, &mut progress).await {
            Err(StoreError::OutOfTime) => (History::default(), Trail::default(), true),
            loaded => loaded.map(|(history, trail)| (history, trail, false))?,
        };

        let spans = self.scopes(checkpoint, &history);
        let next_from = if out_of_time {
            Some(self.begin())
        } else {
            for (stream, span) in &spans {
                if let (Some(span), Kind::Events(_)) = (span, stream.kind()) {
                    progress.findings.extend(self.gaps(*stream, *span, checkpoint, &history));
                }
            }
            self.hours(&spans, &history, &mut trail, &mut progress).await?
        };
        let next_from = self.compare_trail(&trail, next_from, &mut progress);

        let is_cut = progress.findings.len() >= MOST_FINDINGS;
        let status = match next_from {
            Some(_) if !is_cut => Verdict::Partial,
            _ if progress.findings.is_empty() => Verdict::Whole,
            _ => Verdict::Broken,
        };
        progress.findings.truncate(MOST_FINDINGS);
        Ok(Verified {
            action: "verify",
            run_id: run_id.to_owned(),
            status,
            findings: progress.findings,
            next_from,
            manifest: checkpoint.manifests.head.clone(),
            checked: progress.checked,
            streams: spans.into_iter().map(|(stream, span)| (stream, span.map(VerifiedSpan::from))).collect(),
        })
    }

    /// Follows the manifests and lists the responder's records, to compare both with the bucket.
    async fn load(&self, checkpoint: &Checkpoint, progress: &mut Progress) -> Result<(History, Trail), StoreError> {
        Ok((History::load(self, checkpoint, progress).await?, self.list_trail(progress).await?))
    }

    /// The answer if there was no time even to read the checkpoint.
    fn not_begun(&self, run_id: &str) -> Verified {
        Verified {
            action: "verify",
            run_id: run_id.to_owned(),
            status: Verdict::Partial,
            findings: Vec::new(),
            next_from: Some(self.begin()),
            manifest: None,
            checked: CheckedTotals::default(),
            streams: self.streams().iter().map(|stream| (*stream, None)).collect(),
        }
    }

    /// The `next_from` of a verification that got nowhere.
    fn begin(&self) -> Millis {
        self.asked.from.unwrap_or(Millis(0))
    }

    /// Returns the span to verify of each stream. It begins at the event's `from`. But if another stream was collected
    /// at that time already, this one merely began later, and its span begins where its collection began. Without
    /// `from` it begins there, too.
    fn scopes(&self, checkpoint: &Checkpoint, history: &History) -> Spans {
        let bounds = |stream: &Stream| self.bounds(*stream, checkpoint, history);
        let first = self.streams().iter().filter_map(|stream| bounds(stream).0).min();
        let span = |stream: &Stream| {
            let (oldest, end) = bounds(stream);
            let from = match (self.asked.from, oldest) {
                (Some(from), Some(oldest)) if first.is_some_and(|first| first <= from) => from.max(oldest),
                (from, oldest) => from.or(oldest)?,
            };
            Span::new(from, self.asked.to.map_or(end, |to| to.min(end)))
        };
        self.streams().iter().map(|stream| (*stream, span(stream))).collect()
    }

    /// Returns the beginning and the end of a stream, as far as known. The end leaves out the time that the next run
    /// may still cover.
    fn bounds(&self, stream: Stream, checkpoint: &Checkpoint, history: &History) -> (Option<Millis>, Millis) {
        let Kind::Events(_) = stream.kind() else { return (history.oldest(stream), self.now) };
        let nothing = EventsState::default();
        let state = checkpoint.events.get(&stream).unwrap_or(&nothing);
        let spans = [state.covered.first(), state.expired.first(), state.asked.first()];
        // A window may be open before all covered time, if a recovery found that its objects are missing.
        let open = state.open.iter().map(|window| window.span);
        let begins = spans.into_iter().flatten().chain(open).map(|span| span.from);
        let due = self.now - self.settings.settle(stream) - OVERDUE_AFTER;
        let end = state.covered.end().unwrap_or(due);
        (begins.chain(state.live_from).min(), if self.asked.to.is_some() { end.max(due) } else { end })
    }

    /// Returns the uncovered parts of a span, and the covered parts that no manifest lists.
    fn gaps(&self, stream: Stream, span: Span, checkpoint: &Checkpoint, history: &History) -> Vec<Discrepancy> {
        let nothing = EventsState::default();
        let state = checkpoint.events.get(&stream).unwrap_or(&nothing);
        let expired = state.expired.within(span);
        let unlisted = state.covered.within(span).without(&history.windows(stream));

        // With both `from` and `to`, all time between them must be covered. Otherwise only the time that was to be
        // collected.
        let mut uncovered = match (self.asked.from, self.asked.to) {
            (Some(_), Some(_)) => Intervals::from(vec![span]),
            _ => state.gaps(span.to).within(span),
        };
        let oldest = self.bounds(stream, checkpoint, history).0;
        if let Some(before) = oldest.and_then(|oldest| Span::new(span.from, oldest.min(span.to))) {
            uncovered.insert(before);
        }

        let of = |spans: &Intervals, wrong: &str| -> Vec<Discrepancy> {
            spans.iter().map(|span| Discrepancy::of_span(stream, span, wrong)).collect()
        };
        let uncovered = uncovered.without(&state.covered).without(&expired);
        let stuck = checkpoint.stuck.get(&stream).map(StuckList::spans).unwrap_or_default();
        let sound = uncovered.clone().without(&stuck);
        [
            of(&expired, "expired: the API no longer kept these records when they were to be read"),
            of(&sound, "not covered"),
            of(&uncovered.without(&sound), "stuck: not covered, because it can't be read; it is tried again"),
            of(&unlisted, "covered, but no manifest lists its reading"),
        ]
        .concat()
    }

    /// Verifies hour by hour, all streams of an hour and its part of the trail before the next hour. Returns the hour
    /// at which the time was up.
    async fn hours(
        &self,
        spans: &Spans,
        history: &History,
        trail: &mut Trail,
        progress: &mut Progress,
    ) -> Result<Option<Millis>, Error> {
        let of_streams = || spans.iter().filter_map(|(stream, span)| Some((*stream, (*span)?)));
        // There is no object before the oldest reading.
        let with_objects = of_streams().filter_map(|(stream, span)| Some(history.oldest(stream)?.max(span.from)));
        let oldest = with_objects.chain(trail.span().map(|span| span.from)).min();
        let end = of_streams().map(|(_, span)| span).chain(trail.span()).map(|span| span.to).max();
        let (Some(oldest), Some(end)) = (oldest, end) else { return Ok(None) };
        let begin = of_streams().map(|(_, span)| span.from).min().map_or(oldest, |from| from.min(oldest));
        let mut hour = oldest.floor(HOUR);
        while hour < end {
            progress.listed.retain(|(_, day), _| *day == hour.floor(DAY));
            for (stream, span) in of_streams().filter(|(_, span)| hour < span.to && span.from < hour + HOUR) {
                match self.hour(stream, hour, span, history, progress).await {
                    Err(StoreError::OutOfTime) => return Ok(Some(hour.max(begin))),
                    checked => checked?,
                }
            }
            match self.hour_of_trail(hour, trail, progress).await {
                Err(StoreError::OutOfTime) => return Ok(Some(hour.max(begin))),
                checked => checked?,
            }
            hour = hour + HOUR;
            if progress.findings.len() >= MOST_FINDINGS && hour < end {
                return Ok(Some(hour));
            }
        }
        Ok(None)
    }
}

impl From<Span> for VerifiedSpan {
    fn from(span: Span) -> Self {
        Self { from: span.from, to: span.to }
    }
}
