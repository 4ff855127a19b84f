//! Takes over from manifests what the checkpoint lacks because it is an older version of itself or was begun anew.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::Value;

use crate::core::checkpoint::{Checkpoint, EventsState, Lease, Recount, Recovery, Window};
use crate::core::intervals::Span;
use crate::core::manifest::{Link, Manifest, ReadingEntry};
use crate::core::stream::{Class, Stream};
use crate::core::time::Millis;

impl Checkpoint {
    /// Whether the checkpoint is new, or was written only by runs that covered nothing. An open window or reading
    /// counts as something, even if no manifest is named yet.
    pub fn knows_nothing(&self) -> bool {
        let is_blank = |state: &EventsState| state.covered.is_empty() && state.open.is_empty();
        let is_open = |stream: &Stream| self.snapshots(*stream).is_some_and(|stored| stored.last.is_some());
        self.found().is_none()
            || (self.manifests.head.is_none() && self.events.values().all(is_blank) && !Stream::ALL.iter().any(is_open))
    }

    /// The recovery of this checkpoint if it is an older version of itself: the manifests after its newest are taken
    /// over.
    pub fn recovery_of_older(&self) -> Recovery {
        let is_list = |stream: &&Stream| stream.class().is_compared();
        let last = |stream: &Stream| Some((*stream, self.snapshots(*stream)?.last?));
        Recovery {
            after: self.manifests.head.clone(),
            lists: Stream::ALL.iter().filter(is_list).filter_map(last).collect(),
            ..Recovery::default()
        }
    }

    /// Whether a manifest that the checkpoint doesn't name proves that the checkpoint is an older version of itself.
    /// The proof is a stored reading that is neither open nor closed here nor in a shard's span, or a merged shard that
    /// is neither named nor reserved here. The manifest of a run that died proves nothing: the run merged only shards
    /// that are reserved here, and opened its readings on the checkpoint before it stored them.
    pub fn is_behind(&self, manifest: &Manifest) -> bool {
        let is_reserved = |end: &Link| {
            self.reserved().any(|(_, reserved)| end.key.contains(&format!("backfill/{}/", reserved.shard)))
        };
        let is_unknown = |end: &Link| !self.manifests.merged.contains(end) && !is_reserved(end);
        manifest.merged.iter().any(is_unknown)
            || manifest
                .readings
                .iter()
                .any(|entry| !entry.objects.is_empty() && self.lacks(entry) && !self.has_open(entry))
    }

    /// Whether the checkpoint lacks a reading that a manifest lists.
    pub fn lacks(&self, entry: &ReadingEntry) -> bool {
        match (entry.window, entry.at) {
            (Some(window), _) => self
                .events
                .get(&entry.stream)
                .is_none_or(|state| !self.is_left_to_a_shard(entry.stream, window) && !state.has_covered(window)),
            // A reading that stored nothing can be repeated.
            (None, Some(_)) if entry.objects.is_empty() => false,
            (None, Some(at)) => {
                self.snapshots(entry.stream).is_none_or(|stored| stored.last < Some(at) || stored.open == Some(at))
            }
            (None, None) => false,
        }
    }

    /// Whether any of the window is left to a shard of a backfill.
    pub fn is_left_to_a_shard(&self, stream: Stream, window: Span) -> bool {
        let reserved = self.events.get(&stream).into_iter().flat_map(|state| &state.reserved);
        reserved.map(|reserved| reserved.span).any(|span| span.intersection(window).is_some())
    }

    /// Whether the entry's reading is open here. A window may have been cut, so an open part of it is enough.
    fn has_open(&self, entry: &ReadingEntry) -> bool {
        let Some(window) = entry.window else {
            return self.snapshots(entry.stream).is_some_and(|stored| stored.open.is_some() && stored.open == entry.at);
        };
        let is_within = |open: Span| open.intersection(window) == Some(open);
        self.events.get(&entry.stream).is_some_and(|state| state.open.iter().any(|open| is_within(open.span)))
    }

