//! Runs the collector in this process. The simulator answers its requests to the API, to S3 and to Secrets Manager by
//! function calls, without sockets.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream;
use incydr_collector::actions::clients::Clients;
use incydr_collector::bucket::s3::{S3, Stored};
use incydr_collector::bucket::store::{Done, Operation, S3Call, SimulatedError, Store};
use incydr_collector::core::clock;
use incydr_collector::core::settings::Settings;
use incydr_collector::core::time::Millis;
use incydr_collector::edge::event::Event;
use incydr_collector::edge::handler::Handler;
use incydr_collector::incydr::client::Api;
use incydr_collector::incydr::exchange::{BrokenOff, Exchange, OpenAnswer};
use incydr_collector::incydr::http;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use simulator::http::{Delivery, Reply, Request};
use simulator::{Begin, Container, LambdaBuilder, Life, Outcome, Secrets, Simulator};
use tokio::time::sleep;

use crate::happenings::locked;

/// The HTTP client's limit for silence.
const SILENCE: Duration = Duration::from_mins(1);
/// The collector's limit for one attempt to read the secret.
const SECRETS_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts this thread's clock and random numbers from the seed, so that a seed always makes the same requests.
pub fn begin(seed: u64) {
    let at = DateTime::parse_from_rfc3339("2026-11-21T13:37:00Z").expect("a time").to_utc();
    simulator::clock::simulate(at);
    clock::simulate(|| simulator::clock::now_in_container().timestamp_millis());
    fastrand::seed(seed);
}

/// A function of this simulator in this process.
pub fn start(builder: LambdaBuilder, sim: &Simulator) -> simulator::Lambda {
    let (api, s3, secrets) = (sim.api.clone(), sim.s3.clone(), sim.secrets.clone());
    let begin: Begin = Arc::new(move |variables, life| {
        let (api, s3, secrets, variables) = (api.clone(), s3.clone(), secrets.clone(), variables.clone());
        container(move || {
            let settings = Settings::from_vars(|name| variables.get(name).cloned()).expect("settings");
            let api = Api::new(&settings, reqwest_client(), exchange(api.clone()), secrets_client(&secrets));
            let clients = Clients::new(api, S3::new(store(s3.clone(), life.clone(), &variables)));
            Arc::new(Handler::with_clients(settings, clients))
        })
    });
    builder.start_within(begin)
}

/// A container whose process is another one after its credentials have expired, as `main` ends it then.
fn container(process: impl Fn() -> Arc<Handler> + Send + Sync + 'static) -> Container {
    let present = Mutex::new(process());
    Arc::new(move |payload, deadline: DateTime<Utc>| {
        let handler = {
            let mut present = locked(&present);
            if present.has_expired() {
                *present = process();
            }
            present.clone()
        };
        Box::pin(async move {
            let run_id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_le_bytes()).into_uuid().to_string();
            let deadline = Millis(deadline.timestamp_millis());
            match handler.handle_as(&run_id, &Event::of(payload.as_bytes()), deadline).await {
                Ok(answered) => Outcome::Answer(serde_json::to_value(answered).expect("an answer is JSON")),
                Err(failed) => Outcome::Failed { error_type: failed.error_type, error_message: failed.error_message },
            }
        })
    })
}

/// One client for all, because it only builds requests.
fn reqwest_client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let needed = [("INCYDR_BASE_URL", "http://127.0.0.1:1"), ("INCYDR_SECRET_ID", "none"), ("S3_BUCKET", "none")];
        let needed: BTreeMap<&str, &str> = needed.into();
        let settings = Settings::from_vars(|name| needed.get(name).map(|held| (*held).to_owned()));
        http::client(&settings.expect("settings"), None).expect("a client")
    });
    CLIENT.clone()
}

