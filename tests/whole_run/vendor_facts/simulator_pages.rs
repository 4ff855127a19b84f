//! Holds the simulator to the same facts: its pages are as large, and it refuses what the vendor refuses.

use serde_json::{Value, json};
use simulator::Dataset;

use super::client::Client;
use super::fill;
use super::table::{Answers, FACTS};
use crate::rig::Rig;

/// Adds rows to the list of a path. Returns the list's path, or none if rows can't be added to it.
fn crowd(rig: &Rig, path: &str, rows: usize) -> Option<String> {
    let world = &rig.sim.world;
    let dataset = match path {
        "/v1/users/{}/roles" => Dataset::UserRoles,
        "/v1/cases/{}/fileevent" => Dataset::CaseFileEvents,
        "/v1/legal-hold/matters/{}/custodians" => Dataset::Custodians,
        "/v1/users" => Dataset::Users,
        "/v1/users/roles" => Dataset::Roles,
        "/v1/cases" => Dataset::Cases,
        "/v2/file-events" => Dataset::FileEvents,
        "/v1/sessions" => Dataset::Sessions,
        "/v1/agents" => Dataset::Agents,
        "/v1/devices" => Dataset::Devices,
        "/v1/actors/actor/search" => Dataset::Actors,
        "/v2/alert-rules" => Dataset::AlertRules,
        "/v2/trusted-activities" => Dataset::TrustedActivities,
        "/v1/legal-hold/matters" => Dataset::Matters,
        "/v1/legal-hold/policies" => Dataset::Policies,
        _ => return None,
    };
    let Some(parents) = dataset.parent() else {
        world.add_records(dataset, rows);
        return Some(path.to_owned());
    };
    let parent = world.add_records(parents, 1).swap_remove(0);
    world.add_children(dataset, &parent.id, rows);
    Some(path.replace("{}", &parent.id))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_s_pages_are_as_large_as_the_vendor_says() {
    let rig = Rig::new().await;
    let client = Client::of(&rig).await;
    for fact in &FACTS {
        let (Some((size, most)), Some((default, is_strict))) = (fact.size, fact.default) else { continue };
        let rows = usize::try_from(default.min(700)).unwrap() + 3;
        let path = crowd(&rig, fact.path, rows).unwrap_or_else(|| panic!("nobody adds to {}", fact.path));
        let everything = json!([{"filters": [{"term": "event.id", "operator": "EXISTS"}]}]);
        let ask = async |asked: Option<u64>| match (fact.method, asked) {
            ("GET", None) => client.ask("GET", &path, &Value::Null).await,
            ("GET", Some(asked)) => client.ask("GET", &format!("{path}?{size}={asked}"), &Value::Null).await,
            (method, None) => client.ask(method, &path, &json!({"groups": everything})).await,
            (method, Some(asked)) => client.ask(method, &path, &json!({"groups": everything, size: asked})).await,
        };
        let count = |answer: &Value| match fact.answers {
            Answers::List(keys, ..) => keys.iter().fold(answer, |answer, key| &answer[*key]).as_array().unwrap().len(),
            _ => answer.as_array().unwrap().len(),
        };
        let (status, answer) = ask(None).await;
        assert_eq!((status, count(&answer)), (200, rows.min(usize::try_from(default).unwrap())), "{}", fact.path);
        let (status, answer) = ask(Some(2)).await;
        assert_eq!((status, count(&answer)), (200, 2), "{}", fact.path);
        assert_eq!(ask(Some(most)).await.0, 200, "{}", fact.path);
        for asked in [0, most + 1].into_iter().filter(|_| is_strict) {
            assert_eq!(ask(Some(asked)).await.0, 400, "{}: {asked}", fact.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_refuses_what_the_vendor_does_not_enumerate() {
    let rig = Rig::new().await;
    fill(&rig);
    let client = Client::of(&rig).await;
    // A parameter with an enumerated value and with another one (OpenAPI 2024-08-30 and 2024-09-13).
    for (path, name, good, bad) in [
        ("/v1/agents", "srtKey", "LAST_CONNECTED", "VERSION"),
        ("/v1/agents", "srtDir", "DESC", "DOWN"),
        ("/v1/agents", "agentType", "COMBINED", "MOBILE"),
        ("/v1/agents", "agentHealthy", "false", "perhaps"),
        ("/v1/devices", "sortKey", "osHostname", "version"),
        ("/v1/devices", "sortDirection", "desc", "down"),
        ("/v1/devices", "page", "1", "0"),
        ("/v1/users", "page", "1", "0"),
        ("/v1/users", "active", "true", "yes"),
        ("/v1/users/roles", "page", "1", "0"),
        ("/v1/actors/actor/search", "page", "1", "0"),
        ("/v1/actors/actor/search", "active", "true", "1"),
        ("/v1/cases", "status", "ARCHIVED", "DONE"),
        ("/v1/cases", "srtKey", "archivalTime", "findings"),
        ("/v1/cases", "srtDir", "desc", "down"),
        ("/v1/cases", "isAssigned", "true", "1"),
        ("/v1/cases", "pgNum", "1", "0"),
        ("/v1/cases", "pgSize", "1", "0"),
        ("/v1/cases", "updatedAt", "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z", "2026-01-01"),
        ("/v1/sessions", "order_by", "score", "begin_time"),
        ("/v1/sessions", "sort_direction", "ASC", "UP"),
        ("/v1/sessions", "state", "OPEN_NEW_DATA", "NEW"),
        ("/v1/sessions", "severity", "4", "5"),
        ("/v1/sessions", "has_alerts", "false", "none"),
        ("/v1/sessions", "content_inspection_status", "PII_FOUND", "LOST"),
        ("/v2/trusted-activities", "sort_key", "UPDATE_TIME", "NAME"),
        ("/v2/trusted-activities", "sort_direction", "ASC", "UP"),
        ("/v1/orgs", "active", "false", "no"),
        ("/v1/legal-hold/matters", "active", "true", "1"),
    ] {
        for (value, expected) in [(good, 200), (bad, 400)] {
            let (status, answer) = client.ask("GET", &format!("{path}?{name}={value}"), &Value::Null).await;
            assert_eq!(status, expected, "{path}?{name}={value}: {answer}");
        }
    }
    let filter = |term: &str, operator: &str, value: Value| json!({"term": term, "operator": operator, "value": value});
    let of = |filter: Value| json!({"groups": [{"filters": [filter]}]});
    let good = of(filter("file.name", "IS", json!("x")));
    let with = |name: &str, value: Value| {
        let mut query = good.clone();
        query[name] = value;
        query
    };
    for (query, kind) in [
        (good.clone(), None),
        (with("srtKey", json!("risk.score")), None),
        (with("srtKey", json!("file.colour")), Some("ILLEGAL_SORT")),
        (with("srtDir", json!("down")), Some("ILLEGAL_SORT")),
        (with("pgSize", json!(10_001)), Some("INVALID_PAGE_SIZE")),
        (with("pgNum", json!(0)), Some("INVALID_PAGE_NUMBER")),
        (with("pgSize", json!(-1)), Some("INVALID_PAGE_SIZE")),
        (with("pgSize", json!("abc")), Some("INVALID_PAGE_SIZE")),
        (with("pgSize", json!(1.5)), Some("INVALID_PAGE_SIZE")),
        (with("pgNum", json!(-1)), Some("INVALID_PAGE_NUMBER")),
        (with("srtKey", json!(7)), Some("ILLEGAL_SORT")),
        (of(filter("event.relatedEvents.id", "IS", json!("x"))), Some("ILLEGAL_VALUE")),
        (with("pgToken", json!("nobody's")), Some("INVALID_PAGE_TOKEN")),
        (with("groups", json!([])), Some("MISSING_GROUPS")),
        (with("groups", json!([{"filters": []}])), Some("MISSING_FILTERS")),
        (with("groupClause", json!("XOR")), Some("ILLEGAL_VALUE")),
        (of(filter("file.colour", "IS", json!("red"))), Some("ILLEGAL_VALUE")),
        (of(filter("file.name", "LIKE", json!("x"))), Some("ILLEGAL_OPERATOR")),
        (of(filter("file.name", "IS", Value::Null)), Some("MISSING_VALUE")),
    ] {
        let (status, answer) = client.ask("POST", "/v2/file-events", &query).await;
        assert_eq!(status, if kind.is_some() { 400 } else { 200 }, "{query}: {answer}");
        assert_eq!(answer["problems"][0]["type"].as_str(), kind, "{query}: {answer}");
    }
    for (query, kind) in [
        (json!({"groupingTerm": "user.email", "groups": []}), None),
        (json!({"groupingTerm": "user.email"}), Some("MISSING_GROUPS")),
        (json!({"groupingTerm": "file.colour", "groups": []}), Some("ILLEGAL_GROUP")),
        (json!({"groupingTerm": "user.email", "groups": [], "size": 10_001}), Some("ILLEGAL_VALUE")),
        (json!({"groupingTerm": "user.email", "groups": [], "size": -1}), Some("ILLEGAL_VALUE")),
        (json!({"groupingTerm": "file.categoryByBytes", "groups": []}), Some("ILLEGAL_GROUP")),
    ] {
        let (_, answer) = client.ask("POST", "/v2/file-events/grouping", &query).await;
        assert_eq!(answer["problems"][0]["type"].as_str(), kind, "{query}: {answer}");
    }
    for (name, good, bad) in [
        ("userTypes", json!(["API_CLIENT"]), json!(["ROBOT"])),
        ("page", json!(0), json!(-1)),
        ("pageSize", json!(1), json!("abc")),
    ] {
        for (value, expected) in [(good, 200), (bad, 400)] {
            let (status, answer) = client.ask("POST", "/v1/audit/search-audit-log", &json!({name: value})).await;
            assert_eq!(status, expected, "{name}: {answer}");
        }
    }
}

/// `CaseProblemResponse` and `ActorSearchProblemResponse` (`OpenAPI`).
#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_names_the_problem_of_a_list_as_the_vendor_does() {
    let rig = Rig::new().await;
    let client = Client::of(&rig).await;
    for (path, problem) in [
        ("/v1/cases?pgNum=0", "INVALID_PAGE_NUMBER"),
        ("/v1/cases?pgSize=0", "INVALID_PAGE_SIZE"),
        ("/v1/cases?createdAt=today", "INVALID_TIME_INTERVAL"),
        ("/v1/actors/actor/search?page=0", "PAGE_TOO_SMALL"),
        ("/v1/actors/actor/search?pageSize=0", "PAGE_SIZE_TOO_SMALL"),
        ("/v1/actors/actor/search?pageSize=501", "PAGE_SIZE_TOO_LARGE"),
    ] {
        let (status, answer) = client.ask("GET", path, &Value::Null).await;
        assert_eq!((status, &answer["problem"]), (400, &json!(problem)), "{path}: {answer}");
    }
    // ErrorResponse-sessions.
    let (status, answer) = client.ask("GET", "/v1/sessions?page_size=51", &Value::Null).await;
    assert_eq!((status, answer), (400, json!({"msg": "page_size must be between 1 and 50"})));
}
