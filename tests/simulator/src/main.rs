//! Runs the simulator by itself, for tests in other languages and for the demo. Prints the addresses as one line of
//! JSON, and serves until its standard input closes or SIGTERM arrives.

mod control;

use std::{io::Write, path::PathBuf};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use simulator::{Options, SECRET_ID, Simulator};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "simulator [--seed N] [--users N] [--cases N] [--audit N] [--file-events N] [--dir PATH] \
                     [--port-api N] [--guide-endpoints] [--guide-lists]";

struct Arguments {
    options: Options,
    users: usize,
    cases: usize,
    audit: usize,
    file_events: usize,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = arguments(std::env::args().skip(1))?;
    let simulator = Simulator::start_with(arguments.options.clone()).await?;
    fill(&simulator, &arguments);
    let control = control::start(&simulator).await?;

    let behaviour = simulator.api.behaviour();
    let (access_key, secret_key) = simulator.s3.credentials();
    let places = json!({
        "api": simulator.api.url(),
        "s3": simulator.s3.endpoint(),
        "secrets": simulator.secrets.endpoint(),
        "control": control.url(),
        "client_id": behaviour.client_id,
        "client_secret": behaviour.client_secret,
        "tenant": behaviour.tenant,
        "secret_id": SECRET_ID,
        "bucket": simulator.bucket(),
        "access_key": access_key,
        "secret_key": secret_key,
        "region": "us-east-1",
        "directory": simulator.s3.directory(),
        "environment": simulator.environment(),
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{places}")?;
    stdout.flush()?;

    let mut terminated = signal(SignalKind::terminate())?;
    let mut rest = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        _ = stdin.read_to_end(&mut rest) => {}
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Removes the temporary directory, which `exit` would not.
    drop((control, simulator));
    // A pending read of standard input would keep the runtime from ending.
    std::process::exit(0)
}

/// Adds records of the last hour that are all older than the settle time.
fn fill(simulator: &Simulator, arguments: &Arguments) {
    let now = Utc::now();
    let (from, to) = (now - TimeDelta::minutes(55), now - TimeDelta::minutes(6));
    simulator.world.add_users(arguments.users);
    simulator.world.add_cases(arguments.cases, from, to);
    simulator.world.add_audit(arguments.audit, from, to);
    simulator.world.add_file_events(arguments.file_events, from, to);
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
    let mut options = Options::from_vars(42, |name| std::env::var(name).ok());
    // The comparison with the guide's function uses the real lists.
    options.behaviour.guide_lists = false;
    let mut arguments = Arguments { options, users: 25, cases: 12, audit: 500, file_events: 2_000 };
    while let Some(name) = given.next() {
        if name == "--guide-endpoints" {
            arguments.options.behaviour.guide_endpoints = true;
            continue;
        }
        if name == "--guide-lists" {
            arguments.options.behaviour.guide_lists = true;
            continue;
        }
        let value = given.next().ok_or(USAGE)?;
        match name.as_str() {
            "--seed" => arguments.options.seed = value.parse()?,
            "--users" => arguments.users = value.parse()?,
            "--cases" => arguments.cases = value.parse()?,
            "--audit" => arguments.audit = value.parse()?,
            "--file-events" => arguments.file_events = value.parse()?,
            "--dir" => arguments.options.directory = Some(PathBuf::from(value)),
            "--port-api" => arguments.options.api_port = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(arguments)
}
