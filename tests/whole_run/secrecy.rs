//! Error messages quote the API and never a secret.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Endpoint, Fault};

use crate::rig::{HEALTH, PREFIX, Rig};

/// Asserts that eight letters of the secret never appear in a row, even with other characters between them.
fn assert_hides(told: &str, secret: &str) {
    let letters = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect() };
    let (told, secret) = (letters(told), letters(secret));
    for at in 0..=secret.len() - 8 {
        assert!(!told.contains(&secret[at..at + 8]), "{:?} is told: {told}", &secret[at..at + 8]);
    }
}

async fn everything_told(rig: &Rig, answer: &Value) -> String {
    let mut told = vec![answer.to_string(), rig.checkpoint().await.to_string()];
    told.extend(rig.sim.stored_lines(&format!("{PREFIX}{HEALTH}/")).await);
    told.extend(rig.lambda.logs());
    told.join("\n")
}

/// Forms in which an API may repeat what it was sent.
const ECHOES: [fn(&str) -> String; 7] = [
    |secret| secret.to_owned(),
    |secret| secret[1..].to_owned(),
    |secret| pieces(secret).join(" "),
    |secret| pieces(secret).join("\n"),
    |secret| secret.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}")),
    |secret| secret.replace(['.', '-'], "%2E"),
    |secret| secret.to_uppercase(),
];

fn pieces(text: &str) -> Vec<String> {
    text.as_bytes().chunks(6).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_an_error_repeats_is_told_neither_whole_nor_in_part() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users").env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")).await;
    rig.populate();
    let sent = std::sync::Arc::<std::sync::Mutex<String>>::default();
    for echo in ECHOES {
        for (status, as_json) in [(400, true), (403, true), (404, false), (200, false)] {
            rig.sim.faults.clear();
            let noted = sent.clone();
            let body = move |token: &str| {
                token.clone_into(&mut noted.lock().unwrap());
                let echo = echo(token);
                if as_json {
                    json!({"error": "no luck 4711", "you_sent": echo}).to_string()
                } else {
                    format!("4711 {echo}")
                }
            };
            rig.sim.faults.always(Endpoint::Users, Fault::echo(status, body));
            let answer = rig.invoke(json!({"action": "probe", "streams": ["users"]})).await.answer();
            assert!(status == 403 || answer.to_string().contains("4711"), "{status}: {answer:#}");
            assert_hides(&answer.to_string(), &sent.lock().unwrap());
        }
    }
    rig.sim.faults.clear();
    rig.sim.faults.always(Endpoint::Users, Fault::echo(404, |token| format!("no such user {token}")));
    let (_, answer) = rig.failure(json!({})).await;
    let told = everything_told(&rig, &answer).await;
    assert!(told.contains("no such user <redacted>"), "{told}");
    assert_hides(&told, &sent.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sign_in_repeats_is_not_told_either() {
    for (status, echo) in [400, 401, 403, 500, 401, 400, 400].into_iter().zip(ECHOES) {
        let rig = Rig::new().await;
        let secret = rig.sim.api.behaviour().client_secret;
        let body = json!({"error": "no luck 4711", "error_description": format!("wrong: {}", echo(&secret))});
        rig.sim.faults.always(Endpoint::SignIn, Fault::Status(status, body.to_string()));
        let (_, answer) = rig.failure(json!({})).await;
        let told = everything_told(&rig, &answer).await;
        assert!(told.contains("no luck 4711"), "{told}");
        assert_hides(&told, &secret);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_about_an_answer_tells_how_it_begins_as_far_as_it_is_text() {
    let long = format!("first words {}", "x ".repeat(500));
    for (fault, says) in [
        (Fault::Html, "it begins: <html><body><h1>Please wait</h1>"),
        (Fault::Status(200, "[1]".into()), "it begins: [1]"),
        (Fault::Status(200, r#"{"message":"later"}"#.into()), r#"it begins: {"message":"later"}"#),
        (Fault::Status(500, String::new()), "500: (an empty body)"),
        (Fault::Status(500, "\u{1}\u{2}binary".into()), "500: (a body that is no text)"),
        (Fault::Status(429, "slow down, 4711".into()), "slow down, 4711"),
        (Fault::Unauthorized, "Unauthorized"),
        (Fault::Status(404, long), "404: first words x x"),
    ] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
        rig.populate();
        rig.sim.faults.always(Endpoint::Users, fault.clone());
        // A 429 is retried until the time is up.
        let answer = rig.lambda.invoke(json!({"action": "probe", "streams": ["users"]}), Duration::from_secs(15)).await;
        let answer = answer.answer();
        let message = answer["streams"]["users"]["error"]["message"].as_str().unwrap();
        assert!(message.contains(says) && message.len() < 400, "{fault:?}: {message}");
    }
    for (problem, says) in [
        ("QUERY_TIMEOUT", "the API takes too long over this query: {"),
        ("INVALID_PAGE_TOKEN", "the page token is no longer valid: {"),
        ("MAX_FILTERS_EXCEEDED", "two of which the window needs): {"),
    ] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
        let body = json!({"problems": [{"type": problem}], "trace": "4711"}).to_string();
        rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(400, body));
        let answer = rig.invoke(json!({"action": "probe", "streams": ["file_events"]})).await.answer();
        let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
        assert!(message.contains(says) && message.contains("4711"), "{problem}: {message}");
    }
}
