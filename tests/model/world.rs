//! The world around the runs: an API with three records, and S3. Their answers depend on the request alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use incydr_collector::core::checkpoint::Checkpoint;
use incydr_collector::core::intervals::Span;
use incydr_collector::core::stream::Stream;
use incydr_collector::core::time::Millis;
use serde_json::{Value, json};

use crate::seams::{Answered, Asked, Object, Write, settings};

/// 2026-11-21T13:30:00Z
pub const BEGIN: i64 = 1_795_267_800_000;
/// A span in the middle was collected before, so the first run finds a gap on each side of it and opens a window for
/// each. The second window ends at the horizon of the run.
const FROM: i64 = BEGIN - 60_000;
const COVERED: (i64, i64) = (BEGIN - 50_000, BEGIN - 40_000);
/// The API's records: two in the first gap, one in the second.
const RECORDS: [(&str, i64); 3] = [("a", BEGIN - 58_000), ("b", BEGIN - 53_000), ("c", BEGIN - 35_000)];

/// A rule that is taken out of the protocol, to see that the search finds the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenOut {
    /// S3 ignores `If-None-Match` for objects of records.
    CreateOnly,
    /// A window is not on the checkpoint before it is covered.
    OpenBeforeRead,
    /// S3 ignores `If-Match`.
    IfMatch,
    /// A run that reads the checkpoint finds no leases: neither the present one nor those of runs that opened windows.
    Lease,
}

pub type Objects = BTreeMap<String, Arc<Object>>;

pub fn checkpoint_key() -> &'static str {
    &settings().checkpoint_key
}

fn records_prefix() -> String {
    format!("{}audit/", settings().prefix)
}

/// Whether the key belongs to the protocol: the checkpoint, or an object of records. The order of all other requests,
/// such as those for manifests, makes no difference, so they are answered at once.
pub fn is_of_the_protocol(key: &str) -> bool {
    key == checkpoint_key() || key.starts_with(&records_prefix())
}

pub fn at_first() -> Objects {
    let mut checkpoint = Checkpoint::new(settings().identity(None));
    (checkpoint.revision, checkpoint.written_by) = (1, "before".to_owned());
    let state = checkpoint.events(Stream::Audit);
    state.live_from = Some(Millis(FROM));
    state.cover(Span { from: Millis(COVERED.0), to: Millis(COVERED.1) });
    [(checkpoint_key().to_owned(), Arc::new(object(&checkpoint.to_json(), BTreeMap::new())))].into()
}

fn object(bytes: &[u8], metadata: BTreeMap<String, String>) -> Object {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Object { bytes: bytes.to_vec().into(), metadata, etag: format!("{:016x}", hasher.finish()) }
}

/// Returns the API's answer.
pub fn api(path: &str, body: &Value) -> Answered {
    let millis = |name: &str| (body["dateRange"][name].as_f64().expect("a time") * 1_000.0).round() as i64;
    let (from, to) = (millis("startTime"), millis("endTime"));
    let shown = RECORDS.iter().rev().filter(|(_, at)| (from..to).contains(at));
    let body = if path.ends_with("count") {
        json!({"totalResultCount": shown.count()})
    } else {
        let is_first = body["page"] == 0;
        let rows: Vec<Value> =
            shown.filter(|_| is_first).map(|(id, at)| json!({"id": id, "timestamp": Millis(*at)})).collect();
        json!({"events": rows})
    };
    Answered::Api { status: 200, body: body.to_string() }
}

pub fn too_large() -> Answered {
    Answered::Api { status: 400, body: "Request timed out. Refine your filter criteria and try again.".to_owned() }
}

pub fn read(objects: &Objects, asked: &Asked, taken_out: Option<TakenOut>) -> Answered {
    match asked {
        Asked::Api { path, body } => api(path, body),
        Asked::Get { key } => {
            let found = objects.get(key).cloned();
            let is_hidden = taken_out == Some(TakenOut::Lease) && key == checkpoint_key();
            Answered::Got(if is_hidden { found.map(|found| without_leases(&found)) } else { found })
        }
        Asked::List { prefix, after } => {
            let keys = objects.keys().filter(|key| key.starts_with(prefix));
            Answered::Listed(keys.filter(|key| after.as_ref().is_none_or(|after| *key > after)).cloned().collect())
        }
        Asked::Put(_) => panic!("a write"),
    }
}

/// Writes an object if its conditions hold.
pub fn write(objects: &mut Objects, write: &Write, taken_out: Option<TakenOut>) -> Answered {
    let there = objects.get(&write.key);
    let is_record = write.key.starts_with(&records_prefix());
    let may_replace = taken_out == Some(TakenOut::CreateOnly) && is_record;
    let may_go_back = taken_out == Some(TakenOut::IfMatch);
    let fits = match (&write.only_if, there) {
        (None, there) => !write.only_if_absent || may_replace || there.is_none(),
        (Some(etag), there) => may_go_back || there.is_some_and(|there| there.etag == *etag),
    };
    if !fits {
        return Answered::Refused;
    }
    if let (Some(TakenOut::OpenBeforeRead), Some(etag), Some(there)) = (taken_out, &write.only_if, there)
        && opens(&there.bytes, &write.bytes)
    {
        return Answered::Written { etag: etag.clone() };
    }
    let new = object(&write.bytes, write.metadata.clone());
    let etag = new.etag.clone();
    objects.insert(write.key.clone(), Arc::new(new));
    Answered::Written { etag }
}

