//! Compares the vendor's description of each endpoint with the requests of whole runs and with the simulator's answers.
//! No run requests an endpoint, a parameter or a page size that the vendor doesn't have. The simulator's answers have
//! the vendor's members and page sizes, and it refuses what the vendor refuses. The requests of every whole run
//! of any test are compared when its rig is dropped, and so is the form of each short answer.

mod client;
mod simulator_lists;
mod simulator_pages;
mod table;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{ApiRequest, Dataset, Endpoint, Fault, with_member};

use crate::rig::{DEADLINE, Rig, ago, failure_of};
use crate::sessions::{listed_hours_ago, swept_hours_ago};
use table::{Answers, FACTS, Fact, get};

impl Fact {
    fn is_of(&self, request: &ApiRequest) -> bool {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (self.path.split('/').collect(), request.path.split('/').collect());
        let is_part = |(wanted, part): (&&str, &&str)| *wanted == "{}" || wanted == part;
        request.method == self.method && pattern.len() == path.len() && pattern.iter().zip(&path).all(is_part)
    }

    /// What a request asks for: its parameters or the members of its body, with those values that are numbers.
    fn asked(request: &ApiRequest) -> Vec<(String, Option<u64>)> {
        let body = request.json();
        let of_query = request.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.parse().ok())
        });
        let of_body = body.as_object().into_iter().flatten();
        of_query.chain(of_body.map(|(name, value)| (name.clone(), value.as_u64()))).collect()
    }

    /// The error says which parameter or page size the vendor doesn't have.
    fn check(&self, request: &ApiRequest) -> Result<(), String> {
        let told = format!("{} {}?{} {} ({})", request.method, request.path, request.query, request.body, self.source);
        for (name, value) in Self::asked(request) {
            if !self.takes.contains(&name.as_str()) {
                return Err(format!("{name} is no parameter: {told}"));
            }
            let Some((_, most)) = self.size.filter(|(size, _)| *size == name) else { continue };
            if !value.is_some_and(|value| (1..=most).contains(&value)) {
                return Err(format!("{name} must be from 1 to {most}: {told}"));
            }
        }
        Ok(())
    }

    /// Whether what the simulator answered is of the form that the vendor says.
    fn check_answer(&self, request: &ApiRequest, rows_are: Rows) -> Result<(), String> {
        let told = format!("{} {}: {:?}", request.method, request.path, request.status);
        let answer: Value = serde_json::from_slice(&request.answer).map_err(|error| format!("{error}: {told}"))?;
        let (rows, has) = match self.answers {
            Answers::Record(has) => (vec![&answer], has),
            Answers::Bare(has) => (rows_in(&answer, &told)?, has),
            Answers::List(keys, total, has) => {
                let (key, around) = keys.split_last().unwrap();
                let around = around.iter().fold(&answer, |answer, key| &answer[*key]);
                if !total.is_none_or(|total| around[total].is_number()) {
                    return Err(format!("no {total:?}: {told}"));
                }
                (rows_in(&around[*key], &told)?, has)
            }
        };
        if rows_are == Rows::Any {
            return Ok(());
        }
        let missing = rows.iter().flat_map(|row| has.iter().map(move |member| (row, member)));
        match missing.into_iter().find(|(row, member)| row.get(**member).is_none()) {
            Some((row, member)) => Err(format!("{row} has no {member}: {told}")),
            None => Ok(()),
        }
    }
}

/// Whose rows an answer has. A test's own may lack what they like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Generated,
    Any,
}

fn rows_in<'a>(list: &'a Value, told: &str) -> Result<Vec<&'a Value>, String> {
    Ok(list.as_array().ok_or_else(|| format!("no list: {told}"))?.iter().collect())
}

fn fact_of<'f>(facts: &'f [Fact], request: &ApiRequest) -> Option<&'f Fact> {
    let exact = facts.iter().find(|fact| !fact.path.contains("{}") && fact.is_of(request));
    exact.or_else(|| facts.iter().find(|fact| fact.is_of(request)))
}

/// Checks each request against the facts. The error tells the first that doesn't fit.
fn check_requests(facts: &[Fact], requests: &[ApiRequest]) -> Result<(), String> {
    for request in requests {
        let none = || format!("no such endpoint: {} {}", request.method, request.path);
        fact_of(facts, request).ok_or_else(none)?.check(request)?;
    }
    Ok(())
}

/// Checks each request and each answer that was kept, and that each fact was needed.
fn check_all(facts: &[Fact], requests: &[ApiRequest]) -> Result<(), String> {
    check_requests(facts, requests)?;
    let mut used = BTreeSet::new();
    for request in requests {
        let Some(fact) = fact_of(facts, request) else { continue };
        used.insert(fact.path);
        let is_none = request.endpoint == Endpoint::RuleUsers && request.status == Some(400);
        if !is_none && !request.is_struck {
            if request.status != Some(200) {
                return Err(format!("{} {}: {:?}", request.method, request.path, request.status));
            }
            fact.check_answer(request, Rows::Generated)?;
        }
    }
    let unused: Vec<&str> = facts.iter().map(|fact| fact.path).filter(|path| !used.contains(path)).collect();
    if unused.is_empty() { Ok(()) } else { Err(format!("nothing asks for {unused:?}")) }
}

