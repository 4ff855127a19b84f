//! Describes an error of an AWS service without the credentials that it may repeat.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::core::error_type::chain;
use crate::core::quote::{beginning, without_aws_credentials, without_secrets};

/// The service's code and message. If it sent none, the answer's status and beginning: it may be a proxy's page.
pub fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {}", without_aws_credentials(message)),
        (Some(code), None) => code.to_owned(),
        _ => match error.raw_response() {
            Some(response) => {
                let said = beginning(response.body().bytes().unwrap_or_default());
                format!("HTTP status {}: {}", response.status(), without_secrets(&said, &[]))
            }
            None => chain(error),
        },
    }
}
