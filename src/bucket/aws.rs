//! The AWS clients, configured from the variables that Lambda sets. The SDK's own loader would also look for profiles
//! and for the metadata services of machines and containers. That is a tenth of the binary, and of no use in Lambda.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{HttpClient, SharedCredentialsProvider};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::{ProxyConfig, ProxyError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use reqwest::Url;

use crate::bucket::s3::{Fence, S3};
use crate::bucket::store::Store;
use crate::core::settings::Proxies;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for one attempt to read the secret. The limit for S3 is in `s3`.
const SECRETS_TIMEOUT: Duration = Duration::from_secs(10);

pub struct AwsClients {
    pub s3: S3,
    pub secrets: aws_sdk_secretsmanager::Client,
}

impl AwsClients {
    /// Reads `AWS_REGION`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, `AWS_ENDPOINT_URL`, the endpoint of
    /// each service, and `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` (AWS SDKs and Tools Reference Guide). The credentials
    /// are not read here but whenever a request needs them.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>, proxies: &Proxies, ca_bundle: Option<Vec<u8>>) -> Self {
        let fence = Fence::default();
        let is_set = |name: &str| var(name).is_some_and(|held| held.eq_ignore_ascii_case("true"));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION")).map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
            .use_fips(is_set("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(is_set("AWS_USE_DUALSTACK_ENDPOINT"))
            .http_client(http_client(proxies, ca_bundle, &fence))
            .build();

        let endpoint = |service: &str| {
            let of_service = || var(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| var("AWS_ENDPOINT_URL"));
            if is_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") { None } else { of_service() }
        };

        // `Bucket` retries itself, because it must check the run's deadline before each attempt.
        let mut s3 = aws_sdk_s3::config::Builder::from(&config).retry_config(RetryConfig::disabled());
        if let Some(endpoint) = endpoint("S3") {
            s3 = s3.endpoint_url(endpoint).force_path_style(true);
        }

        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(SECRETS_TIMEOUT).build();
        let mut secrets = aws_sdk_secretsmanager::config::Builder::from(&config).timeout_config(timeouts);
        secrets.set_endpoint_url(endpoint("SECRETS_MANAGER"));

        Self {
            s3: S3::with_fence(Store::Aws(aws_sdk_s3::Client::from_conf(s3.build())), fence),
            secrets: aws_sdk_secretsmanager::Client::from_conf(secrets.build()),
        }
    }
}

/// Like the SDK's default client, but with the same rustls and the same proxies as the API's client.
fn http_client(proxies: &Proxies, ca_bundle: Option<Vec<u8>>, fence: &Fence) -> impl HttpClient + 'static {
    let mut roots = TrustStore::default();
    if let Some(pem) = ca_bundle {
        roots = roots.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder().with_trust_store(roots).build().unwrap_or_default();

    let connector = |proxy: ProxyConfig| {
        let connector = Connector::builder()
            .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .proxy_config(proxy)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .build();
        SharedHttpConnector::new(connector)
    };

    let mut ways = Vec::new();
    for proxy in proxies.all() {
        if let Ok(config) = config_of(proxy) {
            ways.push((proxy.clone(), connector(config)));
        }
    }

    let routed = Routed {
        fence: fence.clone(),
        proxies: proxies.clone(),
        direct: connector(ProxyConfig::disabled()),
        proxied: ways,
    };
    let routed = SharedHttpConnector::new(routed);
    http_client_fn(move |_, _| routed.clone())
}

fn config_of(proxy: &Url) -> Result<ProxyConfig, ProxyError> {
    let (user, password) = (decoded(proxy.username()), decoded(proxy.password().unwrap_or_default()));
    let mut bare = proxy.clone();
    // Both calls fail only on a URL without a host.
    let _ = bare.set_username("").and_then(|()| bare.set_password(None));
    let config = ProxyConfig::all(bare.as_str())?;
    Ok(if user.is_empty() { config } else { config.with_basic_auth(user, password) })
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Sends each request directly or through the proxy that the settings give for its URL, and none after the fence.
struct Routed {
    fence: Fence,
    proxies: Proxies,
    direct: SharedHttpConnector,
    proxied: Vec<(Url, SharedHttpConnector)>,
}

/// The URLs may hold a password.
impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Routed({:?}, {} proxies)", self.proxies, self.proxied.len())
    }
}

impl HttpConnector for Routed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = Url::parse(request.uri()).ok();
        let proxy = url.and_then(|url| self.proxies.of(&url).cloned());
        let through = proxy.and_then(|proxy| self.proxied.iter().find(|(url, _)| *url == proxy));
        let mut sending = through.map_or(&self.direct, |(_, connector)| connector).call(request);
        let fence = self.fence.clone();
        // Looked at each time before the request may go on: while it waits for its connection, too.
        HttpConnectorFuture::new(poll_fn(move |context| {
            if fence.is_passed() {
                return Poll::Ready(Err(ConnectorError::other("the run's lease is over".into(), None)));
            }
            Pin::new(&mut sending).poll(context)
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::core::time::Millis;

    /// Waits for its connection for ever.
    #[derive(Debug)]
    struct Connecting;

    impl HttpConnector for Connecting {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_request_that_waits_for_its_connection_is_not_sent_after_the_lease() {
        let (fence, direct) = (Fence::default(), SharedHttpConnector::new(Connecting));
        let routed = Routed { fence: fence.clone(), proxies: Proxies::default(), direct, proxied: Vec::new() };
        let mut sending = routed.call(HttpRequest::get("http://127.0.0.1:1/").expect("a request"));
        assert!(poll!(&mut sending).is_pending());
        fence.set(Millis(0));
        assert!(matches!(poll!(&mut sending), Poll::Ready(Err(_))));
    }
}
