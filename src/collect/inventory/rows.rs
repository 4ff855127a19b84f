//! Takes the rows of a list's page, and fetches the details that belong to them.

use futures::stream::{self, StreamExt};

use super::super::Collector;
use super::key::Member;
use super::list::ListReading;
use super::pass::PassReading;
use crate::collect::each::FETCHES_AT_ONCE;
use crate::collect::error::Error;
use crate::core::ndjson::{self, Fingerprint};
use crate::core::quote;
use crate::incydr::facts::{Detail, Inventory};
use crate::incydr::listing::{ListRow, escape, is_json};

/// The end date in the whole of a record. `health` asks for it.
const END: &[&str] = &["endDate"];

impl Collector<'_> {
    /// Takes the rows of one page: compares the records, fetches missing details, and sets unreadable rows aside unless
    /// they are too many.
    pub(super) async fn take_rows(
        &self,
        facts: &'static Inventory,
        rows: Vec<ListRow>,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let unreadable = list.set_aside_before + list.unreadable_rows.in_this_try();
        let drift = self.note_drift(&rows, unreadable, list.ids.len() as u64 + unreadable, list.listing.total());
        if let (Some(drift), None) = (&drift, &list.drifted) {
            list.drifted = Some(drift.error(&list.name()));
        }

        list.unreadable_rows.begin_page();
        let mut to_fetch = Vec::new();
        for row in rows {
            match row {
                ListRow::Record { line, id } => to_fetch.extend(list.take_record(facts, line, id, reading)?),
                // A record that was asked for by itself. Its bytes aren't damaged, and the next answer may be the right
                // one.
                ListRow::Unreadable { bytes, why } if list.part.is_of_one() && is_json(&bytes) => {
                    return Err(list.unexpected(why));
                }
                ListRow::Unreadable { bytes, why } => {
                    list.distinct.insert(Fingerprint::of(&bytes));
                    if list.unreadable_rows.note(&bytes) && drift.is_none() {
                        reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                    }
                }
            }
        }
        self.take_details(facts, to_fetch, list, reading).await
    }

    /// Fetches the details of these ids, side by side.
    async fn take_details(
        &self,
        facts: &'static Inventory,
        ids: Vec<String>,
        list: &mut ListReading<'_>,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let (Some(detail), Some(parent)) = (&list.part.detail, list.parent.as_deref()) else { return Ok(()) };

        let mut details = stream::iter(ids).map(|id| self.detail_of(detail, parent, id)).buffered(FETCHES_AT_ONCE);
        while let Some(fetched) = details.next().await {
            let (id, record) = match fetched {
                // The other records are stored. The list is stuck until this detail can be read.
                Err(error) if error.may_be_local_or_refused() => {
                    list.undetailed.get_or_insert_with(|| Error::Inconsistent(error.as_failure_of_one().to_string()));
                    continue;
                }
                fetched => fetched?,
            };
            let member = Member { part: list.part, parent: Some(parent), id: &id };
            match record {
                ListRow::Record { line, .. } => reading.take(&member.key(facts), &member.line(facts, line), false),
                ListRow::Unreadable { bytes, why } => {
                    reading.snapshot.set_aside(self.set_aside(&bytes, &why).await?);
                }
            }
        }
        Ok(())
    }

    async fn detail_of(&self, detail: &'static Detail, parent: &str, id: String) -> Result<(String, ListRow), Error> {
        let path = detail.path.replacen("{}", &escape(parent), 1).replacen("{}", &escape(&id), 1);
        let row = ListRow::fetch(self.run.api, path, detail.id, &id, &self.caller()).await?;
        Ok((id, row))
    }
}

impl ListReading<'_> {
    /// Takes a record. Returns its id if the row is only a part of it and its detail isn't known.
    fn take_record(
        &mut self,
        facts: &'static Inventory,
        line: String,
        id: String,
        reading: &mut PassReading,
    ) -> Result<Option<String>, Error> {
        let (part, parent) = (self.part, self.parent.as_deref());
        if let Some(asked) = parent.filter(|parent| part.every.is_some() && **parent != *id) {
            return Err(self.unexpected(format!("the answer is record {}, not {asked}", quote::value(&id))));
        }

        self.distinct.insert(Fingerprint::of(line.as_bytes()));
        let member = Member { part, parent, id: &id };
        let key = member.key(facts);
        let mut to_fetch = None;
        match &part.detail {
            Some(_) if reading.knows(&key) => reading.keep(&key),
            Some(_) => to_fetch = Some(id.clone()),
            None => {
                let end = part.every.map(|_| ndjson::field(&line, END).unwrap_or_default());
                reading.take(&key, &member.line(facts, line), part.is_index);
                if let Some(end) = end {
                    reading.note_end(&key, end);
                }
            }
        }
        if let Some(again) = self.ids.replace(id) {
            self.repeated.insert(again);
        }
        Ok(to_fetch)
    }
}
