//! What can go wrong at S3: armed for a method, a part of the key and an ordinal, or decided for each request.

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
    /// Refused with this status and S3's error for it (403, 409, 412, 500, 503, …); nothing is applied.
    Status(u16),
    /// Refused with this status and this code of S3's; nothing is applied.
    Code(u16, &'static str),
    /// Never an answer; the connection stays open. Nothing is applied.
    Hang,
    /// Applied; then the connection breaks without an answer.
    LostAnswer,
    /// The connection breaks without an answer; nothing is applied.
    Dropped,
    /// Applied, so much later.
    Late(Duration),
    /// The connection breaks at once; applied so much later, whatever the client does meanwhile.
    LandsLate(Duration),
    /// The same for a writer that dies at once.
    Orphaned(Duration, Hook),
    /// Something happens, and the connection breaks without an answer; nothing is applied.
    Unsent(Hook),
    /// Applied twice over; the client gets the second answer, which is 412 on its own write.
    Twice,
    /// Something happens before the request is applied, or after it is and before the answer.
    Before(Hook),
    After(Hook),
}

impl S3Fault {
    pub fn before(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Before(Hook::new("before a request to S3", hook))
    }

    pub fn after(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::After(Hook::new("after a request to S3", hook))
    }

    /// What it is counted as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status(409) => "409",
            Self::Status(503) => "503",
            Self::Status(500..) => "500",
            Self::Status(_) => "4xx",
            Self::Code(..) => "an error by its code",
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
/// Whether a request is struck, and by what, by its ordinal among those with its method and its key's class.
type Decide = Box<dyn Fn(&S3Request, &str, u64) -> Option<S3Fault> + Send>;

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    decide: Option<(Classify, Decide)>,
    /// By method and class, how many requests there were since `decide` was set.
    ordinals: HashMap<(String, String), u64>,
    struck: BTreeMap<&'static str, u64>,
}

/// The faults, shared. Where several that are armed fit a request the one armed first strikes; the others count it
/// too. What nothing armed strikes is left to [`S3Faults::decide`].
#[derive(Clone, Default)]
pub struct S3Faults(Arc<Mutex<State>>);

impl fmt::Debug for S3Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Faults({} struck)", self.struck())
    }
}

impl S3Faults {
    /// Strikes the `nth` request from now with this method (empty: any) whose key holds `key_part`.
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

    /// Asks for each request whether it is struck. `class` sorts keys, so that streams that run side by side don't
    /// disturb each other's ordinals, which count from now on.
    pub fn decide(
        &self,
        class: impl Fn(&str) -> String + Send + 'static,
        decide: impl Fn(&S3Request, &str, u64) -> Option<S3Fault> + Send + 'static,
    ) {
        let mut state = locked(&self.0);
        state.ordinals.clear();
        state.decide = Some((Box::new(class), Box::new(decide)));
    }

    /// Nothing is armed and nothing decided any more.
    pub fn clear(&self) {
        let mut state = locked(&self.0);
        state.armed.clear();
        state.decide = None;
    }

    /// How many requests have been struck so far.
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
