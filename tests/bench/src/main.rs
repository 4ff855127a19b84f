//! Tools of the benchmarks: a tenant of any size and a store that use almost no resources, the time of compression
//! alone, and the time to the first poll of the Runtime API.

mod api;
mod control;
mod event;
mod figures;
mod floor;
mod s3;
mod serve;
mod spread;
mod start;
mod tenant;
mod text;

use std::io::Write;

use serde_json::Value;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "bench serve [--events N] [--audit N] [--users N] [--from RFC3339 --to RFC3339] [--uneven]
            [--page-latency-ms N] [--limit-per-minute N] [--keep]
bench floor [--events N] [--level 1-9]
bench start BINARY [--times N]";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => serve::run(arguments).await,
        Some("floor") => floor::run(arguments),
        Some("start") => start::run(arguments).await,
        _ => Err(USAGE.into()),
    }
}

/// Prints one line of JSON.
fn print(value: &Value) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{value}")?;
    Ok(stdout.flush()?)
}

/// Parses the value of an option.
fn value_of<T>(option: &str, arguments: &mut impl Iterator<Item = String>) -> Result<T, Failure>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let value = arguments.next().ok_or_else(|| format!("{option} needs a value\n{USAGE}"))?;
    value.parse().map_err(|error| format!("{option} is {value:?}: {error}").into())
}
