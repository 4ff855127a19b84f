//! Prints an event's outcome, objects and records.

use serde_json::Value;
use simulator::{Object, Outcome};

use crate::{
    compare::{Comparison, Tally},
    screen::{Screen, Style},
    stage::{Event, PREFIX, SET_ASIDE, STATE, Stage, count, shown},
};

/// Prints the answer of `verify`.
pub fn verified(screen: &Screen, told: &Value) {
    let figure = |name: &str| count(told["checked"][name].as_u64().unwrap_or(0));
    let checked =
        format!("{} manifests, {} objects, {} records", figure("manifests"), figure("objects"), figure("records"));
    let status = told["status"].as_str().unwrap_or("no answer");
    match status {
        "whole" => screen.marked(Style::Good, "✓", &format!("{status}: {checked}")),
        _ => screen.marked(Style::Bad, "✗", &format!("{status}: {checked}")),
    }
    for finding in told["findings"].as_array().into_iter().flatten() {
        let place = finding["key"].as_str().or(finding["from"].as_str()).unwrap_or_default();
        screen.marked(Style::Plain, " ", &format!("{place}: {}", finding["wrong"].as_str().unwrap_or_default()));
    }
    let head = &told["manifest"];
    let sentence = format!(
        "The chain ends with number {}, sha256 {}…",
        head["number"],
        head["sha256"].as_str().unwrap_or_default().get(..16).unwrap_or_default()
    );
    screen.marked(Style::Dim, "•", &sentence);
}

/// Prints the answer or the function error, as Lambda's caller gets it.
pub fn outcome(screen: &Screen, event: &Event) {
    let took = match event.took.as_secs() {
        0 => format!("{} ms", event.took.as_millis()),
        _ => format!("{:.1} s", event.took.as_secs_f64()),
    };
    let told = event.answer["status"].as_str().unwrap_or("unknown");
    match &event.outcome {
        Outcome::Answer(_) => screen.marked(Style::Good, "✓", &format!("Answered after {took}: {told}")),
        Outcome::Failed { error_type, .. } => {
            let streams = event.answer["streams"].as_object().into_iter().flat_map(|streams| streams.values());
            let retries: u64 = streams.filter_map(|told| told["retries"].as_u64()).sum();
            let sentence = format!("Function error after {took} and {retries} retries: errorType {error_type}");
            screen.marked(Style::Bad, "✗", &sentence);
        }
        Outcome::Died(status) => screen.marked(Style::Bad, "✗", &format!("The process died after {took}: {status}")),
        Outcome::TimedOut => screen.marked(Style::Bad, "✗", &format!("No answer within {took}")),
    }
    let Some(streams) = event.answer["streams"].as_object() else {
        if let Outcome::Failed { error_message, .. } = &event.outcome {
            screen.marked(Style::Plain, " ", error_message);
        }
        return;
    };
    for (stream, told) in streams {
        if let Some(message) = told["error"]["message"].as_str() {
            screen.marked(Style::Plain, " ", &format!("{stream}: {message}"));
        }
    }
    screen.space();
    let heading = ["stream", "status", "records", "objects", "size", "requests", "covered to", "lag"];
    let mut rows = vec![(Style::Dim, heading.map(str::to_owned).to_vec())];
    for (stream, told) in streams {
        let style = if told["status"] == "failed" { Style::Bad } else { Style::Plain };
        let number = |name: &str| told[name].as_u64().unwrap_or(0);
        rows.push((
            style,
            vec![
                stream.clone(),
                told["status"].as_str().unwrap_or_default().to_owned(),
                count(number("records")),
                count(number("objects")),
                size(number("bytes")),
                count(number("requests")),
                time_of_day(&told["covered_to"]),
                told["lag_s"].as_u64().map_or("–".to_owned(), |seconds| format!("{} s", count(seconds))),
            ],
        ));
    }
    screen.table(2, &rows);
    screen.space();
}

