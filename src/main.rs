//! Cold start: logging, settings, and the loop that hands events to the handler.

use incydr_collector::core::settings::Settings;
use incydr_collector::core::time::Millis;
use incydr_collector::edge::event::Event;
use incydr_collector::edge::handler::Handler;
use incydr_collector::edge::{logging, replacement};
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{LambdaEvent, LambdaInvocation, Runtime, service_fn};

/// One heap for all threads. glibc keeps one per thread, which takes up to twice as much memory.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let var = |name: &str| std::env::var_os(name).map(|held| held.to_string_lossy().into_owned());
    logging::init(var("AWS_LAMBDA_LOG_LEVEL").as_deref());
    // A process that exits on a bad setting reports nothing. This one starts, and fails each event with the setting's
    // error.
    let handler = Handler::new(Settings::from_vars(var));
    let handler = &handler;
    let handle = service_fn(|event: LambdaEvent<Event>| async move {
        let deadline = Millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        let answered = handler.handle(&event.payload, deadline).await;
        if handler.has_expired() {
            tokio::spawn(replacement::end_process());
        }
        answered
    });
    let readable = |invocation: LambdaInvocation| {
        let event = serde_json::to_vec(&Event::of(&invocation.body)).unwrap_or_default();
        LambdaInvocation { body: event.into(), ..invocation }
    };
    Runtime::new(handle).layer(MapRequestLayer::new(readable)).run().await
}
