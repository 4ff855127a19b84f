//! A function as a future in this process, so that it can die or freeze at any `await` and have its own clock.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    os::unix::process::ExitStatusExt,
    pin::Pin,
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::LocalBoxFuture;
use tokio::sync::Mutex as AsyncMutex;

use super::Outcome;
use crate::{clock, locked};

const SIGKILL: i32 = 9;

/// A started container: takes an event and the run's deadline.
pub type Container = Arc<dyn Fn(String, DateTime<Utc>) -> LocalBoxFuture<'static, Outcome> + Send + Sync>;
/// Starts a container from the function's environment, as a cold start does.
pub type Begin = Arc<dyn Fn(&BTreeMap<String, String>, Life) -> Container + Send + Sync>;

/// Says whether a container still exists, for requests that it has sent and that haven't arrived.
#[derive(Clone, Debug)]
pub struct Life(Arc<AtomicBool>);

impl Life {
    pub fn is_over(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct Within {
    begin: Begin,
    grace: Duration,
    variables: BTreeMap<String, String>,
    turn: AsyncMutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    container: Option<(Container, Life)>,
    is_killed: bool,
    is_frozen: bool,
    /// The number of steps until it dies.
    steps_left: Option<u64>,
    ahead: TimeDelta,
    waker: Option<Waker>,
}

impl State {
    /// Removes the container.
    fn ends(&mut self) {
        (self.container, self.is_killed, self.is_frozen) = (None, false, false);
    }
}

impl Within {
    pub(super) fn new(begin: Begin, grace: Duration, variables: BTreeMap<String, String>) -> Self {
        Self { begin, grace, variables, turn: AsyncMutex::default(), state: Mutex::default() }
    }

    pub(super) async fn invoke(self: &Arc<Self>, payload: &str, deadline: Duration) -> Outcome {
        let _turn = self.turn.lock().await;
        let (container, life) = {
            let mut state = locked(&self.state);
            if state.is_killed {
                state.ends();
            }
            let begun = state.container.get_or_insert_with(|| {
                let life = Life(Arc::new(AtomicBool::new(true)));
                ((self.begin)(&self.variables, life.clone()), life)
            });
            begun.clone()
        };
        let until = clock::now() + TimeDelta::from_std(deadline).unwrap_or_default();
        let (within, payload) = (self.clone(), payload.to_owned());
        // The future need not be `Send`: a simulation has one thread.
        let mut run = tokio::task::spawn_local(async move {
            let mut run = container(payload, until);
            poll_fn(|cx| within.poll(run.as_mut(), cx)).await
        });
        let outcome = tokio::select! {
            biased;
            outcome = &mut run => outcome,
            () = tokio::time::sleep(deadline + self.grace) => {
                self.kill();
                run.await.map(|_| Outcome::TimedOut)
            }
        };
        let outcome = outcome.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        let mut state = locked(&self.state);
        state.steps_left = None;
        if matches!(outcome, Outcome::TimedOut | Outcome::Died(_)) {
            state.ends();
            life.0.store(false, Ordering::Relaxed);
        }
        outcome
    }

    /// Makes one step of a run, unless it is dead or frozen.
    fn poll(&self, run: Pin<&mut dyn Future<Output = Outcome>>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let ahead = {
            let mut state = locked(&self.state);
            state.waker = Some(cx.waker().clone());
            if state.is_frozen && !state.is_killed {
                return Poll::Pending;
            }
            match &mut state.steps_left {
                Some(0) => state.is_killed = true,
                Some(left) => *left -= 1,
                None => {}
            }
            if state.is_killed {
                return Poll::Ready(Outcome::Died(ExitStatus::from_raw(SIGKILL)));
            }
            state.ahead
        };
        clock::ahead_by(ahead, || run.poll(cx))
    }

    pub(super) fn kill(&self) {
        self.change(|state| state.is_killed = true);
    }

    pub(super) fn freeze(&self) {
        self.change(|state| state.is_frozen = true);
    }

    /// Returns whether it was frozen.
    pub(super) fn thaw(&self) -> bool {
        let mut was_frozen = false;
        self.change(|state| was_frozen = std::mem::take(&mut state.is_frozen));
        was_frozen
    }

    pub(super) fn die_after(&self, steps: u64) {
        self.change(|state| state.steps_left = Some(steps));
    }

    pub(super) fn set_clock_ahead(&self, by: TimeDelta) {
        self.change(|state| state.ahead = by);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = locked(&self.state);
        change(&mut state);
        if state.is_killed
            && let Some((_, life)) = &state.container
        {
            life.0.store(false, Ordering::Relaxed);
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}
