//! Writes a run's metrics as log lines in `CloudWatch`'s embedded metric format.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::actions::answer::{Answer, STALLED, Status, StreamAnswer};
use crate::core::error_type::ErrorType;
use crate::core::stream::Stream;
use crate::core::time::Millis;

const NAMESPACE: &str = "IncydrCollector";

/// Writes one line for the run and one per stream. Outside of Lambda the function has no name, and nothing is written.
pub fn write(answer: &Answer, took: Duration) {
    let Some(function) = std::env::var("AWS_LAMBDA_FUNCTION_NAME").ok().filter(|name| !name.is_empty()) else { return };
    let mut out = std::io::stdout().lock();
    for line in lines(answer, &function, took, Millis::now()) {
        // Ignore write errors: there is nowhere to report them.
        let _ = writeln!(out, "{line}");
    }
}

fn lines(answer: &Answer, function: &str, took: Duration, now: Millis) -> Vec<Value> {
    let is_config = answer.error.as_ref().is_some_and(|told| told.error_type == ErrorType::ThirdPartyConfigError);
    let of_run = [
        ("Runs", "Count", u64::from(!answer.streams.is_empty())),
        ("Skipped", "Count", u64::from(answer.status == Status::Skipped)),
        ("RunDuration", "Milliseconds", u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        ("ConfigErrors", "Count", u64::from(is_config)),
        ("ClockNotBelieved", "Count", u64::from(answer.clock.is_some())),
        ("StateLost", "Count", u64::from(answer.state_lost.is_some())),
    ];
    let of_streams = answer.streams.iter().map(|(stream, told)| (Some(*stream), of_stream(told)));
    let all = std::iter::once((None, of_run.to_vec())).chain(of_streams);
    all.filter_map(|(stream, metrics)| line(function, stream, &metrics, &answer.run_id, now)).collect()
}

fn of_stream(told: &StreamAnswer) -> Vec<(&'static str, &'static str, u64)> {
    let mut metrics = vec![
        ("Records", "Count", told.records),
        ("Objects", "Count", told.objects),
        ("Bytes", "Bytes", told.bytes),
        ("Requests", "Count", told.requests),
        ("Throttles", "Count", told.throttles),
        ("Retries", "Count", told.retries),
        ("Gaps", "Count", told.gaps),
        ("SetAside", "Count", told.set_aside),
        ("Stuck", "Count", told.stuck.as_ref().map_or(0, |stuck| stuck.count)),
        ("Drift", "Count", told.drift),
        ("Stalled", "Count", u64::from(told.stalled >= STALLED)),
        ("Late", "Count", told.late),
        ("Failed", "Count", u64::from(told.status == Status::Failed)),
        ("NotPermitted", "Count", u64::from(told.status == Status::NotPermitted)),
        ("Expiring", "Count", u64::from(told.is_expiring)),
        ("Expired", "Count", u64::from(!told.expired.is_empty())),
    ];

    // A stream that is not due has no lag.
    metrics.extend(told.lag_s.filter(|_| told.status != Status::NotDue).map(|lag| ("Lag", "Seconds", lag)));
    metrics
}

/// Returns none if all values are zero.
fn line(
    function: &str,
    stream: Option<Stream>,
    metrics: &[(&'static str, &'static str, u64)],
    run_id: &str,
    now: Millis,
) -> Option<Value> {
    let mut dimensions = vec![vec!["FunctionName"]];
    if stream.is_some() {
        dimensions.push(vec!["FunctionName", "Stream"]);
    }

    // CloudWatch bills a metric for each hour with a value. Zeros are therefore only in the log.
    let happened = metrics.iter().filter(|(_, _, value)| *value > 0);
    let units: Vec<Value> = happened.map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let mut line = Map::new();
    if units.is_empty() {
        return None;
    }

    let directive = json!([{"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": units}]);
    line.insert("_aws".into(), json!({"Timestamp": now.0, "CloudWatchMetrics": directive}));
    line.insert("FunctionName".into(), function.into());
    if let Some(stream) = stream {
        line.insert("Stream".into(), stream.name().into());
    }
    line.insert("run_id".into(), run_id.into());
    line.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), Value::from(*value))));
    Some(Value::Object(line))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::tally::Tally;

    #[test]
    fn each_metric_that_is_announced_stands_in_its_line_and_is_not_zero() {
        let told = StreamAnswer::new(Status::Complete, &Tally::default(), Some(Millis(1_000)), Millis(61_000), None);
        let answer = Answer::of_streams("r-1", BTreeMap::from([(Stream::Audit, told)]));
        let lines = lines(&answer, "collector", Duration::from_millis(42), Millis(7));

        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["RunDuration"], &lines[0]["Runs"]), (&json!(42), &json!(1)));
        assert_eq!((&lines[1]["Stream"], &lines[1]["Lag"]), (&json!("audit"), &json!(60)));

        for line in &lines {
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], NAMESPACE);
            for metric in directive["Metrics"].as_array().expect("a list") {
                assert!(line[metric["Name"].as_str().expect("a name")].as_u64() > Some(0), "{metric}: {line}");
            }
            for dimension in
                directive["Dimensions"].as_array().expect("a list").iter().filter_map(Value::as_array).flatten()
            {
                assert!(line[dimension.as_str().expect("a name")].is_string(), "{dimension}: {line}");
            }
        }
    }

    #[test]
    fn what_did_not_happen_is_no_metric() {
        let lines = lines(&Answer::skipped("r-1"), "collector", Duration::ZERO, Millis(7));
        let directive = &lines[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!((directive, &lines[0]["Runs"]), (&json!([{"Name": "Skipped", "Unit": "Count"}]), &json!(0)));
    }

    #[test]
    fn a_run_that_was_skipped_is_no_run() {
        let lines = lines(&Answer::skipped("r-1"), "collector", Duration::ZERO, Millis(7));
        assert_eq!((&lines[0]["Runs"], &lines[0]["Skipped"]), (&json!(0), &json!(1)));
    }
}
