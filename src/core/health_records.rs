//! The changes of the streams' states that are still to be stored as records: plain values, kept on the checkpoint.

use serde::{Deserialize, Serialize};

use crate::core::ndjson::{Packed, Packer, Packing};
use crate::core::states::Change;
use crate::core::time::Millis;

/// What is to be told still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthRecords {
    /// The instant of the last object: the next one is later, so that no key is ever two objects'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    /// The oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<ChangeBatch>,
}

/// What one run has to tell: an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeBatch {
    pub at: Millis,
    pub run_id: String,
    pub changes: Vec<Change>,
}

impl HealthRecords {
    pub fn tell(&mut self, changes: Vec<Change>, run_id: &str, now: Millis) {
        if changes.is_empty() {
            return;
        }
        let at = self.last.map_or(now, |last| now.max(last + 1));
        self.last = Some(at);
        self.unwritten.push(ChangeBatch { at, run_id: run_id.to_owned(), changes });
    }
}

impl ChangeBatch {
    /// A record a line, the run's id last.
    pub fn packed(&self, packing: &Packing) -> Packed {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            change: &'a Change,
            run_id: &'a str,
        }

        let mut packer = Packer::new(packing);
        for change in &self.changes {
            let line = Line { change, run_id: &self.run_id };
            // A plain value under text keys: that doesn't fail.
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
        };
        let mut health = HealthRecords::default();
        health.tell(Vec::new(), "r-0", Millis(9));
        assert_eq!(health, HealthRecords::default());
        health.tell(vec![change.clone()], "r-1", Millis(9));
        health.tell(vec![change], "r-2", Millis(9));
        assert_eq!(health.unwritten.iter().map(|batch| batch.at).collect::<Vec<_>>(), [Millis(9), Millis(10)]);
        let line = r#"{"stream":"audit","state":"collecting","previous":"authenticated","at":"1970-01-01T00:00:00.007Z","run_id":"r-1"}"#;
        assert_eq!(ndjson::lines(&health.unwritten[0].packed(&Packing::default()).gzip).expect("gzip"), [line]);
    }
}
