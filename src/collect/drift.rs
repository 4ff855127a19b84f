//! Lists whose rows have another form than they should have: the API has changed. They fail, instead of being set aside row by
//! row in runs that call themselves complete.

use std::sync::atomic::Ordering;

use super::Collector;
use crate::collect::error::Error;
use crate::incydr::listing::ListRow;

/// What one page adds to the rows of a list that can't be read.
pub struct Drift {
    pub rows: u64,
    /// What is wrong with the first of them.
    why: String,
}

impl Collector<'_> {
    /// Returns the rows of a page that can't be read, if more than a fifth of the list, and more than three of its rows,
    /// can't be. `unreadable` and `shown` count the rows of the pages before; `total` is the API's count.
    pub(super) fn drift(&self, rows: &[ListRow], unreadable: u64, shown: u64, total: Option<u64>) -> Option<Drift> {
        let mut of_page = rows.iter().filter_map(|row| match row {
            ListRow::Unreadable { why, .. } => Some(why),
            ListRow::Record { .. } => None,
        });
        let why = of_page.next()?.clone();
        let in_page = 1 + of_page.count() as u64;
        let all = total.unwrap_or(0).max(shown + rows.len() as u64);
        let unreadable = unreadable + in_page;
        if unreadable <= 3 || 5 * unreadable <= all {
            return None;
        }
        self.tally.drift.fetch_add(in_page, Ordering::Relaxed);
        Some(Drift { rows: in_page, why })
    }
}

impl Drift {
    /// `40 rows of users can't be read; of the first: it has no "userId"`
    pub fn error(&self, list: &str) -> Error {
        Error::Totals(format!(
            "{} rows of {list} can't be read; of the first: {}; nothing of them is set aside, what can be read is stored, and nobody is taken for deleted",
            self.rows, self.why
        ))
    }
}
