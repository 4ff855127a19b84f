//! Secrets Manager: `GetSecretValue` of its JSON 1.1 protocol, for one secret.

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;

use crate::{
    clock,
    http::{Delivery, NOWHERE, Reply, Request, Server},
    locked,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretsFault {
    AccessDenied,
    InternalServiceError,
    ResourceNotFound,
    ExpiredToken,
    /// An HTML page, as from a proxy.
    Html,
    /// No answer. The connection stays open.
    Hang,
    /// The value without its `VersionId`, as a stand-in for AWS may send it.
    NoVersion,
}

/// The running stand-in. Cheap to clone; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct Secrets {
    state: Arc<Mutex<Held>>,
    /// None if it is only called as a function.
    server: Option<Arc<Server>>,
}

#[derive(Debug)]
struct Held {
    name: String,
    value: String,
    version: u32,
    calls: usize,
    fault: Option<SecretsFault>,
}

impl Secrets {
    /// Starts with one secret of this name.
    pub async fn start(name: &str, value: String) -> io::Result<Self> {
        let secrets = Self::in_memory(name, value);
        let shared = secrets.state.clone();
        let server = Server::start(0, move |request| std::future::ready(answer(&shared, &request))).await?;
        Ok(Self { server: Some(Arc::new(server)), ..secrets })
    }

    /// Without a server. Requests go to [`Secrets::exchange`].
    pub(crate) fn in_memory(name: &str, value: String) -> Self {
        let held = Held { name: name.to_owned(), value, version: 1, calls: 0, fault: None };
        Self { state: Arc::new(Mutex::new(held)), server: None }
    }

    /// An address at which nothing listens if it is only called as a function.
    pub fn endpoint(&self) -> String {
        self.server.as_ref().map_or_else(|| NOWHERE.to_owned(), |server| server.url())
    }

    /// Answers one request, as if it had come over HTTP.
    pub fn exchange(&self, request: &Request) -> Reply {
        answer(&self.state, request)
    }

    pub fn name(&self) -> String {
        locked(&self.state).name.clone()
    }

    pub fn arn(&self) -> String {
        arn(&locked(&self.state).name)
    }

    /// Replaces the value. Its `VersionId` changes.
    pub fn set_secret(&self, value: impl Into<String>) {
        let mut held = locked(&self.state);
        held.value = value.into();
        held.version += 1;
    }

    pub fn version_id(&self) -> String {
        version_id(locked(&self.state).version)
    }

    /// The number of requests for the secret.
    pub fn calls(&self) -> usize {
        locked(&self.state).calls
    }

    /// Answers with this error from now on. None ends that.
    pub fn fail(&self, fault: Option<SecretsFault>) {
        locked(&self.state).fault = fault;
    }
}

fn answer(state: &Mutex<Held>, request: &Request) -> Reply {
    let mut held = locked(state);
    if request.header("x-amz-target") != Some("secretsmanager.GetSecretValue") {
        return error(400, "UnknownOperationException", "only GetSecretValue is simulated");
    }
    held.calls += 1;
    match held.fault {
        Some(SecretsFault::AccessDenied) => {
            return error(400, "AccessDeniedException", "not authorized to perform: secretsmanager:GetSecretValue");
        }
        Some(SecretsFault::InternalServiceError) => {
            return error(500, "InternalServiceError", "An error occurred on the server side.");
        }
        Some(SecretsFault::ResourceNotFound) => return not_found(),
        Some(SecretsFault::ExpiredToken) => {
            return error(400, "ExpiredTokenException", "The security token included in the request is expired");
        }
        Some(SecretsFault::Html) => {
            return Reply::new(403, "text/html", "<html><body>Blocked by policy</body></html>".to_owned());
        }
        Some(SecretsFault::Hang) => return Reply { delivery: Delivery::Never, ..Reply::lost() },
        Some(SecretsFault::NoVersion) | None => {}
    }
    let wanted = request.json();
    let arn = arn(&held.name);
    if wanted["SecretId"] != *held.name && wanted["SecretId"] != *arn {
        return not_found();
    }
    let mut body = json!({
        "ARN": arn,
        "Name": held.name,
        "SecretString": held.value,
        "VersionId": version_id(held.version),
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": clock::now().timestamp(),
    });
    if let (Some(SecretsFault::NoVersion), Some(body)) = (held.fault, body.as_object_mut()) {
        body.remove("VersionId");
    }
    Reply::new(200, "application/x-amz-json-1.1", body.to_string())
}

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf")
}

fn version_id(version: u32) -> String {
    format!("00000000-0000-4000-8000-{version:012}")
}

fn not_found() -> Reply {
    error(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let body = json!({"__type": kind, "message": message}).to_string();
    Reply::new(status, "application/x-amz-json-1.1", body).with_header("x-amzn-errortype", kind)
}
