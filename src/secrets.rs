//! The API client's credentials, read from Secrets Manager.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::core::aws_error;
use crate::core::digest::sha256;
use crate::core::error_type::ErrorType;
use crate::core::ndjson;
use crate::core::retry;

#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: SecretString,
}

/// A version of the secret, as Secrets Manager returned it.
pub struct Secret {
    /// Secrets Manager's `VersionId`. It changes with the value. Without an id, the first 8 digits of the value's
    /// SHA-256.
    pub version: Option<String>,
    pub held: Result<Credentials, SecretError>,
}

/// `Unreadable` may pass by itself. `Malformed` lasts until somebody changes the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret {id} can't be read from Secrets Manager: {why}")]
    Unreadable { id: String, why: String },
    #[error(
        "the secret {id} can't be read from Secrets Manager: {why}: the AWS credentials of this container have expired; the container is replaced, and the next run has new credentials"
    )]
    ExpiredCredentials { id: String, why: String },
    #[error("the secret {id} {why}; it takes a JSON object with \"client_id\" and \"client_secret\"")]
    Malformed { id: String, why: String },
}

impl SecretError {
    pub fn unanswered(id: &str, waited: Duration) -> Self {
        let why = format!("no answer within {} s, then the run's time was up", waited.as_secs());
        Self::Unreadable { id: id.to_owned(), why }
    }

    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Unreadable { .. } | Self::ExpiredCredentials { .. } => ErrorType::FirstPartyGenericError,
            Self::Malformed { .. } => ErrorType::ThirdPartyConfigError,
        }
    }
}

/// The field names that the vendor's guides and other collectors use for the two values.
const ID_NAMES: [&str; 4] = ["client_id", "clientId", "clientID", "INCYDR_CLIENT_ID"];
const SECRET_NAMES: [&str; 4] = ["client_secret", "clientSecret", "secretKey", "INCYDR_CLIENT_SECRET"];

/// Reads the secret `id`, a name or an ARN. Fails if Secrets Manager does. A malformed value is the error in
/// `Secret::held`.
pub async fn load(client: &Client, id: &str) -> Result<Secret, SecretError> {
    let answer = client.get_secret_value().secret_id(id).send().await.map_err(|error| {
        let (id, why) = (id.to_owned(), aws_error::describe(&error));
        if retry::are_credentials_expired(error.code()) {
            SecretError::ExpiredCredentials { id, why }
        } else {
            SecretError::Unreadable { id, why }
        }
    })?;
    let malformed = |why: String| SecretError::Malformed { id: id.to_owned(), why };
    let binary = answer.secret_binary().map(AsRef::as_ref);
    let bytes = answer.secret_string().map(str::as_bytes).or(binary).unwrap_or_default();
    let held = match std::str::from_utf8(bytes) {
        Ok("") => Err("is empty".into()),
        Ok(text) => parse(text),
        Err(_) => Err("is binary".into()),
    };
    // AWS always sends an id. A stand-in may not, and then 32 bits of a hash tell one value from the next.
    let version = answer.version_id.clone().or_else(|| sha256(bytes).get(..8).map(str::to_owned));
    Ok(Secret { held: held.map_err(malformed), version })
}

/// The error describes the secret's shape and never repeats its content.
fn parse(text: &str) -> Result<Credentials, String> {
    let Some(Value::Object(object)) = ndjson::lenient(text.as_bytes()) else {
        return Err("is not a JSON object".to_owned());
    };
    let find = |names: [&str; 4]| match names.iter().find_map(|name| object.get(*name)) {
        None => Err(format!("has no {:?}", names[0])),
        Some(Value::String(value)) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
        Some(_) => Err(format!("has a {:?} that is empty or not a string", names[0])),
    };
    Ok(Credentials { client_id: find(ID_NAMES)?, client_secret: find(SECRET_NAMES)?.into() })
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.client_secret.expose_secret() == other.client_secret.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_other_tools_use_are_read_too() {
        for text in [
            r#"{"client_id":"key-1","client_secret":"s"}"#,
            r#"{"clientId":"key-1","clientSecret":"s"}"#,
            r#"{"clientID":"key-1","secretKey":"s"}"#,
            r#"{"INCYDR_CLIENT_ID":"key-1","INCYDR_CLIENT_SECRET":"s"}"#,
        ] {
            let credentials = parse(text).expect(text);
            assert_eq!((credentials.client_id.as_str(), credentials.client_secret.expose_secret()), ("key-1", "s"));
        }
    }

    #[test]
    fn a_malformed_secret_is_described_and_not_repeated() {
        for (text, why) in [
            ("hunter2", "is not a JSON object"),
            (r#""hunter2""#, "is not a JSON object"),
            (r#"{"client_secret":"hunter2"}"#, "has no \"client_id\""),
            (r#"{"client_id":"key-1","secret":"hunter2"}"#, "has no \"client_secret\""),
            (r#"{"client_id":"","client_secret":"hunter2"}"#, "has a \"client_id\" that is empty"),
            (
                r#"{"client_id":["hunter2"],"client_secret":"hunter2"}"#,
                "has a \"client_id\" that is empty or not a string",
            ),
        ] {
            let error = parse(text).err().expect(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
