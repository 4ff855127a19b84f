//! The AWS clients, from the variables that Lambda sets. The SDK's own loader would also look for profiles, and for the
//! metadata services of machines and containers: a tenth of the binary, for places where no Lambda runs.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{HttpClient, SharedCredentialsProvider};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct AwsClients {
    pub s3: aws_sdk_s3::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
}

impl AwsClients {
    /// `AWS_REGION`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, `AWS_ENDPOINT_URL` and those of each service,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` (AWS SDKs and Tools Reference Guide). The credentials are read as they are
    /// needed.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name: &str| var(name).is_some_and(|held| held.eq_ignore_ascii_case("true"));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION")).map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
            .use_fips(is_set("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(is_set("AWS_USE_DUALSTACK_ENDPOINT"))
            .http_client(http_client())
            .build();
        let endpoint = |service: &str| {
            let of_service = || var(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| var("AWS_ENDPOINT_URL"));
            if is_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") { None } else { of_service() }
        };
        // Our own retries look at the lease before each attempt.
        let mut s3 = aws_sdk_s3::config::Builder::from(&config).retry_config(RetryConfig::disabled());
        if let Some(endpoint) = endpoint("S3") {
            s3 = s3.endpoint_url(endpoint).force_path_style(true);
        }
        let mut secrets = aws_sdk_secretsmanager::config::Builder::from(&config);
        secrets.set_endpoint_url(endpoint("SECRETS_MANAGER"));
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            secrets: aws_sdk_secretsmanager::Client::from_conf(secrets.build()),
        }
    }
}

/// As the SDK's own, but on the TLS that the API's client has, so that there is one.
fn http_client() -> impl HttpClient + 'static {
    let connector = Connector::builder()
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build();
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}
