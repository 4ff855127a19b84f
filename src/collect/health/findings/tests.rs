use chrono::TimeDelta;
use serde_json::{Value, json};

use super::*;
use crate::collect::health::counts::Counts;
use crate::collect::health::reader::RowsById;
use crate::collect::health::records::User;
use crate::collect::health::silent::Observers;
use crate::collect::health::sources::HeldList;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;
use crate::incydr::facts::file_events;

mod deployment;
mod holds;

const NOW: &str = "2026-11-22T10:00:00Z";
const NOW_IN_MS: &str = "2026-11-22T10:00:00.000Z";

fn rules() -> Rules {
    let now = Millis::parse(NOW).expect("a time");
    Rules { now, stale: TimeDelta::days(30), silence: TimeDelta::days(30), minimum_version: None }
}

/// The time `days` before now.
fn ago(days: i64) -> String {
    (rules().now - TimeDelta::days(days)).to_string()
}

/// A healthy agent with some fields changed.
fn agent(changes: &Value) -> Agent {
    let mut record = json!({"userId": "u1", "name": "n", "osHostname": "h", "osName": "Mac", "agentType": "COMBINED",
        "active": true, "agentHealthIssueTypes": [], "productVersion": "2.0", "lastConnected": ago(1),
        "creationDate": ago(400)});
    for (key, value) in changes.as_object().expect("an object") {
        record[key] = value.clone();
    }
    Agent::of(&record)
}

fn rows<T>(rows: impl IntoIterator<Item = (&'static str, T)>) -> RowsById<T> {
    RowsById { by_id: rows.into_iter().map(|(id, row)| (id.to_owned(), row)).collect(), unreadable: 0 }
}

fn user(is_inactive: bool) -> User {
    User { username: Some("ann@example.com".into()), is_inactive, ..User::default() }
}

fn counts(of: &[(&str, u64)]) -> Counts {
    of.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
}

fn observers(last: &[(&str, u64)], before: &[(&str, u64)]) -> Observers {
    Observers { last: counts(last), before: counts(before), ..Observers::default() }
}

/// One user with one agent, without any finding.
fn well() -> Sources {
    Sources {
        agents: Ok(rows([("a1", agent(&json!({})))])),
        users: Ok(rows([("u1", user(false))])),
        custodians: Ok(HeldList::default()),
        subjects: Ok(HeldList::default()),
        reporting: Ok(counts(&[("a1", 5)])),
        last_events: HashMap::new(),
        observers: Ok(observers(&[("Endpoint", 5)], &[("Endpoint", 7)])),
        actors: Ok(rows([])),
        roles: Roles::default(),
        ends: EndDates::default(),
    }
}

fn found(sources: &Sources, rules: &Rules) -> (Vec<Finding>, Vec<LeftOut>) {
    let mut findings = Vec::new();
    let left_out = find(sources, rules, &mut |finding| findings.push(finding));
    (findings, left_out)
}

/// The findings about one agent.
fn of_agent(changes: &Value) -> Vec<Finding> {
    let (findings, left_out) = found(&Sources { agents: Ok(rows([("a1", agent(changes))])), ..well() }, &rules());
    assert_eq!(left_out, []);
    findings
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.finding).collect()
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(found(&well(), &rules()), (Vec::new(), Vec::new()));
}

#[test]
fn an_agent_that_did_not_connect_for_long_is_stale() {
    let findings = of_agent(&json!({"lastConnected": ago(42)}));
    let told = serde_json::to_value(&findings).expect("JSON");
    let expected = json!([{"finding": "stale_agent", "agentId": "a1", "userId": "u1", "name": "n", "osHostname": "h",
        "lastConnected": ago(42), "days": 42, "since": ago(42), "why": "not connected for 42 days",
        "do": findings[0].advice}]);
    assert!(findings[0].advice.contains("port 4287"));
    assert_eq!(told, expected);
    for (connected, is_stale) in [(ago(30), true), (ago(29), false), (ago(-3), false), ("2022".into(), false)] {
        assert_eq!(!of_agent(&json!({"lastConnected": connected})).is_empty(), is_stale, "{connected}");
    }
}

#[test]
fn an_agent_that_never_connected_is_stale_once_it_is_old_enough() {
    assert_eq!(kinds(&of_agent(&json!({"lastConnected": null}))), [FindingKind::StaleAgent]);
    for changes in [
        json!({"lastConnected": null, "creationDate": ago(0)}),
        json!({"lastConnected": null, "creationDate": null}),
        json!({"lastConnected": "", "creationDate": "yesterday"}),
    ] {
        assert_eq!(of_agent(&changes), [], "{changes}");
    }
}

