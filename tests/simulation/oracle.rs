//! Checks the promises by the bucket and the API's records alone. Shares no code with the collector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::Value;
use simulator::{Dataset, Simulator};

use crate::health;
use crate::history::{History, Stored, began, began_lately};
use crate::objects::{Lines, in_order, lines, lines_below, sha256, versions, versions_but};
use crate::streams::{self, Stream};
use crate::tenant::{EVENTS, Line, Past, Tenant, stream};

pub const PREFIX: &str = "code42/";
/// The collector's own records.
pub const HEALTH: &str = "code42/collector_health/";
pub const STATE: &str = "incydr-collector/";
pub const CHECKPOINT: &str = "incydr-collector/checkpoint.json";

/// The promise that was broken, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    pub promise: &'static str,
    pub how: String,
}

pub fn wrong(promise: &'static str, how: impl Into<String>) -> Wrong {
    Wrong { promise, how: how.into() }
}

pub type Found = Result<(), Wrong>;

/// Checks what must hold at any instant.
pub async fn at_any_instant(sim: &Simulator, tenant: &Tenant) -> Found {
    is_append_only(sim).await?;
    health::is_told_once(sim, tenant).await?;
    // The checkpoint is read first. Whatever it covers must be stored already.
    let checkpoint = checkpoint(sim).await;
    for dataset in tenant.event_streams.iter().copied() {
        let stored = lines(sim, tenant, dataset).await?;
        let records = tenant.records(dataset);
        let expected = expected(dataset, records.iter().map(|(_, line)| line));
        nothing_twice_or_altered(dataset, &stored, &expected)?;
        let covered = spans(&checkpoint["events"][stream(dataset)]["covered"]);
        let late = tenant.past().late.clone();
        let must_be_there = records.iter().filter(|(record, line)| {
            let at = record.time.trunc_subsecs(3);
            !late.contains(line) && covered.iter().any(|(from, to)| (*from..*to).contains(&at))
        });
        let counted = self::expected(dataset, must_be_there.map(|(_, line)| line));
        nothing_missing("covered, but not stored", dataset, &stored, &counted)?;
    }
    for stream in tenant.streams() {
        let stored = versions(sim, tenant, stream).await?;
        let but_opened = match opened(&checkpoint, stream.name) {
            Some(at) => Some(versions_but(sim, tenant, stream, Some(at)).await?),
            None => None,
        };
        let may_repeat = tenant.may_be_stored_again(stream.name);
        let past = tenant.past();
        let Some(history) = past.histories.get(stream.name) else { continue };
        history.allows(stream, &stored, may_repeat)?;
        if let Some(covered_to) = covered_to(&checkpoint, stream.name) {
            let stuck = &checkpoint["stuck"][stream.name];
            is_told_of(stream, covered_to, &past, history, &stored, stuck).or_else(|wrong| {
                // The write of a run that died may have landed after the last run looked. The next run finds it.
                let stored = but_opened.as_ref().ok_or(wrong)?;
                is_told_of(stream, covered_to, &past, history, stored, stuck)
            })?;
        }
    }
    Ok(())
}

/// The instant of a reading that the checkpoint keeps open.
fn opened(checkpoint: &Value, stream: &str) -> Option<DateTime<Utc>> {
    let kinds = ["versions", "rescanned", "inventory"];
    kinds.into_iter().find_map(|kind| time(&checkpoint[kind][stream]["stored"]["open"]))
}

/// The time up to which a stream without windows has been read.
pub fn covered_to(checkpoint: &Value, stream: &str) -> Option<DateTime<Utc>> {
    ["versions", "rescanned", "inventory"].into_iter().find_map(|kind| time(&checkpoint[kind][stream]["covered_to"]))
}

