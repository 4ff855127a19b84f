//! Faults of the Incydr API: armed for an endpoint and an ordinal, lasting until healed, or decided for each request.

mod miscount;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    api::{EdgePolicy, span_asked},
    http::Request,
    locked,
};
use miscount::{How, Miscount};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    SignIn,
    Customer,
    Users,
    AuditSearch,
    AuditCount,
    AuditExport,
    CaseList,
    CaseDetail,
    FileEvents,
    FileEventGrouping,
    Sessions,
    SessionDetail,
    SessionEvents,
    CaseFileEvents,
    CaseFileEventDetail,
    Agents,
    Devices,
    UserDevices,
    Actors,
    ActorDetail,
    Watchlists,
    WatchlistMembers,
    IncludedActors,
    ExcludedActors,
    IncludedDepartments,
    IncludedDirectoryGroups,
    Departments,
    DirectoryGroups,
    AlertRules,
    RuleUsers,
    TrustedActivities,
    Roles,
    UserRoles,
    Orgs,
    RiskIndicatorCategories,
    SavedSearches,
    SavedSearch,
    Matters,
    Custodians,
    Policies,
    /// `GET /v1/audit/log`, only printed in the guide.
    GuideAudit,
    /// `POST /v2/file-events/search`, only printed in the guide.
    GuideFileEvents,
    /// Any write.
    Write,
    /// A single record, as the responder reads it.
    Detail,
    /// A path that the API doesn't have.
    Unknown,
    /// For arming only: every endpoint.
    Any,
}

#[derive(Debug, Clone)]
pub enum Fault {
    /// The usual answer, after this delay.
    Late(Duration),
    /// 429, with this `Retry-After`.
    RateLimited {
        retry_after: Option<String>,
    },
    /// 401.
    Unauthorized,
    /// 403: the client lacks the permission.
    Forbidden,
    /// This status with this body.
    Status(u16, String),
    /// This status with these headers and this body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// This status, with a body made of the request's token.
    Echo(u16, Edit),
    /// The usual answer with another status.
    Under(u16),
    /// The usual answer, with a further header.
    Header(&'static str, String),
    /// The usual answer, with another body.
    Edited(Edit),
    /// The first half of the body. The connection stays open.
    Stalled,
    /// 200 with a proxy's page of HTML.
    Html,
    /// The connection breaks in the middle of the body; `Content-Length` promised all of it.
    CutBody,
    /// A whole HTTP body whose JSON ends in the middle.
    BrokenJson,
    /// The endpoint's last answer to the same question, of whichever page.
    RepeatPage,
    /// Offset paging with rows inserted (negative) or removed (positive) since the last page.
    ShiftPages(i64),
    /// The page without its list.
    NoList,
    /// 200, with this description in `problems`.
    Problems(String),
    /// 400 `SEARCH_FAILED`: "Request timed out.  Refine your filter criteria and try again."
    TimedOut,
    /// 400 whose text holds `INVALID_PAGE_TOKEN`.
    InvalidPageToken,
    /// No answer. The connection stays open.
    Hang,
    /// The connection breaks without an answer.
    Dropped,
    /// The request is carried out, but the answer is this status.
    DoneBut(u16),
    /// The request is carried out; the connection breaks without an answer.
    DoneUnanswered,
    /// The page's rows sorted by cursor time, whatever the request says.
    NewestFirst,
    OldestFirst,
    /// A total that is wrong by so many.
    TotalOff(i64),
    /// Calls a hook just before the request is answered as usual.
    Run(Hook),
}

impl Fault {
    pub fn echo(status: u16, edit: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::Echo(status, Edit(Arc::new(edit)))
    }

    pub fn edited(edit: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::Edited(Edit(Arc::new(edit)))
    }

    pub fn run(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Run(Hook::new("hook", hook))
    }

