//! Everything around the collector except the Runtime API, in one process, until its standard input closes.

use std::{collections::BTreeMap, future::ready, sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::json;
use simulator::{SECRET_ID, Secrets, http::Server};
use tokio::io::AsyncReadExt;

use crate::{
    Failure, USAGE,
    api::Api,
    control::Control,
    figures::Counter,
    print,
    s3::{RECORDS, S3},
    tenant::Behaviour,
    value_of,
};

const CLIENT_ID: &str = "key-42-benchmark";
const CLIENT_SECRET: &str = "benchmark-client-secret";

pub async fn run(arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    let (behaviour, keep) = behaviour(arguments)?;
    let figures = Arc::new(Counter::default());
    let api = Arc::new(Api::new(behaviour.clone(), figures.clone()));
    let s3 = Arc::new(S3::new(keep, figures.clone()));
    let control = Control { api: api.clone(), s3: s3.clone(), figures };

    let secret = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    let secrets = Secrets::start(SECRET_ID, secret.to_string()).await?;
    let api = Server::start(0, move |request| api.clone().answer(request)).await?;
    let s3 = Server::start(0, move |request| ready(s3.answer(&request))).await?;
    let control = Server::start(0, move |request| ready(control.answer(&request))).await?;

    print(&json!({
        "api": api.url(),
        "s3": s3.url(),
        "secrets": secrets.endpoint(),
        "control": control.url(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "from": DateTime::from_timestamp_millis(behaviour.from),
        "to": DateTime::from_timestamp_millis(behaviour.to),
        "environment": environment(&api.url(), &s3.url(), &secrets.endpoint()),
    }))?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// The environment of a deployed function, without the Runtime API.
fn environment(api: &str, s3: &str, secrets: &str) -> BTreeMap<&'static str, String> {
    let variables = [
        ("INCYDR_BASE_URL", api),
        ("INCYDR_SECRET_ID", SECRET_ID),
        ("S3_BUCKET", "records"),
        ("S3_PREFIX", RECORDS),
        ("AWS_LAMBDA_FUNCTION_NAME", "incydr-collector"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "benchmark"),
        ("AWS_SECRET_ACCESS_KEY", "benchmark"),
        ("AWS_ENDPOINT_URL_S3", s3),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets),
    ];
    variables.map(|(name, value)| (name, value.to_owned())).into()
}

/// By default there are events from three days to one day ago. Also returns whether records are to be kept.
fn behaviour(mut arguments: impl Iterator<Item = String>) -> Result<(Behaviour, bool), Failure> {
    let now = Utc::now().trunc_subsecs(0);
    let mut behaviour = Behaviour {
        events: 100_000,
        audit: 0,
        users: 0,
        from: (now - TimeDelta::days(3)).timestamp_millis(),
        to: (now - TimeDelta::days(1)).timestamp_millis(),
        uneven: false,
        latency: Duration::ZERO,
        limit_per_minute: 0,
    };
    let mut keep = false;
    while let Some(option) = arguments.next() {
        let given = &mut arguments;
        match option.as_str() {
            "--events" => behaviour.events = value_of(&option, given)?,
            "--audit" => behaviour.audit = value_of(&option, given)?,
            "--users" => behaviour.users = value_of(&option, given)?,
            "--from" => behaviour.from = value_of::<DateTime<Utc>>(&option, given)?.timestamp_millis(),
            "--to" => behaviour.to = value_of::<DateTime<Utc>>(&option, given)?.timestamp_millis(),
            "--uneven" => behaviour.uneven = true,
            "--page-latency-ms" => behaviour.latency = Duration::from_millis(value_of(&option, given)?),
            "--limit-per-minute" => behaviour.limit_per_minute = value_of(&option, given)?,
            "--keep" => keep = true,
            _ => return Err(USAGE.into()),
        }
    }
    if behaviour.from >= behaviour.to {
        return Err("--from must lie before --to".into());
    }
    Ok((behaviour, keep))
}
