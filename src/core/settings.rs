//! The settings, read once from the environment. Nothing is guessed: a bad one is an error that names the variable,
//! what it held and what it takes. An empty variable counts as absent.

mod checks;
mod encryption;
mod error;
mod fields;
mod file_event_query;
mod proxies;
mod volatile;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use self::checks::{
    BASE_URL_TAKES, STATE, Settle, agent_version, audit_source, aws_endpoint, bad, base_url, beside, bucket_name,
    bucket_owner, check, check_checkpoint_key, dialect, query_source, reconcile, settle, streams,
};
pub use self::encryption::Encryption;
use self::encryption::encryption;
pub use self::error::SettingsError;
pub use self::fields::ObjectFields;
use self::fields::fields;
pub use self::file_event_query::{FileEventQuery, QuerySource};
pub use self::proxies::Proxies;
use self::volatile::volatile_fields;
use crate::core::audit_source::AuditSource;
use crate::core::checkpoint::Reserved;
use crate::core::dialect::Dialect;
use crate::core::identity::Identity;
use crate::core::ndjson::{FieldPath, Packing, hex};
use crate::core::stream::Stream;
use crate::core::time::{DAY, HOUR, MINUTE};
use crate::core::version::Version;

/// With fewer a minute an audit window is hardly ever read: it needs a count, a page, and one more where that is full.
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
    /// Milliseconds, as all spans of time here.
    pub lookback: i64,
    pub page_sizes: PageSizes,
    pub file_event_query: QuerySource,
    pub audit_source: AuditSource,
    pub settle: Settle,
    /// How long after it was covered a window is counted again: the shortest first.
    pub reconcile: Vec<i64>,
    /// How far back what changes is read again.
    pub rescan: i64,
    pub inventory_interval: i64,
    /// What only says that a record was seen again.
    volatile: BTreeMap<Stream, Vec<FieldPath>>,
    pub packing: Packing,
    /// Of each write.
    pub encryption: Encryption,
    pub state_encryption: Encryption,
    /// Further metadata of each object.
    pub metadata: BTreeMap<String, String>,
    /// An agent that has not connected for so long is stale.
    pub stale_agent: i64,
    pub minimum_agent_version: Option<Version>,
    pub requests_per_minute: usize,
    pub ca_bundle: Option<PathBuf>,
    pub proxies: Proxies,
    /// These are the settings of the schedule's runs: not those of a replay, or of a shard.
    pub is_live: bool,
    /// Whose data a shard is to collect, as far as the live checkpoint knows.
    pub tenant: Option<String>,
    /// Tells these settings from others: the SHA-256, in hex, of the variables that are set and what they hold, but for
    /// the proxy's, which may hold a password.
    pub hash: String,
}

#[derive(Clone, Copy, Debug)]
pub struct PageSizes {
    file_events: u64,
    audit: u64,
    other: u64,
}

impl Settings {
    /// Whose data is collected: the tenant as far as the API's token tells it.
    pub fn identity(&self, tenant: Option<String>) -> Identity {
        Identity { tenant, base_url: self.base_url.clone(), bucket: self.bucket.clone(), prefix: self.prefix.clone() }
    }

    /// `var` looks a variable up, so that no test has to change the environment.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let vars = Vars { var, set: RefCell::default() };

