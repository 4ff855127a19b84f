//! Cold start of the responder: logging, settings, and the loop that hands events to its handler.

use incydr_collector::core::time::Millis;
use incydr_collector::edge::{logging, replacement};
use incydr_collector::respond::handler::Responder;
use incydr_collector::respond::settings::RespondSettings;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

/// One heap for all threads, as in the collector: glibc keeps one per thread, which takes up to twice as much memory.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let var = |name: &str| std::env::var_os(name).map(|held| held.to_string_lossy().into_owned());
    logging::init(var("AWS_LAMBDA_LOG_LEVEL").as_deref());
    let handler = Responder::new(RespondSettings::from_vars(var));
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let deadline = Millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        let answered = handler.handle(&event.payload, deadline, &event.context.invoked_function_arn).await;
        if handler.has_expired() {
            tokio::spawn(replacement::end_process());
        }
        answered
    }))
    .await
}
