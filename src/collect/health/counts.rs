//! Counts the file events of each device, observer and connection.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::TimeDelta;
use futures::future;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use crate::collect::error::Error;
use crate::collect::health::reader::{LISTS_AT_ONCE, Reader};
use crate::collect::health::records::text;
use crate::core::density::halves;
use crate::core::intervals::Span;
use crate::core::json::count;
use crate::core::time::{DAY, Millis};
use crate::incydr::error::ApiError;
use crate::incydr::facts::file_events;
use crate::incydr::http::verdict;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::{Caller, Request};

const OBSERVER: &str = "event.observer";
const DETECTOR: &str = "event.detectorDisplayName";
/// The last events of so many observers and connections are asked for at most.
const MOST_LAST_EVENTS: usize = 20;
/// The longest wait for each.
const PATIENCE: Duration = Duration::from_secs(10);

pub type Counts = HashMap<String, u64>;

/// The number of file events of each observer within the last `longest_silence`, and within as long a time before.
#[derive(Debug, Default)]
pub struct Observers {
    pub last: Counts,
    pub before: Counts,
    /// The same numbers of each connection, for observers that still send events.
    pub detectors: BTreeMap<String, (Counts, Counts)>,
    /// The times of the last events of observers and connections that sent events before and don't any more, in the API's
    /// own form.
    pub last_events: HashMap<Source, String>,
}

/// An observer, or one of its connections.
pub type Source = (String, Option<String>);

impl Observers {
    /// Returns the observers and connections that sent events before and don't any more, with the numbers of these
    /// events.
    pub fn gone(&self) -> Vec<(Source, u64)> {
        let of_all = gone(&self.last, &self.before).into_iter();
        let observers = of_all.map(|(observer, records)| ((observer.to_owned(), None), records));
        let connections = self.detectors.iter().flat_map(|(observer, (last, before))| {
            let of_observer = gone(last, before).into_iter();
            of_observer.map(move |(name, records)| ((observer.clone(), Some(name.to_owned())), records))
        });
        observers.chain(connections).collect()
    }
}

/// Returns the names that were counted in the time before and are not any more, with their old counts.
fn gone<'c>(last: &Counts, before: &'c Counts) -> Vec<(&'c str, u64)> {
    let is_gone = |(name, _): &(&String, &u64)| !last.contains_key(*name);
    let mut gone: Vec<_> = before.iter().filter(is_gone).map(|(name, records)| (name.as_str(), *records)).collect();
    gone.sort_unstable();
    gone
}

impl Reader<'_> {
    /// Counts the file events of each observer. Only for observers that still send events it counts each connection.
    pub async fn observers(&self, days: TimeDelta, now: Millis) -> Result<Observers, Error> {
        let both = async |term: &str, only: Option<(&str, &str)>| {
            let (last, before) = futures::join!(
                self.counts(term, only, now - days, now),
                self.counts(term, only, now - days * 2, now - days)
            );
            Ok::<_, Error>((last?, before?))
        };
        let (last, before) = both(OBSERVER, None).await?;
        let mut detectors = BTreeMap::new();
        for observer in before.keys().filter(|observer| last.contains_key(*observer)) {
            let of_observer = both(DETECTOR, Some((OBSERVER, observer))).await?;
            detectors.insert(observer.clone(), of_observer);
        }
        let mut observers = Observers { last, before, detectors, last_events: HashMap::new() };
        observers.last_events = self.last_events(&observers, days, now).await;
        Ok(observers)
    }

    /// The last events of some observers and connections that are gone. An error leaves one out.
    async fn last_events(&self, observers: &Observers, days: TimeDelta, now: Millis) -> HashMap<Source, String> {
        let Some(before) = Span::new(now - days * 2, now - days) else { return HashMap::new() };
        let gone = observers.gone().into_iter().take(MOST_LAST_EVENTS).map(|(source, _)| source);
        let caller = &Caller { tries_once: true, silent_for: Some(PATIENCE), ..*self.caller };
        let of_source = |source: Source| async move {
            let (observer, detector) = &source;
            let detector = detector.as_deref().map(|detector| (DETECTOR, detector));
            let only: Vec<_> = [(OBSERVER, observer.as_str())].into_iter().chain(detector).collect();
            let body = file_events::newest_with(before, &only);
            let first = Listing::new(self.api, &file_events::LIST, 1, Vec::new(), body).first(caller).await;
            match first {
                // The field of the list is the time.
                Ok(Some(ListRow::Record { id: at, .. })) => Some((source, at)),
                _ => None,
            }
        };
        stream::iter(gone).map(of_source).buffered(LISTS_AT_ONCE).filter_map(future::ready).collect().await
    }

    /// Returns the number of file events in a span for each value of a term. The API counts them without
    /// `FE_QUERY_JSON`. A span that is too much for it is counted in halves, down to a day. An event in the millisecond
    /// between two halves counts in both.
    pub async fn counts(
        &self,
        term: &str,
        only: Option<(&str, &str)>,
        from: Millis,
        to: Millis,
    ) -> Result<Counts, Error> {
        let mut counts = Counts::new();
        let mut left: Vec<Span> = Span::new(from, to).into_iter().collect();
        while let Some(span) = left.pop() {
            match self.counts_of(term, only, span).await {
                Ok(found) => found.into_iter().for_each(|(value, count)| *counts.entry(value).or_default() += count),
                // `QueryRefused` can't mean FE_QUERY_JSON here: there are too many values.
                Err(ApiError::TooLarge { what, said } | ApiError::QueryRefused { what, said, .. }) => {
                    let shorter = halves(span).filter(|_| span.length() > DAY);
                    left.extend(shorter.ok_or(ApiError::TooLarge { what, said })?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(counts)
    }

    async fn counts_of(&self, term: &str, only: Option<(&str, &str)>, span: Span) -> Result<Counts, ApiError> {
        let request = Request::post(file_events::GROUPING, file_events::grouping(term, span, only));
        let unexpected = |why: &str| ApiError::Unexpected { what: request.what(), why: why.to_owned() };
        let read = |body: &bytes::Bytes| {
            let answer: Value = serde_json::from_slice(body).map_err(|_| unexpected("the answer is not JSON"))?;
            match &answer["problems"] {
                Value::Null => {}
                Value::Array(problems) if problems.is_empty() => {}
                problems => {
                    let told = problems.to_string();
                    let other = || unexpected(&format!("the answer reports problems: {told}"));
                    return Err(verdict(&request.what(), problems, &told).unwrap_or_else(other));
                }
            }
            let groups = answer["groups"].as_array().ok_or_else(|| unexpected("the answer has no \"groups\""))?;
            Ok(groups.iter().filter_map(|group| Some((text(group, "value")?, count(&group["docCount"])?))).collect())
        };
        self.api.send(&request, self.caller, read).await
    }
}