#[test]
fn an_agent_that_is_not_active_has_nothing_wrong_with_it() {
    let changes = json!({"active": false, "lastConnected": ago(400), "agentHealthIssueTypes": ["NOT_CONNECTING"]});
    assert_eq!(kinds(&of_agent(&changes)), [FindingKind::UserWithoutAgent]);
}

#[test]
fn each_health_issue_is_a_finding() {
    let findings = of_agent(&json!({"agentHealthIssueTypes": ["NOT_CONNECTING", "SECURITY_INGEST_REJECTED"]}));
    let issues: Vec<_> = findings.iter().filter_map(|finding| finding.issue.as_deref()).collect();
    assert_eq!(issues, ["NOT_CONNECTING", "SECURITY_INGEST_REJECTED"]);
    assert_eq!(kinds(&findings), [FindingKind::UnhealthyAgent; 2]);
}

/// The issues that the vendor has (SDK, `agents/models.py`), and another.
#[test]
fn each_health_issue_has_advice_of_its_own() {
    for (issue, says) in [
        ("NOT_CONNECTING", "port 4287"),
        ("NOT_SENDING_SECURITY_EVENTS", "restart it; upgrade it where it is outdated"),
        ("SECURITY_INGEST_REJECTED", "sign the agent in again"),
        ("MISSING_MACOS_PERMISSION_FULL_DISK_ACCESS", "grant the agent full disk access"),
        ("MISSING_MACOS_PERMISSION_ACCESSIBILITY", "grant the agent accessibility"),
        ("BATTERY_EMPTY", "look the issue up in the console"),
    ] {
        let findings = of_agent(&json!({"agentHealthIssueTypes": [issue], "agentHealthModificationDate": ago(4)}));
        let told: Vec<_> = findings.iter().map(|finding| (finding.issue.as_deref(), finding.since.clone())).collect();
        assert_eq!(told, [(Some(issue), Some(ago(4)))]);
        assert!(findings[0].advice.contains(says), "{issue}: {}", findings[0].advice);
    }
}

#[test]
fn an_agent_that_connects_and_reports_nothing_is_silent() {
    let with = |changes: Value| {
        let agents = rows([("a1", agent(&json!({}))), ("a2", agent(&changes))]);
        kinds(&found(&Sources { agents: Ok(agents), ..well() }, &rules()).0)
    };
    assert_eq!(with(json!({})), [FindingKind::SilentAgent]);
    assert_eq!(with(json!({"creationDate": null})), [FindingKind::SilentAgent]);
    assert_eq!(with(json!({"creationDate": ago(0)})), [], "installed today");
    assert_eq!(with(json!({"lastConnected": ago(31)})), [FindingKind::SupersededAgent], "it doesn't connect");
    assert_eq!(with(json!({"active": false})), []);
}

#[test]
fn nobody_is_silent_where_the_devices_of_events_are_no_agents_or_are_too_many() {
    for reporting in [counts(&[("serial-1", 5)]), Counts::new()] {
        let (findings, left_out) = found(&Sources { reporting: Ok(reporting), ..well() }, &rules());
        assert_eq!((findings.len(), left_out.len(), left_out[0].check), (0, 1, FindingKind::SilentAgent));
    }
    let many = (0..file_events::MOST_GROUPS).map(|n| (format!("a{n}"), 1)).collect();
    let (findings, left_out) = found(&Sources { reporting: Ok(many), ..well() }, &rules());
    assert_eq!(findings, []);
    assert!(left_out[0].why.contains("more devices"), "{left_out:?}");
}

#[test]
fn versions_are_compared_among_agents_alike() {
    let sources = Sources {
        agents: Ok(rows([
            ("a1", agent(&json!({"productVersion": "1.10.2"}))),
            ("a2", agent(&json!({"productVersion": "1.9"}))),
            ("a3", agent(&json!({"productVersion": "1.10.2.0"}))),
            ("a4", agent(&json!({"productVersion": "0.1", "osName": "Win"}))),
            ("a5", agent(&json!({"productVersion": "0.1", "agentType": "CODE42"}))),
            ("a6", agent(&json!({"productVersion": "0.1", "osName": null}))),
            ("a7", agent(&json!({"productVersion": "latest"}))),
            ("a8", agent(&json!({"productVersion": null, "appVersion": null}))),
            ("a9", agent(&json!({"productVersion": "9.0", "active": false}))),
        ])),
        reporting: Ok((1..10).map(|n| (format!("a{n}"), 1)).collect()),
        ..well()
    };
    let outdated = |rules: &Rules| -> Vec<(String, String)> {
        let findings = found(&sources, rules).0.into_iter();
        findings.map(|finding| (finding.agent_id.unwrap_or_default(), finding.why)).collect()
    };
    let why = "its version 1.9 is behind 1.10.2, the newest among Mac agents of type COMBINED";
    assert_eq!(outdated(&rules()), [("a2".to_owned(), why.to_owned())]);
    let demanding = Rules { minimum_version: AgentVersion::parse("1.10"), ..rules() };
    let found: Vec<String> = outdated(&demanding).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ["a2", "a4", "a5", "a6"]);
    assert!(outdated(&demanding)[0].1.ends_with(" and behind the MINIMUM_AGENT_VERSION 1.10"));
}

