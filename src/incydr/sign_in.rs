//! Signs in: reads the secret, exchanges it for a token, and decides when to do either again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tracing::info;

use crate::core::dialect::Dialect;
use crate::core::retry::{self, sleep_within};
use crate::core::settings::Settings;
use crate::core::shared::{Count, Flag};
use crate::core::time::Millis;
use crate::incydr::connection::Connection;
use crate::incydr::error::{ApiError, prefer_api_error};
use crate::incydr::facts::guide;
use crate::incydr::http::whole_answer;
use crate::incydr::request::Caller;
use crate::incydr::token::{self, Token};
use crate::secrets::{self, Credentials, Secret, SecretError};

/// After this many useless renewals in a row, a run renews no token that is refused.
const MOST_USELESS_RENEWALS: u64 = 3;

/// The state of the sign-in between requests and between runs of the process.
#[derive(Default)]
struct SignedIn {
    /// The credentials that a token was granted for. If the API refuses them later, the secret may have been rotated.
    proven: Option<Credentials>,
    /// The secret's value, if this run has read it and not used it yet.
    untried: Option<Result<Credentials, SecretError>>,
    /// The version of the secret that was last read.
    version: Option<String>,
    /// None before the first sign-in and after a failed renewal.
    token: Option<Token>,
    /// The generation of the last token that was requested, granted or not.
    last_generation: u64,
    /// The tenant of the run's first token. The run uses no token of another one.
    tenant: Option<String>,
}

impl SignedIn {
    /// Refuses a token of another tenant than the run's first. Somebody may have put that tenant's credentials into the
    /// secret meanwhile.
    fn check_tenant(&mut self, token: Token) -> Result<Token, ApiError> {
        match (&self.tenant, &token.tenant) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                Err(ApiError::OtherTenant { ours: ours.clone(), theirs: theirs.clone() })
            }
            (Some(_), _) => Ok(token),
            (None, tenant) => {
                self.tenant.clone_from(tenant);
                Ok(token)
            }
        }
    }
}

/// The answer of a read of the secret, without its value.
pub struct SecretVersion {
    pub version: Option<String>,
    /// Whether it contains an id and a secret, valid or not.
    pub is_well_formed: bool,
}

/// Provides the token of every request. Shared by all streams, so that one of them signs in for all.
pub struct SignIn {
    secrets: aws_sdk_secretsmanager::Client,
    secret_id: String,
    /// The path of the dialect's token request.
    path: &'static str,
    signed_in: Mutex<SignedIn>,
    /// The number of requests in a row that were refused with a token that had just been renewed for them.
    useless_renewals: Count,
    /// Whether the process's AWS credentials have expired.
    has_expired: Flag,
}

impl SignIn {
    pub fn new(settings: &Settings, secrets: aws_sdk_secretsmanager::Client) -> Self {
        let path = match settings.dialect {
            Dialect::Sdk => token::PATH,
            Dialect::Guide => guide::SIGN_IN,
        };
        Self {
            secrets,
            secret_id: settings.secret_id.clone(),
            path,
            signed_in: Mutex::default(),
            useless_renewals: Count::default(),
            has_expired: Flag::default(),
        }
    }

    /// Returns the run's first token, whose tenant the caller compares with the checkpoint's.
    pub async fn first_token(&self, connection: &Connection, caller: &Caller<'_>) -> Result<Token, ApiError> {
        self.signed_in.lock().await.tenant = None;
        self.token(connection, caller, None).await
    }

    /// Reads the secret and signs in with it, even if there is a fresh token. If that fails, the token of before stays.
    pub async fn sign_in_anew(&self, connection: &Connection, caller: &Caller<'_>) -> Result<Token, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        let credentials = self.read_secret(&mut signed_in, caller).await?.held?;
        signed_in.last_generation += 1;
        let token = self.grant(connection, &credentials, signed_in.last_generation, caller).await?;

        signed_in.proven = Some(credentials);
        signed_in.token = Some(token.clone());
        signed_in.tenant.clone_from(&token.tenant);
        Ok(token)
    }

    /// Forgets the secret's value if the last run read it and didn't use it: it may have changed. Resets the count of
    /// useless renewals.
    pub async fn begin_run(&self) {
        self.useless_renewals.set(0);
        self.signed_in.lock().await.untried = None;
    }

    /// Whether a request that is refused with its token may renew it. An API that refuses every token would otherwise
    /// see a sign-in for each request.
    pub fn may_renew(&self) -> bool {
        self.useless_renewals.get() < MOST_USELESS_RENEWALS
    }

    pub fn note_useless_renewal(&self) {
        self.useless_renewals.add(1);
    }

    pub fn note_token_works(&self) {
        self.useless_renewals.set(0);
    }

    /// Reads the secret and returns its version. The value is kept for this run's sign-in.
    pub async fn read_secret_version(&self, caller: &Caller<'_>) -> Result<SecretVersion, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        let held = self.read_secret(&mut signed_in, caller).await?.held;
        let is_well_formed = held.is_ok();
        signed_in.untried = Some(held);
        signed_in.proven = None;
        Ok(SecretVersion { version: signed_in.version.clone(), is_well_formed })
    }

