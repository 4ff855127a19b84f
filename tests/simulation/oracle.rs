//! Checks the promises by the bucket and the API's records alone. Shares no code with the collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, SubsecRound, TimeDelta, Timelike, Utc};
use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};
use simulator::{Dataset, Object, Simulator, text_at};

use crate::health;
use crate::history::{History, Stored, began, began_lately};
use crate::streams::{self, Stream};
use crate::tenant::{Line, Past, Tenant, stream};

pub const PREFIX: &str = "code42/";
/// The collector's own records.
pub const HEALTH: &str = "code42/collector_health/";
pub const STATE: &str = "incydr-collector/";
pub const CHECKPOINT: &str = "incydr-collector/checkpoint.json";

/// Datasets whose records never change and have no parent.
const EVENTS: [Dataset; 2] = [Dataset::FileEvents, Dataset::Audit];

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

/// Each stored line, and how often it is stored.
type Lines = BTreeMap<Arc<str>, usize>;

/// Checks what must hold at any instant.
pub async fn at_any_instant(sim: &Simulator, tenant: &Tenant) -> Found {
    is_append_only(sim).await?;
    health::is_told_once(sim, tenant).await?;
    // The checkpoint is read first. Whatever it covers must be stored already.
    let checkpoint = checkpoint(sim).await;
    for dataset in EVENTS {
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
        let past = tenant.past();
        let Some(history) = past.histories.get(stream.name) else { continue };
        history.allows(stream, &stored, past.may_repeat(stream.name))?;
        if let Some(covered_to) = covered_to(&checkpoint, stream.name) {
            is_told_of(stream, covered_to, &past, history, &stored, &checkpoint["stuck"][stream.name])?;
        }
    }
    Ok(())
}

/// The time up to which a stream without windows has been read.
pub fn covered_to(checkpoint: &Value, stream: &str) -> Option<DateTime<Utc>> {
    ["versions", "rescanned", "inventory"].into_iter().find_map(|kind| time(&checkpoint[kind][stream]["covered_to"]))
}

