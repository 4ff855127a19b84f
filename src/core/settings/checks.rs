//! Checks the values of single variables.

use std::net::IpAddr;

use chrono::TimeDelta;
use reqwest::Url;

use crate::core::agent_version::AgentVersion;
use crate::core::audit_source::AuditSource;
use crate::core::dialect::Dialect;
use crate::core::settings::error::SettingsError;
use crate::core::settings::file_event_query::QuerySource;
use crate::core::stream::{Class, Stream};

/// The prefixes beside the checkpoint under which other state is stored.
pub(super) const STATE: [&str; 5] = ["backfill", "known", "manifests", "replay", "set-aside"];
pub(super) const BASE_URL_TAKES: &str = "https://api.<region>.code42.com";

#[derive(Clone, Copy, Debug)]
pub struct Settle {
    pub(super) file_events: TimeDelta,
    pub(super) audit: TimeDelta,
}

pub(super) fn bad(name: &'static str, held: &str, why: impl Into<String>) -> SettingsError {
    SettingsError::Bad { name, held: held.to_owned(), why: why.into() }
}

pub(super) fn check(
    name: &'static str,
    held: &str,
    holds: bool,
    why: impl Fn() -> String,
) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(bad(name, held, why())) }
}

/// Parses `INCYDR_BASE_URL`. It must be https, because credentials are sent to it. Only a loopback host may be http,
/// for tests and the demo.
pub(super) fn base_url(held: &str) -> Result<String, SettingsError> {
    let name = "INCYDR_BASE_URL";
    let bad = |why: &str| bad(name, without_secrets(held), format!("{why}; it takes {BASE_URL_TAKES}"));
    let url = Url::parse(held).map_err(|error| bad(&format!("that is not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds credentials, which belong in the secret"));
    }
    let host = url.host_str().unwrap_or_default();
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(bad("only https is allowed"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("a path or query is not part of it"));
    }
    if host.starts_with("console.") && host.ends_with(".code42.com") {
        return Err(bad("that is the console's address, not the API's"));
    }
    // Lower case, and without the default port, so that one tenant always has the same text.
    Ok(url.origin().ascii_serialization())
}

/// A bad URL as an error may quote it: without a query, and not at all if it may hold a password.
fn without_secrets(url: &str) -> &str {
    let told = url.split(['?', '#']).next().unwrap_or_default();
    if url.contains('@') { "<withheld>" } else { told }
}

pub(super) const SECRET_ID_TAKES: &str = "the name or ARN of a Secrets Manager secret";

/// Checks the form of a secret's name or ARN. A value of another form may be the secret itself, so the error withholds
/// it.
pub(super) fn secret_id(held: String) -> Result<String, SettingsError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    let is_id = match held.strip_prefix("arn:") {
        Some(rest) => rest.chars().all(|c| is_plain(c) || c == ':'),
        None => held.len() <= 512 && held.chars().all(is_plain),
    };
    if is_id {
        return Ok(held);
    }
    let why =
        format!("that is no secret's name (letters, digits and /_+=.@-); it takes {SECRET_ID_TAKES}, not its value");
    Err(bad("INCYDR_SECRET_ID", "<withheld>", why))
}

/// Checks an AWS endpoint. The AWS SDK's own error would quote a bad one, which may hold a password.
pub(super) fn aws_endpoint(name: &'static str, held: Option<String>) -> Result<(), SettingsError> {
    let Some(held) = held else { return Ok(()) };
    if Url::parse(&held).is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
        return Ok(());
    }
    Err(bad(name, "<withheld>", "it takes https://<host> or https://<host>:<port>, or the same with http"))
}

pub(super) fn bucket_name(name: &'static str, held: &str) -> Result<(), SettingsError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let is_name = held.starts_with("arn:") || (3..=63).contains(&held.len()) && held.chars().all(plain);
    check(name, held, is_name, || {
        "it takes a bucket's name (3 to 63 of a-z, 0-9, \"-\", \".\") or an access point's ARN".into()
    })
}

pub(super) fn bucket_owner(held: Option<String>) -> Result<Option<String>, SettingsError> {
    if let Some(held) = &held {
        let is_account = held.len() == 12 && held.bytes().all(|b| b.is_ascii_digit());
        check("S3_BUCKET_OWNER", held, is_account, || "it takes an AWS account id of 12 digits".into())?;
    }
    Ok(held)
}

/// The form that a prefix must have, for errors.
pub(super) const PREFIX: &str =
    "it must end in \"/\" and not begin with one, and have no empty part, no \".\", no \"..\" and no control character";

/// S3 takes any key. But tools take `//`, `.` and `..` for other places, and logs can't show a line break.
pub(super) fn is_prefix(held: &str) -> bool {
    held.strip_suffix('/').is_some_and(is_key)
}

fn is_key(held: &str) -> bool {
    !held.split('/').any(|part| matches!(part, "" | "." | "..")) && !held.contains(char::is_control)
}

/// Checks that neither the checkpoint nor the state beside it lies below `S3_PREFIX`, where only records may be.
pub(super) fn check_checkpoint_key(key: &str, prefix: &str) -> Result<(), SettingsError> {
    let name = "CHECKPOINT_KEY";
    check(name, key, is_key(key), || {
        "it must be the key of an object, with no empty part, no \".\", no \"..\" and no control character".into()
    })?;
    let beside = beside(key);
    let state = STATE.map(|part| format!("{beside}{part}/"));
    let is_mixed = key.starts_with(prefix) || state.iter().any(|at| at.starts_with(prefix) || prefix.starts_with(at));
    check(name, key, !is_mixed, || {
        format!(
            "it, or the state beside it, and S3_PREFIX ({prefix:?}) must not contain each other: only records may lie below the prefix"
        )
    })
}

