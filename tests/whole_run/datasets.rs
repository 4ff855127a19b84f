//! Every inventory keeps the same promises, whatever its endpoint.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use simulator::{
    Dataset, Endpoint, Fault, Lambda, Outcome, Record, S3Fault, WorldHandle, actor_item, compact, with_member,
};

use crate::oracle::millis;
use crate::rig::{CHECKPOINT, PREFIX, Rig, ago, assert_same};
use crate::stuck::any_answer;

/// A stream and its dataset in the simulator.
#[derive(Clone, Copy)]
pub struct Stream {
    pub name: &'static str,
    pub dataset: Dataset,
    endpoint: Endpoint,
    /// The key of the record's id.
    id: &'static str,
    /// Lists that each record has: the dataset, the list's name, and the key of the record's id.
    pub lists: &'static [(Dataset, &'static str, &'static str)],
}

const fn plain(name: &'static str, dataset: Dataset, endpoint: Endpoint, id: &'static str) -> Stream {
    Stream { name, dataset, endpoint, id, lists: &[] }
}

pub const STREAMS: [Stream; 16] = [
    plain("users", Dataset::Users, Endpoint::Users, "userId"),
    plain("agents", Dataset::Agents, Endpoint::Agents, "agentId"),
    plain("devices", Dataset::Devices, Endpoint::Devices, "deviceId"),
    plain("actors", Dataset::Actors, Endpoint::Actors, "actorId"),
    plain("actor_profiles", Dataset::Actors, Endpoint::Actors, "actorId"),
    plain("departments", Dataset::Departments, Endpoint::Departments, "name"),
    plain("directory_groups", Dataset::DirectoryGroups, Endpoint::DirectoryGroups, "groupId"),
    plain("trusted_activities", Dataset::TrustedActivities, Endpoint::TrustedActivities, "activityId"),
    plain("roles", Dataset::Roles, Endpoint::Roles, "roleId"),
    plain("orgs", Dataset::Orgs, Endpoint::Orgs, "orgGuid"),
    plain("risk_indicator_categories", Dataset::RiskIndicatorCategories, Endpoint::RiskIndicatorCategories, "id"),
    plain("saved_searches", Dataset::SavedSearches, Endpoint::SavedSearches, "id"),
    Stream {
        lists: &[(Dataset::RuleUsers, "users", "_ruleId")],
        ..plain("alert_rules", Dataset::AlertRules, Endpoint::AlertRules, "id")
    },
    Stream {
        lists: &[
            (Dataset::WatchlistMembers, "members", "_watchlistId"),
            (Dataset::IncludedActors, "included_actors", "_watchlistId"),
            (Dataset::ExcludedActors, "excluded_actors", "_watchlistId"),
            (Dataset::IncludedDepartments, "included_departments", "_watchlistId"),
            (Dataset::IncludedDirectoryGroups, "included_directory_groups", "_watchlistId"),
        ],
        ..plain("watchlists", Dataset::Watchlists, Endpoint::Watchlists, "watchlistId")
    },
    Stream {
        lists: &[(Dataset::Custodians, "custodians", "_matterId")],
        ..plain("legal_hold", Dataset::Matters, Endpoint::Matters, "matterId")
    },
    Stream {
        lists: &[(Dataset::UserRoles, "roles", "_userId")],
        ..plain("user_roles", Dataset::Users, Endpoint::Users, "userId")
    },
];

impl Stream {
    pub async fn rig(self, page: usize) -> Rig {
        Rig::with(|lambda| {
            lambda.env("STREAMS", self.name).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", page.to_string())
        })
        .await
    }

    pub fn populate(self, world: &WorldHandle, n: usize) -> Vec<Record> {
        let records = world.add_records(self.dataset, n);
        for (at, record) in records.iter().enumerate() {
            // Every other rule applies to everybody and has no list of users.
            if self.name == "alert_rules" && at % 2 == 1 {
                continue;
            }
            for (list, ..) in self.lists {
                world.add_children(*list, &record.id, 1 + at % 3);
            }
        }
        records
    }

