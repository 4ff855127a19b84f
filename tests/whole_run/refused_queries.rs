//! Query errors by the types of their `problems`, in a refusal or in a page; and a 401 that isn't about the token.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault};

use crate::rig::{DEADLINE, Rig, ago};
use crate::stuck::assert_stuck;

fn problems(kind: &str) -> String {
    let problems = json!([{"type": kind, "description": "it is not possible", "badFilter": null}]);
    json!({"totalCount": 0, "fileEvents": null, "nextPgToken": null, "problems": problems}).to_string()
}

/// Whether a request spans more than ten minutes.
fn is_wide(request: &simulator::http::Request) -> bool {
    let Some([from, to]) = simulator::span_asked(&request.json()) else { return false };
    (to - from).num_minutes() > 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_or_answers_too_much_is_cut_by_the_problem_s_type() {
    for kind in ["QUERY_TIMEOUT", "RESPONSE_CONTENT_TOO_LARGE"] {
        for status in [400, 200, 413, 500] {
            let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
            rig.sim.world.add_file_events(300, ago(3_000), ago(5));
            rig.sim.faults.when(Endpoint::FileEvents, is_wide, Fault::Status(status, problems(kind)));
            println!("{kind} {status}");
            assert_eq!(rig.run().await["status"], "complete");
            rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_over_which_the_api_always_takes_too_long_holds_up_nothing_else_in_short_runs_either() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events").env("FE_PAGE_SIZE", "50")).await;
    rig.sim.world.add_file_events(200, ago(3_000), ago(100));
    let bad = rig.sim.world.file_events()[1].time;
    let is_of_it = move |request: &simulator::http::Request| {
        simulator::span_asked(&request.json()).is_some_and(|[from, to]| from <= bad && bad <= to)
    };
    // A run has time for about eight requests: too few to find the moment.
    rig.sim.api.change(|api| api.latency = Duration::from_millis(300));
    rig.sim.faults.when(Endpoint::FileEvents, is_of_it, Fault::Status(400, problems("QUERY_TIMEOUT")));
    for _ in 0..20 {
        rig.any_run(Duration::from_secs(3)).await;
        if rig.stored("file_events").await.len() >= 199 {
            break;
        }
    }
    rig.assert_holds_all_but("file_events", &rig.sim.world.file_events(), &[bad]).await;
    let answer = rig.any_run(DEADLINE).await;
    rig.assert_stuck_at(&answer, "file_events", &[bad]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_more_filters_than_the_api_takes_blames_the_setting_and_is_not_cut() {
    let filters: Vec<Value> =
        (0..1_023).map(|n| json!({"term": "file.name", "operator": "IS_NOT", "value": format!("{n}")})).collect();
    let held = json!({"groups": [{"filterClause": "AND", "filters": filters}]}).to_string();
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events,audit").env("FE_QUERY_JSON", held)).await;
    rig.populate();
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("MAX_FILTERS_EXCEEDED: FE_QUERY_JSON has more filters"), "{message}");
    assert_eq!(answer["streams"]["audit"]["status"], "complete", "{answer:#}");
    assert_eq!(rig.sim.api.requests_to(Endpoint::FileEvents).len(), 1, "another window fares no better");
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events")).await;
    rig.populate();
    rig.sim.faults.always(Endpoint::FileEvents, Fault::Status(200, problems("MAX_GROUPS_EXCEEDED")));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    assert!(answer.to_string().contains("MAX_GROUPS_EXCEEDED: FE_QUERY_JSON"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn legal_hold_answers_401_to_who_may_not_read_it() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold,users")).await;
    rig.sim.world.add_records(Dataset::Matters, 3);
    rig.sim.world.add_users(3);
    rig.sim.faults.always(Endpoint::Matters, Fault::Status(401, r#"{"error":"Unauthorized"}"#.into()));
    let answer = rig.run().await;
    assert_eq!(answer["streams"]["legal_hold"]["status"], "not_permitted", "{answer:#}");
    assert_eq!(answer["streams"]["users"]["status"], "complete", "{answer:#}");
    let state = &rig.checkpoint().await["states"]["legal_hold"];
    let message = state["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("Legal Hold") && message.contains("not permitted, or not found") && !message.contains("403"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn legal_hold_is_not_taken_for_unpermitted_while_the_api_refuses_every_token() {
    for streams in ["legal_hold", "legal_hold,users"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", streams)).await;
        rig.sim.world.add_records(Dataset::Matters, 3);
        rig.sim.world.add_users(3);
        rig.sim.faults.when(Endpoint::Any, |request| !request.path.ends_with("/oauth"), Fault::Unauthorized);
        for _ in 0..4 {
            let (error_type, answer) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
            let told = &answer["streams"]["legal_hold"];
            assert_eq!(told["status"], "failed", "{answer:#}");
            assert!(told["error"]["message"].to_string().contains("401, also to a new token"), "{answer:#}");
        }
        rig.sim.faults.clear();
        assert_eq!(rig.run().await["status"], "complete");
        assert_eq!(rig.stored("legal_hold").await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matter_s_401_holds_up_no_other() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold").env("INVENTORY_INTERVAL_MINUTES", "0")).await;
    let matters = rig.sim.world.add_records(Dataset::Matters, 5);
    for matter in &matters {
        rig.sim.world.add_children(Dataset::Custodians, &matter.id, 2);
    }
    let path = format!("/v1/legal-hold/matters/{}/custodians", matters[2].id);
    let ailment = rig.sim.faults.ail_at(path, Fault::Status(401, "{}".into()));
    let answer = rig.stuck_or_misconfigured().await;
    let told = assert_stuck(&answer, "legal_hold", 1);
    assert_eq!(told["stuck"]["oldest"], json!({"list": "custodians", "id": &*matters[2].id}), "{answer:#}");
    assert_eq!(rig.stored("legal_hold").await.len(), 5 + 8);
    ailment.heal();
    rig.assert_heals("legal_hold").await;
    assert_eq!(rig.stored("legal_hold").await.len(), 5 + 10);
}

impl Rig {
    async fn stuck_or_misconfigured(&self) -> Value {
        self.failure(json!({})).await.1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_250_roles_are_stored_and_all_that_a_user_has() {
    for page in ["500", "100", "60"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "roles,user_roles").env("PAGE_SIZE", page)).await;
        let world = &rig.sim.world;
        world.add_records(Dataset::Roles, 250);
        let users = world.add_users(3);
        world.add_children(Dataset::UserRoles, &users[0].id, 250);
        world.add_children(Dataset::UserRoles, &users[1].id, 3);
        rig.run().await;
        println!("{page}");
        rig.assert_holds("roles", &world.all(Dataset::Roles)).await;
        let (of_first, of_second) = (&users[0].id, &users[1].id);
        let stored = rig.stored("user_roles").await;
        let of = |user: &str| stored.iter().filter(|line| line.contains(&format!("\"_userId\":\"{user}\""))).count();
        assert_eq!((of(of_first), of(of_second), stored.len()), (250, 3, 253));
        let requests = rig.sim.api.requests_to(Endpoint::UserRoles);
        let of_few = requests.iter().filter(|request| request.path.contains(&**of_second)).count();
        assert_eq!(of_few, 1, "fewer than a page holds that nobody asked to be shorter");
    }
}
