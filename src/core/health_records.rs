//! The state changes that are to be stored as health records. They wait on the checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::ndjson::{Packed, Packer, Packing};
use crate::core::states::{Change, States};
use crate::core::stream::Stream;
use crate::core::time::{MILLISECOND, Millis};

/// The health records that are not stored yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthRecords {
    /// The instant of the last object. The next one is later, so no two objects have the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    /// Notes for a stream's next health record.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<Stream, String>,
    /// Oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<ChangeBatch>,
}

/// The changes of one run, which become one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeBatch {
    pub at: Millis,
    pub run_id: String,
    pub changes: Vec<Change>,
}

impl HealthRecords {
    /// Adds a note to the stream's pending notes.
    pub fn note(&mut self, stream: Stream, note: &str) {
        let notes = self.notes.entry(stream).or_default();
        if !notes.is_empty() {
            notes.push_str("; ");
        }
        notes.push_str(note);
    }

    /// Puts the notes into the first change of each stream. If a stream has no change, its state is reported again. A
    /// stream without a state keeps its note.
    pub fn attach_notes(&mut self, changes: &mut Vec<Change>, states: &States, now: Millis) {
        for (stream, note) in std::mem::take(&mut self.notes) {
            let change = changes.iter_mut().find(|change| change.stream == stream);
            match (change, states.get(&stream)) {
                (Some(change), _) => change.note = Some(note),
                (None, Some(state)) => {
                    let (state, note) = (state.state, Some(note));
                    let previous = Some(state);
                    changes.push(Change { stream, state, previous, at: now, error: None, stuck: None, note });
                }
                (None, None) => {
                    self.notes.insert(stream, note);
                }
            }
        }
    }

    /// Queues the changes of one run, which become one object. Without changes it does nothing.
    pub fn queue(&mut self, changes: Vec<Change>, run_id: &str, now: Millis) {
        if changes.is_empty() {
            return;
        }
        let at = self.last.map_or(now, |last| now.max(last + MILLISECOND));
        self.last = Some(at);
        self.unwritten.push(ChangeBatch { at, run_id: run_id.to_owned(), changes });
    }
}

impl ChangeBatch {
    /// Packs one record per line, with the run's id last.
    pub fn packed(&self, packing: &Packing) -> Packed {
        #[derive(Serialize)]
        struct ChangeLine<'a> {
            #[serde(flatten)]
            change: &'a Change,
            run_id: &'a str,
        }

        let mut packer = Packer::new(packing);
        for change in &self.changes {
            let line = ChangeLine { change, run_id: &self.run_id };
            // Serialising plain values with text keys doesn't fail.
            packer.push(&serde_json::to_string(&line).unwrap_or_default());
        }
        packer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ndjson;
    use crate::core::states::State;
    use crate::core::stream::Stream;

    #[test]
    fn a_record_is_one_line_in_the_order_of_the_contract_and_no_two_objects_share_an_instant() {
        let change = Change {
            stream: Stream::Audit,
            state: State::Collecting,
            previous: Some(State::Authenticated),
            at: Millis(7),
            error: None,
            stuck: None,
            note: None,
        };
        let mut health = HealthRecords::default();
        health.queue(Vec::new(), "r-0", Millis(9));
        assert_eq!(health, HealthRecords::default());
        health.queue(vec![change.clone()], "r-1", Millis(9));
        health.queue(vec![change], "r-2", Millis(9));
        assert_eq!(health.unwritten.iter().map(|batch| batch.at).collect::<Vec<_>>(), [Millis(9), Millis(10)]);
        let line = r#"{"stream":"audit","state":"collecting","previous":"authenticated","at":"1970-01-01T00:00:00.007Z","run_id":"r-1"}"#;
        assert_eq!(ndjson::lines(&health.unwritten[0].packed(&Packing::default()).gzip).expect("gzip"), [line]);
    }
}
