//! A request, and who asks.

use serde_json::Value;

use crate::core::stream::Stream;
use crate::core::tally::Calls;
use crate::core::time::Millis;
use crate::incydr::facts::Method;

/// What is asked, without its page.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub body: Value,
}

/// Who asks: until when it may wait, and where its requests are counted.
pub struct Caller<'a> {
    pub until: Millis,
    pub calls: &'a Calls,
    /// In whose turn of the request budget.
    pub stream: Option<Stream>,
    /// What fails is not sent again, unless the API only asked to wait.
    pub tries_once: bool,
    /// A 403 is sent again, too: it has been answered with data before.
    pub retries_forbidden: bool,
    /// No retry is begun later than this.
    pub retry_until: Millis,
}

impl<'a> Caller<'a> {
    pub fn new(until: Millis, calls: &'a Calls) -> Self {
        Self { until, calls, stream: None, tries_once: false, retries_forbidden: false, retry_until: until }
    }
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), query: Vec::new(), body: Value::Null }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::Post, path: path.into(), query: Vec::new(), body }
    }

    /// As an error names it: `POST /v2/file-events`.
    pub fn what(&self) -> String {
        let method = match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        format!("{method} {}", self.path)
    }
}
