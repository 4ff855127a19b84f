//! The two buckets that the settings name: one for the records, one for the state.

use crate::bucket::s3::{Bucket, S3};
use crate::core::settings::{Encryption, Settings};

impl Bucket {
    pub fn of_records(settings: &Settings, s3: &S3) -> Self {
        Self::named(&settings.bucket, &settings.encryption, settings, s3)
    }

    pub fn of_state(settings: &Settings, s3: &S3) -> Self {
        Self::named(&settings.state_bucket, &settings.state_encryption, settings, s3)
    }

    fn named(name: &str, encryption: &Encryption, settings: &Settings, s3: &S3) -> Self {
        let (name, owner) = (name.to_owned(), settings.bucket_owner.clone());
        Self { s3: s3.clone(), name, owner, encryption: encryption.clone() }
    }
}
