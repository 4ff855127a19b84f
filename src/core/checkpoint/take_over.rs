//! What manifests tell and the checkpoint doesn't know, since it is an older version of itself, or was begun anew.

use crate::core::checkpoint::{Checkpoint, Recount};
use crate::core::manifest::{Link, Manifest, ReadingEntry};
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

impl Checkpoint {
    /// A window whose objects were seen is covered, whatever stood here of it.
    pub fn take_over_window(&mut self, entry: &ReadingEntry, reconcile: &[i64]) {
        let Some(window) = entry.window else { return };
        let (state, stuck) = self.events_and_stuck(entry.stream);
        state.open.retain(|open| open.span.intersection(window).is_none());
        state.cover(window);
        stuck.cut_out(window);
        state.recount.retain(|recount| recount.span != window);
        if let (Some(count), false) = (entry.total, reconcile.is_empty()) {
            state.count_again([Recount {
                span: window,
                request: entry.request.clone(),
                count,
                covered_at: entry.closed_at,
                due: reconcile.iter().map(|delay| entry.closed_at + *delay).collect(),
                read_by: None,
                has_key: false,
                slices: None,
            }]);
        }
    }

    /// What a snapshot `at` an instant stored is known: one that stood open here is long closed.
    pub fn take_over_snapshot(&mut self, stream: Stream, class: Class, at: Millis) {
        let stored = self.stored(stream, class);
        stored.last = stored.last.max(Some(at));
        if stored.open.is_some_and(|open| open <= at) {
            (stored.open, stored.applied) = (None, 0);
            stored.opened_by.clear();
        }
        if class == Class::Inventory {
            self.inventory(stream).pass = None;
        }
    }

    /// Of a checkpoint that was begun anew: what is covered first is where each event stream began.
    pub fn begin_where_covered(&mut self) {
        for (stream, state) in &mut self.events {
            if let Some(first) = state.covered.first() {
                state.live_from = Some(state.live_from.map_or(first.from, |from| from.min(first.from)));
                self.attempted.remove(stream);
            }
        }
    }

    /// The chain goes on from here.
    pub fn take_over_manifest(&mut self, link: &Link, manifest: &Manifest) {
        let manifests = &mut self.manifests;
        manifests.unlisted.retain(|entry| !manifest.readings.contains(entry));
        manifests.merged.retain(|end| !manifest.merged.contains(end));
        manifests.unindexed.retain(|last| manifest.indexes.iter().all(|index| index.last != *last));
        if let Some(before) = manifests.head.replace(link.clone())
            && before.day() != link.day()
        {
            manifests.unindexed.push(before);
        }
    }
}
