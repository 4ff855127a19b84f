//! The Incydr API: faithful to what the vendor's SDK calls and to what is known of its oddities.

mod audit;
mod cases;
mod file_events;
mod guide;
mod log;
mod page;
mod query;
mod sign_in;
mod time;
mod users;

use std::{
    collections::{HashMap, VecDeque},
    io,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

pub use log::ApiRequest;
pub use time::{EdgePolicy, Precision};

use crate::{
    fault::{Endpoint, Fault, Faults},
    http::{Delivery, Reply, Request, Server},
    locked,
    world::{WorldHandle, with_member, without_members},
};
use page::{Order, Twist};

/// How `nextPgToken` says that there is no further page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    Null,
    Absent,
    Empty,
}

/// What can be set about the API; see [`Api::change`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each off or on")]
pub struct Behaviour {
    pub client_id: String,
    pub client_secret: String,
    pub tenant: String,
    /// 900 s (SDK, `core/auth.py`).
    pub token_lifetime: Duration,
    /// Whether each sign-in adds a `logged_in` event to the audit log, as the real one does.
    pub sign_ins_are_audited: bool,
    /// Answers to clients that accept gzip are gzipped.
    pub gzip: bool,
    /// How far the API's clock is ahead of ours, in the `Date` header and in `WITHIN_THE_LAST`.
    pub clock_offset: TimeDelta,
    pub edges: EdgePolicy,
    pub token_end: TokenEnd,
    /// A last page that is full has a token too, which leads to an empty page.
    pub token_after_full_page: bool,
    pub latency: Duration,
    /// Over any 60 seconds; the vendor allows a tenant 120.
    pub requests_per_minute: Option<usize>,
    /// Whether the endpoints that only the guide prints are there.
    pub guide_endpoints: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            client_id: "key-42-simulated".to_owned(),
            client_secret: "simulated-client-secret".to_owned(),
            tenant: "5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42".to_owned(),
            token_lifetime: Duration::from_mins(15),
            sign_ins_are_audited: false,
            gzip: true,
            clock_offset: TimeDelta::zero(),
            edges: EdgePolicy::default(),
            token_end: TokenEnd::Null,
            token_after_full_page: false,
            latency: Duration::ZERO,
            requests_per_minute: None,
            guide_endpoints: false,
        }
    }
}

/// The running API, shared: cheap to clone; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct Api {
    state: Arc<State>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct State {
    world: WorldHandle,
    faults: Faults,
    behaviour: Mutex<Behaviour>,
    tokens: sign_in::Tokens,
    page_tokens: file_events::PageTokens,
    /// The last page of each endpoint, for [`Fault::RepeatPage`].
    last: Mutex<HashMap<Endpoint, Reply>>,
    recent: Mutex<VecDeque<Instant>>,
    log: Mutex<Vec<ApiRequest>>,
}

impl Api {
    pub(crate) async fn start(world: WorldHandle, faults: Faults, behaviour: Behaviour, port: u16) -> io::Result<Self> {
        let state = Arc::new(State {
            world,
            faults,
            behaviour: Mutex::new(behaviour),
            tokens: sign_in::Tokens::default(),
            page_tokens: file_events::PageTokens::default(),
            last: Mutex::default(),
            recent: Mutex::default(),
            log: Mutex::default(),
        });
        let shared = state.clone();
        let server = Server::start(port, move |request| answer(shared.clone(), request)).await?;
        Ok(Self { state, server: Arc::new(server) })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn behaviour(&self) -> Behaviour {
        locked(&self.state.behaviour).clone()
    }

    /// Takes effect with the next request.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut locked(&self.state.behaviour));
    }

    /// The old ones are refused from now on; tokens that were issued to them stay valid.
    pub fn set_credentials(&self, id: &str, secret: &str) {
        self.change(|behaviour| {
            id.clone_into(&mut behaviour.client_id);
            secret.clone_into(&mut behaviour.client_secret);
        });
    }

    /// Every token that was issued so far is answered with 401.
    pub fn revoke_tokens(&self) {
        self.state.tokens.revoke();
    }

