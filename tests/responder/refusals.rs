//! Refused requests: who refuses them, and that nothing is sent.

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault};

use crate::rig::{REQUESTS, Rig, note, request};

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_or_not_allowed_is_refused_before_anything_is_read() {
    let rig = Rig::with(|lambda| lambda.env("ALLOWED_ACTIONS", "case.update")).await;
    for (event, error_type, named) in [
        (json!({}), "InvalidEvent", "no \"action\""),
        (json!({"action": "collect"}), "InvalidEvent", "the actions are"),
        (
            json!({"action": "case.update", "input": {"number": 1}}),
            "InvalidEvent",
            "needs at least one member to change",
        ),
        (note("r"), "ActionNotAllowed", "\"session.add_note\" is not among ALLOWED_ACTIONS"),
        (
            request("r", "case.update", &json!({"number": 1, "status": "CLOSED"})),
            "ActionNotAllowed",
            "\"case.close\" is not among ALLOWED_ACTIONS",
        ),
        (json!({"action": "case.list"}), "ActionNotAllowed", "case.list"),
    ] {
        let (refused, answer) = rig.refused(event).await;
        assert_eq!(refused, error_type, "{answer:#}");
        assert!(message(&answer).contains(named), "{answer:#}");
    }
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty() && rig.sim.secrets.calls() == 0);
    let unset = rig.container(|lambda| lambda.without_env("ALLOWED_ACTIONS"));
    let (refused, _) = crate::rig::failure_of(unset.invoke(note("r"), crate::rig::DEADLINE).await);
    assert_eq!(refused, "ActionNotAllowed", "nothing is allowed until it is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_answered_to_every_request_and_named() {
    for (name, held) in [("ALLOWED_ACTIONS", "session.note"), ("DRY_RUN", "maybe"), ("REQUESTS_PREFIX", "code42/x/")] {
        let rig = Rig::with(|lambda| lambda.env(name, held)).await;
        let (refused, answer) = rig.refused(note("r")).await;
        assert_eq!(refused, "ThirdPartyConfigError");
        assert!(message(&answer).starts_with(name), "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_another_input_is_a_conflict() {
    let rig = Rig::new().await;
    rig.ask(note("r")).await;
    let other = request("r", "session.add_note", &json!({"id": "s-2", "noteContent": "seen"}));
    let (refused, answer) = rig.refused(other).await;
    assert_eq!(refused, "IdempotencyConflict", "{answer:#}");
    assert_eq!((rig.notes_with("s-2", "seen"), rig.writes().len()), (0, 1));
    rig.assert_trail("r", "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_targets_than_allowed_are_refused_and_counted_first() {
    let rig = Rig::with(|lambda| lambda.env("MAX_TARGETS", "3")).await;
    for (action, input) in [
        ("session.set_state", json!({"ids": ["s-1", "s-2", "s-3", "s-4"], "newState": "CLOSED"})),
        ("session.set_state_where", json!({"criteria": {"actor_id": "a-1"}, "newState": "CLOSED"})),
        ("case.add_events", json!({"number": 1, "events": ["e-00", "e-01", "e-02", "e-03"]})),
        ("agent.deactivate", json!({"ids": ["g-20", "g-21", "g-30", "g-31"]})),
    ] {
        let (refused, answer) = rig.refused(request(action, action, &input)).await;
        assert_eq!(refused, "TooManyTargets", "{answer:#}");
    }
    assert!(rig.writes().is_empty());
    assert_eq!(rig.state_of("s-1"), "OPEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_so_many_changes_and_what_changes_nothing_is_none_of_them() {
    let rig = Rig::with(|lambda| lambda.env("DAILY_LIMIT", "2")).await;
    rig.ask(note("1")).await;
    rig.ask(request("2", "rule.enable", &json!({"id": "r-1"}))).await;
    rig.ask(note("3")).await;
    let (refused, answer) = rig.refused(note("4")).await;
    assert_eq!(refused, "LimitReached", "{answer:#}");
    assert_eq!((rig.writes().len(), rig.trail("4").await.len()), (2, 0));
    let more = rig.container(|lambda| lambda.env("DAILY_LIMIT", "3"));
    let answer = more.invoke(note("4"), crate::rig::DEADLINE).await.answer();
    assert_eq!(answer["outcome"], "done", "a request refused before sending may be sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_legal_hold_or_in_an_open_case_is_not_deactivated() {
    let rig = Rig::new().await;
    rig.sim.world.push_child(
        Dataset::Custodians,
        "m-1",
        json!({"userId": "u-1", "membershipActive": true}).to_string(),
    );
    rig.sim.world.push_child(
        Dataset::Custodians,
        "m-2",
        json!({"userId": "u-3", "membershipActive": true}).to_string(),
    );
    rig.sim.world.update_case(1, |raw| raw.replace("\"subject\":null", "\"subject\":\"a-2\""));
    for (id, action, input, why) in [
        ("1", "user.deactivate", json!({"user": "ann@example.com"}), "custodian of the active matter"),
        ("2", "user.deactivate", json!({"user": "u-2"}), "subject of the open case 1"),
        ("3", "agent.deactivate", json!({"ids": ["g-10"]}), "custodian of the active matter"),
        ("4", "agent.deactivate", json!({"ids": ["g-30", "g-20"]}), "subject of the open case 1"),
    ] {
        let (refused, answer) = rig.refused(request(id, action, &input)).await;
        assert_eq!(refused, "ActionNotAllowed", "{answer:#}");
        assert!(message(&answer).contains(why), "{answer:#}");
    }
    assert!(rig.writes().is_empty());
    // A closed matter has no custodians.
    let answer = rig.ask(request("5", "user.deactivate", &json!({"user": "cid@example.com"}))).await;
    assert_eq!(answer["outcome"], "done", "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_refuses_is_told_in_its_own_words_and_is_final() {
    for (action, input, status, said) in [
        ("case.create", json!({"name": "case 1"}), 400, "NAME_EXISTS"),
        ("case.create", json!({"name": "x", "subject": "a-99"}), 400, "INVALID_USER"),
        ("case.update", json!({"number": 2, "findings": "x"}), 400, "NO_EDITS_ONCE_CLOSED"),
        ("case.add_events", json!({"number": 2, "events": ["e-00"]}), 400, "CASE_IS_CLOSED"),
        ("case.add_events", json!({"number": 1, "events": ["e-99"]}), 400, "EVENT_DOES_NOT_EXIST"),
        ("legal_hold.add", json!({"matter": "m-2", "user": "u-1"}), 400, "inactive"),
        ("trust.update", json!({"id": 7, "value": "taken.example.com"}), 409, "CONFLICT"),
    ] {
        let rig = Rig::new().await;
        rig.sim.world.push_record(
            Dataset::TrustedActivities,
            json!({"activityId": 9, "type": "DOMAIN", "value": "taken.example.com"}).to_string(),
        );
        let (refused, answer) = rig.refused(request("r", action, &input)).await;
        assert_eq!((refused.as_str(), &answer["status_code"]), ("ThirdPartyRefused", &json!(status)), "{answer:#}");
        assert!(message(&answer).contains(said), "{answer:#}");
        assert_eq!(answer["outcome"], "failed");
        rig.assert_trail("r", "failed").await;
        let sent = rig.writes().len();
        let (again, _) = rig.refused(request("r", action, &input)).await;
        assert_eq!((again.as_str(), rig.writes().len()), ("ThirdPartyRefused", sent), "the result is stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_before_anything_is_sent() {
    let rig = Rig::new().await;
    for (id, action, input) in [
        ("1", "session.add_note", json!({"id": "s-99", "noteContent": "x"})),
        ("2", "watchlist.add", json!({"watchlist": "nobody's", "people": ["a-1"]})),
        ("3", "watchlist.add", json!({"watchlist": "CUSTOM", "people": ["a-1"]})),
        ("4", "watchlist.add", json!({"watchlist": "w-1", "people": ["nobody@example.com"]})),
        ("5", "user.deactivate", json!({"user": "u-99"})),
        ("6", "agent.activate", json!({"ids": ["g-99"]})),
        ("7", "case.update", json!({"number": 99, "name": "x"})),
        ("8", "rule.disable", json!({"id": "r-99"})),
    ] {
        let (refused, answer) = rig.refused(request(id, action, &input)).await;
        assert_eq!(refused, "ThirdPartyRefused", "{action}: {answer:#}");
        assert!(rig.trail(id).await.is_empty());
    }
    assert!(rig.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_it_is_the_configuration_and_wrong_credentials_too() {
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::Write, Fault::Forbidden);
    let (refused, answer) = rig.refused(note("r")).await;
    assert_eq!((refused.as_str(), &answer["status_code"]), ("ThirdPartyConfigError", &json!(403)), "{answer:#}");
    rig.assert_trail("r", "failed").await;
    let rig = Rig::new().await;
    rig.sim.secrets.set_secret(r#"{"client_id":"key-1","client_secret":"hunter2-hunter2"}"#);
    let (refused, answer) = rig.refused(note("r")).await;
    assert_eq!(refused, "ThirdPartyConfigError", "{answer:#}");
    assert!(!answer.to_string().contains("hunter2"));
    assert_eq!(rig.sim.s3.writes_below(REQUESTS).len(), 1, "the claim alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_intent_can_not_be_stored_nothing_is_sent() {
    let rig = Rig::new().await;
    rig.sim.s3.faults.always("PUT", "response_actions/", simulator::S3Fault::Status(403));
    let (refused, answer) = rig.refused(note("r")).await;
    assert_eq!(refused, "FirstPartyGenericError", "{answer:#}");
    assert!(rig.writes().is_empty());
    assert_eq!(rig.notes_with("s-1", "seen"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_responder_sends_nothing_whoever_asks() {
    let rig = Rig::with(|lambda| lambda.env("DRY_RUN", "true")).await;
    let answer = rig.ask(note("r")).await;
    assert_eq!((&answer["outcome"], &answer["would_change"]), (&json!("dry_run"), &json!(true)), "{answer:#}");
    assert_eq!(answer["requests"][0]["body"]["noteContent"], "seen\n\n[request r]");
    assert!(rig.writes().is_empty() && rig.sim.s3.writes_below("").is_empty());
}