/// Checks that everything is stored that these streams had shown by then, except what the checkpoint says is stuck:
/// that has a later next try.
pub async fn is_told_to(sim: &Simulator, tenant: &Tenant, at: DateTime<Utc>, is_meant: impl Fn(&str) -> bool) -> Found {
    let checkpoint = checkpoint(sim).await;
    for dataset in EVENTS.into_iter().filter(|dataset| is_meant(stream(*dataset))) {
        let stuck = stuck_spans(&checkpoint["stuck"][stream(dataset)]);
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
    let (stuck, stuck_spans) = (stuck_ids(stuck), stuck_spans(stuck));
    let began_when_stuck = |session: &str| {
        let began = began(session);
        stuck_spans.iter().any(|(from, to)| began.is_some_and(|began| (*from..*to).contains(&began)))
    };
    if past.taken.get(stream.name).is_some_and(|taken| *taken >= at) {
        return Ok(());
    }
    let is_hidden = |id: &str| past.missed.contains(id);
    // A list by itself is a part of its dataset's name.
    let is_stuck = |key: &str| {
        let dataset = key.split('/').next().unwrap_or_default();
        key.split('/').any(|part| stuck.contains(part))
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
    for dataset in EVENTS {
        let stored = lines(sim, tenant, dataset).await?;
        let records = tenant.records(dataset);
        let latest = expected(dataset, records.iter().map(|(_, line)| line));
        nothing_missing("lost", dataset, &stored, &latest)?;
        nothing_twice_or_altered(dataset, &stored, &latest)?;
        is_set_aside(sim, stream(dataset), tenant).await?;
    }
    for stream in tenant.streams() {
        let stored = versions(sim, tenant, stream).await?;
        {
            let past = tenant.past();
            let Some(history) = past.histories.get(stream.name) else { continue };
            history.allows(stream, &stored, past.may_repeat(stream.name))?;
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
    for dataset in EVENTS {
        let lines = in_order(sim, tenant, stream(dataset)).await?;
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

/// An event stream's lines, with their counts.
async fn lines(sim: &Simulator, tenant: &Tenant, dataset: Dataset) -> Result<Lines, Wrong> {
    let mut lines = Lines::new();
    for line in in_order(sim, tenant, stream(dataset)).await? {
        *lines.entry(line.text).or_default() += 1;
    }
    Ok(lines)
}

/// Another stream's lines, by record.
async fn versions(sim: &Simulator, tenant: &Tenant, stream: &Stream) -> Result<Stored, Wrong> {
    let mut stored = Stored::new();
    for line in in_order(sim, tenant, stream.name).await? {
        let Some(key) = line.key else {
            return Err(wrong("altered", format!("{}: whose is {}", stream.name, excerpt(&line.text))));
        };
        stored.entry(key).or_default().push((!line.is_tombstone).then_some(line.text));
    }
    Ok(stored)
}

/// A stream's lines in the order of their readings. Checks that each object's metadata matches its content. Objects
/// never change, so each is checked once.
async fn in_order(sim: &Simulator, tenant: &Tenant, stream: &str) -> Result<Vec<Line>, Wrong> {
    let mut keys = sim.s3.keys(sim.bucket(), &format!("{PREFIX}{stream}/")).await;
    // Records that a later reading added under the same key are in `-r1`, `-r2`, …
    keys.sort_by_cached_key(|key| {
        let name = key.trim_end_matches(".ndjson.gz");
        let (name, nth) = name.rsplit_once("-r").unwrap_or((name, "0"));
        (name.to_owned(), nth.parse().unwrap_or(0_u32))
    });
    let mut lines = Vec::new();
    for key in keys {
        let seen = tenant.seen(&key);
        let seen = if let Some(seen) = seen {
            seen
        } else {
            let Some(object) = sim.s3.object(sim.bucket(), &key).await else { continue };
            tenant.note_seen(&key, read(&object, tenant, stream)?)
        };
        lines.extend(seen.iter().cloned());
    }
    Ok(lines)
}

/// The lines of all objects below a prefix.
pub async fn lines_below(sim: &Simulator, tenant: &Tenant, prefix: &str) -> Vec<Arc<str>> {
    let mut lines = Vec::new();
    for key in sim.s3.keys(sim.bucket(), prefix).await {
        lines.extend(lines_at(sim, tenant, &key).await.iter().map(|line| line.text.clone()));
    }
    lines
}

/// The lines of one object, which need no check or were checked before.
async fn lines_at(sim: &Simulator, tenant: &Tenant, key: &str) -> Arc<Vec<Line>> {
    if let Some(seen) = tenant.seen(key) {
        return seen;
    }
    let object = sim.s3.object(sim.bucket(), key).await;
    let lines = object.map(|object| object.lines()).unwrap_or_default().into_iter();
    let line = |text: String| Line { text: text.into(), key: None, is_tombstone: false };
    tenant.note_seen(key, lines.map(line).collect())
}

fn read(object: &Object, tenant: &Tenant, stream: &str) -> Result<Vec<Line>, Wrong> {
    let text = gunzipped(object)?;
    is_described(object, stream, &text)?;
    let of = streams::named(stream);
    let read = |line: &str| {
        let record = is_in_its_place(&object.key, stream, line)?;
        let key = of.and_then(|stream| stream.key_of(&record)).map(Arc::from);
        let text = if key.is_some() { tenant.form(line) } else { Arc::from(line) };
        Ok(Line { text, key, is_tombstone: record["_deleted"] == true })
    };
    text.lines().map(read).collect()
}

fn gunzipped(object: &Object) -> Result<String, Wrong> {
    let mut text = String::new();
    match MultiGzDecoder::new(&*object.bytes).read_to_string(&mut text) {
        Ok(_) if text.ends_with('\n') => Ok(text),
        Ok(_) => Err(wrong("altered", format!("{} is empty or ends in the middle of a line", object.key))),
        Err(error) => Err(wrong("altered", format!("{} is no gzipped text: {error}", object.key))),
    }
}

fn is_described(object: &Object, stream: &str, text: &str) -> Found {
    let told = |name: &str| object.metadata.get(name).map(String::as_str).unwrap_or_default().to_owned();
    let same = [
        ("stream", stream.to_owned()),
        ("records", text.lines().count().to_string()),
        ("sha256", sha256(text.as_bytes())),
    ];
    for (name, is) in same {
        if told(name) != is {
            return Err(wrong(
                "altered",
                format!("{}: {name} is {is}, but its metadata says {}", object.key, told(name)),
            ));
        }
    }
    let typed = object.content_type.as_deref() == Some("application/x-ndjson");
    if !typed || object.content_encoding.as_deref().is_some_and(|encoding| !encoding.is_empty()) {
        return Err(wrong("altered", format!("{}: its content type or encoding is another", object.key)));
    }
    Ok(())
}

/// For example, `code42/audit/dt=2026-11-21/hour=13/20261121T130000000Z-20261121T140000000Z-r1.ndjson.gz` has records
/// of that hour. Returns the record, if it is one that changes.
fn is_in_its_place(key: &str, stream: &str, line: &str) -> Result<Value, Wrong> {
    let misplaced = |why: &str| wrong("misplaced", format!("{key}: {why}: {}", excerpt(line)));
    let name = key.rsplit('/').next().unwrap_or_default().trim_end_matches(".ndjson.gz");
    let mut parts = name.split('-').map(|part| NaiveDateTime::parse_from_str(part, "%Y%m%dT%H%M%S%3fZ"));
    let (Some(Ok(from)), Some(Ok(to))) = (parts.next(), parts.next()) else {
        return Err(misplaced("it is not named by its span"));
    };
    let (from, to) = (from.and_utc(), to.and_utc());
    let unread = |_| misplaced("no parser reads it");
    let (record, at) = match stream {
        "file_events" | "audit" => {
            serde_json::from_str::<IgnoredAny>(line).map_err(unread)?;
            let path: &[&str] = if stream == "audit" { &["timestamp"] } else { &["event", "inserted"] };
            (Value::Null, text_at(line, path).and_then(|text| time(&serde_json::from_str(text).ok()?)))
        }
        _ => (serde_json::from_str(line).map_err(unread)?, Some(from)),
    };
    let Some(at) = at else { return Err(misplaced("it has no time")) };
    let hour = format!("dt={}/hour={:02}/", at.format("%Y-%m-%d"), at.hour());
    if !key.contains(&hour) {
        return Err(misplaced("its hour is another"));
    }
    let is_instant = streams::named(stream).is_some() && from == to;
    if !is_instant && !(from..to).contains(&at.trunc_subsecs(3)) {
        return Err(misplaced("its time lies outside of the span"));
    }
    Ok(record)
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

/// Returns the stuck spans.
fn stuck_spans(stuck: &Value) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let whats = stuck.as_array().into_iter().flatten().map(|stuck| &stuck["what"]["span"]);
    spans(&whats.filter(|span| span.is_array()).cloned().collect())
}

fn time(text: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text.as_str()?).ok().map(|time| time.to_utc())
}

pub fn sha256(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("it is below 16");
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn excerpt(line: &str) -> String {
    line.chars().take(160).collect()
}
