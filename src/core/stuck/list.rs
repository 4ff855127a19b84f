//! A stream's list of stuck things: failures noted with their pauses, and what the answer says of them.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::time::Millis;

use super::{Named, Stuck, StuckItem, StuckSummary};

/// The longest pause between two tries.
pub const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(6);
/// Limit for the things that an error message names.
const MOST_NAMED: usize = 20;

/// All stuck things of one stream. Its spans are disjoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StuckList(pub(super) Vec<Stuck>);

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

    /// For example `3 can't be read: 17, 18, 19; the oldest since 2026-11-21T13:00:00.000Z: …`, with the error of the
    /// oldest.
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

    /// Keeps only recounts for which `is_due` holds: their window is still to be counted again.
    pub fn keep_recounts(&mut self, is_due: impl Fn(Span) -> bool) {
        self.0.retain(|stuck| !matches!(stuck.what, StuckItem::Recount(span) if !is_due(span)));
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: message.into() }
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