#[test]
fn users_and_agents_that_do_not_go_together_are_found() {
    let sources = Sources {
        users: Ok(rows([("u1", user(true)), ("u2", user(false)), ("u3", user(true))])),
        agents: Ok(rows([("a1", agent(&json!({}))), ("a2", agent(&json!({"userId": "u9"})))])),
        reporting: Ok(counts(&[("a1", 1), ("a2", 1)])),
        ..well()
    };
    let findings = found(&sources, &rules()).0;
    assert_eq!(kinds(&findings), [FindingKind::UserWithoutAgent, FindingKind::DeactivatedUserWithAgent]);
    assert_eq!((findings[0].user_id.as_deref(), findings[1].agent_id.as_deref()), (Some("u2"), Some("a1")));
}

#[test]
fn nobody_is_without_an_agent_while_some_agents_cannot_be_read() {
    let agents = RowsById { unreadable: 1, ..rows([]) };
    let sources = Sources { agents: Ok(agents), reporting: Ok(Counts::new()), ..well() };
    let (findings, left_out) = found(&sources, &rules());
    assert_eq!(findings, []);
    let checks: Vec<FindingKind> = left_out.iter().map(|left_out| left_out.check).collect();
    assert_eq!(checks, [FindingKind::SilentAgent, FindingKind::UserWithoutAgent]);
}

#[test]
fn an_observer_that_sent_something_before_and_nothing_since_is_silent_and_so_is_one_of_its_connections() {
    let mut observers = observers(
        &[("Endpoint", 1), ("New", 1), ("GoogleDrive", 4)],
        &[("Endpoint", 9), ("Gmail", 3), ("Box", 1), ("GoogleDrive", 8)],
    );
    let drives = (counts(&[("Drive of Berlin", 4)]), counts(&[("Drive of Berlin", 3), ("Drive of Paris", 5)]));
    observers.detectors.insert("GoogleDrive".into(), drives);
    let paris = ("GoogleDrive".to_owned(), Some("Drive of Paris".to_owned()));
    observers.last_events = [(paris, ago(33))].into();
    let findings = found(&Sources { observers: Ok(observers), ..well() }, &rules()).0;
    let told: Vec<_> = findings
        .iter()
        .map(|finding| (finding.observer.as_deref(), finding.detector.as_deref(), finding.records))
        .collect();
    assert_eq!(
        told,
        [
            (Some("Box"), None, Some(1)),
            (Some("Gmail"), None, Some(3)),
            (Some("GoogleDrive"), Some("Drive of Paris"), Some(5))
        ]
    );
    assert_eq!(findings[1].why, "no file event for 30 days, and 3 in the 30 days before");
    let since: Vec<_> = findings.iter().map(|finding| finding.since.clone()).collect();
    assert_eq!(since, [Some(ago(30)), Some(ago(30)), Some(ago(33))], "the last event, where it is known");
}

#[test]
fn who_left_and_has_an_active_user_is_found_by_the_name() {
    let actor = |name: &str, is_inactive, end: Option<i64>| Actor {
        name: Some(name.into()),
        is_inactive,
        end: end.map(|days| ago(days)[..10].to_owned()),
    };
    let of = |actor: Actor| {
        let findings = found(&Sources { actors: Ok(rows([("x1", actor)])), ..well() }, &rules()).0;
        findings.into_iter().map(|finding| (finding.finding, finding.user_id, finding.since)).collect::<Vec<_>>()
    };
    let left = |since| vec![(FindingKind::LeftButActive, Some("u1".to_owned()), since)];
    assert_eq!(of(actor("Ann@Example.com", true, None)), left(Some(NOW_IN_MS.to_owned())), "no date tells since when");
    assert_eq!(of(actor("ann@example.com", false, Some(3))), left(Some(ago(3)[..10].to_owned())));
    let by_profile = |end: i64| {
        let by_actor = [("x1".to_owned(), ago(end)[..10].to_owned())].into();
        let ends = EndDates { by_actor, ..EndDates::default() };
        let actors = Ok(rows([("x1", actor("ann@example.com", false, None))]));
        kinds(&found(&Sources { actors, ends, ..well() }, &rules()).0)
    };
    assert_eq!((by_profile(3), by_profile(0), by_profile(-9)), (vec![FindingKind::LeftButActive], vec![], vec![]));
    let ends = EndDates { unread: Some("too many".into()), ..EndDates::default() };
    assert_eq!(found(&Sources { ends, ..well() }, &rules()).1[0].check, FindingKind::LeftButActive);
    for other in
        [actor("ann@example.com", false, Some(0)), actor("ann@example.com", false, Some(-9)), actor("bob", true, None)]
    {
        assert_eq!(of(other), []);
    }
}

