//! The objects in the bucket: their lines, and whether each is what its name and its metadata say. Shares no code with the
//! collector.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Timelike, Utc};
use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};
use simulator::{Dataset, Object, Simulator, text_at};

use crate::history::Stored;
use crate::oracle::{Found, PREFIX, Wrong, excerpt, time, wrong};
use crate::rarities::HALF_A_PAIR;
use crate::streams::{self, Stream};
use crate::tenant::{Content, Line, Measure, Tenant, stream};

/// Each stored line, and how often it is stored.
pub type Lines = BTreeMap<Arc<str>, usize>;

/// An event stream's lines, with their counts.
pub async fn lines(sim: &Simulator, tenant: &Tenant, dataset: Dataset) -> Result<Lines, Wrong> {
    let mut lines = Lines::new();
    for line in in_order(sim, tenant, stream(dataset), |_| true).await? {
        *lines.entry(line.text).or_default() += 1;
    }
    Ok(lines)
}

/// Another stream's lines, by record.
pub async fn versions(sim: &Simulator, tenant: &Tenant, stream: &Stream) -> Result<Stored, Wrong> {
    versions_but(sim, tenant, stream, None).await
}

/// The same, without the lines of the reading that was opened at an instant.
pub async fn versions_but(
    sim: &Simulator,
    tenant: &Tenant,
    stream: &Stream,
    opened: Option<DateTime<Utc>>,
) -> Result<Stored, Wrong> {
    let key = opened.map(|at| at.format("/%Y%m%dT%H%M%S%3fZ-").to_string());
    let mut stored = Stored::new();
    for line in in_order(sim, tenant, stream.name, |name| key.as_ref().is_none_or(|key| !name.contains(key))).await? {
        let Some(key) = line.key else {
            return Err(wrong("altered", format!("{}: whose is {}", stream.name, excerpt(&line.text))));
        };
        stored.entry(key).or_default().push((!line.is_tombstone).then_some(line.text));
    }
    Ok(stored)
}

/// A stream's lines in the order of their readings. Checks that each object's metadata matches its content. Objects
/// never change, so each is checked once.
pub async fn in_order(
    sim: &Simulator,
    tenant: &Tenant,
    stream: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Vec<Line>, Wrong> {
    let mut keys = sim.s3.keys(sim.bucket(), &format!("{PREFIX}{stream}/")).await;
    keys.retain(|key| is_meant(key));
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
        lines.extend(seen.lines.iter().cloned());
    }
    Ok(lines)
}

/// The lines of all objects below a prefix.
pub async fn lines_below(sim: &Simulator, tenant: &Tenant, prefix: &str) -> Vec<Arc<str>> {
    let mut lines = Vec::new();
    for key in sim.s3.keys(sim.bucket(), prefix).await {
        lines.extend(lines_at(sim, tenant, &key).await.lines.iter().map(|line| line.text.clone()));
    }
    lines
}

/// The lines of one object, which need no check or were checked before.
async fn lines_at(sim: &Simulator, tenant: &Tenant, key: &str) -> Arc<Content> {
    if let Some(seen) = tenant.seen(key) {
        return seen;
    }
    let object = sim.s3.object(sim.bucket(), key).await;
    let lines = object.map(|object| object.lines()).unwrap_or_default().into_iter();
    let line = |text: String| Line { text: text.into(), key: None, is_tombstone: false };
    tenant.note_seen(key, Content { lines: lines.map(line).collect(), measure: None })
}

fn read(object: &Object, tenant: &Tenant, stream: &str) -> Result<Content, Wrong> {
    let text = gunzipped(object)?;
    let measure = measure(object, &text);
    is_described(object, stream, &measure)?;
    let of = streams::named(stream);
    let read = |line: &str| {
        let record = is_in_its_place(&object.key, stream, line)?;
        let key = of.and_then(|stream| stream.key_of(&record)).map(Arc::from);
        let text = if key.is_some() { tenant.form(line) } else { Arc::from(line) };
        Ok(Line { text, key, is_tombstone: record["_deleted"] == true })
    };
    Ok(Content { lines: text.lines().map(read).collect::<Result<_, _>>()?, measure: Some(measure) })
}

/// The measure of an object, which was checked before or not.
pub fn measured(object: &Object, tenant: &Tenant) -> Result<Measure, Wrong> {
    match tenant.seen(&object.key).and_then(|seen| seen.measure.clone()) {
        Some(measure) => Ok(measure),
        None => Ok(measure(object, &gunzipped(object)?)),
    }
}

fn measure(object: &Object, text: &str) -> Measure {
    (text.lines().count() as u64, object.bytes.len() as u64, sha256(text.as_bytes()))
}

fn gunzipped(object: &Object) -> Result<String, Wrong> {
    let mut text = String::new();
    match MultiGzDecoder::new(&*object.bytes).read_to_string(&mut text) {
        Ok(_) if text.ends_with('\n') => Ok(text),
        Ok(_) => Err(wrong("altered", format!("{} is empty or ends in the middle of a line", object.key))),
        Err(error) => Err(wrong("altered", format!("{} is no gzipped text: {error}", object.key))),
    }
}

fn is_described(object: &Object, stream: &str, (records, _, hash): &Measure) -> Found {
    let told = |name: &str| object.metadata.get(name).map(String::as_str).unwrap_or_default().to_owned();
    let same = [("stream", stream.to_owned()), ("records", records.to_string()), ("sha256", hash.clone())];
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
        _ => (parsed(line).ok_or_else(|| misplaced("no parser reads it"))?, Some(from)),
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

/// Parses a line, which may hold half of a surrogate pair.
pub fn parsed(line: &str) -> Option<Value> {
    let half = HALF_A_PAIR.trim_matches('"');
    serde_json::from_str(line).or_else(|_| serde_json::from_str(&line.replace(half, "?"))).ok()
}

pub fn sha256(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("it is below 16");
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
