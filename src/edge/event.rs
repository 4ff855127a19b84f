//! Parses an event into an invocation.

use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::actions::invocation::{CollectArgs, Format, HealthArgs, Invocation, PlanArgs, RestartArgs, VerifyArgs};
use crate::core::intervals::Span;
use crate::core::settings::LEAST_REQUESTS_PER_MINUTE;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

const TAKES: &str = "it takes {}, an EventBridge event, or {\"action\": ...} with one of \"collect\", \"health\", \
                     \"merge\", \"plan\", \"probe\", \"recover\", \"replay\", \"restart\", \"shard\", \"status\" and \"verify\"";

/// The event that Lambda delivered, or the reason why it isn't JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Read(Value),
    Unreadable(String),
}

impl Event {
    /// Called before the runtime parses the event. The runtime would answer an event that isn't JSON with an error of
    /// its own.
    pub fn of(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).map_or_else(|error| Self::Unreadable(error.to_string()), Self::Read)
    }

    pub fn invocation(&self, now: Millis) -> Result<Invocation, String> {
        match self {
            Self::Read(event) => parse(event, now),
            Self::Unreadable(why) => Err(format!("the event can't be read as JSON ({why}); {TAKES}")),
        }
    }
}

/// Refuses an unknown action or field before anything is read from the API. `now` is the end of a span without `to`.
fn parse(event: &Value, now: Millis) -> Result<Invocation, String> {
    let Value::Object(event) = event else {
        return Err(format!("the event is not a JSON object; {TAKES}"));
    };
    if event.is_empty() || event.contains_key("source") {
        return Ok(Invocation::Scheduled);
    }

    match event.get("action") {
        None => Err(format!("the event has neither \"source\" nor \"action\"; {TAKES}")),
        Some(Value::String(action)) => match action.as_str() {
            "collect" => collect(event, now),
            "replay" => replay(event, now),
            "verify" => verify(event, now),
            "probe" => Ok(Invocation::Probe(EventFields::read(event, "probe", &["streams"])?.streams)),
            "health" => health(event),
            "status" => EventFields::read(event, "status", &[]).map(|_| Invocation::Status),
            "plan" => plan(event, now),
            "shard" => {
                let shard = EventFields::read(event, "shard", &["shard"])?.shard;
                shard.map(Invocation::Shard).ok_or_else(|| {
                    "\"shard\" needs the field \"shard\": the id of a shard that the answer of \"plan\" lists".into()
                })
            }
            "merge" => EventFields::read(event, "merge", &[]).map(|_| Invocation::Merge),
            "recover" => EventFields::read(event, "recover", &[]).map(|_| Invocation::Recover),
            "restart" => restart(event),
            _ => Err(format!("{action:?} is not an action; {TAKES}")),
        },
        Some(action) => Err(format!("{action} is not an action; {TAKES}")),
    }
}

fn collect(event: &Map<String, Value>, now: Millis) -> Result<Invocation, String> {
    let fields = EventFields::read(event, "collect", &["streams", "from", "to", "dry_run"])?;
    Ok(Invocation::Collect(CollectArgs { span: fields.span(now)?, streams: fields.streams, dry_run: fields.dry_run }))
}

fn replay(event: &Map<String, Value>, now: Millis) -> Result<Invocation, String> {
    let fields = EventFields::read(event, "replay", &["streams", "from", "to", "prefix"])?;
    let span = fields.span(now)?.ok_or("\"replay\" needs \"from\"")?;
    let prefix = fields.prefix.ok_or("\"replay\" needs \"prefix\", where the records go")?;
    Ok(Invocation::Replay(CollectArgs { streams: fields.streams, span: Some(span), dry_run: false }, prefix))
}

fn plan(event: &Map<String, Value>, now: Millis) -> Result<Invocation, String> {
    let takes = ["streams", "from", "to", "at_once", "requests_per_minute", "expires_after_hours"];
    let fields = EventFields::read(event, "plan", &takes)?;
    Ok(Invocation::Plan(PlanArgs {
        span: fields.span(now)?.ok_or("\"plan\" needs \"from\"")?,
        streams: fields.streams,
        at_once: fields.at_once.unwrap_or(2),
        requests_per_minute: fields.requests_per_minute,
        expires_after: TimeDelta::hours(fields.expires_after_hours.unwrap_or(72)),
    }))
}

