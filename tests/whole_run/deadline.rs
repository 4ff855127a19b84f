//! Runs that don't fit their time, and containers that outlive their run.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Endpoint, Fault, Outcome, S3Fault};

use crate::rig::{Rig, ago, failure_of, time};
use crate::stuck::any_answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_many_runs_shrinks_with_every_run() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "20").env("AUDIT_PAGE_SIZE", "20")
    })
    .await;
    rig.sim.world.add_file_events(1_500, ago(3_400), ago(5));
    rig.sim.world.add_audit(1_000, ago(3_400), ago(5));
    rig.sim.api.change(|api| api.latency = Duration::from_millis(400));
    // A busy machine may keep a stream from progress in one run of four seconds, but not in two.
    let mut before = [(ago(4_000), 0); 2];
    for run in 0.. {
        assert!(run < 60, "no progress");
        let answer = rig.run_within(Duration::from_secs(4)).await;
        for (stream, (before, stays)) in ["file_events", "audit"].iter().zip(&mut before) {
            let covered_to = time(&answer["streams"][stream]["covered_to"]);
            *stays = if covered_to > *before { 0 } else { *stays + 1 };
            assert!(*stays < 2, "run {run}: {stream} stays at {covered_to}: {answer:#}");
            *before = covered_to;
        }
        if answer["status"] == "complete" {
            assert!(run > 1, "one run read all of it");
            break;
        }
        assert_eq!(answer["status"], "partial");
    }
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_too_large_for_a_run_is_cut_until_it_fits() {
    // A row costs 20 ms, so a full page doesn't fit a run of 4 s.
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "400")).await;
    rig.sim.world.add_file_events(800, ago(3_400), ago(5));
    for size in [400_u32, 300, 200] {
        let large = move |request: &simulator::http::Request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let at = |n: usize| time(&body["groups"][0]["filters"][n]["value"]);
            body["pgSize"] != 1 && (at(1) - at(0)).num_seconds() >= i64::from(3_400 * size / 800)
        };
        rig.sim.faults.when(Endpoint::FileEvents, large, Fault::Late(Duration::from_millis(20) * size));
    }
    let mut runs = 0;
    loop {
        match rig.lambda.invoke(json!({}), Duration::from_secs(4)).await {
            Outcome::Answer(answer) if answer["status"] == "complete" => break,
            Outcome::Answer(_) => {}
            // Not one answer came in time.
            failed => assert_eq!(failure_of(failed).0, "ThirdPartyGenericError"),
        }
        runs += 1;
        assert!(runs < 12, "no progress");
    }
    assert!(runs > 0, "one run read all of it");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_in_time_whatever_hangs() {
    let endpoints = [Endpoint::SignIn, Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::Users];
    join_all(endpoints.into_iter().map(async |endpoint| {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.faults.always(endpoint, Fault::Hang);
        let (error_type, answer) = failure_of(rig.lambda.invoke(json!({}), Duration::from_secs(8)).await);
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("no answer within"), "{message}");
        rig.sim.faults.clear();
        rig.run().await;
        rig.assert_holds_everything().await;
        assert_eq!(rig.checkpoint().await["lease"], Value::Null);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_time_does_nothing_and_says_so() {
    let rig = Rig::with(|lambda| lambda.outliving_its_deadline(Duration::from_secs(10))).await;
    rig.populate();
    let answer = rig.run_within(Duration::ZERO).await;
    assert_eq!(answer["status"], "partial", "{answer:#}");
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty());
    assert_eq!(rig.run().await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_stream_holds_back_no_other() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::CaseDetail, Fault::Late(Duration::from_millis(1_500)));
    let answer = rig.run_within(Duration::from_secs(5)).await;
    assert_eq!(answer["streams"]["cases"]["status"], "partial");
    for stream in ["audit", "file_events", "users"] {
        assert_eq!(answer["streams"][stream]["status"], "complete", "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_container_carries_over_nothing_but_its_clients() {
    let rig = Rig::new().await;
    rig.populate();
    rig.invoke(json!({"action": "collect", "streams": ["users"]})).await.answer();
    let answer = rig.run().await;
    assert_eq!(answer["streams"].as_object().unwrap().len(), 4, "the first event's streams are not the second's");
    assert_eq!((rig.sim.api.sign_ins(), rig.sim.secrets.calls()), (1, 1));
    let again = rig.run().await;
    assert_ne!(answer["run_id"], again["run_id"]);
    assert_eq!(again["streams"]["audit"]["records"], 0, "figures begin anew");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_picked_up_by_a_warm_container() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    rig.sim.api.set_credentials("key-42-rotated", "rotated-client-secret");
    rig.sim.api.revoke_tokens();
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "the secret isn't rotated yet, and worked a moment ago");
    rig.sim.secrets.set_secret(r#"{"client_id":"key-42-rotated","client_secret":"rotated-client-secret"}"#);
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_rotated_within_a_run_is_picked_up_too() {
    let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "20")).await;
    rig.populate();
    let (api, secrets) = (rig.sim.api.clone(), rig.sim.secrets.clone());
    let rotate = move || {
        api.set_credentials("key-42-rotated", "rotated-client-secret");
        api.revoke_tokens();
        secrets.set_secret(r#"{"clientId":"key-42-rotated","clientSecret":"rotated-client-secret"}"#);
    };
    rig.sim.faults.once(Endpoint::FileEvents, 3, Fault::run(rotate));
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_credentials_of_another_tenant_nothing_is_read_from_the_moment_they_are_in_the_secret() {
    for is_within_a_run in [false, true] {
        let rig = Rig::with(|lambda| lambda.env("FE_PAGE_SIZE", "20")).await;
        rig.populate();
        let (api, secrets) = (rig.sim.api.clone(), rig.sim.secrets.clone());
        let replace = move || {
            api.change(|behaviour| behaviour.tenant = "another".into());
            api.set_credentials("key-42-another", "another-client-secret");
            api.revoke_tokens();
            secrets.set_secret(r#"{"client_id":"key-42-another","client_secret":"another-client-secret"}"#);
        };
        if is_within_a_run {
            rig.sim.faults.once(Endpoint::FileEvents, 3, Fault::run(replace));
        } else {
            // The container is warm, and holds a token.
            rig.run().await;
            replace();
        }
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyConfigError", "{answer:#}");
        assert!(answer.to_string().contains("another instead of 5e51c2f0"), "{answer:#}");
        let replaced_at = rig.sim.api.requests_to(Endpoint::SignIn).last().unwrap().at;
        let mut later = rig.sim.api.requests().into_iter().filter(|request| request.at > replaced_at);
        assert!(later.all(|request| request.status == Some(401)), "read from another tenant");
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyConfigError", "{answer:#}");
        assert!(answer.to_string().contains("the checkpoint belongs to another tenant"), "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_the_network_before_the_first_event() {
    let rig = Rig::new().await;
    rig.populate();
    rig.invoke(json!({"action": "?"})).await.error();
    assert!(rig.sim.s3.requests().is_empty() && rig.sim.api.requests().is_empty() && rig.sim.secrets.calls() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_by_hand_is_covered_once_however_often_it_is_asked_for() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.sim.world.add_audit(300, ago(40 * 86_400), ago(5));
    rig.sim.world.add_file_events(300, ago(40 * 86_400), ago(5));
    let event = json!({"action": "collect", "streams": ["audit"],
        "from": ago(30 * 86_400).to_rfc3339(), "to": ago(20 * 86_400).to_rfc3339()});
    let dry = json!({"action": "collect", "streams": ["audit"], "dry_run": true,
        "from": ago(30 * 86_400).to_rfc3339(), "to": ago(20 * 86_400).to_rfc3339()});
    let counted = rig.invoke(dry).await.answer();
    assert!(rig.sim.s3.keys(rig.sim.bucket(), "").await.is_empty(), "a dry run writes nothing at all");
    let first = rig.invoke(event.clone()).await.answer();
    let of_span = first["streams"]["audit"]["records"].as_u64().unwrap();
    assert!((50..150).contains(&of_span), "{first:#}");
    assert_eq!(counted["streams"]["audit"]["records"], of_span, "it counts what a run would store");
    assert_eq!(rig.invoke(event).await.answer()["streams"]["audit"]["records"], 0);
    rig.run().await;
    rig.invoke(json!({"action": "collect", "from": ago(45 * 86_400).to_rfc3339()})).await.answer();
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_for_any_stream_and_needs_no_lease() {
    let rig = Rig::new().await;
    rig.populate();
    let answer = rig.invoke(json!({"action": "collect", "dry_run": true})).await.answer();
    for (stream, records) in [("file_events", 300), ("audit", 200), ("cases", 12), ("users", 40)] {
        assert_eq!(answer["streams"][stream]["records"], records, "{answer:#}");
    }
    assert!(rig.sim.s3.requests().iter().all(|request| request.method == "GET"));
    rig.run().await;
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_audit_log_keeps_no_longer_is_expired_and_never_called_covered() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    rig.sim.world.add_audit(50, ago(80 * 86_400), ago(5));
    rig.invoke(json!({"action": "collect", "from": ago(100 * 86_400).to_rfc3339()})).await.answer();
    let state = &rig.checkpoint().await["events"]["audit"];
    let expired = &state["expired"][0];
    assert!(
        time(&expired[1]) < ago(90 * 86_400 - 60) && time(&state["covered"][0][0]) >= time(&expired[1]),
        "{state:#}"
    );
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_times_as_many_pages_take_no_more_memory() {
    let mut peaks = Vec::new();
    for pages in [16, 96] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "500")).await;
        rig.sim.world.add_file_events(500 * pages, ago(3_400), ago(5));
        assert_eq!(rig.run().await["streams"]["file_events"]["records"], 500 * pages);
        let status = std::fs::read_to_string(format!("/proc/{}/status", rig.lambda.pid().unwrap())).unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        peaks.push(peak.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
    }
    // In kB. The further pages have 80 MB, and 9 MB gzipped. Differences between allocators are smaller than either.
    assert!(peaks[1] < peaks[0] + 6_000, "{peaks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_takes_a_fifth_of_a_run_over_each_answer_is_read_all_the_same() {
    // Planning, counting, reading and counting again takes longer than the run.
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "20")).await;
    rig.sim.world.add_audit(30, ago(3_400), ago(5));
    rig.sim.api.change(|api| api.latency = Duration::from_millis(1_250));
    let mut runs = 0;
    while rig.run_within(Duration::from_secs(6)).await["status"] != "complete" {
        runs += 1;
        assert!(runs < 40, "no progress: {} are stored", rig.stored("audit").await.len());
    }
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn short_runs_go_on_though_the_last_commit_takes_long() {
    for (lasts, api, s3) in [(3_000, 400, 200), (4_000, 500, 300)] {
        let rig = Rig::new().await;
        rig.populate();
        rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(api));
        rig.sim.s3.faults.always("", "", S3Fault::Late(Duration::from_millis(s3)));
        let (mut runs, mut uncommitted) = (0, 0);
        loop {
            let outcome = rig.lambda.invoke(json!({}), Duration::from_millis(lasts)).await;
            uncommitted += u32::from(format!("{outcome:?}").contains("could not be written"));
            if any_answer(outcome)["status"] == "complete" {
                break;
            }
            runs += 1;
            assert!(runs < 30, "no progress: {} are stored", rig.stored("audit").await.len());
        }
        // The machine may be slow, too.
        assert!(2 * uncommitted <= runs + 2, "{uncommitted} of {runs} runs could not commit");
        rig.sim.s3.faults.clear();
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_requests_a_run_are_enough_to_go_on() {
    for few in [3, 5] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit").env("AUDIT_PAGE_SIZE", "20")).await;
        rig.sim.world.add_audit(60, ago(3_400), ago(5));
        rig.invoke(json!({"action": "probe", "streams": ["users"]})).await.answer();
        let mut runs = 0;
        loop {
            rig.sim.faults.clear();
            let left = AtomicI32::new(few);
            let is_spent = move |_: &simulator::http::Request| left.fetch_sub(1, Ordering::Relaxed) <= 0;
            rig.sim.faults.when(Endpoint::Any, is_spent, Fault::RateLimited { retry_after: Some("60".into()) });
            if rig.run().await["status"] == "complete" {
                break;
            }
            runs += 1;
            assert!(runs < 60, "no progress: {} are stored", rig.stored("audit").await.len());
        }
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
    }
}
