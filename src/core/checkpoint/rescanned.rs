//! The state on the checkpoint of a stream that is read again by the time at which its records began.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::core::checkpoint::stored::StoredState;
use crate::core::time::{DAY, HOUR, Millis, as_millis};

/// Records that began less than this long ago are the youngest ones. Every run reads them.
const FRESH: TimeDelta = TimeDelta::hours(2);
/// The interval at which the records of the last day are read.
const DAY_EVERY: TimeDelta = HOUR;
/// The interval at which all records are read.
const ALL_EVERY: TimeDelta = TimeDelta::hours(6);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RescannedState {
    /// The instant at which the last complete reading of the youngest records began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_to: Option<Millis>,
    /// The instants at which the last sweep of the last day, and of all records, began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_swept_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_swept_at: Option<Millis>,
    /// The sweeps that are not finished, youngest records first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<Sweep>,
    /// Records that began earlier are neither known nor read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_from: Option<Millis>,
    pub stored: StoredState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_permitted_at: Option<Millis>,
}

/// The progress of a reading, starting from the checkpoint.
#[derive(Clone)]
pub struct SweepProgress {
    pub sweeps: Vec<Sweep>,
    pub covered_to: Option<Millis>,
    /// Sweeps of which a slice could not be read whole. They are due again once they are finished.
    pub again: Vec<Tier>,
}

/// A span of records that is read again, slice by slice, by the time at which they began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    pub tier: Tier,
    pub began: Millis,
    /// Read up to here.
    pub done_to: Millis,
    pub to: Millis,
    /// The length of the next slice.
    #[serde(with = "as_millis")]
    pub slice: TimeDelta,
}

/// The age of a sweep's records, which determines how often it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Begun less than 2 hours ago. Due in every run.
    Fresh,
    /// Begun less than 24 hours ago. Due every hour.
    Day,
    /// All that are read again. Due every 6 hours.
    All,
}

impl RescannedState {
    /// Begins the sweeps that are due and not under way, youngest records first. After an outage everything that began
    /// since is due.
    pub fn plan(&mut self, now: Millis, rescan: TimeDelta) {
        let oldest = self.covered_to.map_or(now - rescan, |to| (now - rescan).min(to - FRESH));
        let oldest = self.known_from.map_or(oldest, |from| oldest.max(from));

        let day_due = self.day_swept_at.is_none_or(|at| at + DAY_EVERY <= now);
        let all_due = self.all_swept_at.is_none_or(|at| at + ALL_EVERY <= now);
        let tiers = [
            (Tier::Fresh, true, oldest.max(now - FRESH), now),
            (Tier::Day, day_due, oldest.max(now - DAY), now - FRESH),
            (Tier::All, all_due, oldest, now - DAY),
        ];
        for (tier, is_due, from, to) in tiers {
            let is_under_way = self.sweeps.iter().any(|sweep| sweep.tier == tier);
            if !is_due || is_under_way || from >= to {
                continue;
            }

            self.sweeps.push(Sweep { tier, began: now, done_to: from, to, slice: to - from });
            match tier {
                Tier::Fresh => {}
                Tier::Day => self.day_swept_at = Some(now),
                Tier::All => self.all_swept_at = Some(now),
            }
        }

        self.sweeps.sort_by_key(|sweep| sweep.tier);
    }

    pub fn sweep_progress(&self) -> SweepProgress {
        SweepProgress { sweeps: self.sweeps.clone(), covered_to: self.covered_to, again: Vec::new() }
    }

    /// Takes over a reading's progress, once its records are stored.
    pub fn take_over_progress(&mut self, swept: SweepProgress) {
        (self.sweeps, self.covered_to) = (swept.sweeps, swept.covered_to);
        for tier in swept.again {
            match tier {
                Tier::Fresh => {}
                Tier::Day => self.day_swept_at = None,
                Tier::All => self.all_swept_at = None,
            }
        }
    }

