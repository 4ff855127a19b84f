//! Windows at which a run died may kill this run as well. They are read after all other work of the run, of every
//! stream: one at a time, those at which one run died before those at which several did. Streams that the API throttled
//! until the last run's end begin after the others.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::timeout;

/// Shared by all streams of a run.
#[derive(Default)]
pub struct Suspects {
    before: watch::Sender<Before>,
    turn: Mutex<()>,
}

/// The numbers of streams whose work goes before such windows.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The streams that do anything else than to read or await such a window.
    streams: usize,
    /// Those of them that the API didn't throttle until the last run's end.
    unthrottled: usize,
    /// The streams that read or await a window at which one run died.
    mild: usize,
}

/// A stream at work, until it is dropped.
pub struct AtWork<'a> {
    suspects: &'a Suspects,
    was_throttled: bool,
}

/// The right to read a window at which a run died, until it is dropped.
pub struct Turn<'a> {
    suspects: &'a Suspects,
    was_throttled: bool,
    is_mild: bool,
    /// None while it waits.
    held: Option<MutexGuard<'a, ()>>,
}

impl Suspects {
    /// Called by each stream when it begins. `was_throttled`: the API throttled it until the last run's end.
    pub fn at_work(&self, was_throttled: bool) -> AtWork<'_> {
        self.begin(was_throttled);
        AtWork { suspects: self, was_throttled }
    }

    /// Waits for the streams that were not throttled, but no longer than `at_most`.
    pub async fn wait_for_unthrottled(&self, at_most: Duration) {
        let mut before = self.before.subscribe();
        let _ = timeout(at_most, before.wait_for(|before| before.unthrottled == 0)).await;
    }

    /// Waits for the other streams, but no longer than `at_most`: they may have a backlog. `has_killed_several`: more
    /// than one run died at the window.
    pub async fn turn(&self, was_throttled: bool, has_killed_several: bool, at_most: Duration) -> Turn<'_> {
        let is_mild = !has_killed_several;
        self.end(was_throttled);
        self.before.send_modify(|before| before.mild += usize::from(is_mild));
        let mut turn = Turn { suspects: self, was_throttled, is_mild, held: None };
        let mut before = self.before.subscribe();
        let others_are_done = before.wait_for(|before| before.streams == 0 && (is_mild || before.mild == 0));
        let _ = timeout(at_most, others_are_done).await;
        turn.held = Some(self.turn.lock().await);
        turn
    }

    fn begin(&self, was_throttled: bool) {
        self.before.send_modify(|before| {
            before.streams += 1;
            before.unthrottled += usize::from(!was_throttled);
        });
    }

    fn end(&self, was_throttled: bool) {
        self.before.send_modify(|before| {
            before.streams -= 1;
            before.unthrottled -= usize::from(!was_throttled);
        });
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.suspects.end(self.was_throttled);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.suspects.begin(self.was_throttled);
        self.suspects.before.send_modify(|before| before.mild -= usize::from(self.is_mild));
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
            let _at_work = suspects.at_work(false);
            tokio::time::sleep(Duration::from_secs(works)).await;
            if let Some(has_killed_several) = has_killed_several {
                let _turn = suspects.turn(false, has_killed_several, LONG).await;
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
    async fn streams_that_were_throttled_begin_side_by_side_once_the_others_are_done() {
        let (suspects, begun) = (Suspects::default(), Shared::new(Vec::new()));
        let at_work: Vec<_> = [false, true, true, true].map(|throttled| suspects.at_work(throttled)).into();
        let start = tokio::time::Instant::now();
        let stream = async |at_work: AtWork<'_>| {
            if at_work.was_throttled {
                suspects.wait_for_unthrottled(LONG).await;
                begun.lock().push(start.elapsed().as_secs());
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        futures::future::join_all(at_work.into_iter().map(stream)).await;
        assert_eq!(*begun.lock(), [5, 5, 5]);
        assert_eq!(suspects.before.borrow().streams, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_is_allowed() {
        let suspects = Suspects::default();
        let (_backlog, _ours) = (suspects.at_work(false), suspects.at_work(false));
        let began = tokio::time::Instant::now();
        drop(suspects.turn(false, true, Duration::from_secs(10)).await);
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(suspects.before.borrow().streams, 2, "it is at work again");
    }
}
