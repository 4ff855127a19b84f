use serde_json::Value;

use super::*;
use crate::core::dialect::Dialect;
use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::stuck::StuckItem;

fn identity(prefix: &str, tenant: Option<&str>) -> Identity {
    Identity {
        tenant: tenant.map(str::to_owned),
        base_url: "https://api.us.code42.com".into(),
        bucket: "records".into(),
        prefix: prefix.into(),
        dialect: Dialect::Sdk,
    }
}

#[test]
fn the_shards_of_each_plan_send_no_more_together_than_it_has_shards_at_once() {
    let mut checkpoint = Checkpoint::new(identity("code42/", None));
    let mut reserve = |shard: &str, at_once| {
        let span = Span::new(Millis(0), Millis(1)).expect("not empty");
        let reserved = Reserved { shard: shard.into(), span, requests_per_minute: 25, at_once, until: Millis(9) };
        checkpoint.events(Stream::Audit).reserved.push(reserved);
    };
    for day in 1..=5 {
        reserve(&format!("audit-2026110{day}-a"), Some(2));
    }
    reserve("audit-20261101-b", Some(4));
    reserve("audit-20261101-c", None);
    assert_eq!(checkpoint.requests_of_shards(), 25 * (2 + 1 + 1));
}

#[test]
fn a_back_off_outlasts_the_container() {
    let what = || StuckItem::Id("17".into());
    let mut checkpoint = Checkpoint::new(identity("code42/", None));
    for tried in 1..4 {
        let error = ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "500".into() };
        checkpoint.stuck(Stream::Cases).fail(what(), error, Millis(tried * 60_000));
    }
    let mut of_next = Checkpoint::parse(&checkpoint.to_json()).expect("readable");
    let next_try = checkpoint.stuck(Stream::Cases).get(&what()).expect("stuck").next_try;
    assert!(next_try > Millis(180_000));
    assert!(!of_next.stuck(Stream::Cases).is_due(&what(), Millis(next_try.0 - 1)));
    assert!(of_next.stuck(Stream::Cases).is_due(&what(), next_try));
}

#[test]
fn spans_that_a_shard_has_read_are_stuck_no_longer_and_those_that_it_could_not_read_are_as_it_says() {
    let span = |from, to| Span::new(Millis(from), Millis(to)).expect("not empty");
    let error = |message: &str| ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: message.into() };

    let mut live = Checkpoint::new(identity("code42/", None));
    live.events(Stream::Audit).reserved.push(Reserved {
        shard: "a".into(),
        span: span(0, 100),
        requests_per_minute: 1,
        at_once: None,
        until: Millis(9),
    });
    live.stuck(Stream::Audit).fail(StuckItem::Span(span(0, 60)), error("500"), Millis(1));
    live.stuck(Stream::Audit).fail(StuckItem::Span(span(200, 300)), error("500"), Millis(1));

    let mut theirs = Checkpoint::new(identity("code42/", None));
    theirs.events(Stream::Audit).cover(span(0, 50));
    theirs.stuck(Stream::Audit).fail(StuckItem::Span(span(50, 100)), error("502"), Millis(5));

    live.merge(Stream::Audit, "a", theirs);
    assert_eq!(live.check(), Ok(()));
    let stuck: Vec<_> = live.stuck(Stream::Audit).iter().map(|stuck| (stuck.span(), stuck.since)).collect();
    assert_eq!(stuck, [(Some(span(200, 300)), Millis(1)), (Some(span(50, 100)), Millis(5))]);
}

#[test]
fn it_is_read_back_as_it_was_written() {
    let mut checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
    checkpoint.lease = Some(Lease { run_id: "r".into(), until: Millis(5) });
    let events = checkpoint.events(Stream::Audit);
    events.live_from = Some(Millis(0));
    events.cover(Span::new(Millis(0), Millis(10)).expect("not empty"));
    checkpoint.versions(Stream::Cases).pending.insert("7".into());
    assert_eq!(Checkpoint::parse(&checkpoint.to_json()), Ok(checkpoint));
}