    /// Whether records of every age were read since `listed_at`. Then a record that no list has shown since is no
    /// longer listed. The last sweep of the oldest records must have begun at least an hour after `listed_at`: a sweep
    /// of each other age was due with it. `swept` is the progress of the present reading; it must have no unfinished
    /// sweep.
    pub fn has_swept_all_since(&self, listed_at: Millis, rescan: TimeDelta, swept: &SweepProgress) -> bool {
        let oldest_swept_at = match rescan {
            _ if rescan > DAY => self.all_swept_at,
            _ if rescan > FRESH => self.day_swept_at,
            _ => swept.covered_to,
        };
        swept.sweeps.is_empty() && oldest_swept_at.is_some_and(|at| at >= listed_at + DAY_EVERY)
    }

    /// Sets the time before which records need not be known, and returns it: `from`, or earlier if older records are
    /// still being read.
    pub fn forget_before(&mut self, from: Millis) -> Millis {
        let sweeping = self.sweeps.iter().map(|sweep| sweep.done_to);
        let needed = sweeping.chain(self.covered_to).chain([from]).min().unwrap_or(from);
        let from = self.known_from.map_or(needed, |before| before.max(needed));
        self.known_from = Some(from);
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(TimeDelta::hours(1_000).num_milliseconds());

    fn tiers(state: &RescannedState) -> Vec<(Tier, i64, i64)> {
        state
            .sweeps
            .iter()
            .map(|sweep| (sweep.tier, (NOW - sweep.done_to).num_hours(), (NOW - sweep.to).num_hours()))
            .collect()
    }

    #[test]
    fn the_first_run_reads_all_the_youngest_first() {
        let mut state = RescannedState::default();
        state.plan(NOW, TimeDelta::hours(72));
        assert_eq!(tiers(&state), [(Tier::Fresh, 2, 0), (Tier::Day, 24, 2), (Tier::All, 72, 24)]);
        state.plan(NOW, TimeDelta::hours(72));
        assert_eq!(state.sweeps.len(), 3, "no sweep is begun twice");
    }

    #[test]
    fn what_is_older_is_read_more_rarely() {
        let mut state = RescannedState::default();
        state.plan(NOW, TimeDelta::hours(72));
        let mut due = Vec::new();
        for hours in 0..=6 {
            state.sweeps.clear();
            state.plan(NOW + TimeDelta::hours(hours), TimeDelta::hours(72));
            due.push(state.sweeps.len());
        }
        assert_eq!(due, [1, 2, 2, 2, 2, 2, 3]);
    }

    #[test]
    fn a_rescan_of_few_hours_has_fewer_tiers() {
        let mut state = RescannedState::default();
        state.plan(NOW, HOUR);
        assert_eq!(tiers(&state), [(Tier::Fresh, 1, 0)]);
        let mut state = RescannedState::default();
        state.plan(NOW, TimeDelta::hours(12));
        assert_eq!(tiers(&state), [(Tier::Fresh, 2, 0), (Tier::Day, 12, 2)]);
    }

    #[test]
    fn after_an_outage_all_is_read_that_began_since_and_nothing_that_is_forgotten() {
        let mut state = RescannedState { covered_to: Some(NOW - TimeDelta::hours(200)), ..RescannedState::default() };
        state.plan(NOW, TimeDelta::hours(72));
        assert_eq!(tiers(&state).last(), Some(&(Tier::All, 202, 24)));
        let mut state = RescannedState { known_from: Some(NOW - TimeDelta::hours(100)), ..RescannedState::default() };
        state.plan(NOW, TimeDelta::hours(2_000));
        assert_eq!(tiers(&state).last(), Some(&(Tier::All, 100, 24)));
    }

    #[test]
    fn what_is_still_read_is_not_forgotten() {
        let mut state = RescannedState { covered_to: Some(NOW), ..RescannedState::default() };
        assert_eq!(state.forget_before(NOW - TimeDelta::hours(96)), NOW - TimeDelta::hours(96));
        state.plan(NOW, TimeDelta::hours(96));
        assert_eq!(state.forget_before(NOW - HOUR), NOW - TimeDelta::hours(96));
        state.sweeps.clear();
        assert_eq!(state.forget_before(NOW - HOUR), NOW - HOUR);
    }
}
