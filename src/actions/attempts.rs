//! Determines where the event streams begin: `LOOKBACK_MINUTES` before the first run that was attempted, even if that
//! run failed.

use crate::actions::leased_run::LeasedRun;
use crate::core::checkpoint::Checkpoint;
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

impl LeasedRun<'_> {
    /// Notes the first attempt of each event stream that has none: when this run began, or an earlier one of this
    /// process that could note nothing. The first run that can write the checkpoint calls it, even if it fails
    /// afterwards. Returns whether it noted anything.
    pub(super) fn note_attempts(&self, checkpoint: &mut Checkpoint) -> bool {
        let began = self.attempted().unwrap_or(self.began);
        // `fold`, not `any`: every stream must be noted.
        self.streams_that_begin().map(|stream| checkpoint.attempt(stream, began)).fold(false, |any, is| any | is)
    }

    /// Called once this run reaches its streams. A stream that an earlier run failed to begin begins where that run
    /// would have begun it.
    pub(super) fn begin_streams(&self, checkpoint: &mut Checkpoint) {
        if self.asked.span.is_some() {
            // This run reads that span only. A later one begins the streams.
            self.note_attempts(checkpoint);
            return;
        }

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
                    &format!(
                        "collection begins LOOKBACK_MINUTES before {earlier}: the first run was attempted then, and failed before it could begin, or was asked for one span only"
                    ),
                );
            } else {
                checkpoint.attempt(stream, self.began);
                checkpoint.health.note(stream, "collection begins LOOKBACK_MINUTES before this run; no earlier run is noted, but one may have failed before it could be noted");
            }
        }
    }

    /// Called if the checkpoint can be neither read nor written. The process remembers when the first such run began.
    pub(super) fn remember_attempt(&self) {
        if self.streams_that_begin().next().is_some() {
            self.clients.attempted.lock().get_or_insert(self.began);
        }
    }

    /// Called once the attempts of this run's streams are on the checkpoint. A run that doesn't attempt all enabled
    /// event streams forgets nothing: a dry run, or one of other streams.
    pub(super) fn forget_attempt(&self) {
        let noted: Vec<Stream> = self.streams_that_begin().collect();
        let mut event_streams = self.settings.streams.iter().filter(|stream| stream.class() == Class::Events);
        if event_streams.all(|stream| noted.contains(stream)) {
            *self.clients.attempted.lock() = None;
        }
    }

    fn attempted(&self) -> Option<Millis> {
        *self.clients.attempted.lock()
    }

    /// The event streams that this run attempts, whatever span it was asked for.
    fn streams_that_begin(&self) -> impl Iterator<Item = Stream> {
        let keeps_states = self.keeps_states();
        self.streams.iter().copied().filter(move |stream| keeps_states && stream.class() == Class::Events)
    }
}
