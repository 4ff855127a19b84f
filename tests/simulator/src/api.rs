//! The simulated Incydr API. It has the endpoints that the vendor's SDK calls, and the oddities that are known of the
//! real one.

mod audit;
mod behaviour;
mod cases;
mod file_events;
mod grouping;
mod guide;
mod lists;
mod log;
mod page;
mod query;
mod route;
mod rules;
mod sessions;
mod sign_in;
mod terms;
mod time;
mod users;
mod writes;

use std::{
    collections::{HashMap, VecDeque},
    io,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::{Compression, Crc, write::GzEncoder};
use serde_json::json;
use tokio::time::Instant;

pub use behaviour::{Behaviour, SessionFilter, TokenEnd};
pub use log::ApiRequest;
pub use query::span_asked;
pub use time::{EdgePolicy, Precision};

use crate::{
    clock,
    fault::{Endpoint, Fault, Faults},
    http::{Delivery, NOWHERE, Reply, Request, Server},
    locked,
    world::{Dataset, WorldHandle, with_member, without_members},
};
use page::{Order, Twist};

/// The running API. Cheap to clone; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct Api {
    state: Arc<State>,
    /// None if it is only called as a function.
    server: Option<Arc<Server>>,
}

#[derive(Debug)]
struct State {
    world: WorldHandle,
    faults: Faults,
    behaviour: Mutex<Behaviour>,
    tokens: sign_in::Tokens,
    page_tokens: file_events::PageTokens,
    /// The last page that answered each question, for [`Fault::RepeatPage`].
    last: Mutex<HashMap<(Endpoint, String), Reply>>,
    recent: Mutex<VecDeque<Instant>>,
    log: Mutex<Vec<ApiRequest>>,
}

impl Api {
    pub(crate) async fn start(world: WorldHandle, faults: Faults, behaviour: Behaviour, port: u16) -> io::Result<Self> {
        let api = Self::in_memory(world, faults, behaviour);
        let shared = api.state.clone();
        let server = Server::start(port, move |request| answer(shared.clone(), request)).await?;
        Ok(Self { server: Some(Arc::new(server)), ..api })
    }

    /// Without a server. Requests go to [`Api::exchange`].
    pub(crate) fn in_memory(world: WorldHandle, faults: Faults, behaviour: Behaviour) -> Self {
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
        state.world.push_record(Dataset::Customer, first_customer(&locked(&state.behaviour).tenant));
        Self { state, server: None }
    }

    /// An address at which nothing listens if the API is only called as a function.
    pub fn url(&self) -> String {
        self.server.as_ref().map_or_else(|| NOWHERE.to_owned(), |server| server.url())
    }

    /// Answers one request, as if it had come over HTTP.
    pub async fn exchange(&self, request: Request) -> Reply {
        answer(self.state.clone(), request).await
    }

    pub fn behaviour(&self) -> Behaviour {
        locked(&self.state.behaviour).clone()
    }

    /// The change takes effect with the next request.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut locked(&self.state.behaviour));
    }

    /// Refuses the old credentials from now on. Tokens issued to them stay valid.
    pub fn set_credentials(&self, id: &str, secret: &str) {
        self.change(|behaviour| {
            id.clone_into(&mut behaviour.client_id);
            secret.clone_into(&mut behaviour.client_secret);
        });
    }

    /// Answers 401 to every token issued so far.
    pub fn revoke_tokens(&self) {
        self.state.tokens.revoke();
    }

    /// The number of sign-ins.
    pub fn sign_ins(&self) -> usize {
        self.state.tokens.issued()
    }

    /// Returns every request in the order of arrival, including unanswered ones.
    pub fn requests(&self) -> Vec<ApiRequest> {
        locked(&self.state.log).clone()
    }

    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<ApiRequest> {
        self.requests().into_iter().filter(|request| request.endpoint == endpoint).collect()
    }

    /// Returns the greatest number of requests that arrived in any span of this length.
    pub fn most_requests_in(&self, span: Duration) -> usize {
        log::most_in(&locked(&self.state.log), span)
    }

    pub fn clear_log(&self) {
        locked(&self.state.log).clear();
    }
}

