//! An API that fails as a whole makes no span, id or list stuck: when it answers again, nothing has to wait for hours.

use futures::future::join_all;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, compact};

use crate::rig::{DEADLINE, Rig, ago};
use crate::stuck::any_answer;

/// The number of runs during the outage: enough for pauses that double.
const RUNS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn events_that_an_outage_of_several_runs_held_up_are_stored_by_the_second_run_after_it() {
    // Neither fault is retried, which would only take longer.
    let faults = [Fault::Status(400, r#"{"message":"no"}"#.into()), Fault::TimedOut];
    join_all(faults.into_iter().map(async |fault| {
        let rig = Rig::with(|lambda| {
            let lambda = lambda.env("STREAMS", "audit,file_events").env("LOOKBACK_MINUTES", "1440");
            lambda.env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "50")
        })
        .await;
        rig.sim.world.add_file_events(600, ago(80_000), ago(5));
        rig.sim.world.add_audit(400, ago(80_000), ago(5));
        for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::AuditSearch] {
            rig.sim.faults.always(endpoint, fault.clone());
        }
        for _ in 0..RUNS {
            rig.stuck_run().await;
        }
        rig.sim.faults.clear();
        rig.any_run(DEADLINE).await;
        let answer = rig.any_run(DEADLINE).await;
        assert_eq!(answer["status"], "complete", "{fault:?}: {answer:#}");
        for stream in ["audit", "file_events"] {
            rig.assert_nothing_stuck(&answer, stream).await;
        }
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
        rig.assert_whole().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_could_be_counted_but_not_read_are_stored_by_the_second_run_after() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "50")
    })
    .await;
    rig.sim.world.add_file_events(600, ago(3_400), ago(5));
    rig.sim.world.add_audit(400, ago(3_400), ago(5));
    let no = Fault::Status(400, r#"{"message":"no"}"#.into());
    rig.sim.faults.always(Endpoint::AuditSearch, no.clone());
    rig.sim.faults.when(Endpoint::FileEvents, |request| request.json()["pgSize"] != 1, no);
    for _ in 0..RUNS {
        rig.stuck_run().await;
    }
    assert!(rig.stored("file_events").await.is_empty() && rig.stored("audit").await.is_empty());
    rig.sim.faults.clear();
    rig.any_run(DEADLINE).await;
    rig.any_run(DEADLINE).await;
    // The few windows that showed the outage may have a later next try.
    for (stream, all) in [("file_events", rig.sim.world.file_events()), ("audit", rig.sim.world.audit())] {
        let stored = rig.stored(stream).await;
        let missing = all.iter().filter(|record| !stored.contains(&compact(&record.raw))).count();
        assert!(missing * 2 <= all.len(), "{stream}: {missing} of {} wait for what is over", all.len());
    }
    rig.invoke(json!({"action": "restart"})).await.answer();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outage_of_all_details_held_up_is_stored_by_the_second_run_after_it() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "cases,session_events,watchlists").env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    rig.sim.world.add_cases(40, ago(80_000), ago(900));
    for session in rig.sim.world.add_sessions(30, ago(3_400), ago(60), true) {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 1);
    }
    for watchlist in rig.sim.world.add_records(Dataset::Watchlists, 30) {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 1);
    }
    for endpoint in [Endpoint::CaseDetail, Endpoint::SessionEvents, Endpoint::WatchlistMembers] {
        rig.sim.faults.always(endpoint, Fault::Status(400, r#"{"message":"not now"}"#.into()));
    }
    for _ in 0..RUNS {
        rig.stuck_run().await;
    }
    rig.sim.faults.clear();
    for _ in 0..2 {
        rig.any_run(DEADLINE).await;
    }
    // The few ids that showed the outage may have a later next try.
    // The members were refused for every watchlist, so they are one thing that is stuck, and are tried as one.
    for (stream, all) in [("cases", 40), ("session_events", 30), ("watchlists", 30)] {
        let stored = rig.stored(stream).await.len();
        assert!(stored + 8 >= all, "{stream}: of {all} only {stored} are stored");
    }
    rig.invoke(json!({"action": "restart"})).await.answer();
    let answer = any_answer(rig.invoke(json!({})).await);
    assert_eq!(answer["status"], "complete", "{answer:#}");
    for (stream, all) in [("cases", 40), ("session_events", 30), ("watchlists", 60)] {
        assert_eq!(rig.stored(stream).await.len(), all, "{stream}");
        rig.assert_nothing_stuck(&answer, stream).await;
    }
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_429s_ends_a_run_that_has_time_for_another_try() {
    for endpoint in [Endpoint::Users, Endpoint::SignIn] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "users")).await;
        rig.sim.world.add_users(10);
        rig.sim.faults.times(endpoint, 6, Fault::RateLimited { retry_after: None });
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_holds("users", &rig.sim.world.users()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_answers_429_for_several_runs_is_told_as_an_error_and_a_health_record() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.world.add_file_events(30, ago(3_000), ago(5));
    rig.sim.faults.always(Endpoint::FileEvents, Fault::RateLimited { retry_after: Some("3600".into()) });
    // The first run puts on the checkpoint from when on is collected; those after it come no further.
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "partial", "it may pass");
    }
    for runs in 3..5 {
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
        let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{runs} runs in a row")) && message.contains("429"), "{message}");
    }
    let records = rig.health_records().await;
    let is_told = |told: &serde_json::Value| told["error"]["message"].as_str().is_some_and(|why| why.contains("429"));
    assert!(records.iter().any(is_told), "{records:#?}");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_answers_429_until_the_time_is_up_fails_the_run_for_nothing_can_be_asked() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.sim.world.add_file_events(30, ago(3_000), ago(5));
    rig.sim.faults.always(Endpoint::SignIn, Fault::RateLimited { retry_after: Some("3600".into()) });
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("sign-in") && message.contains("429"), "{message}");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}
