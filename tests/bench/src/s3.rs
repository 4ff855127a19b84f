//! S3 by path, as cheap as possible: one bucket in memory. The bodies of records are dropped, unless they are to be
//! kept. Accepts any signature.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use simulator::http::{Reply, Request};

use crate::figures::{Counter, locked};

/// The prefix of the records.
pub const RECORDS: &str = "code42/";
/// The collector's own records below it, which are not counted.
const HEALTH: &str = "code42/collector_health/";

/// AWS lists this many keys at once.
const KEYS_PER_PAGE: usize = 1000;

#[derive(Debug)]
pub struct S3 {
    bucket: Mutex<Bucket>,
    keep: bool,
    figures: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    /// The number of writes so far. An `ETag` is the number of its write.
    writes: u64,
}

#[derive(Debug)]
struct Object {
    etag: String,
    size: usize,
    /// `content-type` and `x-amz-meta-*`, unchanged.
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl S3 {
    pub fn new(keep: bool, figures: Arc<Counter>) -> Self {
        Self { bucket: Mutex::default(), keep, figures }
    }

    /// Empties the bucket.
    pub fn reset(&self) {
        *locked(&self.bucket) = Bucket::default();
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let path = percent_decode_str(request.path.trim_start_matches('/')).decode_utf8_lossy();
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let prefix = request.parameter("prefix").unwrap_or_default();
        let is_record = if key.is_empty() { prefix.starts_with(RECORDS) } else { is_record(key) };
        let method = if key.is_empty() { "LIST" } else { request.method.as_str() };
        let kind = if is_record { "records" } else { "state" };
        *self.figures.lock().s3.entry(format!("{method} {kind}")).or_default() += 1;
        let mut bucket = locked(&self.bucket);
        match method {
            "LIST" => list(&bucket, &prefix, &request.parameter("continuation-token").unwrap_or_default()),
            "PUT" => self.put(&mut bucket, key, request),
            "GET" | "HEAD" => get(&bucket, key, method == "HEAD"),
            _ => error(405, "MethodNotAllowed"),
        }
    }

    fn put(&self, bucket: &mut Bucket, key: &str, request: &Request) -> Reply {
        let there = bucket.objects.get(key);
        if request.header("if-none-match").is_some() && there.is_some() {
            return error(412, "PreconditionFailed");
        }
        match (request.header("if-match"), there) {
            (Some(_), None) => return error(404, "NoSuchKey"),
            (Some(etag), Some(object)) if etag != object.etag => return error(412, "PreconditionFailed"),
            _ => {}
        }
        let body = content(request);
        let is_record = is_record(key);
        if is_record {
            let records = request.header("x-amz-meta-records").and_then(|records| records.parse::<u64>().ok());
            let mut figures = self.figures.lock();
            figures.objects += 1;
            figures.object_bytes += body.len() as u64;
            figures.records += records.unwrap_or(0);
        }
        bucket.writes += 1;
        let etag = format!("\"{:032x}\"", bucket.writes);
        let headers = request.headers.iter().filter_map(|(name, value)| {
            let told = name == "content-type" || name.as_str().starts_with("x-amz-meta-");
            told.then(|| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        });
        let (size, headers) = (body.len(), headers.collect());
        let body = (self.keep || !is_record).then_some(body);
        bucket.objects.insert(key.to_owned(), Object { etag: etag.clone(), size, headers, body });
        Reply::new(200, "application/xml", "").with_header("etag", etag)
    }
}

fn get(bucket: &Bucket, key: &str, head: bool) -> Reply {
    let Some(object) = bucket.objects.get(key) else {
        return if head { Reply::new(404, "application/xml", "") } else { error(404, "NoSuchKey") };
    };
    let body = match &object.body {
        _ if head => Bytes::new(),
        Some(body) => body.clone(),
        None => return error(501, "BodyNotKept"),
    };
    let mut reply = Reply::new(200, "", body);
    reply.headers.clone_from(&object.headers);
    reply.with_header("etag", object.etag.clone()).with_header("content-length", object.size.to_string())
}

fn is_record(key: &str) -> bool {
    key.starts_with(RECORDS) && !key.starts_with(HEALTH)
}

/// The keys here contain nothing that must be escaped in XML.
fn list(bucket: &Bucket, prefix: &str, after: &str) -> Reply {
    let start = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
    let found = bucket.objects.range::<str, _>((start, Bound::Unbounded));
    let found = found.take_while(|(key, _)| key.starts_with(prefix));
    let mut page: Vec<(&String, &Object)> = found.take(KEYS_PER_PAGE + 1).collect();
    let more = page.len() > KEYS_PER_PAGE;
    page.truncate(KEYS_PER_PAGE);
    let next = page.last().filter(|_| more).map(|(key, _)| tag("NextContinuationToken", key)).unwrap_or_default();
    let entry = |(key, object): &(&String, &Object)| {
        tag("Contents", &[tag("Key", key), tag("Size", &object.size.to_string()), tag("ETag", &object.etag)].concat())
    };
    let contents: Vec<String> = page.iter().map(entry).collect();
    let count = tag("KeyCount", &page.len().to_string());
    let parts = [tag("Prefix", prefix), count, tag("IsTruncated", &more.to_string()), next, contents.concat()];
    Reply::new(200, "application/xml", tag("ListBucketResult", &parts.concat()))
}

fn error(status: u16, code: &str) -> Reply {
    let body = tag("Error", &[tag("Code", code), tag("Message", code)].concat());
    Reply::new(status, "application/xml", body)
}

fn tag(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

/// The body without the frames in which an SDK may stream it.
fn content(request: &Request) -> Bytes {
    let is_framed = request.header("x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-"));
    if is_framed { unframed(&request.body) } else { request.body.clone() }
}

/// `aws-chunked`: a line with a chunk's size in hex before each chunk, up to one of size 0.
fn unframed(mut framed: &[u8]) -> Bytes {
    let mut content = BytesMut::new();
    while let Some(end) = framed.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&framed[..end]);
        let size = line.split(';').next().and_then(|size| usize::from_str_radix(size, 16).ok()).unwrap_or(0);
        let start = end + 2;
        if size == 0 || framed.len() < start + size + 2 {
            break;
        }
        content.extend_from_slice(&framed[start..start + size]);
        framed = &framed[start + size + 2..];
    }
    content.freeze()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut request = Request {
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"body"),
        };
        for (name, value) in headers {
            request.headers.insert(*name, value.parse().expect("a value"));
        }
        request
    }

    #[test]
    fn conditions_hold_and_bodies_of_records_are_dropped() {
        let s3 = S3::new(false, Arc::default());
        let status = |method, path, headers: &[_]| s3.answer(&request(method, path, headers)).status;
        let absent = [("if-none-match", "*"), ("x-amz-meta-records", "3")];
        assert_eq!(status("GET", "/records/state.json", &[]), 404);
        assert_eq!(status("PUT", "/records/state.json", &[("if-match", "\"x\"")]), 404);
        let etag = s3.answer(&request("PUT", "/records/state.json", &absent)).headers[1].1.clone();
        assert_eq!(status("PUT", "/records/state.json", &absent), 412);
        assert_eq!(status("PUT", "/records/state.json", &[("if-match", &etag)]), 200);
        assert_eq!(status("PUT", "/records/state.json", &[("if-match", &etag)]), 412);
        assert_eq!(&s3.answer(&request("GET", "/records/state.json", &[])).body[..], b"body");

        assert_eq!(status("PUT", "/records/code42/a/dt%3D2026", &absent), 200);
        assert_eq!(status("GET", "/records/code42/a/dt%3D2026", &[]), 501);
        assert_eq!(status("HEAD", "/records/code42/a/dt%3D2026", &[]), 200);
        let listed = s3.answer(&request("GET", "/records?prefix=code42/", &[])).body;
        assert!(String::from_utf8_lossy(&listed).contains("<Key>code42/a/dt=2026</Key>"));
        let figures = s3.figures.lock();
        assert_eq!((figures.objects, figures.records, figures.object_bytes), (1, 3, 4));
        assert_eq!((figures.s3["PUT state"], figures.s3["GET records"]), (5, 1));
    }

    #[test]
    fn frames_are_taken_off() {
        let framed = b"5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32:AAAA==\r\n\r\n";
        assert_eq!(&unframed(framed)[..], b"hello!");
    }
}