    /// Whether the process must end, because its AWS credentials have expired.
    pub fn has_expired(&self) -> bool {
        self.has_expired.is_set()
    }

    /// The version of the secret that was last read.
    pub async fn secret_version(&self) -> Option<String> {
        self.signed_in.lock().await.version.clone()
    }

    /// Returns the present token, or none while somebody signs in. Never waits: a request that nobody polls may hold
    /// the lock.
    pub fn present_token(&self) -> Option<Token> {
        self.signed_in.try_lock().ok()?.token.clone()
    }

    /// Returns the present token, or a new one if there is none, it expires soon, or it has the generation `refused`.
    /// The lock is held during the sign-in: one caller signs in, and the others get its token.
    pub async fn token(
        &self,
        connection: &Connection,
        caller: &Caller<'_>,
        refused: Option<u64>,
    ) -> Result<Token, ApiError> {
        let mut signed_in = self.signed_in.lock().await;
        if let Some(token) = &signed_in.token
            && token.is_fresh(Millis::now())
            && refused != Some(token.generation)
        {
            let token = token.clone();
            return signed_in.check_tenant(token);
        }

        signed_in.token = None;
        signed_in.last_generation += 1;
        let generation = signed_in.last_generation;
        let proven = signed_in.proven.clone();
        let (credentials, is_proven) = match proven {
            Some(credentials) => (credentials, true),
            None => (self.credentials(&mut signed_in, caller).await?, false),
        };
        let (credentials, token) = match self.grant(connection, &credentials, generation, caller).await {
            Err(error @ ApiError::BadCredentials { .. }) if is_proven => {
                info!("the API refuses the credentials; reading the secret again");
                signed_in.proven = None;
                let read_again = self.credentials(&mut signed_in, caller).await?;
                if read_again == credentials {
                    return Err(error.after_a_grant());
                }
                let token = self.grant(connection, &read_again, generation, caller).await?;
                (read_again, token)
            }
            granted => (credentials, granted?),
        };

        signed_in.proven = Some(credentials);
        signed_in.token = Some(token.clone());
        signed_in.check_tenant(token)
    }

    /// Returns the value that this run has read and not used, or reads the secret.
    async fn credentials(&self, signed_in: &mut SignedIn, caller: &Caller<'_>) -> Result<Credentials, ApiError> {
        let held = match signed_in.untried.take() {
            Some(held) => held,
            None => self.read_secret(signed_in, caller).await?.held,
        };
        Ok(held?)
    }

    async fn read_secret(&self, signed_in: &mut SignedIn, caller: &Caller<'_>) -> Result<Secret, ApiError> {
        let left = caller.until.since(Millis::now());
        if left.is_zero() {
            return Err(ApiError::OutOfTime);
        }
        // Without the secret nothing works, so a missing answer is an error of its own.
        let secret = tokio::time::timeout(left, secrets::load(&self.secrets, &self.secret_id)).await;
        let secret = secret.unwrap_or_else(|_| Err(SecretError::unanswered(&self.secret_id, left)));
        let has_expired = matches!(secret, Err(SecretError::ExpiredCredentials { .. }));
        if has_expired {
            self.has_expired.set(true);
        }
        let secret = secret?;
        signed_in.version.clone_from(&secret.version);
        Ok(secret)
    }

    /// Requests a token until it is granted or refused, the retries are used up, or the time is up.
    async fn grant(
        &self,
        connection: &Connection,
        credentials: &Credentials,
        generation: u64,
        caller: &Caller<'_>,
    ) -> Result<Token, ApiError> {
        let basic = STANDARD.encode(format!("{}:{}", credentials.client_id, credentials.client_secret.expose_secret()));
        // The limit is for the request that needs the token.
        let caller = &Caller { longest_silence: None, ..*caller };
        let mut attempts = retry::API.begin();
        let mut last = None;
        loop {
            let sent_at = Millis::now();
            let request =
                token::request(&connection.http, &format!("{}{}", connection.base_url, self.path), credentials);
            let whole = async |response| match whole_answer(response).await? {
                answer if answer.status == StatusCode::TOO_MANY_REQUESTS => Err(answer.refused("sign-in")),
                answer => Ok(answer),
            };
            let asked = connection.attempt(request, caller, whole).await;
            let (error, retry_after) = match asked {
                Ok(answer) => match token::read(&answer, credentials, sent_at, generation) {
                    Ok(token) => return Ok(token),
                    Err(error) => (error, None),
                },
                Err(refused) => (prefer_api_error(refused.error.about("sign-in"), last.take()), refused.retry_after),
            };
            let error = error.told_without(&[credentials.client_secret.expose_secret(), &basic]);

            let may_pass = matches!(error, ApiError::Status { status: 400 | 401, .. });
            let pause = match &error {
                ApiError::RateLimited { .. } => Some(attempts.throttled_pause(retry_after)),
                error if error.may_be_retried() || may_pass => attempts.pause(retry_after),
                _ => None,
            };
            let Some(pause) = pause else { return Err(error.of_sign_in()) };
            if !sleep_within(pause, caller.until).await {
                // Nothing can be requested without a token, so even a 429 is returned as the error.
                return Err(error.of_sign_in());
            }
            caller.calls.retries.add(1);
            last = Some(error);
        }
    }
}