#[test]
fn all_active_users_of_one_name_are_told_to_have_left() {
    let users = rows([("u1", user(false)), ("u2", user(false)), ("u3", user(true))]);
    let actor = Actor { name: Some("ANN@example.com".into()), is_inactive: true, ..Actor::default() };
    let findings = found(&Sources { users: Ok(users), actors: Ok(rows([("x1", actor)])), ..well() }, &rules()).0;
    let left = findings.iter().filter(|finding| finding.finding == FindingKind::LeftButActive);
    let users: Vec<_> = left.map(|finding| finding.user_id.as_deref()).collect();
    assert_eq!(users, [Some("u1"), Some("u2")]);
}

#[test]
fn an_old_agent_of_a_user_who_has_a_fresh_one_is_superseded() {
    let agents = rows([("a1", agent(&json!({}))), ("a2", agent(&json!({"lastConnected": ago(42)})))]);
    let findings = found(&Sources { agents: Ok(agents), ..well() }, &rules()).0;
    assert_eq!(kinds(&findings), [FindingKind::SupersededAgent]);
    assert_eq!(findings[0].why, "not connected for 42 days, while its user's agent a1 connects");
    assert!(findings[0].advice.starts_with("deactivate it"));
}

#[test]
fn administrators_and_analysts_need_no_agent() {
    let users = || rows([("u1", user(false)), ("u2", user(false)), ("u3", user(false)), ("u4", user(false))]);
    let roles = Roles { spared: ["u2".to_owned()].into(), unread: ["u4".to_owned()].into(), ..Roles::default() };
    let findings = found(&Sources { users: Ok(users()), roles, ..well() }, &rules()).0;
    let told: Vec<_> = findings.iter().map(|finding| (finding.user_id.as_deref(), finding.why.as_str())).collect();
    assert_eq!(
        told,
        [
            (Some("u3"), "an active user without an active agent (administrators and analysts are left out)"),
            (Some("u4"), "an active user without an active agent (its roles were not read)"),
        ]
    );
}

#[test]
fn what_needs_a_source_that_is_not_there_is_left_out_with_the_reason() {
    let forbidden = || Error::Api(ApiError::Forbidden { what: "GET /x".into(), status: 403, said: String::new() });
    let checks = |sources: &Sources| -> Vec<FindingKind> {
        found(sources, &rules()).1.iter().map(|left_out| left_out.check).collect()
    };
    let of_agents = [
        FindingKind::StaleAgent,
        FindingKind::SupersededAgent,
        FindingKind::UnhealthyAgent,
        FindingKind::SilentAgent,
        FindingKind::OutdatedAgent,
        FindingKind::Deployment,
        FindingKind::UserWithoutAgent,
        FindingKind::DeactivatedUserWithAgent,
    ];
    assert_eq!(checks(&Sources { agents: Err(forbidden()), ..well() }), of_agents);
    let of_users = [FindingKind::UserWithoutAgent, FindingKind::DeactivatedUserWithAgent, FindingKind::LeftButActive];
    assert_eq!(checks(&Sources { users: Err(forbidden()), ..well() }), of_users);
    assert_eq!(checks(&Sources { custodians: Err(forbidden()), ..well() }), [FindingKind::MustNotBeDeactivated]);
    assert_eq!(checks(&Sources { reporting: Err(forbidden()), ..well() }), [FindingKind::SilentAgent]);
    assert_eq!(checks(&Sources { actors: Err(forbidden()), ..well() }), [FindingKind::LeftButActive]);
    let without_observers = Sources { observers: Err(forbidden()), ..well() };
    assert_eq!(checks(&without_observers), [FindingKind::SilentObserver]);
    let why = &found(&without_observers, &rules()).1[0].why;
    assert!(why.starts_with("not permitted: the API client needs File Events: Read"), "{why}");
    let failing = Sources { users: Err(Error::Inconsistent("it differs".into())), ..well() };
    assert_eq!(found(&failing, &rules()).1[0].why, "users: it differs");
}
