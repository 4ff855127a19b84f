//! Reads the bucket and the chain of manifests without the collector's code, and alters them as a fault or a person
//! could.

use std::collections::BTreeMap;
use std::io::Write;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use simulator::Object;

use crate::rig::{CHECKPOINT, PREFIX, Rig, sha256, time};

pub const STATE: &str = "incydr-collector/";

impl Rig {
    /// Returns the manifests from the checkpoint's newest back to number 1.
    pub async fn chain(&self) -> Vec<Value> {
        self.chain_to(self.checkpoint().await["manifests"]["head"].clone(), STATE).await
    }

    /// The same for any chain. Checks each hash, number, name and date.
    async fn chain_to(&self, head: Value, state: &str) -> Vec<Value> {
        let mut chain: Vec<Value> = Vec::new();
        let mut link = head;
        while !link.is_null() {
            let key = link["key"].as_str().unwrap();
            let object = self.sim.s3.object(self.sim.bucket(), key).await.unwrap_or_else(|| panic!("no {key}"));
            let manifest: Value = serde_json::from_slice(&object.bytes).unwrap();
            let number = link["number"].as_u64().unwrap();
            assert_eq!(link["sha256"], sha256(&object.bytes), "{key}");
            assert_eq!((&manifest["number"], &manifest["written_at"]), (&link["number"], &link["written_at"]));
            assert_eq!(key.replacen(state, STATE, 1), manifest_key(number, &manifest, &object.bytes));
            assert!(!object.bytes.contains(&b'\n'), "a manifest is one line");
            if let Some(after) = chain.last() {
                assert_eq!(number + 1, after["number"].as_u64().unwrap());
                assert!(time(&manifest["written_at"]) <= time(&after["written_at"]));
            }
            link = manifest["previous"].clone();
            chain.push(manifest);
        }
        assert!(chain.last().is_none_or(|first| first["number"] == 1), "the chain ends before 1");
        chain
    }

    /// Returns every reading, oldest first: those in the chain, in merged chains, and those still on the checkpoint.
    pub async fn readings(&self) -> Vec<Value> {
        let mut chain = self.chain().await;
        chain.reverse();
        let manifests = self.checkpoint().await["manifests"].clone();
        let merged = chain.iter().chain([&manifests]).filter_map(|manifest| manifest["merged"].as_array());
        let mut told = Vec::new();
        for link in merged.flatten() {
            let (state, _) = link["key"].as_str().unwrap().split_once("manifests/").unwrap();
            let theirs = self.chain_to(link.clone(), state).await;
            told.extend(theirs.iter().rev().map(|manifest| manifest["readings"].clone()));
        }
        told.extend(chain.iter().map(|manifest| manifest["readings"].clone()));
        told.push(manifests["unlisted"].clone());
        told.iter().filter_map(Value::as_array).flatten().cloned().collect()
    }

