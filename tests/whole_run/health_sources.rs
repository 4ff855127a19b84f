//! `health` and the stream `environment_health` where a source can't be read as usual: counts that take the API too long,
//! roles and profiles that fail, rows that can't be read.

use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Dataset, Endpoint, Fault};

use crate::health::{actor, agent, days_ago, event, kinds, user, well};
use crate::rig::Rig;

fn problems(kind: &str) -> String {
    let problems = json!([{"type": kind, "description": "it is not possible", "badFilter": null}]);
    json!({"groups": null, "problems": problems}).to_string()
}

/// Whether a request counts more than ten days at once.
fn is_wide(request: &Request) -> bool {
    let Some([from, to]) = simulator::span_asked(&request.json()) else { return false };
    (to - from).num_days() > 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_takes_the_api_too_long_is_made_in_halves_and_added_up() {
    for kind in ["QUERY_TIMEOUT", "RESPONSE_CONTENT_TOO_LARGE", "MAX_GROUPS_EXCEEDED"] {
        for status in [200, 400, 500] {
            let rig = well().await;
            for days in [31, 40, 47, 58] {
                event(&rig.sim, "a1", "GoogleDrive", days);
            }
            rig.sim.faults.when(Endpoint::FileEventGrouping, is_wide, Fault::Status(status, problems(kind)));
            let answer = rig.health().await;
            assert_eq!((kinds(&answer), &answer["left_out"]), (vec!["silent_observer"], &json!([])), "{answer:#}");
            assert_eq!(answer["findings"][0]["records"], 4, "{kind} {status}: {answer:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_counts_always_take_the_api_too_long_the_other_checks_are_stored() {
    let rig = well().await;
    user(&rig.sim, "u2", &json!({}));
    rig.sim.faults.always(Endpoint::FileEventGrouping, Fault::Status(200, problems("QUERY_TIMEOUT")));
    assert_eq!(rig.run().await["streams"]["environment_health"]["records"], 1);
    let asked = rig.sim.api.requests_to(Endpoint::FileEventGrouping).len();
    assert!(asked < 30, "{asked} requests for three counts");
    let answer = rig.health().await;
    assert_eq!((kinds(&answer), &answer["status"]), (vec!["user_without_agent"], &json!("complete")), "{answer:#}");
    let left_out = answer["left_out"].as_array().unwrap();
    let checks: Vec<&Value> = left_out.iter().map(|left_out| &left_out["check"]).collect();
    assert_eq!(checks, ["silent_agent", "silent_observer"]);
    assert!(left_out[0]["why"].as_str().unwrap().contains("the API takes too long over this query: ["), "{answer:#}");
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_without_an_agent_for_a_day_because_the_roles_failed_for_a_moment() {
    let rig = well().await;
    user(&rig.sim, "u2", &json!({}));
    let role = json!({"roleId": "r", "roleName": "Insider Risk Admin", "permissionIds": []});
    rig.sim.world.push_child(Dataset::UserRoles, "u2", role.to_string());
    let busy = rig.sim.faults.ail(Endpoint::UserRoles, |_| true, Fault::Status(503, "busy".into()));
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert_eq!(rig.health().await["status"], "partial");
    busy.heal();
    assert_eq!(rig.run().await["status"], "complete");
    assert!(rig.keys("environment_health").await.is_empty(), "an administrator needs no agent");
    rig.assert_whole().await;

    let refused = well().await;
    user(&refused.sim, "u2", &json!({}));
    refused.sim.faults.always(Endpoint::UserRoles, Fault::Forbidden);
    assert_eq!(refused.run().await["streams"]["environment_health"]["records"], 1, "another try changes nothing");
    assert!(refused.stored("environment_health").await[0].contains("its roles were not read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_not_missed_for_a_day_because_a_profile_failed_for_a_moment() {
    let rig = well().await;
    actor(&rig.sim, "x1", "u1@example.com", Some(&days_ago(5)[..10]));
    let busy = rig.sim.faults.ail(Endpoint::ActorDetail, |_| true, Fault::Status(503, "busy".into()));
    let (error_type, _) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    assert_eq!(rig.health().await["status"], "partial");
    busy.heal();
    assert_eq!(rig.run().await["streams"]["environment_health"]["records"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_legal_hold_or_cases_that_can_not_be_read_leave_it_open_who_is_held() {
    for (endpoint, id, says) in [
        (Endpoint::Matters, "matterId", "1 of the rows of legal hold can't be read"),
        (Endpoint::Custodians, "userId", "1 of the rows of legal hold can't be read"),
        (Endpoint::CaseList, "number", "1 of the rows of open cases can't be read"),
    ] {
        let rig = well().await;
        agent(&rig.sim, "a2", &json!({"lastConnected": days_ago(42), "userId": "u1"}));
        event(&rig.sim, "a2", "Endpoint", 2);
        let matter = json!({"matterId": "m1", "name": "Roe", "active": true});
        rig.sim.world.push_record(Dataset::Matters, matter.to_string());
        rig.sim.world.push_child(Dataset::Custodians, "m1", json!({"userId": "u9"}).to_string());
        rig.sim.world.push_case(json!({"number": 7, "status": "OPEN", "subject": "u9"}).to_string());
        user(&rig.sim, "u9", &json!({"active": false}));
        let superseded = async || {
            let answer = rig.health().await;
            let told = answer["findings"].as_array().unwrap().iter().find(|told| told["finding"] == "superseded_agent");
            (told.unwrap()["do"].as_str().unwrap().to_owned(), answer["left_out"].clone())
        };
        let (advice, left_out) = superseded().await;
        assert!(advice.starts_with("deactivate it") && !advice.contains("first check"), "{advice}");
        assert_eq!(left_out, json!([]));
        let named = format!("\"{id}\"");
        rig.sim.faults.always(endpoint, Fault::edited(move |body| body.replace(&named, "\"other\"")));
        let (advice, left_out) = superseded().await;
        assert!(advice.ends_with(&format!("but first check legal hold and cases: {says}")), "{advice}");
        assert_eq!(left_out[0]["check"], "must_not_be_deactivated", "{left_out:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matter_that_may_not_be_read_leaves_it_open_who_is_held_and_the_others_are_told() {
    for fault in [Fault::Forbidden, Fault::Status(401, "{}".into())] {
        let rig = well().await;
        agent(&rig.sim, "a2", &json!({"lastConnected": days_ago(42), "userId": "u8"}));
        for (matter, custodian) in [("m1", "u1"), ("m2", "u9")] {
            let record = json!({"matterId": matter, "name": matter, "active": true});
            rig.sim.world.push_record(Dataset::Matters, record.to_string());
            rig.sim.world.push_child(Dataset::Custodians, matter, json!({"userId": custodian}).to_string());
        }
        rig.sim.faults.ail_at("/v1/legal-hold/matters/m2/custodians", fault);
        let answer = rig.health().await;
        let held = "must_not_be_deactivated";
        assert_eq!((kinds(&answer), &answer["status"]), (vec!["stale_agent", held, held], &json!("complete")));
        assert_eq!(answer["findings"][1]["matterId"], "m1");
        let advice = answer["findings"][0]["do"].as_str().unwrap();
        assert!(advice.ends_with("legal hold and cases: 1 of the rows of legal hold can't be read"), "{advice}");
        assert_eq!(answer["left_out"][0]["check"], held, "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fell_silent_is_told_since_its_last_event() {
    let rig = well().await;
    let send = |observer: &str, detector: &str, days: i64| {
        let event = json!({"id": format!("{observer}-{detector}-{days}"), "inserted": days_ago(days),
            "observer": observer, "detectorDisplayName": detector});
        rig.sim.world.push_file_event(json!({"event": event, "user": {"deviceUid": "a1"}}).to_string());
        event["inserted"].clone()
    };
    let [_, gmail] = [40, 37].map(|days| send("Gmail", "Mail", days));
    send("GoogleDrive", "Drive of Berlin", 2);
    send("GoogleDrive", "Drive of Berlin", 33);
    let [_, paris] = [50, 35].map(|days| send("GoogleDrive", "Drive of Paris", days));
    agent(&rig.sim, "a2", &json!({}));
    let inserted = days_ago(41);
    let event = json!({"id": "of a2", "inserted": inserted, "observer": "GoogleDrive", "detectorDisplayName": "Drive of Berlin"});
    rig.sim.world.push_file_event(json!({"event": event, "user": {"deviceUid": "a2"}}).to_string());
    let answer = rig.health().await;
    assert_eq!((&answer["findings"][0]["agentId"], &answer["findings"][0]["since"]), (&json!("a2"), &json!(inserted)));
    let told = answer["findings"].as_array().unwrap()[1..].iter();
    let told: Vec<_> = told.map(|told| [&told["observer"], &told["detector"], &told["since"]]).collect();
    let none = Value::Null;
    let (mail, drive, of_paris) = (json!("Gmail"), json!("GoogleDrive"), json!("Drive of Paris"));
    assert_eq!(told, [[&mail, &none, &gmail], [&drive, &of_paris, &paris]], "{answer:#}");
    // The rest is answered without them.
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(503, "busy".into()));
    let answer = rig.health().await;
    assert_eq!((kinds(&answer).len(), &answer["status"]), (3, &json!("complete")), "{answer:#}");
    assert_ne!(answer["findings"][0]["since"], inserted, "the beginning of the time that was looked at");
    assert_ne!(answer["findings"][1]["since"], gmail, "the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_without_an_id_makes_no_list_endless_whose_pages_repeat() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "environment_health").env("PAGE_SIZE", "2")).await;
    actor(&rig.sim, "x1", "u1@example.com", None);
    rig.sim.world.push_record(Dataset::Actors, json!({"name": "nobody"}).to_string());
    rig.sim.faults.from(Endpoint::Actors, 2, Fault::RepeatPage);
    let answer = rig.health().await;
    assert!(rig.sim.api.requests_to(Endpoint::Actors).len() < 10, "{answer:#}");
    let left_out = answer["left_out"].to_string();
    assert!(left_out.contains("the pages repeat"), "{answer:#}");
}