    /// The lines that the bucket must have.
    pub fn lines(self, world: &WorldHandle) -> Vec<String> {
        let records = world.all(self.dataset);
        let mut lines = Vec::new();
        for record in &records {
            for (list, name, key) in self.lists {
                let parent = Value::from(&*record.id);
                let of_list = world.children(*list, &record.id);
                let list = if self.name == "user_roles" { String::new() } else { format!(r#""_list":"{name}","#) };
                lines.extend(
                    of_list.iter().map(|row| format!(r#"{{{list}"{key}":{parent},{}"#, &compact(&row.raw)[1..])),
                );
            }
        }
        if self.name == "user_roles" {
            return lines;
        }
        lines.extend(records.iter().map(|record| self.line(&record.raw)));
        if self.name == "legal_hold" {
            lines.extend(world.all(Dataset::Policies).iter().map(|policy| compact(&policy.raw)));
        }
        lines
    }

    /// The line of a record of its own list, as it is stored.
    fn line(self, raw: &str) -> String {
        match self.name {
            "actors" => compact(&actor_item(raw)),
            _ if raw.starts_with('"') => format!(r#"{{"name":{raw}}}"#),
            _ => compact(raw),
        }
    }

    pub async fn assert_holds(self, rig: &Rig, further: &[String]) {
        let expected = self.lines(&rig.sim.world).into_iter().chain(further.iter().cloned());
        assert_same(self.name, rig.stored(self.name).await, expected);
        let wrong = rig.sim.s3.overwritten_or_deleted(PREFIX);
        assert!(wrong.is_empty(), "not append-only: {wrong:?}");
    }
}

pub fn stream_named(name: &str) -> Stream {
    STREAMS.into_iter().find(|stream| stream.name == name).unwrap()
}

async fn collected(rig: &Rig, stream: Stream) -> Value {
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    answer["streams"][stream.name].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_of_the_collector_has_its_whole_runs_and_a_place_in_the_simulation() {
    // These have files of their own.
    let others = [
        "audit",
        "case_file_events",
        "cases",
        "customer",
        "environment_health",
        "file_events",
        "session_events",
        "sessions",
    ];
    let rig = Rig::new().await;
    let probed = rig.invoke(json!({"action": "probe"})).await.answer();
    let all: BTreeSet<String> = probed["streams"].as_object().unwrap().keys().cloned().collect();
    let tested: BTreeSet<String> = STREAMS.iter().map(|stream| stream.name).chain(others).map(str::to_owned).collect();
    assert_eq!(all, tested);
    let simulated = concat!(include_str!("../simulation/streams.rs"), include_str!("../simulation/objects.rs"));
    for stream in all.iter().filter(|stream| *stream != "environment_health") {
        assert!(simulated.contains(&format!("\"{stream}\"")), "{stream} is not in the simulation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_stored_once_whatever_the_pages_are_like() {
    for stream in STREAMS {
        // The last page is full, half full or the only one; or the API returns fewer rows than were requested.
        for (page, cap) in [(6, None), (5, None), (50, None), (50, Some(4))] {
            let rig = stream.rig(page).await;
            rig.sim.api.change(|behaviour| behaviour.page_cap = cap);
            stream.populate(&rig.sim.world, 12);
            rig.sim.world.add_records(Dataset::Policies, 12);
            println!("{} in pages of {page}, {cap:?}", stream.name);
            collected(&rig, stream).await;
            stream.assert_holds(&rig, &[]).await;
            assert_eq!(collected(&rig, stream).await["objects"], 0, "nothing is new");
            assert_eq!(collected(&rig, stream).await["objects"], 0, "nothing is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_nothing_is_stored() {
    for stream in STREAMS {
        let rig = stream.rig(50).await;
        rig.sim.world.clear(stream.dataset);
        println!("{}", stream.name);
        assert_eq!(collected(&rig, stream).await["objects"], 0);
        assert!(rig.stored(stream.name).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_stored_once_more() {
    for stream in STREAMS.into_iter().filter(|stream| !["departments", "user_roles"].contains(&stream.name)) {
        let rig = stream.rig(5).await;
        let records = stream.populate(&rig.sim.world, 12);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await;
        println!("{}", stream.name);
        let changed =
            rig.sim.world.change(stream.dataset, &records[7].id, |raw| with_member(raw, "newNote", "\"new\""));
        assert_eq!(collected(&rig, stream).await["records"], 1);
        assert_same(stream.name, rig.stored(stream.name).await, before.into_iter().chain([stream.line(&changed)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_a_list_of_a_record_is_stored_once_more() {
    for stream in STREAMS {
        for (list, name, key) in stream.lists {
            let rig = stream.rig(5).await;
            let records = stream.populate(&rig.sim.world, 7);
            collected(&rig, stream).await;
            println!("{}: {name}", stream.name);
            let added = rig.sim.world.add_children(*list, &records[2].id, 1);
            assert_eq!(collected(&rig, stream).await["records"], 1);
            stream.assert_holds(&rig, &[]).await;
            rig.sim.world.remove_child(*list, &records[2].id, &added[0].id);
            assert_eq!(collected(&rig, stream).await["records"], 0, "one reading is not enough");
            assert_eq!(collected(&rig, stream).await["records"], 1);
            let told = tombstones(&rig.stored(stream.name).await);
            assert_eq!(told.len(), 1);
            assert_eq!(told[0][*key], *records[2].id);
            assert!(stream.name == "user_roles" || told[0]["_list"] == *name, "{}", told[0]);
            assert!(told[0].as_object().unwrap().values().any(|value| *value == *added[0].id), "{}", told[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_told_after_two_whole_readings_with_all_that_it_had() {
    for stream in STREAMS {
        let rig = stream.rig(5).await;
        let records = stream.populate(&rig.sim.world, 12);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await.len();
        println!("{}", stream.name);
        rig.sim.world.remove(stream.dataset, &records[3].id);
        let left = stream.lines(&rig.sim.world).len();
        assert_eq!(collected(&rig, stream).await["records"], 0, "one reading is not enough");
        assert_eq!(collected(&rig, stream).await["records"], before - left);
        assert_eq!(collected(&rig, stream).await["records"], 0, "once");
        let told = tombstones(&rig.stored(stream.name).await);
        if stream.name != "user_roles" {
            let of_record = told.iter().find(|told| told.get("_list").is_none()).expect("the record's own");
            assert_eq!(of_record[stream.id], *records[3].id);
        }
        for (_, _, key) in stream.lists {
            let of_lists = told.iter().filter(|told| stream.name == "user_roles" || told.get("_list").is_some());
            assert!(of_lists.into_iter().all(|told| told[*key] == *records[3].id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_it_costs_one_request_an_hour_and_says_which_is_missing() {
    for stream in STREAMS {
        let rig = Rig::with(|lambda| {
            lambda.env("STREAMS", format!("audit,{}", stream.name)).env("INVENTORY_INTERVAL_MINUTES", "0")
        })
        .await;
        stream.populate(&rig.sim.world, 3);
        rig.sim.faults.always(stream.endpoint, Fault::Forbidden);
        println!("{}", stream.name);
        for requests in [1, 0, 0] {
            let answer = rig.run().await;
            assert_eq!(answer["streams"][stream.name]["status"], "not_permitted", "{answer}");
            assert_eq!(answer["streams"][stream.name]["requests"], requests, "{answer}");
        }
        assert!(rig.stored(stream.name).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_holds_up_no_other_and_nobody_on_it_is_gone() {
    // Side by side, because each of them waits for retries.
    join_all(STREAMS.into_iter().filter(|stream| !stream.lists.is_empty()).map(async |stream| {
        let rig = stream.rig(50).await;
        let records = stream.populate(&rig.sim.world, 9);
        collected(&rig, stream).await;
        let before = rig.stored(stream.name).await;
        rig.sim.world.remove(stream.dataset, &records[8].id);
        let (list, name, key) = stream.lists[0];
        let added = rig.sim.world.add_children(list, &records[6].id, 1);
        let failing = format!("/{}/", &*records[2].id);
        for _ in 0..3 {
            rig.sim.faults.when(
                Endpoint::Any,
                {
                    let failing = failing.clone();
                    move |request| request.path.contains(&failing)
                },
                Fault::Status(500, "{}".into()),
            );
            let (error, answer) = rig.failure(json!({})).await;
            assert_eq!(error, "ThirdPartyGenericError", "{}: {answer}", stream.name);
            rig.sim.faults.clear();
        }
        let parent = Value::from(&*records[6].id);
        let list = if stream.name == "user_roles" { String::new() } else { format!(r#""_list":"{name}","#) };
        let line = format!(r#"{{{list}"{key}":{parent},{}"#, &compact(&added[0].raw)[1..]);
        let stored = rig.stored(stream.name).await;
        let told = tombstones(&stored);
        assert!(!told.is_empty(), "{}: who is gone with all lists is told", stream.name);
        let of_gone = |told: &Value| told[key] == *records[8].id || told[stream.id] == *records[8].id;
        assert!(told.iter().all(of_gone), "{}: {told:#?}", stream.name);
        let records_stored = stored.into_iter().filter(|line| !line.contains("\"_deleted\":true"));
        assert_same(stream.name, records_stored, before.into_iter().chain([line]));
        rig.invoke(json!({"action": "restart"})).await.answer();
        for _ in 0..2 {
            collected(&rig, stream).await;
        }
        assert_eq!(tombstones(&rig.stored(stream.name).await), told, "no other tombstones");
    }))
    .await;
}

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
    assert_eq!(rig.run_within(Duration::from_secs(2)).await["status"], "partial");
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
            assert_eq!(rig.run_within(Duration::from_secs(2)).await["status"], "partial");
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
async fn the_tenant_is_one_record() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "customer").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    rig.run().await;
    let customer = rig.sim.world.all(Dataset::Customer);
    rig.assert_holds("customer", &customer).await;
    let changed = rig.sim.world.change(Dataset::Customer, &customer[0].id, |raw| with_member(raw, "name", "\"new\""));
    rig.run().await;
    let expected = [compact(&customer[0].raw), compact(&changed)];
    assert_same("customer", rig.stored("customer").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_to_a_case_stays_when_the_case_is_archived() {
    let rig =
        Rig::with(|lambda| lambda.env("STREAMS", "case_file_events").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let now = chrono::Utc::now();
    let cases = rig.sim.world.add_cases(8, now - chrono::TimeDelta::days(3), now);
    for case in &cases {
        rig.sim.world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
        rig.sim.world.add_children(Dataset::CaseFileEvents, &case.id, 3);
    }
    let line =
        |case: &Record, event: &Record| format!(r#"{{"_caseNumber":"{}",{}"#, case.id, &compact(&event.raw)[1..]);
    let attached = |case: &Record| rig.sim.world.children(Dataset::CaseFileEvents, &case.id);
    rig.run().await;
    let mut expected: Vec<String> = cases
        .iter()
        .flat_map(|case| attached(case).into_iter().map(|event| line(case, &event)).collect::<Vec<_>>())
        .collect();
    assert_same("case_file_events", rig.stored("case_file_events").await, expected.clone());
    let details = rig.sim.api.requests_to(Endpoint::CaseFileEventDetail).len();
    let added = rig.sim.world.add_children(Dataset::CaseFileEvents, &cases[4].id, 1);
    expected.push(line(&cases[4], &added[0]));
    rig.sim.world.change(Dataset::Cases, &cases[2].id, |raw| with_member(raw, "status", "\"ARCHIVED\""));
    for event in attached(&cases[2]) {
        rig.sim.world.remove_child(Dataset::CaseFileEvents, &cases[2].id, &event.id);
    }
    for _ in 0..3 {
        assert_eq!(rig.run().await["status"], "complete");
    }
    assert_same("case_file_events", rig.stored("case_file_events").await, expected);
    assert_eq!(rig.sim.api.requests_to(Endpoint::CaseFileEventDetail).len(), details + 1, "each is fetched once");
}

pub fn tombstones(lines: &[String]) -> Vec<Value> {
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["_deleted"] == true).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_rows_have_lost_their_id_fails_each_run_and_sets_nothing_aside() {
    join_all(["users", "agents", "cases", "sessions", "watchlists"].into_iter().map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        let (dataset, id) = match stream {
            "users" => (Dataset::Users, "userId"),
            "agents" => (Dataset::Agents, "agentId"),
            "cases" => (Dataset::Cases, "number"),
            "sessions" => (Dataset::Sessions, "sessionId"),
            _ => (Dataset::Watchlists, "watchlistId"),
        };
        for n in 0..12 {
            // Ten records have the new form.
            let name = if n < 2 { id } else { "renamed" };
            let at = ago(1_200 - n);
            let begin = at.timestamp_millis();
            let raw = format!(r#"{{"{name}":{n},"beginTime":{begin},"updatedAt":"{}","name":"x"}}"#, millis(at));
            let raw = if stream == "cases" { raw } else { raw.replace(&format!(":{n},"), &format!(r#":"{n}","#)) };
            rig.sim.world.push_raw(dataset, &n.to_string(), at, raw);
        }
        for _ in 0..3 {
            let (error_type, answer) = rig.failure(json!({})).await;
            let told = &answer["streams"][stream];
            assert_eq!(error_type, "ThirdPartyGenericError", "{stream}: {answer:#}");
            let message = told["error"]["message"].as_str().unwrap();
            assert!(message.contains("10 rows of") && message.contains("can't be read"), "{stream}: {message}");
            assert_eq!((&told["set_aside"], &told["drift"]), (&json!(0), &json!(10)), "{stream}: {told:#}");
        }
        let kept = rig.sim.s3.keys(rig.sim.bucket(), "incydr-collector/set-aside/").await;
        assert_eq!(kept, Vec::<String>::new(), "{stream}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attached_event_that_cannot_be_read_holds_up_none_of_the_others_of_its_case() {
    join_all([500, 403, 404].into_iter().map(async |status| {
        let settings = |lambda: simulator::LambdaBuilder| {
            lambda.env("STREAMS", "case_file_events").env("INVENTORY_INTERVAL_MINUTES", "0")
        };
        let rig = Rig::with(settings).await;
        let cases = rig.sim.world.add_cases(3, ago(9_000), ago(90));
        for case in &cases {
            rig.sim.world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
            rig.sim.world.add_children(Dataset::CaseFileEvents, &case.id, 6);
        }
        let bad = rig.sim.world.children(Dataset::CaseFileEvents, &cases[1].id)[2].id.to_string();
        let is_it = move |request: &simulator::http::Request| request.path.ends_with(&bad);
        rig.sim.faults.when(Endpoint::CaseFileEventDetail, is_it, Fault::Status(status, "{}".into()));
        for _ in 0..2 {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{status}: {answer:#}");
            assert_eq!(answer["streams"]["case_file_events"]["stuck"]["count"], 1, "{status}: {answer:#}");
            assert_eq!(rig.stored("case_file_events").await.len(), 17, "{status}");
        }
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        assert_eq!(rig.run().await["status"], "complete", "{status}");
        assert_eq!(rig.stored("case_file_events").await.len(), 18, "{status}");
    }))
    .await;
}