    /// The name in the statistics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Late(_) => "late answer",
            Self::RateLimited { .. } => "429",
            Self::Unauthorized => "401",
            Self::Forbidden => "403",
            Self::Status(500.., _) => "5xx",
            Self::Status(..) => "4xx",
            Self::Reply(..) => "another answer",
            Self::Echo(..) => "echo of the token",
            Self::Under(_) => "another status",
            Self::Header(..) => "another header",
            Self::Edited(_) => "another body",
            Self::Stalled => "stalled body",
            Self::Html => "page of HTML",
            Self::CutBody => "cut body",
            Self::BrokenJson => "broken JSON",
            Self::RepeatPage => "repeated page",
            Self::ShiftPages(_) => "shifted pages",
            Self::NoList => "page without a list",
            Self::Problems(_) => "problems in a 200",
            Self::TimedOut => "query timed out",
            Self::InvalidPageToken => "invalid page token",
            Self::Hang => "no answer",
            Self::Dropped => "dropped connection",
            Self::DoneBut(_) => "done, and another status",
            Self::DoneUnanswered => "done, and no answer",
            Self::NewestFirst => "newest first",
            Self::OldestFirst => "oldest first",
            Self::TotalOff(_) => "wrong total",
            Self::Run(hook) => hook.name,
        }
    }
}

/// A test's change of a body.
#[derive(Clone)]
pub struct Edit(pub(crate) Arc<dyn Fn(&str) -> String + Send + Sync>);

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

/// A test's action in the middle of a request.
#[derive(Clone)]
pub struct Hook {
    /// The name in the statistics.
    pub name: &'static str,
    pub(crate) act: Arc<dyn Fn() + Send + Sync>,
}

impl Hook {
    pub fn new(name: &'static str, act: impl Fn() + Send + Sync + 'static) -> Self {
        Self { name, act: Arc::new(act) }
    }

    /// Calls one after the other, counted as the first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self::new(self.name, move || {
            (self.act)();
            (next.act)();
        })
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.name)
    }
}

type Predicate = Box<dyn Fn(&Request) -> bool + Send>;

struct Armed {
    /// The id by which it is healed.
    id: u64,
    endpoint: Endpoint,
    applies: Predicate,
    /// Ordinals, counted from arming, 1 being the first; half-open.
    from: u64,
    until: u64,
    seen: u64,
    fault: Fault,
}

/// Decides by an endpoint's ordinal, beginning with 1, which fault strikes a request.
type Decide = Box<dyn Fn(Endpoint, u64, &Request) -> Option<Fault> + Send>;

/// A lasting fault: until it is healed or all faults are cleared.
#[derive(Debug, Clone)]
pub struct Ailment {
    faults: Faults,
    id: u64,
}

impl Ailment {
    /// Ends this fault, and no other.
    pub fn heal(&self) {
        let mut state = locked(&self.faults.0);
        state.armed.retain(|armed| armed.id != self.id);
        state.miscounts.retain(|miscount| miscount.id != self.id);
    }
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    miscounts: Vec<Miscount>,
    /// The number of faults armed so far.
    last_id: u64,
    decide: Option<Decide>,
    /// The number of requests to each endpoint since `decide` was set.
    ordinals: HashMap<Endpoint, u64>,
    struck: BTreeMap<&'static str, u64>,
}

/// The faults, shared. If several armed faults match a request, the one armed first strikes; the others count the
/// request too. If none matches, [`Faults::decide`] is asked.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({} struck)", self.struck())
    }
}

impl Faults {
    /// Strikes the `nth` request from now, 1 being the next.
    pub fn once(&self, endpoint: Endpoint, nth: u64, fault: Fault) {
        self.arm(endpoint, nth, nth + 1, Box::new(|_| true), fault);
    }

    /// Strikes the next `n` requests.
    pub fn times(&self, endpoint: Endpoint, n: u64, fault: Fault) {
        self.arm(endpoint, 1, n + 1, Box::new(|_| true), fault);
    }

    /// Strikes the `nth` request from now and all that follow.
    pub fn from(&self, endpoint: Endpoint, nth: u64, fault: Fault) {
        self.arm(endpoint, nth, u64::MAX, Box::new(|_| true), fault);
    }

    pub fn always(&self, endpoint: Endpoint, fault: Fault) {
        self.from(endpoint, 1, fault);
    }

    /// Strikes every request that the predicate accepts.
    pub fn when(&self, endpoint: Endpoint, applies: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.arm(endpoint, 1, u64::MAX, Box::new(applies), fault);
    }

    /// Strikes the next `n` requests that the predicate accepts.
    pub fn when_times(
        &self,
        endpoint: Endpoint,
        n: u64,
        applies: impl Fn(&Request) -> bool + Send + 'static,
        fault: Fault,
    ) {
        self.arm(endpoint, 1, n + 1, Box::new(applies), fault);
    }