/// The part of a key up to its last slash.
pub(super) fn beside(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |slash| slash + 1)]
}

pub(super) fn streams(held: &str, dialect: Dialect) -> Result<Vec<Stream>, SettingsError> {
    let mut streams = held
        .split(',')
        .map(|name| Stream::parse(name.trim()).map_err(|why| bad("STREAMS", held, why)))
        .collect::<Result<Vec<_>, _>>()?;
    streams.sort_unstable();
    streams.dedup();
    for stream in &streams {
        check("STREAMS", held, stream.is_in(dialect), || {
            format!("INCYDR_API_DIALECT is \"guide\", which has no {stream}: only audit, file_events, cases and users")
        })?;
    }
    Ok(streams)
}

/// Parses `SETTLE_SECONDS`: `file_events=120,audit=330`, or one number for both streams.
pub(super) fn settle(held: Option<String>) -> Result<Settle, SettingsError> {
    let mut settle = Settle { file_events: TimeDelta::seconds(120), audit: TimeDelta::seconds(330) };
    let Some(held) = held else { return Ok(settle) };

    let takes = || {
        bad(
            "SETTLE_SECONDS",
            &held,
            "it takes seconds from 0 to 86400, for all streams (\"120\") or by stream (\"file_events=120,audit=330\")",
        )
    };
    let seconds = |text: &str| match text.trim().parse::<i64>() {
        Ok(seconds @ 0..=86_400) => Ok(TimeDelta::seconds(seconds)),
        _ => Err(takes()),
    };

    if !held.contains('=') {
        let all = seconds(&held)?;
        return Ok(Settle { file_events: all, audit: all });
    }

    let mut named = Vec::new();
    for part in held.split(',') {
        let (stream, value) = part.split_once('=').ok_or_else(takes)?;
        let stream = Stream::parse(stream.trim());
        if let Ok(stream) = stream {
            check("SETTLE_SECONDS", &held, !named.contains(&stream), || format!("it names {stream} twice"))?;
            named.push(stream);
        }
        let of_stream = match stream {
            Ok(Stream::FileEvents) => &mut settle.file_events,
            Ok(Stream::Audit) => &mut settle.audit,
            Ok(other) if other.class() != Class::Events => {
                return Err(bad(
                    "SETTLE_SECONDS",
                    &held,
                    format!("{other} has no settle time: only file_events and audit are read by window"),
                ));
            }
            Ok(_) => return Err(takes()),
            Err(why) => return Err(bad("SETTLE_SECONDS", &held, why)),
        };
        *of_stream = seconds(value)?;
    }
    Ok(settle)
}

/// Parses `RECONCILE_MINUTES`: any number of delays in minutes, such as `60,1440`.
pub(super) fn reconcile(held: &str) -> Result<Vec<TimeDelta>, SettingsError> {
    let minutes = |text: &str| match text.trim().parse::<i64>() {
        Ok(minutes @ 0..=129_600) => Ok(TimeDelta::minutes(minutes)),
        _ => Err(bad("RECONCILE_MINUTES", held, "it takes minutes from 0 to 129600 separated by commas, or nothing")),
    };
    let mut delays = held.split(',').map(minutes).collect::<Result<Vec<_>, _>>()?;
    delays.sort_unstable();
    delays.dedup();
    Ok(delays)
}

pub(super) fn agent_version(held: &str) -> Result<AgentVersion, SettingsError> {
    let is_plain = held.chars().all(|c| c == '.' || c.is_ascii_digit());
    let version = AgentVersion::parse(held).filter(|_| is_plain);
    version.ok_or_else(|| bad("MINIMUM_AGENT_VERSION", held, "it takes numbers separated by dots, such as \"1.10.2\""))
}

pub(super) fn dialect(held: Option<&str>) -> Result<Dialect, SettingsError> {
    match held {
        None | Some("sdk") => Ok(Dialect::Sdk),
        Some("guide") => Ok(Dialect::Guide),
        Some(other) => Err(bad("INCYDR_API_DIALECT", other, "it takes \"sdk\" or \"guide\"")),
    }
}

pub(super) fn query_source(held: &str, dialect: Dialect) -> Result<QuerySource, SettingsError> {
    let source = QuerySource::parse(held).map_err(|why| bad("FE_QUERY_JSON", held, why))?;
    let is_there = dialect == Dialect::Sdk || matches!(source, QuerySource::Given(_));
    check("FE_QUERY_JSON", held, is_there, || "INCYDR_API_DIALECT is \"guide\", which has no saved searches".into())?;
    Ok(source)
}

pub(super) fn audit_source(held: &str, dialect: Dialect) -> Result<AuditSource, SettingsError> {
    match held {
        "search" => Ok(AuditSource::Search),
        "export" if dialect == Dialect::Sdk => Ok(AuditSource::Export),
        "export" => Err(bad("AUDIT_SOURCE", held, "INCYDR_API_DIALECT is \"guide\", which has no export")),
        other => Err(bad("AUDIT_SOURCE", other, "it takes \"search\" or \"export\"")),
    }
}
