//! The query for file events that the settings give, or that somebody keeps in the console.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::core::settings::{FileEventQuery, QuerySource};
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::saved_searches::{PATH, SEARCHES};
use crate::incydr::listing::escape;
use crate::incydr::request::{Caller, Request};

impl Api {
    /// A saved search is asked for anew each time, for somebody may have changed it.
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

    /// The answer is a list that holds the one (SDK, `file_events/client.py`); a 404 where there is none (`OpenAPI`).
    async fn saved_search(&self, id: &str, caller: &Caller<'_>) -> Result<FileEventQuery, ApiError> {
        let request = Request::get(format!("{PATH}/{}", escape(id)));
        let unexpected = |why: String| ApiError::Unexpected { what: request.what(), why };
        let missing = |said| ApiError::NoSavedSearch { what: request.what(), id: id.to_owned(), said };
        let read = |body: &Bytes| {
            let answer = serde_json::from_slice::<Value>(body).ok();
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
        let search = search.ok_or_else(|| unexpected(format!("the answer is about another than {id:?}")))?;
        FileEventQuery::of_saved_search(search).map_err(|why| unexpected(format!("the saved search {id:?}: {why}")))
    }
}
