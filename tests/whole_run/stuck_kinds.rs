//! Lists of one kind that fail for every record, and answers of single records that are another's or have no id.

use std::time::Duration;

use chrono::{SubsecRound, TimeDelta};
use futures::future::join_all;
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Dataset, Endpoint, Fault, LambdaBuilder, with_member};

use crate::inventories::stream_named;
use crate::rig::{Rig, ago, assert_same};
use crate::stuck::{any_answer, assert_stuck, miscounts};

fn is_member_list(request: &Request) -> bool {
    request.path.ends_with("/members")
}

/// The number of requests for members of watchlists with this in their id.
fn members_asked(rig: &Rig, id: &str) -> usize {
    let asked = rig.sim.api.requests();
    asked.iter().filter(|request| request.path.ends_with("/members") && request.path.contains(id)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_for_every_record_is_stuck_as_a_whole_and_holds_up_none_of_the_others() {
    let faults = [
        Fault::Forbidden,
        Fault::Unauthorized,
        Fault::Status(400, "{}".into()),
        Fault::Status(500, "{}".into()),
        Fault::Html,
        Fault::edited(|_| "{}".into()),
    ];
    join_all(faults.into_iter().map(async |fault| {
        let stream = stream_named("watchlists");
        let rig = stream.rig(50).await;
        stream.populate(&rig.sim.world, 6);
        let but_members = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|line| !line.starts_with(r#"{"_list":"members""#)).collect()
        };
        println!("{fault:?}");
        let ailment = rig.sim.faults.ail(Endpoint::Any, is_member_list, fault);
        for _ in 0..3 {
            let answer = rig.stuck_run().await;
            let told = assert_stuck(&answer, "watchlists", 1);
            assert_eq!(told["stuck"]["oldest"], json!({"list": "members"}), "{answer:#}");
            assert_same("watchlists", rig.stored("watchlists").await, but_members(stream.lines(&rig.sim.world)));
            rig.sim.world.add_records(Dataset::Watchlists, 1);
        }
        ailment.heal();
        rig.assert_heals("watchlists").await;
        stream.assert_holds(&rig, &[]).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_answers_for_any_record_is_stuck_and_asked_for_less_and_less_often() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    stream.populate(&rig.sim.world, 4);
    rig.sim.faults.ail(Endpoint::Any, is_member_list, Fault::Hang);
    let mut answer = Value::Null;
    for _ in 0..3 {
        answer = any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(6)).await);
    }
    assert_stuck(&answer, "watchlists", 1);
    let but_members = |line: &String| !line.starts_with(r#"{"_list":"members""#);
    let expected = stream.lines(&rig.sim.world).into_iter().filter(but_members);
    assert_same("watchlists", rig.stored("watchlists").await, expected);
    let before = members_asked(&rig, "");
    rig.stuck_run().await;
    assert_eq!(members_asked(&rig, ""), before, "it is not due");
    rig.sim.faults.clear();
    rig.assert_heals("watchlists").await;
    stream.assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_one_record_that_never_answers_is_not_asked_for_in_every_run() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let records = stream.populate(&rig.sim.world, 4);
    rig.sim.faults.ail_at(format!("/v2/watchlists/{}/members", records[1].id), Fault::Hang);
    let mut tries = Vec::new();
    for _ in 0..5 {
        let before = members_asked(&rig, &records[1].id);
        any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(5)).await);
        tries.push(members_asked(&rig, &records[1].id) - before);
    }
    assert!(tries[0] > 0 && tries[2..].contains(&0), "{tries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_list_that_answers_401_for_good_is_stuck_alone() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(50).await;
    let records = stream.populate(&rig.sim.world, 6);
    let path = format!("/v2/watchlists/{}/members", records[2].id);
    let ailment = rig.sim.faults.ail_at(path, Fault::Unauthorized);
    rig.any_run(crate::rig::DEADLINE).await;
    let answer = rig.stuck_run().await;
    assert_stuck(&answer, "watchlists", 1);
    let refused = format!(r#"{{"_list":"members","_watchlistId":"{}","#, records[2].id);
    let expected = stream.lines(&rig.sim.world).into_iter().filter(|line| !line.starts_with(&refused));
    assert_same("watchlists", rig.stored("watchlists").await, expected);
    ailment.heal();
    rig.assert_heals("watchlists").await;
    stream.assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rows_of_each_record_that_have_no_id_are_many_together() {
    let stream = stream_named("alert_rules");
    let rig = stream.rig(50).await;
    // Every other rule has no list of users.
    for rule in rig.sim.world.add_records(Dataset::AlertRules, 6).iter().step_by(2) {
        rig.sim.world.add_children(Dataset::RuleUsers, &rule.id, 2);
    }
    let is_users = |request: &Request| request.path.ends_with("/users");
    let renamed = Fault::edited(|body| body.replace("userIdFromAuthority", "user"));
    let ailment = rig.sim.faults.ail(Endpoint::Any, is_users, renamed);
    let answer = rig.stuck_run().await;
    let told = assert_stuck(&answer, "alert_rules", 1);
    assert_eq!(
        (&told["stuck"]["oldest"], &told["drift"]),
        (&json!({"list": "users"}), &told["set_aside"]),
        "{answer:#}"
    );
    ailment.heal();
    rig.assert_heals("alert_rules").await;
    stream.assert_holds(&rig, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_without_their_id_are_not_set_aside_one_by_one() {
    let rig = stream_named("actor_profiles").rig(50).await;
    rig.sim.world.add_records(Dataset::Actors, 6);
    let is_profile = |request: &Request| request.path.contains("/v1/actors/actor/id/");
    let ailment =
        rig.sim.faults.ail(Endpoint::Any, is_profile, Fault::edited(|body| body.replace("actorId", "actor_id")));
    for _ in 0..2 {
        let (error, answer) = rig.failure(json!({})).await;
        assert_eq!(
            (error.as_str(), &answer["streams"]["actor_profiles"]["set_aside"]),
            ("ThirdPartyGenericError", &json!(0))
        );
    }
    ailment.heal();
    rig.assert_heals("actor_profiles").await;
    assert_eq!(rig.stored("actor_profiles").await.len(), 6);
}

/// A rig with four cases of four attached events each.
async fn attached() -> Rig {
    let settings =
        |lambda: LambdaBuilder| lambda.env("STREAMS", "case_file_events").env("INVENTORY_INTERVAL_MINUTES", "0");
    let rig = Rig::with(settings).await;
    for case in rig.sim.world.add_cases(4, ago(900), ago(800)) {
        rig.sim.world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
        rig.sim.world.add_children(Dataset::CaseFileEvents, &case.id, 4);
    }
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_event_that_is_answered_with_another_one_is_stuck_and_the_other_is_stored_once() {
    let rig = attached().await;
    let case = rig.sim.world.cases().remove(1);
    let events = rig.sim.world.children(Dataset::CaseFileEvents, &case.id);
    let other = events[2].raw.to_string();
    let path = format!("/v1/cases/{}/fileevent/{}", case.id, events[1].id);
    let ailment = rig.sim.faults.ail_at(path, Fault::edited(move |_| other.clone()));
    for _ in 0..3 {
        assert_stuck(&rig.stuck_run().await, "case_file_events", 1);
        assert_eq!(rig.stored("case_file_events").await.len(), 15);
    }
    ailment.heal();
    rig.assert_heals("case_file_events").await;
    let mut stored = rig.stored("case_file_events").await;
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_events_that_can_not_be_read_in_every_case_are_stuck() {
    let rig = attached().await;
    for case in rig.sim.world.cases() {
        for event in &rig.sim.world.children(Dataset::CaseFileEvents, &case.id)[1..3] {
            rig.sim.faults.ail_at(format!("/v1/cases/{}/fileevent/{}", case.id, event.id), Fault::Forbidden);
        }
    }
    for _ in 0..2 {
        assert_stuck(&rig.stuck_run().await, "case_file_events", 4);
        assert_eq!(rig.stored("case_file_events").await.len(), 8);
    }
    rig.sim.faults.clear();
    rig.assert_heals("case_file_events").await;
    assert_eq!(rig.stored("case_file_events").await.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_failed_for_every_record_and_does_not_fit_a_run_is_read_over_several() {
    let stream = stream_named("legal_hold");
    let rig = stream.rig(50).await;
    stream.populate(&rig.sim.world, 32);
    rig.sim.faults.always(Endpoint::Custodians, Fault::Status(500, "{}".into()));
    assert_stuck(&rig.stuck_run().await, "legal_hold", 1);
    rig.sim.faults.clear();
    // Eight times four requests side by side, of which a run has time for six at most.
    rig.sim.api.change(|behaviour| behaviour.latency = Duration::from_millis(400));
    let mut answer = Value::Null;
    for _ in 0..16 {
        answer = any_answer(rig.lambda.invoke(json!({}), Duration::from_secs(3)).await);
        if answer["status"] == "complete" {
            break;
        }
    }
    assert_eq!(answer["status"], "complete", "{answer:#}");
    stream.assert_holds(&rig, &[]).await;
}

/// `count_unseen` counts one row more than is shown. As many rows as a window holds are beside it, in the same second.
#[tokio::test(flavor = "multi_thread")]
async fn all_rows_beside_one_that_is_never_shown_are_stored_though_no_window_between_them_agrees() {
    for (stream, endpoint) in [("file_events", Endpoint::FileEvents), ("audit", Endpoint::AuditCount)] {
        let rig =
            Rig::with(|lambda| lambda.env("STREAMS", stream).env("FE_PAGE_SIZE", "50").env("AUDIT_PAGE_SIZE", "50"))
                .await;
        let at = ago(1_800).trunc_subsecs(0);
        let (from, to) = (at, at + TimeDelta::milliseconds(999));
        let records = match stream {
            "audit" => rig.sim.world.add_audit(150, from, to),
            _ => rig.sim.world.add_file_events(150, from, to),
        };
        miscounts(&rig, endpoint, &[at + TimeDelta::milliseconds(500)]);
        for _ in 0..2 {
            // The windows on both sides of a second ask for it.
            rig.stuck_run().await;
        }
        rig.assert_holds(stream, &records).await;
        rig.sim.faults.clear();
        rig.assert_heals(stream).await;
        rig.assert_holds(stream, &records).await;
        rig.assert_whole().await;
    }
}
