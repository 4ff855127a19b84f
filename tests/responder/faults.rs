//! Death at every step, lost answers, 5xx before and after the change, and two deliveries at once.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Hook, Lambda, S3Fault};

use crate::rig::{DEADLINE, Rig, failure_of, note, request};

/// The time of a delivery that will die. The delivery that takes over waits until that time is up.
const SHORT: Duration = Duration::from_secs(8);

fn close() -> Value {
    request("r", "session.set_state", &json!({"ids": ["s-1", "s-2"], "newState": "CLOSED"}))
}

fn closed(rig: &Rig) -> usize {
    let session = rig.record(Dataset::Sessions, "s-1").unwrap();
    session["states"].as_array().unwrap().iter().filter(|state| state["state"] == "CLOSED").count()
}

/// Delivers the event again in another container, as a queue does.
async fn deliver_again(rig: &Rig, event: &Value) -> Value {
    match rig.container(|lambda| lambda).invoke(event.clone(), DEADLINE).await {
        simulator::Outcome::Answer(answer) => answer,
        failed => failure_of(failed).1,
    }
}

/// The writes to S3 of a request, in order: a part of the key, and its ordinal.
const STEPS: [(&str, u64); 6] = [
    (".json", 1),
    ("daily/", 1),
    ("sending-0", 1),
    ("response_actions/", 1),
    ("result.json", 1),
    ("response_actions/", 2),
];