    /// Asserts that the listed objects are exactly those below the prefix, unchanged.
    pub async fn assert_tells_every_object(&self) {
        let mut told = BTreeMap::new();
        for reading in self.readings().await {
            for object in reading["objects"].as_array().into_iter().flatten() {
                let key = object["key"].as_str().unwrap().to_owned();
                assert!(key.starts_with(&format!("{PREFIX}{}/", reading["stream"].as_str().unwrap())));
                if let Some(before) = told.insert(key, object.clone()) {
                    assert_eq!(before, *object, "listed twice, differently");
                }
            }
        }
        let found: BTreeMap<String, Value> = self.objects().await.iter().map(as_told).collect();
        assert_eq!(told.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        assert_eq!(told, found);
    }

    /// Rewrites the whole chain with new hashes and names, as an attacker could.
    pub async fn rewrite_chain(&self, change: impl Fn(&mut Value)) {
        let mut chain = self.chain().await;
        chain.reverse();
        let (mut head, mut new_keys) = (Value::Null, Vec::new());
        let mut old_keys: Vec<String> = chain.iter().map(|manifest| key_in(&manifest["previous"])).collect();
        old_keys.push(key_in(&self.checkpoint().await["manifests"]["head"]));
        for mut manifest in chain {
            change(&mut manifest);
            manifest["previous"] = head;
            let (number, bytes) = (manifest["number"].as_u64().unwrap(), manifest.to_string());
            let key = manifest_key(number, &manifest, bytes.as_bytes());
            let (sha256, written_at) = (sha256(bytes.as_bytes()), &manifest["written_at"]);
            head = json!({"number": number, "key": key, "sha256": sha256, "written_at": written_at});
            self.sim.s3.put_raw(self.sim.bucket(), &key, bytes).await;
            new_keys.push(key);
        }
        for key in old_keys.iter().filter(|key| !key.is_empty() && !new_keys.contains(key)) {
            self.sim.s3.delete_raw(self.sim.bucket(), key).await;
        }
        self.edit_checkpoint(|checkpoint| checkpoint["manifests"]["head"] = head).await;
    }

    pub async fn edit_checkpoint(&self, edit: impl FnOnce(&mut Value)) {
        let mut checkpoint = self.checkpoint().await;
        edit(&mut checkpoint);
        self.sim.s3.put_raw(self.sim.bucket(), CHECKPOINT, checkpoint.to_string()).await;
    }

    /// Sends `verify` with further fields.
    pub async fn verify_with(&self, fields: Value) -> Value {
        let mut event = json!({"action": "verify"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.invoke(event).await.answer()
    }

    pub async fn verify(&self) -> Value {
        self.verify_with(json!({})).await
    }

    pub async fn assert_whole(&self) {
        let verified = self.verify().await;
        assert_eq!((&verified["status"], &verified["findings"]), (&json!("whole"), &json!([])), "{verified:#}");
    }

    /// Replaces an object's lines or adds an object, without the log.
    pub async fn put_lines(&self, key: &str, lines: &[String]) {
        self.sim.s3.put_raw(self.sim.bucket(), key, gzip(lines)).await;
    }

    pub async fn lines(&self, key: &str) -> Vec<String> {
        self.sim.s3.object(self.sim.bucket(), key).await.unwrap_or_else(|| panic!("no {key}")).lines()
    }

    pub async fn state_keys(&self, part: &str) -> Vec<String> {
        self.sim.s3.keys(self.sim.bucket(), &format!("{STATE}{part}")).await
    }
}

/// A link's key, or an empty string.
fn key_in(link: &Value) -> String {
    link["key"].as_str().unwrap_or_default().to_owned()
}

/// The key of a manifest with these bytes.
fn manifest_key(number: u64, manifest: &Value, bytes: &[u8]) -> String {
    let day = &manifest["written_at"].as_str().unwrap()[..10];
    format!("{STATE}manifests/dt={day}/{number:010}-{}.json", sha256(bytes))
}

/// An object's key and its description in the form of the manifests.
pub fn as_told(object: &Object) -> (String, Value) {
    let lines = object.lines();
    let text = text_of(&lines);
    let mut times: Vec<String> = lines.iter().map(|line| stored_time(&object.key, line)).collect();
    times.sort();
    let told = json!({
        "key": object.key, "bytes": object.bytes.len(), "records": lines.len(), "sha256": sha256(text.as_bytes()),
        "first": times.first(), "last": times.last(),
    });
    (object.key.clone(), told)
}

/// The record's own time, or the instant in its object's key.
fn stored_time(key: &str, line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    let own = match key.split('/').nth(1).unwrap() {
        "audit" => &record["timestamp"],
        "file_events" => &record["event"]["inserted"],
        _ => return millis(span_of(key).0),
    };
    millis(time(own))
}

/// The span in a key.
pub fn span_of(key: &str) -> (DateTime<Utc>, DateTime<Utc>) {
    let name = key.rsplit('/').next().unwrap();
    let at = |n: usize| {
        let text = name.split(['-', '.']).nth(n).unwrap();
        chrono::NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S%3fZ").unwrap().and_utc()
    };
    (at(0), at(1))
}

/// The form on the checkpoint: milliseconds, cut and not rounded.
pub fn millis(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The uncompressed content of an object.
pub fn text_of(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

pub fn gzip(lines: &[String]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text_of(lines).as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The findings as (stream, key or beginning of the span, what is wrong).
pub fn findings(verified: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let of = |finding: &Value| {
        let place = if finding["key"].is_null() { &finding["from"] } else { &finding["key"] };
        (text(&finding["stream"]), text(place), text(&finding["wrong"]))
    };
    verified["findings"].as_array().unwrap().iter().map(of).collect()
}

/// Asserts that `verified` has exactly one finding, about this stream and key (or beginning), with this text.
pub fn assert_one_finding(verified: &Value, stream: &str, place: &str, wrong: &str) {
    assert_eq!(verified["status"], "broken", "{verified:#}");
    let found = findings(verified);
    assert_eq!(found.len(), 1, "{verified:#}");
    assert_eq!((found[0].0.as_str(), found[0].1.as_str()), (stream, place), "{verified:#}");
    assert!(found[0].2.contains(wrong), "{:?} says nothing of {wrong:?}", found[0].2);
}

/// Waits until records of the present second are older than the settle time.
pub async fn a_moment() {
    tokio::time::sleep(std::time::Duration::from_millis(2_800)).await;
}

/// Returns the instant that many seconds after yesterday's noon.
pub fn yesterday(seconds: i64) -> String {
    let noon = (Utc::now() - TimeDelta::days(1)).date_naive().and_hms_opt(12, 0, 0).unwrap().and_utc();
    millis(noon + TimeDelta::seconds(seconds))
}
