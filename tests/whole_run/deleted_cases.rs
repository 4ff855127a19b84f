//! A deleted case gets a tombstone once two whole lists lack it. Whole lists are read once a week, an hour after one
//! that lacked a record, and after a restart.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Record};

use crate::inventories::tombstones;
use crate::rig::{Rig, ago, time};

impl Rig {
    async fn restart_and_run(&self) -> Value {
        self.invoke(json!({"action": "restart"})).await.answer();
        self.run().await
    }

    async fn deleted_cases(&self) -> Vec<Value> {
        tombstones(&self.stored("cases").await)
    }

    /// Moves the time of the last comparison back.
    async fn compared_earlier(&self, by: TimeDelta) {
        self.edit_checkpoint(|checkpoint| {
            let at = &mut checkpoint["versions"]["cases"]["compared_at"];
            *at = json!((time(at) - by).to_rfc3339_opts(SecondsFormat::Millis, true));
        })
        .await;
    }

    fn whole_lists(&self) -> usize {
        let lists = self.sim.api.requests_to(Endpoint::CaseList);
        lists.iter().filter(|request| !request.query.contains("updatedAt")).count()
    }
}

async fn cases(n: usize) -> (Rig, Vec<Record>) {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases")).await;
    let cases = rig.sim.world.add_cases(n, ago(90 * 86_400), ago(86_400));
    assert_eq!(rig.run().await["status"], "complete");
    (rig, cases)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_appears_with_an_old_date_is_fetched_once_the_whole_list_shows_it() {
    let (rig, cases) = cases(6).await;
    rig.sim.world.remove(Dataset::Cases, &cases[2].id);
    rig.restart_and_run().await;
    rig.restart_and_run().await;
    assert_eq!(rig.deleted_cases().await.len(), 1);
    // The deleted one is back, and one that was hidden until now appears.
    rig.sim.world.push_case(&*cases[2].raw);
    rig.sim.world.add_cases(1, ago(80 * 86_400), ago(70 * 86_400));
    assert_eq!(rig.run().await["streams"]["cases"]["records"], 0, "no list of changes shows them");
    let answer = rig.restart_and_run().await;
    assert_eq!((&answer["status"], &answer["streams"]["cases"]["records"]), (&json!("complete"), &json!(2)));
    assert_eq!(rig.restart_and_run().await["streams"]["cases"]["records"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_list_is_compared_each_week_and_an_hour_after_it_was_without_a_case() {
    let (rig, cases) = cases(12).await;
    assert_eq!(rig.whole_lists(), 1, "the first list is whole");
    rig.sim.world.remove(Dataset::Cases, &cases[4].id);
    rig.compared_earlier(TimeDelta::days(7) - TimeDelta::minutes(1)).await;
    rig.run().await;
    assert_eq!(rig.whole_lists(), 1, "a week is not over");
    rig.compared_earlier(TimeDelta::minutes(1)).await;
    for _ in 0..2 {
        rig.run().await;
        assert_eq!((rig.whole_lists(), rig.deleted_cases().await.len()), (2, 0), "one list is not enough");
    }
    rig.compared_earlier(TimeDelta::hours(1)).await;
    rig.run().await;
    let told = rig.deleted_cases().await;
    assert_eq!((told.len(), &told[0]["number"]), (1, &json!(5)), "{told:#?}");
    assert!(told[0]["_deletedAt"].is_string());
    rig.compared_earlier(TimeDelta::hours(1)).await;
    rig.run().await;
    assert_eq!((rig.whole_lists(), rig.deleted_cases().await.len()), (3, 1), "nothing is missing any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_compares_at_once_and_who_comes_back_is_not_gone() {
    let (rig, cases) = cases(12).await;
    rig.sim.world.remove(Dataset::Cases, &cases[2].id);
    rig.restart_and_run().await;
    rig.sim.world.push_case(&*cases[2].raw);
    rig.restart_and_run().await;
    rig.sim.world.remove(Dataset::Cases, &cases[2].id);
    rig.restart_and_run().await;
    assert!(rig.deleted_cases().await.is_empty(), "never missing twice in a row");
    rig.restart_and_run().await;
    assert_eq!(rig.deleted_cases().await.len(), 1);
    rig.restart_and_run().await;
    assert_eq!(rig.deleted_cases().await.len(), 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_short_of_its_count_or_lacks_many_takes_nobody_for_deleted() {
    let (rig, cases) = cases(12).await;
    rig.sim.faults.always(Endpoint::CaseList, Fault::TotalOff(1));
    rig.sim.world.remove(Dataset::Cases, &cases[2].id);
    for _ in 0..3 {
        rig.invoke(json!({"action": "restart"})).await.answer();
        rig.invoke(json!({})).await;
    }
    assert!(rig.deleted_cases().await.is_empty());
    rig.sim.faults.clear();
    for case in &cases[3..8] {
        rig.sim.world.remove(Dataset::Cases, &case.id);
    }
    rig.restart_and_run().await;
    rig.invoke(json!({"action": "restart"})).await.answer();
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert!(answer.to_string().contains("of 12 known cases would be gone at once"), "{answer:#}");
    assert!(rig.deleted_cases().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_does_not_fit_a_run_goes_on_in_the_next() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "cases").env("PAGE_SIZE", "4")).await;
    let cases = rig.sim.world.add_cases(60, ago(90 * 86_400), ago(86_400));
    assert_eq!(rig.run().await["status"], "complete");
    rig.sim.world.remove(Dataset::Cases, &cases[4].id);
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(200));
    for comparison in 1..=2 {
        rig.invoke(json!({"action": "restart"})).await.answer();
        for run in 1.. {
            let answer = rig.lambda.invoke(json!({}), Duration::from_secs(3)).await.answer();
            if answer["status"] == "complete" {
                assert!(run > 1, "the list fits a run");
                break;
            }
            assert!(run <= 12, "comparison {comparison}: {answer:#}");
        }
    }
    assert_eq!(rig.deleted_cases().await.len(), 1);
}
