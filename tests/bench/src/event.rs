//! File events in the vendor's v2 form (SDK, `file_events/models/event.py`): 3 KB each. Gzip makes them nearly six
//! times smaller, as it does real ones.

use fastrand::Rng;
use simulator::compact;

use crate::text::{Clock, mixed};

/// This many events differ in more than id and times. Equal ones are 29 MB apart, beyond gzip's window.
const BODIES: usize = 10_000;

const TENANT: &str = "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42";
const WORDS: [&str; 32] = [
    "budget",
    "roadmap",
    "forecast",
    "customer",
    "contract",
    "design",
    "review",
    "archive",
    "invoice",
    "payroll",
    "product",
    "launch",
    "sales",
    "pipeline",
    "summary",
    "minutes",
    "proposal",
    "analysis",
    "source",
    "release",
    "meeting",
    "personal",
    "backup",
    "research",
    "export",
    "account",
    "quarter",
    "strategy",
    "vendor",
    "policy",
    "training",
    "inventory",
];
const KINDS: [(&str, &str, &str); 6] = [
    ("xlsx", "Spreadsheet", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("docx", "Document", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("pdf", "Pdf", "application/pdf"),
    ("zip", "Archive", "application/zip"),
    ("py", "SourceCode", "text/x-python"),
    ("png", "Image", "image/png"),
];
const PLACES: [(&str, &str, &str); 5] = [
    ("Cloud Storage", "Dropbox", "dropbox.com"),
    ("Cloud Storage", "Google Drive", "drive.google.com"),
    ("Source Code Repository", "GitHub", "github.com"),
    ("Messaging", "Slack", "slack.com"),
    ("Email", "Gmail", "mail.google.com"),
];
const SEVERITIES: [&str; 5] = ["NO_RISK_INDICATED", "LOW", "MODERATE", "HIGH", "CRITICAL"];
const EXECUTABLES: [&str; 3] = [
    r"C:\\Program Files (x86)\\Microsoft\\Edge\\Application\\msedge.exe",
    r"\\Device\\HarddiskVolume3\\Windows\\explorer.exe",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const NO_MEDIA: &str = r#"{"vendor":null,"name":null,"serialNumber":null,"capacity":null,"busType":null,
    "mediaName":null,"volumeName":[],"partitionId":[]}"#;

/// The parts of events after times and id, reused for any number of events.
#[derive(Debug)]
pub struct Bodies {
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// Writes events one after the other.
#[derive(Debug)]
pub struct Writer<'a> {
    bodies: &'a Bodies,
    inserted: Clock,
    occurred: Clock,
}

impl Bodies {
    pub fn new() -> Self {
        let mut rng = Rng::with_seed(42);
        let (mut text, mut ends) = (Vec::new(), vec![0]);
        for _ in 0..BODIES {
            text.extend(compact(&body(&mut rng)).into_bytes());
            ends.push(text.len());
        }
        Self { text, ends }
    }

    pub fn writer(&self) -> Writer<'_> {
        Writer { bodies: self, inserted: Clock::default(), occurred: Clock::default() }
    }

    /// The size of an event, for reserving memory.
    pub fn size(&self) -> usize {
        self.text.len() / BODIES + 256
    }

    fn of(&self, event: u64) -> &[u8] {
        let number = usize::try_from(event % BODIES as u64).unwrap_or(0);
        &self.text[self.ends[number]..self.ends[number + 1]]
    }
}

impl Writer<'_> {
    /// Writes event number `event`, inserted at this millisecond, without a separator after it.
    pub fn write(&mut self, event: u64, inserted: i64, out: &mut Vec<u8>) {
        let random = mixed(event);
        // The event occurred up to four and a half minutes earlier.
        let occurred = inserted - i64::try_from(random % 270_000).unwrap_or(0);
        out.extend_from_slice(br#"{"@timestamp":""#);
        out.extend_from_slice(self.occurred.text(occurred));
        out.extend_from_slice(br#"","event":{"id":"0_"#);
        out.extend_from_slice(TENANT.as_bytes());
        out.extend_from_slice(b"_10688256800730591");
        out.extend_from_slice(&decimal::<2>(event % 50));
        out.push(b'_');
        out.extend_from_slice(&decimal::<20>(random));
        out.extend_from_slice(br#"_EPS","inserted":""#);
        out.extend_from_slice(self.inserted.text(inserted));
        out.push(b'"');
        out.extend_from_slice(self.bodies.of(event));
    }
}

fn decimal<const DIGITS: usize>(mut number: u64) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    for digit in text.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    text
}

fn word(rng: &mut Rng) -> &'static str {
    rng.choice(WORDS).unwrap_or_default()
}

fn moment(rng: &mut Rng) -> String {
    format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        rng.u8(1..13),
        rng.u8(1..29),
        rng.u8(0..24),
        rng.u8(0..60),
        rng.u8(0..60),
        rng.u16(0..1000)
    )
}

