//! Reads the list that each new or changed record has.

use bytes::Bytes;
use serde_json::Value;

use super::super::Collector;
use super::sweep::{Changed, SweepReading};
use crate::collect::compared::Record;
use crate::collect::drift::Drift;
use crate::collect::error::Error;
use crate::core::checkpoint::SweepProgress;
use crate::core::drift::is_drifted;
use crate::core::error_type::ErrorInfo;
use crate::core::ndjson;
use crate::core::stuck::StuckItem;
use crate::incydr::facts::{Rescanned, Sublist};
use crate::incydr::listing::{ListRow, Listing, escape};
use crate::incydr::request::{Caller, Request};

/// If the lists of a page's records all fail, those of further pages are tried too. The stream fails once this many
/// have failed.
const MOST_PROBED: usize = 400;

/// The rows of a list, and its total.
type ListAnswer = (Vec<ListRow>, Option<u64>);

/// A record's id, and the rows of its list that can't be read, each with the reason.
type UnreadableList = (String, Vec<(Bytes, String)>);

impl Collector<'_> {
    /// Reads the lists of a page's changed records. A stuck record is tried when it is due, not whenever it is met.
    pub(super) async fn read_sublists(
        &self,
        sublist: &'static Sublist,
        changed: Vec<Changed>,
        reading: &mut SweepReading,
    ) -> Result<(), Error> {
        reading.round.add(changed.iter().map(|record| record.id.clone()));
        let now = self.run.api.now();
        self.stuck(|stuck| changed.iter().for_each(|record| stuck.listed(&record.id, now)));
        let is_record = |key: &&str| !key.starts_with('[');
        reading.round.set_witnesses(reading.snapshot.known.ids().filter(is_record));
        reading.changed.extend(changed.into_iter().map(|record| (record.id.clone(), record)));

        let asked = self.ask_sublists(sublist, reading).await;
        let may_wait = reading.may_doubt && reading.round.doubt().is_some_and(|probed| probed < MOST_PROBED);
        match asked {
            Ok(()) => {
                reading.doubt = None;
                reading.changed.clear();
                Ok(())
            }
            // None of these was answered. Those of further pages may be.
            Err(error) if may_wait && error.may_be_local_or_refused() => {
                let before = reading.swept.clone();
                reading.doubt.get_or_insert((error, before));
                Ok(())
            }
            // `doubt` is kept: the next run reads the pages since the first failure again.
            Err(error) => Err(error),
        }
    }

    /// Reads the lists that are stuck and due. Only the ids of their records are known.
    pub(super) async fn read_due(&self, facts: &'static Rescanned, reading: &mut SweepReading) -> Result<(), Error> {
        match &facts.sublist {
            Some(sublist) => self.ask_sublists(sublist, reading).await,
            None => Ok(()),
        }
    }

    /// A record becomes known once its list is stored. If the run dies before that, the next sweep reads it again.
    async fn ask_sublists(&self, sublist: &'static Sublist, reading: &mut SweepReading) -> Result<(), Error> {
        let SweepReading { snapshot, round, swept, changed, .. } = reading;
        let mut unreadable_lists = Vec::new();
        let mut all = 0;
        let ask = async |id: &str, caller: &Caller<'_>| self.sublist_of(sublist, id, swept, caller).await;
        let take = async |id: &str, (rows, total): ListAnswer| {
            let record = changed.get(id);
            let began = record.map_or_else(|| self.run.api.now(), |record| record.began);
            let shown = rows.len() as u64;
            if let Some(drift) = self.note_drift(&rows, 0, 0, total) {
                return Err(drift.error(&format!("the list of {id}")));
            }

            all += shown;
            let mut unreadable = Vec::new();
            for row in rows {
                match row {
                    ListRow::Record { line, id: of_row } => {
                        let (key, line) = (key(id, &of_row), sublist.line(id, &line));
                        snapshot.take(&Record { key: &key, line: &line, began: Some(began), is_index: false });
                    }
                    ListRow::Unreadable { bytes, why } => unreadable.push((bytes, why)),
                }
            }

            if let Some(total) = total.filter(|total| *total > shown) {
                return Err(Error::Inconsistent(format!(
                    "the list of {id} shows {shown} records and counts {total}, and has no further page"
                )));
            }
            if !unreadable.is_empty() {
                unreadable_lists.push((id.to_owned(), unreadable));
            } else if let Some(Changed { line, began, .. }) = record {
                snapshot.take(&Record { key: id, line, began: Some(*began), is_index: true });
            }
            Ok(())
        };
        let asked = self.request_each(round, usize::MAX, ask, take).await;
        self.take_unreadable(unreadable_lists, all, reading).await.and(asked)
    }

    /// Takes the lists of which some rows can't be read. Such rows are set aside, unless they are so many of all rows
    /// that the API must have changed their form: then those lists are stuck.
    async fn take_unreadable(
        &self,
        unreadable: Vec<UnreadableList>,
        all: u64,
        reading: &mut SweepReading,
    ) -> Result<(), Error> {
        let rows: u64 = unreadable.iter().map(|(_, rows)| rows.len() as u64).sum();
        let is_drift = is_drifted(rows, all, 0);
        if is_drift {
            self.tally.drift.add(rows);
        }

        let mut failed = Ok(());
        for (id, rows) in unreadable {
            if is_drift {
                let (count, why) = (rows.len() as u64, rows.into_iter().next().map(|(_, why)| why));
                let error = Drift { rows: count, why: why.unwrap_or_default() }.error(&format!("the list of {id}"));
                reading.round.note_unusable(&id, ErrorInfo::from(&error));
            } else if let Err(error) = self.set_rows_aside(rows, reading).await {
                reading.round.note_unusable(&id, ErrorInfo::from(&error));
                failed = failed.and(Err(error));
            } else if let Some(Changed { line, began, .. }) = reading.changed.get(&id) {
                reading.snapshot.take(&Record { key: &id, line, began: Some(*began), is_index: true });
            }
        }
        failed
    }

    async fn set_rows_aside(&self, rows: Vec<(Bytes, String)>, reading: &mut SweepReading) -> Result<(), Error> {
        for (bytes, why) in rows {
            reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
        }
        Ok(())
    }

    /// Returns a record's list. A list that can't be found is not the same as an empty one. It counts as empty only if
    /// its record is gone.
    async fn sublist_of(
        &self,
        sublist: &'static Sublist,
        id: &str,
        swept: &SweepProgress,
        caller: &Caller<'_>,
    ) -> Result<ListAnswer, Error> {
        let mut listing = Listing::new(self.run.api, &sublist.list, 0, Vec::new(), Value::Null).of(id);
        match listing.rows(caller).await {
            Ok(rows) => Ok((rows.unwrap_or_default(), listing.total())),
            Err(error) if error.is_not_found() && self.is_gone(sublist, id, swept, caller).await? => {
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
        swept: &SweepProgress,
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
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
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
