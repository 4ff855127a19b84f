//! Compares the vendor's description of each endpoint with the requests of whole runs and with the simulator's answers.
//! No run requests an endpoint, a parameter or a page size that the vendor doesn't have. The simulator's answers have
//! the vendor's members and page sizes, and it refuses what the vendor refuses. The requests of every whole run
//! of any test are compared when its rig is dropped.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::TimeDelta;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Api, ApiRequest, Dataset, Endpoint, with_member};

use crate::rig::{DEADLINE, Rig, ago};

/// The facts about one endpoint.
#[derive(Clone, Copy)]
struct Fact {
    method: &'static str,
    /// `{}` is an id.
    path: &'static str,
    /// The parameters of the query string, or the members of the body.
    takes: &'static [&'static str],
    /// The parameter for the page size, and its greatest value.
    size: Option<(&'static str, u64)>,
    /// The page size if a request names none, and whether a page size above the greatest is refused.
    default: Option<(u64, bool)>,
    answers: Answers,
    /// The source: the vendor's `OpenAPI` of 2024-08-30, its later edition (2024-09-13), or the SDK's file.
    source: &'static str,
}

/// The form of an answer, with the members that each row, or the record, has.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// A list under one of these keys, the key of the total, and the members of a row.
    List(&'static [&'static str], Option<&'static str>, &'static [&'static str]),
    /// The answer is the list itself.
    Bare(&'static [&'static str]),
    Record(&'static [&'static str]),
}

impl Answers {
    /// Answers that differ from this one in one place each: no answer of the simulator is like them.
    fn others(self) -> Vec<Self> {
        const NONE: &[&str] = &["noSuchMember"];
        match self {
            Self::List(keys, total, has) => {
                let no_total = total.map(|_| Self::List(keys, Some(NONE[0]), has));
                [Self::List(NONE, total, has), Self::List(keys, total, NONE)].into_iter().chain(no_total).collect()
            }
            Self::Bare(_) => vec![Self::Bare(NONE), Self::List(NONE, None, &[])],
            Self::Record(_) => vec![Self::Record(NONE), Self::Bare(&[])],
        }
    }
}

const TOTAL: Option<&str> = Some("totalCount");

