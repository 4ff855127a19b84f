//! The rows of a list that can't be read. They have no id, so rows that are alike may be several rows of the API, or
//! one that it showed again because its pages shifted.

use std::collections::HashMap;

use crate::core::ndjson::Fingerprint;

/// Counts unreadable rows over the tries of a list. Rows that are alike count as often as one page shows them; after
/// the last try as often as each try showed them.
#[derive(Default)]
pub struct UnreadableRows {
    rows: HashMap<Fingerprint, Alike>,
    is_read_again: bool,
}

#[derive(Default)]
struct Alike {
    on_page: u64,
    most_on_a_page: u64,
    in_try: u64,
    /// The least of the tries before. None in the first.
    least_in_a_try: Option<u64>,
}

impl UnreadableRows {
    pub fn begin_page(&mut self) {
        self.rows.values_mut().for_each(|alike| alike.on_page = 0);
    }

    /// Called before the list is read again.
    pub fn begin_again(&mut self) {
        self.is_read_again = true;
        for alike in self.rows.values_mut() {
            let least = alike.least_in_a_try.map_or(alike.in_try, |least| least.min(alike.in_try));
            *alike = Alike { least_in_a_try: Some(least), most_on_a_page: alike.most_on_a_page, ..Alike::default() };
        }
    }

    /// Notes a row. Returns whether it is the first of those that are alike.
    pub fn note(&mut self, bytes: &[u8]) -> bool {
        let least_in_a_try = self.is_read_again.then_some(0);
        let new = || Alike { least_in_a_try, ..Alike::default() };
        let alike = self.rows.entry(Fingerprint::of(bytes)).or_insert_with(new);
        let is_first = alike.most_on_a_page == 0;
        alike.on_page += 1;
        alike.in_try += 1;
        alike.most_on_a_page = alike.most_on_a_page.max(alike.on_page);
        is_first
    }

    /// The number of rows, unless this was the last of several tries.
    pub fn count(&self) -> u64 {
        self.rows.values().map(|alike| alike.most_on_a_page).sum()
    }

    /// The number of rows that this try has shown so far.
    pub fn in_this_try(&self) -> u64 {
        self.rows.values().map(|alike| alike.in_try).sum()
    }

    /// The number of rows after the last of several tries.
    pub fn count_after_all(&self) -> u64 {
        let in_each = |alike: &Alike| alike.least_in_a_try.unwrap_or_default().min(alike.in_try);
        self.rows.values().map(|alike| alike.most_on_a_page.max(in_each(alike))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_alike_are_several_on_one_page_or_if_each_reading_shows_them() {
        let mut rows = UnreadableRows::default();
        assert!(rows.note(b"{}") && !rows.note(b"{}"));
        rows.begin_page();
        assert!(!rows.note(b"{}"), "it may be one of the page before");
        assert_eq!((rows.count(), rows.count_after_all()), (2, 2));
        rows.begin_again();
        for _ in 0..3 {
            rows.begin_page();
            rows.note(b"{}");
        }
        assert_eq!((rows.count(), rows.count_after_all()), (2, 3));
        rows.begin_again();
        rows.note(b"{}");
        rows.begin_page();
        rows.note(b"[]");
        assert_eq!(rows.count_after_all(), 3, "one reading showed fewer");
    }
}
