//! The list behind each record that is new or has changed.

use futures::stream::{self, StreamExt};
use serde_json::Value;
use tracing::warn;

use super::super::Collector;
use super::Reading;
use super::slice::Changed;
use crate::collect::error::Error;
use crate::core::ndjson::{self, Fingerprint};
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Behind, Rescanned};
use crate::incydr::listing::{ListRow, Listing};

const FETCHES_AT_ONCE: usize = 4;
/// After so many failures in a row it is the API that fails, not a record.
const FAILURES_IN_A_ROW: u32 = 3;

impl Collector<'_> {
    /// A record is known once its list is stored, so that what fails is tried again when it is met the next time.
    pub(super) async fn read_behind(
        &self,
        behind: &'static Behind,
        changed: Vec<Changed>,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let mut failures = 0;
        let lists = stream::iter(changed).map(|record| async move {
            let list = self.list_behind(behind, &record.id).await;
            (record, list)
        });
        let mut lists = lists.buffered(FETCHES_AT_ONCE);
        while let Some((record, list)) = lists.next().await {
            let rows = match list {
                Ok(rows) => rows,
                Err(ApiError::Status { status: 404 | 410, .. }) => Vec::new(),
                Err(error) => {
                    let error = Error::from(error);
                    failures += 1;
                    if !error.may_be_local() || failures >= FAILURES_IN_A_ROW {
                        return Err(error);
                    }
                    reading.failed.get_or_insert(error);
                    continue;
                }
            };
            failures = 0;
            for row in rows {
                match row {
                    ListRow::Record { line, id } => {
                        let (key, line) = (key(&record.id, &id), behind.line(&record.id, &line));
                        let fingerprint = Fingerprint::of(line.as_bytes());
                        if !reading.known.has(&key, fingerprint) {
                            reading.packer.push(&line);
                            reading.known.replace_begun(&key, fingerprint, record.began);
                        }
                    }
                    ListRow::Unreadable { bytes, why } => reading.set_aside.push(self.set_aside(&bytes, &why).await?),
                }
            }
            reading.known.replace_begun(&record.id, record.fingerprint, record.began);
        }
        Ok(())
    }

    async fn list_behind(&self, behind: &'static Behind, id: &str) -> Result<Vec<ListRow>, ApiError> {
        let mut listing = Listing::new(self.run.api, &behind.list, 0, Vec::new(), Value::Null).of(id);
        let rows = listing.rows(&self.caller()).await?.unwrap_or_default();
        if let Some(total) = listing.total().filter(|total| *total > rows.len() as u64) {
            warn!(stream = %self.stream, id, total, shown = rows.len(), "the API shows fewer records than it counts, and has no further page");
        }
        Ok(rows)
    }
}

impl Behind {
    /// Its line as it is stored: `{"_sessionId":"…",…}`.
    fn line(&self, parent: &str, line: &str) -> String {
        format!(r#"{{"{}":{},{}"#, self.parent, Value::from(parent), line.trim_start_matches('{'))
    }
}

impl Rescanned {
    /// Under what a stored line is known.
    pub(super) fn key_of(&self, line: &str) -> Option<String> {
        let Some(behind) = &self.behind else { return ndjson::field(line, self.list.field) };
        let (parent, id) = (ndjson::field(line, &[behind.parent])?, ndjson::field(line, behind.list.field)?);
        Some(key(&parent, &id))
    }
}

/// Under what a record of a list is known.
fn key(parent: &str, id: &str) -> String {
    Value::from(vec![parent, id]).to_string()
}
