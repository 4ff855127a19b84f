//! The spans among a stream's stuck things. They are disjoint: a span that fails takes in those that it meets, and a
//! part of it that was read is taken out.

use crate::core::error_type::ErrorInfo;
use crate::core::intervals::{Intervals, Span};
use crate::core::time::Millis;

use super::{Stuck, StuckItem, StuckList};

impl StuckList {
    /// The gaps.
    pub fn spans(&self) -> Intervals {
        self.0.iter().filter_map(Stuck::span).collect()
    }

    /// The entry that contains a span as a whole.
    pub fn holding(&self, span: Span) -> Option<&Stuck> {
        self.0.iter().find(|stuck| stuck.span().is_some_and(|held| held.from <= span.from && span.to <= held.to))
    }

    /// Notes the number of unreadable rows of a span that failed.
    pub fn note_unreadable(&mut self, span: Span, rows: u64) {
        if let Some(stuck) = self.0.iter_mut().find(|stuck| stuck.span() == Some(span)) {
            stuck.unreadable = rows;
        }
    }

    /// Returns the number of unreadable rows of the entry that this span is a part of. Added to the span's own they may
    /// be too many. 0 if it is the whole entry: then its own rows decide.
    pub fn unreadable_around(&self, span: Span) -> u64 {
        let around = self.holding(span).filter(|stuck| stuck.span() != Some(span));
        around.map_or(0, |stuck| stuck.unreadable)
    }

    /// Removes a span from all entries. Their remaining parts stay stuck.
    pub fn cut_out(&mut self, gone: Span) {
        let gone = Intervals::from(vec![gone]);
        self.keep_spans(|span| Intervals::from(vec![span]).without(&gone));
    }

    /// Keeps only those parts of the entries that lie in `spans`.
    pub fn keep_within(&mut self, spans: &Intervals) {
        self.keep_spans(|span| spans.within(span));
    }

    fn keep_spans(&mut self, keep: impl Fn(Span) -> Intervals) {
        let list = std::mem::take(&mut self.0);
        self.0 = list
            .into_iter()
            .flat_map(|stuck| match stuck.span() {
                None => vec![stuck],
                Some(span) => {
                    keep(span).iter().map(|kept| Stuck { what: StuckItem::Span(kept), ..stuck.clone() }).collect()
                }
            })
            .collect();
    }

    /// A span failed and will be tried in parts, each of them at once. Parts of a stuck span keep its attempts.
    pub fn split(&mut self, span: Span, parts: Vec<Span>, error: &ErrorInfo, now: Millis, alone: bool) {
        let held = self.holding(span).cloned();
        self.cut_out(span);
        for part in parts {
            let (what, error) = (StuckItem::Span(part), error.clone());
            let (since, tried_at, next_try) = (now, now, now);
            let (listed_at, unreadable) = (None, 0);
            let new = Stuck { what, since, attempts: 0, tried_at, next_try, error, listed_at, alone, unreadable };
            self.0.push(match &held {
                None => new,
                Some(held) => Stuck {
                    alone: alone || held.alone,
                    what: new.what,
                    error: new.error,
                    next_try: now,
                    ..held.clone()
                },
            });
        }
    }

    /// Joins adjacent spans that have all been tried, of which all are due or none is. A span that is `open` keeps its
    /// bounds.
    pub fn merge_tried(&mut self, now: Millis, open: &Intervals) {
        let may_be_joined = |span: Span| open.within(span).is_empty();
        let (mut tried, mut merged): (Vec<Stuck>, Vec<Stuck>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|stuck| stuck.span().is_some_and(may_be_joined) && stuck.attempts > 0);
        tried.sort_by_key(Stuck::span);

        for next in tried {
            let touching = merged.last_mut().and_then(|last| {
                let (held, span) = (last.span()?, next.span()?);
                let manner = |stuck: &Stuck| (stuck.alone, stuck.unreadable > 0, stuck.next_try <= now);
                let is_alike = manner(last) == manner(&next);
                (last.attempts > 0 && held.to == span.from && is_alike).then_some((last, held, span))
            });
            match touching {
                Some((last, held, span)) => {
                    last.what = StuckItem::Span(Span { to: span.to, ..held });
                    last.since = last.since.min(next.since);
                    last.unreadable += next.unreadable;
                    last.attempts = last.attempts.max(next.attempts);
                    last.next_try = last.next_try.min(next.next_try);
                    last.tried_at = last.tried_at.max(next.tried_at);
                }
                None => merged.push(next),
            }
        }
        self.0 = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::drift::FEW;
    use crate::core::error_type::ErrorType;

    fn error(message: &str) -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: message.into() }
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn the_unreadable_rows_of_a_span_count_for_its_parts_and_not_for_itself() {
        let (whole, part) = (span(0, 10), span(0, 5));
        let mut list = StuckList::default();
        list.fail(StuckItem::Span(whole), error("no time"), Millis(0));
        assert_eq!((list.unreadable_around(part), list.unreadable_around(span(20, 30))), (0, 0), "it was not read");
        list.note_unreadable(whole, 9);
        assert_eq!((list.unreadable_around(part), list.unreadable_around(whole)), (9, 0));
        let told = serde_json::to_string(&list).expect("JSON").replace("\"unreadable\":9", "\"unreadable\":true");
        let older: StuckList = serde_json::from_str(&told).expect("as it was written before");
        assert_eq!(older.unreadable_around(part), FEW + 1);
    }

    #[test]
    fn adjacent_spans_become_one_unless_they_are_open() {
        for (open, expected) in [(span(20, 30), vec![span(0, 20)]), (span(10, 20), vec![span(10, 20), span(0, 10)])] {
            let mut list = StuckList::default();
            for from in [0, 10] {
                list.fail(StuckItem::Span(span(from, from + 10)), error("500"), Millis(0));
            }
            list.merge_tried(Millis(1), &[open].into_iter().collect());
            assert_eq!(list.iter().filter_map(Stuck::span).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_span_that_is_cut_keeps_its_beginning_and_what_is_read_of_it_is_taken_out() {
        let mut list = StuckList::default();
        list.fail(StuckItem::Span(span(0, 100)), error("500"), Millis(5));
        list.split(span(0, 100), vec![span(0, 50), span(50, 100)], &error("501"), Millis(9), false);
        assert!(list.iter().all(|stuck| stuck.since == Millis(5) && stuck.next_try == Millis(9)));
        list.cut_out(span(40, 60));
        assert_eq!(list.spans(), [span(0, 40), span(60, 100)].into_iter().collect());
        assert_eq!(list.holding(span(70, 80)).and_then(Stuck::span), Some(span(60, 100)));
        list.keep_within(&[span(10, 20)].into_iter().collect());
        assert_eq!(list.spans(), [span(10, 20)].into_iter().collect());
    }

    #[test]
    fn a_window_that_fails_takes_in_what_was_stuck_of_it() {
        let mut list = StuckList::default();
        list.fail(StuckItem::Span(span(0, 50)), error("500"), Millis(5));
        list.fail(StuckItem::Span(span(90, 120)), error("500"), Millis(6));
        list.fail(StuckItem::Span(span(0, 100)), error("it is left alone"), Millis(9));
        let held: Vec<_> = list.iter().map(|stuck| (stuck.span(), stuck.since)).collect();
        assert_eq!(held, [(Some(span(100, 120)), Millis(6)), (Some(span(0, 100)), Millis(5))]);
        assert_eq!(list.summary().map(|summary| summary.error), Some(error("it is left alone")));
    }
}
