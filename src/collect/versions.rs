//! Versions: what was updated since the last list is listed, each record's detail is fetched, and what differs from
//! what is stored is stored once more. Details that don't fit a run stay pending on the checkpoint.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::Value;
use tracing::warn;

use super::{Applied, Collector};
use crate::collect::error::Error;
use crate::core::checkpoint::{PartOfList, VersionsState};
use crate::core::known::Known;
use crate::core::manifest::ReadingEntry as Entry;
use crate::core::ndjson::{self, Fingerprint, Packer};
use crate::core::time::{DAY, MINUTE, Millis};
use crate::incydr::error::ApiError;
use crate::incydr::facts::Versions;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Request;

/// A list goes back so far behind the instant at which the last one was opened.
const OVERLAP: i64 = 10 * MINUTE;
/// So many details are one reading, and so at most one object.
const PART: usize = 500;
const FETCHES_AT_ONCE: usize = 4;
const TRIES: u32 = 3;
/// After so many failures in a row it is the API that fails, not a record.
const FAILURES_IN_A_ROW: u32 = 3;

/// What came of one part.
struct Part {
    packer: Packer,
    /// Fetched, and so no longer pending.
    done: Vec<String>,
    /// Fetched, but not to be parsed: the keys of their bytes.
    set_aside: Vec<String>,
    failed: Option<Error>,
    /// Whether there is no use in going on in this run.
    ended: bool,
}

/// What one list told.
struct Listed {
    /// What was asked for.
    request: Value,
    ids: BTreeSet<String>,
    /// Rows without an id: the keys of their bytes.
    odd: Vec<String>,
    total: u64,
}

enum Detail {
    Record(String),
    Unreadable(Bytes, String),
}

