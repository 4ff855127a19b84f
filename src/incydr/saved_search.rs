//! The query for file events: from the settings, or from a search that is saved in the console.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::core::ndjson;
use crate::core::settings::{FileEventQuery, QuerySource};
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::saved_searches::{PATH, SEARCHES};
use crate::incydr::listing::escape;
use crate::incydr::request::{Caller, Request};

impl Api {
    /// Returns the query. A saved search is requested each time, because somebody may have changed it.
    pub async fn file_event_query<'q>(
        &self,
        source: &'q QuerySource,
        caller: &Caller<'_>,
    ) -> Result<Cow<'q, FileEventQuery>, ApiError> {
        match source {
            QuerySource::Given(query) => Ok(Cow::Borrowed(query)),
            QuerySource::SavedSearch(id) => self.saved_search(id, caller).await.map(Cow::Owned),
        }
    }

    /// Requests a saved search. The answer is a list with one element (SDK, `file_events/client.py`), or a 404 if there
    /// is no such search (`OpenAPI`).
    async fn saved_search(&self, id: &str, caller: &Caller<'_>) -> Result<FileEventQuery, ApiError> {
        let request = Request::get(format!("{PATH}/{}", escape(id)));
        let unexpected = |why: String| ApiError::Unexpected { what: request.what(), why };
        let missing = |said| ApiError::NoSavedSearch { what: request.what(), id: id.to_owned(), said };
        let read = |body: &Bytes| {
            let answer = ndjson::lenient(body);
            answer.filter(Value::is_object).ok_or_else(|| unexpected("the answer is not a JSON object".into()))
        };
        let answer = match self.send(&request, caller, read).await {
            Err(ApiError::Status { status: status @ (400 | 404), said, .. }) => {
                return Err(missing(format!("the API answers {status}: {said}")));
            }
            answer => answer?,
        };
        let searches = match answer.get(SEARCHES) {
            Some(Value::Array(searches)) => searches.as_slice(),
            Some(Value::Null) => &[],
            _ => return Err(unexpected(format!("the answer has no {SEARCHES:?}"))),
        };
        if searches.is_empty() {
            return Err(missing("the API's answer is empty".into()));
        }
        let search = searches.iter().find(|search| search["id"] == id);
        let search = search.ok_or_else(|| unexpected(format!("the answer has another id than {id:?}")))?;
        FileEventQuery::of_saved_search(search).map_err(|why| unexpected(format!("the saved search {id:?}: {why}")))
    }
}
