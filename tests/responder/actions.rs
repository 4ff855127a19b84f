//! Each action once: its effect, the writes sent for it, and that repeating the request sends nothing.

use std::io::Write;

use serde_json::{Value, json};
use simulator::{Dataset, compact};

use crate::rig::{Rig, groups, request};

/// An action, its input, the expected writes, and a check of the effect.
type Case = (&'static str, Value, &'static [&'static str], fn(&Rig) -> bool);

#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    vec![
        ("session.add_note", json!({"id": "s-1", "noteContent": "seen"}), &["POST /v1/sessions/s-1/add-note"], |rig| {
            rig.notes_with("s-1", "seen\n\n[request r]") == 1
        }),
        (
            "session.set_state",
            json!({"ids": ["s-1", "s-2"], "newState": "CLOSED_FP"}),
            &["POST /v1/sessions/change-state"],
            |rig| {
                rig.state_of("s-1") == "CLOSED_FP"
                    && rig.state_of("s-2") == "CLOSED_FP"
                    && rig.state_of("s-3") == "OPEN"
            },
        ),
        (
            "session.set_state_where",
            json!({"criteria": {"actor_id": "a-1", "state": ["OPEN"]}, "newState": "CLOSED"}),
            &["POST /v1/sessions/change-state"],
            |rig| ["s-1", "s-2", "s-3", "s-4"].iter().all(|id| rig.state_of(id) == "CLOSED"),
        ),
        (
            "case.create",
            json!({"name": "a new case", "description": "why", "subject": "bob@example.com", "assignee": "u-1"}),
            &["POST /v1/cases"],
            |rig| {
                let case = rig.record(Dataset::Cases, "3").unwrap();
                (&case["name"], &case["subject"], &case["assignee"])
                    == (&json!("a new case"), &json!("a-2"), &json!("u-1"))
            },
        ),
        (
            "case.update",
            json!({"number": 1, "findings": "it was nothing", "assignee": null}),
            &["PUT /v1/cases/1"],
            |rig| {
                let case = rig.record(Dataset::Cases, "1").unwrap();
                // Fields that were not named stay unchanged, because the API takes the whole object.
                (&case["findings"], &case["description"], &case["assignee"], &case["status"])
                    == (&json!("it was nothing"), &json!("d"), &Value::Null, &json!("OPEN"))
            },
        ),
        ("case.update", json!({"number": 1, "status": "CLOSED"}), &["PUT /v1/cases/1"], |rig| {
            rig.record(Dataset::Cases, "1").unwrap()["status"] == "CLOSED"
        }),
        ("case.delete", json!({"number": 2}), &["DELETE /v1/cases/2"], |rig| rig.record(Dataset::Cases, "2").is_none()),
        (
            "case.add_events",
            json!({"number": 1, "events": (0..20).map(|n| format!("e-{n:02}")).collect::<Vec<_>>()}),
            // Twenty events are too many for one request, ten are not.
            &["POST /v1/cases/1/fileevent", "POST /v1/cases/1/fileevent", "POST /v1/cases/1/fileevent"],
            |rig| rig.children(Dataset::CaseFileEvents, "1").len() == 20,
        ),
        ("case.remove_event", json!({"number": 1, "eventId": "e-00"}), &["DELETE /v1/cases/1/fileevent/e-00"], |rig| {
            rig.children(Dataset::CaseFileEvents, "1") == ["e-01"]
        }),
        (
            "watchlist.add",
            json!({"watchlist": "DEPARTING_EMPLOYEE", "people": ["ann@example.com", "a-2"]}),
            &["POST /v2/watchlists/w-1/included-actors/add"],
            |rig| rig.children(Dataset::IncludedActors, "w-1") == ["a-1", "a-2"],
        ),
        (
            "watchlist.add",
            json!({"watchlist": "DEPARTINGEMPLOYEE", "people": "a-2"}),
            &["POST /v2/watchlists/w-1/included-actors/add"],
            |rig| rig.children(Dataset::IncludedActors, "w-1").contains(&"a-2".to_owned()),
        ),
        (
            "watchlist.remove",
            json!({"watchlist": "Watch", "people": "a-3"}),
            &["POST /v2/watchlists/w-2/included-actors/delete"],
            |rig| rig.children(Dataset::IncludedActors, "w-2").is_empty(),
        ),
        (
            "watchlist.exclude",
            json!({"watchlist": "w-2", "people": ["cid@example.com"]}),
            &["POST /v2/watchlists/w-2/excluded-actors/add"],
            |rig| {
                rig.children(Dataset::ExcludedActors, "w-2") == ["a-3"]
                    && rig.children(Dataset::WatchlistMembers, "w-2").is_empty()
            },
        ),
        (
            "watchlist.unexclude",
            json!({"watchlist": "Look", "people": ["a-3"]}),
            &["POST /v2/watchlists/w-3/excluded-actors/delete"],
            |rig| rig.children(Dataset::ExcludedActors, "w-3").is_empty(),
        ),
        (
            "actor.update",
            json!({"actor": "ann@example.com", "notes": "leaves", "endDate": "2026-12-31"}),
            &["PATCH /v1/actors/actor/id/a-1"],
            |rig| {
                let actor = rig.record(Dataset::Actors, "a-1").unwrap();
                (&actor["notes"], &actor["endDate"]) == (&json!("leaves"), &json!("2026-12-31"))
            },
        ),
        ("user.deactivate", json!({"user": "bob@example.com"}), &["POST /v1/users/u-2/deactivate"], |rig| {
            let user = rig.record(Dataset::Users, "u-2").unwrap();
            (&user["active"], &user["blocked"]) == (&json!(false), &json!(true))
        }),
        ("user.activate", json!({"user": "u-3"}), &["POST /v1/users/u-3/activate"], |rig| {
            rig.record(Dataset::Users, "u-3").unwrap()["active"] == true
        }),
        (
            "agent.deactivate",
            json!({"ids": ["g-20", "g-99", "g-21"]}),
            // The agent that doesn't exist is left out.
            &["POST /v1/agents/deactivate"],
            |rig| ["g-20", "g-21"].iter().all(|id| rig.record(Dataset::Agents, id).unwrap()["active"] == false),
        ),
        ("agent.activate", json!({"ids": ["g-30"]}), &["POST /v1/agents/activate"], |rig| {
            rig.record(Dataset::Agents, "g-30").unwrap()["active"] == true
        }),
        (
            "legal_hold.add",
            json!({"matter": "m-1", "user": "bob@example.com"}),
            &["POST /v1/legal-hold/matters/m-1/custodians"],
            |rig| rig.children(Dataset::Custodians, "m-1").contains(&"u-2".to_owned()),
        ),
        (
            "legal_hold.remove",
            json!({"matter": "m-1", "user": "u-1"}),
            &["POST /v1/legal-hold/matters/m-1/custodians/remove"],
            |rig| !rig.children(Dataset::Custodians, "m-1").contains(&"u-1".to_owned()),
        ),
        (
            "trust.add",
            json!({"type": "DOMAIN", "value": "new.example.com", "activityActionGroups": groups()}),
            &["POST /v2/trusted-activities"],
            |rig| rig.record(Dataset::TrustedActivities, "8").unwrap()["value"] == "new.example.com",
        ),
        ("trust.update", json!({"id": 7, "description": "a partner"}), &["PATCH /v2/trusted-activities/7"], |rig| {
            let activity = rig.record(Dataset::TrustedActivities, "7").unwrap();
            (&activity["description"], &activity["value"]) == (&json!("a partner"), &json!("old.example.com"))
        }),
        ("trust.delete", json!({"id": 7}), &["DELETE /v2/trusted-activities/7"], |rig| {
            rig.record(Dataset::TrustedActivities, "7").is_none()
        }),
        ("rule.disable", json!({"id": "r-1"}), &["POST /v2/alert-rules/r-1/disable"], |rig| {
            rig.record(Dataset::AlertRules, "r-1").unwrap()["isEnabled"] == false
        }),
    ]
}

