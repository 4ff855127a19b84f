//! One stream's part of the checkpoint, whatever class the stream is of.

use serde_json::{Value, json};

use super::stored::StoredState;
use super::{Checkpoint, EventsState, InventoryState, RescannedState, VersionsState};
use crate::core::stream::{Class, Stream};
use crate::core::stuck::StuckList;
use crate::core::time::Millis;

impl Checkpoint {
    pub fn stuck(&mut self, stream: Stream) -> &mut StuckList {
        self.stuck.entry(stream).or_default()
    }

    /// An event stream's part, and its stuck list.
    pub fn events_and_stuck(&mut self, stream: Stream) -> (&mut EventsState, &mut StuckList) {
        (self.events.entry(stream).or_default(), self.stuck.entry(stream).or_default())
    }

    pub fn events(&mut self, stream: Stream) -> &mut EventsState {
        self.events.entry(stream).or_default()
    }

    pub fn versions(&mut self, stream: Stream) -> &mut VersionsState {
        self.versions.entry(stream).or_default()
    }

    pub fn rescanned(&mut self, stream: Stream) -> &mut RescannedState {
        self.rescanned.entry(stream).or_default()
    }

    pub fn inventory(&mut self, stream: Stream) -> &mut InventoryState {
        self.inventory.entry(stream).or_default()
    }

    /// The class under which the stream's state lies.
    pub fn class(&self, stream: Stream) -> Class {
        stream.class_in(self.identity.dialect)
    }

    /// The stored state of a stream that is read as one of this class.
    pub fn stored(&mut self, stream: Stream, class: Class) -> &mut StoredState {
        match class {
            Class::Versions => &mut self.versions(stream).stored,
            Class::Rescanned => &mut self.rescanned(stream).stored,
            Class::Events | Class::Inventory | Class::Findings => &mut self.inventory(stream).stored,
        }
    }

    /// The stored state of a stream, if a run has ever come to it.
    pub fn snapshots(&self, stream: Stream) -> Option<&StoredState> {
        Some(match self.class(stream) {
            Class::Versions => &self.versions.get(&stream)?.stored,
            Class::Rescanned => &self.rescanned.get(&stream)?.stored,
            Class::Events | Class::Inventory | Class::Findings => &self.inventory.get(&stream)?.stored,
        })
    }

    /// The instant at which the API last said that the stream is not permitted.
    pub fn not_permitted_at(&self, stream: Stream) -> Option<Millis> {
        match self.class(stream) {
            Class::Events => self.events.get(&stream)?.not_permitted_at,
            Class::Versions => self.versions.get(&stream)?.not_permitted_at,
            Class::Rescanned => self.rescanned.get(&stream)?.not_permitted_at,
            Class::Inventory | Class::Findings => self.inventory.get(&stream)?.not_permitted_at,
        }
    }

    /// `at` is none once the stream is permitted again.
    pub fn note_not_permitted(&mut self, stream: Stream, at: Option<Millis>) {
        if self.not_permitted_at(stream) == at {
            return;
        }
        match self.class(stream) {
            Class::Events => self.events(stream).not_permitted_at = at,
            Class::Versions => self.versions(stream).not_permitted_at = at,
            Class::Rescanned => self.rescanned(stream).not_permitted_at = at,
            Class::Inventory | Class::Findings => self.inventory(stream).not_permitted_at = at,
        }
    }

    /// A value that changes with any progress of the stream.
    pub fn progress(&self, stream: Stream) -> Value {
        match self.class(stream) {
            Class::Events => {
                self.events.get(&stream).map_or(Value::Null, |events| json!([events.covered, events.expired]))
            }
            Class::Versions => self.versions.get(&stream).map_or(Value::Null, |versions| {
                // Reading the list again is no progress while details of its records are due.
                let listed_to = versions.listed_to.filter(|_| versions.pending.is_empty());
                let again = versions.incomplete_list.as_ref().and_then(|list| list.unfinished.as_ref());
                let lists = [versions.listing.as_ref(), again, versions.comparing.as_ref()];
                json!([versions.covered_to, listed_to, lists, versions.pending])
            }),
            Class::Rescanned => self
                .rescanned
                .get(&stream)
                .map_or(Value::Null, |rescanned| json!([rescanned.covered_to, rescanned.sweeps])),
            Class::Inventory | Class::Findings => self.inventory.get(&stream).map_or(Value::Null, |inventory| {
                let at = inventory
                    .pass
                    .as_ref()
                    .filter(|pass| !pass.is_at_beginning())
                    .map(|pass| (pass.part, &pass.parent, pass.page, &pass.list, &pass.failed_pages));
                json!([inventory.covered_to, at])
            }),
        }
    }

    /// Whether a list of the stream is being read, in several runs.
    pub fn is_under_way(&self, stream: Stream) -> bool {
        let pass = self.inventory.get(&stream).and_then(|state| state.pass.as_ref());
        let list = self.versions.get(&stream).and_then(|state| state.listing.as_ref());
        pass.is_some_and(|pass| !pass.is_at_beginning()) || list.is_some_and(|list| !list.seen.is_empty())
    }

    /// The end of the stream's covered time. None before anything of it is covered.
    pub fn covered_to(&self, stream: Stream) -> Option<Millis> {
        match self.class(stream) {
            Class::Events => self.events.get(&stream)?.covered_to(),
            Class::Versions => self.versions.get(&stream)?.covered_to,
            Class::Rescanned => self.rescanned.get(&stream)?.covered_to,
            Class::Inventory | Class::Findings => self.inventory.get(&stream)?.covered_to,
        }
    }
}
