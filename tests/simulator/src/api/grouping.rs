//! `POST /v2/file-events/grouping` (SDK, `file_events/client.py` and `queries/file_events.py`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::json;

use super::{
    file_events::refused,
    page,
    query::{self, Circumstances},
    terms::TERMS,
};
use crate::{
    http::{Reply, Request},
    world::{Dataset, WorldHandle},
};

/// SDK, `GroupingEventQuery.maximum_size`; without one, 1,000.
const MAX_GROUPS: u64 = 10_000;

/// Counts the events by value of a term, most frequent first. A query without groups matches all.
pub(super) fn answer(world: &WorldHandle, request: &Request, at: Circumstances) -> Result<Reply, Reply> {
    let body = request.json();
    let term = body["groupingTerm"].as_str().filter(|term| TERMS.contains(term));
    let term = term.ok_or_else(|| refused("ILLEGAL_GROUP", "groupingTerm must be a term"))?;
    let groups = body["groups"].as_array().ok_or_else(|| refused("MISSING_GROUPS", "groups is missing"))?;
    let size = page::whole(&body["size"], 1000).filter(|size| (1..=MAX_GROUPS).contains(size));
    let size = size.ok_or_else(|| refused("ILLEGAL_VALUE", "size must be between 1 and 10000"))?;
    let mut events = world.visible(Dataset::FileEvents);
    if !groups.is_empty() {
        let query = query::parse(&body).map_err(|wrong| refused(wrong.kind, &wrong.why))?;
        events.retain(|event| query.accepts(event, at));
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in &events {
        let mut found = Vec::new();
        query::values_at(event.fields(), term, &mut found);
        let values: BTreeSet<String> = found.into_iter().map(query::plain).collect();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
    }
    let mut groups: Vec<(String, u64)> = counts.into_iter().collect();
    groups.sort_by_key(|(_, count)| Reverse(*count));
    groups.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let groups: Vec<_> = groups.iter().map(|(value, count)| json!({"value": value, "docCount": count})).collect();
    Ok(Reply::json(200, json!({"groups": groups, "problems": null}).to_string()))
}
