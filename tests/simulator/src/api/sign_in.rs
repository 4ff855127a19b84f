//! `POST /v1/oauth`: tokens for a client's id and secret (SDK, `core/auth.py`; developer portal).

use std::{collections::HashMap, sync::Mutex, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::SecondsFormat;
use serde_json::json;
use tokio::time::Instant;

use super::Behaviour;
use crate::{
    clock,
    http::{Reply, Request},
    locked,
    world::WorldHandle,
};

#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Each valid token, and its end.
    valid: Mutex<HashMap<String, Instant>>,
    issued: Mutex<usize>,
}

impl Tokens {
    pub(super) fn revoke(&self) {
        locked(&self.valid).clear();
    }

    pub(super) fn issued(&self) -> usize {
        *locked(&self.issued)
    }

    pub(super) fn accept(&self, request: &Request) -> bool {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| locked(&self.valid).get(token).is_some_and(|until| Instant::now() < *until))
    }

    /// Issues a unique token in the form of a JWT whose payload has the claim `tenantUid`.
    fn issue(&self, tenant: &str, lifetime: Duration) -> String {
        let number = {
            let mut issued = locked(&self.issued);
            *issued += 1;
            *issued
        };
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": "HS256", "typ": "JWT"}));
        let payload = part(json!({"tenantUid": tenant, "jti": number, "exp": clock::now().timestamp() + 900}));
        let token = format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(fastrand::u128(..).to_be_bytes()));
        locked(&self.valid).insert(token.clone(), Instant::now() + lifetime);
        token
    }
}

pub(super) fn answer(tokens: &Tokens, world: &WorldHandle, behaviour: &Behaviour, request: &Request) -> Reply {
    let form: HashMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
    let grant = request.parameter("grant_type").or_else(|| form.get("grant_type").cloned());
    if grant.is_some_and(|grant| grant != "client_credentials") {
        return Reply::json(400, r#"{"error":"unsupported_grant_type"}"#);
    }
    let expected = (behaviour.client_id.clone(), behaviour.client_secret.clone());
    if basic(request).or_else(|| in_form(&form)) != Some(expected) {
        return Reply::json(401, r#"{"error":"invalid_client"}"#);
    }
    if behaviour.sign_ins_are_audited {
        world.push_audit(logged_in(behaviour, request));
    }
    let token = tokens.issue(&behaviour.tenant, behaviour.token_lifetime);
    let expires_in = behaviour.token_lifetime.as_secs();
    let body = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
    Reply::json(200, body.to_string())
}

fn basic(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// The form of RFC 6749, which the developer portal documents too.
fn in_form(form: &HashMap<String, String>) -> Option<(String, String)> {
    Some((form.get("client_id")?.clone(), form.get("client_secret")?.clone()))
}

fn logged_in(behaviour: &Behaviour, request: &Request) -> String {
    json!({
        "type$": "audit_log::logged_in/1",
        "actorId": behaviour.client_id,
        "actorName": behaviour.client_id,
        "actorAgent": request.header("user-agent"),
        "actorIpAddress": "127.0.0.1",
        "timestamp": clock::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        "actorType": "API_CLIENT",
    })
    .to_string()
}
