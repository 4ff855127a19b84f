//! The proxy before the store. It passes on the signed `Host` header, so that the store can check the signature.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{S3Fault, S3Faults, S3Request, memory::Memory};
use crate::{
    http::{Delivery, Reply, Request, Server},
    locked,
};

type Log = Mutex<Vec<S3Request>>;

#[derive(Debug)]
pub(super) struct Proxy {
    store: Store,
    pub(super) log: Log,
    faults: S3Faults,
}

#[derive(Debug, Clone)]
pub(super) enum Store {
    /// Host and port of an external store.
    Remote(String),
    Memory(Arc<Memory>),
}

impl Store {
    pub(super) fn at(endpoint: &str) -> io::Result<Self> {
        let store = endpoint.strip_prefix("http://").map(|store| store.trim_end_matches('/').to_owned());
        store.map(Self::Remote).ok_or_else(|| io::Error::other("the store must be at http://host:port"))
    }
}

pub(super) async fn answer(proxy: Arc<Proxy>, request: Request) -> Reply {
    let described = S3Request::of(&request);
    let fault = proxy.faults.next(&described);
    let entry = proxy.log(described);
    let reply = match fault {
        None => proxy.apply(request, entry).await,
        Some(S3Fault::Status(status)) => {
            proxy.note(entry, |logged| logged.status = Some(status));
            refused(status, code_of(status), &request)
        }
        Some(S3Fault::Code(status, code)) => {
            proxy.note(entry, |logged| logged.status = Some(status));
            refused(status, code, &request)
        }
        Some(S3Fault::Page(status)) => Reply::new(status, "text/html", "<html>Welcome</html>"),
        Some(S3Fault::Hang) => return Reply { delivery: Delivery::Never, ..Reply::lost() },
        Some(S3Fault::Dropped) => return Reply::lost(),
        Some(S3Fault::LostAnswer) => {
            proxy.apply(request, entry).await;
            return Reply::lost();
        }
        Some(S3Fault::Late(delay)) => {
            tokio::time::sleep(delay).await;
            proxy.apply(request, entry).await
        }
        Some(S3Fault::LandsLate(delay)) => return proxy.apply_later(delay, request, entry),
        Some(S3Fault::Orphaned(delay, hook)) => {
            (hook.act)();
            return proxy.apply_later(delay, request, entry);
        }
        Some(S3Fault::Unsent(hook)) => {
            (hook.act)();
            return Reply::lost();
        }
        Some(S3Fault::Twice) => {
            proxy.apply(request.clone(), entry).await;
            let again = proxy.log(S3Request::of(&request));
            proxy.apply(request, again).await
        }
        Some(S3Fault::Before(hook)) => {
            (hook.act)();
            proxy.apply(request, entry).await
        }
        Some(S3Fault::After(hook)) => {
            let reply = proxy.apply(request, entry).await;
            (hook.act)();
            reply
        }
    };
    proxy.note(entry, |logged| logged.answered = true);
    reply
}

impl Proxy {
    pub(super) fn before(store: Store, faults: &S3Faults) -> Self {
        Self { store, log: Log::default(), faults: faults.clone() }
    }

    pub(super) async fn listen(self: Arc<Self>) -> io::Result<Server> {
        Server::start(0, move |request| answer(self.clone(), request)).await
    }

    /// Carries out a request that has reached the store, even if the client goes away, as S3 does.
    async fn apply(self: &Arc<Self>, request: Request, entry: usize) -> Reply {
        let proxy = self.clone();
        let applied = tokio::spawn(async move {
            let reply = match &proxy.store {
                Store::Remote(store) => forward(store, request).await,
                Store::Memory(memory) => Ok(memory.answer(&request)),
            };
            proxy.note(entry, |logged| {
                logged.applied = reply.is_ok();
                logged.status = reply.as_ref().ok().map(|reply| reply.status);
            });
            reply
        });
        applied.await.map_err(io::Error::other).flatten().unwrap_or_else(|_| Reply::lost())
    }

    /// Carries it out later. The client gets no answer.
    fn apply_later(self: Arc<Self>, delay: Duration, request: Request, entry: usize) -> Reply {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            self.apply(request, entry).await;
        });
        Reply::lost()
    }

    fn log(&self, described: S3Request) -> usize {
        let mut log = locked(&self.log);
        log.push(described);
        log.len() - 1
    }

    fn note(&self, entry: usize, change: impl FnOnce(&mut S3Request)) {
        // The log may have been cleared meanwhile.
        if let Some(logged) = locked(&self.log).get_mut(entry) {
            change(logged);
        }
    }
}

async fn forward(store: &str, request: Request) -> io::Result<Reply> {
    let socket = TcpStream::connect(store).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let uri = if request.query.is_empty() { request.path } else { format!("{}?{}", request.path, request.query) };
    let mut outgoing = http::Request::new(Full::new(request.body));
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = uri.parse().map_err(io::Error::other)?;
    *outgoing.headers_mut() = request.headers;
    // The body has been read completely. Its length is known, and nobody waits for "100 Continue".
    for hop in ["connection", "expect", "transfer-encoding"] {
        outgoing.headers_mut().remove(hop);
    }
    let response = sender.send_request(outgoing).await.map_err(io::Error::other)?;
    let (parts, body) = response.into_parts();
    let body: Bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.filter(|(name, _)| !["connection", "transfer-encoding"].contains(&name.as_str())).collect();
    Ok(Reply { headers, body, ..Reply::new(parts.status.as_u16(), "", "") })
}

/// S3's own error for a status.
fn code_of(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        503 => "SlowDown",
        _ => "InternalError",
    }
}

fn refused(status: u16, code: &str, request: &Request) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>simulated</Message>\
         <Resource>{}</Resource><RequestId>simulated</RequestId></Error>",
        request.path
    );
    Reply::new(status, "application/xml", if request.method == "HEAD" { String::new() } else { body })
}
