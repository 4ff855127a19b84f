//! Structured logs: one JSON object a line, on standard output, where Lambda reads them.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// `level` is Lambda's setting (`TRACE` to `FATAL`); none means `INFO`. Libraries log warnings and errors only: at
/// finer levels they would log requests, which contain secrets.
pub fn init(level: Option<&str>) {
    let level = match level.map(str::to_ascii_uppercase).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("incydr_collector", level);
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}
