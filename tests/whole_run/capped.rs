//! Totals that the API never lets exceed a limit.

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use futures::future::join_all;
use simulator::{Endpoint, WorldHandle};

use crate::rig::{DEADLINE, Rig, ago};
use crate::stuck::miscounts;

/// Adds `n` small file events, spread evenly over a span.
pub fn add_small(world: &WorldHandle, n: i32, from: DateTime<Utc>, to: DateTime<Utc>) {
    let step = (to - from) / n;
    for i in 0..n {
        let inserted = (from + step * i).to_rfc3339_opts(SecondsFormat::Micros, true);
        world.push_file_event(format!(r#"{{"event":{{"id":"dense-{i}","inserted":"{inserted}"}}}}"#));
    }
}

/// All rows lie in the first minutes of the gap, and must be stored by the third run.
async fn capped_at(most: i64, rows: i32, page: &str) {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", page)).await;
    add_small(&rig.sim.world, rows, ago(3_500), ago(2_900));
    rig.sim.faults.cap_total(Endpoint::FileEvents, most);
    println!("{rows} capped at {most}, in pages of {page}");
    let mut answer = rig.any_run(DEADLINE).await;
    for _ in 0..2 {
        if answer["status"] == "complete" {
            break;
        }
        answer = rig.any_run(DEADLINE).await;
    }
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_nothing_stuck(&answer, "file_events").await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_capped_total_every_row_is_found_whatever_the_pages_are_like() {
    // Four pages are less than the cap, equal to it, and more.
    join_all(["100", "250", "500"].map(|page| capped_at(1_000, 6_000, page))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_vendor_s_cap_of_ten_thousand_every_row_is_found() {
    capped_at(10_000, 60_000, "5000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_rows_as_the_cap_and_one_more_or_less_are_stored_once() {
    join_all([999, 1_000, 1_001].map(|rows| capped_at(1_000, rows, "500"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_in_one_second_than_the_api_counts_to_are_stored_once_two_readings_of_them_are_alike() {
    let rig = Rig::with(|lambda| {
        let lambda = lambda.env("STREAMS", "audit,file_events").env("RECONCILE_MINUTES", "0");
        lambda.env("FE_PAGE_SIZE", "500").env("AUDIT_PAGE_SIZE", "500")
    })
    .await;
    let at = ago(1_800).trunc_subsecs(0);
    let (from, to) = (at + TimeDelta::milliseconds(100), at + TimeDelta::milliseconds(900));
    add_small(&rig.sim.world, 2_600, from, to);
    rig.sim.world.add_audit(2_600, from, to);
    for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount] {
        rig.sim.faults.cap_total(endpoint, 1_000);
    }
    for run in 0..3 {
        let answer = rig.any_run(DEADLINE).await;
        assert_eq!(answer["status"], "complete", "run {run}: {answer:#}");
    }
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
    rig.assert_tells_every_object().await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_capped_total_rows_that_are_never_shown_hold_up_nothing_but_themselves() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "500")).await;
    add_small(&rig.sim.world, 6_000, ago(3_500), ago(500));
    let records = rig.sim.world.file_events();
    rig.sim.faults.cap_total(Endpoint::FileEvents, 1_000);
    let bad = [ago(3_000), ago(3_000) + TimeDelta::minutes(35)];
    miscounts(&rig, Endpoint::FileEvents, &bad);
    for _ in 0..2 {
        rig.any_run(DEADLINE).await;
    }
    let answer = rig.stuck_run().await;
    rig.assert_holds_all_but("file_events", &records, &bad).await;
    rig.assert_stuck_at(&answer, "file_events", &bad).await;
    rig.sim.faults.clear();
    rig.assert_heals("file_events").await;
    rig.assert_holds("file_events", &records).await;
    rig.assert_whole().await;
}
