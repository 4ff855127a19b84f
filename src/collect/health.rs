//! Derives findings about agents, users and observers from lists that it reads. Writes nothing.

mod counts;
mod deployment;
mod ends;
pub mod finding;
pub mod findings;
mod holds;
pub mod known_ends;
mod reader;
mod records;
mod roles;
mod rules;
mod silent;
pub mod sources;

use tracing::warn;

use crate::collect::error::Error;
use crate::collect::health::finding::{Finding, LeftOut};
use crate::collect::health::known_ends::KnownEnds;
use crate::collect::health::rules::Rules;
use crate::collect::health::sources::{Sources, longest_silence};
use crate::core::ndjson::{Packed, Packer};
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::client::Api;
use crate::incydr::request::Caller;

/// Returns all present findings, packed for the stream `environment_health`. Fails if a list can't be read now and
/// another try may succeed, so that the one object of a day has all findings. Leaves a check out if its list isn't
/// permitted.
pub async fn pack(
    settings: &Settings,
    api: &Api,
    caller: &Caller<'_>,
    at: Millis,
    known: &KnownEnds,
) -> Result<Packed, Error> {
    let sources = Box::pin(Sources::read(settings, api, caller, at, known)).await;
    if sources.is_nothing() || sources.must_be_read_again() {
        return Err(sources.into_error());
    }
    let mut packer = Packer::new(&settings.packing);
    let left_out = findings::find(&sources, &rules(settings, at), &mut |finding| packer.push(&line(&finding)));
    for LeftOut { check, why } in left_out {
        warn!(?check, "left out of {}: {why}", Stream::EnvironmentHealth);
    }
    Ok(packer.finish())
}

pub fn rules(settings: &Settings, now: Millis) -> Rules {
    let minimum_version = settings.minimum_agent_version.clone();
    Rules { now, stale: settings.stale_agent, silence: longest_silence(settings), minimum_version }
}

pub fn line(finding: &Finding) -> String {
    serde_json::to_string(finding).unwrap_or_default()
}
