//! What an invocation asks for.

use chrono::DateTime;
use serde_json::{Map, Value};

use crate::intervals::Span;
use crate::stream::Stream;
use crate::time::Millis;

#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// The schedule, or `{}`: all that is owed, on all enabled streams.
    Scheduled,
    /// A person's own request.
    Collect(Collect),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collect {
    pub streams: Option<Vec<Stream>>,
    /// To be covered; without it the scheduled work is done.
    pub span: Option<Span>,
    pub dry_run: bool,
}

const TAKES: &str =
    r#"it takes {}, an EventBridge event, or {"action": "collect"} with "streams", "from", "to" and "dry_run""#;

/// Anything unknown is refused before anything is read. `now` ends a span that has no `to`.
pub fn parse(event: &Value, now: Millis) -> Result<Invocation, String> {
    let Value::Object(event) = event else {
        return Err(format!("the event is not a JSON object; {TAKES}"));
    };
    if event.is_empty() || event.contains_key("source") {
        return Ok(Invocation::Scheduled);
    }
    match event.get("action") {
        None => Err(format!("the event has neither \"source\" nor \"action\"; {TAKES}")),
        Some(Value::String(action)) if action == "collect" => collect(event, now).map(Invocation::Collect),
        Some(action) => Err(format!("{action} is not an action; {TAKES}")),
    }
}

fn collect(event: &Map<String, Value>, now: Millis) -> Result<Collect, String> {
    let mut collect = Collect::default();
    let (mut from, mut to) = (None, None);
    for (field, value) in event {
        match field.as_str() {
            "action" => {}
            "streams" => collect.streams = Some(streams(value)?),
            "from" => from = Some(time(field, value)?),
            "to" => to = Some(time(field, value)?),
            "dry_run" => {
                collect.dry_run =
                    value.as_bool().ok_or_else(|| format!("\"dry_run\" is {value}, but must be true or false"))?;
            }
            _ => return Err(format!("{field:?} is not a field of \"collect\"; {TAKES}")),
        }
    }
    collect.span = match (from, to) {
        (None, None) => None,
        (None, Some(_)) => return Err("\"to\" needs \"from\"".into()),
        (Some(from), to) => {
            let to = to.unwrap_or(now);
            Some(
                Span::new(from, to)
                    .ok_or_else(|| format!("\"from\" must lie before \"to\", but {from} is not before {to}"))?,
            )
        }
    };
    Ok(collect)
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

fn time(field: &str, value: &Value) -> Result<Millis, String> {
    value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| Millis(time.timestamp_millis()))
        .ok_or_else(|| format!("{field:?} is {value}, but must be an RFC 3339 time such as \"2026-11-01T00:00:00Z\""))
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
        let expected = Collect {
            streams: Some(vec![Stream::Audit, Stream::Users]),
            span: Span::new(at("2026-11-01T00:00:00.999Z"), at("2026-11-02T00:00:00Z")),
            dry_run: true,
        };
        assert_eq!(parse(&event, Millis(0)), Ok(Invocation::Collect(expected)));
    }

    #[test]
    fn a_span_without_an_end_ends_now() {
        let event = json!({"action": "collect", "from": "2026-11-01T00:00:00Z"});
        let now = at("2026-11-01T06:00:00Z");
        let Ok(Invocation::Collect(collect)) = parse(&event, now) else { panic!("refused") };
        assert_eq!(collect.span, Span::new(at("2026-11-01T00:00:00Z"), now));
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
            (json!({"action": "collect", "streams": ["adit"]}), "the known ones are"),
            (json!({"action": "collect", "from": "yesterday"}), "RFC 3339"),
            (json!({"action": "collect", "from": 1_700_000_000}), "RFC 3339"),
            (json!({"action": "collect", "to": "2026-11-01T00:00:00Z"}), "needs \"from\""),
            (
                json!({"action": "collect", "from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}),
                "must lie before",
            ),
            (json!({"action": "collect", "dry_run": "yes"}), "true or false"),
        ] {
            let error = parse(&event, Millis(0)).expect_err("refused");
            assert!(error.contains(named), "{event}: {error}");
        }
    }
}
