//! A request, and its caller.

use std::time::Duration;

use serde_json::Value;

use crate::core::stream::Stream;
use crate::core::tally::Calls;
use crate::core::time::Millis;
use crate::incydr::facts::Method;

/// A request without its paging.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub body: Value,
}

/// The limits of a request's caller, and the counters for its calls.
pub struct Caller<'a> {
    pub until: Millis,
    pub calls: &'a Calls,
    /// The stream in whose turn the budget is used.
    pub stream: Option<Stream>,
    /// Retry a 403 too, because the stream has been readable before.
    pub retries_forbidden: bool,
    /// No retry begins later than this. None: failures are not retried, except a 429.
    pub retry_until: Option<Millis>,
    /// The longest wait for the beginning of an answer. None if only the run's time limits it.
    pub longest_silence: Option<Duration>,
}

impl<'a> Caller<'a> {
    pub fn new(until: Millis, calls: &'a Calls) -> Self {
        Self { until, calls, stream: None, retries_forbidden: false, retry_until: Some(until), longest_silence: None }
    }
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), query: Vec::new(), body: Value::Null }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::Post, path: path.into(), query: Vec::new(), body }
    }

    /// The name in error messages, for example `POST /v2/file-events`.
    pub fn what(&self) -> String {
        let method = match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        format!("{method} {}", self.path)
    }
}
