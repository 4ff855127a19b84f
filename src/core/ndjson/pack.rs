//! Packs records as gzipped NDJSON in memory, and computes the object's metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use foldhash::quality::RandomState;
use sha2::{Digest, Sha256};

use crate::core::ndjson::canonical::{FieldPath, canonical};
use crate::core::time::Millis;

const AT_ONCE: usize = 32 * 1024;

/// Identifies a record by its bytes: the first half of their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// A faster fingerprint for use within one process. Its keys are random, so nobody can craft two records with the
    /// same one.
    pub fn quick(record: &[u8]) -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::default(), RandomState::default()]);
        let [high, low] = [0, 1].map(|n| u128::from(KEYS[n].hash_one(record)));
        Self(high << 64 | low)
    }

    pub fn of(record: &[u8]) -> Self {
        let digest = Sha256::digest(record);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// The fingerprint of a stored line's meaning: of its canonical form, without `volatile` fields and those that
    /// `FIELDS` adds. The order of its members makes no difference.
    pub fn of_meaning(line: &str, volatile: &[FieldPath]) -> Self {
        Self::of(&canonical(bare(line).as_bytes(), volatile))
    }
}

/// The settings for packing records.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    /// The gzip level, 1 to 9.
    pub level: u32,
    /// Text before each record's closing brace, such as `,"_fields":{"environment":"production"}`. May be empty.
    pub suffix: String,
}

impl Default for Packing {
    fn default() -> Self {
        Self { level: 6, suffix: String::new() }
    }
}

/// Collects the records of one object.
pub struct Packer {
    /// Lines that are not hashed and compressed yet. That is done 32 KB at a time, so that the calls cost little.
    waiting: Vec<u8>,
    gzip: GzEncoder<Vec<u8>>,
    sha256: Sha256,
    records: u64,
    times: Option<(Millis, Millis)>,
    packing: Packing,
}

const MOST_PREALLOCATED: usize = 32 << 20;

/// An object's content.
#[derive(Clone)]
pub struct Packed {
    pub gzip: Bytes,
    pub records: u64,
    /// The SHA-256 of the uncompressed bytes, in hex.
    pub sha256: String,
    /// The times of the first and the last record.
    pub times: Option<(Millis, Millis)>,
    level: u32,
}

impl Packer {
    pub fn new(packing: &Packing) -> Self {
        Self::with_capacity(packing, 0)
    }

    /// Preallocates about `bytes` gzipped bytes, because a buffer that grows is copied and fragments memory. Sizes are
    /// rounded up to 1 MiB, so that later buffers fit into freed ones. `bytes` may come from an absurd count of the
    /// API, so what is beyond 32 MiB is allocated when it is needed.
    pub fn with_capacity(packing: &Packing, bytes: usize) -> Self {
        let buffer = Vec::with_capacity(bytes.min(MOST_PREALLOCATED).next_multiple_of(1 << 20));
        let gzip = GzEncoder::new(buffer, Compression::new(packing.level));
        let packing = packing.clone();
        Self { waiting: Vec::new(), gzip, sha256: Sha256::new(), records: 0, times: None, packing }
    }

    /// Adds a record with its own time.
    pub fn push_at(&mut self, time: Millis, line: &str) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        self.push(line);
    }

    pub fn push(&mut self, line: &str) {
        match line.strip_suffix('}') {
            Some(open) if !self.packing.suffix.is_empty() => {
                for part in [open, &self.packing.suffix, "}"] {
                    self.waiting.extend_from_slice(part.as_bytes());
                }
            }
            _ => self.waiting.extend_from_slice(line.as_bytes()),
        }
        self.waiting.push(b'\n');
        if self.waiting.len() >= AT_ONCE {
            self.pack();
        }
        self.records += 1;
    }

    fn pack(&mut self) {
        self.sha256.update(&self.waiting);
        // Writing to memory doesn't fail.
        let _ = self.gzip.write_all(&self.waiting);
        self.waiting.clear();
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// The gzipped size so far.
    pub fn bytes(&self) -> u64 {
        self.gzip.get_ref().len() as u64
    }

    pub fn finish(mut self) -> Packed {
        self.pack();
        let gzip = self.gzip.finish().unwrap_or_else(|_| unreachable!("writing to memory doesn't fail"));
        let sha256 = hex(&self.sha256.finalize());
        Packed { gzip: gzip.into(), records: self.records, sha256, times: self.times, level: self.packing.level }
    }
}

impl Packed {
    /// Returns the object without the records that are stored elsewhere. `stored` has the number of those by their
    /// meaning: each record that is left out lowers it by one, and at 0 further equal records stay. `time` returns a
    /// record's own time.
    pub fn without(
        &self,
        stored: &mut HashMap<Fingerprint, u64>,
        volatile: &[FieldPath],
        time: impl Fn(&str) -> Option<Millis>,
    ) -> io::Result<Self> {
        // The lines have their suffix already.
        let mut rest = Packer::new(&Packing { level: self.level, suffix: String::new() });
        each_line(&self.gzip, |line| {
            let alike = stored.get_mut(&Fingerprint::of_meaning(line, volatile)).filter(|count| **count > 0);
            match (alike, time(line)) {
                (Some(count), _) => *count -= 1,
                (None, Some(time)) => rest.push_at(time, line),
                (None, None) => rest.push(line),
            }
        })?;
        Ok(rest.finish())
    }
}

