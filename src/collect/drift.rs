//! Detects lists whose rows have another form than documented, because the API has changed. Such a list fails. Setting
//! its rows aside one by one would let the runs end as complete.

use super::Collector;
use crate::collect::error::Error;
use crate::core::drift::is_drifted;
use crate::incydr::listing::ListRow;

/// The rows of one page that can't be read.
pub struct Drift {
    pub rows: u64,
    /// The reason for the first of them.
    pub why: String,
}

impl Collector<'_> {
    /// Returns the rows of a page that can't be read, if more than a fifth of the list, and more than three of its
    /// rows, can't be. `unreadable` and `shown` count the rows of the pages before; `total` is the API's count.
    pub(super) fn note_drift(
        &self,
        rows: &[ListRow],
        unreadable: u64,
        shown: u64,
        total: Option<u64>,
    ) -> Option<Drift> {
        let mut of_page = rows.iter().filter_map(|row| match row {
            ListRow::Unreadable { why, .. } => Some(why),
            ListRow::Record { .. } => None,
        });
        let why = of_page.next()?.clone();
        let in_page = 1 + of_page.count() as u64;
        let all = total.unwrap_or(0).max(shown + rows.len() as u64);
        let unreadable = unreadable + in_page;
        if !is_drifted(unreadable, all, 0) {
            return None;
        }
        self.tally.drift.add(in_page);
        Some(Drift { rows: in_page, why })
    }
}

impl Drift {
    /// For example `40 rows of users can't be read; of the first: it has no "userId"`.
    pub fn error(&self, list: &str) -> Error {
        Error::Inconsistent(format!(
            "{} rows of {list} can't be read; of the first: {}; none of them is set aside, the readable ones are stored, and none counts as deleted",
            self.rows, self.why
        ))
    }
}
