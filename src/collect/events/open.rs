//! Opens windows on the checkpoint before their records are requested. A later run then knows the keys under which they
//! may be stored, and who may be storing them.

use serde_json::Value;

use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::checkpoint::Window;
use crate::core::density::halves;
use crate::core::intervals::Span;
use crate::core::time::Millis;
use crate::incydr::facts::Events;

/// A window that is open on the checkpoint.
pub enum OpenWindow {
    /// Opened by this run: nothing of it is stored, and nobody else is storing it.
    Ours(Window),
    /// Opened by another run, which may have stored some of it. `was_abandoned`: when this run took it, none of that
    /// run's writes could arrive any more.
    Foreign { window: Window, was_abandoned: bool },
}

impl OpenWindow {
    pub fn window(&self) -> &Window {
        match self {
            Self::Ours(window) | Self::Foreign { window, .. } => window,
        }
    }

    pub fn span(&self) -> Span {
        self.window().span
    }
}

impl Collector<'_> {
    /// Opens a window on the checkpoint, before the first request whose records are stored.
    pub(super) async fn open(&self, facts: &Events, span: Span) -> Result<OpenWindow, Error> {
        let window = Window {
            span,
            request: self.request(facts, span),
            opened_at: Millis::now(),
            opened_by: self.run.ledger.lease.clone(),
            resumed: 0,
        };
        self.update_events(|state, _| state.open.push(window.clone()));
        match self.commit().await {
            Ok(()) => Ok(OpenWindow::Ours(window)),
            Err(error) => {
                self.update_events(|state, _| state.open.retain(|open| *open != window));
                Err(error)
            }
        }
    }

    /// Takes over an open window of which an earlier run stored nothing. Commits this run's lease as its opener before
    /// anything is stored: if this run dies, the next one must know that its writes may still arrive.
    pub(super) async fn take_over(&self, window: Window, request: Value) -> Result<OpenWindow, Error> {
        let ours = Window { request, opened_by: self.run.ledger.lease.clone(), ..window.clone() };
        self.replace_open(&window, &ours);
        self.commit().await?;
        Ok(OpenWindow::Ours(ours))
    }

    /// Commits that this run continues a window whose opener died: `resumed` counts such runs, and `opened_by` is the
    /// lease that ends last. If this run dies as well, the next run knows until when its writes may still arrive.
    pub(super) async fn note_resumed(&self, window: Window, request: Value) -> Result<OpenWindow, Error> {
        let was_abandoned = window.is_abandoned(Millis::now());
        let last = [&window.opened_by, &self.run.ledger.lease].into_iter().max_by_key(|lease| lease.until);
        let opened_by = last.unwrap_or(&window.opened_by).clone();
        let resumed = Window { request, resumed: window.resumed + 1, opened_by, ..window.clone() };
        self.replace_open(&window, &resumed);
        self.commit().await?;
        Ok(OpenWindow::Foreign { window: resumed, was_abandoned })
    }

    /// Takes this run out of `resumed` again if the window is still open: only runs that died count.
    pub(super) fn note_survived(&self, window: &OpenWindow) {
        let OpenWindow::Foreign { window, .. } = window else { return };
        self.replace_open(window, &Window { resumed: window.resumed.saturating_sub(1), ..window.clone() });
    }

    fn replace_open(&self, before: &Window, after: &Window) {
        self.update_events(|state, _| {
            for open in state.open.iter_mut().filter(|open| *open == before) {
                open.clone_from(after);
            }
        });
    }

    /// Whether a window may be cut: it is long enough, nothing of it is stored, and nobody else can be storing it.
    pub(super) async fn may_be_cut(&self, window: &OpenWindow) -> Result<bool, Error> {
        Ok(halves(window.span()).is_some() && self.is_ours_alone(window).await?)
    }

    /// Whether nothing of the window is stored and nobody else can be storing it.
    pub(super) async fn is_ours_alone(&self, window: &OpenWindow) -> Result<bool, Error> {
        match window {
            OpenWindow::Ours(_) => Ok(true),
            OpenWindow::Foreign { window, was_abandoned } => {
                let until = self.run.times.store_until;
                if !was_abandoned {
                    return Ok(false);
                }
                match self.run.records.any_of(self.stream, window.span, until).await.map_err(Error::from) {
                    // S3 doesn't tell whether an object is there. So the window keeps its bounds.
                    Err(error) if error.may_be_of_one_key() => Ok(false),
                    any => Ok(!any?),
                }
            }
        }
    }
}
