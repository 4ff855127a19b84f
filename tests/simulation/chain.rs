//! Follows the chain of manifests from the checkpoint. It must list every object, unchanged.

use std::collections::BTreeMap;

use serde_json::Value;
use simulator::Simulator;

use crate::objects::{measured, sha256};
use crate::oracle::{HEALTH, PREFIX, Wrong, checkpoint, wrong};
use crate::tenant::{Measure, Tenant};

pub async fn tells_every_object(sim: &Simulator, tenant: &Tenant) -> Result<(), Wrong> {
    let told = told(sim).await?;
    let open = open(&checkpoint(sim).await);
    let is_open = |key: &str| open.iter().any(|instant| key.contains(instant));
    // The collector's own records are no readings.
    let is_told = |key: &str| !key.starts_with(HEALTH) && !is_open(key);
    for object in sim.s3.objects(sim.bucket(), PREFIX).await.into_iter().filter(|object| is_told(&object.key)) {
        let is = measured(&object, tenant)?;
        match told.get(&object.key) {
            Some(told) if *told == is => {}
            Some(told) => return Err(wrong("unproven", format!("{} is {is:?}, and told as {told:?}", object.key))),
            None => return Err(wrong("unproven", format!("no manifest lists {}", object.key))),
        }
    }
    Ok(())
}

/// The instants of open readings, in the form of keys. A dead run's writes may arrive until long after its lease, so
/// they stay open.
fn open(checkpoint: &Value) -> Vec<String> {
    let kinds = ["versions", "rescanned", "inventory"].into_iter().filter_map(|kind| checkpoint[kind].as_object());
    let open = kinds.flat_map(|streams| streams.values()).filter_map(|stream| stream["stored"]["open"].as_str());
    open.map(|open| open.replace(['-', ':', '.'], "")).collect()
}

/// Returns the listed objects by key.
async fn told(sim: &Simulator) -> Result<BTreeMap<String, Measure>, Wrong> {
    let mut told = BTreeMap::new();
    let checkpoint = checkpoint(sim).await;
    note(&checkpoint["manifests"]["unlisted"], &mut told);
    let manifests = &checkpoint["manifests"];
    let links = |links: &Value| links.as_array().cloned().unwrap_or_default();
    let mut ends = links(&manifests["merged"]);
    ends.push(manifests["head"].clone());
    while let Some(link) = ends.pop() {
        let Some(key) = link["key"].as_str() else { continue };
        let Some(object) = sim.s3.object(sim.bucket(), key).await else {
            return Err(wrong("unproven", format!("{key} is missing")));
        };
        if link["sha256"] != sha256(&object.bytes) {
            return Err(wrong("unproven", format!("{key} is not what is named")));
        }
        let manifest: Value = serde_json::from_slice(&object.bytes).expect("a manifest is JSON");
        note(&manifest["readings"], &mut told);
        ends.extend(links(&manifest["merged"]));
        ends.push(manifest["previous"].clone());
    }
    Ok(told)
}

fn note(readings: &Value, told: &mut BTreeMap<String, Measure>) {
    let objects = readings.as_array().into_iter().flatten().filter_map(|reading| reading["objects"].as_array());
    for object in objects.flatten() {
        let number = |name: &str| object[name].as_u64().unwrap_or_default();
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        told.insert(text("key"), (number("records"), number("bytes"), text("sha256")));
    }
}
