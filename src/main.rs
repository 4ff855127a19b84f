//! Cold start: logging, settings, and the loop that hands events to the handler.

use incydr_collector::core::settings::Settings;
use incydr_collector::core::time::Millis;
use incydr_collector::edge::handler::Handler;
use incydr_collector::edge::logging;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

/// One heap for all threads: glibc's own keeps one for each, and with it up to twice as much memory.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let var = |name: &str| std::env::var_os(name).map(|held| held.to_string_lossy().into_owned());
    logging::init(var("AWS_LAMBDA_LOG_LEVEL").as_deref());
    // A bad setting is answered to every event, rather than to none by a process that never starts.
    let handler = Handler::new(Settings::from_vars(var));
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let deadline = Millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        handler.handle(&event.payload, deadline).await
    }))
    .await
}