const fn get(path: &'static str, takes: &'static [&'static str], source: &'static str) -> Fact {
    Fact { method: "GET", path, takes, size: None, default: None, answers: Answers::Record(&[]), source }
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
    Fact { method: "POST", size, ..get(path, takes, source) }
}

impl Fact {
    const fn answers(self, answers: Answers) -> Self {
        Self { answers, ..self }
    }

    /// Pages of `rows` by default. A page size above the greatest is accepted.
    const fn usually(self, rows: u64) -> Self {
        Self { default: Some((rows, false)), ..self }
    }

    /// Pages of `rows` by default. A page size above the greatest is refused.
    const fn strictly(self, rows: u64) -> Self {
        Self { default: Some((rows, true)), ..self }
    }
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

const FACTS: [Fact; 37] =
    [
        post("/v1/oauth", &["grant_type"], None, OPENAPI).answers(Answers::Record(&[
            "access_token",
            "token_type",
            "expires_in",
        ])),
        paged("/v1/users", &["active", "blocked", "username", "page", "pageSize"], ("pageSize", 500), OPENAPI)
            .answers(Answers::List(&["users"], TOTAL, &["userId", "username", "active"]))
            .usually(500),
        paged("/v1/users/roles", PAGES, ("pageSize", 1_000), "OpenAPI 2024-09-13")
            .answers(Answers::Bare(&["roleId", "roleName"]))
            .strictly(100),
        paged("/v1/users/{}/roles", PAGES, ("pageSize", 1_000), "OpenAPI 2024-09-13")
            .answers(Answers::List(&["roles"], None, &["roleId", "roleName"]))
            .strictly(100),
        post("/v1/audit/search-audit-log", AUDIT, Some(("pageSize", 10_000)), "SDK, audit_log/client.py")
            .answers(Answers::List(&["events"], None, &["type$", "timestamp"])),
        post("/v1/audit/search-results-count", AUDIT, None, "SDK, audit_log/client.py")
            .answers(Answers::Record(&["totalResultCount"])),
        // "Parameters follow an identical behavior", and there is no paging.
        post("/v1/audit/search-results-export", AUDIT, None, OPENAPI).answers(Answers::List(
            &["events"],
            None,
            &["type$", "timestamp"],
        )),
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
        )
        .answers(Answers::List(&["cases"], TOTAL, &["number", "name", "status"]))
        .usually(2_147_483_647),
        get("/v1/cases/{}", &[], OPENAPI).answers(Answers::Record(&["number", "description", "findings"])),
        paged("/v1/cases/{}/fileevent", &["pgNum", "pgSize", "archiveId"], ("pgSize", 10_000), OPENAPI)
            .answers(Answers::List(&["events"], TOTAL, &["eventId", "eventTimestamp"]))
            .usually(10_000),
        get("/v1/cases/{}/fileevent/{}", &[], OPENAPI).answers(Answers::Record(&["event", "file"])),
        post(
            "/v2/file-events",
            &["groupClause", "groups", "pgNum", "pgSize", "pgToken", "srtKey", "srtDir"],
            Some(("pgSize", 10_000)),
            "SDK, queries/file_events.py",
        )
        .answers(Answers::List(&["fileEvents"], TOTAL, &["event", "file"]))
        .strictly(100),
        post(
            "/v2/file-events/grouping",
            &["groupClause", "groups", "groupingTerm", "size"],
            Some(("size", 10_000)),
            "SDK, queries/file_events.py",
        )
        .answers(Answers::List(&["groups"], None, &["value", "docCount"])),
        get("/v2/file-events/saved-searches", &[], OPENAPI).answers(Answers::List(
            &["searches"],
            None,
            &["id", "name", "groups"],
        )),
        get("/v2/file-events/saved-searches/{}", &[], OPENAPI).answers(Answers::List(
            &["searches"],
            None,
            &["id", "name", "groups"],
        )),
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
        )
        .answers(Answers::List(&["items"], TOTAL, &["sessionId", "actorId", "beginTime"]))
        .strictly(10),
        get("/v1/sessions/{}/events", &[], OPENAPI).answers(Answers::List(
            &["queryResult", "fileEvents"],
            TOTAL,
            &["event", "file"],
        )),
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
        )
        .answers(Answers::List(&["agents"], TOTAL, &["agentId", "userId", "active"]))
        .usually(500),
        paged(
            "/v1/devices",
            &["active", "blocked", "sortKey", "sortDirection", "page", "pageSize"],
            ("pageSize", 2_000),
            OPENAPI,
        )
        .answers(Answers::List(&["devices"], TOTAL, &["deviceId", "userId", "active"]))
        .strictly(100),
        paged(
            "/v1/actors/actor/search",
            &["nameStartsWith", "nameEndsWith", "active", "page", "pageSize"],
            ("pageSize", 500),
            "OpenAPI 2024-08-30; the size: SDK, actors/client.py",
        )
        .answers(Answers::List(&["actors"], None, &["actorId", "name", "active"]))
        .strictly(100),
        get("/v1/actors/actor/id/{}", &[], OPENAPI).answers(Answers::Record(&[
            "actorId",
            "name",
            "title",
            "department",
            "startDate",
            "endDate",
        ])),
        paged("/v2/watchlists", &["page", "page_size", "actor_id"], ("page_size", 500), OPENAPI)
            .answers(Answers::List(&["watchlists"], TOTAL, &["watchlistId", "listType"])),
        paged("/v2/watchlists/{}/members", SNAKE, ("page_size", 500), OPENAPI).answers(Answers::List(
            &["watchlistMembers"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-actors", SNAKE, ("page_size", 500), OPENAPI).answers(Answers::List(
            &["includedActors"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/excluded-actors", SNAKE, ("page_size", 500), OPENAPI).answers(Answers::List(
            &["excludedActors"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-departments", SNAKE, ("page_size", 500), OPENAPI).answers(Answers::List(
            &["includedDepartments"],
            TOTAL,
            &["name", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-directory-groups", SNAKE, ("page_size", 500), OPENAPI)
            .answers(Answers::List(&["includedDirectoryGroups"], TOTAL, &["groupId", "addedTime"])),
        paged("/v1/departments", &["page", "page_size", "name"], ("page_size", 500), OPENAPI).answers(Answers::List(
            &["departments"],
            TOTAL,
            &[],
        )),
        paged("/v1/directory-groups", &["page", "page_size", "name"], ("page_size", 500), OPENAPI)
            .answers(Answers::List(&["directoryGroups"], TOTAL, &["groupId", "name"])),
        paged("/v2/alert-rules", &["PageNumber", "PageSize", "WatchlistId"], ("PageSize", 100), OPENAPI)
            .answers(Answers::Bare(&["id", "name", "isEnabled"]))
            .usually(10),
        get("/v2/alert-rules/{}/users", &[], OPENAPI).answers(Answers::List(
            &["users"],
            None,
            &["userIdFromAuthority"],
        )),
        paged(
            "/v2/trusted-activities",
            &["type", "page", "page_size", "sort_key", "sort_direction"],
            ("page_size", 500),
            OPENAPI,
        )
        .answers(Answers::List(&["trustedActivities"], TOTAL, &["activityId", "type", "value"]))
        .usually(100),
        get("/v1/orgs", &["active"], OPENAPI).answers(Answers::List(&["orgs"], TOTAL, &["orgGuid", "orgName"])),
        get("/v1/customer", &[], OPENAPI).answers(Answers::Record(&["name", "tenantId"])),
        get("/v1/risk-indicator-categories", &[], "SDK, risk_indicator_categories/client.py").answers(Answers::List(
            &["categories"],
            None,
            &["id", "name"],
        )),
        paged(
            "/v1/legal-hold/matters",
            &["creatorUserId", "active", "name", "page", "pageSize"],
            ("pageSize", 500),
            OPENAPI,
        )
        .answers(Answers::List(&["matters"], None, &["matterId", "name", "active"]))
        .usually(500),
        paged("/v1/legal-hold/matters/{}/custodians", PAGES, ("pageSize", 500), OPENAPI)
            .answers(Answers::List(&["custodians"], None, &["userId", "username"]))
            .usually(500),
    ];
/// Not paged, unlike the other lists of legal hold.
const POLICIES: Fact =
    get("/v1/legal-hold/policies", &[], OPENAPI).answers(Answers::List(&["policies"], None, &["policyId", "name"]));

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
    fn check_answer(&self, request: &ApiRequest) -> Result<(), String> {
        let told = format!("{} {}: {:?}", request.method, request.path, request.status);
        let answer: Value = serde_json::from_slice(&request.answer).map_err(|error| format!("{error}: {told}"))?;
        let (rows, has) = match self.answers {
            Answers::Record(has) => (vec![&answer], has),
            Answers::Bare(has) => (rows_in(&answer, &told)?, has),
            Answers::List(keys, total, has) => {
                let (key, around) = keys.split_last().unwrap();
                let around = around.iter().fold(&answer, |answer, key| &answer[*key]);
                if !total.is_none_or(|total| around[total].is_u64()) {
                    return Err(format!("no {total:?}: {told}"));
                }
                (rows_in(&around[*key], &told)?, has)
            }
        };
        let missing = rows.iter().flat_map(|row| has.iter().map(move |member| (row, member)));
        match missing.into_iter().find(|(row, member)| row.get(**member).is_none()) {
            Some((row, member)) => Err(format!("{row} has no {member}: {told}")),
            None => Ok(()),
        }
    }
}

fn rows_in<'a>(list: &'a Value, told: &str) -> Result<Vec<&'a Value>, String> {
    Ok(list.as_array().ok_or_else(|| format!("no list: {told}"))?.iter().collect())
}

/// Asked for only where a session's events can't be found, to see whether the session is gone.
const ONE_SESSION: Fact = get("/v1/sessions/{}", &[], "SDK, sessions/client.py");

fn all_facts() -> Vec<Fact> {
    FACTS.iter().copied().chain([POLICIES]).collect()
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
        if !is_none {
            if request.status != Some(200) {
                return Err(format!("{} {}: {:?}", request.method, request.path, request.status));
            }
            fact.check_answer(request)?;
        }
    }
    let unused: Vec<&str> = facts.iter().map(|fact| fact.path).filter(|path| !used.contains(path)).collect();
    if unused.is_empty() { Ok(()) } else { Err(format!("nothing asks for {unused:?}")) }
}

/// Checks what the collector sent in any whole run, whatever was answered. The guide's dialect has other endpoints.
pub fn check_whole_run(requests: &[ApiRequest]) -> Result<(), String> {
    let is_guide = requests.iter().any(|request| request.path == "/v1/oauth/token");
    let ours: Vec<ApiRequest> =
        requests.iter().filter(|request| request.user_agent.starts_with("incydr-collector/")).cloned().collect();
    let facts = [&all_facts()[..], &[ONE_SESSION]].concat();
    if is_guide { Ok(()) } else { check_requests(&facts, &ours) }
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
    rig.sim.api.change(|api| api.keeps_answers = true);
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
    let search = rig.sim.world.all(Dataset::SavedSearches).swap_remove(0);
    let query = json!({"savedSearch": &*search.id}).to_string();
    let by_other_ways = rig.container(|lambda| {
        lambda.env("STREAMS", "audit,file_events").env("AUDIT_SOURCE", "export").env("FE_QUERY_JSON", query)
    });
    let from = ago(90_000).to_rfc3339();
    let answer = by_other_ways.invoke(json!({"action": "collect", "from": from}), DEADLINE).await.answer();
    assert_eq!(answer["status"], "complete", "{answer:#}");
    let (facts, requests) = (all_facts(), rig.sim.api.requests());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_worth_of_requests_stays_within_what_is_there() {
    // The same table applies to a span by hand, whose windows are older.
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events")).await;
    rig.sim.world.add_audit(300, ago(86_400), ago(60));
    rig.sim.world.add_file_events(300, ago(86_400), ago(60));
    let from = (ago(0) - TimeDelta::days(1)).to_rfc3339();
    rig.invoke(json!({"action": "collect", "from": from})).await.answer();
    assert_eq!(check_requests(&all_facts(), &rig.sim.api.requests()), Ok(()));
}

/// A client of the simulator alone.
struct Client {
    api: Api,
    token: String,
}

impl Client {
    async fn of(rig: &Rig) -> Self {
        let behaviour = rig.sim.api.behaviour();
        let credentials = BASE64.encode(format!("{}:{}", behaviour.client_id, behaviour.client_secret));
        let mut client = Self { api: rig.sim.api.clone(), token: format!("Basic {credentials}") };
        let (_, answer) = client.ask("POST", "/v1/oauth", &json!({})).await;
        client.token = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        client
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: [(AUTHORIZATION, self.token.parse().unwrap())].into_iter().collect(),
            body: body.to_string().into(),
        };
        let reply = self.api.exchange(request).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }
}

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
    ] {
        let (_, answer) = client.ask("POST", "/v2/file-events/grouping", &query).await;
        assert_eq!(answer["problems"][0]["type"].as_str(), kind, "{query}: {answer}");
    }
}