/// Prepares the records that some actions remove.
fn prepare(rig: &Rig) {
    let world = &rig.sim.world;
    for id in ["e-00", "e-01"] {
        world.push_child(
            Dataset::CaseFileEvents,
            1,
            json!({"event": {"id": id, "inserted": "2026-01-01T00:00:00Z"}}).to_string(),
        );
    }
    for (dataset, list) in
        [(Dataset::IncludedActors, "w-2"), (Dataset::WatchlistMembers, "w-2"), (Dataset::ExcludedActors, "w-3")]
    {
        world.push_child(dataset, list, json!({"actorId": "a-3", "actorname": "cid@example.com"}).to_string());
    }
    world.push_child(Dataset::Custodians, "m-1", json!({"userId": "u-1", "membershipActive": true}).to_string());
    for (dataset, id) in [(Dataset::Users, "u-3"), (Dataset::Agents, "g-30")] {
        world.change(dataset, id, |raw| raw.replace("\"active\":true", "\"active\":false"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_takes_effect_once_is_read_back_and_is_told_in_the_trail() {
    for (action, input, sent, is_so) in cases() {
        let rig = Rig::new().await;
        if action != "case.add_events" {
            prepare(&rig);
        }
        let event = request("r", action, &input);
        let rehearsed = rig
            .ask(json!({"dry_run": true, "action": action, "input": input, "request_id": "r",
            "requested_by": "alice@example.com", "reason": "ticket 4711"}))
            .await;
        assert_eq!(
            (&rehearsed["outcome"], &rehearsed["would_change"]),
            (&json!("dry_run"), &json!(true)),
            "{rehearsed:#}"
        );
        assert!(
            rig.writes().is_empty() && rig.sim.s3.writes_below("").is_empty(),
            "{action}: a dry run writes nothing"
        );
        let first = rehearsed["requests"][0].clone();
        assert_eq!(format!("{} {}", first["method"].as_str().unwrap(), first["path"].as_str().unwrap()), sent[0]);

        let answer = rig.ask(event.clone()).await;
        assert_eq!((&answer["outcome"], &answer["request_id"]), (&json!("done"), &json!("r")), "{action}: {answer:#}");
        assert!(answer["status_code"].as_u64().is_some_and(|status| (200..300).contains(&status)), "{answer:#}");
        assert!(is_so(&rig), "{action}: {answer:#}");
        assert_eq!(rig.writes(), sent, "{action}");
        rig.assert_trail("r", "done").await;

        let again = rig.ask(event).await;
        assert_eq!(again["outcome"], "done", "the same request gets the stored answer: {again:#}");
        assert_eq!(rig.writes(), sent, "{action}: nothing is sent");

        if action == "case.create" {
            // Case names are unique, so the API refuses a second one.
            let (refused, answer) = rig.refused(request("another", action, &input)).await;
            assert_eq!(refused, "ThirdPartyRefused", "{answer:#}");
            assert!(answer["error"]["message"].as_str().unwrap().contains("NAME_EXISTS"), "{answer:#}");
            continue;
        }
        let other = rig.ask(request("another", action, &input)).await;
        // A second note is another note with its own request's id.
        let expected = if action == "session.add_note" { "done" } else { "already" };
        assert_eq!(other["outcome"], expected, "{action}: {other:#}");
        rig.assert_trail("another", expected).await;
        assert!(is_so(&rig), "{action}");
        assert_eq!(rig.writes().len(), sent.len() + usize::from(expected == "done"), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_the_trail_says_who_what_why_and_exactly_which_request() {
    let rig = Rig::new().await;
    rig.ask(request("r", "session.set_state", &json!({"ids": ["s-1"], "newState": "CLOSED"}))).await;
    let trail = rig.trail("r").await;
    let intent = json!({
        "request_id": "r", "record": "intent", "at": trail[0]["at"], "action": "session.set_state",
        "input": {"ids": ["s-1"], "newState": "CLOSED"}, "requested_by": "alice@example.com", "reason": "ticket 4711",
        "approved_by": null, "before": {"s-1": "OPEN"},
        "requests": [{"method": "POST", "path": "/v1/sessions/change-state", "body": {"ids": ["s-1"], "newState": "CLOSED"}}],
    });
    assert_eq!(trail[0], intent);
    assert_eq!((&trail[1]["before"], &trail[1]["after"]), (&json!({"s-1": "OPEN"}), &json!({"s-1": "CLOSED"})));
    assert_eq!((&trail[1]["outcome"], &trail[1]["status_code"]), (&json!("done"), &json!(204)));
    for object in rig.sim.s3.objects(rig.sim.bucket(), crate::rig::TRAIL).await {
        let at = object.key.strip_prefix(crate::rig::TRAIL).unwrap();
        assert!(at.starts_with("dt=20") && at.contains("/hour=") && at.ends_with(".ndjson.gz"), "{at}");
        assert_eq!((object.content_type.as_deref(), object.content_encoding), (Some("application/x-ndjson"), None));
        assert_eq!((&object.metadata["stream"][..], &object.metadata["records"][..]), ("response_actions", "1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_leavers_dates_are_set_lists_follow_and_what_is_so_already_is_left_alone() {
    let rig = Rig::new().await;
    let day = |days| (chrono::Utc::now().date_naive() + chrono::TimeDelta::days(days)).to_string();
    let list = format!(
        "address,end_date\nann@example.com,{}\nbob@example.com,{}\ncid@example.com,\nnobody@example.com,{}\n",
        day(5),
        day(200),
        day(5)
    );
    rig.sim.s3.put_raw(rig.sim.bucket(), "leavers/today.csv", list).await;
    rig.sim.world.push_child(Dataset::IncludedActors, "w-1", json!({"actorId": "a-3"}).to_string());
    let sync = |id: &str| request(id, "leavers.sync", &json!({"key": "leavers/today.csv"}));
    let answer = rig.ask(sync("monday")).await;
    assert_eq!(answer["outcome"], "done", "{answer:#}");
    assert_eq!(rig.children(Dataset::IncludedActors, "w-1"), ["a-1"], "near: on the list; withdrawn: off it");
    let end = |id| rig.record(Dataset::Actors, id).unwrap()["endDate"].clone();
    assert_eq!((end("a-1"), end("a-2"), end("a-3")), (json!(day(5)), json!(day(200)), Value::Null));
    assert!(answer["after"].to_string().contains("nobody@example.com"), "an unknown person is named: {answer:#}");
    let sent = rig.writes().len();
    assert_eq!(rig.ask(sync("tuesday")).await["outcome"], "already");
    assert_eq!(rig.writes().len(), sent);
    let (error_type, _) = rig.refused(request("r", "leavers.sync", &json!({"key": "code42/users/x"}))).await;
    assert_eq!(error_type, "InvalidEvent", "nothing else of the bucket is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_names_one_person_by_two_addresses_is_refused() {
    let rig = Rig::new().await;
    let alias = json!({"actorId": "a-9", "name": "ann@old.example", "active": true, "parentActorId": "a-1"});
    rig.sim.world.push_record(Dataset::Actors, alias.to_string());
    let soon = chrono::Utc::now().date_naive() + chrono::TimeDelta::days(5);
    let list = format!("address,end_date\nann@example.com,{soon}\nann@old.example,\n");
    rig.sim.s3.put_raw(rig.sim.bucket(), "leavers/today.csv", list).await;
    let (error_type, answer) = rig.refused(request("r", "leavers.sync", &json!({"key": "leavers/today.csv"}))).await;
    assert_eq!(error_type, "InvalidEvent", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("ann@old.example"), "{answer:#}");
    assert!(rig.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_archived_only_once_its_events_are_in_the_bucket() {
    let rig = Rig::new().await;
    for id in ["e-00", "e-01"] {
        let event = rig.sim.world.file_events().into_iter().find(|event| *event.id == *id).unwrap();
        rig.sim.world.push_child(Dataset::CaseFileEvents, 1, event.raw.to_string());
    }
    let archive = request("r", "case.update", &json!({"number": 1, "status": "ARCHIVED"}));
    let (error_type, answer) = rig.refused(archive.clone()).await;
    assert_eq!(error_type, "ActionNotAllowed");
    assert!(answer["error"]["message"].as_str().unwrap().contains("2 file events of case 1"), "{answer:#}");
    // The collector's binary stores them.
    let collector = rig
        .sim
        .lambda(std::path::Path::new(env!("CARGO_BIN_EXE_incydr-collector")))
        .env("STREAMS", "case_file_events")
        .env("REQUESTS_PER_MINUTE", "100000")
        .start();
    collector.invoke(json!({}), crate::rig::DEADLINE).await.answer();
    assert_eq!(
        rig.ask(archive).await["outcome"],
        "done",
        "a request that was refused before sending may be sent again"
    );
    assert_eq!(rig.record(Dataset::Cases, "1").unwrap()["status"], "ARCHIVED");
    assert!(rig.children(Dataset::CaseFileEvents, "1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_answers_as_the_api_does_and_leaves_no_trace() {
    let rig = Rig::new().await;
    for (action, input, place, expected) in [
        ("case.list", json!({}), "/totalCount", json!(2)),
        ("case.search", json!({"status": ["OPEN"], "pgSize": 10}), "/cases/0/number", json!(1)),
        ("case.get", json!({"number": 2}), "/name", json!("case 2")),
        ("case.events", json!({"number": 1}), "/totalCount", json!(0)),
        ("session.get", json!({"id": "s-2"}), "/sessionId", json!("s-2")),
        ("session.search", json!({"actor_id": "a-1", "page_size": 2}), "/totalCount", json!(4)),
        ("session.events", json!({"id": "s-2"}), "/queryResult/totalCount", json!(0)),
        ("file_events.search", json!({"user": "ann@example.com", "limit": 3}), "/totalCount", json!(24)),
    ] {
        let answer = rig.ask(json!({"action": action, "input": input})).await;
        assert_eq!(answer["json_body"].pointer(place), Some(&expected), "{action}: {answer:#}");
        assert_eq!(
            (&answer["status_code"], &answer["reason"], &answer["outcome"]),
            (&json!(200), &json!("OK"), &json!("done"))
        );
    }
    assert!(rig.writes().is_empty() && rig.sim.s3.requests().is_empty());
    let raw = rig.sim.world.cases()[0].raw.to_string();
    let answer = rig.ask(json!({"action": "case.get", "input": {"number": 1}})).await;
    assert_eq!(answer["json_body"], serde_json::from_str::<Value>(&compact(&raw)).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_verifies_the_trail_and_names_what_was_altered_or_taken_away() {
    let rig = Rig::new().await;
    for id in ["1", "2"] {
        rig.ask(crate::rig::note(id)).await;
    }
    let collector = rig
        .sim
        .lambda(std::path::Path::new(env!("CARGO_BIN_EXE_incydr-collector")))
        .env("STREAMS", "users")
        .env("REQUESTS_PER_MINUTE", "100000")
        .start();
    collector.invoke(json!({}), crate::rig::DEADLINE).await.answer();
    let verify = async || collector.invoke(json!({"action": "verify"}), crate::rig::DEADLINE).await.answer();
    let whole = verify().await;
    assert_eq!((&whole["status"], &whole["findings"]), (&json!("whole"), &json!([])), "{whole:#}");
    let objects = rig.sim.s3.objects(rig.sim.bucket(), crate::rig::TRAIL).await;
    let is_intent = |object: &&simulator::Object| object.lines()[0].contains("\"intent\"");
    let intent = objects.iter().find(is_intent).unwrap();
    rig.sim.s3.delete_raw(rig.sim.bucket(), &intent.key).await;
    let broken = verify().await;
    assert_eq!(broken["status"], "broken");
    assert!(broken["findings"][0]["wrong"].as_str().unwrap().contains("a result without an intent"), "{broken:#}");
    // Put back by hand, without its hash.
    rig.sim.s3.put_raw(rig.sim.bucket(), &intent.key, intent.bytes.clone()).await;
    let altered = verify().await;
    assert_eq!(altered["findings"][0]["key"], json!(intent.key), "{altered:#}");
    assert!(altered["findings"][0]["wrong"].as_str().unwrap().contains("SHA-256"), "{altered:#}");
    // A finding as with any other object: the rest is verified.
    rig.sim.s3.faults.always("GET", &intent.key, simulator::S3Fault::Code(403, "InvalidObjectState"));
    let archived = verify().await;
    assert!(archived["findings"][0]["wrong"].as_str().unwrap().contains("cold storage"), "{archived:#}");
    assert_eq!(archived["checked"]["records"].as_u64(), whole["checked"]["records"].as_u64().map(|all| all - 1));
}

/// A run's time may end in the middle of the trail, between a request's two records or after a record without the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_trail_that_takes_several_runs_is_verified_to_its_end() {
    let rig = Rig::new().await;
    let sim = &rig.sim;
    let hours_ago = |hours: i64| {
        let at = (chrono::Utc::now() - chrono::TimeDelta::hours(hours)).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let compact: String = at.chars().filter(char::is_ascii_alphanumeric).collect();
        (format!("{}dt={}/hour={}/{compact}-{compact}", crate::rig::TRAIL, &at[..10], &at[11..13]), at)
    };
    let put = async |hours: i64, request_id: &str, record: &str| {
        let (key, at) = hours_ago(hours);
        let line = json!({"request_id": request_id, "record": record, "at": at});
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writeln!(gzip, "{line}").unwrap();
        sim.s3.put_raw(sim.bucket(), &format!("{key}.ndjson.gz"), gzip.finish().unwrap()).await;
    };
    // The result of "slow" came three hours after its intent, and "dead" has none.
    for hours in (20..60).step_by(2) {
        put(hours, &format!("r{hours}"), "intent").await;
        put(hours - 1, &format!("r{hours}"), "result").await;
    }
    for (hours, request_id, record) in [(90, "slow", "intent"), (87, "slow", "result"), (80, "dead", "intent")] {
        put(hours, request_id, record).await;
    }
    let collector =
        sim.lambda(std::path::Path::new(env!("CARGO_BIN_EXE_incydr-collector"))).env("STREAMS", "users").start();
    collector.invoke(json!({}), crate::rig::DEADLINE).await.answer();
    sim.s3.faults.always("GET", crate::rig::TRAIL, simulator::S3Fault::Late(std::time::Duration::from_millis(300)));
    let (mut wrong, mut event, mut runs) = (Vec::new(), json!({"action": "verify"}), 0);
    loop {
        let answer = collector.invoke(event, std::time::Duration::from_secs(8)).await.answer();
        // These objects were put without their hashes, which is another finding of each.
        let told = answer["findings"].as_array().unwrap().iter().map(|finding| finding["wrong"].to_string());
        wrong.extend(told.filter(|wrong| wrong.contains("the request")));
        runs += 1;
        let Some(next) = answer["next_from"].as_str() else { break };
        assert!(runs < 20, "it gets no further: {answer:#}");
        event = json!({"action": "verify", "from": next});
    }
    assert!(runs > 1 && wrong.len() == 1, "{runs}: {wrong:?}");
    assert!(wrong[0].contains("dead") && wrong[0].contains("has no result"), "{wrong:?}");
}
