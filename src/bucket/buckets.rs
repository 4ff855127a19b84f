//! The two buckets that the settings name: that of the records, and that of the state.

use aws_sdk_s3::Client;

use crate::bucket::s3::Bucket;
use crate::core::settings::Settings;

impl Bucket {
    pub fn of_records(settings: &Settings, client: &Client) -> Self {
        Self::named(&settings.bucket, settings, client)
    }

    pub fn of_state(settings: &Settings, client: &Client) -> Self {
        Self::named(&settings.state_bucket, settings, client)
    }

    fn named(name: &str, settings: &Settings, client: &Client) -> Self {
        Self { client: client.clone(), name: name.to_owned(), owner: settings.bucket_owner.clone() }
    }
}
