//! Reads the list that each new or changed record has.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::Collector;
use super::sweep::{Changed, SweepReading};
use crate::collect::compared::Record;
use crate::collect::error::Error;
use crate::core::checkpoint::Swept;
use crate::core::ndjson;
use crate::core::stuck::StuckItem;
use crate::incydr::error::ApiError;
use crate::incydr::facts::{Rescanned, Sublist};
use crate::incydr::listing::{ListRow, Listing, escape};
use crate::incydr::request::{Caller, Request};

/// The rows of a list, and its total.
type ListAnswer = (Vec<ListRow>, Option<u64>);

impl Collector<'_> {
    /// Reads the lists of a page's changed records. A stuck record is tried when it is due, not whenever it is met.
    pub(super) async fn read_sublists(
        &self,
        sublist: &'static Sublist,
        changed: Vec<Changed>,
        reading: &mut SweepReading,
    ) -> Result<(), Error> {
        let changed: BTreeMap<String, Changed> =
            changed.into_iter().map(|record| (record.id.clone(), record)).collect();
        reading.round.add(changed.keys().cloned());
        let now = self.run.api.now();
        self.stuck(|stuck| changed.keys().for_each(|id| stuck.listed(id, now)));
        let is_record = |key: &&str| !key.starts_with('[');
        reading.round.set_witnesses(reading.snapshot.known.ids().filter(is_record));
        self.ask_sublists(sublist, &changed, reading).await
    }

    /// Reads the lists that are stuck and due. Only the ids of their records are known.
    pub(super) async fn read_due(&self, facts: &'static Rescanned, reading: &mut SweepReading) -> Result<(), Error> {
        match &facts.sublist {
            Some(sublist) => self.ask_sublists(sublist, &BTreeMap::new(), reading).await,
            None => Ok(()),
        }
    }

    /// A record becomes known once its list is stored. If the run dies before that, the next sweep reads it again.
    async fn ask_sublists(
        &self,
        sublist: &'static Sublist,
        changed: &BTreeMap<String, Changed>,
        reading: &mut SweepReading,
    ) -> Result<(), Error> {
        let SweepReading { snapshot, round, swept, .. } = reading;
        let ask = async |id: &str, caller: &Caller<'_>| self.sublist_of(sublist, id, swept, caller).await;
        let take = async |id: &str, (rows, total): ListAnswer| {
            let record = changed.get(id);
            let began = record.map_or_else(|| self.run.api.now(), |record| record.began);
            let shown = rows.len() as u64;
            if let Some(drift) = self.drift(&rows, 0, 0, total) {
                return Err(drift.error(&format!("the list of {id}")));
            }

            for row in rows {
                match row {
                    ListRow::Record { line, id: of_row } => {
                        let (key, line) = (key(id, &of_row), sublist.line(id, &line));
                        snapshot.take(&Record { key: &key, line: &line, began: Some(began), is_index: false });
                    }
                    ListRow::Unreadable { bytes, why } => snapshot.set_aside(self.set_aside(&bytes, &why).await?),
                }
            }

            if let Some(total) = total.filter(|total| *total > shown) {
                return Err(Error::Totals(format!(
                    "the list of {id} shows {shown} records and counts {total}, and has no further page"
                )));
            }
            if let Some(Changed { line, began, .. }) = record {
                snapshot.take(&Record { key: id, line, began: Some(*began), is_index: true });
            }
            Ok(())
        };
        self.ask_each(round, usize::MAX, ask, take).await
    }

    /// Returns a record's list. A list that can't be found is not the same as an empty one. It counts as empty only if
    /// its record is gone.
    async fn sublist_of(
        &self,
        sublist: &'static Sublist,
        id: &str,
        swept: &Swept,
        caller: &Caller<'_>,
    ) -> Result<ListAnswer, Error> {
        let mut listing = Listing::new(self.run.api, &sublist.list, 0, Vec::new(), Value::Null).of(id);
        match listing.rows(caller).await {
            Ok(rows) => Ok((rows.unwrap_or_default(), listing.total())),
            Err(error) if is_not_found(&error) && self.is_gone(sublist, id, swept, caller).await? => {
                Ok((Vec::new(), None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a stuck record is neither listed nor found any more.
    async fn is_gone(
        &self,
        sublist: &'static Sublist,
        id: &str,
        swept: &Swept,
        caller: &Caller<'_>,
    ) -> Result<bool, Error> {
        let what = StuckItem::Id(id.to_owned());
        let listed_at = self.stuck(|stuck| stuck.get(&what).map(|stuck| stuck.listed_at.unwrap_or(stuck.since)));
        let Some(listed_at) = listed_at else { return Ok(false) };
        if !self.rescanned_state(|state| state.has_swept_all_since(listed_at, self.run.settings.rescan, swept)) {
            return Ok(false);
        }
        let request = Request::get(format!("{}{}", sublist.detail, escape(id)));
        match self.run.api.send(&request, caller, |_| Ok(())).await {
            Ok(()) => Ok(false),
            Err(error) if is_not_found(&error) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_not_found(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status: 404 | 410, .. })
}

impl Sublist {
    /// The line as it is stored: `{"_sessionId":"…",…}`.
    fn line(&self, parent: &str, line: &str) -> String {
        format!(r#"{{"{}":{},{}"#, self.parent, Value::from(parent), line.trim_start_matches('{'))
    }
}

impl Rescanned {
    /// The key of a stored line.
    pub(in crate::collect) fn key_of(&self, line: &str) -> Option<String> {
        let Some(sublist) = &self.sublist else { return ndjson::field(line, self.list.field) };
        let (parent, id) = (ndjson::field(line, &[sublist.parent])?, ndjson::field(line, sublist.list.field)?);
        Some(key(&parent, &id))
    }
}

/// The key of a row of a record's list.
fn key(parent: &str, id: &str) -> String {
    Value::from(vec![parent, id]).to_string()
}
