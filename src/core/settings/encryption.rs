//! The server-side encryption that S3 is asked for: `S3_SSE` and its keys.

use crate::core::settings::checks::{bad, check};
use crate::core::settings::error::SettingsError;

/// The encryption that each write asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Encryption {
    /// The bucket's default. No header is sent.
    #[default]
    BucketDefault,
    Aes256,
    /// KMS with this key, or with the AWS managed key if none is set.
    Kms(Option<String>),
}

/// Returns the encryption of the records, and that of the state.
pub(super) fn encryption(
    held: Option<&str>,
    key: Option<String>,
    state_key: Option<String>,
) -> Result<(Encryption, Encryption), SettingsError> {
    let both = match held {
        None => (Encryption::BucketDefault, Encryption::BucketDefault),
        Some("AES256") => (Encryption::Aes256, Encryption::Aes256),
        Some("aws:kms") => (Encryption::Kms(key.clone()), Encryption::Kms(state_key.clone().or_else(|| key.clone()))),
        Some(other) => return Err(bad("S3_SSE", other, "it takes \"AES256\" or \"aws:kms\", or nothing")),
    };
    for (name, key) in [("S3_SSE_KMS_KEY_ID", key), ("STATE_SSE_KMS_KEY_ID", state_key)] {
        let Some(key) = key else { continue };
        check(name, &key, held == Some("aws:kms"), || "a key is only taken where S3_SSE is \"aws:kms\"".into())?;
        let is_key = !key.chars().any(|c| c.is_whitespace() || c.is_control());
        check(name, &key, is_key, || "it takes a KMS key's id or ARN, or an alias".into())?;
    }
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_has_a_key_of_its_own_where_one_is_named() {
        let read = |held: &str, key: &str, state: &str| {
            let set = |held: &str| Some(held.to_owned()).filter(|held| !held.is_empty());
            encryption(set(held).as_deref(), set(key), set(state))
        };
        let kms = |key: &str| Encryption::Kms(Some(key.to_owned()));
        assert_eq!(read("", "", ""), Ok(<(Encryption, Encryption)>::default()));
        assert_eq!(read("AES256", "", ""), Ok((Encryption::Aes256, Encryption::Aes256)));
        assert_eq!(read("aws:kms", "", ""), Ok((Encryption::Kms(None), Encryption::Kms(None))));
        assert_eq!(read("aws:kms", "a", ""), Ok((kms("a"), kms("a"))));
        assert_eq!(read("aws:kms", "a", "b"), Ok((kms("a"), kms("b"))));
        for (held, key, state, says) in [
            ("aes256", "", "", "S3_SSE is \"aes256\", but it takes \"AES256\""),
            ("", "a", "", "S3_SSE_KMS_KEY_ID is \"a\", but a key is only taken"),
            ("AES256", "", "b", "STATE_SSE_KMS_KEY_ID is \"b\", but a key is only taken"),
            ("aws:kms", "a b", "", "S3_SSE_KMS_KEY_ID is \"a b\", but it takes a KMS key's id"),
        ] {
            let error = read(held, key, state).expect_err("refused").to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
