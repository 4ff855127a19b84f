//! Reads a list page by page. A page that fails holds up none of the others.

use tracing::warn;

use super::Collector;
use crate::collect::error::Error;
use crate::core::error_type::ErrorInfo;
use crate::incydr::facts::List;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

impl Collector<'_> {
    /// The number of rows that are asked for in a page of this list.
    pub(super) fn page_size(&self, list: &List) -> u64 {
        self.run.settings.page_size(self.stream, list.max_page_size)
    }

    /// Returns the rows of a list's next page, or none at its end. If the pages have numbers, one that fails is passed
    /// over: the list's [`Listing::failure`] is its error, unless smaller pages have all of its rows. Not for a caller that
    /// tries once.
    pub(super) async fn next_rows(
        &self,
        listing: &mut Listing<'_>,
        caller: &Caller<'_>,
    ) -> Result<Option<Vec<ListRow>>, Error> {
        let is_patient = caller.retry_until.is_some();
        loop {
            // A further page that fails is read again anyway, in smaller ones.
            let smaller = listing.smaller_page();
            let retry_until = caller.retry_until.filter(|_| listing.failure().is_none());
            let rows = listing.rows(&Caller { retry_until, ..*caller }).await.map_err(Error::from);
            match rows {
                Err(error)
                    if is_patient && error.may_be_of_one_page() && listing.pass_over(ErrorInfo::from(&error)) =>
                {
                    if let Some(page) = smaller.filter(|page| page.size == 1) {
                        let (stream, row) = (self.stream, page.number + 1);
                        warn!(%stream, row, %error, "the API fails at one row of a list");
                    }
                }
                rows => return rows,
            }
        }
    }
}
