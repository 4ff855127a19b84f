//! The settings, read once from the environment. A bad one is an error that names the variable, its value, and the
//! values that it takes. An empty variable counts as absent.

mod checks;
mod derived;
mod encryption;
mod error;
mod fields;
mod file_event_query;
mod proxies;
mod vars;
mod volatile;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::TimeDelta;

use self::checks::{
    BASE_URL_TAKES, PREFIX, SECRET_ID_TAKES, Settle, agent_version, audit_source, aws_endpoint, base_url, bucket_name,
    bucket_owner, check, check_checkpoint_key, dialect, is_prefix, query_source, reconcile, secret_id, settle, streams,
};
pub use self::encryption::Encryption;
use self::encryption::encryption;
pub use self::error::SettingsError;
pub use self::fields::ObjectFields;
use self::fields::fields;
pub use self::file_event_query::{FileEventQuery, QuerySource};
pub use self::proxies::Proxies;
use self::vars::Vars;
use self::volatile::volatile_fields;
use crate::core::agent_version::AgentVersion;
use crate::core::audit_source::AuditSource;
use crate::core::dialect::Dialect;
use crate::core::identity::Identity;
use crate::core::ndjson::{FieldPath, Packing};
use crate::core::stream::Stream;

/// The smallest audit window takes 3 requests: a count, a page, and a count after it.
pub const LEAST_REQUESTS_PER_MINUTE: usize = 3;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Without a trailing slash.
    pub base_url: String,
    pub secret_id: String,
    pub bucket: String,
    pub bucket_owner: Option<String>,
    pub prefix: String,
    pub checkpoint_key: String,
    pub state_bucket: String,
    pub dialect: Dialect,
    pub streams: Vec<Stream>,
    pub lookback: TimeDelta,
    pub page_sizes: PageSizes,
    pub file_event_query: QuerySource,
    pub audit_source: AuditSource,
    pub settle: Settle,
    /// The times from covering a window until its recounts, the shortest first.
    pub reconcile: Vec<TimeDelta>,
    /// Records that change are read again if they began within this time before now.
    pub rescan: TimeDelta,
    pub inventory_interval: TimeDelta,
    /// The time for which the tenant keeps file events.
    pub file_events_retention: TimeDelta,
    /// Fields that only tell that a record was seen again.
    volatile: BTreeMap<Stream, Vec<FieldPath>>,
    pub packing: Packing,
    /// The encryption of records.
    pub encryption: Encryption,
    pub state_encryption: Encryption,
    /// Additional metadata of each object.
    pub metadata: BTreeMap<String, String>,
    /// An agent is stale when it has not connected for this long.
    pub stale_agent: TimeDelta,
    pub minimum_agent_version: Option<AgentVersion>,
    pub requests_per_minute: usize,
    pub ca_bundle: Option<PathBuf>,
    pub proxies: Proxies,
    /// False for a replay, and for a shard of a backfill.
    pub is_live: bool,
    /// The tenant whose data a shard collects, as far as the live checkpoint knows it.
    pub tenant: Option<String>,
    /// SHA-256, in hex, of the variables that are set and their values. The proxy's are left out: they may hold a
    /// password.
    pub hash: String,
}

#[derive(Clone, Copy, Debug)]
pub struct PageSizes {
    file_events: u64,
    audit: u64,
    other: u64,
}

impl Settings {
    /// Returns the identity of the collected data. `tenant` is the one that the API's token names.
    pub fn identity(&self, tenant: Option<String>) -> Identity {
        Identity {
            tenant,
            base_url: self.base_url.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            dialect: self.dialect,
        }
    }

    /// `var` looks a variable up, so that no test changes the environment.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let vars = Vars::new(var);

