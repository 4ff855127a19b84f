//! S3: a proxy that logs requests and injects faults, before a real store. That is s3s-fs in this process, or an
//! external one.

mod builtin;
mod fault;
mod log;
mod memory;
mod proxy;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, HttpClient, Region},
    operation::get_object::GetObjectError,
    primitives::ByteStream,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

pub use fault::{S3Fault, S3Faults};
pub use log::S3Request;

use crate::{
    http::{NOWHERE, Reply, Request, Server},
    locked,
};
use memory::Memory;
use proxy::{Proxy, Store};

/// An external store, addressed by plain HTTP and by path.
#[derive(Debug, Clone)]
pub struct ExternalS3 {
    /// `http://host:port`.
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub key: String,
    pub bytes: Bytes,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    /// The lines of the object's gunzipped text.
    pub fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        let read = MultiGzDecoder::new(&*self.bytes).read_to_string(&mut text);
        read.unwrap_or_else(|error| panic!("{} is no gzipped text: {error}", self.key));
        text.lines().map(str::to_owned).collect()
    }
}

/// Access to the store itself.
#[derive(Debug, Clone)]
enum Direct {
    Client(Box<Client>),
    Memory(Arc<Memory>),
}

/// The running store. Cheap to clone; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct S3 {
    proxy: Arc<Proxy>,
    /// None if it is only called as a function.
    server: Option<Arc<Server>>,
    /// Access to the store itself, without the log and the faults.
    direct: Direct,
    store: ExternalS3,
    pub faults: S3Faults,
    /// The directory of the built-in store's files.
    directory: Option<PathBuf>,
    _builtin: Option<Arc<builtin::Builtin>>,
}

impl S3 {
    /// Starts the built-in store in a directory, or in a temporary one.
    pub(crate) async fn start_builtin(directory: Option<PathBuf>) -> io::Result<Self> {
        let builtin = builtin::Builtin::start(directory).await?;
        let store = builtin.store();
        let directory = Some(builtin.directory().to_owned());
        let started = Self::start_before(store).await?;
        Ok(Self { directory, _builtin: Some(Arc::new(builtin)), ..started })
    }

    pub(crate) async fn start_before(store: ExternalS3) -> io::Result<Self> {
        let faults = S3Faults::default();
        let proxy = Arc::new(Proxy::before(Store::at(&store.endpoint)?, &faults));
        let server = Some(Arc::new(proxy.clone().listen().await?));
        let direct = Direct::Client(Box::new(client(&store)));
        Ok(Self { proxy, server, direct, store, faults, directory: None, _builtin: None })
    }

    /// A store in memory, without a server. Requests go to [`S3::exchange`].
    pub(crate) fn in_memory() -> Self {
        let (faults, memory) = (S3Faults::default(), Arc::<Memory>::default());
        let proxy = Arc::new(Proxy::before(Store::Memory(memory.clone()), &faults));
        let nowhere = |text: &str| text.to_owned();
        let store = ExternalS3 {
            endpoint: nowhere(NOWHERE),
            access_key: nowhere("AKIASIMULATED"),
            secret_key: nowhere("simulated-secret-key"),
        };
        Self { proxy, server: None, direct: Direct::Memory(memory), store, faults, directory: None, _builtin: None }
    }

    /// Answers one request, as if it had come over HTTP, in the form of [`Memory`].
    pub async fn exchange(&self, request: Request) -> Reply {
        proxy::answer(self.proxy.clone(), request).await
    }

    /// The endpoint for the collector.
    pub fn endpoint(&self) -> String {
        self.server.as_ref().map_or_else(|| NOWHERE.to_owned(), |server| server.url())
    }

    /// The store's access key and secret key.
    pub fn credentials(&self) -> (String, String) {
        (self.store.access_key.clone(), self.store.secret_key.clone())
    }

    pub fn directory(&self) -> Option<&PathBuf> {
        self.directory.as_ref()
    }

    /// Creates a bucket unless it exists.
    pub async fn create_bucket(&self, bucket: &str) {
        let Direct::Client(client) = &self.direct else { return };
        if client.head_bucket().bucket(bucket).send().await.is_err() {
            client.create_bucket().bucket(bucket).send().await.expect("the store makes a bucket");
        }
    }

    /// The keys below a prefix, in order.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let client = match &self.direct {
            Direct::Client(client) => client,
            Direct::Memory(memory) => return memory.keys(bucket, prefix),
        };
        let mut pages = client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.expect("the store lists its objects");
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys.sort();
        keys
    }

    /// The objects below a prefix, in order of their keys.
    pub async fn objects(&self, bucket: &str, prefix: &str) -> Vec<Object> {
        let mut objects = Vec::new();
        for key in self.keys(bucket, prefix).await {
            objects.extend(self.object(bucket, &key).await);
        }
        objects
    }

    /// An object, or none if there is none under this key.
    pub async fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        let client = match &self.direct {
            Direct::Client(client) => client,
            Direct::Memory(memory) => return memory.object(bucket, key),
        };
        let found = match client.get_object().bucket(bucket).key(key).send().await {
            Ok(found) => found,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                return None;
            }
            Err(error) => panic!("{key} can't be read: {error:?}"),
        };
        Some(Object {
            key: key.to_owned(),
            content_type: found.content_type,
            content_encoding: found.content_encoding,
            metadata: found.metadata.unwrap_or_default().into_iter().collect(),
            bytes: found.body.collect().await.expect("the store sends the whole object").into_bytes(),
        })
    }

    /// Every object below a prefix, with its gunzipped lines.
    pub async fn read_ndjson(&self, bucket: &str, prefix: &str) -> Vec<(String, Vec<String>)> {
        let objects = self.objects(bucket, prefix).await;
        objects.into_iter().map(|object| (object.key.clone(), object.lines())).collect()
    }

    /// Writes without the log and the faults.
    pub async fn put_raw(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        let client = match &self.direct {
            Direct::Client(client) => client,
            Direct::Memory(memory) => return memory.put_raw(bucket, key, bytes.into()),
        };
        let body = ByteStream::from(bytes.into());
        client.put_object().bucket(bucket).key(key).body(body).send().await.expect("the store takes an object");
    }

    /// Deletes without the log and the faults.
    pub async fn delete_raw(&self, bucket: &str, key: &str) {
        let client = match &self.direct {
            Direct::Client(client) => client,
            Direct::Memory(memory) => return memory.delete_raw(bucket, key),
        };
        client.delete_object().bucket(bucket).key(key).send().await.expect("the store deletes an object");
    }

    /// Every request through the proxy in the order of arrival, including unanswered ones.
    pub fn requests(&self) -> Vec<S3Request> {
        locked(&self.proxy.log).clone()
    }

    pub fn clear_log(&self) {
        locked(&self.proxy.log).clear();
    }

    /// The writes below a prefix that the store carried out, answered or not.
    pub fn writes_below(&self, prefix: &str) -> Vec<S3Request> {
        self.requests().into_iter().filter(|request| request.wrote() && request.key.starts_with(prefix)).collect()
    }

    /// The keys below a prefix that were written more than once or deleted. There must never be any.
    pub fn overwritten_or_deleted(&self, prefix: &str) -> Vec<String> {
        log::overwritten_or_deleted(&locked(&self.proxy.log), prefix)
    }
}

/// The HTTP client of an AWS client for a store.
pub fn http_client() -> impl HttpClient + 'static {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn client(store: &ExternalS3) -> Client {
    let credentials = Credentials::new(&store.access_key, &store.secret_key, None, None, "simulator");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&store.endpoint)
        .credentials_provider(credentials)
        .http_client(http_client())
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}