impl Collector<'_> {
    pub(super) async fn versions(&self, facts: &'static Versions) -> Result<(), Error> {
        self.keep_known().await?;
        let left_open = self.versions_state(|state| state.stored.open.is_some());
        // Only who has something to compare needs to know what is stored.
        let mut known = if left_open { Some(self.known_versions(facts).await?) } else { None };
        // What is pending is fetched also when the list, which says what else there is, contradicts itself.
        let mut failed = match self.list(facts).await {
            Err(error) if error.may_be_local() => Some(error),
            listed => listed.map(|()| None)?,
        };
        let mut tried = BTreeSet::new();
        loop {
            let ids: Vec<String> =
                self.versions_state(|state| state.pending.difference(&tried).take(PART).cloned().collect());
            if ids.is_empty() {
                break;
            }
            tried.extend(ids.iter().cloned());
            let (mut now_known, stored) = match known.take() {
                Some(known) => known,
                None => self.known_versions(facts).await?,
            };
            let (error, ended) = self.part(facts, &ids, &mut now_known, stored).await?;
            known = Some((now_known, Applied::default()));
            failed = error.or(failed);
            if ended {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is stored, with what a run that died left under its key.
    async fn known_versions(&self, facts: &'static Versions) -> Result<(Known, Applied), Error> {
        let stored = self.versions_state(|state| state.stored.clone());
        let mut known = self.load_known(stored.known.as_ref()).await?;
        let key_of = |line: &str| ndjson::field(line, facts.list.field);
        let applied = self.apply_stored(&stored, key_of, |key, line| known.apply(key, line)).await?;
        Ok((known, applied))
    }

    /// What is known is stored anew each month, also where nothing changes: what is older may be swept.
    async fn keep_known(&self) -> Result<(), Error> {
        let known = self.versions_state(|state| state.stored.known.clone());
        let Some(old) = known.filter(|at| !Known::is_of_this_month(at)) else { return Ok(()) };
        let known = self.load_known(Some(&old)).await?;
        let kept = self.store_known(&known, Some(&old)).await?;
        self.versions_state(|state| state.stored.known = kept);
        Ok(())
    }

    /// The stream's part of the checkpoint.
    fn versions_state<T>(&self, change: impl FnOnce(&mut VersionsState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.versions(self.stream)))
    }

    /// Lists what was updated, until there are as many ids as the API counts. Nothing of a list is stored.
    async fn list(&self, facts: &'static Versions) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (since, part) = self.versions_state(|state| (state.listed_to, state.listing.clone()));
            let is_new = part.is_none();
            let mut part =
                part.unwrap_or_else(|| PartOfList { began: Millis::now(), page: 0, seen: BTreeSet::new(), odd: 0 });
            let Listed { request, ids, odd, total } = self.list_once(facts, since, &part).await?;
            if is_new {
                // In a warm container only now the API's clock is known.
                part.began = self.run.api.at(part.began);
            }
            let rows = ids.len() as u64 + part.odd + odd.len() as u64;
            let whole = rows == total;
            let done = Entry {
                request,
                rows,
                total: Some(total).filter(|_| whole),
                set_aside: odd,
                ..Entry::of_instant(self.stream, part.began, part.began)
            };
            self.note(done, |checkpoint| {
                let state = checkpoint.versions(self.stream);
                state.pending.extend(ids);
                state.listing = None;
                if whole {
                    state.listed_to = Some(part.began);
                    if state.pending.is_empty() {
                        state.covered_to = Some(part.began);
                    }
                }
            });
            if whole {
                return Ok(());
            }
        }
        let message = format!(
            "the list of {} doesn't agree with the API's own total after {TRIES} readings; the next run reads it again",
            self.stream
        );
        Err(Error::Totals(message))
    }

    async fn list_once(
        &self,
        facts: &'static Versions,
        since: Option<Millis>,
        part: &PartOfList,
    ) -> Result<Listed, Error> {
        let interval = |since: Millis| {
            let iso = |at: Millis| at.date_time().format("%Y-%m-%dT%H:%M:%SZ");
            // To well after now, so that no clock cuts off what is updated meanwhile.
            (facts.updated.to_owned(), format!("{}/{}", iso(since - OVERLAP), iso(part.began + DAY)))
        };
        let size = self.run.settings.page_size(self.stream, facts.list.max_page_size);
        let query: Vec<(String, String)> = since.map(interval).into_iter().collect();
        let request = query.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let mut listing = Listing::new(self.run.api, &facts.list, size, query, Value::Null);
        if part.page > 0 {
            listing = listing.from_page(part.page, part.seen.len() as u64 + part.odd);
        }
        let mut ids = part.seen.clone();
        let mut odd = Vec::new();
        loop {
            let rows = match listing.rows(&self.caller()).await {
                Ok(Some(rows)) => rows,
                Ok(None) => break,
                Err(error) => {
                    self.keep_list(&error, &listing, part, ids, odd.len() as u64);
                    return Err(error.into());
                }
            };
            for row in rows {
                match row {
                    ListRow::Record { id, .. } => {
                        ids.insert(id);
                    }
                    ListRow::Unreadable { bytes, why } => {
                        // Its detail may be in better shape.
                        if let Some(id) = ndjson::member(&bytes, facts.list.id()) {
                            ids.insert(id);
                        } else {
                            odd.push(self.set_aside(&bytes, &why).await?);
                        }
                    }
                }
            }
        }
        Ok(Listed { request: Value::Object(request), ids, odd, total: listing.total().unwrap_or(0) })
    }

    /// A list that the time cut off goes on from its page in the next run.
    fn keep_list(&self, error: &ApiError, listing: &Listing<'_>, part: &PartOfList, ids: BTreeSet<String>, odd: u64) {
        if let (true, Some(page)) = (matches!(error, ApiError::OutOfTime), listing.next_page()) {
            self.versions_state(|state| {
                let began = state.listing.as_ref().map_or_else(|| self.run.api.at(part.began), |part| part.began);
                state.pending.extend(ids.iter().cloned());
                state.listing = Some(PartOfList { began, page, seen: ids, odd: part.odd + odd });
            });
        }
    }

    /// One reading: opened, fetched as far as the time allows, stored, and committed with the next one's opening.
    async fn part(
        &self,
        facts: &'static Versions,
        ids: &[String],
        known: &mut Known,
        before: Applied,
    ) -> Result<(Option<Error>, bool), Error> {
        let at = self.versions_state(|state| state.stored.open(Millis::now(), &self.run.ledger.lease));
        self.commit().await?;
        let opened_at = Millis::now();
        let Part { packer, done, set_aside, failed, ended } = self.fetch(facts, ids, known).await?;
        let applied = before.count.max(self.versions_state(|state| state.stored.applied));
        let before = Applied { count: applied, ..before };
        let (objects, met) = self.store_at(at, packer.finish(), before).await?;
        let before = self.versions_state(|state| state.stored.known.clone());
        let after = self.store_known(known, before.as_ref()).await?;
        let told =
            Entry { rows: done.len() as u64, set_aside, objects, ..Entry::of_instant(self.stream, at, opened_at) };
        self.note(told, |checkpoint| {
            let state = checkpoint.versions(self.stream);
            state.stored.known = after;
            state.stored.close(&self.run.ledger.lease, met, applied, Millis::now());
            for id in &done {
                state.pending.remove(id);
            }
            if state.pending.is_empty() {
                state.covered_to = state.listed_to;
            }
        });
        Ok((failed, ended))
    }

    /// A record whose detail fails holds up no other; it stays pending.
    async fn fetch(&self, facts: &'static Versions, ids: &[String], known: &mut Known) -> Result<Part, Error> {
        let mut part = Part {
            packer: Packer::new(&self.run.settings.packing),
            done: Vec::new(),
            set_aside: Vec::new(),
            failed: None,
            ended: false,
        };
        let mut failures = 0;
        let mut details =
            stream::iter(ids).map(|id| async move { (id, self.detail(facts, id).await) }).buffered(FETCHES_AT_ONCE);
        while let Some((id, detail)) = details.next().await {
            match detail {
                Ok(Detail::Record(line)) => {
                    let fingerprint = Fingerprint::of(line.as_bytes());
                    if !known.has(id, fingerprint) {
                        known.replace(id, fingerprint);
                        part.packer.push(&line);
                    }
                }
                Ok(Detail::Unreadable(bytes, why)) => part.set_aside.push(self.set_aside(&bytes, &why).await?),
                Err(error) => {
                    failures += 1;
                    let is_api = failures >= FAILURES_IN_A_ROW;
                    part.ended = error.is_out_of_time() || is_api;
                    part.failed = Some(if is_api { error } else { error.of_one_record() });
                    if part.ended {
                        break;
                    }
                    continue;
                }
            }
            failures = 0;
            part.done.push(id.clone());
        }
        Ok(part)
    }

    async fn detail(&self, facts: &'static Versions, id: &str) -> Result<Detail, Error> {
        let request = Request::get(format!("{}{id}", facts.detail));
        let read = |body: &Bytes| match ndjson::single(body) {
            Some(record) => Ok(record.to_vec()),
            None => Err(ApiError::Unexpected { what: request.what(), why: "the answer is not a JSON object".into() }),
        };
        match self.run.api.send(&request, &self.caller(), read).await {
            Ok(record) => Ok(match ListRow::single(&record, facts.list.field) {
                ListRow::Record { line, id: told } if told == id => Detail::Record(line),
                ListRow::Record { .. } => {
                    Detail::Unreadable(record.into(), format!("its {} is not {id}", facts.list.id()))
                }
                ListRow::Unreadable { bytes, why } => Detail::Unreadable(bytes, why),
            }),
            Err(ApiError::Status { status: 404 | 410, said, .. }) => {
                warn!(stream = %self.stream, id, "it was listed, but is gone");
                let told = format!(r#"{{"{}":{},"answer":{}}}"#, facts.list.id(), Value::from(id), Value::from(said));
                Ok(Detail::Unreadable(told.into(), "it was listed, but its detail is gone".into()))
            }
            Err(error) => Err(error.into()),
        }
    }
}
