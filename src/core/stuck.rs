//! Things that can't be read: spans of event streams, and records or lists of others. Each is on the checkpoint with its
//! attempts, its last error and its next try, and holds up nothing else.

use std::collections::BTreeSet;
use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::core::error_kind::{ErrorInfo, ErrorType};
use crate::core::intervals::{Intervals, Span};
use crate::core::json::is_default;
use crate::core::time::Millis;

/// The longest pause between two tries.
const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(6);
/// Limit for the things that an error message names.
const MOST_NAMED: usize = 20;

/// A thing that can't be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    pub what: StuckItem,
    /// The time of the first failure.
    pub since: Millis,
    /// 0 if it is a part of a larger span that failed, and hasn't been tried itself.
    pub attempts: u32,
    pub tried_at: Millis,
    pub next_try: Millis,
    pub error: ErrorInfo,
    /// The last time that a list showed this record while it was stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Millis>,
    /// A run died while it read this. So nothing else is read at the same time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alone: bool,
    /// The number of unreadable rows, if the span failed because it, or a span that it is a part of, had too many. 0
    /// otherwise.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "rows_or_flag")]
    pub unreadable: u64,
}

/// More unreadable rows than this are too many, if they are more than a fifth as well.
pub const FEW: u64 = 3;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StuckItem {
    /// A gap.
    Span(Span),
    /// A covered window that can't be counted or read again.
    Recount(Span),
    /// A record whose detail fails, by a case's number or a session's id.
    Id(String),
    /// A list of a record: `{"list": "members", "id": "<watchlist id>"}`. A list by itself has no id.
    List {
        list: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
}

/// A stream's stuck things, as in the answer and the health records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StuckSummary {
    pub count: u64,
    /// The thing that failed first.
    pub oldest: Named,
    pub since: Millis,
    /// The last error of the oldest.
    pub error: ErrorInfo,
}

/// A span by its ends, a record by its id, a list by its name and the id of its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Named {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// All stuck things of one stream. Its spans are disjoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StuckList(Vec<Stuck>);

impl StuckList {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stuck> {
        self.0.iter()
    }

    /// None if nothing is stuck.
    pub fn summary(&self) -> Option<StuckSummary> {
        let oldest = self.0.iter().min_by_key(|stuck| (stuck.since, &stuck.what))?;
        let (since, error) = (oldest.since, oldest.error.clone());
        Some(StuckSummary { count: self.0.len() as u64, oldest: Named::from(&oldest.what), since, error })
    }

    /// The first of the errors' types, in the order of [`ErrorType`].
    pub fn error_type(&self) -> ErrorType {
        let types = self.0.iter().map(|stuck| stuck.error.error_type);
        types.min().unwrap_or(ErrorType::ThirdPartyGenericError)
    }

    /// For example `3 can't be read: 17, 18, 19 (…)`, with the error of the oldest.
    pub fn message(&self) -> String {
        let mut all: Vec<&StuckItem> = self.0.iter().map(|stuck| &stuck.what).collect();
        all.sort_unstable();
        let names: Vec<String> = all.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        let more = all.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (since, why) =
            self.summary().map_or_else(Default::default, |oldest| (oldest.since.to_string(), oldest.error.message));
        format!(
            "{} can't be read: {}{more}; the oldest since {since}: {why}; all else is collected, and each is tried again, after at most 6 hours",
            all.len(),
            names.join(", ")
        )
    }

    pub fn get(&self, what: &StuckItem) -> Option<&Stuck> {
        self.0.iter().find(|stuck| stuck.what == *what)
    }

    /// Whether it may be tried now. True for what isn't stuck.
    pub fn is_due(&self, what: &StuckItem, now: Millis) -> bool {
        self.get(what).is_none_or(|stuck| stuck.next_try <= now)
    }

    /// Notes a failure. The next run tries it again. After that each pause is twice as long as the one before.
    pub fn fail(&mut self, what: StuckItem, error: ErrorInfo, now: Millis) {
        let Some(stuck) = self.0.iter_mut().find(|stuck| stuck.what == what) else {
            // Entries for parts of the window become part of this one.
            let span = what.span();
            let parts = || self.0.iter().filter(move |stuck| span.is_some_and(|span| stuck.meets(span)));
            let since = parts().map(|stuck| stuck.since).min().unwrap_or(now);
            let (alone, unreadable) = (parts().any(|stuck| stuck.alone), parts().map(|stuck| stuck.unreadable).sum());
            if let Some(span) = span {
                self.cut_out(span);
            }
            let (tried_at, next_try) = (now, now);
            let listed_at = None;
            self.0.push(Stuck { what, since, attempts: 1, tried_at, next_try, error, listed_at, alone, unreadable });
            return;
        };
        let pause = if stuck.attempts == 0 { TimeDelta::zero() } else { (now - stuck.tried_at) * 2 };
        stuck.attempts += 1;
        (stuck.tried_at, stuck.next_try) = (now, now + pause.clamp(TimeDelta::zero(), LONGEST_PAUSE));
        stuck.error = error;
    }