    /// How often somebody signed in.
    pub fn sign_ins(&self) -> usize {
        self.state.tokens.issued()
    }

    /// Every request in the order of arrival, unanswered ones too.
    pub fn requests(&self) -> Vec<ApiRequest> {
        locked(&self.state.log).clone()
    }

    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<ApiRequest> {
        self.requests().into_iter().filter(|request| request.endpoint == endpoint).collect()
    }

    /// The most requests that arrived in any span of this length.
    pub fn most_requests_in(&self, span: Duration) -> usize {
        log::most_in(&locked(&self.state.log), span)
    }

    pub fn clear_log(&self) {
        locked(&self.state.log).clear();
    }
}

async fn answer(state: Arc<State>, request: Request) -> Reply {
    let behaviour = locked(&state.behaviour).clone();
    let endpoint = endpoint_of(&request, behaviour.guide_endpoints);
    let entry = log::arrived(&state.log, endpoint, &request);
    tokio::time::sleep(behaviour.latency).await;
    let fault = state.faults.next(endpoint, &request);
    let reply = under_fault(&state, endpoint, &request, fault).await;
    let reply = finished(reply, &request, &locked(&state.behaviour));
    log::answered(&state.log, entry, reply.status);
    reply
}

fn endpoint_of(request: &Request, guide_endpoints: bool) -> Endpoint {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/oauth") => Endpoint::SignIn,
        ("GET", "/v1/customer") => Endpoint::Customer,
        ("GET", "/v1/users") => Endpoint::Users,
        ("POST", "/v1/audit/search-audit-log") => Endpoint::AuditSearch,
        ("POST", "/v1/audit/search-results-count") => Endpoint::AuditCount,
        ("GET", "/v1/cases") => Endpoint::CaseList,
        ("GET", path) if cases::number_in(path).is_some() => Endpoint::CaseDetail,
        ("POST", "/v2/file-events") => Endpoint::FileEvents,
        ("POST", "/v1/oauth/token") if guide_endpoints => Endpoint::SignIn,
        ("GET", "/v1/audit/log") if guide_endpoints => Endpoint::GuideAudit,
        ("POST", "/v2/file-events/search") if guide_endpoints => Endpoint::GuideFileEvents,
        _ => Endpoint::Unknown,
    }
}

async fn under_fault(state: &State, endpoint: Endpoint, request: &Request, fault: Option<Fault>) -> Reply {
    let usual = |twist| usual(state, endpoint, request, twist);
    let as_always = || usual(Twist::default());
    let Some(fault) = fault else {
        return as_always();
    };
    match fault {
        Fault::Late(delay) => {
            tokio::time::sleep(delay).await;
            as_always()
        }
        Fault::Run(hook) => {
            (hook.act)();
            as_always()
        }
        Fault::RateLimited { retry_after } => page::rate_limited(retry_after.as_deref()),
        Fault::Unauthorized => page::problem(401, "Unauthorized", request),
        Fault::Forbidden => page::problem(403, "Forbidden", request),
        Fault::Status(status, body) => Reply::json(status, body),
        Fault::Html => Reply::new(200, "text/html", "<html><body><h1>Please wait</h1></body></html>"),
        Fault::CutBody => Reply { delivery: Delivery::Cut(0), ..as_always() },
        Fault::BrokenJson => {
            let reply = as_always();
            Reply { body: reply.body.slice(..reply.body.len() / 2), ..reply }
        }
        Fault::RepeatPage => {
            let last = locked(&state.last).get(&endpoint).cloned();
            last.unwrap_or_else(as_always)
        }
        Fault::ShiftPages(shift) => usual(Twist { shift, ..Twist::default() }),
        Fault::NewestFirst => usual(Twist { order: Some(Order::NewestFirst), ..Twist::default() }),
        Fault::OldestFirst => usual(Twist { order: Some(Order::OldestFirst), ..Twist::default() }),
        Fault::TotalOff(total_off) => usual(Twist { total_off, ..Twist::default() }),
        Fault::NoList => edited(as_always(), |body| without_members(body, &["users", "events", "cases", "fileEvents"])),
        Fault::Problems(description) => edited(as_always(), |body| {
            with_member(body, "problems", &file_events::problems("SEARCH_FAILED", &description).to_string())
        }),
        Fault::TimedOut => {
            file_events::refused("SEARCH_FAILED", "Request timed out.  Refine your filter criteria and try again.")
        }
        Fault::InvalidPageToken => file_events::refused("INVALID_PAGE_TOKEN", "the page token is not valid"),
        Fault::Hang => Reply { delivery: Delivery::Never, ..Reply::lost() },
        Fault::Dropped => Reply::lost(),
    }
}

