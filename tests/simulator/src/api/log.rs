//! The log of the API's requests.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{clock, fault::Endpoint, http::Request, locked};

#[derive(Debug, Clone)]
pub struct ApiRequest {
    pub endpoint: Endpoint,
    pub method: String,
    /// As sent, percent-encoded; so is the query.
    pub path: String,
    pub query: String,
    pub body: String,
    /// None while it is unanswered; 0 if the connection broke.
    pub status: Option<u16>,
    pub user_agent: String,
    /// Whether there was an `Authorization` header. Its value is never logged.
    pub authorization_present: bool,
    pub accept_encoding: String,
    pub at: DateTime<Utc>,
    pub answered_at: Option<DateTime<Utc>>,
    /// Whether a fault struck the request.
    pub is_struck: bool,
    /// Empty unless the log is to keep it ([`Behaviour::longest_kept`](super::Behaviour)).
    pub answer: Bytes,
}

pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) is_struck: bool,
    pub(super) kept: Bytes,
}

impl ApiRequest {
    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Logs a request on arrival. Returns the index of its entry.
pub(super) fn arrived(log: &Mutex<Vec<ApiRequest>>, endpoint: Endpoint, request: &Request) -> usize {
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    // The form of a sign-in may contain the secret, so it isn't logged.
    let body = if endpoint == Endpoint::SignIn { "".into() } else { String::from_utf8_lossy(&request.body) };
    let entry = ApiRequest {
        endpoint,
        method: request.method.to_string(),
        path: request.path.clone(),
        query: request.query.clone(),
        body: body.into_owned(),
        status: None,
        user_agent: header("user-agent"),
        authorization_present: request.headers.contains_key("authorization"),
        accept_encoding: header("accept-encoding"),
        at: clock::now(),
        answered_at: None,
        is_struck: false,
        answer: Bytes::new(),
    };
    let mut log = locked(log);
    log.push(entry);
    log.len() - 1
}

pub(super) fn answered(log: &Mutex<Vec<ApiRequest>>, entry: usize, answered: Answered) {
    // The log may have been cleared meanwhile.
    if let Some(entry) = locked(log).get_mut(entry) {
        let Answered { status, is_struck, kept } = answered;
        (entry.status, entry.answered_at) = (Some(status), Some(clock::now()));
        (entry.is_struck, entry.answer) = (is_struck, kept);
    }
}

pub(super) fn most_in(log: &[ApiRequest], span: Duration) -> usize {
    let fits = |from: &ApiRequest, to: &ApiRequest| (to.at - from.at).to_std().is_ok_and(|gap| gap < span);
    let from_each = log.iter().enumerate().map(|(i, from)| log[i..].iter().filter(|to| fits(from, to)).count());
    from_each.max().unwrap_or(0)
}
