//! Formats and parses the known records, one per line: `{"id":"42","seen":["<hex>"],"missed":1}`.

use serde::{Deserialize, Serialize};

use super::version::RecordVersion;
use super::{Known, KnownRecord, LastRequest};
use crate::core::json::is_default;
use crate::core::ndjson::{Fingerprint, Packed, Packer, Packing};
use crate::core::time::Millis;

#[derive(Serialize, Deserialize)]
struct KnownLine {
    id: String,
    seen: Vec<String>,
    /// One for each of `seen`, or empty if no version has one.
    #[serde(default, skip_serializing_if = "is_default")]
    steady: Vec<Option<(String, Millis)>>,
    #[serde(default, skip_serializing_if = "is_default")]
    missed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missed_since: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<(String, Millis)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

impl Known {
    /// None if a line is not a record's.
    pub fn of_lines(lines: &[String]) -> Option<Self> {
        lines.iter().map(|line| Self::entry(line)).collect::<Option<_>>().map(Self)
    }

    /// One line for each record.
    pub fn packed(&self) -> Packed {
        let mut lines = Packer::new(&Packing::default());
        for (id, KnownRecord { seen, missed, missed_since, began, asked, end }) in &self.0 {
            let mut steady: Vec<_> =
                seen.iter().map(|version| version.steady.map(|(steady, at)| (hex_of(steady), at))).collect();
            if steady.iter().all(Option::is_none) {
                steady.clear();
            }
            let seen = seen.iter().map(|version| hex_of(version.full)).collect();
            let (id, missed, missed_since, began) = (id.clone(), *missed, *missed_since, *began);
            let asked = asked.map(|asked| (hex_of(asked.of), asked.at));
            let line = KnownLine { id, seen, steady, missed, missed_since, began, asked, end: end.clone() };
            lines.push(&serde_json::to_string(&line).unwrap_or_default());
        }
        lines.finish()
    }

    pub(super) fn entry(line: &str) -> Option<(String, KnownRecord)> {
        let KnownLine { id, seen, steady, missed, missed_since, began, asked, end } =
            serde_json::from_str(line).ok()?;
        let mut steady = steady.into_iter();
        let version = |full: &String| {
            let steady = match steady.next().flatten() {
                Some((steady, at)) => Some((of_hex(&steady)?, at)),
                None => None,
            };
            Some(RecordVersion { full: of_hex(full)?, steady })
        };
        let seen = seen.iter().map(version).collect::<Option<_>>()?;
        let asked = match asked {
            Some((of, at)) => Some(LastRequest { of: of_hex(&of)?, at }),
            None => None,
        };
        Some((id, KnownRecord { seen, missed, missed_since, began, asked, end }))
    }
}

fn hex_of(fingerprint: Fingerprint) -> String {
    format!("{:032x}", fingerprint.0)
}

fn of_hex(hex: &str) -> Option<Fingerprint> {
    u128::from_str_radix(hex, 16).ok().map(Fingerprint)
}
