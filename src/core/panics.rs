//! Turns a panic into a value.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// Returns the result of `work`, or the message of its panic. State that it left half changed must not be used: the
/// checkpoint is not written any more, and all other state belongs to `work`.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::off_thread;

    #[tokio::test]
    async fn a_panic_is_told_with_its_message_wherever_it_happens() {
        assert_eq!(caught(off_thread(|| [1, 2][1])).await, Ok(2));
        let index = std::hint::black_box(2);
        let told = caught(off_thread(move || [1, 2][index])).await.expect_err("a panic");
        assert!(told.contains("the len is 2 but the index is 2"), "{told}");
    }
}
