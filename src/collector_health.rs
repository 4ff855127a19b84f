//! Each change of a stream's state is a record below `S3_PREFIX`, so that a SIEM can alert on the collector itself.
//! What is to be told stands on the checkpoint from the commit that changes the states until it is stored: a run that
//! dies in between leaves it to the next, which writes the same object under the same key.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ledger::Ledger;
use crate::ndjson::{Packed, Packer, Packing};
use crate::settings::Settings;
use crate::state::Change;
use crate::store::{Bucket, Condition, Object, base};
use crate::time::Millis;

/// Where these records lie, beside those of the streams.
const NAME: &str = "collector_health";

/// What is to be told still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// The instant of the last object: the next one is later, so that no key is ever two objects'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    /// The oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<Batch>,
}

/// What one run has to tell: an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub at: Millis,
    pub run_id: String,
    pub changes: Vec<Change>,
}

impl Health {
    pub fn tell(&mut self, changes: Vec<Change>, run_id: &str, now: Millis) {
        if changes.is_empty() {
            return;
        }
        let at = self.last.map_or(now, |last| now.max(last + 1));
        self.last = Some(at);
        self.unwritten.push(Batch { at, run_id: run_id.to_owned(), changes });
    }
}

impl Batch {
    /// A record a line, the run's id last.
    fn packed(&self, packing: &Packing) -> Packed {
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

/// Stores what is to be told, the oldest first. That it is stored, the caller's next commit says.
pub async fn store(ledger: &Ledger<'_>, bucket: &Bucket, settings: &Settings, until: Millis) -> Result<(), Error> {
    while let Some(batch) = ledger.read(|checkpoint| checkpoint.health.unwritten.first().cloned()) {
        ledger.check_lease()?;
        let packed = batch.packed(&settings.packing);
        let key = format!("{}.ndjson.gz", base(&settings.prefix, NAME, batch.at, batch.at));
        let own = [
            ("stream", NAME.to_owned()),
            ("records", packed.records.to_string()),
            ("sha256", packed.sha256),
            ("run-id", batch.run_id),
        ];
        let mut metadata: HashMap<_, _> = settings.metadata.clone().into_iter().collect();
        metadata.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let object = Object { key: &key, bytes: packed.gzip, content_type: "application/x-ndjson", metadata };
        // Refused means that a run which died had stored it.
        bucket.put(&object, Condition::Absent, until).await?;
        ledger.update(|checkpoint| checkpoint.health.unwritten.retain(|unwritten| unwritten.at != batch.at));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndjson;
    use crate::state::State;
    use crate::stream::Stream;

    #[test]
    fn a_record_is_one_line_in_the_order_of_the_contract_and_no_two_objects_share_an_instant() {
        let change = Change {
            stream: Stream::Audit,
            state: State::Collecting,
            previous: Some(State::Authenticated),
            at: Millis(7),
            error: None,
        };
        let mut health = Health::default();
        health.tell(Vec::new(), "r-0", Millis(9));
        assert_eq!(health, Health::default());
        health.tell(vec![change.clone()], "r-1", Millis(9));
        health.tell(vec![change], "r-2", Millis(9));
        assert_eq!(health.unwritten.iter().map(|batch| batch.at).collect::<Vec<_>>(), [Millis(9), Millis(10)]);
        let line = r#"{"stream":"audit","state":"collecting","previous":"authenticated","at":"1970-01-01T00:00:00.007Z","run_id":"r-1"}"#;
        assert_eq!(ndjson::lines(&health.unwritten[0].packed(&Packing::default()).gzip).expect("gzip"), [line]);
    }
}