/// Checks that everything is stored that these streams had shown by then, except what the checkpoint says is stuck:
/// that has a later next try. `excused` is a span of events that need not be stored either.
pub async fn is_told_to(
    sim: &Simulator,
    tenant: &Tenant,
    at: DateTime<Utc>,
    is_meant: impl Fn(&str) -> bool,
    excused: Option<(DateTime<Utc>, DateTime<Utc>)>,
) -> Found {
    let checkpoint = checkpoint(sim).await;
    for dataset in tenant.event_streams.iter().copied().filter(|dataset| is_meant(stream(*dataset))) {
        let stuck: Vec<_> = stuck_spans(&checkpoint["stuck"][stream(dataset)]).into_iter().chain(excused).collect();
        let is_stuck = |at: DateTime<Utc>| stuck.iter().any(|(from, to)| (*from..*to).contains(&at));
        let stored = lines(sim, tenant, dataset).await?;
        let records = tenant.records(dataset);
        let late = tenant.past().late.clone();
        let old = simulator::clock::now() - TimeDelta::minutes(59);
        let must_be_there = records.iter().filter(|(record, line)| {
            record.time < at && record.time > old && !late.contains(line) && !is_stuck(record.time)
        });
        let expected = expected(dataset, must_be_there.map(|(_, line)| line));
        nothing_missing("not stored", dataset, &stored, &expected)?;
    }
    for stream in tenant.streams().filter(|stream| is_meant(stream.name)) {
        let stored = versions(sim, tenant, stream).await?;
        let past = tenant.past();
        if let Some(history) = past.histories.get(stream.name) {
            is_told_of(stream, at, &past, history, &stored, &checkpoint["stuck"][stream.name])?;
        }
    }
    Ok(())
}

