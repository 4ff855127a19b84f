//! Two or three things that can never be read, at once: none makes another worse.

use chrono::TimeDelta;
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, Record, compact};

use crate::capped::add_small;
use crate::rig::{DEADLINE, Rig, ago, assert_same};
use crate::stuck::{assert_stuck, miscounts, names};

#[tokio::test(flavor = "multi_thread")]
async fn ghosts_and_cases_and_a_watchlist_that_fail_at_once_hold_up_nothing_else() {
    let rig = Rig::with(|lambda| {
        let streams = "audit,file_events,cases,watchlists,users";
        lambda.env("STREAMS", streams).env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    rig.populate();
    rig.sim.world.add_cases(28, ago(80_000), ago(900));
    let watchlists = rig.sim.world.add_records(Dataset::Watchlists, 5);
    for watchlist in &watchlists {
        rig.sim.world.add_children(Dataset::WatchlistMembers, &watchlist.id, 2);
    }
    let bad = [ago(2_800), ago(2_800) + TimeDelta::minutes(38)];
    miscounts(&rig, Endpoint::FileEvents, &bad);
    for id in [17, 18, 19] {
        rig.sim.faults.ail_at(format!("/v1/cases/{id}"), Fault::Forbidden);
    }
    let refused = watchlists[1].id.to_string();
    rig.sim.faults.ail_at(format!("/v2/watchlists/{refused}/members"), Fault::Forbidden);
    rig.any_run(DEADLINE).await;
    let answer = rig.stuck_run().await;
    rig.assert_stuck_at(&answer, "file_events", &bad).await;
    rig.assert_holds_all_but("file_events", &rig.sim.world.file_events(), &bad).await;
    let told = assert_stuck(&answer, "cases", 3);
    assert!(["17", "18", "19"].iter().all(|id| names(&told["error"]["message"], id)), "{answer:#}");
    let cases: Vec<Record> = rig.sim.world.cases();
    let sound: Vec<Record> = cases.iter().filter(|case| !["17", "18", "19"].contains(&&*case.id)).cloned().collect();
    rig.assert_holds("cases", &sound).await;
    let told = assert_stuck(&answer, "watchlists", 1);
    assert_eq!(told["stuck"]["oldest"], json!({"list": "members", "id": refused}), "{answer:#}");
    let mut expected: Vec<String> = watchlists.iter().map(|watchlist| compact(&watchlist.raw)).collect();
    for watchlist in watchlists.iter().filter(|watchlist| *watchlist.id != *refused) {
        let members = rig.sim.world.children(Dataset::WatchlistMembers, &watchlist.id);
        expected.extend(members.iter().map(|member| {
            format!(r#"{{"_list":"members","_watchlistId":"{}",{}"#, watchlist.id, &compact(&member.raw)[1..])
        }));
    }
    assert_same("watchlists", rig.stored("watchlists").await, expected);
    for stream in ["audit", "users"] {
        assert_eq!(answer["streams"][stream]["status"], "complete", "{answer:#}");
        assert!(answer["streams"][stream].get("stuck").is_none(), "{answer:#}");
    }
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_holds("users", &rig.sim.world.users()).await;
    rig.sim.faults.clear();
    for stream in ["file_events", "cases", "watchlists"] {
        rig.assert_heals(stream).await;
    }
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_refused_and_one_that_never_agrees_in_both_streams_of_events_hold_up_nothing_else() {
    let rig = Rig::with(|lambda| {
        let lambda = lambda.env("STREAMS", "audit,file_events").env("LOOKBACK_MINUTES", "1440");
        lambda.env("FE_PAGE_SIZE", "100").env("AUDIT_PAGE_SIZE", "100")
    })
    .await;
    let file_events = rig.sim.world.add_file_events(1_200, ago(80_000), ago(5));
    let audit = rig.sim.world.add_audit(800, ago(80_000), ago(5));
    let bad = [ago(70_000), ago(50_000)];
    rig.sim.faults.cap_total(Endpoint::FileEvents, 500);
    for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount] {
        miscounts(&rig, endpoint, &bad[..1]);
    }
    for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::AuditSearch] {
        rig.sim.faults.ail_in(endpoint, bad[1], bad[1], Fault::Status(400, r#"{"message":"no"}"#.into()));
    }
    for _ in 0..2 {
        rig.any_run(DEADLINE).await;
    }
    let answer = rig.stuck_run().await;
    for (stream, records) in [("file_events", &file_events), ("audit", &audit)] {
        rig.assert_holds_all_but(stream, records, &bad).await;
        rig.assert_stuck_at(&answer, stream, &bad).await;
    }
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    let answer = rig.run().await;
    for (stream, records) in [("file_events", &file_events), ("audit", &audit)] {
        rig.assert_nothing_stuck(&answer, stream).await;
        rig.assert_holds(stream, records).await;
    }
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capped_total_beside_cases_that_never_come_and_sessions_that_are_refused_is_seen_through() {
    let rig = Rig::with(|lambda| {
        lambda.env("STREAMS", "file_events,cases,sessions,session_events").env("FE_PAGE_SIZE", "250")
    })
    .await;
    add_small(&rig.sim.world, 3_000, ago(3_500), ago(2_900));
    rig.sim.world.add_cases(20, ago(80_000), ago(900));
    let sessions = rig.sim.world.add_sessions(8, ago(3_400), ago(60), true);
    for session in &sessions {
        rig.sim.world.add_children(Dataset::SessionEvents, &session.id, 2);
    }
    rig.sim.faults.cap_total(Endpoint::FileEvents, 1_000);
    for id in [3, 4] {
        rig.sim.faults.ail_at(format!("/v1/cases/{id}"), Fault::Status(404, "{}".into()));
    }
    rig.sim.faults.ail_at(format!("/v1/sessions/{}/events", sessions[2].id), Fault::Forbidden);
    for _ in 0..2 {
        rig.any_run(DEADLINE).await;
    }
    let answer = rig.stuck_run().await;
    rig.assert_nothing_stuck(&answer, "file_events").await;
    rig.assert_nothing_stuck(&answer, "sessions").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("sessions", &rig.sim.world.all(Dataset::Sessions)).await;
    assert_stuck(&answer, "cases", 2);
    assert_stuck(&answer, "session_events", 1);
    assert_eq!(rig.stored("cases").await.len(), 18);
    assert_eq!(rig.stored("session_events").await.len(), 14);
    rig.sim.faults.clear();
    rig.invoke(json!({"action": "restart"})).await.answer();
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_holds("cases", &rig.sim.world.cases()).await;
    assert_eq!(rig.stored("session_events").await.len(), 16);
    rig.assert_whole().await;
}
