//! HTTP: the one client, and an answer, whole, with what its status says.

use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Proxy, StatusCode};
use serde_json::Value;

use crate::core::error_kind::chain;
use crate::core::quote::beginning;
use crate::core::settings::{Settings, SettingsError};
use crate::core::time::Millis;
use crate::incydr::error::{ApiError, FailedAttempt, broke_off};
use crate::incydr::exchange::Answer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence within an answer. PY42 raised its own from 60 to 180 s for the largest pages; a silence of
/// a minute is none of those, because a page's bytes arrive as they are found.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// One HTTP answer, whole.
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpAnswer {
    /// What an answer that is no 2xx says.
    pub fn refused(&self, what: &str) -> FailedAttempt {
        let (what, said) = (what.to_owned(), self.said());
        let error = match self.status {
            StatusCode::UNAUTHORIZED => ApiError::Unauthorized { what, said },
            StatusCode::FORBIDDEN if self.may_be_the_api_s() => ApiError::Forbidden { what, said },
            StatusCode::TOO_MANY_REQUESTS => ApiError::RateLimited { what, said },
            status => {
                let answer = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
                let told = verdict(&what, &answer["problems"], &String::from_utf8_lossy(&self.body));
                told.unwrap_or(ApiError::Status { what, status: status.as_u16(), said })
            }
        };
        FailedAttempt { error, retry_after: self.retry_after() }
    }

    /// How the body begins, and where a redirect points to, but for its query.
    pub fn said(&self) -> String {
        let said = beginning(&self.body);
        let location = self.headers.get(LOCATION).filter(|_| self.status.is_redirection());
        match location.map(|held| String::from_utf8_lossy(held.as_bytes()).into_owned()) {
            Some(location) => format!("it points to {}; {said}", location.split(['?', '#']).next().unwrap_or_default()),
            None => said,
        }
    }

    /// The API's own refusals are JSON, or nothing at all; a page is that of a firewall or a proxy.
    fn may_be_the_api_s(&self) -> bool {
        self.body.is_empty() || serde_json::from_slice::<serde_json::Map<String, Value>>(&self.body).is_ok()
    }

    /// Seconds, whole or not, or a date (RFC 9110).
    pub fn retry_after(&self) -> Option<Duration> {
        let held = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = held.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let date = httpdate::parse_http_date(held).ok()?.duration_since(UNIX_EPOCH).ok()?;
        date.checked_sub(Millis::now().since(Millis(0)))
    }
}

/// What is wrong with a query: by the types of the `problems` that are told (`OpenAPI`, `QueryProblem`), then by the words.
pub fn verdict(what: &str, problems: &Value, told: &str) -> Option<ApiError> {
    let is_told = |name: &&str| problems.as_array().into_iter().flatten().any(|problem| problem["type"] == **name);
    let what = what.to_owned();
    if ["QUERY_TIMEOUT", "RESPONSE_CONTENT_TOO_LARGE"].iter().any(is_told) || says_too_large(told) {
        return Some(ApiError::TooLarge { what });
    }
    if told.contains("INVALID_PAGE_TOKEN") {
        return Some(ApiError::InvalidPageToken { what });
    }
    let too_much = ["MAX_FILTERS_EXCEEDED", "MAX_GROUPS_EXCEEDED"].into_iter().find(is_told)?;
    Some(ApiError::QueryRefused { what, problem: too_much })
}

/// "Request timed out.  Refine your filter criteria and try again." (support articles), whatever its blanks.
fn says_too_large(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("timed out") && said.contains("refine")
}

pub async fn whole_answer(mut response: Answer) -> Result<HttpAnswer, ApiError> {
    let (status, headers) = (response.status, std::mem::take(&mut response.headers));
    let is_gzipped = is_gzipped(&headers);
    let body = response.whole().await.map_err(broke_off)?;
    if !is_gzipped || body.is_empty() {
        return Ok(HttpAnswer { status, headers, body });
    }
    let mut unpacked = Vec::new();
    match MultiGzDecoder::new(&body[..]).read_to_end(&mut unpacked) {
        Ok(_) => Ok(HttpAnswer { status, headers, body: unpacked.into() }),
        Err(error) => {
            let why = format!("the answer says that it is gzipped, and can't be unpacked ({error})");
            Err(ApiError::Unexpected { what: String::new(), why })
        }
    }
}

/// Asked for by each request, and unpacked by us: the HTTP client would stop after the first of several members.
pub fn is_gzipped(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|held| held.to_str().ok()).unwrap_or_default().trim();
    encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip")
}

/// `ca_bundle` holds certificates that can be read.
pub fn client(settings: &Settings, ca_bundle: Option<&[u8]>) -> Result<reqwest::Client, SettingsError> {
    // Refused where another client of this process was built before, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let proxies = settings.proxies.clone();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("incydr-collector/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // Of the environment, whose rules differ from those of the other clients.
        .no_proxy()
        .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
        // A redirect would carry the request to a host that nobody set.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca_bundle {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).unwrap_or_default());
    }
    let bad = |error: reqwest::Error| match &settings.ca_bundle {
        None => SettingsError::Missing {
            name: "INCYDR_CA_BUNDLE",
            takes: "the path of a PEM file, for this machine has no certificate authorities of its own (nor are there any where SSL_CERT_FILE and SSL_CERT_DIR say)",
        },
        Some(path) => SettingsError::Bad {
            name: "INCYDR_CA_BUNDLE",
            held: path.display().to_string(),
            why: format!("no HTTP client can be built with it ({})", chain(&error)),
        },
    };
    builder.build().map_err(bad)
}
