//! Keeps the known records in memory from run to run.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use super::Known;
use crate::core::checkpoint::StateObject;
use crate::core::shared::Shared;
use crate::core::stream::Stream;

/// The known records of the streams that every run reads, and the state object that holds the same. It lasts as long as
/// the process.
#[derive(Default)]
pub struct Memory(Shared<BTreeMap<Stream, (StateObject, Known)>>);

impl Memory {
    /// Hands over the records of a stream if they are those of the state object `at`.
    pub fn take(&self, stream: Stream, at: &StateObject) -> Option<Known> {
        let (kept_at, known) = self.kept().remove(&stream)?;
        (kept_at == *at).then_some(known)
    }

    pub fn keep(&self, stream: Stream, at: StateObject, known: Known) {
        self.kept().insert(stream, (at, known));
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Stream, (StateObject, Known)>> {
        self.0.lock()
    }
}
