//! What can go wrong at the Incydr API, armed for an endpoint and an ordinal.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{http::Request, locked};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    SignIn,
    Customer,
    Users,
    AuditSearch,
    AuditCount,
    CaseList,
    CaseDetail,
    FileEvents,
    /// `GET /v1/audit/log`, only printed in the guide.
    GuideAudit,
    /// `POST /v2/file-events/search`, only printed in the guide.
    GuideFileEvents,
    /// A path that the API doesn't have.
    Unknown,
    /// For arming only: whichever endpoint is asked.
    Any,
}

#[derive(Debug, Clone)]
pub enum Fault {
    /// The answer, so much later.
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
    /// 200 with a proxy's page of HTML.
    Html,
    /// The connection breaks in the middle of the body; `Content-Length` promised all of it.
    CutBody,
    /// A whole HTTP body whose JSON ends in the middle.
    BrokenJson,
    /// What this endpoint answered last, again.
    RepeatPage,
    /// Offset paging, with rows inserted before (negative) or taken out (positive) since the last page.
    ShiftPages(i64),
    /// The page without its list.
    NoList,
    /// 200, with this description in `problems`.
    Problems(String),
    /// 400 `SEARCH_FAILED`: "Request timed out.  Refine your filter criteria and try again."
    TimedOut,
    /// 400 whose text holds `INVALID_PAGE_TOKEN`.
    InvalidPageToken,
    /// Never an answer; the connection stays open.
    Hang,
    /// The connection breaks without an answer.
    Dropped,
    /// The page's rows by cursor time, whatever was asked for.
    NewestFirst,
    OldestFirst,
    /// A total that is off by so many.
    TotalOff(i64),
    /// Something happens to the world just before the request is answered as usual.
    Run(Hook),
}

impl Fault {
    pub fn run(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Run(Hook(Arc::new(hook)))
    }
}

/// What a test does in the middle of a request.
#[derive(Clone)]
pub struct Hook(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

type Predicate = Box<dyn Fn(&Request) -> bool + Send>;

struct Armed {
    endpoint: Endpoint,
    applies: Predicate,
    /// Ordinals, counted from arming, 1 being the first; half-open.
    from: u64,
    until: u64,
    seen: u64,
    fault: Fault,
}

/// The armed faults, shared. Where several fit a request the one armed first strikes; the others count it too.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<(Vec<Armed>, usize)>>);

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

    pub fn clear(&self) {
        locked(&self.0).0.clear();
    }

    /// How many requests have been struck so far.
    pub fn struck(&self) -> usize {
        locked(&self.0).1
    }

    fn arm(&self, endpoint: Endpoint, from: u64, until: u64, applies: Predicate, fault: Fault) {
        locked(&self.0).0.push(Armed { endpoint, applies, from, until, seen: 0, fault });
    }

    pub(crate) fn next(&self, endpoint: Endpoint, request: &Request) -> Option<Fault> {
        let (armed, struck) = &mut *locked(&self.0);
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
        *struck += usize::from(found.is_some());
        found
    }
}
