//! HTTP: the one client, and an answer, whole, with what its status says.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, StatusCode};

use crate::core::error_kind::chain;
use crate::core::settings::{Settings, SettingsError};
use crate::incydr::error::{ApiError, FailedAttempt};

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
        let what = what.to_owned();
        let error = match self.status {
            StatusCode::UNAUTHORIZED => ApiError::Unauthorized { what },
            StatusCode::FORBIDDEN => ApiError::Forbidden { what },
            StatusCode::TOO_MANY_REQUESTS => ApiError::RateLimited { what },
            status => {
                let said = String::from_utf8_lossy(&self.body).into_owned();
                match () {
                    () if says_too_large(&said) => ApiError::TooLarge { what },
                    () if said.contains("INVALID_PAGE_TOKEN") => ApiError::InvalidPageToken { what },
                    () => ApiError::Status { what, status: status.as_u16(), said },
                }
            }
        };
        FailedAttempt { error, retry_after: self.retry_after() }
    }

    /// Seconds or a date (RFC 9110).
    pub fn retry_after(&self) -> Option<Duration> {
        let held = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        match held.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => httpdate::parse_http_date(held).ok()?.duration_since(std::time::SystemTime::now()).ok(),
        }
    }
}

/// "Request timed out.  Refine your filter criteria and try again." (support articles), whatever its blanks.
pub fn says_too_large(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("timed out") && said.contains("refine")
}

pub async fn whole_answer(mut response: reqwest::Response) -> Result<HttpAnswer, reqwest::Error> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    Ok(HttpAnswer { status, headers, body: response.bytes().await? })
}

pub fn client(settings: &Settings) -> Result<reqwest::Client, SettingsError> {
    // Refused where another client of this process was built before, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("incydr-collector/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // A redirect would carry the request to a host that nobody set.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &settings.ca_bundle {
        let held = path.display().to_string();
        let bad = |why: String| SettingsError::Bad { name: "INCYDR_CA_BUNDLE", held: held.clone(), why };
        let pem = std::fs::read(path)
            .map_err(|error| bad(format!("that file can't be read ({error}); it takes the path of a PEM file")))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| bad("that file holds no certificate; it takes the path of a PEM file".into()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| SettingsError::Bad {
        name: "INCYDR_CA_BUNDLE",
        held: settings.ca_bundle.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        why: format!("no HTTP client can be built with it ({})", chain(&error)),
    })
}
