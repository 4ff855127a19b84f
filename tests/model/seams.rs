//! One run of the real collector, whose requests to the API and S3 are answered one by one by the search. The answers
//! alone decide what the run requests next, so a run can be repeated from its answers.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::Poll;
use std::time::Duration;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use incydr_collector::actions::call::Call;
use incydr_collector::actions::clients::Clients;
use incydr_collector::actions::collect::collect;
use incydr_collector::actions::invocation::CollectArgs;
use incydr_collector::bucket::s3::{S3, Stored};
use incydr_collector::bucket::store::{Done, Operation, S3Call, SimulatedError, Store};
use incydr_collector::collect::Trigger;
use incydr_collector::core::clock;
use incydr_collector::core::settings::Settings;
use incydr_collector::core::time::Millis;
use incydr_collector::incydr::client::Api;
use incydr_collector::incydr::exchange::{Exchange, OpenAnswer};
use incydr_collector::incydr::http;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A request that waits for its answer.
#[derive(Debug)]
pub enum Asked {
    Api { path: String, body: Value },
    Get { key: String },
    List { prefix: String, after: Option<String> },
    Put(Arc<Write>),
}

#[derive(Debug)]
pub struct Write {
    pub key: String,
    pub bytes: Bytes,
    pub metadata: BTreeMap<String, String>,
    pub only_if_absent: bool,
    pub only_if: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    Api { status: u16, body: String },
    Got(Option<Arc<Object>>),
    Listed(Vec<String>),
    Written { etag: String },
    Refused,
    Nothing,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub bytes: Bytes,
    pub metadata: BTreeMap<String, String>,
    pub etag: String,
}

/// The unanswered requests, each with its number in the order in which they were made.
pub type Waiting = Vec<(u32, Arc<Asked>)>;

#[derive(Default)]
struct Desk {
    made: u32,
    waiting: BTreeMap<u32, (Arc<Asked>, oneshot::Sender<Answered>)>,
}

type SharedDesk = Arc<Mutex<Desk>>;

pub struct Run {
    future: Pin<Box<dyn Future<Output = ()>>>,
    desk: SharedDesk,
    pub has_ended: bool,
    runtime: Runtime,
}

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// The time of a run, in milliseconds.
pub const DEADLINE: i64 = 60_000;

impl Run {
    /// Begins the n-th run at this instant.
    pub fn begin(n: usize, began: i64) -> Self {
        NOW.set(began);
        clock::simulate(|| NOW.get());
        fastrand::seed(1);
        let desk = SharedDesk::default();
        let lent = desk.clone();
        let future = Box::pin(async move {
            let settings = settings();
            let api = Api::new(settings, http_client(), exchange(lent.clone()), secrets());
            let clients = Clients::new(api, S3::new(store(lent)));
            let deadline = Millis(began + DEADLINE);
            clients.begin_run(settings, deadline).await;
            collect(
                Call { settings, clients: &clients, run_id: &format!("run-{n}"), deadline },
                &CollectArgs::ALL,
                Trigger::Schedule,
            )
            .await;
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let mut run = Self { future, desk, has_ended: false, runtime: runtime.expect("a runtime") };
        run.go_on();
        run
    }

    pub fn waiting(&self) -> Waiting {
        let desk = self.desk.lock().expect("a desk");
        desk.waiting.iter().map(|(nth, (asked, _))| (*nth, asked.clone())).collect()
    }

    pub fn answer(&mut self, nth: u32, answered: Answered, now: i64) {
        NOW.set(now);
        let waiting = self.desk.lock().expect("a desk").waiting.remove(&nth);
        let (_, sender) = waiting.expect("it waits for that");
        // Fails if the run has dropped the request. Then nobody needs the answer.
        let _ = sender.send(answered);
        self.go_on();
    }

    /// Continues the run until it makes a request or ends. Its pauses before retries take no time.
    fn go_on(&mut self) {
        let Self { future, desk, has_ended, runtime } = self;
        runtime.block_on(async {
            for nth in 0..200 {
                for _ in 0..2 {
                    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
                    if polled.is_ready() {
                        *has_ended = true;
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                if nth > 0 && !desk.lock().expect("a desk").waiting.is_empty() {
                    return;
                }
                tokio::time::advance(Duration::from_millis(250)).await;
            }
            panic!("the run neither asks nor ends");
        });
    }
}

pub fn settings() -> &'static Settings {
    static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
        let held: HashMap<&str, &str> = [
            ("INCYDR_BASE_URL", "http://127.0.0.1:1"),
            ("INCYDR_SECRET_ID", "secret"),
            ("S3_BUCKET", "bucket"),
            ("STREAMS", "audit"),
            ("SETTLE_SECONDS", "0"),
            ("RECONCILE_MINUTES", ""),
        ]
        .into();
        Settings::from_vars(|name| held.get(name).map(|held| (*held).to_owned())).expect("settings")
    });
    &SETTINGS
}

/// The HTTP client, which only builds requests.
fn http_client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| http::client(settings(), None).expect("a client"));
    CLIENT.clone()
}