async fn death_at(step: (&'static str, u64), is_after: bool, event: Value) -> (Rig, Value) {
    let rig = Rig::new().await;
    let killed: Lambda = rig.lambda.clone();
    let kill = Hook::new("death", move || killed.kill());
    let fault = if is_after { S3Fault::After(kill) } else { S3Fault::Unsent(kill) };
    rig.sim.s3.faults.once("PUT", step.0, step.1, fault);
    let died = rig.lambda.invoke(event.clone(), SHORT).await;
    assert!(matches!(died, simulator::Outcome::Died(_)), "{step:?}, {is_after}: {died:?}");
    let answer = deliver_again(&rig, &event).await;
    (rig, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_at_whatever_write_it_takes_effect_once_or_is_told_as_unknown() {
    for step in STEPS {
        let mut deaths = Vec::new();
        for is_after in [false, true] {
            deaths.push(tokio::spawn(async move {
                let (rig, answer) = death_at(step, is_after, close()).await;
                assert_eq!(answer["outcome"], "done", "{step:?}, {is_after}: {answer:#}");
                assert_eq!(closed(&rig), 1, "{step:?}, {is_after}");
                rig.assert_trail("r", "done").await;
            }));
            deaths.push(tokio::spawn(async move {
                let (rig, answer) = death_at(step, is_after, note("r")).await;
                let outcome = answer["outcome"].as_str().unwrap().to_owned();
                let count = rig.notes_with("s-1", "[request r]");
                // Between the lock and the note nobody can tell whether the note was sent. Sending it again might add a
                // second one.
                let expected = match outcome.as_str() {
                    "unknown" => 0,
                    _ => 1,
                };
                assert_eq!(count, expected, "{step:?}, {is_after}: {answer:#}");
                let is_between = (step == ("sending-0", 1) && is_after) || step == ("response_actions/", 1);
                assert_eq!(outcome == "unknown", is_between, "{step:?}, {is_after}: {answer:#}");
                rig.assert_trail("r", &outcome).await;
            }));
        }
        for death in deaths {
            death.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_while_the_api_does_it_has_done_it() {
    for event in [close(), note("r")] {
        let rig = Rig::new().await;
        let killed = rig.lambda.clone();
        rig.sim.faults.once(Endpoint::Write, 1, Fault::run(move || killed.kill()));
        rig.lambda.invoke(event.clone(), SHORT).await;
        let answer = deliver_again(&rig, &event).await;
        assert_eq!((&answer["outcome"], rig.writes().len()), (&json!("done"), 1), "{answer:#}");
        rig.assert_trail("r", "done").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_5xx_or_no_answer_it_is_read_back_first() {
    for fault in [Fault::DoneBut(500), Fault::DoneBut(503), Fault::DoneUnanswered] {
        for event in [close(), note("r"), request("r", "case.create", &json!({"name": "new"}))] {
            let rig = Rig::new().await;
            rig.sim.faults.once(Endpoint::Write, 1, fault.clone());
            let answer = rig.ask(event).await;
            assert_eq!((&answer["outcome"], rig.writes().len()), (&json!("done"), 1), "{fault:?}: {answer:#}");
            rig.assert_trail("r", "done").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_take_effect_is_sent_again_where_that_comes_to_the_same_and_else_is_unknown() {
    for fault in [Fault::Status(503, "{}".into()), Fault::Dropped] {
        let rig = Rig::new().await;
        rig.sim.faults.once(Endpoint::Write, 1, fault.clone());
        let answer = rig.ask(close()).await;
        assert_eq!((&answer["outcome"], rig.writes().len(), closed(&rig)), (&json!("done"), 2, 1), "{answer:#}");
        let rig = Rig::new().await;
        rig.sim.faults.once(Endpoint::Write, 1, fault);
        let (refused, answer) = rig.refused(note("r")).await;
        assert_eq!((refused.as_str(), &answer["outcome"]), ("ThirdPartyGenericError", &json!("unknown")), "{answer:#}");
        assert_eq!((rig.writes().len(), rig.notes_with("s-1", "seen")), (1, 0));
        rig.assert_trail("r", "unknown").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_and_a_token_that_expired_are_waited_for_and_renewed() {
    let rig = Rig::new().await;
    rig.sim.faults.times(Endpoint::Write, 2, Fault::RateLimited { retry_after: Some("0".into()) });
    rig.sim.faults.once(Endpoint::Write, 3, Fault::Unauthorized);
    let answer = rig.ask(note("r")).await;
    assert_eq!((&answer["outcome"], &answer["retries"]), (&json!("done"), &json!(3)), "{answer:#}");
    assert_eq!(rig.notes_with("s-1", "seen"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_reading_fails_nothing_is_sent_and_the_request_may_be_tried_again() {
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::SessionDetail, Fault::Status(400, "{}".into()));
    let (refused, answer) = rig.refused(note("r")).await;
    assert_eq!((refused.as_str(), rig.writes().len()), ("ThirdPartyRefused", 0), "{answer:#}");
    rig.sim.faults.clear();
    assert_eq!(rig.ask(note("r")).await["outcome"], "done");
    rig.assert_trail("r", "done").await;
}

/// Nothing was taken, so nothing is in doubt, whatever the state is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_refused_is_failed_and_not_unknown_where_reading_back_fails_too() {
    let rig = Rig::new().await;
    rig.sim.faults.always(Endpoint::Write, Fault::Status(409, "{}".into()));
    // The first reading is that of the state before.
    rig.sim.faults.from(Endpoint::SessionDetail, 2, Fault::Status(400, "{}".into()));
    let (refused, answer) = rig.refused(note("r")).await;
    assert_eq!((refused.as_str(), &answer["outcome"]), ("ThirdPartyRefused", &json!("failed")), "{answer:#}");
    rig.assert_trail("r", "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_credentials_have_expired_is_replaced() {
    let rig = Rig::new().await;
    rig.sim.s3.faults.from("", "", 1, S3Fault::Code(400, "ExpiredToken"));
    let (error_type, answer) = rig.refused(note("r")).await;
    assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
    let before = rig.lambda.pid();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.sim.s3.faults.clear();
    assert_eq!(rig.ask(note("r")).await["outcome"], "done");
    assert_ne!(rig.lambda.pid(), before, "another container");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deliveries_at_once_one_sends_and_both_answer_the_same() {
    for event in [close(), note("r"), request("r", "case.create", &json!({"name": "new"}))] {
        let rig = Rig::new().await;
        rig.sim.faults.always(Endpoint::Write, Fault::Late(Duration::from_millis(500)));
        let other = rig.container(|lambda| lambda);
        let (one, two) = tokio::join!(rig.lambda.invoke(event.clone(), DEADLINE), other.invoke(event, DEADLINE));
        let (one, two) = (one.answer(), two.answer());
        assert_eq!((&one["outcome"], &two["outcome"]), (&json!("done"), &json!("done")));
        assert_eq!((&one["after"], rig.writes().len()), (&two["after"], 1));
        rig.assert_trail("r", "done").await;
    }
}

/// The second delivery looks for a lock before there is one, and reads the state after the first has sent its write.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_delivery_that_reads_what_another_has_just_done_answers_as_that_one() {
    for event in [close(), note("r")] {
        let rig = Rig::new().await;
        let (reads, is_read) = std::sync::mpsc::channel();
        let (sent, is_sent) = std::sync::mpsc::channel();
        let is_sent = Mutex::new(is_sent);
        rig.sim.faults.once(
            Endpoint::SessionDetail,
            1,
            Fault::run(move || {
                reads.send(()).unwrap();
                tokio::task::block_in_place(|| is_sent.lock().unwrap().recv_timeout(SHORT)).unwrap();
            }),
        );
        // The first is about to store its result. The second must find the lock and wait.
        let sent = Mutex::new(sent);
        rig.sim.s3.faults.once(
            "PUT",
            "result.json",
            1,
            S3Fault::before(move || {
                sent.lock().unwrap().send(()).unwrap();
                tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(2)));
            }),
        );
        let other = rig.container(|lambda| lambda);
        let second = tokio::spawn({
            let event = event.clone();
            async move { other.invoke(event, DEADLINE).await.answer() }
        });
        tokio::task::block_in_place(|| is_read.recv_timeout(SHORT)).expect("the second delivery reads");
        let (one, two) = (rig.ask(event).await, second.await.unwrap());
        assert_eq!((&one["outcome"], rig.writes().len()), (&json!("done"), 1), "{one:#}");
        assert_eq!(two, one, "both get the first's result");
        rig.assert_trail("r", "done").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_took_and_does_not_show_is_unknown() {
    let rig = Rig::new().await;
    rig.sim.faults.once(Endpoint::Write, 1, Fault::Status(204, String::new()));
    let (_, answer) = rig.refused(close()).await;
    assert_eq!((&answer["outcome"], &answer["status_code"]), (&json!("unknown"), &json!(204)), "{answer:#}");
    assert_eq!(rig.writes().len(), 1, "no second write");
    rig.assert_trail("r", "unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_line_answer_or_object() {
    let rig = Rig::with(|lambda| lambda.env("AWS_LAMBDA_LOG_LEVEL", "TRACE")).await;
    let secret = rig.sim.api.behaviour().client_secret;
    let echo = format!("{{\"message\":\"who are you, {secret}?\"}}");
    rig.sim.faults.once(Endpoint::Write, 1, Fault::Status(400, echo));
    let mut told = rig.refused(note("r")).await.1.to_string();
    told.push_str(&rig.lambda.logs().concat());
    for object in rig.sim.s3.objects(rig.sim.bucket(), "").await {
        told.push_str(&String::from_utf8_lossy(&object.bytes));
    }
    told.push_str(&rig.sim.stored_lines(crate::rig::TRAIL).await.concat());
    assert!(told.contains("who are you"), "{told}");
    for held in [secret.as_str(), "Bearer ", "Basic ", "eyJ"] {
        assert!(!told.contains(held), "{held} is told");
    }
}
