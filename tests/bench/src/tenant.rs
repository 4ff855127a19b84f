//! The tenant's records, generated for each answer, and how the API answers.

use std::{ops::Range, time::Duration};

use serde::Deserialize;

use crate::{event::Bodies, spread::Spread, text::Clock};

/// The settings, at the start or later.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    pub events: u64,
    pub audit: u64,
    pub users: u64,
    /// File and audit events lie in `[from, to)`, in milliseconds.
    pub from: i64,
    pub to: i64,
    pub uneven: bool,
    /// Before every answer.
    pub latency: Duration,
    /// Limits the requests in any 60 seconds; 0 means no limit.
    pub limit_per_minute: usize,
}

/// A change of the settings. Absent members stay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    events: Option<u64>,
    audit: Option<u64>,
    users: Option<u64>,
    uneven: Option<bool>,
    page_latency_ms: Option<u64>,
    limit_per_minute: Option<usize>,
}

impl Behaviour {
    #[must_use]
    pub fn changed(self, change: &Change) -> Self {
        Self {
            events: change.events.unwrap_or(self.events),
            audit: change.audit.unwrap_or(self.audit),
            users: change.users.unwrap_or(self.users),
            uneven: change.uneven.unwrap_or(self.uneven),
            latency: change.page_latency_ms.map_or(self.latency, Duration::from_millis),
            limit_per_minute: change.limit_per_minute.unwrap_or(self.limit_per_minute),
            ..self
        }
    }
}

/// The tenant's streams, each as the rule that generates it.
#[derive(Debug)]
pub struct Tenant {
    pub behaviour: Behaviour,
    pub events: Spread,
    pub audit: Spread,
}

impl Tenant {
    pub fn new(behaviour: Behaviour) -> Self {
        let spread = if behaviour.uneven { Spread::uneven } else { Spread::even };
        let (from, to) = (behaviour.from, behaviour.to);
        Self { events: spread(behaviour.events, from, to), audit: Spread::even(behaviour.audit, from, to), behaviour }
    }

    /// Appends file events to `out` as a JSON array.
    pub fn write_events(&self, bodies: &Bodies, rows: Range<u64>, out: &mut Vec<u8>) {
        out.reserve(bodies.size() * usize::try_from(rows.end - rows.start).unwrap_or(0) + 256);
        let mut writer = bodies.writer();
        array(rows, out, |event, out| writer.write(event, self.events.time(event), out));
    }

    /// Appends audit events of about 400 bytes, newest first: row 0 is the last event of `found`.
    pub fn write_audit(&self, found: &Range<u64>, rows: Range<u64>, out: &mut Vec<u8>) {
        let mut clock = Clock::default();
        array(rows, out, |row, out| {
            let event = found.end - 1 - row;
            let time = String::from_utf8_lossy(clock.text(self.audit.time(event))).into_owned();
            out.extend_from_slice(audit_event(event, &time).as_bytes());
        });
    }

    pub fn write_users(rows: Range<u64>, out: &mut Vec<u8>) {
        array(rows, out, |number, out| out.extend_from_slice(user(number).as_bytes()));
    }
}

fn array(rows: Range<u64>, out: &mut Vec<u8>, mut write: impl FnMut(u64, &mut Vec<u8>)) {
    out.push(b'[');
    for row in rows.clone() {
        if row > rows.start {
            out.push(b',');
        }
        write(row, out);
    }
    out.push(b']');
}

fn audit_event(event: u64, time: &str) -> String {
    format!(
        concat!(
            r#"{{"type$":"audit_log::search_issued/1","actorId":"{actor}","actorName":"user{person}@example.com","#,
            r#""actorAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36","#,
            r#""actorIpAddress":"203.0.113.{octet}","timestamp":"{time}","actorType":"USER","success":true,"#,
            r#""type":"query","requestJson":"{{\"srtKey\":\"event.id\",\"pgSize\":{event}}}","resultCount":{octet}}}"#,
        ),
        actor = 898_209_175_991_065_670 + event % 40,
        person = event % 40,
        octet = event % 250,
        time = time,
        event = event,
    )
}

fn user(number: u64) -> String {
    format!(
        concat!(
            r#"{{"legacyUserId":"{number}","userId":"{id}","username":"user{number}@example.com","#,
            r#""firstName":"First{number}","lastName":"Last{number}","legacyOrgId":"7","orgId":"1064","#,
            r#""orgGuid":"1064","orgName":"Example","notes":null,"active":true,"blocked":false,"#,
            r#""creationDate":"2026-01-14T16:49:11.166000Z","modificationDate":"2026-07-14T17:05:44.524000Z"}}"#,
        ),
        number = number,
        id = 9_007_199_254_740_993 + number * 7919,
    )
}