/// Checks the same for one stream, except records that nobody can be sure about, and stuck ones.
fn is_told_of(
    stream: &Stream,
    at: DateTime<Utc>,
    past: &Past,
    history: &History,
    stored: &Stored,
    stuck: &Value,
) -> Found {
    let is_first_list_stuck = stuck_lists(stuck).any(|list| stream.is_first_list(list));
    let (stuck, stuck_spans) = (stuck_ids(stuck), stuck_spans(stuck));
    let began_when_stuck = |session: &str| {
        let began = began(session);
        // Where the API filters by another time, any span may hide any session.
        past.filters_otherwise && !stuck_spans.is_empty()
            || stuck_spans.iter().any(|(from, to)| began.is_some_and(|began| (*from..*to).contains(&began)))
    };
    if past.taken.get(stream.name).is_some_and(|taken| *taken >= at) {
        return Ok(());
    }
    let is_hidden = |id: &str| past.missed.contains(id);
    // A list by itself is a part of its dataset's name.
    let is_stuck = |key: &str| {
        let mut parts = key.split('/');
        let (dataset, parent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // A list of a record that the first list doesn't show can't be asked for.
        key.split('/').any(|part| stuck.contains(part))
            || is_first_list_stuck && !parent.is_empty()
            || dataset.rsplit('_').next().is_some_and(|list| stuck.contains(list))
    };
    history.is_told_to(at, stream, stored, |key| {
        is_stuck(key)
            || match key.split('/').collect::<Vec<_>>()[..] {
                ["sessions", _, session] | ["session_events", session, _] => {
                    !began_lately(session, at) || began_when_stuck(session)
                }
                ["users", _, user] | ["user_roles", user, _] => is_hidden(user),
                _ => false,
            }
    })
}

/// Checks what must hold after everything was collected.
pub async fn at_the_end(sim: &Simulator, tenant: &Tenant) -> Found {
    is_append_only(sim).await?;
    health::is_told_to_the_end(sim, tenant).await?;
    for dataset in tenant.event_streams.iter().copied() {
        let stored = lines(sim, tenant, dataset).await?;
        let records = tenant.records(dataset);
        let latest = expected(dataset, records.iter().map(|(_, line)| line));
        nothing_missing("lost", dataset, &stored, &latest)?;
        nothing_twice_or_altered(dataset, &stored, &latest)?;
        is_set_aside(sim, stream(dataset), tenant).await?;
    }
    for stream in tenant.streams() {
        let stored = versions(sim, tenant, stream).await?;
        let may_repeat = tenant.may_be_stored_again(stream.name);
        {
            let past = tenant.past();
            let Some(history) = past.histories.get(stream.name) else { continue };
            history.allows(stream, &stored, may_repeat)?;
            // An unreadable row could be any record, so none counts as deleted.
            history.is_told(stream, &stored, past.malformed_of(stream.name).is_empty())?;
        }
        is_set_aside(sim, stream.name, tenant).await?;
    }
    Ok(())
}

/// The stored lines of each stream's present records. Without their times, which differ between two plays of a
/// schedule.
pub type Kept = BTreeMap<&'static str, Vec<String>>;

pub async fn kept(sim: &Simulator, tenant: &Tenant) -> Result<Kept, Wrong> {
    let mut kept = Kept::new();
    for dataset in tenant.event_streams.iter().copied() {
        let lines = in_order(sim, tenant, stream(dataset), |_| true).await?;
        let without_time = |line: &Line| {
            let mut record: Value = serde_json::from_str(&line.text).unwrap_or_default();
            if dataset == Dataset::FileEvents {
                return record["event"]["id"].to_string();
            }
            record["timestamp"] = Value::Null;
            record.to_string()
        };
        kept.insert(stream(dataset), lines.iter().map(without_time).collect());
    }
    for stream in tenant.streams() {
        let stored = versions(sim, tenant, stream).await?;
        let past = tenant.past();
        // A record that is gone now may have been stored or not.
        let shown: BTreeSet<&str> =
            past.histories.get(stream.name).into_iter().flat_map(History::shown).map(|(key, _)| key).collect();
        let last = |(key, lines): (Arc<str>, Vec<Option<Arc<str>>>)| {
            if !shown.contains(&*key) {
                return None;
            }
            let last: Value = serde_json::from_str(&lines.into_iter().next_back()??).ok()?;
            // A session's id and its notes hold times.
            let is_session = stream.name.starts_with("session");
            let (key, notes) = if is_session { ("one", &Value::Null) } else { (&*key, &last["notes"]) };
            Some(format!("{key} {notes} {} {}", last["name"], last["changed"]))
        };
        kept.insert(stream.name, stored.into_iter().filter_map(last).collect());
    }
    for lines in kept.values_mut() {
        lines.sort_unstable();
    }
    Ok(kept)
}

/// The number of stored records.
pub async fn count(sim: &Simulator, tenant: &Tenant) -> u64 {
    (lines_below(sim, tenant, PREFIX).await.len() - lines_below(sim, tenant, HEALTH).await.len()) as u64
}

pub async fn checkpoint(sim: &Simulator) -> Value {
    let object = sim.s3.object(sim.bucket(), CHECKPOINT).await;
    object.map(|object| serde_json::from_slice(&object.bytes).expect("a checkpoint is JSON")).unwrap_or_default()
}

/// Checks that no object was changed, and that only records are written below the prefix.
async fn is_append_only(sim: &Simulator) -> Found {
    if let Some(how) = sim.s3.overwritten_or_deleted(PREFIX).first() {
        return Err(wrong("overwritten", how.as_str()));
    }
    for key in sim.s3.keys(sim.bucket(), "").await {
        let mut names = EVENTS.map(stream).into_iter().chain(streams::all().map(|stream| stream.name));
        let is_record = names.any(|name| key.starts_with(&format!("{PREFIX}{name}/dt=")));
        let is_state = key == CHECKPOINT || key.starts_with(STATE);
        if !is_record && !is_state && !key.starts_with(&format!("{HEALTH}dt=")) {
            return Err(wrong("misplaced", format!("{key} is neither a record's nor state")));
        }
    }
    Ok(())
}

/// Equal audit rows are as many records. A file event has an id and is one.
fn expected<'a>(dataset: Dataset, lines: impl Iterator<Item = &'a Arc<str>>) -> Lines {
    let mut expected = Lines::new();
    for line in lines {
        let count = expected.entry(line.clone()).or_default();
        *count = if dataset == Dataset::Audit { *count + 1 } else { 1 };
    }
    expected
}