/// Prints the objects of this event, by folder.
pub fn new_objects(screen: &Screen, event: &Event) {
    screen.text(&match (event.old, event.new.len()) {
        (0, new) => format!("{new} objects in the bucket:"),
        (old, 1) => format!("1 new object; the {old} from before are unchanged:"),
        (old, new) => format!("{new} new objects; the {old} from before are unchanged:"),
    });
    let mut folder = "";
    for object in &event.new {
        let (of_object, name) = object.key.rsplit_once('/').unwrap_or_default();
        if of_object != folder {
            folder = of_object;
            screen.row(Style::Dim, &format!("{folder}/"));
        }
        let records = object.metadata.get("records").and_then(|records| records.parse().ok()).unwrap_or(0);
        let noun = if records == 1 { "record" } else { "records" };
        let (records, size) = (count(records), size(object.bytes.len() as u64));
        screen.item(Style::Good, "+", &format!("{name:<49} {records:>6} {noun:<7} {size:>8}"));
    }
    screen.space();
}

/// Prints the first line of a stream's first object.
pub fn first_line(screen: &Screen, event: &Event, stream: &str) {
    let first = event.new.iter().find(|object| object.key.starts_with(&format!("{PREFIX}{stream}/")));
    if let Some(line) = first.map(Object::lines).and_then(|lines| lines.into_iter().next()) {
        screen.text(&format!("The first line of {stream}, as the API sent it:"));
        screen.row(Style::Plain, &line);
        screen.space();
    }
}

/// Prints the bytes that were set aside, and their key.
pub async fn set_aside(screen: &Screen, stage: &Stage) {
    for object in stage.sim.s3.objects(stage.sim.bucket(), SET_ASIDE).await {
        let (folder, name) = object.key.rsplit_once('/').unwrap_or_default();
        screen.text("Set aside byte for byte: JSON has no escape \\E (the real API does send this).");
        screen.row(Style::Dim, &format!("{folder}/"));
        screen.item(Style::Good, "+", name);
        screen.item(Style::Plain, " ", &String::from_utf8_lossy(&object.bytes));
        screen.space();
    }
}

/// Prints where the records, the state and the logs are.
pub fn places(screen: &Screen, stage: &Stage) {
    let bucket = shown(&stage.bucket_directory());
    screen.fact("Records", &format!("{bucket}/{PREFIX}"));
    screen.fact("Checkpoint", &format!("{bucket}/{STATE}checkpoint.json"));
    screen.fact("Logs", &shown(&stage.log_file()));
    screen.fact("Try", &format!("gzip -dc {}/{PREFIX}audit/*/*/*.gz | head -n 3", bucket.replace(' ', "\\ ")));
}

/// Prints the comparison as a table, one row per stream.
pub fn comparison(screen: &Screen, comparison: &Comparison) {
    let heading = ["stream", "at the API", "in the bucket", "lost", "twice", "altered"];
    let mut rows = vec![(Style::Dim, heading.map(str::to_owned).to_vec())];
    let row = |name: &str, Tally { api, bucket, lost, twice, altered }: Tally| {
        let style = if lost + twice + altered > 0 { Style::Bad } else { Style::Plain };
        let figures = [api, bucket, lost, twice, altered].map(count);
        (style, [vec![name.to_owned()], figures.to_vec()].concat())
    };
    rows.extend(comparison.streams.iter().map(|(stream, tally)| row(stream, *tally)));
    rows.push(row("all", comparison.total()));
    screen.table(1, &rows);
}

/// Prints the end of the collector's log after a failure.
pub fn last_log_lines(screen: &Screen, stage: &Stage) {
    let lines = stage.log_lines();
    screen.text("The collector's last log lines:");
    for line in &lines[lines.len().saturating_sub(5)..] {
        screen.row(Style::Plain, line);
    }
    screen.space();
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        _ => format!("{}.{} kB", count(bytes / 1_000), bytes % 1_000 / 100),
    }
}

/// The time of day of a UTC instant.
fn time_of_day(instant: &Value) -> String {
    let time = instant.as_str().and_then(|instant| instant.get(11..19));
    time.map_or("–".to_owned(), |time| format!("{time}Z"))
}