    /// Notes that a list shows a record, if it is stuck.
    pub fn listed(&mut self, id: &str, now: Millis) {
        let is_it = |stuck: &&mut Stuck| matches!(&stuck.what, StuckItem::Id(of) if of == id);
        if let Some(stuck) = self.0.iter_mut().find(is_it) {
            stuck.listed_at = Some(now);
        }
    }

    /// Removes a thing that was read or is gone.
    pub fn heal(&mut self, what: &StuckItem) {
        self.0.retain(|stuck| stuck.what != *what);
    }

    pub fn retain(&mut self, keep: impl FnMut(&Stuck) -> bool) {
        self.0.retain(keep);
    }

    /// Makes everything due at once.
    pub fn try_now(&mut self, now: Millis) {
        for stuck in &mut self.0 {
            stuck.next_try = now;
        }
    }

    /// The ids of the records whose details fail.
    pub fn ids(&self) -> BTreeSet<String> {
        self.0.iter().filter_map(|stuck| stuck.what.clone().into_id()).collect()
    }

    /// The gaps.
    pub fn spans(&self) -> Intervals {
        self.0.iter().filter_map(Stuck::span).collect()
    }

    /// The entry that contains a span.
    pub fn holding(&self, span: Span) -> Option<&Stuck> {
        self.0.iter().find(|stuck| stuck.span().is_some_and(|held| held.from <= span.from && span.to <= held.to))
    }

    /// Notes the number of unreadable rows in each entry within this span. Up to three are noted only in an entry that
    /// has a number already.
    pub fn note_unreadable(&mut self, span: Span, rows: u64) {
        let lies_within = |held: Span| span.from <= held.from && held.to <= span.to;
        for stuck in self.0.iter_mut().filter(|stuck| stuck.span().is_some_and(lies_within)) {
            if rows > FEW || stuck.unreadable > 0 {
                stuck.unreadable = rows;
            }
        }
    }

    /// Returns the number of unreadable rows in the other entries that had too many. 0 if no such entry meets this
    /// span. Added to the span's own they may be too many.
    pub fn unreadable_beside(&self, span: Span) -> u64 {
        let suspected = || self.0.iter().filter(|stuck| stuck.unreadable > 0);
        if !suspected().any(|stuck| stuck.meets(span)) {
            return 0;
        }
        suspected().filter(|stuck| !stuck.meets(span)).map(|stuck| stuck.unreadable).sum()
    }

    /// Keeps only recounts for which `is_due` holds: their window is still to be counted again.
    pub fn keep_recounts(&mut self, is_due: impl Fn(Span) -> bool) {
        self.0.retain(|stuck| !matches!(stuck.what, StuckItem::Recount(span) if !is_due(span)));
    }

    /// Removes a span from all entries. Their remaining parts stay stuck.
    pub fn cut_out(&mut self, gone: Span) {
        let gone = Intervals::from(vec![gone]);
        self.keep_spans(|span| Intervals::from(vec![span]).without(&gone));
    }

    /// Takes over the stuck things of another run. For the same spans its entries replace these.
    pub fn take_over(&mut self, theirs: Self) {
        for stuck in theirs.0 {
            match stuck.span() {
                Some(span) => self.cut_out(span),
                None => self.heal(&stuck.what),
            }
            self.0.push(stuck);
        }
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
}

impl StuckList {
    /// Joins adjacent spans that have all been tried, of which all are due or none is.
    pub fn merge_tried(&mut self, now: Millis) {
        let (mut tried, mut merged): (Vec<Stuck>, Vec<Stuck>) =
            std::mem::take(&mut self.0).into_iter().partition(|stuck| stuck.span().is_some() && stuck.attempts > 0);
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

/// Older checkpoints have a flag.
fn rows_or_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum RowsOrFlag {
        Rows(u64),
        Flag(bool),
    }
    Ok(match RowsOrFlag::deserialize(deserializer)? {
        RowsOrFlag::Rows(rows) => rows,
        RowsOrFlag::Flag(is_suspected) => u64::from(is_suspected) * (FEW + 1),
    })
}

impl Stuck {
    /// The span, if it is a gap.
    pub fn span(&self) -> Option<Span> {
        self.what.span()
    }

