//! The HTTP server of all stand-ins: takes whole requests, sends whole replies, and simulates failures on the wire.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// An address at which nothing listens.
pub const NOWHERE: &str = "http://127.0.0.1:1";

/// A request whose body has arrived completely.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// As sent, still percent-encoded.
    pub path: String,
    /// As sent, still percent-encoded. Empty if there is none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The decoded query parameters, including repeated ones.
    pub fn parameters(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    /// The last value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().into_iter().rfind(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The body as JSON, or null.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The part of a reply that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    #[default]
    Whole,
    /// This many bytes of the body, then the connection breaks. `Content-Length` is that of the whole body.
    Cut(usize),
    /// This many bytes of the body. The connection stays open.
    Stalled(usize),
    /// Nothing. The connection breaks before the status line.
    Lost,
    /// Nothing. The connection stays open.
    Never,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub delivery: Delivery,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into(), delivery: Delivery::Whole }
    }

    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    pub fn lost() -> Self {
        Self { status: 0, headers: Vec::new(), body: Bytes::new(), delivery: Delivery::Lost }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A server on loopback. Dropping it ends all its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens on a port of 127.0.0.1; 0 takes a free one.
    pub async fn start<H, F>(port: u16, handler: H) -> io::Result<Self>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::new(handler)));
        Ok(Self { address, accepting })
    }

    /// Host and port, as in a `Host` header.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: Arc<H>)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                connections.spawn(serve(socket, handler.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<H, F>(socket: TcpStream, handler: Arc<H>)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |incoming| {
        let handler = handler.clone();
        async move {
            let reply = handler(read(incoming).await?).await;
            deliver(reply).await
        }
    });
    // Half of the tests break the connection on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn read(incoming: http::Request<Incoming>) -> io::Result<Request> {
    let (parts, body) = incoming.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    })
}

type WireBody = Either<Full<Bytes>, BoxBody<Bytes, io::Error>>;

/// An error closes the connection without a status line, because hyper has nothing to send.
async fn deliver(reply: Reply) -> io::Result<http::Response<WireBody>> {
    let promised = reply.body.len();
    let body = match reply.delivery {
        Delivery::Whole => Either::Left(Full::new(reply.body)),
        Delivery::Cut(kept) => Either::Right(cut(&reply.body, kept)),
        Delivery::Stalled(kept) => Either::Right(stalled(&reply.body, kept)),
        Delivery::Lost => return Err(io::Error::other("the reply is lost")),
        Delivery::Never => futures::future::pending().await,
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    for (name, value) in &reply.headers {
        let name = header::HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        response.headers_mut().append(name, value.parse().map_err(io::Error::other)?);
    }
    if let Either::Right(_) = response.body() {
        response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    }
    Ok(response)
}

fn stalled(body: &Bytes, kept: usize) -> BoxBody<Bytes, io::Error> {
    let frames = [Ok(Frame::data(body.slice(..kept.min(body.len()))))];
    BodyExt::boxed(StreamBody::new(stream::iter(frames).chain(stream::pending())))
}

fn cut(body: &Bytes, kept: usize) -> BoxBody<Bytes, io::Error> {
    let frames = [Ok(Frame::data(body.slice(..kept.min(body.len()))))];
    let broken = stream::once(async {
        // Gives the first part time to reach the client.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(io::Error::other("the body is cut"))
    });
    BodyExt::boxed(StreamBody::new(stream::iter(frames).chain(broken)))
}
