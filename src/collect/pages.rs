//! Reads a list page by page. A page that fails holds up none of the others.

use tracing::warn;

use super::Collector;
use crate::collect::error::Error;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

impl Collector<'_> {
    /// Returns the rows of a list's next page, or none at its end. If the pages have numbers, one that fails is passed
    /// over, and its error is put into `failed`: the list fails at its end, unless smaller pages have all of its rows.
    /// For a caller that tries once no page is passed over.
    pub(super) async fn next_rows(
        &self,
        listing: &mut Listing<'_>,
        caller: &Caller<'_>,
        failed: &mut Option<Error>,
    ) -> Result<Option<Vec<ListRow>>, Error> {
        let is_patient = caller.retry_until.is_some();
        loop {
            // A further page that fails is read again anyway, in smaller ones.
            let smaller = listing.smaller_page();
            let caller = &Caller { retry_until: caller.retry_until.filter(|_| failed.is_none()), ..*caller };
            match listing.rows(caller).await.map_err(Error::from) {
                Err(error) if is_patient && error.may_be_of_one_page() && listing.pass_over() => {
                    if let Some(page) = smaller.filter(|page| page.size == 1) {
                        let (stream, row) = (self.stream, page.number + 1);
                        warn!(%stream, row, %error, "the API fails at one row of a list");
                    }
                    failed.get_or_insert(error);
                }
                rows => {
                    if listing.has_read_failed_pages() {
                        *failed = None;
                    }
                    return rows;
                }
            }
        }
    }
}
