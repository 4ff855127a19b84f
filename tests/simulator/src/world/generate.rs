//! Record texts from a seed, in the shapes of the vendor's samples (SDK models; developer portal), with everything
//! in them that collectors have stumbled over: fractions of 0 to 9 digits, numbers beyond 2^53, escapes, blanks.

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;

use super::compact;

const TENANT: &str = "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42";

/// JSON string contents, escaped as a server may escape them.
const SPICE: [&str; 12] = [
    "plain",
    "Zo\u{eb} M\\u00fcller",
    "\u{1f4c8} Q3 \\ud83d\\ude80",
    "zero\u{200b}width and \u{2028} line separator",
    "a<b>&amp;</b>",
    "https:\\/\\/example.com\\/a?b=c&d=%20",
    "C:\\\\Users\\\\x\\\\",
    "tab\\tline\\nquote \\\"x\\\"",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}rtl",
    "e\u{301} combining",
    "{\\\"not\\\": [\\\"json\\\"]}",
    "  two  blanks ,: ",
];

/// JSON numbers whose text must survive.
const NUMBERS: [&str; 8] =
    ["0", "4748", "9007199254740993", "18446744073709551617", "1.10", "1e3", "-0.0", "1000204883968"];

const AUDIT_TYPES: [&str; 6] = [
    "audit_log::logged_in/1",
    "audit_log::search_issued/1",
    "audit_log::federation_metadata_updated/1",
    "audit_log::case_created/1",
    "audit_log::user_added_to_watchlist/1",
    "audit_log::api_client_created/1",
];

