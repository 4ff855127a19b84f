//! Counts the file events by the value of a term: a device, an observer or a connection.

use std::collections::HashMap;

use crate::collect::error::Error;
use crate::collect::health::reader::Reader;
use crate::collect::health::records::text;
use crate::core::density::halves;
use crate::core::intervals::Span;
use crate::core::json::count;
use crate::core::ndjson;
use crate::core::time::{DAY, Millis};
use crate::incydr::error::ApiError;
use crate::incydr::facts::file_events;
use crate::incydr::listing::{of_problems, reported};
use crate::incydr::request::Request;

pub type Counts = HashMap<String, u64>;

impl Reader<'_> {
    /// Returns the number of file events in a span for each value of a term. The API counts them without
    /// `FE_QUERY_JSON`. A span that is too much for it is counted in halves, down to a day. An event in the millisecond
    /// between two halves counts in both.
    pub async fn counts(
        &self,
        term: &str,
        only: Option<(&str, &str)>,
        from: Millis,
        to: Millis,
    ) -> Result<Counts, Error> {
        let mut counts = Counts::new();
        let mut left: Vec<Span> = Span::new(from, to).into_iter().collect();
        while let Some(span) = left.pop() {
            match self.counts_of(term, only, span).await {
                Ok(found) => found.into_iter().for_each(|(value, count)| *counts.entry(value).or_default() += count),
                // `QueryRefused` can't mean FE_QUERY_JSON here: there are too many values.
                Err(ApiError::TooLarge { what, said } | ApiError::QueryRefused { what, said, .. }) => {
                    let shorter = halves(span).filter(|_| span.length() > DAY);
                    left.extend(shorter.ok_or(ApiError::TooLarge { what, said })?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(counts)
    }

    async fn counts_of(&self, term: &str, only: Option<(&str, &str)>, span: Span) -> Result<Counts, ApiError> {
        let request = Request::post(file_events::GROUPING, file_events::grouping(term, span, only));
        let unexpected = |why: &str| ApiError::Unexpected { what: request.what(), why: why.to_owned() };
        let read = |body: &bytes::Bytes| {
            let answer = ndjson::lenient(body).ok_or_else(|| unexpected("the answer is not JSON"))?;
            if let Some(problems) = reported(&answer["problems"]) {
                return Err(of_problems(request.what(), problems));
            }
            let groups = answer["groups"].as_array().ok_or_else(|| unexpected("the answer has no \"groups\""))?;
            Ok(groups.iter().filter_map(|group| Some((text(group, "value")?, count(&group["docCount"])?))).collect())
        };
        self.api.send(&request, self.caller, read).await
    }
}
