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
    let settle = [Stream::FileEvents, Stream::Audit].map(|stream| settings.settle(stream).num_seconds());
    assert_eq!(settle, [120, 330]);
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
fn a_secret_that_stands_where_its_name_should_is_not_told() {
    for held in
        [r#"{"client_id": "key-1", "client_secret": "hunter2"}"#, "key-1:hunter2", "hunter2!", "hunter2 hunter2"]
    {
        let error = read(&[("INCYDR_SECRET_ID", held)]).expect_err(held).to_string();
        assert!(error.starts_with("INCYDR_SECRET_ID is ") && error.contains("name or ARN"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for held in
        ["incydr/api", "a+b=c.d@e-f_g", "arn:aws:secretsmanager:us-east-1:123456789012:secret:incydr/api-AbCdEf"]
    {
        assert_eq!(read(&[("INCYDR_SECRET_ID", held)]).expect(held).secret_id, held);
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
        ("S3_PREFIX", "code42//"),
        ("S3_PREFIX", "a/../code42/"),
        ("S3_PREFIX", "./"),
        ("S3_PREFIX", "code\n42/"),
        ("CHECKPOINT_KEY", "code42/checkpoint.json"),
        ("CHECKPOINT_KEY", "a//checkpoint.json"),
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
        ("FILE_EVENTS_RETENTION_DAYS", "0"),
        ("FILE_EVENTS_RETENTION_DAYS", "90d"),
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
fn settings_that_only_the_vendor_s_own_endpoints_have_are_refused_in_the_other_dialect() {
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
        ("INCYDR_BASE_URL", "http://api.us.code42.com?secret=hunter2"),
        ("INCYDR_BASE_URL", "https://console.us.code42.com?secret=hunter2"),
        ("INCYDR_BASE_URL", "api.us.code42.com?secret=hunter2"),
        ("INCYDR_BASE_URL", "https://id:hunter2@api us.code42.com"),
        ("INCYDR_BASE_URL", "id:hunter2@api.us.code42.com"),
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
        error.contains("\"alrets\" is not a stream; the streams are file_events, audit, sessions, cases, users"),
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
    let settle = [Stream::FileEvents, Stream::Audit].map(|stream| settings.settle(stream).num_seconds());
    assert_eq!(settle, [120, 600]);
    let settings = read(&[("SETTLE_SECONDS", "7")]).expect("good");
    let settle = [Stream::FileEvents, Stream::Audit].map(|stream| settings.settle(stream).num_seconds());
    assert_eq!(settle, [7, 7]);
}

#[test]
fn windows_are_counted_again_as_often_as_one_likes_or_never() {
    let delays = |held: &[(&str, &str)]| read(held).expect("good").reconcile;
    assert_eq!(delays(&[]), [TimeDelta::minutes(60), TimeDelta::minutes(1_440)]);
    assert_eq!(delays(&[("RECONCILE_MINUTES", "30, 0,30")]), [TimeDelta::zero(), TimeDelta::minutes(30)]);
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
