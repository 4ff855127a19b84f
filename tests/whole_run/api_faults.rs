//! Faults of the API. Each status is reported, retryable ones are retried, and other streams continue.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, S3Fault};

use crate::rig::{PREFIX, Rig, ago, logs_with, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_retried_and_leaves_no_trace() {
    for fault in [
        Fault::Status(500, "oops".into()),
        Fault::Status(502, "<html>bad gateway</html>".into()),
        Fault::Status(503, "{}".into()),
        Fault::Status(504, String::new()),
        Fault::Html,
        Fault::CutBody,
        Fault::BrokenJson,
        Fault::Dropped,
        Fault::RateLimited { retry_after: Some("1".into()) },
        Fault::RateLimited { retry_after: None },
        Fault::Unauthorized,
    ] {
        let rig = Rig::new().await;
        rig.populate();
        for endpoint in [
            Endpoint::FileEvents,
            Endpoint::AuditCount,
            Endpoint::AuditSearch,
            Endpoint::Users,
            Endpoint::CaseList,
            Endpoint::CaseDetail,
        ] {
            rig.sim.faults.once(endpoint, 1, fault.clone());
        }
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{fault:?}: {answer:#}");
        assert!(rig.sim.faults.struck() >= 6);
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_sign_in_is_retried_too() {
    for fault in [Fault::Status(503, String::new()), Fault::Html, Fault::CutBody, Fault::Dropped] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.faults.once(Endpoint::SignIn, 1, fault);
        assert_eq!(rig.run().await["status"], "complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_that_stays_fails_its_stream_visibly_and_no_other() {
    let faults = [
        (Fault::Status(500, "oops".into()), "ThirdPartyGenericError"),
        (Fault::Status(400, r#"{"message":"no such field"}"#.into()), "ThirdPartyGenericError"),
        (Fault::Status(404, "{}".into()), "ThirdPartyGenericError"),
        (Fault::Status(302, String::new()), "ThirdPartyGenericError"),
        (Fault::Status(200, r#"{"error":"maintenance"}"#.into()), "ThirdPartyGenericError"),
        (Fault::Html, "ThirdPartyGenericError"),
        (Fault::BrokenJson, "ThirdPartyGenericError"),
        (Fault::CutBody, "ThirdPartyGenericError"),
        (Fault::Dropped, "ThirdPartyGenericError"),
        (Fault::Unauthorized, "ThirdPartyGenericError"),
    ];
    // Side by side, because each of them waits for retries.
    join_all(faults.into_iter().map(async |(fault, error_type)| {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.faults.always(Endpoint::FileEvents, fault.clone());
        let (told, answer) = rig.failure(json!({})).await;
        assert_eq!(told, error_type, "{fault:?}: {answer:#}");
        let stream = &answer["streams"]["file_events"];
        assert_eq!((&stream["status"], &stream["error"]["type"]), (&json!("failed"), &json!(error_type)), "{fault:?}");
        assert!(stream["error"]["message"].as_str().unwrap().contains("POST /v2/file-events"), "{answer:#}");
        assert_eq!(answer["error"], stream["error"]);
        for other in ["audit", "cases", "users"] {
            assert_eq!(answer["streams"][other]["status"], "complete", "{fault:?}: {answer:#}");
        }
        assert!(rig.stored("file_events").await.is_empty(), "an error's body is no record");
        rig.sim.faults.clear();
        rig.run().await;
        rig.assert_holds_everything().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_breaks_in_the_middle_keeps_what_was_stored_and_the_next_run_makes_good() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "20")).await;
    rig.sim.world.add_file_events(600, ago(3_000), ago(5));
    rig.sim.faults.from(Endpoint::FileEvents, 18, Fault::Status(500, String::new()));
    let (_, answer) = rig.failure(json!({})).await;
    let first = rig.stored("file_events").await.len();
    assert!(first > 0 && first < 600, "{answer:#}");
    assert_eq!(answer["streams"]["file_events"]["records"], first);
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_permission_fails_no_run_and_is_tried_once_an_hour() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Forbidden);
    let answer = rig.run().await;
    assert_eq!(
        (&answer["status"], &answer["streams"]["file_events"]["status"]),
        (&json!("complete"), &json!("not_permitted"))
    );
    assert_eq!(answer["streams"]["audit"]["status"], "complete");
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1, "403 is not retried");
    let again = rig.run().await;
    assert_eq!(again["streams"]["file_events"]["status"], "not_permitted");
    for answer in [&answer, &again] {
        let error = &answer["streams"]["file_events"]["error"];
        assert_eq!(error["type"], "ThirdPartyConfigError", "{answer:#}");
        assert!(error["message"].as_str().unwrap().contains("\"File Events: Read"), "{answer:#}");
    }
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1);
    logs_with(&rig.lambda, "File Events: Read").await;
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "collect", "streams": ["file_events"]})).await.answer();
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_at_all_is_a_configuration_error() {
    let rig = Rig::new().await;
    rig.populate();
    for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::CaseList, Endpoint::Users] {
        rig.sim.faults.always(endpoint, Fault::Forbidden);
    }
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("Audit Log: Read") && message.contains("Users: Read"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_in_mid_run_is_renewed_once_and_by_one_caller() {
    let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "20").env("AUDIT_PAGE_SIZE", "20")).await;
    rig.populate();
    let api = rig.sim.api.clone();
    rig.sim.faults.once(Endpoint::FileEvents, 4, Fault::run(move || api.revoke_tokens()));
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.sim.api.sign_ins(), 2);
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_expires() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.api.change(|api| api.token_lifetime = Duration::from_secs(5));
    rig.populate();
    rig.run().await;
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    rig.run().await;
    assert_eq!(rig.sim.api.sign_ins(), 2);
    assert!(rig.sim.api.requests().iter().all(|request| request.status != Some(401)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_during_a_long_wait_is_renewed_after_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.api.change(|api| api.token_lifetime = Duration::from_secs(2));
    rig.populate();
    rig.sim.faults.once(Endpoint::FileEvents, 2, Fault::RateLimited { retry_after: Some("3".into()) });
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_twice_while_an_answer_is_awaited_fails_no_stream() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
    rig.sim.api.change(|api| api.token_lifetime = Duration::from_secs(1));
    rig.populate();
    for request in 1..=2 {
        rig.sim.faults.once(Endpoint::Users, request, Fault::Late(Duration::from_millis(1_100)));
    }
    assert_eq!(rig.run().await["status"], "complete");
    let refused = rig.sim.api.requests_to(Endpoint::Users).iter().filter(|asked| asked.status == Some(401)).count();
    assert_eq!(refused, 2);
    rig.assert_holds("users", &rig.sim.world.users()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed_as_seconds_and_as_a_date_and_never_past_the_deadline() {
    let date = |seconds: i64| ago(-seconds).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (retry_after, at_least) in [("2".to_owned(), 2_000), (date(8), 2_000)] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
        rig.populate();
        rig.sim.faults.once(Endpoint::Users, 1, Fault::RateLimited { retry_after: Some(retry_after) });
        assert_eq!(rig.run().await["streams"]["users"]["retries"], 1);
        let asked = rig.sim.api.requests_to(Endpoint::Users);
        assert!(asked[1].at - asked[0].at >= TimeDelta::milliseconds(at_least), "{asked:?}");
    }
    for retry_after in ["3600".to_owned(), date(3_600)] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,users")).await;
        rig.populate();
        rig.sim.faults.always(Endpoint::Users, Fault::RateLimited { retry_after: Some(retry_after) });
        let began = Instant::now();
        let answer = rig.run().await;
        assert!(began.elapsed() < Duration::from_secs(10), "it doesn't wait in vain");
        assert_eq!((&answer["status"], &answer["streams"]["users"]["status"]), (&json!("partial"), &json!("partial")));
        let requests = rig.sim.api.requests();
        let refused = requests.iter().find(|request| request.status == Some(429)).expect("refused").at;
        let late = requests.iter().filter(|request| request.at - refused > TimeDelta::milliseconds(500));
        assert_eq!(late.count(), 0, "the others are left alone, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_shared_by_all_streams_and_kept_from_tick_to_tick() {
    let rig = Rig::with(|lambda| lambda.env("REQUESTS_PER_MINUTE", "12").env("FE_PAGE_SIZE", "10")).await;
    rig.populate();
    for _ in 0..2 {
        rig.run_within(Duration::from_secs(6)).await;
    }
    assert_eq!(rig.sim.api.requests().len(), 12, "all of it is used, and no more");
    assert_eq!(rig.sim.api.most_requests_in(Duration::from_mins(1)), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_clock_behind_ours_moves_the_horizon_back() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-5));
    rig.populate();
    let covered_to = crate::rig::time(&rig.run().await["streams"]["file_events"]["covered_to"]);
    assert!(covered_to <= ago(300) && covered_to > ago(310), "{covered_to}");
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(5));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let covered_to = crate::rig::time(&rig.run().await["streams"]["file_events"]["covered_to"]);
    assert!(covered_to <= ago(0) && covered_to > ago(10), "ours is the earlier one: {covered_to}");
    rig.sim.api.change(|api| api.clock_offset = TimeDelta::minutes(-10));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let still = crate::rig::time(&rig.run().await["streams"]["file_events"]["covered_to"]);
    assert_eq!(still, covered_to, "a warm container hears of it before it closes a window");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_parsed_is_set_aside_and_the_rest_of_the_page_is_stored() {
    let rig = Rig::new().await;
    rig.populate();
    let poison = [
        ("file_events", Dataset::FileEvents, r#"{ "event": {"id":"p1","inserted":"AT"}, "owner": "\Everyone" }"#),
        ("audit", Dataset::Audit, r#"{"timestamp":"AT","actorName":"\Everyone"}"#),
        ("users", Dataset::Users, r#"{"userId":"p3","notes":"\Everyone"}"#),
        ("cases", Dataset::Cases, r#"{"number":77,"name":"\Everyone","updatedAt":"AT"}"#),
    ];
    let sound = [rig.sim.world.file_events(), rig.sim.world.audit(), rig.sim.world.users(), rig.sim.world.cases()];
    let at = ago(60);
    let raw: Vec<_> = poison
        .iter()
        .map(|(_, dataset, text)| {
            let id = if *dataset == Dataset::Cases { "77" } else { "p" };
            rig.sim.world.push_raw(*dataset, id, at, text.replace("AT", &at.to_rfc3339()))
        })
        .collect();
    for run in 1..=2 {
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "it holds nothing up: {answer:#}");
        for ((stream, _, _), sound) in poison.iter().zip(&sound) {
            if run == 1 {
                assert_eq!(answer["streams"][stream]["set_aside"], 1, "{stream}: {answer:#}");
            }
            rig.assert_holds(stream, sound).await;
        }
    }
    for ((stream, _, _), raw) in poison.iter().zip(&raw) {
        let kept = rig.sim.s3.objects(rig.sim.bucket(), &format!("incydr-collector/set-aside/{stream}/")).await;
        assert_eq!(kept.len(), 1, "{stream}");
        assert_eq!(kept[0].key, format!("incydr-collector/set-aside/{stream}/{}.bin", sha256(&kept[0].bytes)));
        assert_eq!(kept[0].bytes, raw.trim().as_bytes(), "{stream}: byte for byte");
    }
    assert!(!rig.sim.s3.keys(rig.sim.bucket(), PREFIX).await.iter().any(|key| key.contains("set-aside")));
}

/// They have no id, so only their number can be compared with the API's count.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_list_that_cannot_be_read_and_are_alike_hold_it_up_neither_on_one_page_nor_on_several() {
    for page in ["5", "100"] {
        let settings = |lambda: LambdaBuilder| lambda.env("STREAMS", "users,sessions").env("PAGE_SIZE", page);
        let rig = Rig::with(settings).await;
        let odd = |id: &str, at| {
            for dataset in [Dataset::Users, Dataset::Sessions] {
                rig.sim.world.push_raw(dataset, id, at, r#"{"odd":1}"#);
            }
        };
        odd("odd-1", ago(3_000));
        let users = rig.sim.world.add_users(12);
        let sessions = rig.sim.world.add_sessions(12, ago(2_900), ago(1_000), true);
        odd("odd-2", ago(900));
        odd("odd-3", ago(899));
        for _ in 0..2 {
            let answer = rig.run().await;
            assert_eq!(answer["status"], "complete", "{page} a page: {answer:#}");
        }
        rig.assert_holds("users", &users).await;
        rig.assert_holds("sessions", &sessions).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_unreadable_records_of_a_window_are_set_aside_side_by_side() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "10000")).await;
    rig.sim.world.add_audit(13_000, ago(3_000), ago(60));
    let sound = rig.sim.world.audit();
    for n in 0..3_000 {
        let at = ago(60 + n % 2_900);
        let odd = format!(r#"{{"timestamp":"{}","n":{n},"actorName":"\Everyone"}}"#, at.to_rfc3339());
        rig.sim.world.push_raw(Dataset::Audit, &format!("odd-{n}"), at, odd);
    }
    // One after the other they would take 90 s.
    rig.sim.s3.faults.always("PUT", "incydr-collector/set-aside/", S3Fault::Late(Duration::from_millis(30)));
    let answer = rig.run_within(Duration::from_secs(40)).await;
    assert_eq!((&answer["status"], &answer["streams"]["audit"]["set_aside"]), (&json!("complete"), &json!(3_000)));
    rig.assert_holds("audit", &sound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_pauses_all_requests_and_not_its_own_alone() {
    // A second is the shortest pause, whatever the API asks for.
    for (asked, until) in [("3", 2_900), ("0", 950)] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events,users,cases")).await;
        rig.populate();
        rig.sim.faults.once(Endpoint::Users, 1, Fault::RateLimited { retry_after: Some(asked.into()) });
        rig.sim.faults.always(Endpoint::CaseDetail, Fault::Late(Duration::from_millis(300)));
        assert_eq!(rig.run().await["status"], "complete");
        let requests = rig.sim.api.requests();
        let refused = requests.iter().find(|request| request.status == Some(429)).expect("refused").at;
        let paused = TimeDelta::milliseconds(500)..TimeDelta::milliseconds(until);
        let meanwhile: Vec<_> = requests.iter().filter(|request| paused.contains(&(request.at - refused))).collect();
        assert!(meanwhile.is_empty(), "{meanwhile:#?}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_place_of_the_one_record_of_a_stream_is_an_error_and_not_set_aside() {
    for body in [r#"{"error":"Internal Server Error","status":500}"#, "{}"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "customer")).await;
        rig.sim.faults.always(Endpoint::Customer, Fault::Status(200, body.into()));
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        assert_eq!(answer["streams"]["customer"]["set_aside"], 0, "{answer:#}");
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["streams"]["customer"]["records"], 1);
    }
}