        let proxies = Proxies::from_vars(|name| vars.look_up(name))?;
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SECRETS_MANAGER"] {
            aws_endpoint(name, vars.look_up(name))?;
        }
        let bucket = vars.required("S3_BUCKET", "the name of the bucket for the records")?;
        bucket_name("S3_BUCKET", &bucket)?;
        let state_bucket = vars.or("STATE_BUCKET", &bucket);
        bucket_name("STATE_BUCKET", &state_bucket)?;
        let prefix = vars.or("S3_PREFIX", "code42/");
        check("S3_PREFIX", &prefix, prefix.ends_with('/') && !prefix.starts_with('/'), || {
            "it must end in \"/\" and not begin with one".into()
        })?;
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
            secret_id: vars.required("INCYDR_SECRET_ID", "the name or ARN of a Secrets Manager secret")?,
            bucket,
            bucket_owner: bucket_owner(vars.get("S3_BUCKET_OWNER"))?,
            prefix,
            checkpoint_key,
            state_bucket,
            dialect,
            streams: streams(&held, dialect)?,
            lookback: vars.number("LOOKBACK_MINUTES", 60, 1, 366 * 24 * 60)? * MINUTE,
            page_sizes: PageSizes {
                file_events: vars.number("FE_PAGE_SIZE", 5_000, 1, 10_000)?,
                audit: vars.number("AUDIT_PAGE_SIZE", 10_000, 1, 10_000)?,
                other: vars.number("PAGE_SIZE", 500, 1, 10_000)?,
            },
            file_event_query: match vars.get("FE_QUERY_JSON") {
                None => QuerySource::default(),
                Some(text) => query_source(&text, dialect)?,
            },
            audit_source: audit_source(&vars.or("AUDIT_SOURCE", "search"), dialect)?,
            settle: settle(vars.get("SETTLE_SECONDS"))?,
            // Set to nothing it means never; nothing set means the default.
            reconcile: match vars.raw("RECONCILE_MINUTES") {
                Some(held) if held.is_empty() => Vec::new(),
                held => reconcile(held.as_deref().unwrap_or("60,1440"))?,
            },
            rescan: vars.number("SESSIONS_RESCAN_HOURS", 72, 1, 90 * 24)? * HOUR,
            inventory_interval: vars.number("INVENTORY_INTERVAL_MINUTES", 60, 0, 366 * 24 * 60)? * MINUTE,
            // Set to nothing it means none; nothing set means the default.
            volatile: volatile_fields(
                vars.raw("VOLATILE_FIELDS").as_deref().unwrap_or("agents.lastConnected,devices.lastConnected"),
            )?,
            stale_agent: vars.number("STALE_AGENT_DAYS", 30, 1, 3_650)? * DAY,
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

    /// Records per request, cut to what the endpoint allows.
    pub fn page_size(&self, stream: Stream, allowed: u64) -> u64 {
        let size = match stream {
            Stream::FileEvents => self.page_sizes.file_events,
            Stream::Audit => self.page_sizes.audit,
            _ => self.page_sizes.other,
        };
        size.min(allowed)
    }

    /// Fields of a stream's records whose change alone is no change.
    pub fn volatile(&self, stream: Stream) -> &[FieldPath] {
        self.volatile.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// How far behind now a window must end.
    pub fn settle(&self, stream: Stream) -> i64 {
        match stream {
            Stream::FileEvents => self.settle.file_events,
            Stream::Audit => self.settle.audit,
            _ => 0,
        }
    }

    /// The same for a replay into another prefix: with a checkpoint of its own, which lies beside the live one. An
    /// error says what the prefix must be.
    pub fn for_replay(&self, prefix: &str) -> Result<Self, String> {
        self.check_apart(prefix)?;
        let name = hex(&Sha256::digest(prefix)[..8]);
        let checkpoint_key = format!("{}replay/{name}/checkpoint.json", self.state_prefix());
        let prefix = prefix.to_owned();
        Ok(Self { prefix, checkpoint_key, reconcile: Vec::new(), is_live: false, ..self.clone() })
    }

    /// The same for a shard of a backfill: records go where they always do, and what it covers stands on a checkpoint of
    /// its own, until that is merged into the live one.
    #[must_use]
    pub fn for_shard(&self, stream: Stream, reserved: &Reserved, live: Identity) -> Self {
        Self {
            checkpoint_key: self.shard_checkpoint_key(&reserved.shard),
            streams: vec![stream],
            requests_per_minute: self.requests_per_minute.min(reserved.requests_per_minute),
            is_live: false,
            tenant: live.tenant,
            ..self.clone()
        }
    }

    pub fn shard_checkpoint_key(&self, shard: &str) -> String {
        format!("{}backfill/{shard}/checkpoint.json", self.state_prefix())
    }

    /// Whether what somebody wants to have under a prefix of its own stays apart from all that is live.
    pub fn check_apart(&self, prefix: &str) -> Result<(), String> {
        if !prefix.ends_with('/') || prefix.starts_with('/') {
            return Err("it must end in \"/\" and not begin with one".into());
        }
        let overlaps = |taken: &str| prefix.starts_with(taken) || taken.starts_with(prefix);
        if overlaps(&self.prefix) {
            return Err(format!("it must lie apart from S3_PREFIX ({:?})", self.prefix));
        }
        let state = match self.state_prefix() {
            "" => STATE.map(|part| format!("{part}/")).to_vec(),
            beside => vec![beside.to_owned()],
        };
        if let Some(taken) = state.iter().find(|taken| self.bucket == self.state_bucket && overlaps(taken)) {
            return Err(format!("it must lie apart from the state beside CHECKPOINT_KEY ({taken:?})"));
        }
        Ok(())
    }

    /// Where state other than the checkpoint lies: beside it.
    pub fn state_prefix(&self) -> &str {
        beside(&self.checkpoint_key)
    }
}

