//! Windows at which a run died may kill this run as well. They are read after all other work of the run, of every stream:
//! one at a time, those at which one run died before those at which several did. A stream that the API throttled until the
//! last run's end also waits for the others.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::timeout;

/// Shared by all streams of a run.
#[derive(Default)]
pub struct Suspects {
    before: watch::Sender<Before>,
    turn: Mutex<()>,
}

/// The work that goes before.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The streams that do anything else than to read or await such a window.
    streams: usize,
    /// The streams that read or await a window at which one run died.
    mild: usize,
}

/// A stream at work, until it is dropped.
pub struct AtWork<'a>(&'a Suspects);

/// A stream that waits, until this is dropped: then it is at work again.
struct Waiting<'a>(&'a Suspects);

/// The right to read such a window, until it is dropped.
pub struct Turn<'a> {
    suspects: &'a Suspects,
    is_mild: bool,
    /// None while it waits.
    held: Option<MutexGuard<'a, ()>>,
}

impl Suspects {
    /// Called by each stream when it begins.
    pub fn at_work(&self) -> AtWork<'_> {
        self.before.send_modify(|before| before.streams += 1);
        AtWork(self)
    }

    /// Waits for the other streams, but no longer than `at_most`, before a stream at work begins.
    pub async fn wait_for_others(&self, at_most: Duration) {
        let _waiting = Waiting::of(self);
        let mut before = self.before.subscribe();
        let _ = timeout(at_most, before.wait_for(|before| before.streams == 0)).await;
    }

    /// Waits for the other streams, but no longer than `at_most`: they may have a backlog. `has_killed_several`: more than one
    /// run died at the window.
    pub async fn turn(&self, has_killed_several: bool, at_most: Duration) -> Turn<'_> {
        let is_mild = !has_killed_several;
        self.before.send_modify(|before| {
            before.streams -= 1;
            before.mild += usize::from(is_mild);
        });
        let mut turn = Turn { suspects: self, is_mild, held: None };
        let mut before = self.before.subscribe();
        let others_are_done = before.wait_for(|before| before.streams == 0 && (is_mild || before.mild == 0));
        let _ = timeout(at_most, others_are_done).await;
        turn.held = Some(self.turn.lock().await);
        turn
    }
}

impl<'a> Waiting<'a> {
    fn of(suspects: &'a Suspects) -> Self {
        suspects.before.send_modify(|before| before.streams -= 1);
        Self(suspects)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.before.send_modify(|before| before.streams += 1);
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.before.send_modify(|before| before.streams -= 1);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.suspects.before.send_modify(|before| {
            before.streams += 1;
            before.mild -= usize::from(self.is_mild);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shared::Shared;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn the_window_at_which_most_runs_died_comes_after_all_other_work() {
        let (suspects, order) = (Suspects::default(), Shared::new(Vec::new()));
        let stream = async |name: &'static str, works: u64, has_killed_several: Option<bool>| {
            let _at_work = suspects.at_work();
            tokio::time::sleep(Duration::from_secs(works)).await;
            if let Some(has_killed_several) = has_killed_several {
                let _turn = suspects.turn(has_killed_several, LONG).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                order.lock().push(name);
            } else {
                order.lock().push(name);
            }
        };
        tokio::join!(
            stream("killed several", 1, Some(true)),
            stream("killed one", 2, Some(false)),
            stream("another that killed one", 3, Some(false)),
            stream("sound", 4, None)
        );
        assert_eq!(*order.lock(), ["sound", "killed one", "another that killed one", "killed several"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_was_throttled_begins_after_the_others_and_may_end_while_it_waits() {
        let suspects = Suspects::default();
        let (other, _ours) = (suspects.at_work(), suspects.at_work());
        let waited = timeout(Duration::from_secs(1), suspects.wait_for_others(LONG)).await;
        assert!(waited.is_err() && suspects.before.borrow().streams == 2, "it is at work again");
        let begun = tokio::time::Instant::now();
        tokio::join!(suspects.wait_for_others(LONG), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(other);
        });
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_is_allowed() {
        let suspects = Suspects::default();
        let (_backlog, _ours) = (suspects.at_work(), suspects.at_work());
        let began = tokio::time::Instant::now();
        drop(suspects.turn(true, Duration::from_secs(10)).await);
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(suspects.before.borrow().streams, 2, "it is at work again");
    }
}