async fn answer(state: Arc<State>, request: Request) -> Reply {
    let behaviour = locked(&state.behaviour).clone();
    let endpoint = route::endpoint_of(&request, behaviour.guide_endpoints);
    let entry = log::arrived(&state.log, endpoint, &request);
    tokio::time::sleep(behaviour.latency).await;
    let fault = state.faults.next(endpoint, &request);
    let is_struck = fault.is_some();
    let reply = under_fault(&state, endpoint, &request, fault).await;
    let kept = if reply.body.len() <= behaviour.longest_kept { reply.body.clone() } else { Bytes::new() };
    let reply = finished(reply, &request, &locked(&state.behaviour));
    log::answered(&state.log, entry, log::Answered { status: reply.status, is_struck, kept });
    reply
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
        Fault::Reply(status, headers, body) => headers
            .into_iter()
            .fold(Reply::new(status, "text/html", body), |reply, (name, value)| reply.with_header(name, value)),
        Fault::Echo(status, edit) => {
            let sent = request.header("authorization").unwrap_or_default();
            Reply::json(status, (edit.0)(sent.trim_start_matches("Bearer ")))
        }
        Fault::Under(status) => Reply { status, ..as_always() },
        Fault::Header(name, value) => as_always().with_header(name, value),
        Fault::Edited(edit) => edited(as_always(), |body| (edit.0)(body)),
        Fault::Stalled => Reply { delivery: Delivery::Stalled(0), ..as_always() },
        Fault::Html => Reply::new(200, "text/html", "<html><body><h1>Please wait</h1></body></html>"),
        Fault::CutBody => Reply { delivery: Delivery::Cut(0), ..as_always() },
        Fault::BrokenJson => {
            let reply = as_always();
            Reply { body: reply.body.slice(..reply.body.len() / 2), ..reply }
        }
        Fault::RepeatPage => {
            let last = locked(&state.last).get(&(endpoint, question(request))).cloned();
            last.unwrap_or_else(as_always)
        }
        Fault::ShiftPages(shift) => usual(Twist { shift, ..Twist::default() }),
        Fault::NewestFirst => usual(Twist { order: Some(Order::NewestFirst), ..Twist::default() }),
        Fault::OldestFirst => usual(Twist { order: Some(Order::OldestFirst), ..Twist::default() }),
        Fault::TotalOff(total_off) => usual(Twist { total_off, ..Twist::default() }),
        Fault::NoList => edited(as_always(), |body| without_members(body, &lists::keys())),
        Fault::Problems(description) => edited(as_always(), |body| {
            with_member(body, "problems", &file_events::problems("SEARCH_FAILED", &description).to_string())
        }),
        Fault::TimedOut => {
            file_events::refused("SEARCH_FAILED", "Request timed out.  Refine your filter criteria and try again.")
        }
        Fault::InvalidPageToken => file_events::refused("INVALID_PAGE_TOKEN", "the page token is not valid"),
        Fault::Hang => Reply { delivery: Delivery::Never, ..Reply::lost() },
        Fault::Dropped => Reply::lost(),
        Fault::DoneBut(status) => {
            as_always();
            Reply::json(status, r#"{"message":"try again later"}"#)
        }
        Fault::DoneUnanswered => {
            as_always();
            Reply::lost()
        }
    }
}

/// The request without its page number.
fn question(request: &Request) -> String {
    if request.query.is_empty() {
        return request.path.clone();
    }
    let numbers = lists::page_numbers();
    let parameters = request.parameters().into_iter().filter(|(name, _)| !numbers.contains(&name.as_str()));
    let parameters: Vec<String> = parameters.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{}", request.path, parameters.join("&"))
}

fn edited(reply: Reply, edit: impl FnOnce(&str) -> String) -> Reply {
    let body = edit(&String::from_utf8_lossy(&reply.body));
    Reply { body: body.into(), ..reply }
}

/// The answer without a fault.
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
    let (off, total_cap) = state.faults.totals(endpoint, request, behaviour.edges);
    let twist = Twist { cap: behaviour.page_cap, total_off: twist.total_off + off, total_cap, ..twist };
    let reply = healthy(state, &behaviour, endpoint, request, circumstances, twist).unwrap_or_else(|refused| refused);
    if reply.status == 200 {
        locked(&state.last).insert((endpoint, question(request)), reply.clone());
    }
    reply
}

