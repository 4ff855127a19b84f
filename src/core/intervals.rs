//! Half-open spans of time, and sets of them.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::time::Millis;

/// `[from, to)`. On the checkpoint it is `["2026-11-21T13:00:00.000Z", "2026-11-21T14:00:00.000Z"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(Millis, Millis)", try_from = "(Millis, Millis)")]
pub struct Span {
    pub from: Millis,
    pub to: Millis,
}

impl Span {
    /// None if it would be empty.
    pub fn new(from: Millis, to: Millis) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    pub fn contains(self, at: Millis) -> bool {
        self.from <= at && at < self.to
    }

    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    pub fn length(self) -> TimeDelta {
        self.to - self.from
    }
}

impl From<Span> for (Millis, Millis) {
    fn from(span: Span) -> Self {
        (span.from, span.to)
    }
}

impl TryFrom<(Millis, Millis)> for Span {
    type Error = String;

    fn try_from((from, to): (Millis, Millis)) -> Result<Self, String> {
        Self::new(from, to).ok_or_else(|| format!("a span must begin before it ends, but {from} is not before {to}"))
    }
}

/// Ordered spans that neither overlap nor touch. A set in another order, as a person may write it, is sorted and merged
/// when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Span>")]
pub struct Intervals(Vec<Span>);

impl Intervals {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    pub fn first(&self) -> Option<Span> {
        self.0.first().copied()
    }

    /// The end of the last span.
    pub fn end(&self) -> Option<Millis> {
        self.0.last().map(|span| span.to)
    }

    pub fn insert(&mut self, new: Span) {
        let touching = |span: &Span| span.from <= new.to && new.from <= span.to;
        let start = self.0.partition_point(|span| span.to < new.from);
        let count = self.0[start..].iter().take_while(|span| touching(span)).count();
        let merged = self.0[start..start + count]
            .iter()
            .fold(new, |merged, span| Span { from: merged.from.min(span.from), to: merged.to.max(span.to) });
        self.0.splice(start..start + count, [merged]);
    }

    pub fn remove(&mut self, gone: Span) {
        self.0 = self
            .iter()
            .flat_map(|span| [Span::new(span.from, span.to.min(gone.from)), Span::new(span.from.max(gone.to), span.to)])
            .flatten()
            .collect();
    }

    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        for span in other.iter() {
            self.remove(span);
        }
        self
    }

    #[must_use]
    pub fn within(&self, bounds: Span) -> Self {
        Self(self.iter().filter_map(|span| span.intersection(bounds)).collect())
    }
}

impl From<Vec<Span>> for Intervals {
    fn from(spans: Vec<Span>) -> Self {
        spans.into_iter().collect()
    }
}

impl FromIterator<Span> for Intervals {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut intervals = Self::default();
        for span in spans {
            intervals.insert(span);
        }
        intervals
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    fn set(spans: &[(i64, i64)]) -> Intervals {
        spans.iter().map(|&(from, to)| span(from, to)).collect()
    }

    #[test]
    fn spans_that_touch_become_one() {
        assert_eq!(set(&[(0, 10), (20, 30), (10, 20)]), set(&[(0, 30)]));
        assert_eq!(set(&[(0, 10), (11, 20)]).iter().count(), 2);
    }

    #[test]
    fn what_is_removed_from_the_middle_leaves_both_ends() {
        assert_eq!(set(&[(0, 30)]).without(&set(&[(10, 20)])), set(&[(0, 10), (20, 30)]));
    }

    #[test]
    fn a_set_answers_like_the_set_of_its_milliseconds() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut intervals, mut model) = (Intervals::default(), BTreeSet::new());
        for _ in 0..400 {
            let from = random.i64(0..60);
            let change = span(from, from + random.i64(1..12));
            if random.bool() {
                intervals.insert(change);
                model.extend(change.from.0..change.to.0);
            } else {
                intervals.remove(change);
                model.retain(|at| !change.contains(Millis(*at)));
            }
            let covered: BTreeSet<i64> = intervals.iter().flat_map(|s| s.from.0..s.to.0).collect();
            assert_eq!(covered, model, "seed {seed}");
            let ends: Vec<Span> = intervals.iter().collect();
            assert!(ends.windows(2).all(|pair| pair[0].to < pair[1].from), "not merged; seed {seed}");
        }
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_refused() {
        let wrong = r#"[["2026-11-21T14:00:00.000Z","2026-11-21T13:00:00.000Z"]]"#;
        let error = serde_json::from_str::<Intervals>(wrong).expect_err("refused");
        assert!(error.to_string().contains("must begin before it ends"), "{error}");
    }
}
