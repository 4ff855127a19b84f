//! A list that is read over several runs, or by a run that dies: what was read of it is not read in vain, and not doubled.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde_json::json;
use simulator::{Dataset, Endpoint, Fault, Lambda, LambdaBuilder, Outcome, S3Fault, compact, with_member};

use crate::inventories::{STREAMS, collected};
use crate::rig::{CHECKPOINT, DEADLINE, Rig, ago};
use crate::stuck::any_answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_does_not_fit_a_run_goes_on_in_the_next() {
    // Side by side, because most of their time is waiting.
    let with_lists = STREAMS.into_iter().filter(|stream| !stream.lists.is_empty());
    let read = stream::iter(with_lists).for_each_concurrent(8, async |stream| {
        let rig = stream.rig(50).await;
        stream.populate(&rig.sim.world, 40);
        rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(150));
        let mut runs = 0;
        loop {
            let answer = any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(3)).await);
            runs += 1;
            if answer["status"] == "complete" {
                break;
            }
            // On a slow machine, the time may also be up before the checkpoint is written.
            let is_late = answer["error"]["message"].as_str().is_some_and(|message| message.ends_with("time is up"));
            assert!(answer["status"] == "partial" || is_late, "{}: {answer}", stream.name);
            assert!(runs < 30, "{}: no progress", stream.name);
        }
        stream.assert_holds(&rig, &[]).await;
    });
    read.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_while_lists_are_read_side_by_side_holds_nobody_up() {
    let stream = STREAMS.into_iter().find(|stream| stream.name == "legal_hold").unwrap();
    for revoked_at in 1..=12 {
        let rig = stream.rig(5).await;
        stream.populate(&rig.sim.world, 12);
        rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(2));
        let api = rig.sim.api.clone();
        rig.sim.faults.once(Endpoint::Custodians, revoked_at, Fault::run(move || api.revoke_tokens()));
        rig.sim.faults.from(Endpoint::SignIn, 2, Fault::Late(Duration::from_millis(200)));
        println!("{revoked_at}");
        collected(&rig, stream).await;
        stream.assert_holds(&rig, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_failed_before_its_reading_was_cut_off_is_not_covered() {
    let stream = STREAMS.into_iter().find(|stream| stream.name == "alert_rules").unwrap();
    let rig = stream.rig(50).await;
    let mut ids: Vec<String> =
        stream.populate(&rig.sim.world, 60).iter().step_by(2).map(|rule| rule.id.to_string()).collect();
    ids.sort_unstable();
    let failing = format!("/{}/", ids[0]);
    let of_it = move |request: &simulator::http::Request| request.path.contains(&failing);
    rig.sim.faults.when(Endpoint::RuleUsers, of_it, Fault::Status(500, "{}".into()));
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(100));
    rig.sim.faults.from(Endpoint::RuleUsers, 30, Fault::Hang);
    rig.lambda.invoke(json!({}), Duration::from_secs(8)).await;
    let pass = rig.checkpoint().await["inventory"]["alert_rules"]["pass"].clone();
    assert!(pass["parent"].is_string(), "the reading was not cut off: {pass}");
    rig.sim.faults.clear();
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::ZERO);
    while rig.checkpoint().await["inventory"]["alert_rules"].get("covered_to").is_none() {
        rig.run().await;
    }
    stream.assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_stored_of_a_reading_under_way_is_known_when_that_goes_on() {
    let stream = STREAMS.into_iter().find(|stream| stream.name == "trusted_activities").unwrap();
    let rig = stream.rig(5).await;
    let records = stream.populate(&rig.sim.world, 8);
    rig.sim.faults.once(Endpoint::TrustedActivities, 2, Fault::Hang);
    assert_eq!(rig.run_within(Duration::from_secs(5)).await["status"], "partial");
    assert_eq!(rig.checkpoint().await["inventory"][stream.name]["pass"]["page"], 2);
    rig.sim.faults.clear();
    // The next run reads the first page again, because the second page has another total. It stores what has changed
    // there, and dies.
    rig.sim.world.change(stream.dataset, &records[0].id, |raw| with_member(raw, "changed", "1"));
    rig.sim.faults.once(Endpoint::TrustedActivities, 1, Fault::TotalOff(1));
    let victim = rig.lambda.clone();
    rig.sim.s3.faults.once("PUT", "code42/trusted_activities/", 1, S3Fault::after(move || victim.kill()));
    assert!(matches!(rig.invoke(json!({})).await, Outcome::Died(_)));
    rig.sim.s3.faults.clear();
    rig.recover().await;
    let stored = rig.stored(stream.name).await;
    assert_eq!(stored.len(), 9, "eight, one of which has changed: {stored:#?}");
    rig.recover().await;
    assert_eq!(rig.stored(stream.name).await, stored, "nothing has changed since");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_changes_back_while_its_list_is_read_once_more_is_stored_as_it_is() {
    let stream = STREAMS.into_iter().find(|stream| stream.name == "agents").unwrap();
    for is_cut in [false, true] {
        let rig = stream.rig(5).await;
        let record = stream.populate(&rig.sim.world, 8).swap_remove(0);
        collected(&rig, stream).await;
        let changed = rig.sim.world.change(stream.dataset, &record.id, |raw| with_member(raw, "changed", "1"));
        if is_cut {
            // The run that sees the change reads no further page.
            rig.sim.faults.once(stream.endpoint, 2, Fault::Hang);
            assert_eq!(rig.run_within(Duration::from_secs(5)).await["status"], "partial");
            rig.sim.faults.clear();
        }
        // The second page has another total, so the first is read again.
        let second = if is_cut { 1 } else { 2 };
        rig.sim.faults.once(stream.endpoint, second, Fault::TotalOff(1));
        let (world, id, before) = (rig.sim.world.clone(), record.id.clone(), record.raw.clone());
        let changes_back = move || {
            world.change(stream.dataset, &id, |_| before.to_string());
        };
        rig.sim.faults.once(stream.endpoint, second + 1, Fault::run(changes_back));
        println!("{is_cut}");
        collected(&rig, stream).await;
        let stored = rig.stored(stream.name).await;
        let of_it: Vec<&String> = stored.iter().filter(|line| line.contains(&*record.id)).collect();
        assert_eq!(of_it, [&compact(&record.raw), &compact(&changed), &compact(&record.raw)]);
        collected(&rig, stream).await;
        assert_eq!(rig.stored(stream.name).await, stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_with_any_of_its_writes_loses_and_doubles_nothing() {
    let stream = STREAMS.into_iter().find(|stream| stream.name == "watchlists").unwrap();
    for is_before in [true, false] {
        for nth in 1..=8 {
            let rig = stream.rig(5).await;
            let records = stream.populate(&rig.sim.world, 7);
            println!("{nth}, {is_before}");
            for record in &records[..3] {
                rig.sim.world.add_children(Dataset::WatchlistMembers, &record.id, 2);
                let lambda: Lambda = rig.lambda.clone();
                let fault = if is_before {
                    S3Fault::before(move || lambda.kill())
                } else {
                    S3Fault::after(move || lambda.kill())
                };
                rig.sim.s3.faults.once("PUT", "", nth, fault);
                rig.invoke(json!({})).await;
                rig.sim.s3.faults.clear();
                rig.free_the_lease().await;
            }
            rig.recover().await;
            stream.assert_holds(&rig, &[]).await;
            assert!(rig.sim.s3.object(rig.sim.bucket(), CHECKPOINT).await.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_interrupted_begins_anew_in_pages_of_another_size() {
    for (stream, endpoint) in
        [("legal_hold", Endpoint::Matters), ("users", Endpoint::Users), ("cases", Endpoint::CaseList)]
    {
        let streams = |lambda: LambdaBuilder| lambda.env("STREAMS", stream);
        let rig = Rig::with(streams).await;
        let [small, large] = ["5", "20"].map(|size| rig.container(|lambda| streams(lambda).env("PAGE_SIZE", size)));
        let world = &rig.sim.world;
        let all = match stream {
            "users" => world.add_users(60).len(),
            "cases" => world.add_cases(60, ago(900), ago(800)).len(),
            _ => world.add_records(Dataset::Matters, 60).len(),
        };
        rig.sim.faults.from(endpoint, 5, Fault::Hang);
        small.invoke(json!({}), Duration::from_secs(4)).await;
        rig.sim.faults.clear();
        assert_eq!(large.invoke(json!({}), DEADLINE).await.answer()["status"], "complete", "{stream}");
        assert_eq!(rig.stored(stream).await.len(), all, "{stream}");
    }
}
