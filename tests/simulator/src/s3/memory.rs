//! A store in memory. It supports what the collector uses: whole objects, conditions, and keys below a prefix. Lists
//! are answered as lines instead of XML, because only a simulation uses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use bytes::Bytes;

use super::{Object, S3Request};
use crate::{
    http::{Reply, Request},
    locked,
};

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// By bucket and key.
    objects: BTreeMap<(String, String), (u64, Object)>,
    writes: u64,
}

impl Held {
    fn put(&mut self, bucket: &str, object: Object) -> String {
        self.writes += 1;
        let etag = etag(self.writes);
        self.objects.insert((bucket.to_owned(), object.key.clone()), (self.writes, object));
        etag
    }

    fn below<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let from = (bucket.to_owned(), prefix.to_owned());
        let below = move |(of, key): &(&String, &String)| *of == bucket && key.starts_with(prefix);
        self.objects.range(from..).map(|((of, key), _)| (of, key)).take_while(below).map(|(_, key)| key.as_str())
    }
}

impl Memory {
    pub(super) fn answer(&self, request: &Request) -> Reply {
        let asked = S3Request::of(request);
        let mut held = locked(&self.0);
        let place = (asked.bucket.clone(), asked.key.clone());
        let found = held.objects.get(&place);
        let is_listing = asked.key.is_empty();
        match asked.method.as_str() {
            "GET" if is_listing => list(&held, request, &asked.bucket),
            "GET" | "HEAD" => match found {
                None => refused(404, "NoSuchKey"),
                Some((write, object)) => {
                    let body = if asked.method == "GET" { object.bytes.clone() } else { Bytes::new() };
                    let reply = Reply::new(200, object.content_type.as_deref().unwrap_or_default(), body);
                    let reply = reply.with_header("etag", etag(*write));
                    object.metadata.iter().fold(reply, |reply, (name, value)| {
                        reply.with_header(&format!("x-amz-meta-{name}"), value.clone())
                    })
                }
            },
            "PUT" => {
                let holds = match (&asked.if_none_match, &asked.if_match) {
                    (Some(_), _) => found.is_none(),
                    (None, Some(tag)) => found.is_some_and(|(write, _)| etag(*write) == *tag),
                    (None, None) => true,
                };
                if !holds {
                    return refused(412, "PreconditionFailed");
                }
                let object = Object {
                    key: asked.key,
                    bytes: request.body.clone(),
                    content_type: asked.content_type,
                    content_encoding: asked.content_encoding,
                    metadata: asked.metadata,
                };
                let etag = held.put(&asked.bucket, object);
                Reply::new(200, "", "").with_header("etag", etag)
            }
            _ => refused(405, "MethodNotAllowed"),
        }
    }

    pub(super) fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        locked(&self.0).below(bucket, prefix).map(str::to_owned).collect()
    }

    pub(super) fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        locked(&self.0).objects.get(&(bucket.to_owned(), key.to_owned())).map(|(_, object)| object.clone())
    }

    pub(super) fn put_raw(&self, bucket: &str, key: &str, bytes: Bytes) {
        let (content_type, content_encoding, metadata) = (None, None, BTreeMap::new());
        let object = Object { key: key.to_owned(), bytes, content_type, content_encoding, metadata };
        locked(&self.0).put(bucket, object);
    }

    pub(super) fn delete_raw(&self, bucket: &str, key: &str) {
        locked(&self.0).objects.remove(&(bucket.to_owned(), key.to_owned()));
    }
}

/// Returns the keys below `prefix` that come after `start-after`, one per line. With `delimiter`, returns the folders.
fn list(held: &Held, request: &Request, bucket: &str) -> Reply {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let after = request.parameter("start-after").unwrap_or_default();
    let keys = held.below(bucket, &prefix).filter(|key| *key > after.as_str());
    let listed: Vec<&str> = match request.parameter("delimiter") {
        None => keys.collect(),
        Some(delimiter) => {
            let folder = |key: &'_ str| Some(prefix.len() + key[prefix.len()..].find(&delimiter)? + delimiter.len());
            let folders: BTreeSet<&str> = keys.filter_map(|key| Some(&key[..folder(key)?])).collect();
            folders.into_iter().collect()
        }
    };
    Reply::new(200, "text/plain", listed.join("\n"))
}

fn etag(write: u64) -> String {
    format!("\"{write}\"")
}

fn refused(status: u16, code: &str) -> Reply {
    Reply::new(status, "application/xml", format!("<Error><Code>{code}</Code></Error>"))
}