/// The length of an answer that each rig's simulator keeps. Longer ones have the same form.
pub const KEPT: usize = 64 * 1024;

/// The endpoints of the guide's dialect. The vendor describes none of them.
const OF_GUIDE: [&str; 3] = ["/v1/oauth/token", "/v1/audit/log", "/v2/file-events/search"];

/// Whether a request is in the guide's dialect: to an endpoint of its own, or for a list without a page's number.
fn is_of_guide(request: &ApiRequest, speaks_guide: bool) -> bool {
    let is_list = ["/v1/users", "/v1/cases"].contains(&&*request.path);
    let has_page = Fact::asked(request).iter().any(|(name, _)| ["page", "pgNum"].contains(&&**name));
    OF_GUIDE.contains(&&*request.path) || speaks_guide && is_list && !has_page
}

/// The member that an endpoint's 400 has (`OpenAPI`).
fn check_refusal(request: &ApiRequest) -> Result<(), String> {
    let path = match &*request.path {
        "/v2/file-events" | "/v2/file-events/grouping" => "/problems/0/type",
        "/v1/sessions" => "/msg",
        "/v1/cases" => "/problem",
        _ => return Ok(()),
    };
    let answer: Value = serde_json::from_slice(&request.answer).unwrap_or_default();
    let told = || format!("no {path}: {} {}: {answer}", request.method, request.path);
    answer.pointer(path).is_some_and(Value::is_string).then_some(()).ok_or_else(told)
}

/// Checks what the collector sent in any whole run, whatever was answered, and the form of each answer that no fault
/// struck. The guide's dialect has other endpoints.
pub fn check_whole_run(requests: &[ApiRequest]) -> Result<(), String> {
    let ours = requests.iter().filter(|request| request.user_agent.starts_with("incydr-collector/"));
    let speaks_guide = ours.clone().any(|request| request.path == OF_GUIDE[0]);
    let ours: Vec<ApiRequest> = ours.filter(|request| !is_of_guide(request, speaks_guide)).cloned().collect();
    check_requests(&FACTS, &ours)?;
    let is_kept = |request: &&ApiRequest| !request.answer.is_empty() && !request.is_struck;
    ours.iter().filter(is_kept).filter(|request| request.status == Some(400)).try_for_each(check_refusal)?;
    let is_whole = |request: &&ApiRequest| {
        // A test's own record may not be JSON. A page of the audit log past the end has no list (code42cli).
        let is_past_the_end = request.endpoint == Endpoint::AuditSearch && request.json()["page"] != 0;
        request.status == Some(200) && !is_past_the_end && serde_json::from_slice::<Value>(&request.answer).is_ok()
    };
    ours.iter()
        .filter(is_kept)
        .filter(is_whole)
        .try_for_each(|request| fact_of(&FACTS, request).map_or(Ok(()), |fact| fact.check_answer(request, Rows::Any)))
}