        let proxies = Proxies::from_vars(|name| vars.look_up(name))?;
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SECRETS_MANAGER"] {
            aws_endpoint(name, vars.look_up(name))?;
        }
        let bucket = vars.required("S3_BUCKET", "the name of the bucket for the records")?;
        bucket_name("S3_BUCKET", &bucket)?;
        let state_bucket = vars.or("STATE_BUCKET", &bucket);
        bucket_name("STATE_BUCKET", &state_bucket)?;
        let prefix = vars.or("S3_PREFIX", "code42/");
        check("S3_PREFIX", &prefix, is_prefix(&prefix), || PREFIX.into())?;
        let checkpoint_key = vars.or("CHECKPOINT_KEY", "incydr-collector/checkpoint.json");
        check_checkpoint_key(&checkpoint_key, &prefix)?;
        let fields = fields(vars.get("FIELDS").as_deref(), vars.get("FIELDS_IN_RECORDS").as_deref())?;

        let (encryption, state_encryption) =
            encryption(vars.get("S3_SSE").as_deref(), vars.get("S3_SSE_KMS_KEY_ID"), vars.get("STATE_SSE_KMS_KEY_ID"))?;

        let dialect = dialect(vars.get("INCYDR_API_DIALECT").as_deref())?;
        let held = match dialect {
            Dialect::Sdk => vars.or("STREAMS", "audit,file_events,sessions,cases,users,agents"),
            Dialect::Guide => vars.or("STREAMS", "audit,file_events,cases,users"),
        };

        Ok(Self {
            base_url: base_url(&vars.required("INCYDR_BASE_URL", BASE_URL_TAKES)?)?,
            secret_id: secret_id(vars.required("INCYDR_SECRET_ID", SECRET_ID_TAKES)?)?,
            bucket,
            bucket_owner: bucket_owner(vars.get("S3_BUCKET_OWNER"))?,
            prefix,
            checkpoint_key,
            state_bucket,
            dialect,
            streams: streams(&held, dialect)?,
            lookback: TimeDelta::minutes(vars.number("LOOKBACK_MINUTES", 60, 1, 366 * 24 * 60)?),
            page_sizes: PageSizes {
                file_events: vars.number("FE_PAGE_SIZE", 5_000, 1, 10_000)?,
                audit: vars.number("AUDIT_PAGE_SIZE", 10_000, 1, 10_000)?,
                other: vars.number("PAGE_SIZE", 500, 1, 1_000_000)?,
            },
            file_event_query: match vars.get("FE_QUERY_JSON") {
                None => QuerySource::default(),
                Some(text) => query_source(&text, dialect)?,
            },
            audit_source: audit_source(&vars.or("AUDIT_SOURCE", "search"), dialect)?,
            settle: settle(vars.get("SETTLE_SECONDS"))?,
            // An empty value means never. If it is not set, the default holds.
            reconcile: match vars.raw("RECONCILE_MINUTES") {
                Some(held) if held.is_empty() => Vec::new(),
                held => reconcile(held.as_deref().unwrap_or("60,1440"))?,
            },
            rescan: TimeDelta::hours(vars.number("SESSIONS_RESCAN_HOURS", 72, 1, 90 * 24)?),
            inventory_interval: TimeDelta::minutes(vars.number("INVENTORY_INTERVAL_MINUTES", 60, 0, 366 * 24 * 60)?),
            file_events_retention: TimeDelta::days(vars.number("FILE_EVENTS_RETENTION_DAYS", 90, 1, 3_650)?),
            // An empty value means no fields. If it is not set, the default holds.
            volatile: volatile_fields(
                vars.raw("VOLATILE_FIELDS").as_deref().unwrap_or("agents.lastConnected,devices.lastConnected"),
            )?,
            stale_agent: TimeDelta::days(vars.number("STALE_AGENT_DAYS", 30, 1, 3_650)?),
            minimum_agent_version: vars.get("MINIMUM_AGENT_VERSION").map(|held| agent_version(&held)).transpose()?,
            packing: Packing { level: vars.number("GZIP_LEVEL", 6, 1, 9)?, suffix: fields.in_records },
            encryption,
            state_encryption,
            metadata: fields.metadata,
            requests_per_minute: vars.number("REQUESTS_PER_MINUTE", 100, LEAST_REQUESTS_PER_MINUTE, 1_000_000)?,
            ca_bundle: vars.get("INCYDR_CA_BUNDLE").map(PathBuf::from),
            proxies,
            is_live: true,
            tenant: None,
            hash: String::new(),
        })
        .map(|settings| Self { hash: vars.hash(), ..settings })
    }

    /// Records per request, at most as many as the endpoint allows.
    pub fn page_size(&self, stream: Stream, allowed: u64) -> u64 {
        let size = match stream {
            Stream::FileEvents => self.page_sizes.file_events,
            Stream::Audit => self.page_sizes.audit,
            _ => self.page_sizes.other,
        };
        size.min(allowed)
    }

    /// The fields of a stream's records whose change alone is no change.
    pub fn volatile(&self, stream: Stream) -> &[FieldPath] {
        self.volatile.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// Returns how far behind now a window must end.
    pub fn settle(&self, stream: Stream) -> TimeDelta {
        match stream {
            Stream::FileEvents => self.settle.file_events,
            Stream::Audit => self.settle.audit,
            _ => TimeDelta::zero(),
        }
    }
}

#[cfg(test)]
mod tests;