    /// Strikes every request that the predicate accepts, until healed.
    pub fn ail(
        &self,
        endpoint: Endpoint,
        applies: impl Fn(&Request) -> bool + Send + 'static,
        fault: Fault,
    ) -> Ailment {
        self.ailment(self.arm(endpoint, 1, u64::MAX, Box::new(applies), fault))
    }

    /// Strikes every request for this path or below it, until healed.
    pub fn ail_at(&self, path: impl Into<String>, fault: Fault) -> Ailment {
        let path = path.into();
        let is_below = move |request: &Request| {
            request.path.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.ail(Endpoint::Any, is_below, fault)
    }

    /// Strikes every request for a span that touches this one, until healed.
    pub fn ail_in(&self, endpoint: Endpoint, from: DateTime<Utc>, to: DateTime<Utc>, fault: Fault) -> Ailment {
        let touches = move |request: &Request| span_asked(&request.json()).is_some_and(|[a, b]| a <= to && from <= b);
        self.ail(endpoint, touches, fault)
    }

    /// Makes the endpoint count `by` rows more than exist, for every request that touches this span, until healed.
    /// Several of these add up.
    pub fn count_unseen(&self, endpoint: Endpoint, by: i64, from: DateTime<Utc>, to: DateTime<Utc>) -> Ailment {
        self.miscount(endpoint, How::Unseen { by, from, to })
    }

    /// Limits the endpoint's totals until healed. The rows stay complete.
    pub fn cap_total(&self, endpoint: Endpoint, most: i64) -> Ailment {
        self.miscount(endpoint, How::Capped(most))
    }

    /// Decides for each request whether it is struck, by ordinals that count from now on.
    pub fn decide(&self, decide: impl Fn(Endpoint, u64, &Request) -> Option<Fault> + Send + 'static) {
        let mut state = locked(&self.0);
        state.ordinals.clear();
        state.decide = Some(Box::new(decide));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        let mut state = locked(&self.0);
        state.armed.clear();
        state.miscounts.clear();
        state.decide = None;
    }

    /// The number of requests struck so far.
    pub fn struck(&self) -> usize {
        let struck: u64 = self.struck_by_kind().values().sum();
        usize::try_from(struck).unwrap_or(usize::MAX)
    }

    pub fn struck_by_kind(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.0).struck.clone()
    }

    fn arm(&self, endpoint: Endpoint, from: u64, until: u64, applies: Predicate, fault: Fault) -> u64 {
        let mut state = locked(&self.0);
        let id = state.next_id();
        state.armed.push(Armed { id, endpoint, applies, from, until, seen: 0, fault });
        id
    }

    fn miscount(&self, endpoint: Endpoint, how: How) -> Ailment {
        let mut state = locked(&self.0);
        let id = state.next_id();
        state.miscounts.push(Miscount { id, endpoint, how });
        drop(state);
        self.ailment(id)
    }

    fn ailment(&self, id: u64) -> Ailment {
        Ailment { faults: self.clone(), id }
    }

    /// Returns how far a query's total is off, and its limit.
    pub(crate) fn totals(&self, endpoint: Endpoint, request: &Request, edges: EdgePolicy) -> (i64, Option<i64>) {
        miscount::totals(&locked(&self.0).miscounts, endpoint, request, edges)
    }

    pub(crate) fn next(&self, endpoint: Endpoint, request: &Request) -> Option<Fault> {
        let State { armed, decide, ordinals, struck, .. } = &mut *locked(&self.0);
        let mut found = None;
        for rule in armed.iter_mut() {
            if (rule.endpoint == endpoint || rule.endpoint == Endpoint::Any) && (rule.applies)(request) {
                rule.seen += 1;
                if found.is_none() && (rule.from..rule.until).contains(&rule.seen) {
                    found = Some(rule.fault.clone());
                }
            }
        }
        armed.retain(|rule| rule.seen + 1 < rule.until);
        if let Some(decide) = decide {
            let ordinal = ordinals.entry(endpoint).or_default();
            *ordinal += 1;
            found = found.or_else(|| decide(endpoint, *ordinal, request));
        }
        if let Some(fault) = &found {
            *struck.entry(fault.kind()).or_default() += 1;
        }
        found
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
