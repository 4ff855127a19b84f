//! What can go wrong at S3, armed for a method, a part of the key and an ordinal.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{fault::Hook, locked};

#[derive(Debug, Clone)]
pub enum S3Fault {
    /// Refused with this status and S3's error for it (403, 409, 412, 500, 503, …); nothing is applied.
    Status(u16),
    /// Applied; then the connection breaks without an answer.
    LostAnswer,
    /// The connection breaks without an answer; nothing is applied.
    Dropped,
    /// Applied, so much later.
    Late(Duration),
    /// The connection breaks at once; applied so much later, whatever the client does meanwhile.
    LandsLate(Duration),
    /// Something happens before the request is applied, or after it is and before the answer.
    Before(Hook),
    After(Hook),
}

impl S3Fault {
    pub fn before(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Before(Hook(Arc::new(hook)))
    }

    pub fn after(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::After(Hook(Arc::new(hook)))
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

/// The armed faults, shared. Where several fit a request the one armed first strikes; the others count it too.
#[derive(Clone, Default)]
pub struct S3Faults(Arc<Mutex<(Vec<Armed>, usize)>>);

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

    pub fn clear(&self) {
        locked(&self.0).0.clear();
    }

    /// How many requests have been struck so far.
    pub fn struck(&self) -> usize {
        locked(&self.0).1
    }

    fn arm(&self, method: &str, key_part: &str, from: u64, until: u64, fault: S3Fault) {
        let (method, key_part) = (method.to_owned(), key_part.to_owned());
        locked(&self.0).0.push(Armed { method, key_part, from, until, seen: 0, fault });
    }

    pub(super) fn next(&self, method: &str, key: &str) -> Option<S3Fault> {
        let (armed, struck) = &mut *locked(&self.0);
        let mut found = None;
        for rule in armed.iter_mut() {
            if (rule.method.is_empty() || rule.method == method) && key.contains(&rule.key_part) {
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
