//! Faults of S3: armed for a method, a part of the key and an ordinal, or decided for each request.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::S3Request;
use crate::{fault::Hook, locked};

#[derive(Debug, Clone)]
pub enum S3Fault {
    /// Refused with this status and its S3 error (403, 409, 412, 500, 503, …). Not carried out.
    Status(u16),
    /// Refused with this status and this S3 code. Not carried out.
    Code(u16, &'static str),
    /// Answered by something before S3, with this status and a page. Not carried out.
    Page(u16),
    /// No answer. The connection stays open. Not carried out.
    Hang,
    /// Carried out. Then the connection breaks without an answer.
    LostAnswer,
    /// The connection breaks without an answer. Not carried out.
    Dropped,
    /// Carried out after this delay.
    Late(Duration),
    /// The connection breaks at once. Carried out after this delay, whatever the client does meanwhile.
    LandsLate(Duration),
    /// The same, and the writer dies at once.
    Orphaned(Duration, Hook),
    /// Calls a hook, then the connection breaks without an answer. Not carried out.
    Unsent(Hook),
    /// Carried out twice. The client gets the second answer, which is 412 because of its own write.
    Twice,
    /// Calls a hook before the request is carried out; below, after that and before the answer.
    Before(Hook),
    After(Hook),
}

impl S3Fault {
    /// Calls `hook` instead of carrying out the request.
    pub fn unsent(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Unsent(Hook::new("instead of a request to S3", hook))
    }

    pub fn before(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Before(Hook::new("before a request to S3", hook))
    }

    pub fn after(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::After(Hook::new("after a request to S3", hook))
    }

    /// The name in the statistics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status(409) => "409",
            Self::Status(503) => "503",
            Self::Status(500..) => "500",
            Self::Status(_) => "4xx",
            Self::Code(..) => "an error by its code",
            Self::Page(_) => "a page",
            Self::Hang => "no answer",
            Self::LostAnswer => "lost answer",
            Self::Dropped => "dropped connection",
            Self::Late(_) => "slow",
            Self::LandsLate(_) => "lands after its answer was given up",
            Self::Twice => "412 on its own write",
            Self::Orphaned(_, hook) | Self::Unsent(hook) | Self::Before(hook) | Self::After(hook) => hook.name,
        }
    }
}

#[derive(Debug)]
struct Armed {
    method: String,
    key_part: String,
    from: u64,
    until: u64,
    seen: u64,
    fault: S3Fault,
}

type Classify = Box<dyn Fn(&str) -> String + Send>;
/// Decides by a request's ordinal among those with its method and its key's class which fault strikes it.
type Decide = Box<dyn Fn(&S3Request, &str, u64) -> Option<S3Fault> + Send>;

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    decide: Option<(Classify, Decide)>,
    /// The number of requests since `decide` was set, by method and class.
    ordinals: HashMap<(String, String), u64>,
    struck: BTreeMap<&'static str, u64>,
}

/// The faults, shared. If several armed faults match a request, the one armed first strikes; the others count the
/// request too. If none matches, [`S3Faults::decide`] is asked.
#[derive(Clone, Default)]
pub struct S3Faults(Arc<Mutex<State>>);

impl fmt::Debug for S3Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Faults({} struck)", self.struck())
    }
}

impl S3Faults {
    /// Strikes the `nth` request from now with this method (empty: any) whose key contains `key_part`.
    pub fn once(&self, method: &str, key_part: &str, nth: u64, fault: S3Fault) {
        self.arm(method, key_part, nth, nth + 1, fault);
    }

    /// Strikes the next `n` of them.
    pub fn times(&self, method: &str, key_part: &str, n: u64, fault: S3Fault) {
        self.arm(method, key_part, 1, n + 1, fault);
    }

    /// Strikes the `nth` of them and all that follow.
    pub fn from(&self, method: &str, key_part: &str, nth: u64, fault: S3Fault) {
        self.arm(method, key_part, nth, u64::MAX, fault);
    }

    pub fn always(&self, method: &str, key_part: &str, fault: S3Fault) {
        self.from(method, key_part, 1, fault);
    }

    /// Decides for each request whether it is struck. `class` groups keys, so that streams that run side by side don't
    /// change each other's ordinals, which count from now on.
    pub fn decide(
        &self,
        class: impl Fn(&str) -> String + Send + 'static,
        decide: impl Fn(&S3Request, &str, u64) -> Option<S3Fault> + Send + 'static,
    ) {
        let mut state = locked(&self.0);
        state.ordinals.clear();
        state.decide = Some((Box::new(class), Box::new(decide)));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        let mut state = locked(&self.0);
        state.armed.clear();
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

    fn arm(&self, method: &str, key_part: &str, from: u64, until: u64, fault: S3Fault) {
        let (method, key_part) = (method.to_owned(), key_part.to_owned());
        locked(&self.0).armed.push(Armed { method, key_part, from, until, seen: 0, fault });
    }

    pub(super) fn next(&self, request: &S3Request) -> Option<S3Fault> {
        let State { armed, decide, ordinals, struck } = &mut *locked(&self.0);
        let mut found = None;
        for rule in armed.iter_mut() {
            if (rule.method.is_empty() || rule.method == request.method) && request.key.contains(&rule.key_part) {
                rule.seen += 1;
                if found.is_none() && (rule.from..rule.until).contains(&rule.seen) {
                    found = Some(rule.fault.clone());
                }
            }
        }
        armed.retain(|rule| rule.seen + 1 < rule.until);
        if let Some((class, decide)) = decide {
            let class = class(&request.key);
            let ordinal = ordinals.entry((request.method.clone(), class.clone())).or_default();
            *ordinal += 1;
            found = found.or_else(|| decide(request, &class, *ordinal));
        }
        if let Some(fault) = &found {
            *struck.entry(fault.kind()).or_default() += 1;
        }
        found
    }
}