    fn meets(&self, span: Span) -> bool {
        self.span().is_some_and(|held| held.intersection(span).is_some())
    }
}

impl StuckItem {
    /// Of time that is not covered.
    fn span(&self) -> Option<Span> {
        match self {
            Self::Span(span) => Some(*span),
            _ => None,
        }
    }

    /// The id, if it is a record.
    pub fn into_id(self) -> Option<String> {
        match self {
            Self::Id(id) => Some(id),
            _ => None,
        }
    }
}

impl From<&StuckItem> for Named {
    fn from(what: &StuckItem) -> Self {
        match what {
            StuckItem::Span(span) | StuckItem::Recount(span) => {
                Self { from: Some(span.from), to: Some(span.to), ..Self::default() }
            }
            StuckItem::Id(id) => Self { id: Some(id.clone()), ..Self::default() },
            StuckItem::List { list, id } => Self { list: Some(list.clone()), id: id.clone(), ..Self::default() },
        }
    }
}

impl fmt::Display for StuckItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Span(span) => write!(f, "{} to {}", span.from, span.to),
            Self::Recount(span) => write!(f, "the recount of {} to {}", span.from, span.to),
            Self::Id(id) => f.write_str(id),
            Self::List { list, id: Some(id) } => write!(f, "{list} of {id}"),
            Self::List { list, id: None } => f.write_str(list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: message.into() }
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    #[test]
    fn of_a_span_with_too_many_unreadable_rows_the_few_that_are_left_at_its_end_are_not_too_many() {
        let (whole, first, second) = (span(0, 10), span(0, 5), span(5, 10));
        let mut list = StuckList::default();
        list.split(whole, vec![first, second], &error("no JSON"), Millis(0), false);
        list.note_unreadable(whole, 9);
        assert_eq!((list.unreadable_beside(first), list.unreadable_beside(span(20, 30))), (9, 0), "not read by itself");
        list.note_unreadable(second, 2);
        assert_eq!((list.unreadable_beside(first), list.unreadable_beside(second)), (2, 9));
        list.cut_out(first);
        assert_eq!(list.unreadable_beside(second), 0);
        list.note_unreadable(span(5, 6), 1);
        list.fail(StuckItem::Span(span(20, 30)), error("500"), Millis(0));
        list.note_unreadable(span(20, 30), FEW);
        assert_eq!(list.get(&StuckItem::Span(span(20, 30))).map(|stuck| stuck.unreadable), Some(0), "they are few");
        let told = serde_json::to_string(&list).expect("JSON").replace("\"unreadable\":2", "\"unreadable\":true");
        let older: StuckList = serde_json::from_str(&told).expect("as it was written before");
        assert_eq!(older.get(&StuckItem::Span(second)).map(|stuck| stuck.unreadable), Some(FEW + 1));
    }

    #[test]
    fn the_next_try_is_the_next_run_s_and_then_twice_as_late_each_time_but_six_hours_at_most() {
        let id = || StuckItem::Id("17".into());
        let (mut list, mut now) = (StuckList::default(), Millis(0));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            list.fail(id(), error("500"), now);
            let next = list.get(&id()).expect("stuck").next_try;
            pauses.push((next - now).num_minutes());
            assert!(list.is_due(&id(), next) && (next == now || !list.is_due(&id(), now)));
            // A run every five minutes.
            now = next.max(now + TimeDelta::minutes(5));
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 360, 360, 360]);
        list.try_now(now);
        assert!(list.is_due(&id(), now), "a restart clears it");
        assert_eq!(list.get(&id()).map(|stuck| (stuck.since, stuck.attempts)), Some((Millis(0), 10)));
        list.heal(&id());
        assert_eq!(list, StuckList::default());
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

    #[test]
    fn it_is_told_with_its_oldest_and_names_all() {
        let mut list = StuckList::default();
        list.fail(StuckItem::Id("18".into()), error("403"), Millis(0));
        list.fail(StuckItem::List { list: "members".into(), id: Some("w".into()) }, error("404"), Millis(1));
        let summary = serde_json::to_value(list.summary()).expect("JSON");
        let expected = r#"{"count":2,"oldest":{"id":"18"},"since":"1970-01-01T00:00:00.000Z","error":{"type":"ThirdPartyGenericError","message":"403"}}"#;
        assert_eq!(summary, serde_json::from_str::<serde_json::Value>(expected).expect("JSON"));
        assert!(
            list.message().starts_with("2 can't be read: 18, members of w; the oldest since 1970"),
            "{}",
            list.message()
        );
    }
}
