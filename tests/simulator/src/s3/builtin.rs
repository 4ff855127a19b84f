//! s3s-fs on loopback.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::sync::RwLock;

use super::ExternalS3;
use crate::http::{Reply, Request, Server};

const ACCESS_KEY: &str = "AKIASIMULATED";
const SECRET_KEY: &str = "simulated-secret-key";

#[derive(Debug)]
pub(super) struct Builtin {
    server: Server,
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

impl Builtin {
    pub(super) async fn start(directory: Option<PathBuf>) -> io::Result<Self> {
        let temporary = if directory.is_none() { Some(tempfile::tempdir()?) } else { None };
        let directory = directory.or_else(|| temporary.as_ref().map(|temporary| temporary.path().to_owned()));
        let directory = directory.unwrap_or_default();
        std::fs::create_dir_all(&directory)?;

        let files = FileSystem::new(&directory).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let store = Arc::new(Store { service: service.build(), lock: RwLock::default(), directory: directory.clone() });
        let server = Server::start(0, move |request| answer(store.clone(), request)).await?;
        Ok(Self { server, directory, _temporary: temporary })
    }

    pub(super) fn store(&self) -> ExternalS3 {
        ExternalS3 { endpoint: self.server.url(), access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

struct Store {
    service: S3Service,
    lock: RwLock<()>,
    directory: PathBuf,
}

/// Allows one write at a time, and no read meanwhile. s3s-fs checks whether a key exists, writes the object, then its
/// metadata. Without the lock several conditional creates would succeed.
async fn answer(store: Arc<Store>, request: Request) -> Reply {
    let reading = matches!(request.method.as_str(), "GET" | "HEAD");
    let (_reads, _writes);
    if reading {
        _reads = store.lock.read().await;
    } else {
        _writes = store.lock.write().await;
    }
    let before = (request.method == "PUT").then(|| Before::of(&store.directory, &request.path));
    let uri = if request.query.is_empty() { request.path } else { format!("{}?{}", request.path, request.query) };
    let mut incoming = http::Request::new(s3s::Body::from(request.body));
    *incoming.method_mut() = request.method;
    *incoming.uri_mut() = uri.parse().expect("it was a request's URI");
    *incoming.headers_mut() = request.headers;
    let reply = match store.service.call(incoming).await {
        Ok(response) => whole(response).await.unwrap_or_else(failed),
        Err(error) => failed(format!("{error:?}")),
    };
    if let Some(before) = before.filter(|_| reply.status == 400) {
        before.restore();
    }
    reply
}

/// An object's file before a write. s3s-fs compares checksums after it has written; a refused write is undone.
struct Before {
    file: PathBuf,
    content: Option<Vec<u8>>,
}

impl Before {
    fn of(directory: &Path, path: &str) -> Self {
        let key = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy();
        let file = directory.join(&*key);
        Self { content: std::fs::read(&file).ok(), file }
    }

    fn restore(self) {
        let restored = match self.content {
            Some(content) => std::fs::write(&self.file, content),
            None if self.file.is_file() => std::fs::remove_file(&self.file),
            None => Ok(()),
        };
        restored.unwrap_or_else(|error| panic!("{} can't be restored: {error}", self.file.display()));
    }
}

async fn whole(response: http::Response<s3s::Body>) -> Result<Reply, String> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let headers = headers.filter(|(name, _)| name != "transfer-encoding").collect();
    Ok(Reply { headers, body, ..Reply::new(parts.status.as_u16(), "", "") })
}

fn failed(reason: String) -> Reply {
    Reply::new(500, "text/plain", reason)
}
