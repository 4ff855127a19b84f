//! File events and audit events, in the form of the developer portal's and the SDK's samples.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{Generator, TENANT};
use crate::world::compact;

const AUDIT_TYPES: [&str; 6] = [
    "audit_log::logged_in/1",
    "audit_log::search_issued/1",
    "audit_log::federation_metadata_updated/1",
    "audit_log::case_created/1",
    "audit_log::user_added_to_watchlist/1",
    "audit_log::api_client_created/1",
];

impl Generator {
    /// A v2 file event. Its `@timestamp` is seconds to days before `inserted`.
    pub(crate) fn file_event(&mut self, inserted: DateTime<Utc>) -> String {
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
                "privateIp":["192.0.2.7","fe80:0:0:0:1:2:3:4%eth3"],"domains":[],"tabs":[],"user":{{"email":[]}},
                "email":{{"sender":null,"from":null}},"removableMedia":{{"volumeName":[],"partitionId":[]}}}},
                "destination":{{"category":"{destination}","name":null,"domains":["example.com"],"privateIp":[],
                "user":{{"email":[]}},"email":{{"recipients":[],"subject":null}},
                "tabs":[{{"title":"{spice5}","url":"https://example.com/<x>","titleError":null,"urlError":null}}],
                "removableMedia":{{"vendor":null,"capacity":1000204883968,"volumeName":[],"partitionId":[]}}}},
                "process":{{"executable":"\\Device\\HarddiskVolume2\\x.exe","owner":"{spice6}","extension":{{}}}},
                "report":{{"headers":[]}},"git":{{"repositoryUri":null}},"responseControls":{{"preventativeControl":null,
                "userJustification":{{"reason":null,"text":null}}}},
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

    /// An audit event. One in 25 equals the one before it in every byte, including the time.
    pub(crate) fn audit_event(&mut self, at: DateTime<Utc>) -> String {
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

    /// Endpoint ids contain the tenant and the device, cloud ids are UUIDs. Neither is chronological (SDK; Sumo Logic
    /// sample). Some contain a quote (py42, `services/fileevent.py`).
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
}
