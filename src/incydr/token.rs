//! Signs in with the client-credentials grant, and holds the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::core::ndjson;
use crate::core::time::{Millis, millis};
use crate::incydr::error::ApiError;
use crate::incydr::http::HttpAnswer;
use crate::secrets::Credentials;

/// SDK, `core/auth.py`.
pub const PATH: &str = "/v1/oauth";
/// A token is renewed after four fifths of its life, so that it can't expire in a request. The SDK has no such margin.
const RENEW_AT: f64 = 0.8;
/// A token's life in seconds if the answer doesn't say (developer portal).
const USUAL_LIFE: f64 = 900.0;

#[derive(Clone)]
pub struct Token {
    pub bearer: SecretString,
    /// The secret that it was granted for, which error messages must not contain.
    client_secret: SecretString,
    pub tenant: Option<String>,
    renew_at: Millis,
    /// Distinguishes the token from the one before. Of several callers that were refused, only one renews it.
    pub generation: u64,
}

impl Token {
    /// The texts that must not appear in an error message.
    pub fn secrets(&self) -> [&str; 2] {
        [self.bearer.expose_secret(), self.client_secret.expose_secret()]
    }

    pub fn is_fresh(&self, now: Millis) -> bool {
        now < self.renew_at
    }
}

/// Basic authentication with the grant in a form body. The SDK's endpoint and every OAuth 2 server accept it (developer
/// portal).
pub fn request(http: &reqwest::Client, url: &str, credentials: &Credentials) -> RequestBuilder {
    http.post(url)
        .basic_auth(&credentials.client_id, Some(credentials.client_secret.expose_secret()))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body("grant_type=client_credentials")
}

/// The caller must remove secrets from the error's text. The body of a 2xx without a token is never quoted, because it
/// may contain a token under another key.
pub fn read(
    answer: &HttpAnswer,
    credentials: &Credentials,
    sent_at: Millis,
    generation: u64,
) -> Result<Token, ApiError> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: SecretString,
        #[serde(default)]
        expires_in: Value,
    }

    let (status, said) = (answer.status.as_u16(), answer.said());
    if are_refused(answer) {
        return Err(ApiError::BadCredentials { status, said, worked_before: false });
    }
    if !answer.status.is_success() {
        return Err(ApiError::Status { what: "sign-in".into(), status, said });
    }
    let granted = ndjson::lenient(&answer.body).and_then(|answer| Granted::deserialize(answer).ok());
    let granted = granted.ok_or_else(|| ApiError::Unexpected {
        what: "sign-in".into(),
        why: "the answer holds no access token".into(),
    })?;
    let life = match &granted.expires_in {
        Value::String(text) => text.trim().parse().ok(),
        told => told.as_f64(),
    };
    let life = life.filter(|life| *life > 0.0).unwrap_or(USUAL_LIFE);
    #[allow(clippy::cast_possible_truncation)]
    let renew_after = (life * RENEW_AT * 1000.0) as i64;
    Ok(Token {
        tenant: tenant(granted.access_token.expose_secret()),
        bearer: granted.access_token,
        client_secret: credentials.client_secret.clone(),
        renew_at: sent_at + millis(renew_after),
        generation,
    })
}

/// Only these two errors of OAuth 2 (RFC 6749, 5.2), with these statuses, mean wrong credentials.
fn are_refused(answer: &HttpAnswer) -> bool {
    #[derive(Deserialize)]
    struct OauthError {
        error: String,
    }

    let is_status = matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
    let told = ndjson::lenient(&answer.body).and_then(|told| OauthError::deserialize(told).ok());
    is_status && told.is_some_and(|told| ["invalid_client", "unauthorized_client"].contains(&told.error.as_str()))
}

/// The claim `tenantUid` of a JWT (SDK, `client.py`). Other tokens have none.
fn tenant(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Claims {
        tenant_uid: String,
    }

    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    Some(serde_json::from_slice::<Claims>(&json).ok()?.tenant_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_is_read_from_the_token_and_an_opaque_token_has_none() {
        let jwt = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"tenantUid":"abcd-1234"}"#));
        assert_eq!(tenant(&jwt).as_deref(), Some("abcd-1234"));
        for opaque in ["tok", "a.b.c", ""] {
            assert_eq!(tenant(opaque), None);
        }
    }
}