/// The endpoint's answer. A refusal is an error here, and is sent like any answer.
fn healthy(
    state: &State,
    behaviour: &Behaviour,
    endpoint: Endpoint,
    request: &Request,
    at: query::Circumstances,
    twist: Twist,
) -> Result<Reply, Reply> {
    let world = &state.world;
    let dialect = guide::Dialect::of(behaviour);
    Ok(match endpoint {
        Endpoint::Customer => customer(world, request)?,
        Endpoint::Users if guide::is_meant(behaviour, request, "page") => guide::users(world, request, dialect, twist)?,
        Endpoint::Users => users::list(world, request, twist)?,
        Endpoint::AuditSearch => audit::search(world, request, at.edges, twist),
        Endpoint::AuditExport => audit::export(world, request, at.edges, behaviour.export_is_bare, twist),
        Endpoint::AuditCount => audit::count(world, request, at.edges, twist),
        Endpoint::CaseList if guide::is_meant(behaviour, request, "pgNum") => {
            guide::cases(world, request, at.edges, dialect, twist)?
        }
        Endpoint::CaseList => cases::list(world, request, at.edges, twist)?,
        Endpoint::CaseDetail => cases::detail(world, request),
        Endpoint::CaseFileEventDetail => cases::event_detail(world, request),
        Endpoint::FileEvents => file_events::search(world, &state.page_tokens, request, behaviour, at, twist),
        Endpoint::FileEventGrouping => grouping::answer(world, request, at)?,
        Endpoint::Sessions => sessions::list(world, request, behaviour.session_filter, twist)?,
        Endpoint::SessionDetail => sessions::detail(world, request)?,
        Endpoint::SessionEvents => sessions::events(world, request, twist)?,
        Endpoint::RuleUsers => rules::users(world, request)?,
        Endpoint::Write | Endpoint::Detail | Endpoint::ActorDetail | Endpoint::SavedSearch => {
            writes::answer(world, request)?
        }
        Endpoint::GuideAudit => guide::audit(world, request, at.edges, dialect, twist)?,
        Endpoint::GuideFileEvents => guide::file_events(world, request, at, dialect, twist)?,
        list => lists::answer(world, list, request, at.now, twist).ok_or_else(|| page::not_found(request))?,
    })
}

/// Returns how long until the next request is allowed.
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
fn first_customer(tenant: &str) -> String {
    json!({"name": "simulated tenant", "registrationKey": "key-42", "tenantId": tenant}).to_string()
}

/// The customer's record, which exists from the start and may have been changed by a test.
fn customer(world: &WorldHandle, request: &Request) -> Result<Reply, Reply> {
    let customer = world.visible(Dataset::Customer).pop();
    customer.map(|customer| Reply::json(200, customer.raw.to_string())).ok_or_else(|| page::not_found(request))
}

fn now(behaviour: &Behaviour) -> DateTime<Utc> {
    clock::now() + behaviour.clock_offset
}

/// Adds the `Date` header, and gzips the body if the client accepts that.
fn finished(mut reply: Reply, request: &Request, behaviour: &Behaviour) -> Reply {
    let date = now(behaviour).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    reply = reply.with_header("date", date);
    let accepted = request.header("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
    if behaviour.gzip && accepted && !reply.body.is_empty() {
        let members = reply.body.chunks(behaviour.gzip_member.unwrap_or(usize::MAX)).map(gzipped);
        reply.body = members.collect::<Vec<_>>().concat().into();
        reply = reply.with_header("content-encoding", behaviour.gzip_name);
    }
    if let Delivery::Cut(kept) | Delivery::Stalled(kept) = &mut reply.delivery {
        *kept = reply.body.len() / 2;
    }
    reply
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    if clock::is_simulated() {
        return stored(body);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("a vector takes any number of bytes")
}

/// A member of gzip whose blocks are not compressed, which costs a simulation next to nothing.
fn stored(body: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = body.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a block is no longer");
        member.push(u8::from(blocks.peek().is_none()));
        member.extend_from_slice(&length.to_le_bytes());
        member.extend_from_slice(&(!length).to_le_bytes());
        member.extend_from_slice(block);
    }
    let mut sum = Crc::new();
    sum.update(body);
    member.extend_from_slice(&sum.sum().to_le_bytes());
    member.extend_from_slice(&sum.amount().to_le_bytes());
    member
}
