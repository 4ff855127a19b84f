//! Compares the requests of whole runs with the vendor's documentation: every endpoint and parameter exists, and no
//! page is larger than allowed.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{ApiRequest, Dataset, Endpoint, with_member};

use crate::rig::{DEADLINE, Rig, ago};

/// The facts about one endpoint.
struct Fact {
    method: &'static str,
    /// `{}` is an id.
    path: &'static str,
    /// The parameters of the query string, or the members of the body.
    takes: &'static [&'static str],
    /// The parameter for the page size, and its greatest value.
    size: Option<(&'static str, u64)>,
    /// The source: the vendor's `OpenAPI` of 2024-08-30, its later edition (2024-09-13), or the SDK's file.
    source: &'static str,
}

const fn get(path: &'static str, takes: &'static [&'static str], source: &'static str) -> Fact {
    Fact { method: "GET", path, takes, size: None, source }
}

const fn paged(
    path: &'static str,
    takes: &'static [&'static str],
    size: (&'static str, u64),
    source: &'static str,
) -> Fact {
    Fact { size: Some(size), ..get(path, takes, source) }
}

const fn post(
    path: &'static str,
    takes: &'static [&'static str],
    size: Option<(&'static str, u64)>,
    source: &'static str,
) -> Fact {
    Fact { method: "POST", path, takes, size, source }
}

const OPENAPI: &str = "OpenAPI 2024-08-30";
const AUDIT: &[&str] = &[
    "actorIds",
    "actorIpAddresses",
    "actorNames",
    "dateRange",
    "eventTypes",
    "page",
    "pageSize",
    "resourceIds",
    "userTypes",
];
const PAGES: &[&str] = &["page", "pageSize"];
const SNAKE: &[&str] = &["page", "page_size"];

const FACTS: [Fact; 34] = [
    post("/v1/oauth", &["grant_type"], None, OPENAPI),
    paged("/v1/users", &["active", "blocked", "username", "page", "pageSize"], ("pageSize", 500), OPENAPI),
    paged("/v1/users/roles", PAGES, ("pageSize", 1_000), "OpenAPI 2024-09-13"),
    paged("/v1/users/{}/roles", PAGES, ("pageSize", 1_000), "OpenAPI 2024-09-13"),
    post("/v1/audit/search-audit-log", AUDIT, Some(("pageSize", 10_000)), "SDK, audit_log/client.py"),
    post("/v1/audit/search-results-count", AUDIT, None, "SDK, audit_log/client.py"),
    paged(
        "/v1/cases",
        &[
            "status",
            "assignee",
            "isAssigned",
            "name",
            "subject",
            "lastModifiedBy",
            "createdAt",
            "updatedAt",
            "pgNum",
            "pgSize",
            "srtKey",
            "srtDir",
        ],
        ("pgSize", 500),
        "OpenAPI 2024-08-30; the size: py42",
    ),
    get("/v1/cases/{}", &[], OPENAPI),
    paged("/v1/cases/{}/fileevent", &["pgNum", "pgSize", "archiveId"], ("pgSize", 10_000), OPENAPI),
    get("/v1/cases/{}/fileevent/{}", &[], OPENAPI),
    post(
        "/v2/file-events",
        &["groupClause", "groups", "pgNum", "pgSize", "pgToken", "srtKey", "srtDir"],
        Some(("pgSize", 10_000)),
        "SDK, queries/file_events.py",
    ),
    post(
        "/v2/file-events/grouping",
        &["groupClause", "groups", "groupingTerm", "size"],
        Some(("size", 10_000)),
        "SDK, queries/file_events.py",
    ),
    paged(
        "/v1/sessions",
        &[
            "actor_id",
            "on_or_after",
            "before",
            "has_alerts",
            "order_by",
            "sort_direction",
            "risk_indicators",
            "state",
            "severity",
            "rule_id",
            "watchlist_id",
            "content_inspection_status",
            "page_number",
            "page_size",
        ],
        ("page_size", 50),
        "OpenAPI 2024-08-30, whose text says 50 and whose schema 1,000",
    ),
    get("/v1/sessions/{}/events", &[], OPENAPI),
    paged(
        "/v1/agents",
        &[
            "userId",
            "agentType",
            "active",
            "agentHealthy",
            "anyOfAgentHealthIssueTypes",
            "srtKey",
            "srtDir",
            "page",
            "pageSize",
        ],
        ("pageSize", 500),
        OPENAPI,
    ),
    paged(
        "/v1/devices",
        &["active", "blocked", "sortKey", "sortDirection", "page", "pageSize"],
        ("pageSize", 2_000),
        OPENAPI,
    ),
    paged(
        "/v1/actors/actor/search",
        &["nameStartsWith", "nameEndsWith", "active", "page", "pageSize"],
        ("pageSize", 500),
        "OpenAPI 2024-08-30; the size: SDK, actors/client.py",
    ),
    get("/v1/actors/actor/id/{}", &[], OPENAPI),
    paged("/v2/watchlists", &["page", "page_size", "actor_id"], ("page_size", 500), OPENAPI),
    paged("/v2/watchlists/{}/members", SNAKE, ("page_size", 500), OPENAPI),
    paged("/v2/watchlists/{}/included-actors", SNAKE, ("page_size", 500), OPENAPI),
    paged("/v2/watchlists/{}/excluded-actors", SNAKE, ("page_size", 500), OPENAPI),
    paged("/v2/watchlists/{}/included-departments", SNAKE, ("page_size", 500), OPENAPI),
    paged("/v2/watchlists/{}/included-directory-groups", SNAKE, ("page_size", 500), OPENAPI),
    paged("/v1/departments", &["page", "page_size", "name"], ("page_size", 500), OPENAPI),
    paged("/v1/directory-groups", &["page", "page_size", "name"], ("page_size", 500), OPENAPI),
    paged("/v2/alert-rules", &["PageNumber", "PageSize", "WatchlistId"], ("PageSize", 100), OPENAPI),
    get("/v2/alert-rules/{}/users", &[], OPENAPI),
    paged(
        "/v2/trusted-activities",
        &["type", "page", "page_size", "sort_key", "sort_direction"],
        ("page_size", 500),
        OPENAPI,
    ),
    get("/v1/orgs", &["active"], OPENAPI),
    get("/v1/customer", &[], OPENAPI),
    get("/v1/risk-indicator-categories", &[], "SDK, risk_indicator_categories/client.py"),
    paged(
        "/v1/legal-hold/matters",
        &["creatorUserId", "active", "name", "page", "pageSize"],
        ("pageSize", 500),
        OPENAPI,
    ),
    paged("/v1/legal-hold/matters/{}/custodians", PAGES, ("pageSize", 500), OPENAPI),
];
/// Policies are not paged, unlike the other lists of legal hold.
const POLICIES: Fact = get("/v1/legal-hold/policies", &[], OPENAPI);

impl Fact {
    fn is_of(&self, request: &ApiRequest) -> bool {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (self.path.split('/').collect(), request.path.split('/').collect());
        let is_part = |(wanted, part): (&&str, &&str)| *wanted == "{}" || wanted == part;
        request.method == self.method && pattern.len() == path.len() && pattern.iter().zip(&path).all(is_part)
    }

    fn check(&self, request: &ApiRequest) {
        let told = format!("{} {}?{} {} ({})", request.method, request.path, request.query, request.body, self.source);
        let body = request.json();
        let of_query = request.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.parse().ok())
        });
        let of_body = body.as_object().into_iter().flatten();
        let asked: Vec<(String, Option<u64>)> =
            of_query.chain(of_body.map(|(name, value)| (name.clone(), value.as_u64()))).collect();
        for (name, value) in &asked {
            assert!(self.takes.contains(&name.as_str()), "{name} is no parameter: {told}");
            let Some((_, most)) = self.size.filter(|(size, _)| size == name) else { continue };
            let is_allowed = value.is_some_and(|value| (1..=most).contains(&value));
            assert!(is_allowed, "{name} must be from 1 to {most}: {told}");
        }
    }
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
    fill(&rig);
    let probed = rig.invoke(json!({"action": "probe"})).await.answer();
    let streams: Vec<&str> = probed["streams"].as_object().unwrap().keys().map(String::as_str).collect();
    let all = rig.container(|lambda| {
        lambda.env("STREAMS", streams.join(",")).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", "10000")
    });
    for event in [json!({}), json!({}), json!({"action": "health"}), json!({"action": "restart"}), json!({})] {
        let answer: Value = all.invoke(event, DEADLINE).await.answer();
        assert_eq!(answer["status"], "complete", "{answer:#}");
    }
    let policies = [POLICIES];
    let facts = || FACTS.iter().chain(&policies);
    let mut asked = BTreeSet::new();
    for request in rig.sim.api.requests() {
        let fact = facts().find(|fact| !fact.path.contains("{}") && fact.is_of(&request));
        let fact = fact.or_else(|| facts().find(|fact| fact.is_of(&request)));
        let fact = fact.unwrap_or_else(|| panic!("no such endpoint: {} {}", request.method, request.path));
        // The form of a sign-in may contain the secret and isn't kept.
        fact.check(&request);
        asked.insert(fact.path);
        let is_none = request.endpoint == Endpoint::RuleUsers && request.status == Some(400);
        assert!(is_none || request.status == Some(200), "{} {}: {:?}", request.method, request.path, request.status);
    }
    let unused: Vec<&str> = facts().map(|fact| fact.path).filter(|path| !asked.contains(path)).collect();
    assert!(unused.is_empty(), "nothing asks for {unused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_worth_of_requests_stays_within_what_is_there() {
    // The same table applies to a span by hand, whose windows are older.
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.sim.world.add_audit(300, ago(86_400), ago(60));
    rig.sim.world.add_file_events(300, ago(86_400), ago(60));
    let from = (ago(0) - TimeDelta::days(1)).to_rfc3339();
    rig.invoke(json!({"action": "collect", "from": from})).await.answer();
    for request in rig.sim.api.requests() {
        let fact = FACTS.iter().find(|fact| fact.is_of(&request));
        fact.unwrap_or_else(|| panic!("no such endpoint: {} {}", request.method, request.path)).check(&request);
    }
}