thread_local! {
    /// The delay of writes whose sender has died.
    static LANDS: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The path at which a request to the API panics.
    static PANICS: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Has the collector panic at each request to this path.
pub fn panic_at(path: Option<&'static str>) {
    PANICS.set(path);
}

/// Sets that delay.
pub fn have_land_after(lands: Duration) {
    LANDS.set(lands);
}

pub fn lands_after() -> Duration {
    LANDS.get()
}

/// The time that a request or answer takes: mostly a few milliseconds, rarely a second.
fn on_its_way() -> Duration {
    let millis = match fastrand::u8(..) {
        0 => fastrand::u64(100..1_000),
        1..10 => fastrand::u64(10..100),
        _ => fastrand::u64(1..6),
    };
    Duration::from_millis(millis)
}

fn exchange(api: simulator::Api) -> Exchange {
    Exchange::Simulated(Arc::new(move |request| {
        let api = api.clone();
        Box::pin(async move {
            let request = request_to_api(&request);
            assert!(PANICS.get() != Some(request.path.as_str()), "a simulated panic");
            // A request arrives even if its sender has died.
            let answered = tokio::spawn(async move {
                sleep(on_its_way()).await;
                let reply = api.exchange(request).await;
                sleep(on_its_way()).await;
                reply
            });
            answer(answered.await.expect("the API answers")).await
        })
    }))
}

fn request_to_api(request: &reqwest::Request) -> Request {
    let mut headers = request.headers().clone();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    Request {
        method: request.method().clone(),
        path: request.url().path().to_owned(),
        query: request.url().query().unwrap_or_default().to_owned(),
        headers,
        body: request.body().and_then(|body| body.as_bytes()).map(Bytes::copy_from_slice).unwrap_or_default(),
    }
}

async fn answer(reply: Reply) -> Result<OpenAnswer, BrokenOff> {
    let body = reply.body;
    let pieces = match reply.delivery {
        Delivery::Lost => return Err(BrokenOff::Lost),
        Delivery::Never => {
            sleep(SILENCE).await;
            return Err(BrokenOff::Silent);
        }
        Delivery::Whole => {
            let at = fastrand::usize(0..=body.len());
            stream::iter([Ok(body.slice(..at)), Ok(body.slice(at..))]).boxed()
        }
        Delivery::Cut(kept) => stream::iter([Ok(body.slice(..kept)), Err(BrokenOff::Lost)]).boxed(),
        Delivery::Stalled(kept) => {
            let silent = stream::once(async {
                sleep(SILENCE).await;
                Err(BrokenOff::Silent)
            });
            stream::iter([Ok(body.slice(..kept))]).chain(silent).boxed()
        }
    };
    let status = StatusCode::from_u16(reply.status).expect("a status");
    let headers: HeaderMap = reply.headers.iter().filter_map(|(name, value)| header(name, value)).collect();
    Ok(OpenAnswer::simulated(status, headers, pieces))
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}

fn store(s3: simulator::S3, life: Life, variables: &BTreeMap<String, String>) -> Store {
    let app = format!("app/{}", variables.get("AWS_SDK_UA_APP_ID").map_or("", String::as_str));
    let app = HeaderValue::from_str(&app).expect("a name");
    Store::Simulated(Arc::new(move |operation| {
        let (s3, app, life) = (s3.clone(), app.clone(), life.clone());
        Box::pin(async move {
            let (mut request, kind) = request_to_s3(operation);
            request.headers.insert("user-agent", app);
            let answered = tokio::spawn(async move {
                sleep(on_its_way()).await;
                if life.is_over() {
                    sleep(LANDS.get()).await;
                }
                let reply = s3.exchange(request).await;
                sleep(on_its_way()).await;
                reply
            });
            done(answered.await.expect("S3 answers"), kind).await
        })
    }))
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Put,
    List,
}

fn request_to_s3(operation: Operation) -> (Request, Kind) {
    let of = |method, key: &str, query: String, kind| {
        let path = format!("/{}/{key}", operation.bucket).trim_end_matches('/').to_owned();
        (Request { method, path, query, headers: HeaderMap::new(), body: Bytes::new() }, kind)
    };
    match operation.what {
        S3Call::Get { key } => of(Method::GET, &key, String::new(), Kind::Get),
        S3Call::List { prefix, after } => {
            let after = after.map(|after| format!("&start-after={after}")).unwrap_or_default();
            of(Method::GET, "", format!("list-type=2&prefix={prefix}{after}"), Kind::List)
        }
        S3Call::Folders { prefix } => {
            of(Method::GET, "", format!("list-type=2&prefix={prefix}&delimiter=/"), Kind::List)
        }
        S3Call::Put { key, bytes, content_type, metadata, preconditions } => {
            let (mut request, kind) = of(Method::PUT, &key, String::new(), Kind::Put);
            let metadata: BTreeMap<_, _> = metadata.iter().collect();
            let metadata = metadata.into_iter().map(|(name, held)| (format!("x-amz-meta-{name}"), Some(held.clone())));
            let others = [
                ("content-type", Some(content_type.to_owned())),
                ("if-none-match", preconditions.if_none_match),
                ("if-match", preconditions.if_match),
            ];
            let others = others.into_iter().map(|(name, held)| (name.to_owned(), held));
            for (name, held) in metadata.chain(others) {
                request.headers.extend(held.and_then(|held| header(&name, &held)));
            }
            request.body = bytes;
            (request, kind)
        }
    }
}

async fn done(reply: Reply, kind: Kind) -> Result<Done, SimulatedError> {
    match reply.delivery {
        Delivery::Never => std::future::pending().await,
        Delivery::Whole => {}
        _ => return Err(SimulatedError::default()),
    }
    if reply.status >= 300 {
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let code = code.map(|(code, _)| code.to_owned());
        return Err(SimulatedError { status: Some(reply.status), code });
    }
    let header = |name: &str| reply.headers.iter().find(|(held, _)| held == name).map(|(_, held)| held.clone());
    let etag = header("etag").unwrap_or_default();
    Ok(match kind {
        Kind::Put => Done::Written { etag },
        Kind::List => {
            let text = String::from_utf8_lossy(&reply.body);
            Done::Listed(text.lines().map(str::to_owned).collect())
        }
        Kind::Get => {
            let metadata = reply
                .headers
                .iter()
                .filter_map(|(name, held)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), held.clone())));
            let metadata: HashMap<String, String> = metadata.collect();
            Done::Got(Stored { bytes: reply.body, etag, metadata })
        }
    })
}