fn body(rng: &mut Rng) -> String {
    let person = rng.u16(0..400);
    let (extension, category, mime) = rng.choice(KINDS).unwrap_or_default();
    let (place, site, domain) = rng.choice(PLACES).unwrap_or_default();
    format!(
        r#","action":"{action}","observer":"Endpoint","shareType":[],"ingested":"{ingested}","vector":"UNKNOWN",
            "relatedEvents":[]}},"user":{{"email":"{first}.{last}{person}@example.com","id":"{id}",
            "deviceUid":"{device}"}},{file},{source},{destination},"process":{{"executable":"{executable}",
            "owner":"user{person}"}},{risk},"git":{{"eventId":null,"lastCommitHash":"{commit:040x}",
            "repositoryUri":null,"repositoryUser":null}}}}"#,
        action = rng.choice(["application-read", "file-modified", "file-created"]).unwrap_or_default(),
        ingested = moment(rng),
        first = word(rng),
        last = word(rng),
        id = 1_068_824_450_489_000_000 + u64::from(person) * 230_065,
        device = 1_068_825_680_073_000_000 + u64::from(person) * 59_134,
        file = file(rng, (extension, category, mime), person),
        source = source(rng),
        destination = destination(rng, (place, site, domain)),
        executable = rng.choice(EXECUTABLES).unwrap_or_default(),
        risk = risk(rng, category, (site, domain)),
        commit = rng.u128(..),
    )
}

fn file(rng: &mut Rng, (extension, category, mime): (&str, &str, &str), person: u16) -> String {
    let [drive_id, folder_id, cloud_id] = [(); 3].map(|()| drive_id(rng));
    format!(
        r#""file":{{"name":"{}-{}-{}.{extension}","directory":"C:/Users/user{person}/{}/{}/",
            "category":"{category}","mimeTypeByBytes":"{mime}","categoryByBytes":"{category}",
            "categoryByExtension":"{category}","sizeInBytes":{},"owner":"user{person}","created":"{}",
            "modified":"{}","hash":{{"md5":"{:032x}","sha256":"{:032x}{:032x}","md5Error":null,
            "sha256Error":null}},"id":"{drive_id}","url":"https://drive.example.com/file/d/{drive_id}/view",
            "directoryId":["{folder_id}"],"cloudDriveId":"{cloud_id}","classifications":[]}}"#,
        word(rng),
        word(rng),
        rng.u16(..),
        word(rng),
        word(rng),
        rng.u32(..90_000_000),
        moment(rng),
        moment(rng),
        rng.u128(..),
        rng.u128(..),
        rng.u128(..),
    )
}

fn source(rng: &mut Rng) -> String {
    format!(
        r#""source":{{"category":"Device","name":"DESKTOP-{:06X}","domain":"192.168.{}.{}","ip":"203.0.113.{}",
            "privateIp":["192.168.{}.{}","fe80:0:0:0:{:x}:{:x}:{:x}:{:x}%eth3","127.0.0.1"],
            "operatingSystem":"Windows 10","email":{{"sender":null,"from":null}},"tabs":[{}],"domains":[],
            "user":{{"email":[]}}}}"#,
        rng.u32(..0x00ff_ffff),
        rng.u8(..),
        rng.u8(..),
        rng.u8(..),
        rng.u8(..),
        rng.u8(..),
        rng.u16(..),
        rng.u16(..),
        rng.u16(..),
        rng.u16(..),
        tab(rng, "Intranet", "wiki.example.com"),
    )
}

fn destination(rng: &mut Rng, (place, site, domain): (&str, &str, &str)) -> String {
    format!(
        r#""destination":{{"category":"{place}","name":"{site}","user":{{"email":[]}},"ip":null,"privateIp":[],
            "operatingSystem":null,"removableMedia":{NO_MEDIA},"email":{{"recipients":null,"subject":null}},
            "tabs":[{},{}],"accountName":null,"accountType":null,"domains":["{domain}"]}}"#,
        tab(rng, site, domain),
        tab(rng, site, domain),
    )
}

fn tab(rng: &mut Rng, site: &str, domain: &str) -> String {
    format!(
        r#"{{"title":"{} {} {} {} - {site} and {} more pages","url":"https://{domain}/{}/{:032x}",
            "titleError":null,"urlError":null}}"#,
        word(rng),
        word(rng),
        word(rng),
        word(rng),
        rng.u8(1..30),
        word(rng),
        rng.u128(..),
    )
}

fn risk(rng: &mut Rng, category: &str, (site, domain): (&str, &str)) -> String {
    let score = rng.usize(0..15);
    format!(
        r#""risk":{{"score":{score},"severity":"{}","indicators":[{{"name":"First use of destination",
            "weight":{}}},{{"name":"{category}","weight":0}},{{"name":"Remote","weight":0}},
            {{"name":"{site} upload","weight":{}}}],"trusted":false,"trustReason":null,
            "untrustedValues":{{"accountNames":[],"domains":["{domain}"],"gitRepositoryUris":[],
            "slackWorkspaces":[],"urlPaths":[]}}}}"#,
        SEVERITIES[score / 3],
        rng.u8(0..4),
        rng.u8(0..6),
    )
}

/// An id in the form of cloud drives.
fn drive_id(rng: &mut Rng) -> String {
    (0..33).map(|_| rng.alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn events_are_json_with_an_id_of_their_own_and_the_time_they_were_inserted_at() {
        let bodies = Bodies::new();
        let mut writer = bodies.writer();
        let mut ids = std::collections::HashSet::new();
        for event in 0..2 * BODIES as u64 {
            let mut text = Vec::new();
            writer.write(event, 1_795_300_000_123, &mut text);
            let parsed: Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(parsed["event"]["inserted"], "2026-11-21T22:26:40.123Z");
            assert!(ids.insert(parsed["event"]["id"].as_str().expect("text").to_owned()));
            assert!((2_600..3_200).contains(&text.len()), "{}", text.len());
        }
    }
}