/// Adds records of every dataset.
fn fill(rig: &Rig) {
    let world = &rig.sim.world;
    rig.populate();
    world.add_sessions(20, ago(3_000), ago(60), true);
    for dataset in Dataset::ALL.into_iter().filter(|dataset| dataset.parent().is_none()) {
        let is_there = ["file_events", "audit", "users", "cases", "sessions", "customer"].contains(&dataset.name());
        if !is_there {
            world.add_records(dataset, 9);
        }
    }
    // Only the second page of policies is asked for by its number.
    world.add_records(Dataset::Policies, 100);
    for case in world.cases() {
        world.change(Dataset::Cases, &case.id, |raw| with_member(raw, "status", "\"OPEN\""));
    }
    for dataset in Dataset::ALL {
        let Some(parents) = dataset.parent() else { continue };
        for parent in world.all(parents) {
            world.add_children(dataset, &parent.id, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_runs_ask_only_for_what_the_vendor_says_there_is() {
    let rig = Rig::new().await;
    rig.sim.api.change(|api| api.longest_kept = usize::MAX);
    fill(&rig);
    let probed = rig.invoke(json!({"action": "probe"})).await.answer();
    let streams: Vec<&str> = probed["streams"].as_object().unwrap().keys().map(String::as_str).collect();
    let all = rig.container(|lambda| {
        lambda.env("STREAMS", streams.join(",")).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "10000")
    });
    // A session that no list shows any more, and whose events can't be found, is asked for itself.
    let session = rig.sim.world.all(Dataset::Sessions).swap_remove(0).id;
    let ailment = rig.sim.faults.ail_at(format!("/v1/sessions/{session}/events"), Fault::Status(404, "{}".into()));
    failure_of(all.invoke(json!({}), DEADLINE).await);
    rig.sim.world.change(Dataset::Sessions, &session, |raw| with_member(raw, "triggeredAlerts", "[]"));
    listed_hours_ago(&rig, 8).await;
    swept_hours_ago(&rig, "session_events", 7).await;
    failure_of(all.invoke(json!({}), DEADLINE).await);
    ailment.heal();
    for event in
        [json!({"action": "restart"}), json!({}), json!({"action": "health"}), json!({"action": "restart"}), json!({})]
    {
        let answer: Value = all.invoke(event, DEADLINE).await.answer();
        assert_eq!(answer["status"], "complete", "{answer:#}");
    }
    let search = rig.sim.world.all(Dataset::SavedSearches).swap_remove(0);
    let query = json!({"savedSearch": &*search.id}).to_string();
    let by_other_ways = rig.container(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("AUDIT_SOURCE", "export").env("FE_QUERY_JSON", query)
    });
    let from = ago(90_000).to_rfc3339();
    let answer = by_other_ways.invoke(json!({"action": "collect", "from": from}), DEADLINE).await.answer();
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let (facts, requests) = (FACTS, rig.sim.api.requests());
    // The form of a sign-in may contain the secret and isn't kept.
    assert_eq!(check_all(&facts, &requests), Ok(()));
    for (nth, fact) in facts.iter().enumerate() {
        let with = |changed: Option<Fact>| {
            let others = facts.iter().enumerate().filter(|(other, _)| *other != nth).map(|(_, fact)| *fact);
            check_all(&others.chain(changed).collect::<Vec<_>>(), &requests)
        };
        assert_eq!(with(Some(*fact)), Ok(()));
        assert!(with(None).is_err(), "nobody misses {}", fact.path);
        let of_fact = requests.iter().filter(|request| fact_of(&facts, request).is_some_and(|of| of.path == fact.path));
        for name in of_fact.flat_map(Fact::asked).map(|(name, _)| name).collect::<BTreeSet<_>>() {
            let takes = fact.takes.iter().filter(|other| **other != name).copied().collect::<Vec<_>>().leak();
            assert!(with(Some(Fact { takes, ..*fact })).is_err(), "nobody misses {name} of {}", fact.path);
        }
        if let Some((size, _)) = fact.size {
            assert!(with(Some(Fact { size: Some((size, 0)), ..*fact })).is_err(), "no size is asked of {}", fact.path);
        }
        for answers in fact.answers.others() {
            assert!(with(Some(fact.answers(answers))).is_err(), "{answers:?} would do for {}", fact.path);
        }
    }
    let made_up = get("/v1/none", &[], "nobody");
    assert!(check_all(&[&facts[..], &[made_up]].concat(), &requests).is_err(), "nothing asks for it");
}

/// Whether the form of answers is seen in every whole run.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_form_is_seen_in_any_whole_run() {
    let rig = Rig::new().await;
    rig.populate();
    rig.run().await;
    let mut requests = rig.sim.api.requests();
    assert_eq!(check_whole_run(&requests), Ok(()));
    let list = requests.iter_mut().find(|request| request.endpoint == Endpoint::Users).unwrap();
    assert!(!list.answer.is_empty(), "it is not kept");
    list.answer = r#"{"people":[],"totalCount":0}"#.into();
    assert!(check_whole_run(&requests).is_err_and(|why| why.starts_with("no list")));
}

/// Whether a run in the guide's dialect hides what is sent beside it.
#[tokio::test(flavor = "multi_thread")]
async fn beside_the_guide_s_dialect_other_requests_are_still_checked() {
    let rig = Rig::with(|lambda| lambda.env("INCYDR_API_DIALECT", "guide")).await;
    rig.sim.api.change(|api| api.guide_endpoints = true);
    rig.populate();
    rig.run().await;
    let mut requests = rig.sim.api.requests();
    assert!(requests.iter().any(|request| request.path == "/v1/users"));
    assert_eq!(check_whole_run(&requests), Ok(()));
    let mut other = requests[0].clone();
    (other.method, other.path) = ("GET".into(), "/v1/people".into());
    requests.push(other);
    assert!(check_whole_run(&requests).is_err_and(|why| why.starts_with("no such endpoint")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_worth_of_requests_stays_within_what_is_there() {
    // The same table applies to a span by hand, whose windows are older.
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.sim.world.add_audit(300, ago(86_400), ago(60));
    rig.sim.world.add_file_events(300, ago(86_400), ago(60));
    let from = (ago(0) - TimeDelta::days(1)).to_rfc3339();
    rig.invoke(json!({"action": "collect", "from": from})).await.answer();
    assert_eq!(check_requests(&FACTS, &rig.sim.api.requests()), Ok(()));
}
