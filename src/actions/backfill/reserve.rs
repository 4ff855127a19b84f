//! Plans a backfill: its spans, their cut into shards, and each shard's share of the request budget.

use chrono::TimeDelta;

use crate::actions::invocation::PlanArgs;
use crate::collect::error::Error;
use crate::core::checkpoint::{Checkpoint, Reserved};
use crate::core::dialect::Dialect;
use crate::core::intervals::Span;
use crate::core::settings::{LEAST_REQUESTS_PER_MINUTE, Settings};
use crate::core::stream::Stream;
use crate::core::time::{DAY, HOUR, Millis};
use crate::incydr::facts::{Events, Kind};

/// A backfill leaves the last hour to the live runs, which are about to read it.
const LIVE: TimeDelta = HOUR;
/// Limits the checkpoint, which holds every shard and is written by every run, and the state that Step Functions passes
/// on, which is at most 256 KB.
const MOST_SHARDS: usize = 500;

/// Returns the part of each stream's span that can be backfilled.
pub fn spans(settings: &Settings, asked: &PlanArgs, now: Millis) -> Result<Vec<(Stream, Span)>, Error> {
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
        // Begins an hour after the API's retention, so that the shard can be read before its records expire.
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

/// Returns the requests a minute that each shard may send.
pub fn share(settings: &Settings, asked: &PlanArgs) -> Result<usize, Error> {
    let budget = settings.requests_per_minute;
    let all = asked.requests_per_minute.unwrap_or(budget.div_ceil(2));
    if all > budget {
        let why = format!("\"requests_per_minute\" is {all}, but must be at most REQUESTS_PER_MINUTE, {budget}");
        return Err(Error::InvalidEvent(why));
    }
    let each = all / asked.at_once;
    if each < LEAST_REQUESTS_PER_MINUTE {
        let why = format!(
            "\"at_once\" is {}, which leaves each shard {each} of {all} requests a minute, and it needs {LEAST_REQUESTS_PER_MINUTE}: ask for fewer shards at once, or for more \"requests_per_minute\"",
            asked.at_once
        );
        return Err(Error::InvalidEvent(why));
    }
    Ok(each)
}

/// Reserves all spans, or none if it returns an error.
pub fn reserve(
    checkpoint: &mut Checkpoint,
    asked: &PlanArgs,
    spans: &[(Stream, Span)],
    requests_per_minute: usize,
    run_id: &str,
) -> Result<(), Error> {
    let until = Millis::now() + asked.expires_after;
    let at_once = Some(asked.at_once);
    let run = run_id.split('-').next().unwrap_or_default();

    let mut planned = checkpoint.clone();
    for (stream, span) in spans {
        let state = planned.events(*stream);
        for left in state.reserved.iter_mut().filter(|left| left.span.intersection(*span).is_some()) {
            left.until = left.until.max(until);
        }
        for gap in state.free_within(*span).iter() {
            state.asked.insert(gap);
            state.reserved.extend(days(gap).map(|span| {
                let shard = format!("{stream}-{}-{run}", span.from.compact());
                Reserved { shard, span, requests_per_minute, at_once, until }
            }));
        }
    }

    let shards = planned.reserved().count();
    if shards > MOST_SHARDS {
        let why = format!(
            "\"from\" to \"to\" makes {shards} shards of a day each, but at most {MOST_SHARDS} can be reserved: plan a shorter span"
        );
        return Err(Error::InvalidEvent(why));
    }

    *checkpoint = planned;
    Ok(())
}

/// Cuts a span at the ends of days.
fn days(span: Span) -> impl Iterator<Item = Span> {
    let part = move |from: Millis| Span::new(from, span.to.min(from.floor(DAY) + DAY));
    std::iter::successors(part(span.from), move |before| part(before.to))
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
