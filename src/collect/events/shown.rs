//! A hash of a window's rows, independent of their order, for a later run's recount.

use crate::core::ndjson::{Fingerprint, Row};
use crate::incydr::page::Rows;

/// The page on which a recount looks at a window's rows. A window that doesn't fit it is only counted again.
pub const PAGE: u64 = 200;

/// The number of rows, and a hash of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shown {
    pub rows: u64,
    sum: u128,
}

/// The rows of one page, and those of its present attempt.
#[derive(Default)]
pub struct ShownPage {
    pub whole: Shown,
    attempt: Shown,
}

impl Shown {
    pub fn add(&mut self, row: &Row<'_>) {
        self.rows += 1;
        if self.rows < PAGE {
            let bytes = match row {
                Row::Record { line, .. } => line.as_bytes(),
                Row::Unreadable { bytes, .. } => bytes,
            };
            self.sum = self.sum.wrapping_add(Fingerprint::of(bytes).0);
        }
    }

    /// The hash for the checkpoint. None if the rows are too many.
    pub fn hash(&self) -> Option<String> {
        (self.rows < PAGE).then(|| format!("{:032x}", self.sum))
    }
}

impl Rows for ShownPage {
    fn take(&mut self, row: Row<'_>) {
        self.attempt.add(&row);
    }

    fn page_broken(&mut self) {
        self.attempt = Shown::default();
    }

    fn page_complete(&mut self) {
        self.whole = std::mem::take(&mut self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str]) -> Shown {
        let mut shown = Shown::default();
        for line in lines {
            shown.add(&Row::Unreadable { bytes: line.as_bytes(), why: String::new() });
        }
        shown
    }

    #[test]
    fn the_order_of_the_rows_says_nothing_and_their_number_does() {
        assert_eq!(shown(&["a", "b"]).hash(), shown(&["b", "a"]).hash());
        assert_ne!(shown(&["a", "b"]).hash(), shown(&["a", "c"]).hash());
        assert_ne!(shown(&["a", "a"]).hash(), shown(&["a"]).hash());
    }

    #[test]
    fn many_rows_have_no_hash() {
        let rows = vec!["a"; 200];
        assert_eq!((shown(&rows).hash(), shown(&rows[1..]).hash().is_some()), (None, true));
    }

    #[test]
    fn a_page_that_broke_off_counts_once() {
        let mut page = ShownPage::default();
        for _ in 0..2 {
            page.take(Row::Unreadable { bytes: b"a", why: String::new() });
            page.page_broken();
        }
        page.take(Row::Unreadable { bytes: b"a", why: String::new() });
        page.page_complete();
        assert_eq!(page.whole, shown(&["a"]));
    }
}