async fn ask(desk: SharedDesk, asked: Asked) -> Answered {
    let (sender, answered) = oneshot::channel();
    {
        let mut desk = desk.lock().expect("a desk");
        let nth = desk.made;
        desk.made += 1;
        desk.waiting.insert(nth, (Arc::new(asked), sender));
    }
    answered.await.expect("an answer")
}

fn exchange(desk: SharedDesk) -> Exchange {
    Exchange::Simulated(Arc::new(move |request| {
        let desk = desk.clone();
        Box::pin(async move {
            let path = request.url().path().to_owned();
            let (status, body) = if path == "/v1/oauth" {
                (200, json!({"access_token": "token", "expires_in": 900}).to_string())
            } else {
                let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
                let body = serde_json::from_slice(body).expect("JSON");
                match ask(desk, Asked::Api { path, body }).await {
                    Answered::Api { status, body } => (status, body),
                    other => panic!("no answer of the API's: {other:?}"),
                }
            };
            let body = stream::iter([Ok(Bytes::from(body))]).boxed();
            Ok(OpenAnswer::simulated(StatusCode::from_u16(status).expect("a status"), HeaderMap::new(), body))
        })
    }))
}

fn store(desk: SharedDesk) -> Store {
    Store::Simulated(Arc::new(move |Operation { what, .. }| {
        let desk = desk.clone();
        Box::pin(async move {
            let asked = match what {
                S3Call::Get { key } => Asked::Get { key },
                S3Call::List { prefix, after } => Asked::List { prefix, after },
                S3Call::Folders { prefix } => Asked::List { prefix, after: None },
                S3Call::Put { key, bytes, metadata, preconditions, .. } => Asked::Put(Arc::new(Write {
                    key,
                    bytes,
                    metadata: metadata.into_iter().collect(),
                    only_if_absent: preconditions.if_none_match.is_some(),
                    only_if: preconditions.if_match,
                })),
            };
            let refused =
                |status, code: &str| Err(SimulatedError { status: Some(status), code: Some(code.to_owned()) });
            match ask(desk, asked).await {
                Answered::Got(Some(object)) => Ok(Done::Got(Stored {
                    bytes: object.bytes.clone(),
                    etag: object.etag.clone(),
                    metadata: object.metadata.clone().into_iter().collect(),
                })),
                Answered::Got(None) => refused(404, "NoSuchKey"),
                Answered::Listed(keys) => Ok(Done::Listed(keys)),
                Answered::Written { etag } => Ok(Done::Written { etag }),
                Answered::Refused => refused(412, "PreconditionFailed"),
                Answered::Nothing => Err(SimulatedError::default()),
                Answered::Api { .. } => panic!("an answer of the API's"),
            }
        })
    }))
}

/// The AWS SDK's own client, which is always answered with the same secret.
fn secrets() -> aws_sdk_secretsmanager::Client {
    static CLIENT: LazyLock<aws_sdk_secretsmanager::Client> = LazyLock::new(|| {
        let connector = SharedHttpConnector::new(Secrets);
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url("http://127.0.0.1:1")
            .credentials_provider(Credentials::new("AKIAMODEL", "model", None, None, "model"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        aws_sdk_secretsmanager::Client::from_conf(config)
    });
    CLIENT.clone()
}

#[derive(Debug)]
struct Secrets;

impl HttpConnector for Secrets {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let secret = json!({"client_id": "id", "client_secret": "hidden"}).to_string();
        let body = json!({"Name": "secret", "VersionId": "1", "SecretString": secret}).to_string();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200_u16.try_into().expect("a status"), body.into())))
    }
}
