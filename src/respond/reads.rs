//! The actions that only read. They make no claim and no record, and return the API's own answer.

use serde_json::{Value, json};

use crate::core::quote;
use crate::incydr::listing::{escape, reported};
use crate::incydr::request::Caller;
use crate::respond::action::Read;
use crate::respond::api::ResponderApi;
use crate::respond::connector_answer::ConnectorAnswer;
use crate::respond::error::{ErrorCause, RespondError};

pub async fn read(asked: &Read, api: &ResponderApi, caller: &Caller<'_>) -> Result<ConnectorAnswer, RespondError> {
    match asked {
        Read::Get { path, query } => {
            let path: Vec<String> = path.iter().map(|part| escape(part)).collect();
            api.get(&format!("/{}", path.join("/")), query, caller).await
        }
        Read::FileEvents { filters, most } => {
            let told = api.search("/v2/file-events", &query(filters, *most), caller).await?;
            if let Some(problems) = reported(&told.json_body["problems"]) {
                let problems = quote::value(&problems.to_string());
                let why = format!("POST /v2/file-events: the answer reports problems: {problems}");
                let error = RespondError::new(ErrorCause::ThirdPartyGenericError, why);
                return Err(RespondError { told: Some(Box::new(told)), ..error });
            }
            Ok(told)
        }
    }
}

/// Queries the newest events first. Paged by number, because only the first page is asked for.
fn query(filters: &[(&'static str, &'static str, String)], most: u64) -> Value {
    let filters: Vec<Value> = filters
        .iter()
        .map(|(term, operator, value)| json!({"term": term, "operator": operator, "value": value}))
        .collect();
    json!({
        "groupClause": "AND",
        "groups": [{"filterClause": "AND", "filters": filters}],
        "pgNum": 1,
        "pgSize": most,
        "srtKey": "event.inserted",
        "srtDir": "desc",
    })
}
