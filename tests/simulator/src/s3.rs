//! S3: a proxy that logs and breaks things, before a real store: s3s-fs in this process, or one outside of it.

mod builtin;
mod fault;
mod log;
mod proxy;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex},
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

use crate::{http::Server, locked};

/// A store outside of this process, spoken to by plain HTTP and by path.
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
    /// `x-amz-meta-*`, without that prefix.
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

/// The running store, shared: cheap to clone; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct S3 {
    proxy: Arc<Server>,
    /// Speaks to the store itself, past the log and the faults.
    client: Client,
    store: ExternalS3,
    log: Arc<Mutex<Vec<S3Request>>>,
    pub faults: S3Faults,
    /// Where the built-in store keeps its files.
    directory: Option<PathBuf>,
    _builtin: Option<Arc<builtin::Builtin>>,
}

impl S3 {
    /// The built-in store, below a directory or in one that goes with it.
    pub(crate) async fn start_builtin(directory: Option<PathBuf>) -> io::Result<Self> {
        let builtin = builtin::Builtin::start(directory).await?;
        let store = builtin.store();
        let directory = Some(builtin.directory().to_owned());
        let started = Self::start_before(store).await?;
        Ok(Self { directory, _builtin: Some(Arc::new(builtin)), ..started })
    }

    pub(crate) async fn start_before(store: ExternalS3) -> io::Result<Self> {
        let log = Arc::default();
        let faults = S3Faults::default();
        let proxy = Arc::new(proxy::start(&store.endpoint, &log, &faults).await?);
        let client = client(&store);
        Ok(Self { proxy, client, store, log, faults, directory: None, _builtin: None })
    }

    /// Where the collector is to find S3.
    pub fn endpoint(&self) -> String {
        self.proxy.url()
    }

    /// The access key and the secret key that the store takes.
    pub fn credentials(&self) -> (String, String) {
        (self.store.access_key.clone(), self.store.secret_key.clone())
    }

    pub fn directory(&self) -> Option<&PathBuf> {
        self.directory.as_ref()
    }

    /// Makes a bucket, unless it is there.
    pub async fn create_bucket(&self, bucket: &str) {
        if self.client.head_bucket().bucket(bucket).send().await.is_err() {
            self.client.create_bucket().bucket(bucket).send().await.expect("the store makes a bucket");
        }
    }

    /// The keys below a prefix, in order.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
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

    /// An object; none when the store has none under this key.
    pub async fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        let found = match self.client.get_object().bucket(bucket).key(key).send().await {
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

    /// Every object below a prefix with its lines, gunzipped.
    pub async fn read_ndjson(&self, bucket: &str, prefix: &str) -> Vec<(String, Vec<String>)> {
        let objects = self.objects(bucket, prefix).await;
        objects.into_iter().map(|object| (object.key.clone(), object.lines())).collect()
    }

    /// Writes past the log and the faults.
    pub async fn put_raw(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        let body = ByteStream::from(bytes.into());
        self.client.put_object().bucket(bucket).key(key).body(body).send().await.expect("the store takes an object");
    }

    /// Deletes past the log and the faults.
    pub async fn delete_raw(&self, bucket: &str, key: &str) {
        self.client.delete_object().bucket(bucket).key(key).send().await.expect("the store deletes an object");
    }

    /// Every request through the proxy in the order of arrival, unanswered ones too.
    pub fn requests(&self) -> Vec<S3Request> {
        locked(&self.log).clone()
    }

    pub fn clear_log(&self) {
        locked(&self.log).clear();
    }

    /// The writes below a prefix that the store applied, answered or not.
    pub fn writes_below(&self, prefix: &str) -> Vec<S3Request> {
        self.requests().into_iter().filter(|request| request.wrote() && request.key.starts_with(prefix)).collect()
    }

    /// The keys below a prefix that were written more than once, or deleted: there must be none, ever.
    pub fn overwritten_or_deleted(&self, prefix: &str) -> Vec<String> {
        log::overwritten_or_deleted(&locked(&self.log), prefix)
    }
}

/// For an AWS client that speaks to a store.
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
