//! Collects versions: lists what was updated since the last list, fetches the detail of each record, and stores the
//! changed ones. Details that don't fit a run stay pending on the checkpoint.

mod list;

use std::collections::BTreeSet;

use serde_json::Value;
use tracing::info;

use super::Collector;
use super::compared::{Counted, Record, Snapshot};
use crate::collect::error::Error;
use crate::core::checkpoint::VersionsState;
use crate::core::known::{Gone, Known};
use crate::core::ndjson;
use crate::core::round::Round;
use crate::core::shared::Shared;
use crate::core::stream::Class;
use crate::core::stuck::StuckItem;
use crate::core::time::Millis;
use crate::incydr::facts::Versions;
use crate::incydr::listing::{ListRow, escape};
use crate::incydr::request::Caller;

/// Limit for the details of one reading, and so of one object.
const PART: usize = 500;

impl Collector<'_> {
    pub(super) async fn versions(&self, facts: &'static Versions) -> Result<(), Error> {
        self.keep_known().await?;
        let due = self.due();
        let is_list_due = self.is_incomplete_list_due();
        // Pending details are fetched even if the list can't be read.
        let failed = match self.list(facts).await {
            Err(error) if error.may_be_local() => Some(error),
            listed => listed.map(|()| None)?,
        };
        let mut known = match (self.fetch_pending(facts, due, None).await, failed) {
            (Err(error), Some(failed)) if error.is_out_of_time() => return Err(failed),
            (Err(error), _) | (Ok(_), Some(error)) => return Err(error),
            (Ok(known), None) => known,
        };

        if is_list_due {
            self.list_again(facts).await?;
            known = self.fetch_pending(facts, Vec::new(), known).await?;
        }
        if self.versions_state(|state| state.is_to_be_compared(Millis::now())) {
            let known = self.compare_whole_list(facts, known).await?;
            self.fetch_pending(facts, Vec::new(), known).await?;
        }
        Ok(())
    }

    /// Fetches and stores all pending details. Of the stuck ones only those that are `due`. Returns the known records
    /// if they were needed.
    async fn fetch_pending(
        &self,
        facts: &'static Versions,
        due: Vec<StuckItem>,
        mut known: Option<Known>,
    ) -> Result<Option<Known>, Error> {
        let pending = self.versions_state(|state| state.pending.clone());
        let mut round = self.stuck(|stuck| Round::new(None, stuck, Millis::now()));
        round.add_due(due.into_iter().filter_map(StuckItem::into_id).filter(|id| pending.contains(id)));
        round.add(pending);
        let not_found = Shared::default();

        // The known records are needed only if there is something to compare.
        while !round.is_over() {
            let key_of = |line: &str| ndjson::field(line, facts.list.field);
            let mut snapshot = self.open_snapshot(Class::Versions, known, None, key_of).await?;
            round.set_witnesses(snapshot.known.ids());
            let fetched = self.fetch(facts, &mut round, &mut snapshot, &not_found).await;
            known = Some(self.close_part(&mut round, snapshot).await?);
            fetched?;
        }

        let not_found = not_found.into_inner();
        if !not_found.is_empty() {
            self.drop_gone(facts, &not_found).await?;
        }
        Ok(known)
    }

    /// Compares the whole list with the known records. Records missing from two whole lists are deleted, and get a
    /// tombstone. Records that are not known are pending: the list of what was updated may never have shown them.
    async fn compare_whole_list(&self, facts: &'static Versions, known: Option<Known>) -> Result<Option<Known>, Error> {
        let Some(shown) = self.whole_list_ids(facts).await? else { return Ok(known) };
        let key_of = |line: &str| ndjson::field(line, facts.list.field);
        let mut snapshot = self.open_snapshot(Class::Versions, known, None, key_of).await?;

        let now = Millis::now();
        let mut seen = Known::default();
        for id in &shown {
            seen.keep(id, &snapshot.known);
        }

        let count = snapshot.known.count();
        let (mut next, missing) = snapshot.known.after_whole_reading(seen, now);
        let Gone { believed: gone, doubted } = Gone::of(missing, count, now);
        let doubted = (doubted > 0).then(|| {
            format!(
                "{doubted} of {count} known {} would be gone at once, so none of them counts as deleted until all whole lists of 24 hours agree",
                self.stream
            )
        });

        for id in &gone {
            snapshot.push(&tombstone(facts.list.id(), id, snapshot.at));
            next.remove(id);
        }
        let is_missing = next.is_any_missed();
        let unknown: Vec<String> = shown.iter().filter(|id| !next.has_id(id)).cloned().collect();
        snapshot.known = next;

        let rows = shown.len() as u64;
        let closed = self.close_snapshot(snapshot, Counted { rows, total: Some(rows) }, |checkpoint| {
            for id in &gone {
                checkpoint.stuck(self.stream).heal(&StuckItem::Id(id.clone()));
            }
            let state = checkpoint.versions(self.stream);
            (state.compared_at, state.is_missing) = (Some(now), is_missing);
            state.pending.retain(|id| !gone.contains(id));
            state.pending.extend(unknown);
        });
        let known = closed.await?;
        doubted.map_or(Ok(Some(known)), |why| Err(Error::Inconsistent(why)))
    }

    /// Drops pending records that can't be found and that the whole list doesn't show any more.
    async fn drop_gone(&self, facts: &'static Versions, not_found: &BTreeSet<String>) -> Result<(), Error> {
        let Some(shown) = self.whole_list_ids(facts).await? else { return Ok(()) };
        for id in not_found.difference(&shown) {
            info!(stream = %self.stream, id, "a record is neither found nor listed any more: it is gone");
            self.versions_state(|state| state.pending.remove(id));
            self.stuck(|stuck| stuck.heal(&StuckItem::Id(id.clone())));
        }
        Ok(())
    }

    /// Fetches as many details as one snapshot may hold.
    async fn fetch(
        &self,
        facts: &'static Versions,
        round: &mut Round,
        snapshot: &mut Snapshot,
        not_found: &Shared<BTreeSet<String>>,
    ) -> Result<(), Error> {
        let ask = async |id: &str, caller: &Caller<'_>| {
            let detail = self.detail(facts, id, caller).await;
            if matches!(&detail, Err(Error::Api(error)) if error.is_not_found())
                && self.stuck(|stuck| stuck.get(&StuckItem::Id(id.to_owned())).is_some())
            {
                not_found.lock().insert(id.to_owned());
            }
            detail
        };

        let take = async |id: &str, detail: ListRow| {
            match detail {
                ListRow::Record { line, .. } => {
                    snapshot.take(&Record { key: id, line: &line, began: None, is_index: false });
                }
                ListRow::Unreadable { bytes, why } => snapshot.set_aside(self.set_aside(&bytes, &why).await?),
            }
            Ok(())
        };
        self.request_each(round, PART, ask, take).await
    }

    /// Closes a snapshot. Fetched records are not pending any more. The stream is covered once only stuck records are
    /// pending.
    async fn close_part(&self, round: &mut Round, snapshot: Snapshot) -> Result<Known, Error> {
        let judged = round.take_judged();
        let counted = Counted { rows: judged.answered.len() as u64, total: None };
        self.close_snapshot(snapshot, counted, |checkpoint| {
            let stuck = checkpoint.stuck(self.stream);
            judged.apply_to(stuck, Millis::now());
            let held_up = stuck.ids();
            let state = checkpoint.versions(self.stream);
            for id in &judged.answered {
                state.pending.remove(id);
            }
            state.cover(&held_up);
        })
        .await
    }

    /// Stores the known records again each month, even if nothing has changed: a lifecycle rule may delete older
    /// objects.
    async fn keep_known(&self) -> Result<(), Error> {
        let known = self.versions_state(|state| state.stored.known.clone());
        let Some(old) = known.filter(|at| !Known::is_of_this_month(at)) else { return Ok(()) };
        let known = self.load_known(Some(&old)).await?;
        let (_, kept) = self.store_known(known, Some(&old)).await?;
        self.versions_state(|state| state.stored.known = kept);
        Ok(())
    }

    /// Changes the stream's state on the checkpoint.
    fn versions_state<T>(&self, change: impl FnOnce(&mut VersionsState) -> T) -> T {
        self.run.ledger.update(|checkpoint| change(checkpoint.versions(self.stream)))
    }

    async fn detail(&self, facts: &'static Versions, id: &str, caller: &Caller<'_>) -> Result<ListRow, Error> {
        let path = format!("{}{}", facts.detail, escape(id));
        Ok(ListRow::fetch(self.run.api, path, facts.list.field, id, caller).await?)
    }
}

/// For example `{"number":7,"_deleted":true,…}`, with the id in the API's form.
fn tombstone(name: &str, id: &str, at: Millis) -> String {
    let id = id.parse::<u64>().map_or_else(|_| Value::from(id), Value::from);
    format!(r#"{{"{name}":{id},"_deleted":true,"_deletedAt":"{at}"}}"#)
}
