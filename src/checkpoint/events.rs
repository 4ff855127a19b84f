//! An event stream's part of the checkpoint.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Lease, is_default};
use crate::intervals::{Intervals, Span};
use crate::time::Millis;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsState {
    /// From here on everything is owed: the first scheduled run's time less the lookback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_from: Option<Millis>,
    /// Older spans that somebody asked for and that are not covered yet.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub asked: Intervals,
    pub covered: Intervals,
    /// Older than the API keeps and never covered.
    #[serde(skip_serializing_if = "Intervals::is_empty")]
    pub expired: Intervals,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Window>,
    /// In the order in which they were covered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recount: Vec<Recount>,
    /// Windows are cut smaller than usual, since a larger one didn't fit a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

/// A window that was opened and is not covered yet. Whoever reads it again sends the same request and writes the
/// same keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub span: Span,
    pub request: Value,
    pub opened_at: Millis,
    pub opened_by: Lease,
}

/// A covered window whose rows the API is asked to count again, later: what has shown up meanwhile was late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recount {
    pub span: Span,
    pub request: Value,
    /// By the API, the last time that it was asked.
    pub count: u64,
    pub covered_at: Millis,
    /// When it is asked again, the next time first.
    pub due: Vec<Millis>,
    /// The run that is reading it again, since the API counted more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by: Option<Lease>,
    /// It was read again before, and so has a key, and keeps its bounds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_key: bool,
}

impl EventsState {
    /// All time before `horizon` that should be covered and is not, oldest first.
    pub fn owed(&self, horizon: Millis) -> Intervals {
        let mut owed = self.asked.clone();
        if let Some(live) = self.live_from.and_then(|from| Span::new(from, horizon)) {
            owed.insert(live);
        }
        let Some(settled) = Span::new(Millis(i64::MIN), horizon) else { return Intervals::default() };
        owed.within(settled).without(&self.covered).without(&self.expired)
    }

    /// Of these the parts that no open window holds: they may be cut as one likes.
    pub fn gaps(&self, horizon: Millis) -> Intervals {
        let open = self.open.iter().map(|window| window.span).collect();
        self.owed(horizon).without(&open)
    }

    /// Covers a span, which closes whatever was open or asked for in it. What expired stays expired.
    pub fn cover(&mut self, span: Span) {
        for covered in Intervals::from(vec![span]).without(&self.expired).iter() {
            self.covered.insert(covered);
        }
        self.asked.remove(span);
        self.open.retain(|window| window.span != span);
    }

    /// Gives up what is owed before `oldest`, for the API keeps it no longer; answers what that is.
    pub fn expire(&mut self, oldest: Millis) -> Intervals {
        let gone = self.owed(oldest);
        for span in gone.iter() {
            self.expired.insert(span);
            self.asked.remove(span);
        }
        self.open.retain(|window| window.span.to > oldest);
        gone
    }

    /// The end of what is covered without a gap: where the oldest owed instant lies, if there is one.
    pub fn covered_to(&self) -> Option<Millis> {
        let end = self.covered.end()?;
        Some(self.owed(end).first().map_or(end, |gap| gap.from))
    }
}

impl Window {
    /// Whether its opener can no longer be storing it.
    pub fn is_abandoned(&self, now: Millis) -> bool {
        self.opened_by.is_long_over(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MINUTE;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn what_is_owed_is_what_lies_between_the_start_and_the_horizon_and_is_not_covered() {
        let mut state = EventsState { live_from: Some(Millis(100)), ..EventsState::default() };
        assert_eq!(state.owed(Millis(200)), [span(100, 200)].into_iter().collect());
        assert_eq!(state.owed(Millis(50)), Intervals::default());
        state.cover(span(100, 150));
        state.asked.insert(span(0, 20));
        assert_eq!(state.owed(Millis(200)), [span(0, 20), span(150, 200)].into_iter().collect());
        assert_eq!(state.covered_to(), Some(Millis(0)));
        state.cover(span(0, 20));
        assert!(state.asked.is_empty());
        assert_eq!(state.covered_to(), Some(Millis(150)));
    }

    #[test]
    fn what_expired_is_never_covered_also_where_a_window_reaches_into_it() {
        let window = |span| Window {
            span,
            request: Value::Null,
            opened_at: Millis(0),
            opened_by: Lease { run_id: "a".into(), until: Millis(0) },
        };
        let mut state = EventsState { live_from: Some(Millis(0)), ..EventsState::default() };
        state.cover(span(0, 10));
        state.open = vec![window(span(10, 20)), window(span(20, 40))];
        assert_eq!(state.expire(Millis(30)), [span(10, 30)].into_iter().collect());
        assert_eq!(state.open, [window(span(20, 40))]);
        state.cover(span(20, 40));
        assert_eq!(state.covered, [span(0, 10), span(30, 40)].into_iter().collect());
        assert_eq!(state.expire(Millis(30)), Intervals::default(), "told once");
    }

    #[test]
    fn a_window_is_abandoned_long_after_its_opener_s_lease() {
        let opened_by = Lease { run_id: "a".into(), until: Millis(1_000) };
        let window = Window { span: span(0, 1), request: Value::Null, opened_at: Millis(0), opened_by };
        assert!(!window.is_abandoned(Millis(1_000 + 15 * MINUTE)));
        assert!(window.is_abandoned(Millis(1_001 + 15 * MINUTE)));
    }
}