fn verify(event: &Map<String, Value>, now: Millis) -> Result<Invocation, String> {
    let fields = EventFields::read(event, "verify", &["streams", "from", "to"])?;
    if let Some(from) = fields.from {
        span(from, fields.to, now)?;
    }
    let from = fields.from.filter(|from| *from > Millis(0));
    Ok(Invocation::Verify(VerifyArgs { streams: fields.streams, from, to: fields.to }))
}

fn restart(event: &Map<String, Value>) -> Result<Invocation, String> {
    let EventFields { streams, accept_deletions, .. } =
        EventFields::read(event, "restart", &["streams", "accept_deletions"])?;
    let is_no_inventory = |stream: &&Stream| stream.class() != Class::Inventory;
    if let Some(other) = streams.iter().flatten().find(is_no_inventory).filter(|_| accept_deletions) {
        return Err(format!(
            "\"accept_deletions\" is for lists that are read whole by each reading, such as users, and not for {other}"
        ));
    }
    Ok(Invocation::Restart(RestartArgs { streams, accept_deletions }))
}

fn health(event: &Map<String, Value>) -> Result<Invocation, String> {
    let EventFields { prefix, format, .. } = EventFields::read(event, "health", &["format", "prefix"])?;
    if format == Format::Csv && prefix.is_none() {
        return Err("\"format\" \"csv\" needs \"prefix\", where the table goes".into());
    }
    Ok(Invocation::Health(HealthArgs { prefix, format }))
}

/// The fields of all actions. Each action takes some of them.
#[derive(Default)]
struct EventFields {
    streams: Option<Vec<Stream>>,
    from: Option<Millis>,
    to: Option<Millis>,
    dry_run: bool,
    accept_deletions: bool,
    prefix: Option<String>,
    format: Format,
    shard: Option<String>,
    at_once: Option<usize>,
    requests_per_minute: Option<usize>,
    expires_after_hours: Option<i64>,
}

impl EventFields {
    /// Reads the fields of an event. Refuses one that the action doesn't take.
    fn read(event: &Map<String, Value>, action: &str, takes: &[&str]) -> Result<Self, String> {
        let mut fields = Self::default();
        for (field, value) in event.iter().filter(|(field, _)| *field != "action") {
            if !takes.contains(&field.as_str()) {
                let takes: Vec<String> = takes.iter().map(|name| format!("{name:?}")).collect();
                let takes = if takes.is_empty() { "none".to_owned() } else { takes.join(", ") };
                return Err(format!("{field:?} is not a field of {action:?}, which takes {takes}"));
            }

            match field.as_str() {
                "streams" => fields.streams = Some(streams(value)?),
                "from" => fields.from = Some(time(field, value)?),
                "to" => fields.to = Some(time(field, value)?),
                "format" => {
                    fields.format = match value.as_str() {
                        Some("json") => Format::Json,
                        Some("csv") => Format::Csv,
                        _ => return Err(format!("\"format\" is {value}, but must be \"json\" or \"csv\"")),
                    }
                }
                "prefix" => fields.prefix = Some(text(field, value)?),
                "shard" => fields.shard = Some(text(field, value)?),
                "at_once" => fields.at_once = Some(number(field, value, 1..=20)?),
                "requests_per_minute" => {
                    let allowed = LEAST_REQUESTS_PER_MINUTE as u64..=1_000_000;
                    fields.requests_per_minute = Some(number(field, value, allowed)?);
                }
                "expires_after_hours" => fields.expires_after_hours = Some(number(field, value, 1..=720)?),
                "accept_deletions" => fields.accept_deletions = flag(field, value)?,
                _ => fields.dry_run = flag(field, value)?,
            }
        }
        Ok(fields)
    }

    fn span(&self, now: Millis) -> Result<Option<Span>, String> {
        match (self.from, self.to) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("\"to\" needs \"from\"".into()),
            (Some(from), to) => span(from, to, now).map(Some),
        }
    }
}

/// A span without `to` ends now.
fn span(from: Millis, to: Option<Millis>, now: Millis) -> Result<Span, String> {
    if from >= now {
        return Err(format!("\"from\" must lie in the past, but it is {from}, and now it is {now}"));
    }
    let to = to.unwrap_or(now);
    Span::new(from, to).ok_or_else(|| format!("\"from\" must lie before \"to\", but {from} is not before {to}"))
}