/// The AWS SDK's own client, whose requests are answered in memory.
fn secrets_client(secrets: &Secrets) -> aws_sdk_secretsmanager::Client {
    let connector = SharedHttpConnector::new(InMemory(secrets.clone()));
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url("http://127.0.0.1:1")
        .credentials_provider(Credentials::new("AKIASIMULATED", "simulated", None, None, "simulation"))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(SECRETS_TIMEOUT).build())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    aws_sdk_secretsmanager::Client::from_conf(config)
}

#[derive(Debug)]
struct InMemory(Secrets);

impl HttpConnector for InMemory {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let secrets = self.0.clone();
        HttpConnectorFuture::new(async move {
            let url = reqwest::Url::parse(request.uri()).map_err(|error| ConnectorError::other(error.into(), None))?;
            let asked = Request {
                method: Method::POST,
                path: url.path().to_owned(),
                query: String::new(),
                headers: request.headers().iter().filter_map(|(name, value)| header(name, value)).collect(),
                body: Bytes::copy_from_slice(request.body().bytes().unwrap_or_default()),
            };
            sleep(on_its_way()).await;
            let reply = secrets.exchange(&asked);
            if reply.delivery == Delivery::Never {
                std::future::pending::<()>().await;
            }
            let status = reply.status.try_into().map_err(|_| ConnectorError::other("no status".into(), None))?;
            let mut response = HttpResponse::new(status, reply.body.to_vec().into());
            for (name, value) in reply.headers {
                response.headers_mut().insert(name, value);
            }
            Ok(response)
        })
    }
}