struct Vars<F> {
    var: F,
    /// What was looked up and is set.
    set: RefCell<BTreeMap<String, String>>,
}

impl<F: Fn(&str) -> Option<String>> Vars<F> {
    fn get(&self, name: &str) -> Option<String> {
        self.raw(name).filter(|held| !held.is_empty())
    }

    /// Also what is set to nothing.
    fn raw(&self, name: &str) -> Option<String> {
        let held = (self.var)(name)?.trim().to_owned();
        self.set.borrow_mut().insert(name.to_owned(), held.clone());
        Some(held)
    }

    /// The same, without noting it.
    fn look_up(&self, name: &str) -> Option<String> {
        (self.var)(name).map(|held| held.trim().to_owned()).filter(|held| !held.is_empty())
    }

    /// An empty variable counts as absent, but for those that may be set to nothing.
    fn hash(&self) -> String {
        let mut set = self.set.borrow().clone();
        set.retain(|name, held| !held.is_empty() || ["RECONCILE_MINUTES", "VOLATILE_FIELDS"].contains(&name.as_str()));
        hex(&Sha256::digest(serde_json::to_vec(&set).unwrap_or_default()))
    }

    fn or(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    fn required(&self, name: &'static str, takes: &'static str) -> Result<String, SettingsError> {
        self.get(name).ok_or(SettingsError::Missing { name, takes })
    }

    fn number<N>(&self, name: &'static str, default: N, least: N, most: N) -> Result<N, SettingsError>
    where
        N: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(held) = self.get(name) else { return Ok(default) };
        match held.parse() {
            Ok(number) if least <= number && number <= most => Ok(number),
            _ => Err(bad(name, &held, format!("it takes a whole number from {least} to {most}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let mut vars = HashMap::from([
            ("INCYDR_BASE_URL", "https://api.us.code42.com"),
            ("INCYDR_SECRET_ID", "incydr/api"),
            ("S3_BUCKET", "records"),
        ]);
        vars.extend(changes.iter().copied());
        Settings::from_vars(|name| vars.get(name).map(|&held| held.to_owned()))
    }

    #[test]
    fn three_settings_are_enough() {
        let settings = read(&[]).expect("good settings");
        assert_eq!(settings.streams, Stream::ALL[..6], "all that every tenant has");
        assert_eq!((settings.settle(Stream::FileEvents), settings.settle(Stream::Audit)), (120_000, 330_000));
        assert_eq!((settings.prefix.as_str(), settings.state_prefix()), ("code42/", "incydr-collector/"));
        assert_eq!(settings.state_bucket, "records");
    }

    #[test]
    fn a_missing_one_is_named_with_what_it_takes() {
        for name in ["INCYDR_BASE_URL", "INCYDR_SECRET_ID", "S3_BUCKET"] {
            let error = read(&[(name, " ")]).expect_err(name).to_string();
            assert!(error.starts_with(&format!("{name} is not set; it takes ")), "{error}");
        }
    }

    #[test]
    fn a_bad_one_is_named_with_what_it_held() {
        for (name, held) in [
            ("INCYDR_BASE_URL", "http://api.us.code42.com"),
            ("INCYDR_BASE_URL", "api.us.code42.com"),
            ("INCYDR_BASE_URL", "https://api.us.code42.com/v1"),
            ("INCYDR_BASE_URL", "https://console.us.code42.com"),
            ("S3_BUCKET", "s3://records"),
            ("STATE_BUCKET", "State"),
            ("S3_BUCKET_OWNER", "1234"),
            ("S3_PREFIX", "code42"),
            ("S3_PREFIX", "/code42/"),
            ("CHECKPOINT_KEY", "code42/checkpoint.json"),
            ("CHECKPOINT_KEY", "state/"),
            ("STREAMS", "audit,alert"),
            ("LOOKBACK_MINUTES", "1h"),
            ("LOOKBACK_MINUTES", "-5"),
            ("PAGE_SIZE", "0"),
            ("FE_PAGE_SIZE", "10001"),
            ("AUDIT_PAGE_SIZE", "1e4"),
            ("FE_QUERY_JSON", "{\"groups\":"),
            ("FE_QUERY_JSON", "{\"savedSearch\":\"\"}"),
            ("AUDIT_SOURCE", "csv"),
            ("SETTLE_SECONDS", "audit"),
            ("SETTLE_SECONDS", "audit=x"),
            ("SETTLE_SECONDS", "audit=5,audit=6"),
            ("S3_SSE", "kms"),
            ("S3_SSE_KMS_KEY_ID", "alias/records"),
            ("SETTLE_SECONDS", "users=5"),
            ("SETTLE_SECONDS", "-1"),
            ("RECONCILE_MINUTES", "hourly"),
            ("RECONCILE_MINUTES", "60,,1440"),
            ("RECONCILE_MINUTES", "-5"),
            ("INVENTORY_INTERVAL_MINUTES", "hourly"),
            ("STALE_AGENT_DAYS", "0"),
            ("STALE_AGENT_DAYS", "a month"),
            ("MINIMUM_AGENT_VERSION", "latest"),
            ("MINIMUM_AGENT_VERSION", "1..2"),
            ("MINIMUM_AGENT_VERSION", "1.2-beta"),
            ("VOLATILE_FIELDS", "lastConnected"),
            ("VOLATILE_FIELDS", "agents"),
            ("VOLATILE_FIELDS", "agents."),
            ("VOLATILE_FIELDS", "agents.a..b"),
            ("VOLATILE_FIELDS", "agent.lastConnected"),
            ("VOLATILE_FIELDS", "audit.timestamp"),
            ("VOLATILE_FIELDS", "environment_health.days"),
            ("VOLATILE_FIELDS", "agents.lastConnected,,users.notes"),
            ("GZIP_LEVEL", "10"),
            ("REQUESTS_PER_MINUTE", "0"),
            ("REQUESTS_PER_MINUTE", "2"),
            ("INCYDR_API_DIALECT", "rest"),
        ] {
            let error = read(&[(name, held)]).expect_err(held).to_string();
            assert!(error.starts_with(&format!("{name} is {held:?}, but ")), "{error}");
        }
    }

    #[test]
    fn what_only_the_vendor_s_own_endpoints_have_is_refused_in_the_other_dialect() {
        for (name, held) in [("FE_QUERY_JSON", r#"{"savedSearch":"a"}"#), ("AUDIT_SOURCE", "export")] {
            read(&[(name, held)]).expect(held);
            let error = read(&[(name, held), ("INCYDR_API_DIALECT", "guide")]).expect_err(held).to_string();
            assert!(error.starts_with(&format!("{name} is {held:?}, but INCYDR_API_DIALECT is \"guide\"")), "{error}");
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for (name, held) in [
            ("INCYDR_BASE_URL", "https://id:hunter2@api.us.code42.com"),
            ("INCYDR_BASE_URL", "https://api.us.code42.com?secret=hunter2"),
            ("AWS_ENDPOINT_URL", "http:id:hunter2@"),
            ("AWS_ENDPOINT_URL_S3", "http//id:hunter2@s3.example.com"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "id:hunter2@vault.example.com"),
        ] {
            let error = read(&[(name, held)]).expect_err(held).to_string();
            assert!(error.starts_with(&format!("{name} is ")) && !error.contains("hunter2"), "{error}");
        }
        read(&[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:8333")]).expect("good");
    }

    #[test]
    fn a_proxy_that_the_client_would_pass_over_is_refused_and_its_password_is_not_repeated() {
        for held in ["http://user:hunter2@proxy:3128", "proxy.example.com:3128", "https://proxy"] {
            read(&[("HTTPS_PROXY", held)]).expect(held);
        }
        for held in ["ftp://user:hunter2@proxy", "http://", "http://user:hunter2@proxy:port"] {
            let error = read(&[("HTTPS_PROXY", held)]).expect_err(held).to_string();
            assert!(error.starts_with("HTTPS_PROXY is ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_stream_is_answered_with_the_known_ones() {
        let error = read(&[("STREAMS", "audit,alrets")]).expect_err("refused").to_string();
        assert!(
            error.contains("\"alrets\" is not a stream; the known ones are file_events, audit, sessions, cases, users"),
            "{error}"
        );
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9", "https://api.gov.code42.com/"] {
            let settings = read(&[("INCYDR_BASE_URL", url)]).expect(url);
            assert_eq!(settings.base_url, url.trim_end_matches('/'));
        }
    }

    #[test]
    fn settle_is_read_for_one_stream_or_all() {
        let settings = read(&[("SETTLE_SECONDS", "audit=600")]).expect("good");
        assert_eq!((settings.settle(Stream::FileEvents), settings.settle(Stream::Audit)), (120_000, 600_000));
        let settings = read(&[("SETTLE_SECONDS", "7")]).expect("good");
        assert_eq!((settings.settle(Stream::FileEvents), settings.settle(Stream::Audit)), (7_000, 7_000));
    }

    #[test]
    fn windows_are_counted_again_as_often_as_one_likes_or_never() {
        let delays = |held: &[(&str, &str)]| read(held).expect("good").reconcile;
        assert_eq!(delays(&[]), [60 * MINUTE, 1_440 * MINUTE]);
        assert_eq!(delays(&[("RECONCILE_MINUTES", "30, 0,30")]), [0, 30 * MINUTE]);
        assert!(delays(&[("RECONCILE_MINUTES", " ")]).is_empty());
    }

    #[test]
    fn what_is_volatile_is_read_by_stream_and_path_or_is_nothing() {
        let path = |parts: &[&str]| -> Vec<String> { parts.iter().map(|part| (*part).to_owned()).collect() };
        let settings = read(&[]).expect("good");
        for stream in [Stream::Agents, Stream::Devices] {
            assert_eq!(settings.volatile(stream), [path(&["lastConnected"])]);
        }
        assert!(settings.volatile(Stream::Users).is_empty());
        let settings = read(&[("VOLATILE_FIELDS", "users.notes, alerts.scores.score ,users.a")]).expect("good");
        assert_eq!(settings.volatile(Stream::Users), [path(&["notes"]), path(&["a"])]);
        assert_eq!(settings.volatile(Stream::Sessions), [path(&["scores", "score"])]);
        assert!(read(&[("VOLATILE_FIELDS", "")]).expect("good").volatile(Stream::Agents).is_empty());
    }

    #[test]
    fn whatever_is_set_otherwise_makes_another_hash_and_what_is_not_set_makes_none() {
        let hash = |changes: &[(&str, &str)]| read(changes).expect("good").hash;
        let usual = hash(&[]);
        assert_eq!(usual.len(), 64);
        for same in [("GZIP_LEVEL", ""), ("SOMETHING_ELSE", "1"), ("HTTPS_PROXY", "http://user:hunter2@proxy:3128")] {
            assert_eq!(hash(&[same]), usual, "{same:?}");
        }
        let others = [("INCYDR_BASE_URL", "https://api.eu.code42.com"), ("GZIP_LEVEL", "6"), ("RECONCILE_MINUTES", "")];
        for other in others {
            assert_ne!(hash(&[other]), usual, "{other:?}");
        }
        assert_eq!(read(&[]).expect("good").for_replay("again/").expect("apart").hash, usual);
    }

    #[test]
    fn a_replay_has_a_prefix_and_a_checkpoint_of_its_own() {
        let settings = read(&[]).expect("good");
        let replay = settings.for_replay("code42-replay/").expect("apart");
        assert_eq!(replay.prefix, "code42-replay/");
        assert!(replay.checkpoint_key.starts_with("incydr-collector/replay/"), "{}", replay.checkpoint_key);
        assert_ne!(replay.checkpoint_key, settings.for_replay("another/").expect("apart").checkpoint_key);
        for (prefix, says) in [
            ("code42", "must end in"),
            ("", "must end in"),
            ("/a/", "must end in"),
            ("code42/", "S3_PREFIX"),
            ("code42/again/", "S3_PREFIX"),
            ("incydr-collector/x/", "CHECKPOINT_KEY"),
        ] {
            let error = settings.for_replay(prefix).expect_err(prefix);
            assert!(error.contains(says), "{prefix}: {error}");
        }
    }

    #[test]
    fn state_at_the_root_of_the_bucket_stays_outside_the_prefix() {
        for prefix in ["set-aside/", "known/users/"] {
            let error = read(&[("CHECKPOINT_KEY", "checkpoint.json"), ("S3_PREFIX", prefix)]).expect_err("refused");
            assert!(error.to_string().starts_with("CHECKPOINT_KEY is "), "{error}");
        }
    }

    #[test]
    fn page_sizes_are_cut_to_what_the_endpoint_allows() {
        let settings = read(&[("PAGE_SIZE", "5000"), ("FE_PAGE_SIZE", "10000")]).expect("good");
        assert_eq!(settings.page_size(Stream::Users, 500), 500);
        assert_eq!(settings.page_size(Stream::FileEvents, 10_000), 10_000);
    }
}
