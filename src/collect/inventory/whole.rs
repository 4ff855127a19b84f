//! Decides which records are read as a whole, if a list has only a summary of each: those that are new or changed, and
//! of the others those that were read longest ago.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::super::Collector;
use super::key::Member;
use super::pass::PassReading;
use crate::core::time::{DAY, HOUR, MINUTE, Millis};
use crate::incydr::facts::{Inventory, Part};

/// Records that may have changed are read with a fifth of the budget since the last reading.
const SHARE: i64 = 5;

impl Collector<'_> {
    /// Returns the ids to read. The others are kept as they are.
    pub(super) fn to_ask(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        every: TimeDelta,
        ids: Vec<String>,
        reading: &mut PassReading,
    ) -> Vec<String> {
        let now = Millis::now();
        // A record is due one reading early, an hour at most; otherwise it would wait for the next reading and be late.
        let due = now - (every - self.run.settings.inventory_interval.min(HOUR));

        let mut old: Vec<(Millis, &String)> = Vec::new();
        for id in &ids {
            old.extend(reading.seen().asked_at(id).map(|at| (at, id)));
        }
        old.sort_unstable();
        let due_of_old = old.iter().filter(|(at, _)| *at <= due).count();
        let share = usize::try_from(self.share(now)).unwrap_or(usize::MAX);
        let kept: BTreeSet<String> = old[due_of_old.min(share)..].iter().map(|(_, id)| (*id).clone()).collect();

        let key = |id: &str| Member { part, parent: Some(id), id }.key(facts);
        let (kept, asked): (Vec<String>, Vec<String>) = ids.into_iter().partition(|id| kept.contains(id));
        for id in kept {
            reading.keep(&key(&id));
        }
        for id in &asked {
            // An earlier run of this pass may have kept it.
            reading.forget_seen(&key(id));
        }
        asked
    }

    /// Returns the number of requests in a fifth of the budget since the last reading.
    fn share(&self, now: Millis) -> i64 {
        let settings = &self.run.settings;
        let last = self.inventory_state(|state| state.covered_to);
        let since = last.map_or(settings.inventory_interval, |at| now - at).clamp(MINUTE, DAY);
        let budget =
            i64::try_from(settings.requests_per_minute).unwrap_or(i64::MAX).saturating_mul(since.num_minutes());
        (budget / SHARE).max(1)
    }
}
