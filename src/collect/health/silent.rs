//! Finds agents that connect and have sent no file event for long, and observers and connections that send none any
//! more, each with the time of its last event.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future;
use futures::stream::{self, StreamExt};

use crate::collect::error::Error;
use crate::collect::health::counts::Counts;
use crate::collect::health::finding::{Finding, FindingKind};
use crate::collect::health::reader::{LISTS_AT_ONCE, Reader};
use crate::collect::health::records::Agent;
use crate::collect::health::rules::{Agents, Rules, active, age};
use crate::core::intervals::Span;
use crate::core::time::{DAY, Millis};
use crate::incydr::facts::file_events;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

const OBSERVER: &str = "event.observer";
const DETECTOR: &str = "event.detectorDisplayName";
/// An event's device. It is taken for the agent's id, which the vendor doesn't document.
pub const DEVICE: &str = "user.deviceUid";
/// The last event is asked for of at most this many agents, and of at most this many observers and connections.
const MOST_LAST_EVENTS: usize = 20;
/// The longest wait for each.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The number of file events of each observer within the last `longest_silence`, and within as long a time before.
#[derive(Debug, Default)]
pub struct Observers {
    pub last: Counts,
    pub before: Counts,
    /// By observer, the two numbers of each of its connections, for observers that still send events.
    pub detectors: BTreeMap<String, (Counts, Counts)>,
    /// The times of the last events of observers and connections that sent events before and don't any more, in the
    /// API's own form.
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

/// Returns the agents that connect and have reported no file event. Fails if no event has an agent's id where the
/// device should be.
fn silent<'a>(
    agents: &'a Agents,
    reporting: &Counts,
    silence: TimeDelta,
    now: Millis,
) -> Result<Vec<(&'a str, &'a Agent)>, &'static str> {
    if reporting.len() >= file_events::MOST_GROUPS {
        return Err("more devices report than the API counts at once");
    }
    if !reporting.keys().any(|device| agents.contains_key(device)) {
        return Err("no file event of that time names a device that is an agent's id");
    }
    let connects = |agent: &Agent| age(agent.last_connected.as_deref(), now).is_some_and(|age| age < silence);
    // An agent that was installed today may have had nothing to report.
    let is_new = |agent: &Agent| agent.created.is_some_and(|created| now - created < DAY);
    let is_silent = |(id, agent): &(&str, &Agent)| connects(agent) && !is_new(agent) && !reporting.contains_key(*id);
    Ok(active(agents).filter(is_silent).collect())
}

/// Finds agents that connect and report no file events. The check is left out if no event has an agent's id.
pub fn silent_agents(
    agents: &Agents,
    reporting: &Counts,
    last_events: &HashMap<String, String>,
    rules: &Rules,
    tell: &mut impl FnMut(Finding),
) -> Result<(), &'static str> {
    let days = rules.silence.num_days();
    for (id, agent) in silent(agents, reporting, rules.silence, rules.now)? {
        let why = format!("it connects, but has reported no file event for {days} days");
        let advice =
            "check on the device that the agent runs and is allowed to see files, and whether its user is at work";
        let finding = Finding::of_agent(FindingKind::SilentAgent, id, agent, why, advice.to_owned());
        tell(Finding { days: Some(days), since: Some(since(last_events.get(id), rules)), ..finding });
    }
    Ok(())
}

/// Finds data connections that send nothing any more. The API doesn't tell their state, so the numbers of their events
/// stand in for it: those of a whole observer, or of one connection if others of the same observer still send.
pub fn silent_observers(observers: &Observers, rules: &Rules, tell: &mut impl FnMut(Finding)) {
    let days = rules.silence.num_days();
    for (source, records) in observers.gone() {
        let why = format!("no file event for {days} days, and {records} in the {days} days before");
        let advice = "look at the connection in the console (Administration > Integrations > Data Connections), and authorize it again where it says so";
        let since = since(observers.last_events.get(&source), rules);
        let (observer, detector) = source;
        tell(Finding {
            observer: Some(observer),
            detector,
            days: Some(days),
            records: Some(records),
            since: Some(since),
            ..Finding::new(FindingKind::SilentObserver, why, advice.to_owned())
        });
    }
}

/// The time of the last event. Without one, the beginning of the time that has none.
fn since(last_event: Option<&String>, rules: &Rules) -> String {
    last_event.cloned().unwrap_or_else(|| (rules.now - rules.silence).to_string())
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
        let sources = observers.gone().into_iter().map(|(source, _)| {
            let (observer, detector) = source.clone();
            let detector = detector.map(|detector| (DETECTOR, detector));
            (source, [(OBSERVER, observer)].into_iter().chain(detector).collect())
        });
        observers.last_events = self.last_events(sources, days, now).await;
        Ok(observers)
    }

    /// The times of the last events of silent agents, in the API's own form.
    pub async fn last_events_of(
        &self,
        agents: &Agents,
        reporting: &Counts,
        days: TimeDelta,
        now: Millis,
    ) -> HashMap<String, String> {
        let silent = silent(agents, reporting, days, now).unwrap_or_default().into_iter();
        self.last_events(silent.map(|(id, _)| (id.to_owned(), vec![(DEVICE, id.to_owned())])), days, now).await
    }

    /// The times of the last events before the silent time, of events that have these values. An error leaves one out.
    async fn last_events<K: Eq + Hash>(
        &self,
        sources: impl Iterator<Item = (K, Vec<(&'static str, String)>)>,
        days: TimeDelta,
        now: Millis,
    ) -> HashMap<K, String> {
        let Some(before) = Span::new(now - days * 2, now - days) else { return HashMap::new() };
        let caller = &Caller { retry_until: None, longest_silence: Some(LONGEST_WAIT), ..*self.caller };
        let of_source = |(source, only): (K, Vec<(&'static str, String)>)| async move {
            let only: Vec<_> = only.iter().map(|(term, value)| (*term, value.as_str())).collect();
            let body = file_events::newest_with(before, &only);
            let first = Listing::new(self.api, &file_events::LIST, 1, Vec::new(), body).first(caller).await;
            match first {
                // The field of the list is the time.
                Ok(Some(ListRow::Record { id: at, .. })) => Some((source, at)),
                _ => None,
            }
        };
        let sources = stream::iter(sources.take(MOST_LAST_EVENTS));
        sources.map(of_source).buffered(LISTS_AT_ONCE).filter_map(future::ready).collect().await
    }
}
