//! What the vendor says about each endpoint that the responder asks, with the source beside it. The requests of every
//! test are compared when its rig is dropped.

use serde_json::Value;
use simulator::{Api, ApiRequest};

use crate::rig::{Rig, note};

/// The facts about one endpoint.
struct Fact {
    method: &'static str,
    /// `{}` is an id.
    path: &'static str,
    /// The parameters of the query string, or the members of the body.
    takes: &'static [&'static str],
    /// The members that a body must have.
    needs: &'static [&'static str],
}

const fn get(path: &'static str, takes: &'static [&'static str]) -> Fact {
    Fact { method: "GET", path, takes, needs: &[] }
}

const fn post(path: &'static str, takes: &'static [&'static str]) -> Fact {
    Fact { method: "POST", path, takes, needs: takes }
}

const fn delete(path: &'static str) -> Fact {
    Fact { method: "DELETE", ..get(path, &[]) }
}

const PAGES: &[&str] = &["page", "pageSize"];
const SNAKE: &[&str] = &["page", "page_size"];
const CASES: &[&str] = &[
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
];
const SESSIONS: &[&str] = &[
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
    // SDK, sessions/client.py.
    "type",
];
const TRUSTED: &[&str] = &["activityActionGroups", "description", "isHighValueSource", "type", "value"];
const TRUSTED_NEEDS: &[&str] = &["activityActionGroups", "type", "value"];

/// `OpenAPI` 2024-08-30, unless another source stands beside it.
static FACTS: &[Fact] = &[
    // The OpenAPI has it in the query. It is sent as a form (RFC 6749), which isn't logged.
    post("/v1/oauth", &[]),
    // What is read.
    get("/v1/users", &["active", "blocked", "username", "page", "pageSize"]),
    get("/v1/users/{}", &[]),
    get("/v1/agents/{}", &[]),
    get("/v1/actors/actor/id/{}", &[]),
    get("/v1/actors/actor/name/{}/parent", &[]),
    get("/v1/cases", CASES),
    get("/v1/cases/{}", &[]),
    get("/v1/cases/{}/fileevent", &["pgNum", "pgSize", "archiveId"]),
    // The collector asks for it, which runs beside in some tests.
    get("/v1/cases/{}/fileevent/{}", &[]),
    get("/v1/sessions", SESSIONS),
    get("/v1/sessions/{}", &[]),
    get("/v1/sessions/{}/events", &[]),
    get("/v1/legal-hold/matters", &["creatorUserId", "active", "name", "page", "pageSize"]),
    get("/v1/legal-hold/matters/{}/custodians", PAGES),
    get("/v1/legal-hold/custodians/{}", PAGES),
    get("/v2/watchlists", &["page", "page_size", "actor_id"]),
    get("/v2/watchlists/{}/included-actors", SNAKE),
    get("/v2/watchlists/{}/excluded-actors", SNAKE),
    get("/v2/trusted-activities", &["type", "page", "page_size", "sort_key", "sort_direction"]),
    get("/v2/trusted-activities/{}", &[]),
    get("/v2/alert-rules/{}", &[]),
    // SDK, queries/file_events.py.
    post("/v2/file-events", &["groupClause", "groups", "pgNum", "pgSize", "srtKey", "srtDir"]),
    // What is written.
    post("/v1/sessions/{}/add-note", &["noteContent"]),
    post("/v1/sessions/change-state", &["ids", "newState"]),
    Fact { needs: &["name"], ..post("/v1/cases", &["assignee", "description", "findings", "name", "subject"]) },
    Fact {
        method: "PUT",
        path: "/v1/cases/{}",
        takes: &["assignee", "description", "findings", "name", "status", "subject"],
        needs: &["name", "status"],
    },
    delete("/v1/cases/{}"),
    post("/v1/cases/{}/fileevent", &["events"]),
    delete("/v1/cases/{}/fileevent/{}"),
    // The body names the list only for included actors.
    post("/v2/watchlists/{}/included-actors/add", &["actorIds", "watchlistId"]),
    post("/v2/watchlists/{}/included-actors/delete", &["actorIds", "watchlistId"]),
    post("/v2/watchlists/{}/excluded-actors/add", &["actorIds"]),
    post("/v2/watchlists/{}/excluded-actors/delete", &["actorIds"]),
    // SDK, actors/client.py.
    Fact { method: "PATCH", ..get("/v1/actors/actor/id/{}", &["notes", "startDate", "endDate"]) },
    post("/v1/users/{}/activate", &[]),
    post("/v1/users/{}/deactivate", &[]),
    post("/v1/agents/activate", &["agentIds"]),
    post("/v1/agents/deactivate", &["agentIds"]),
    post("/v1/legal-hold/matters/{}/custodians", &["userId"]),
    post("/v1/legal-hold/matters/{}/custodians/remove", &["userId"]),
    Fact { needs: TRUSTED_NEEDS, ..post("/v2/trusted-activities", TRUSTED) },
    Fact { method: "PATCH", needs: TRUSTED_NEEDS, ..get("/v2/trusted-activities/{}", TRUSTED) },
    delete("/v2/trusted-activities/{}"),
    post("/v2/alert-rules/{}/enable", &[]),
    post("/v2/alert-rules/{}/disable", &[]),
];

impl Fact {
    fn is_of(&self, request: &ApiRequest) -> bool {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (self.path.split('/').collect(), request.path.split('/').collect());
        let is_part = |(wanted, part): (&&str, &&str)| *wanted == "{}" || wanted == part;
        request.method == self.method && pattern.len() == path.len() && pattern.iter().zip(&path).all(is_part)
    }

    /// The error says which member the vendor doesn't have, or needs.
    fn check(&self, request: &ApiRequest) -> Result<(), String> {
        let told = format!("{} {}?{} {}", request.method, request.path, request.query, request.body);
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let of_query =
            request.query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
        let of_body = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let asked: Vec<&str> = of_query.chain(of_body).collect();
        if let Some(name) = asked.iter().find(|name| !self.takes.contains(name)) {
            return Err(format!("{name} is no parameter: {told}"));
        }
        match self.needs.iter().find(|name| !asked.contains(name)) {
            Some(name) => Err(format!("{name} is missing: {told}")),
            None => Ok(()),
        }
    }
}

/// Checks what the responder sent, whatever was answered.
fn check(requests: &[ApiRequest]) -> Result<(), String> {
    let ours = requests.iter().filter(|request| request.user_agent.starts_with("incydr-"));
    for request in ours {
        let none = || format!("no such endpoint: {} {}", request.method, request.path);
        FACTS.iter().find(|fact| fact.is_of(request)).ok_or_else(none)?.check(request)?;
    }
    Ok(())
}

/// Checks the requests when the rig is dropped.
pub struct HeldAgainstFacts(pub Api);

impl Drop for HeldAgainstFacts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(check(&self.0.requests()), Ok(()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_vendor_does_not_have_is_seen() {
    let rig = Rig::new().await;
    rig.ask(note("known")).await;
    let requests = rig.sim.api.requests();
    assert_eq!(check(&requests), Ok(()));
    let sent = requests.iter().find(|request| request.path.ends_with("/add-note")).unwrap();
    for (path, body, says) in [
        ("/v1/sessions/s-1/add-notes", r#"{"noteContent":"x"}"#, "no such endpoint"),
        (&*sent.path, r#"{"noteContent":"x","colour":1}"#, "colour is no parameter"),
        (&*sent.path, "{}", "noteContent is missing"),
    ] {
        let other = ApiRequest { path: path.into(), body: body.into(), ..sent.clone() };
        assert!(check(&[other]).is_err_and(|why| why.starts_with(says)), "{path} {body}");
    }
}