/// Returns a record as the API sent it, without the fields that an operator's `FIELDS` added, whatever they were.
pub fn bare(line: &str) -> Cow<'_, str> {
    const KEY: &str = ",\"_fields\":";
    let added = line.rfind(KEY).and_then(|at| {
        let fields = line[at + KEY.len()..].strip_suffix('}')?;
        serde_json::from_str::<BTreeMap<String, String>>(fields).ok().map(|_| at)
    });
    added.map_or(Cow::Borrowed(line), |at| Cow::Owned(format!("{}}}", &line[..at])))
}

/// Unpacks the records of an object.
pub fn lines(gzip: &[u8]) -> io::Result<Vec<String>> {
    BufReader::new(MultiGzDecoder::new(gzip)).lines().collect()
}

/// Passes on the records of an object one by one, since unpacked they may be larger than memory. Returns the SHA-256 of
/// the uncompressed bytes, in hex.
pub fn each_line(gzip: &[u8], mut take: impl FnMut(&str)) -> io::Result<String> {
    let mut sha256 = Sha256::new();
    for line in BufReader::new(MultiGzDecoder::new(gzip)).lines() {
        let line = line?;
        sha256.update(&line);
        sha256.update(b"\n");
        take(&line);
    }
    Ok(hex(&sha256.finalize()))
}

/// The SHA-256 of an object's uncompressed bytes, in hex, computed from its records.
pub fn sha256_of(lines: &[String]) -> String {
    let mut sha256 = Sha256::new();
    for line in lines {
        sha256.update(line);
        sha256.update(b"\n");
    }
    hex(&sha256.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(records: &[&str]) -> Packed {
        let mut packer = Packer::new(&Packing::default());
        for record in records {
            packer.push(record);
        }
        packer.finish()
    }

    #[test]
    fn what_is_packed_is_read_back_line_by_line() {
        let object = packed(&[r#"{"a":"é"}"#, "{}"]);
        assert_eq!(lines(&object.gzip).expect("gzip"), [r#"{"a":"é"}"#, "{}"]);
        assert_eq!(object.records, 2);
        assert_eq!(object.sha256, hex(&Sha256::digest("{\"a\":\"é\"}\n{}\n")));
    }

    #[test]
    fn an_absurd_size_is_not_allocated() {
        let mut packer = Packer::with_capacity(&Packing::default(), usize::MAX);
        packer.push("{}");
        assert_eq!(packer.finish().records, 1);
    }

    #[test]
    fn of_rows_that_are_alike_only_as_many_are_left_out_as_are_stored() {
        let mut stored = HashMap::from([(Fingerprint::of(b"{}"), 1), (Fingerprint::of(b"[]"), 4)]);
        let rest =
            packed(&["{}", "{\"a\":1}", "{}"]).without(&mut stored, &[], |_| Some(Millis(7))).expect("in memory");
        assert_eq!(lines(&rest.gzip).expect("gzip"), ["{\"a\":1}", "{}"]);
        assert_eq!(rest.times, Some((Millis(7), Millis(7))));
    }

    #[test]
    fn what_differs_in_volatile_fields_alone_is_stored() {
        let volatile = [vec!["seen".to_owned()]];
        let mut stored = HashMap::from([(Fingerprint::of_meaning(r#"{"a":1,"seen":1}"#, &volatile), 1)]);
        let later = packed(&[r#"{"a":1,"seen":2}"#, r#"{"a":2,"seen":2}"#]);
        let rest = later.without(&mut stored, &volatile, |_| None).expect("gzip");
        assert_eq!(lines(&rest.gzip).expect("gzip"), [r#"{"a":2,"seen":2}"#]);
    }

    #[test]
    fn what_is_stored_in_another_order_is_stored() {
        let mut stored = HashMap::from([(Fingerprint::of_meaning(r#"{"b":[2,3],"a":1}"#, &[]), 1)]);
        let rest =
            packed(&[r#"{"a":1,"b":[3,2]}"#, r#"{"a":1,"b":[3]}"#]).without(&mut stored, &[], |_| None).expect("gzip");
        assert_eq!(lines(&rest.gzip).expect("gzip"), [r#"{"a":1,"b":[3]}"#]);
    }

    #[test]
    fn fields_are_added_to_records_and_taken_off_again() {
        let packing = Packing { suffix: r#","_fields":{"env":"}x{"}"#.into(), ..Packing::default() };
        let mut packer = Packer::new(&packing);
        packer.push(r#"{"a":{"_fields":{}}}"#);
        let object = packer.finish();
        let stored = lines(&object.gzip).expect("gzip");
        assert_eq!(stored, [r#"{"a":{"_fields":{}},"_fields":{"env":"}x{"}}"#]);
        assert_eq!(bare(&stored[0]), r#"{"a":{"_fields":{}}}"#);
        for as_it_is in [r#"{"a":1}"#, r#"{"a":1,"_fields":{"n":1}}"#, r#"{"b":",\"_fields\":{}"}"#] {
            assert_eq!(bare(as_it_is), as_it_is);
        }
        let mut counts = HashMap::from([(Fingerprint::of(br#"{"a":{"_fields":{}}}"#), 1)]);
        assert_eq!(object.without(&mut counts, &[], |_| None).expect("gzip").records, 0);
        let rest = object.without(&mut HashMap::new(), &[], |_| None).expect("gzip");
        assert_eq!(lines(&rest.gzip).expect("gzip"), stored, "the fields are added once");
    }

    #[test]
    fn the_first_and_the_last_time_are_known_in_whatever_order_they_came() {
        let mut packer = Packer::new(&Packing::default());
        for time in [5, 9, 2] {
            packer.push_at(Millis(time), "{}");
        }
        assert_eq!(packer.finish().times, Some((Millis(2), Millis(9))));
    }
}