fn edited(reply: Reply, edit: impl FnOnce(&str) -> String) -> Reply {
    let body = edit(&String::from_utf8_lossy(&reply.body));
    Reply { body: body.into(), ..reply }
}

/// The answer of an API in good health.
fn usual(state: &State, endpoint: Endpoint, request: &Request, twist: Twist) -> Reply {
    let behaviour = locked(&state.behaviour).clone();
    if let Some(wait) = over_the_limit(state, &behaviour) {
        return page::rate_limited(Some(&wait.as_secs().saturating_add(1).to_string()));
    }
    if endpoint == Endpoint::SignIn {
        return sign_in::answer(&state.tokens, &state.world, &behaviour, request);
    }
    if !state.tokens.accept(request) {
        return page::problem(401, "Unauthorized", request);
    }
    let circumstances = query::Circumstances { edges: behaviour.edges, now: now(&behaviour) };
    let world = &state.world;
    let reply = match endpoint {
        Endpoint::Customer => Reply::json(200, customer(&behaviour)),
        Endpoint::Users => users::list(world, request, twist),
        Endpoint::AuditSearch => audit::search(world, request, circumstances.edges, twist),
        Endpoint::AuditCount => audit::count(world, request, circumstances.edges, twist),
        Endpoint::CaseList => cases::list(world, request, circumstances.edges, twist),
        Endpoint::CaseDetail => cases::detail(world, request),
        Endpoint::FileEvents => {
            file_events::search(world, &state.page_tokens, request, &behaviour, circumstances, twist)
        }
        Endpoint::GuideAudit => guide::audit(world, request, circumstances.edges, twist),
        Endpoint::GuideFileEvents => guide::file_events(world, request, circumstances, twist),
        Endpoint::SignIn | Endpoint::Unknown | Endpoint::Any => page::problem(404, "Not Found", request),
    };
    if reply.status == 200 {
        locked(&state.last).insert(endpoint, reply.clone());
    }
    reply
}

/// How long until the next request is allowed.
fn over_the_limit(state: &State, behaviour: &Behaviour) -> Option<Duration> {
    const MINUTE: Duration = Duration::from_mins(1);
    let limit = behaviour.requests_per_minute?;
    let mut recent = locked(&state.recent);
    while recent.front().is_some_and(|at| at.elapsed() >= MINUTE) {
        recent.pop_front();
    }
    if recent.len() < limit {
        recent.push_back(Instant::now());
        return None;
    }
    Some(recent.front().map_or(MINUTE, |at| MINUTE.saturating_sub(at.elapsed())))
}

/// SDK, `customer/models.py`.
fn customer(behaviour: &Behaviour) -> String {
    json!({"name": "simulated tenant", "registrationKey": "key-42", "tenantId": behaviour.tenant}).to_string()
}

fn now(behaviour: &Behaviour) -> DateTime<Utc> {
    Utc::now() + behaviour.clock_offset
}

/// The reply with its `Date`, and gzipped where the client accepts it.
fn finished(mut reply: Reply, request: &Request, behaviour: &Behaviour) -> Reply {
    let date = now(behaviour).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    reply = reply.with_header("date", date);
    let accepted = request.header("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
    if behaviour.gzip && accepted && !reply.body.is_empty() {
        reply.body = gzipped(&reply.body).into();
        reply = reply.with_header("content-encoding", "gzip");
    }
    if let Delivery::Cut(kept) = &mut reply.delivery {
        *kept = reply.body.len() / 2;
    }
    reply
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("a vector takes any number of bytes")
}
