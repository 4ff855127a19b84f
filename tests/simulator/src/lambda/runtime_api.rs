//! The Lambda Runtime API (AWS: "Using the Lambda runtime API"), for one process and one invocation at a time.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::Outcome;
use crate::{
    clock,
    http::{Reply, Request, Server},
    locked,
};

const BASE: &str = "/2018-06-01/runtime/";
const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:incydr-collector";

#[derive(Debug)]
pub(super) struct RuntimeApi {
    server: Server,
    state: Arc<State>,
    /// The alias of the invocation, if any.
    alias: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    /// The next invocation for the process that polls.
    next: Mutex<Option<Reply>>,
    arrived: Notify,
    /// The id of the present invocation, and the receiver of its outcome.
    waiting: Mutex<Option<(String, oneshot::Sender<Outcome>)>>,
    init_error: Mutex<Option<Outcome>>,
    invocations: Mutex<u32>,
}

impl RuntimeApi {
    pub(super) async fn start(alias: Option<String>) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let shared = state.clone();
        let server = Server::start(0, move |request| answer(shared.clone(), request)).await?;
        Ok(Self { server, state, alias })
    }

    pub(super) fn authority(&self) -> String {
        self.server.authority()
    }

    /// Waits for the outcome without a limit. The caller has the deadline.
    pub(super) async fn invoke(&self, payload: &str, deadline: Duration) -> Outcome {
        let id = {
            let mut invocations = locked(&self.state.invocations);
            *invocations += 1;
            format!("00000000-0000-4000-8000-{:012}", *invocations)
        };
        let deadline = clock::now() + deadline;
        let (sender, outcome) = oneshot::channel();
        *locked(&self.state.waiting) = Some((id.clone(), sender));
        let next = Reply::json(200, payload.to_owned())
            .with_header("lambda-runtime-aws-request-id", id)
            .with_header("lambda-runtime-deadline-ms", deadline.timestamp_millis().to_string())
            .with_header("lambda-runtime-invoked-function-arn", self.arn())
            .with_header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0");
        *locked(&self.state.next) = Some(next);
        self.state.arrived.notify_one();
        match outcome.await {
            Ok(outcome) => outcome,
            // Another invocation has replaced this one, so it gets no answer.
            Err(_) => std::future::pending().await,
        }
    }

    fn arn(&self) -> String {
        self.alias.as_ref().map_or_else(|| ARN.to_owned(), |alias| format!("{ARN}:{alias}"))
    }

    /// Returns the error with which the process could not start, if it reported one.
    pub(super) fn init_error(&self) -> Option<Outcome> {
        locked(&self.state.init_error).take()
    }
}

async fn answer(state: Arc<State>, request: Request) -> Reply {
    let path = request.path.strip_prefix(BASE).unwrap_or_default();
    match (request.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["invocation", "next"]) => next(&state).await,
        ("POST", ["invocation", id, "response"]) => settle(&state, id, Outcome::Answer(request.json())),
        ("POST", ["invocation", id, "error"]) => settle(&state, id, failed(&request)),
        ("POST", ["init", "error"]) => {
            *locked(&state.init_error) = Some(failed(&request));
            accepted()
        }
        _ => Reply::json(404, r#"{"errorMessage":"not found","errorType":"NotFound"}"#),
    }
}

/// A long poll.
async fn next(state: &State) -> Reply {
    loop {
        if let Some(next) = locked(&state.next).take() {
            return next;
        }
        state.arrived.notified().await;
    }
}

fn settle(state: &State, id: &str, outcome: Outcome) -> Reply {
    match locked(&state.waiting).take_if(|(waiting, _)| waiting == id) {
        Some((_, waiting)) => {
            // The receiver may have given up.
            let _ = waiting.send(outcome);
            accepted()
        }
        None => Reply::json(400, r#"{"errorMessage":"no such invocation","errorType":"InvalidRequestID"}"#),
    }
}

fn accepted() -> Reply {
    Reply::json(202, r#"{"status":"OK"}"#)
}

/// The error's type is in the body, and in a header that Lambda's metrics use.
fn failed(request: &Request) -> Outcome {
    let body = request.json();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let in_header = || request.header("lambda-runtime-function-error-type").map(str::to_owned);
    Outcome::Failed {
        error_type: text("errorType").or_else(in_header).unwrap_or_default(),
        error_message: text("errorMessage").unwrap_or_default(),
    }
}
