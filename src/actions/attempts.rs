//! Where the event streams begin: LOOKBACK before the first run that was attempted, whether or not that run got so far.

use std::sync::PoisonError;

use crate::actions::work::Work;
use crate::core::checkpoint::Checkpoint;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

impl Work<'_> {
    /// The instant is on the checkpoint from the first run on that can write it, whatever becomes of that run. Answers
    /// whether this is such a run for any stream.
    pub(super) fn note_attempts(&self, checkpoint: &mut Checkpoint) -> bool {
        let began = self.attempted().unwrap_or(self.began);
        // Each is noted, so that this is no short-circuit.
        self.streams_that_begin().map(|stream| checkpoint.attempt(stream, began)).fold(false, |any, is| any | is)
    }

    /// This run comes to its streams. Those that an earlier one was to begin begin where that one would have begun them.
    pub(super) fn begin_streams(&self, checkpoint: &mut Checkpoint) {
        let (lookback, now) = (self.settings.lookback, self.clients.api.now());
        for stream in self.streams_that_begin() {
            if let Some(at) = self.attempted() {
                checkpoint.attempt(stream, at);
            }
            let earlier = checkpoint.attempted.get(&stream).copied();
            let is_begun = checkpoint.events.get(&stream).is_some_and(|state| state.live_from.is_some());
            if is_begun {
                checkpoint.attempted.remove(&stream);
            } else if let Some(earlier) = earlier {
                checkpoint.begin_at_first_attempt(stream, lookback, now);
                checkpoint.health.note(
                    stream,
                    &format!("it begins LOOKBACK_MINUTES before the first run, of {earlier}, which came to nothing"),
                );
            } else {
                checkpoint.attempt(stream, self.began);
                checkpoint.health.note(stream, "it begins LOOKBACK_MINUTES before this run, the first that the checkpoint knows of; whether one before it failed, and could not write the checkpoint, is not known");
            }
        }
    }

    /// Where not even the checkpoint can be read or written, the process remembers when that began.
    pub(super) fn remember_attempt(&self) {
        if self.streams_that_begin().next().is_some() {
            self.clients.attempted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(self.began);
        }
    }

    pub(super) fn forget_attempt(&self) {
        *self.clients.attempted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn attempted(&self) -> Option<Millis> {
        *self.clients.attempted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that the schedule's runs read by window.
    fn streams_that_begin(&self) -> impl Iterator<Item = Stream> {
        let is_scheduled = self.asked.span.is_none() && self.keeps_states();
        self.streams.iter().copied().filter(move |stream| is_scheduled && stream.class() == Class::Events)
    }
}