#[test]
fn damage_a_newer_format_and_another_owner_are_told_apart() {
    let mut checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
    assert!(matches!(Checkpoint::parse(b"{"), Err(CheckpointError::Unreadable { .. })));
    assert!(matches!(Checkpoint::parse(b"{}"), Err(CheckpointError::Unreadable { .. })));
    assert!(matches!(Checkpoint::parse(br#"{"format_version":0}"#), Err(CheckpointError::Unreadable { .. })));
    assert_eq!(Checkpoint::parse(br#"{"format_version":6,"new":[]}"#), Err(CheckpointError::Newer { found: 6 }));
    let foreign = checkpoint.check_identity(&identity("other/", None)).expect_err("refused").to_string();
    assert!(foreign.contains("S3_PREFIX") && foreign.contains("CHECKPOINT_KEY"), "{foreign}");
    assert!(checkpoint.check_identity(&identity("code42/", Some("t-2"))).is_err());
    assert_eq!(checkpoint.check_identity(&identity("code42/", None)), Ok(()));
    checkpoint.identity.tenant = None;
    assert_eq!(checkpoint.check_identity(&identity("other/", None)), Ok(()), "nothing was ever collected");
    checkpoint.events(Stream::Audit).live_from = Some(Millis(0));
    assert!(checkpoint.check_identity(&identity("other/", None)).is_err());
}

#[test]
fn what_an_older_format_wrote_is_read_and_written_as_this_one() {
    let checkpoint = Checkpoint::new(identity("code42/", Some("t-1")));
    let json = String::from_utf8(checkpoint.to_json()).expect("text");
    assert!(!json.contains("states") && !json.contains("health"), "what need not be written is not: {json}");
    for version in [2, 3, 4] {
        let older = json.replacen("\"format_version\": 5", &format!("\"format_version\": {version}"), 1);
        assert_ne!(older, json);
        assert_eq!(Checkpoint::parse(older.as_bytes()).as_ref(), Ok(&checkpoint));
    }
}

/// A checkpoint as format 4 wrote it, with every field that it had.
const FORMAT_4: &str = include_str!("tests/format_4.json");

/// The members of `older` that `newer` lacks or has otherwise.
fn lost(older: &Value, newer: &Value, at: &str, lost: &mut Vec<String>) {
    match older {
        Value::Object(members) => {
            members.iter().for_each(|(name, held)| self::lost(held, &newer[name], &format!("{at}.{name}"), lost));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, held)| self::lost(held, &newer[n], &format!("{at}.{n}"), lost));
        }
        held if held == newer || at == ".format_version" => {}
        _ => lost.push(at.to_owned()),
    }
}

#[test]
fn of_formats_3_and_4_every_field_is_read_and_kept() {
    let format_4: Value = serde_json::from_str(FORMAT_4).expect("JSON");
    let mut format_3 = format_4.clone();
    format_3["format_version"] = 3.into();
    // Format 4 added these.
    format_3["events"]["audit"].as_object_mut().expect("an object").remove("reserved");
    format_3["manifests"].as_object_mut().expect("an object").remove("merged");
    for older in [format_3, format_4] {
        let checkpoint = Checkpoint::parse(older.to_string().as_bytes()).expect("it is read");
        let newer: Value = serde_json::from_slice(&checkpoint.to_json()).expect("JSON");
        let mut missing = Vec::new();
        lost(&older, &newer, "", &mut missing);
        assert_eq!((missing, &newer["format_version"]), (Vec::new(), &Value::from(5)));
    }
}

#[test]
fn a_stream_begins_where_its_first_attempt_would_have_begun_and_such_a_checkpoint_is_anybody_s() {
    let mut checkpoint = Checkpoint::new(identity("code42/", None));
    assert!(checkpoint.attempt(Stream::Audit, Millis(840_000)));
    assert!(checkpoint.attempt(Stream::Audit, Millis(100_000)), "the first one's clock was ahead");
    assert!(!checkpoint.attempt(Stream::Audit, Millis(200_000)), "the first one counts");
    assert!(checkpoint.is_blank());
    checkpoint.begin_at_first_attempt(Stream::Audit, TimeDelta::minutes(1), Millis(300_000));
    assert_eq!(checkpoint.events(Stream::Audit).live_from, Some(Millis(40_000)));
    assert!(!checkpoint.attempt(Stream::Audit, Millis(400_000)) && checkpoint.attempted.is_empty());
    checkpoint.begin_at_first_attempt(Stream::Audit, TimeDelta::minutes(1), Millis(500_000));
    assert_eq!(checkpoint.events(Stream::Audit).live_from, Some(Millis(40_000)));
}

#[test]
fn a_misspelt_field_is_damage_and_not_ignored() {
    let mut json = Checkpoint::new(identity("code42/", None)).to_json();
    let at = String::from_utf8(json.clone()).expect("text").find("\"events\"").expect("there");
    json.splice(at..at + 8, *b"\"evetns\"");
    let error = Checkpoint::parse(&json).expect_err("refused").to_string();
    assert!(error.contains("evetns"), "{error}");
}
