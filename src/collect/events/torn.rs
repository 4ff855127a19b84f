//! A page that breaks off is requested again. Its rows must not count twice.

use std::collections::HashMap;

use crate::core::ndjson::Fingerprint;

/// Recognises rows that a broken-off answer has already shown.
#[derive(Default)]
pub struct TornPages {
    /// The rows of the present page.
    on_page: Vec<Fingerprint>,
    /// Rows of its attempts that broke off, which the present attempt hasn't shown again.
    torn: HashMap<Fingerprint, u64>,
    lost_rows: bool,
}

impl TornPages {
    /// Notes a row. Returns whether no attempt that broke off has shown it.
    pub fn note_row(&mut self, row: Fingerprint) -> bool {
        self.on_page.push(row);
        match self.torn.get_mut(&row) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        }
    }

    /// Called if the page broke off.
    pub fn broken(&mut self) {
        for row in self.on_page.drain(..) {
            *self.torn.entry(row).or_default() += 1;
        }
    }

    /// Called at the end of a page. A row of the broken-off answer that did not come again is now on another page, or
    /// lost.
    pub fn complete(&mut self) {
        self.lost_rows |= self.torn.drain().any(|(_, count)| count > 0);
        self.on_page.clear();
    }

    /// Whether a page broke off and had other rows when it was requested again.
    pub fn have_lost_rows(&self) -> bool {
        self.lost_rows
    }
}
