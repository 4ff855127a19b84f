//! Decides whether a list that answers 404 is empty.

use super::super::Collector;
use super::deletions::{is_believed, missed_since};
use super::list::ListReading;
use super::pass::PassReading;
use crate::collect::error::Error;
use crate::core::stuck::StuckItem;
use crate::core::time::Millis;
use crate::incydr::error::ApiError;
use crate::incydr::facts::Inventory;

impl Collector<'_> {
    /// Called if the API answers that a record has no such list. After a 404 that list fails, until it wasn't found for
    /// a day. Then it counts as empty, and its known records as deleted.
    pub(super) fn check_gone(
        &self,
        facts: &'static Inventory,
        list: &ListReading<'_>,
        error: &ApiError,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let (name, Some(parent)) = (list.part.name, list.parent.as_deref()) else { return Ok(()) };
        if !matches!(error, ApiError::Status { status: 404, .. }) {
            return Ok(());
        }
        let (count, missed_since) = missed_since(facts, &reading.snapshot.known, name, Some(parent));
        let is_known = count > 0 && facts.tells_deleted;
        let what = StuckItem::List { list: name.to_owned(), id: Some(parent.to_owned()) };
        let failed_since = self.stuck(|stuck| stuck.get(&what).map(|stuck| stuck.since));
        let since = if is_known { missed_since } else { failed_since };
        let is_gone = since.is_some_and(|since| is_believed(since, Millis::now()));
        let (is_accepted, counts_as_empty) =
            self.inventory_state(|state| (state.accept_deletions > 0, state.counts_as_empty(name, parent)));
        if is_gone || is_accepted || !is_known && counts_as_empty {
            self.inventory_state(|state| state.believe_empty(name, parent));
            return Ok(());
        }
        reading.not_found.insert((name, parent.to_owned()));
        Err(Error::Inconsistent(format!(
            "{error}; {count} records of this list are known; it counts as empty once it could not be found for 24 hours, or at once by {{\"action\": \"restart\", \"streams\": [\"{}\"], \"accept_deletions\": true}}",
            self.stream
        )))
    }
}
