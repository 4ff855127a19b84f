//! Signing in: the secret, the token that it is exchanged for, and when either is asked for again.

use std::sync::atomic::Ordering;

use reqwest::StatusCode;
use tracing::info;

use super::error::{broke_off, real_error};
use super::http::whole_answer;
use super::token::{self, Token};
use super::{Api, ApiError, Caller};
use crate::retry::{self, sleep_within};
use crate::secrets::{self, Credentials, SecretError};
use crate::time::Millis;

#[derive(Default)]
pub(super) struct SignedIn {
    /// For these a token was granted: where they are refused later, the secret may have been rotated.
    proven: Option<Credentials>,
    /// What the secret held when this run read it, until it is tried.
    untried: Option<Result<Credentials, SecretError>>,
    /// Which version of the secret was read last.
    version: Option<String>,
    token: Option<Token>,
    /// How many tokens were granted so far.
    granted: u64,
}

impl SignedIn {
    /// Untried, it may be another by the next run.
    pub(super) fn forget_secret(&mut self) {
        self.untried = None;
    }
}

impl Api {
    /// Signs in unless a fresh token is at hand; answers the tenant that it belongs to, as far as the token says.
    pub async fn sign_in(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        Ok(self.token(caller, None).await?.tenant)
    }

    /// Which version of the secret there is now. What it holds is kept for this run's sign-in.
    pub async fn read_secret_version(&self, caller: &Caller<'_>) -> Result<Option<String>, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        signed_in.untried = Some(self.read_secret(&mut signed_in, caller).await?);
        signed_in.proven = None;
        Ok(signed_in.version.clone())
    }

    /// Which version of the secret was read last.
    pub async fn secret_version(&self) -> Option<String> {
        self.signed_in.lock().await.version.clone()
    }

    /// The token at hand, or a new one when there is none, it is about to expire, or it is the one of `refused`.
    /// The lock is held over the sign-in, so that only one caller renews and the others get what it got.
    pub(super) async fn token(&self, caller: &Caller<'_>, refused: Option<u64>) -> Result<Token, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        if let Some(token) = &signed_in.token
            && token.is_fresh(Millis::now())
            && refused != Some(token.generation)
        {
            return Ok(token.clone());
        }
        signed_in.token = None;
        signed_in.granted += 1;
        let generation = signed_in.granted;
        let proven = signed_in.proven.clone();
        let (credentials, is_proven) = match proven {
            Some(credentials) => (credentials, true),
            None => (self.credentials(&mut signed_in, caller).await?, false),
        };
        let (credentials, token) = match self.grant(&credentials, generation, caller).await {
            Err(error @ ApiError::BadCredentials { .. }) if is_proven => {
                info!("the API refuses the credentials at hand: reading the secret again");
                signed_in.proven = None;
                let read_again = self.credentials(&mut signed_in, caller).await?;
                if read_again == credentials {
                    return Err(error);
                }
                let token = self.grant(&read_again, generation, caller).await?;
                (read_again, token)
            }
            granted => (credentials, granted?),
        };
        signed_in.proven = Some(credentials);
        signed_in.token = Some(token.clone());
        Ok(token)
    }

    /// What this run has read and not tried yet, or what the secret holds now.
    async fn credentials(&self, signed_in: &mut SignedIn, caller: &Caller<'_>) -> Result<Credentials, ApiError> {
        let held = match signed_in.untried.take() {
            Some(held) => held,
            None => self.read_secret(signed_in, caller).await?,
        };
        Ok(held?)
    }

    async fn read_secret(
        &self,
        signed_in: &mut SignedIn,
        caller: &Caller<'_>,
    ) -> Result<Result<Credentials, SecretError>, ApiError> {
        let left = caller.until.since(Millis::now());
        match tokio::time::timeout(left, secrets::load(&self.secrets, &self.secret_id)).await {
            Ok(secret) => {
                let secret = secret?;
                signed_in.version = secret.version;
                Ok(secret.held)
            }
            Err(_) => Err(ApiError::OutOfTime),
        }
    }

    async fn grant(&self, credentials: &Credentials, generation: u64, caller: &Caller<'_>) -> Result<Token, ApiError> {
        let mut attempts = retry::API.begin();
        loop {
            let sent_at = Millis::now();
            let request = token::request(&self.http, &format!("{}{}", self.base_url, self.sign_in_path), credentials);
            let whole = async |response| Ok(whole_answer(response).await.map_err(broke_off)?);
            let asked = self.attempt(request, caller, whole).await;
            let (error, retry_after) = match asked {
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    (ApiError::RateLimited { what: "sign-in".into() }, answer.retry_after())
                }
                Ok(answer) => match token::read(&answer, credentials, sent_at, generation) {
                    Ok(token) => return Ok(token),
                    Err(error) => (error, None),
                },
                Err(refused) => (refused.error.about("sign-in"), None),
            };
            let pause = if error.may_be_retried() { attempts.pause(retry_after) } else { None };
            let Some(pause) = pause else { return Err(error) };
            if !sleep_within(pause, caller.until).await {
                return Err(real_error(ApiError::OutOfTime, Some(error)));
            }
            caller.calls.retries.fetch_add(1, Ordering::Relaxed);
        }
    }
}