fn streams(value: &Value) -> Result<Vec<Stream>, String> {
    let wrong = || format!("\"streams\" is {value}, but must be an array of at least one stream's name");
    let names = value.as_array().filter(|names| !names.is_empty()).ok_or_else(wrong)?;
    let mut streams =
        names.iter().map(|name| Stream::parse(name.as_str().ok_or_else(wrong)?)).collect::<Result<Vec<_>, _>>()?;
    streams.sort_unstable();
    streams.dedup();
    Ok(streams)
}

fn flag(field: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{field:?} is {value}, but must be true or false"))
}

fn text(field: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{field:?} is {value}, but must be text"))
}

fn number<T: TryFrom<u64>>(field: &str, value: &Value, allowed: RangeInclusive<u64>) -> Result<T, String> {
    let number = value.as_u64().filter(|number| allowed.contains(number)).and_then(|number| T::try_from(number).ok());
    let (least, most) = allowed.into_inner();
    number.ok_or_else(|| format!("{field:?} is {value}, but must be a whole number from {least} to {most}"))
}

fn time(field: &str, value: &Value) -> Result<Millis, String> {
    value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| Millis(time.timestamp_millis()))
        .filter(|time| *time >= Millis(0))
        .ok_or_else(|| {
            format!("{field:?} is {value}, but must be an RFC 3339 time since 1970, such as \"2026-11-01T00:00:00Z\"")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Millis {
        Millis::parse(text).expect("a time")
    }

    #[test]
    fn the_schedule_and_an_empty_event_mean_the_scheduled_work() {
        for event in [json!({}), json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})] {
            assert_eq!(parse(&event, Millis(0)), Ok(Invocation::Scheduled));
        }
    }

    #[test]
    fn a_manual_collect_is_read_with_its_times_cut_to_milliseconds() {
        let event = json!({"action": "collect", "streams": ["users", "audit", "audit"], "dry_run": true,
            "from": "2026-11-01T01:00:00.9999999+01:00", "to": "2026-11-02T00:00:00Z"});
        let expected = CollectArgs {
            streams: Some(vec![Stream::Audit, Stream::Users]),
            span: Span::new(at("2026-11-01T00:00:00.999Z"), at("2026-11-02T00:00:00Z")),
            dry_run: true,
        };
        assert_eq!(parse(&event, at("2026-11-03T00:00:00Z")), Ok(Invocation::Collect(expected)));
    }

    #[test]
    fn a_span_without_an_end_ends_now() {
        let event = json!({"action": "collect", "from": "2026-11-01T00:00:00Z"});
        let now = at("2026-11-01T06:00:00Z");
        let Ok(Invocation::Collect(collect)) = parse(&event, now) else { panic!("refused") };
        assert_eq!(collect.span, Span::new(at("2026-11-01T00:00:00Z"), now));
    }

    #[test]
    fn a_replay_a_verification_and_a_restart_are_read() {
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-11-01T00:00:05Z"));
        let replay = json!({"action": "replay", "prefix": "again/", "from": "2026-11-01T00:00:00Z"});
        let collect = CollectArgs { streams: None, span: Span::new(from, to), dry_run: false };
        assert_eq!(parse(&replay, to), Ok(Invocation::Replay(collect, "again/".into())));
        let verify = json!({"action": "verify", "streams": ["audit"], "to": "2026-11-01T00:00:00Z"});
        let expected = VerifyArgs { streams: Some(vec![Stream::Audit]), from: None, to: Some(from) };
        assert_eq!(parse(&verify, from), Ok(Invocation::Verify(expected)));
        let restart = json!({"action": "restart", "streams": ["audit"]});
        let expected = RestartArgs { streams: Some(vec![Stream::Audit]), accept_deletions: false };
        assert_eq!(parse(&restart, from), Ok(Invocation::Restart(expected)));
        assert_eq!(parse(&json!({"action": "restart"}), from), Ok(Invocation::Restart(RestartArgs::default())));
        let accept = json!({"action": "restart", "streams": ["users"], "accept_deletions": true});
        let expected = RestartArgs { streams: Some(vec![Stream::Users]), accept_deletions: true };
        assert_eq!(parse(&accept, from), Ok(Invocation::Restart(expected)));
    }

    #[test]
    fn a_probe_and_a_look_at_the_health_are_read() {
        let parsed = |event| parse(&event, Millis(0));
        assert_eq!(parsed(json!({"action": "probe"})), Ok(Invocation::Probe(None)));
        let probe = json!({"action": "probe", "streams": ["audit"]});
        assert_eq!(parsed(probe), Ok(Invocation::Probe(Some(vec![Stream::Audit]))));
        assert_eq!(parsed(json!({"action": "health"})), Ok(Invocation::Health(HealthArgs::default())));
        assert_eq!(parsed(json!({"action": "status"})), Ok(Invocation::Status));
        let health = json!({"action": "health", "format": "csv", "prefix": "report/"});
        let expected = HealthArgs { prefix: Some("report/".into()), format: Format::Csv };
        assert_eq!(parsed(health), Ok(Invocation::Health(expected)));
    }

    #[test]
    fn what_is_no_json_is_refused_like_any_other_event() {
        for payload in ["", "{", "{} {}", r#"{"action":"\ud83d"}"#, r#"{"n":1e999}"#, &"[".repeat(200)] {
            let error = Event::of(payload.as_bytes()).invocation(Millis(0)).expect_err("refused");
            assert!(error.starts_with("the event can't be read as JSON ("), "{payload}: {error}");
        }
        assert_eq!(Event::of(b"{}").invocation(Millis(0)), Ok(Invocation::Scheduled));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (event, named) in [
            (json!([]), "not a JSON object"),
            (json!(null), "not a JSON object"),
            (json!({"streams": ["audit"]}), "neither \"source\" nor \"action\""),
            (json!({"action": "delete"}), "\"delete\" is not an action"),
            (json!({"action": 7}), "7 is not an action"),
            (json!({"action": "collect", "stream": "audit"}), "\"stream\" is not a field"),
            (json!({"action": "collect", "streams": "audit"}), "must be an array"),
            (json!({"action": "collect", "streams": []}), "at least one"),
            (json!({"action": "collect", "streams": ["adit"]}), "the streams are"),
            (json!({"action": "probe", "prefix": "a/"}), "\"prefix\" is not a field"),
            (json!({"action": "health", "format": "xlsx", "prefix": "a/"}), "must be \"json\" or \"csv\""),
            (json!({"action": "health", "format": "csv"}), "needs \"prefix\""),
            (json!({"action": "health", "streams": ["audit"]}), "\"streams\" is not a field"),
            (json!({"action": "status", "streams": ["audit"]}), "not a field of \"status\", which takes none"),
            (json!({"action": "collect", "from": "yesterday"}), "RFC 3339"),
            (json!({"action": "collect", "from": "0001-01-01T00:00:00Z"}), "since 1970"),
            (json!({"action": "collect", "from": 1_700_000_000}), "RFC 3339"),
            (json!({"action": "collect", "to": "2026-11-01T00:00:00Z"}), "needs \"from\""),
            (
                json!({"action": "collect", "from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}),
                "must lie before",
            ),
            (json!({"action": "collect", "from": "2026-12-01T00:00:00Z"}), "must lie in the past"),
            (
                json!({"action": "verify", "from": "2026-12-01T00:00:00Z", "to": "2026-12-02T00:00:00Z"}),
                "must lie in the past",
            ),
            (
                json!({"action": "plan", "from": "2026-11-01T00:00:00Z", "requests_per_minute": 2}),
                "whole number from 3 to 1000000",
            ),
            (json!({"action": "collect", "dry_run": "yes"}), "true or false"),
            (
                json!({"action": "replay", "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}),
                "needs \"prefix\"",
            ),
            (json!({"action": "replay", "prefix": "again/"}), "needs \"from\""),
            (json!({"action": "replay", "prefix": 7}), "must be text"),
            (
                json!({"action": "restart", "from": "2026-11-02T00:00:00Z"}),
                "which takes \"streams\", \"accept_deletions\"",
            ),
            (json!({"action": "restart", "streams": ["adit"]}), "the streams are"),
            (json!({"action": "restart", "accept_deletions": 1}), "true or false"),
            (
                json!({"action": "restart", "streams": ["users", "audit"], "accept_deletions": true}),
                "such as users, and not for audit",
            ),
            (json!({"action": "collect", "accept_deletions": true}), "is not a field of \"collect\""),
            (json!({"action": "remove"}), "\"restart\""),
            (json!({"action": "verify", "dry_run": true}), "which takes \"streams\", \"from\", \"to\""),
            (
                json!({"action": "verify", "from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}),
                "must lie before",
            ),
        ] {
            let error = parse(&event, at("2026-11-30T00:00:00Z")).expect_err("refused");
            assert!(error.contains(named), "{event}: {error}");
        }
    }
}
