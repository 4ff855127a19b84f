//! The HTTP client, and a whole HTTP answer with its errors.

use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Proxy, StatusCode};
use serde_json::Value;

use crate::core::error_type::chain;
use crate::core::ndjson;
use crate::core::quote::beginning;
use crate::core::settings::{Settings, SettingsError};
use crate::core::time::Millis;
use crate::incydr::error::{ApiError, FailedAttempt, broke_off};
use crate::incydr::exchange::{BrokenOff, OpenAnswer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit for the silence within an answer. PY42 raised its timeout from 60 to 180 s for the largest pages. That isn't
/// needed here: a page's bytes arrive while the API finds them, so there is no long silence.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// Limit for an answer that is not a page of a list, both as sent and unpacked. A page's rows are read as they arrive.
const MOST_OF_ANSWER: usize = 32 << 20;
/// Limit for the body of an error, of which 200 bytes are quoted.
const MOST_OF_ERROR: usize = 64 << 10;

/// A whole HTTP answer.
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpAnswer {
    /// The error for a status other than 2xx.
    pub fn refused(&self, what: &str) -> FailedAttempt {
        let (what, said) = (what.to_owned(), self.said());
        let error = match self.status {
            StatusCode::UNAUTHORIZED => ApiError::Unauthorized { what, said },
            StatusCode::FORBIDDEN if self.may_be_from_api() => ApiError::Forbidden { what, status: 403, said },
            StatusCode::TOO_MANY_REQUESTS => ApiError::RateLimited { what, said },
            status => {
                let answer = ndjson::lenient(&self.body).unwrap_or_default();
                let told = verdict(&what, &answer["problems"], &String::from_utf8_lossy(&self.body));
                told.unwrap_or(ApiError::Status { what, status: status.as_u16(), said })
            }
        };
        FailedAttempt { error, retry_after: self.retry_after() }
    }

    /// The beginning of the body, and the target of a redirect without its query.
    pub fn said(&self) -> String {
        let said = beginning(&self.body);
        let location = self.headers.get(LOCATION).filter(|_| self.status.is_redirection());
        match location.map(|held| String::from_utf8_lossy(held.as_bytes()).into_owned()) {
            Some(location) => format!("it points to {}; {said}", location.split(['?', '#']).next().unwrap_or_default()),
            None => said,
        }
    }

    /// Whether a 403 can be the API's: the body is a JSON object. A page, or nothing, comes from a firewall or a proxy.
    fn may_be_from_api(&self) -> bool {
        ndjson::lenient(&self.body).is_some_and(|body| body.is_object())
    }

    /// `Retry-After`: seconds, possibly with a fraction, or a date (RFC 9110). None if it is absent, malformed or past.
    pub fn retry_after(&self) -> Option<Duration> {
        let held = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = held.parse::<f64>() {
            let is_a_pause = seconds.is_finite() && seconds >= 0.0;
            return is_a_pause.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        }
        let date = httpdate::parse_http_date(held).ok()?.duration_since(UNIX_EPOCH).ok()?;
        date.checked_sub(Millis::now().since(Millis(0)))
    }
}

/// Returns the error that a query's problems mean: first by their types (`OpenAPI`, `QueryProblem`), then by the text.
/// None if neither is known.
pub fn verdict(what: &str, problems: &Value, told: &str) -> Option<ApiError> {
    let is_told = |name: &&str| problems.as_array().into_iter().flatten().any(|problem| problem["type"] == **name);
    let (what, said) = (what.to_owned(), beginning(told.as_bytes()));
    if ["QUERY_TIMEOUT", "RESPONSE_CONTENT_TOO_LARGE"].iter().any(is_told) || says_too_large(told) {
        return Some(ApiError::TooLarge { what, said });
    }
    if told.contains("INVALID_PAGE_TOKEN") {
        return Some(ApiError::InvalidPageToken { what, said });
    }
    let too_much = ["MAX_FILTERS_EXCEEDED", "MAX_GROUPS_EXCEEDED"].into_iter().find(is_told)?;
    Some(ApiError::QueryRefused { what, problem: too_much, said })
}

/// Recognises "Request timed out.  Refine your filter criteria and try again." (support articles), with any spaces.
fn says_too_large(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("timed out") && said.contains("refine")
}

/// Reads an answer to its end. Of one with an error status only the beginning is read.
pub async fn whole_answer(mut response: OpenAnswer) -> Result<HttpAnswer, ApiError> {
    let (status, headers) = (response.status, std::mem::take(&mut response.headers));
    let most = if status.is_success() { MOST_OF_ANSWER } else { MOST_OF_ERROR };

    let (body, is_cut) = beginning_of(&mut response, most).await.map_err(broke_off)?;
    let (body, is_cut) = match unpacked(body, most, &headers) {
        Ok((body, is_longer)) => (body, is_cut || is_longer),
        Err(body) if !status.is_success() => (body, is_cut),
        Err(_) => {
            let why = "the answer is marked as gzip, but can't be unpacked".to_owned();
            return Err(ApiError::Unexpected { what: String::new(), why });
        }
    };
    if is_cut && status.is_success() {
        let why = format!("the answer is larger than {} MB", MOST_OF_ANSWER >> 20);
        return Err(ApiError::Unexpected { what: String::new(), why });
    }
    Ok(HttpAnswer { status, headers, body: without_mark(body.into()) })
}

/// Returns at most `most` bytes of a body, and whether it has more.
async fn beginning_of(response: &mut OpenAnswer, most: usize) -> Result<(Vec<u8>, bool), BrokenOff> {
    let mut body = Vec::new();
    while let Some(piece) = response.piece().await? {
        let fits = piece.len().min(most - body.len());
        body.extend_from_slice(&piece[..fits]);
        if fits < piece.len() {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// Returns at most `most` bytes of an unpacked body, and whether it has more. If it can't be unpacked, the error is as
/// much of it as can.
fn unpacked(body: Vec<u8>, most: usize, headers: &HeaderMap) -> Result<(Vec<u8>, bool), Vec<u8>> {
    if !is_gzipped(headers) || body.is_empty() {
        return Ok((body, false));
    }
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(&body[..]).take(most as u64 + 1).read_to_end(&mut unpacked);
    let is_longer = unpacked.len() > most;
    unpacked.truncate(most);
    match read {
        Ok(_) => Ok((unpacked, is_longer)),
        Err(_) => Err(unpacked),
    }
}

/// Removes a byte order mark.
fn without_mark(body: Bytes) -> Bytes {
    if body.starts_with(ndjson::BYTE_ORDER_MARK) { body.slice(ndjson::BYTE_ORDER_MARK.len()..) } else { body }
}

/// Every request asks for gzip. The body is unpacked here, because the HTTP client would stop after the first gzip
/// member.
pub fn is_gzipped(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|held| held.to_str().ok()).unwrap_or_default().trim();
    encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip")
}

/// `ca_bundle` must be PEM that was checked.
pub fn client(settings: &Settings, ca_bundle: Option<&[u8]>) -> Result<reqwest::Client, SettingsError> {
    // Fails if this process has built a client before. That does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let proxies = settings.proxies.clone();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("incydr-collector/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // The environment's proxies are ignored here: reqwest's rules differ from those of the AWS clients.
        .no_proxy()
        .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
        // A redirect would send the request to a host that is in no setting.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca_bundle {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).unwrap_or_default());
    }
    let bad = |error: reqwest::Error| match &settings.ca_bundle {
        None => SettingsError::Missing {
            name: "INCYDR_CA_BUNDLE",
            takes: "the path of a PEM file, because this machine has no certificate authorities (neither its own nor those that SSL_CERT_FILE and SSL_CERT_DIR name)",
        },
        Some(path) => SettingsError::Bad {
            name: "INCYDR_CA_BUNDLE",
            held: path.display().to_string(),
            why: format!("no HTTP client can be built with it ({})", chain(&error)),
        },
    };
    builder.build().map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures::stream::{self, StreamExt};

    use super::*;
    use crate::core::shared::Count;

    const PIECE: usize = 1 << 20;

    /// An answer that never ends, and the number of its pieces that were taken.
    fn endless(status: u16) -> (OpenAnswer, Arc<Count>) {
        let taken = Arc::new(Count::default());
        let counted = Arc::clone(&taken);
        let pieces = stream::repeat_with(move || {
            counted.add(1);
            Ok(Bytes::from(vec![b' '; PIECE]))
        });
        let status = StatusCode::from_u16(status).expect("a status");
        (OpenAnswer::simulated(status, HeaderMap::new(), pieces.boxed()), taken)
    }

    /// A small answer that is very long once it is unpacked.
    fn swollen(status: u16) -> OpenAnswer {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..33 {
            packed.write_all(&vec![b' '; PIECE]).expect("memory");
        }
        let body = Bytes::from(packed.finish().expect("memory"));
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let status = StatusCode::from_u16(status).expect("a status");
        OpenAnswer::simulated(status, headers, stream::iter([Ok(body)]).boxed())
    }

    #[tokio::test]
    async fn of_an_answer_without_an_end_no_more_is_read_than_its_limit() {
        let (answer, taken) = endless(200);
        let error = whole_answer(answer).await.err().expect("an answer that is too long").to_string();
        assert!(error.contains("larger than 32 MB"), "{error}");
        assert!(taken.get() <= 33, "{} MB were read", taken.get());

        let (answer, taken) = endless(500);
        let answer = whole_answer(answer).await.expect("the beginning of an error");
        assert_eq!((answer.body.len(), taken.get()), (MOST_OF_ERROR, 1));
    }

    #[tokio::test]
    async fn an_answer_that_swells_beyond_its_limit_is_not_unpacked_further() {
        let error = whole_answer(swollen(200)).await.err().expect("an answer that is too long").to_string();
        assert!(error.contains("larger than 32 MB"), "{error}");
        assert_eq!(whole_answer(swollen(403)).await.expect("the beginning of an error").body.len(), MOST_OF_ERROR);
    }
}
