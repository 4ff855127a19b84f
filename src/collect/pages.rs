//! Reads a list page by page. A page that fails holds up none of those behind it.

use super::Collector;
use crate::collect::error::Error;
use crate::incydr::listing::{ListRow, Listing};
use crate::incydr::request::Caller;

impl Collector<'_> {
    /// Returns the rows of a list's next page, or none at its end. If the pages have numbers, the first one that fails is
    /// passed over, and its error is put into `failed`: the list fails at its end.
    pub(super) async fn next_rows(
        &self,
        listing: &mut Listing<'_>,
        caller: &Caller<'_>,
        failed: &mut Option<Error>,
    ) -> Result<Option<Vec<ListRow>>, Error> {
        loop {
            // If not even the first page was answered, the API may fail as a whole.
            let is_doubtful = failed.is_some() && !listing.is_begun();
            let caller = &Caller { tries_once: caller.tries_once || is_doubtful, ..*caller };
            match listing.rows(caller).await.map_err(Error::from) {
                Err(error) if failed.is_none() && error.may_be_local() && listing.skip() => *failed = Some(error),
                rows => return rows,
            }
        }
    }
}