fn nothing_missing(promise: &'static str, dataset: Dataset, stored: &Lines, expected: &Lines) -> Found {
    let missing = |line: &str, count: usize| count > stored.get(line).copied().unwrap_or(0);
    let missing: Vec<&Arc<str>> =
        expected.iter().filter(|(line, count)| missing(line, **count)).map(|(line, _)| line).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            let all = expected.values().sum::<usize>();
            Err(wrong(
                promise,
                format!("{}: {} of {all}, among them {}", stream(dataset), missing.len(), excerpt(first)),
            ))
        }
    }
}

fn nothing_twice_or_altered(dataset: Dataset, stored: &Lines, expected: &Lines) -> Found {
    for (line, count) in stored {
        match expected.get(line) {
            None => return Err(wrong("altered", format!("{}: the API has no {}", stream(dataset), excerpt(line)))),
            Some(once) if once < count => {
                let how = format!("{}: {count} times, not {once}: {}", stream(dataset), excerpt(line));
                return Err(wrong("twice", how));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that exactly the unreadable rows are set aside, byte for byte, under their hashes.
async fn is_set_aside(sim: &Simulator, name: &str, tenant: &Tenant) -> Found {
    let kept = sim.s3.objects(sim.bucket(), &format!("{STATE}set-aside/{name}/")).await;
    let mut found = BTreeSet::new();
    for object in kept {
        if object.key != format!("{STATE}set-aside/{name}/{}.bin", sha256(&object.bytes)) {
            return Err(wrong("altered", format!("{} is named after other bytes", object.key)));
        }
        found.insert(String::from_utf8_lossy(&object.bytes).into_owned());
    }
    let past = tenant.past();
    let expected = past.malformed_of(name);
    if let Some(lost) = expected.difference(&found).next() {
        return Err(wrong("lost", format!("{name}: not set aside: {lost}")));
    }
    match found.difference(&expected).next() {
        _ if past.set_aside_too.contains(name) => Ok(()),
        Some(odd) => Err(wrong("altered", format!("{name}: set aside, but the API never sent {}", excerpt(odd)))),
        None => Ok(()),
    }
}

/// Parses `[["2026-11-21T13:00:00.000Z", "2026-11-21T14:00:00.000Z"], …]`.
pub fn spans(covered: &Value) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let spans = covered.as_array().into_iter().flatten();
    spans.map(|span| (time(&span[0]).expect("a time"), time(&span[1]).expect("a time"))).collect()
}

/// Returns the stuck ids and names of whole lists from `[{"what": {"id": "8"}, …}, {"what": {"list": {"list":
/// "members", "id": "…"}}, …}, {"what": {"list": {"list": "policies"}}, …}]`.
fn stuck_ids(stuck: &Value) -> BTreeSet<&str> {
    let whats = stuck.as_array().into_iter().flatten().map(|stuck| &stuck["what"]);
    let ids = whats.filter_map(|what| {
        let list = &what["list"];
        what["id"].as_str().or(list["id"].as_str()).or(list["list"].as_str())
    });
    ids.collect()
}

/// The lists that are stuck as a whole.
fn stuck_lists(stuck: &Value) -> impl Iterator<Item = &str> {
    let lists = stuck.as_array().into_iter().flatten().map(|stuck| &stuck["what"]["list"]);
    lists.filter(|list| list["id"].is_null()).filter_map(|list| list["list"].as_str())
}

/// Returns the stuck spans.
pub fn stuck_spans(stuck: &Value) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let whats = stuck.as_array().into_iter().flatten().map(|stuck| &stuck["what"]["span"]);
    spans(&whats.filter(|span| span.is_array()).cloned().collect())
}

/// Parses a time in any form in which the tenant writes it.
pub fn time(text: &Value) -> Option<DateTime<Utc>> {
    let text = text.as_str()?;
    let local = text.strip_suffix("+0000").or_else(|| text.strip_suffix("+00"));
    let text = local.map_or_else(|| text.to_owned(), |local| format!("{local}Z"));
    let text = if text.len() == "2026-11-21T13:37Z".len() { text.replace('Z', ":00Z") } else { text };
    DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc())
}

pub fn excerpt(line: &str) -> String {
    line.chars().take(160).collect()
}