fn parsed(bytes: &[u8]) -> Checkpoint {
    Checkpoint::parse(bytes).expect("a checkpoint")
}

fn opens(before: &[u8], after: &[u8]) -> bool {
    let open =
        |bytes: &[u8]| parsed(bytes).events(Stream::Audit).open.iter().map(|window| window.span).collect::<Vec<_>>();
    let before = open(before);
    open(after).iter().any(|span| !before.contains(span))
}

fn without_leases(found: &Object) -> Arc<Object> {
    let mut checkpoint = parsed(&found.bytes);
    checkpoint.lease = None;
    for window in &mut checkpoint.events(Stream::Audit).open {
        window.opened_by = window.opened_by.clone().of_nobody();
    }
    let (metadata, etag) = (found.metadata.clone(), found.etag.clone());
    Arc::new(Object { bytes: checkpoint.to_json().into(), metadata, etag })
}

/// Returns a fault of the bucket, or of the change from `was` to `now`.
pub fn fault(now: &Objects, was: &Objects) -> Option<String> {
    replaced(now, was).or_else(|| wrong(now))
}

/// Returns a fault if an object below the prefix was replaced.
pub fn replaced(now: &Objects, was: &Objects) -> Option<String> {
    let below = was.iter().filter(|(key, _)| key.starts_with(&settings().prefix));
    let mut replaced = below.filter(|(key, object)| now.get(*key).is_none_or(|now| !Arc::ptr_eq(now, object)));
    replaced.next().map(|(key, _)| format!("{key} is replaced"))
}

/// Returns a fault of the stored records or of the checkpoint.
pub fn wrong(objects: &Objects) -> Option<String> {
    let stored = stored(objects);
    for (id, _) in RECORDS {
        if stored.iter().filter(|held| *held == id).count() > 1 {
            return Some(format!("record {id} is stored twice"));
        }
    }
    let mut checkpoint = parsed(&objects[checkpoint_key()].bytes);
    if let Err(what) = checkpoint.check() {
        return Some(format!("the checkpoint contradicts itself: {what}"));
    }
    let covered = &checkpoint.events(Stream::Audit).covered;
    let is_covered = |at: i64| covered.iter().any(|span| span.contains(Millis(at)));
    let missing = RECORDS.iter().find(|(id, at)| is_covered(*at) && !stored.iter().any(|held| held == id));
    missing.map(|(id, _)| format!("record {id} is covered, and not stored"))
}

/// Whether all records are stored, and all time is covered up to this instant.
pub fn is_complete(objects: &Objects, to: i64) -> bool {
    let mut checkpoint = parsed(&objects[checkpoint_key()].bytes);
    let is_covered = checkpoint.events(Stream::Audit).has_covered(Span { from: Millis(FROM), to: Millis(to) });
    is_covered && stored(objects).len() == RECORDS.len()
}

fn stored(objects: &Objects) -> Vec<String> {
    let mut ids = Vec::new();
    for (_, object) in objects.iter().filter(|(key, _)| key.starts_with(&records_prefix())) {
        let mut text = String::new();
        MultiGzDecoder::new(&object.bytes[..]).read_to_string(&mut text).expect("gzip");
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).expect("JSON");
            ids.push(record["id"].as_str().expect("an id").to_owned());
        }
    }
    ids
}

/// Describes a request for the list of steps.
pub fn told(asked: &Asked) -> String {
    let short = |key: &str| {
        let name = key.rsplit('/').next().unwrap_or(key);
        if key == checkpoint_key() { "the checkpoint".to_owned() } else { name.to_owned() }
    };
    match asked {
        Asked::Api { path, body } => {
            let seconds = |name: &str| (body["dateRange"][name].as_f64().unwrap_or(0.0) * 1_000.0) as i64 - BEGIN;
            let what = if path.ends_with("count") { "how many rows" } else { "which rows" };
            format!("asks the API {what} lie from {} to {} s", seconds("startTime") / 1_000, seconds("endTime") / 1_000)
        }
        Asked::Get { key } => format!("reads {}", short(key)),
        Asked::List { prefix, .. } => format!("lists {prefix}"),
        Asked::Put(write) if write.key == checkpoint_key() => {
            let mut checkpoint = parsed(&write.bytes);
            let lease = checkpoint.lease.as_ref().map_or("nobody's lease", |lease| lease.run_id.as_str()).to_owned();
            let (open, covered) = {
                let state = checkpoint.events(Stream::Audit);
                let told = |spans: Vec<Span>| {
                    let told =
                        |span: &Span| format!("{} to {}", (span.from.0 - BEGIN) / 1_000, (span.to.0 - BEGIN) / 1_000);
                    spans.iter().map(told).collect::<Vec<_>>().join(", ")
                };
                (told(state.open.iter().map(|window| window.span).collect()), told(state.covered.iter().collect()))
            };
            format!("writes the checkpoint ({lease}, open {{{open}}}, covered {{{covered}}})")
        }
        Asked::Put(write) => format!("writes {}", short(&write.key)),
    }
}