#[derive(Debug)]
pub(super) struct Generator {
    /// No time that is made lies before this one.
    floor: DateTime<Utc>,
    rng: Rng,
    made: u64,
    cases: u64,
    last_audit: Option<String>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { floor: DateTime::default(), rng: Rng::with_seed(seed), made: 0, cases: 0, last_audit: None }
    }

    /// A v2 file event; `@timestamp` lies seconds to days before `inserted`.
    pub(super) fn file_event(&mut self, inserted: DateTime<Utc>) -> String {
        self.made += 1;
        let made = self.made;
        let occurred = inserted - TimeDelta::milliseconds(self.rng.i64(10_000..200_000_000));
        let ingested = inserted - TimeDelta::milliseconds(self.rng.i64(100..10_000));
        let endpoint = self.rng.bool();
        let raw = format!(
            r#"{{"@timestamp":"{occurred}","event":{{"id":"{id}","inserted":"{inserted}","action":"{action}",
                "observer":"{observer}","detectorDisplayName":null,"shareType":[{share}],"ingested":"{ingested}",
                "vector":"UNKNOWN","relatedEvents":[]}},"user":{{"email":"{email}","id":"{user}",
                "deviceUid":{device},"groups":[{{"id":"12","displayName":"{spice1}"}}]}},
                "file":{{"name":"{spice2}.{ext}","directory":"{spice3}","category":"{category}","sizeInBytes":{size},
                "owner":null,"created":"{occurred}","modified":"2009-02-04T05:49:16Z","hash":{{"md5":"{md5:032x}",
                "sha256":null,"md5Error":null,"sha256Error":"FILE_NOT_FOUND"}},"id":null,"url":null,"directoryId":[],
                "classifications":[{{"value":"{spice4}","vendor":"MICROSOFT"}}],"acquiredFrom":[]}},
                "source":{{"category":"Device","name":"DESKTOP-{made}","ip":"203.0.113.{octet}",
                "privateIp":["192.0.2.7","fe80:0:0:0:1:2:3:4%eth3"],"domains":[],"tabs":[],"user":{{"email":[]}}}},
                "destination":{{"category":"{destination}","name":null,"domains":["example.com"],
                "tabs":[{{"title":"{spice5}","url":"https://example.com/<x>","titleError":null,"urlError":null}}],
                "removableMedia":{{"vendor":null,"capacity":1000204883968,"volumeName":[],"partitionId":[]}}}},
                "process":{{"executable":"\\Device\\HarddiskVolume2\\x.exe","owner":"{spice6}"}},
                "risk":{{"score":{score},"severity":"{severity}","indicators":[{{"name":"Remote","id":"Remote",
                "weight":0}},{{"name":"First use of destination","id":"First","weight":{score}}}],"trusted":{trusted},
                "trustReason":null,"untrustedValues":{{"accountNames":[],"domains":["example.com"],
                "gitRepositoryUris":[],"slackWorkspaces":[],"urlPaths":[]}}}},
                "newObject":{{"exact":{number},"empty":{{}},"none":null}}}}"#,
            occurred = occurred.to_rfc3339_opts(SecondsFormat::Millis, true),
            id = self.event_id(endpoint),
            inserted = self.time_text(inserted),
            action =
                self.rng.choice(["file-modified", "removable-media-created", "application-read"]).unwrap_or_default(),
            observer = if endpoint { "Endpoint" } else { "GoogleDrive" },
            share = self.rng.choice(["", "\"PublicLinkShare\"", "\"AnyoneWithLink\",\"Other\""]).unwrap_or_default(),
            ingested = ingested.to_rfc3339_opts(SecondsFormat::Millis, true),
            email = self.email(),
            user = self.rng.u64(1_000_000_000_000_000_000..2_000_000_000_000_000_000),
            device =
                if endpoint { format!("\"{}\"", self.made % 50 + 1_068_825_680_073_059_134) } else { "null".into() },
            ext = self.rng.choice(["docx", "js", "zip", "GIF"]).unwrap_or_default(),
            category = self.rng.choice(["Document", "SourceCode", "Archive", "Image"]).unwrap_or_default(),
            size = self.rng.choice([0, 3641, 9_007_199_254_740_993_i64]).unwrap_or_default(),
            md5 = self.rng.u128(..),
            octet = self.rng.u8(..),
            destination = self.rng.choice(["Cloud Storage", "Device", "Email"]).unwrap_or_default(),
            score = self.rng.u8(0..20),
            severity =
                self.rng.choice(["NO_RISK_INDICATED", "LOW", "MODERATE", "HIGH", "CRITICAL"]).unwrap_or_default(),
            trusted = self.rng.bool(),
            number = self.number(),
            spice1 = self.spice(),
            spice2 = self.spice(),
            spice3 = self.spice(),
            spice4 = self.spice(),
            spice5 = self.spice(),
            spice6 = self.spice(),
        );
        self.spaced(&compact(&raw))
    }

    /// An audit event; one in 25 repeats the one before it in every byte, time included.
    /// Records that are added together begin here; none of them is alike to one of an earlier time.
    pub(super) fn begin(&mut self, floor: DateTime<Utc>) {
        self.floor = floor;
        self.last_audit = None;
    }

    pub(super) fn audit_event(&mut self, at: DateTime<Utc>) -> String {
        self.made += 1;
        if let Some(twin) = self.last_audit.take_if(|_| self.made.is_multiple_of(25)) {
            return twin;
        }
        let details = match self.rng.u8(0..3) {
            0 => String::new(),
            1 => format!(
                r#","success":true,"type":"query","requestJson":"{}","resultCount":{}"#,
                self.spice(),
                self.number()
            ),
            _ => format!(
                r#","resourceId":"r-{}","displayName":"{}","nested":{{"a":[1,{{}}]}}"#,
                self.made % 9,
                self.spice()
            ),
        };
        let raw = format!(
            r#"{{"type$":"{kind}","actorId":"{actor}","actorName":"{name}","actorAgent":{agent},
                "actorIpAddress":{ip},"timestamp":"{at}","actorType":"{actor_type}"{details}}}"#,
            kind = self.rng.choice(AUDIT_TYPES).unwrap_or_default(),
            actor = self.rng.u64(898_209_175_991_065_670..898_209_175_991_065_690),
            name = self.email(),
            agent = self.rng.choice(["null", "\"Apache-HttpAsyncClient/4.1.4 (Java/11.0.3)\""]).unwrap_or_default(),
            ip = self.rng.choice(["null", "\"203.0.113.9\"", "\"203.0.113.9, 198.51.100.7\""]).unwrap_or_default(),
            at = self.time_text(at),
            actor_type =
                self.rng.choice(["USER", "SUPPORT_USER", "API_CLIENT", "SYSTEM", "UNKNOWN"]).unwrap_or_default(),
        );
        let raw = self.spaced(&compact(&raw));
        self.last_audit = Some(raw.clone());
        raw
    }

    /// A user; one in five is deactivated, one in seven blocked.
    pub(super) fn user(&mut self, modified: DateTime<Utc>) -> String {
        self.made += 1;
        let n = self.made;
        let raw = format!(
            r#"{{"legacyUserId":"{legacy}","userId":"{id}","username":"user{n}@example.com","firstName":"{first}",
                "lastName":"{last}","legacyOrgId":"{n}","orgId":"{org}","orgGuid":"{org}","orgName":"{name}",
                "notes":{notes},"active":{active},"blocked":{blocked},"creationDate":"{created}",
                "modificationDate":"{modified}","newNumber":{number}}}"#,
            legacy = n + 1000,
            id = 9_007_199_254_740_993 + n * 7919,
            org = self.rng.u64(100..110),
            first = self.spice(),
            last = self.spice(),
            name = self.spice(),
            notes = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            active = !n.is_multiple_of(5),
            blocked = n.is_multiple_of(7),
            created = (modified - TimeDelta::days(30)).to_rfc3339_opts(SecondsFormat::Micros, true),
            modified = modified.to_rfc3339_opts(SecondsFormat::Micros, true),
            number = self.number(),
        );
        self.spaced(&compact(&raw))
    }

    /// A case's detail, as `GET /v1/cases/{number}` shows it.
    pub(super) fn case(&mut self, updated: DateTime<Utc>) -> String {
        self.cases += 1;
        let n = self.cases;
        let person = self.rng.bool().then(|| self.email());
        let text = |value: &Option<String>| value.as_ref().map_or("null".to_owned(), |value| format!("\"{value}\""));
        let raw = format!(
            r#"{{"number":{n},"name":"case {n} {spice1}","createdAt":"{created}","updatedAt":"{updated}",
                "subject":{subject},"subjectUsername":{person},"status":"{status}","assignee":{subject},
                "assigneeUsername":{person},"createdByUserUid":null,"createdByUsername":null,
                "lastModifiedByUserUid":"942564422882759874","lastModifiedByUsername":"admin@example.com",
                "archivalTime":"2027-07-18T00:00:00Z","description":"{spice2}","findings":{findings},"size":{number}}}"#,
            created = (updated - TimeDelta::hours(self.rng.i64(1..2000))).to_rfc3339_opts(SecondsFormat::Micros, true),
            updated = updated.to_rfc3339_opts(SecondsFormat::Micros, true),
            subject = text(&person.as_ref().map(|_| "945056771151950748".to_owned())),
            person = text(&person),
            status = self.rng.choice(["OPEN", "OPEN", "CLOSED", "ARCHIVED"]).unwrap_or_default(),
            findings = if self.rng.bool() { "null".to_owned() } else { format!("\"# {}\\n* a\\n* b\"", self.spice()) },
            spice1 = self.spice(),
            spice2 = self.spice(),
            number = self.number(),
        );
        self.spaced(&compact(&raw))
    }

    fn spice(&mut self) -> &'static str {
        self.rng.choice(SPICE).unwrap_or_default()
    }

    fn number(&mut self) -> &'static str {
        self.rng.choice(NUMBERS).unwrap_or_default()
    }

    fn email(&mut self) -> String {
        format!("user{}@example.com", self.rng.u16(0..40))
    }

    /// Endpoint ids carry the tenant and the device, cloud ids are UUIDs: none is chronological (SDK; Sumo Logic
    /// sample). Now and then one holds a quote (py42, `services/fileevent.py`).
    fn event_id(&mut self, endpoint: bool) -> String {
        let random = self.rng.u128(..);
        if self.made.is_multiple_of(41) {
            return format!("quo\\\"ted {random:x}");
        }
        if endpoint {
            let suffix = if self.rng.bool() { "_EPS" } else { "" };
            return format!("0_{TENANT}_{}_{}_{}{suffix}", self.made % 50, random >> 64, self.made);
        }
        let hex = format!("{random:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// 0, 3, 6, 7 or 9 fraction digits: cut, never rounded up, and never to before the span that was asked for.
    fn time_text(&mut self, time: DateTime<Utc>) -> String {
        let digits = self.rng.choice([0_u16, 3, 6, 6, 7, 9]).unwrap_or_default();
        let cut = time.trunc_subsecs(digits);
        let full = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
        match digits {
            9 => full,
            _ if cut < self.floor => full,
            0 => cut.to_rfc3339_opts(SecondsFormat::Secs, true),
            digits => format!("{}Z", &full[..20 + usize::from(digits)]),
        }
    }

    /// One record in three has blanks or line breaks between its tokens.
    fn spaced(&mut self, raw: &str) -> String {
        let (colon, comma) = match self.rng.u8(0..9) {
            0 => (": ", ", "),
            1 => (" : ", " ,\n\t"),
            2 => (":", ",\r\n  "),
            _ => return raw.to_owned(),
        };
        let mut spaced = String::with_capacity(raw.len() * 5 / 4);
        let (mut in_string, mut escaped) = (false, false);
        for c in raw.chars() {
            match c {
                ':' if !in_string => spaced.push_str(colon),
                ',' if !in_string => spaced.push_str(comma),
                _ => spaced.push(c),
            }
            in_string ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
        }
        spaced
    }
}
