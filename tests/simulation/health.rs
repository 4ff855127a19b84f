//! The collector's own records: each change of a stream's state is reported once and continues from the one before.

use std::collections::BTreeMap;

use serde_json::Value;
use simulator::Simulator;

use crate::objects;
use crate::oracle::{Found, HEALTH, checkpoint, wrong};
use crate::tenant::Tenant;

/// Checks this at whatever instant a run has died.
pub async fn is_told_once(sim: &Simulator, tenant: &Tenant) -> Found {
    last_told(sim, tenant).await.map(drop)
}

/// Checks that the last reported state is on the checkpoint.
pub async fn is_told_to_the_end(sim: &Simulator, tenant: &Tenant) -> Found {
    let (told, checkpoint) = (last_told(sim, tenant).await?, checkpoint(sim).await);
    let states = checkpoint["states"].as_object().into_iter().flatten();
    let states: BTreeMap<String, Value> =
        states.map(|(stream, state)| (stream.clone(), state["state"].clone())).collect();
    if told != states || told.values().any(|state| state != "collecting") {
        return Err(wrong("untold", format!("the checkpoint says {states:?}, and told is {told:?}")));
    }
    Ok(())
}

/// Returns the streams' last reported states. Keys are in order of time.
async fn last_told(sim: &Simulator, tenant: &Tenant) -> Result<BTreeMap<String, Value>, crate::oracle::Wrong> {
    let mut states = BTreeMap::new();
    for line in objects::lines_below(sim, tenant, HEALTH).await {
        let told: Value = serde_json::from_str(&line).map_err(|_| wrong("altered", format!("no JSON: {line}")))?;
        // Deaths leave manifests that no checkpoint names. That doesn't make it an older one.
        let has_lost_state = tenant.past().lost.is_some();
        if !has_lost_state && line.contains("older version of itself") {
            return Err(wrong("taken for older", &*line));
        }
        let stream = told["stream"].as_str().unwrap_or_default().to_owned();
        let before = states.insert(stream, told["state"].clone()).unwrap_or_default();
        if !has_lost_state && told["previous"] != before {
            return Err(wrong("told twice, or not", format!("it was {before}, and then {line}")));
        }
    }
    Ok(states)
}