    /// Covers a window whose objects exist, whatever the checkpoint says of it, and plans its recounts.
    pub fn take_over_window(&mut self, entry: &ReadingEntry, reconcile: &[TimeDelta]) {
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
                rows_hash: None,
                covered_at: entry.closed_at,
                due: reconcile.iter().map(|delay| entry.closed_at + *delay).collect(),
                read_by: None,
                deaths: 0,
                has_key: false,
                slices: None,
            }]);
        }
    }

    /// Gives up a window of which objects are missing and that the API no longer keeps.
    pub fn give_up_window(&mut self, stream: Stream, window: Span) {
        let (state, stuck) = self.events_and_stuck(stream);
        stuck.cut_out(window);
        state.give_up(window);
    }

    /// Opens a window again if some of its objects are missing. It keeps its bounds, so the objects that are still
    /// there are not stored again under other keys.
    pub fn reopen_window(&mut self, entry: &ReadingEntry, run_id: &str) {
        let Some(span) = entry.window else { return };
        let (state, _) = self.events_and_stuck(entry.stream);
        state.covered.remove(span);
        state.open.retain(|open| open.span.intersection(span).is_none());
        state.recount.retain(|recount| recount.span != span);
        let opened_by = Lease { run_id: run_id.to_owned(), until: entry.closed_at };
        let (request, opened_at) = (entry.request.clone(), entry.opened_at);
        state.open.push(Window { span, request, opened_at, opened_by, resumed: 0 });
    }

    /// Opens the windows of objects that lie in gaps, with the bounds that their keys tell: a run stored them, and no
    /// manifest lists them. They are read again and stored under the same keys, so nothing is stored twice. The run
    /// that reads them makes the request. Returns how many more there were than `most`.
    pub fn open_stored(&mut self, stream: Stream, stored: &BTreeSet<Span>, most: usize, opened_by: &Lease) -> usize {
        let now = Millis::now();
        let Some(state) = self.events.get_mut(&stream) else { return 0 };
        let mut gaps = state.unopened_gaps(now);

        let (mut opened, mut left) = (0, 0);
        for span in stored {
            let is_in_a_gap = gaps.within(*span).first() == Some(*span);
            if !is_in_a_gap {
                continue;
            }
            gaps.remove(*span);

            if opened == most {
                left += 1;
                continue;
            }
            opened += 1;
            let (request, opened_by) = (Value::Null, opened_by.clone());
            state.open.push(Window { span: *span, request, opened_at: now, opened_by, resumed: 0 });
        }
        left
    }

    /// Notes that the known records contain the snapshot `at` an instant. A snapshot that was opened then or earlier is
    /// no longer open: a later run has closed it.
    pub fn take_over_snapshot(&mut self, stream: Stream, at: Millis) {
        let class = self.class(stream);
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

    /// Called for a new checkpoint. Each event stream begins where its covered time begins.
    pub fn begin_where_covered(&mut self) {
        for (stream, state) in &mut self.events {
            let open = state.open.iter().map(|window| window.span.from).min();
            let first = state.covered.first().map(|first| first.from).into_iter().chain(open).min();
            if let Some(first) = first {
                state.live_from = Some(state.live_from.map_or(first, |from| from.min(first)));
                self.attempted.remove(stream);
            }
        }
    }

    /// Continues the chain after this manifest.
    pub fn take_over_manifest(&mut self, link: &Link, manifest: &Manifest) {
        self.forget_listed(manifest);
        self.manifests.append(link, &manifest.indexes);
    }

    /// Forgets the readings that waited for a manifest and that this one lists.
    pub fn forget_listed(&mut self, manifest: &Manifest) {
        let manifests = &mut self.manifests;
        manifests.unlisted.retain(|entry| !manifest.readings.contains(entry));
        manifests.merged.retain(|end| !manifest.merged.contains(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::checkpoint::Reserved;
    use crate::core::identity::Identity;
    use crate::core::manifest::{FORMAT_VERSION, StoredObject};

    fn identity() -> Identity {
        Identity::example()
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    fn of_window(from: i64, to: i64) -> ReadingEntry {
        with_object(ReadingEntry::of_window(Stream::Audit, span(from, to), Millis(0)))
    }

    fn of_agents(at: i64) -> ReadingEntry {
        with_object(ReadingEntry::of_instant(Stream::Agents, Millis(at), Millis(0)))
    }

    fn with_object(entry: ReadingEntry) -> ReadingEntry {
        let (key, sha256) = ("key".to_owned(), String::new());
        let object = StoredObject { key, bytes: 1, records: 1, sha256, first: Millis(0), last: Millis(0) };
        ReadingEntry { objects: vec![object], ..entry }
    }

    fn is_behind(checkpoint: &Checkpoint, entry: ReadingEntry) -> bool {
        checkpoint.is_behind(&Manifest {
            format_version: FORMAT_VERSION,
            number: 1,
            previous: None,
            run_id: "dead".into(),
            written_at: Millis(0),
            identity: identity(),
            indexes: Vec::new(),
            merged: Vec::new(),
            readings: vec![entry],
        })
    }

    #[test]
    fn what_a_dead_run_read_is_open_closed_or_left_to_a_shard_and_all_else_makes_the_checkpoint_an_older_one() {
        let lease = Lease { run_id: "dead".into(), until: Millis(0) };
        let mut checkpoint = Checkpoint::new(identity());
        let window = |from, to| Window {
            span: span(from, to),
            request: Value::Null,
            opened_at: Millis(0),
            opened_by: lease.clone(),
            resumed: 0,
        };

        let state = checkpoint.events(Stream::Audit);
        state.cover(span(0, 10));
        state.open = vec![window(10, 20), window(30, 34), window(34, 40)];
        let until = Millis(100);
        state.reserved =
            vec![Reserved { shard: "s".into(), span: span(50, 60), requests_per_minute: 1, at_once: None, until }];

        for (from, to) in [(0, 10), (2, 5), (10, 20), (30, 40), (50, 55)] {
            assert!(!is_behind(&checkpoint, of_window(from, to)), "{from} to {to}");
        }
        for (from, to) in [(5, 10), (0, 10), (10, 20)] {
            assert_eq!(checkpoint.lacks(&of_window(from, to)), from == 10, "{from} to {to}");
        }
        for (from, to) in [(10, 15), (20, 30), (5, 15), (60, 70)] {
            assert!(is_behind(&checkpoint, of_window(from, to)), "{from} to {to}");
        }

        let nothing = ReadingEntry { objects: Vec::new(), ..of_window(20, 30) };
        assert!(!is_behind(&checkpoint, nothing), "nothing is stored, so nothing can be stored twice");

        assert!(is_behind(&checkpoint, of_agents(5)), "no reading is open");
        checkpoint.inventory(Stream::Agents).stored.open(Millis(5), &lease);
        assert!(!is_behind(&checkpoint, of_agents(5)) && checkpoint.lacks(&of_agents(5)), "it is open");
        assert!(is_behind(&checkpoint, of_agents(6)));
        checkpoint.inventory(Stream::Agents).stored.open = None;
        assert!(!is_behind(&checkpoint, of_agents(5)) && !checkpoint.lacks(&of_agents(5)), "it is closed");
    }

    #[test]
    fn a_window_of_an_object_that_no_manifest_lists_is_opened_with_the_bounds_of_its_key_if_it_lies_in_a_gap() {
        let lease = Lease { run_id: "recover".into(), until: Millis(0) };
        let mut checkpoint = Checkpoint::new(identity());
        let state = checkpoint.events(Stream::Audit);
        state.cover(span(0, 10));
        state.cover(span(20, 30));
        state.live_from = Some(Millis(0));
        let stored = [(0, 10), (5, 15), (10, 15), (12, 18), (15, 20), (28, 32), (30, 40), (40, 50)];
        let stored: BTreeSet<Span> = stored.into_iter().map(|(from, to)| span(from, to)).collect();
        assert_eq!(checkpoint.open_stored(Stream::Audit, &stored, 3, &lease), 1);
        let open: Vec<Span> = checkpoint.events[&Stream::Audit].open.iter().map(|window| window.span).collect();
        assert_eq!(open, [span(10, 15), span(15, 20), span(30, 40)]);
        assert_eq!(checkpoint.check(), Ok(()));
        assert_eq!(checkpoint.open_stored(Stream::Cases, &stored, 3, &lease), 0);
    }
}
