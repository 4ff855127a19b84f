//! Manifests that the checkpoint doesn't name. If the checkpoint was replaced by an older version of itself, these are
//! the ones after its newest manifest. If it is gone, these are all manifests.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::bucket::s3::{Bucket, StoreError};
use crate::core::manifest::{Link, Manifest, sha256};
use crate::core::time::Millis;

const READS_AT_ONCE: usize = 8;
/// [`read_newest`] gives up after this many manifests of somebody else.
const LOOKED_THROUGH: usize = 100;

/// A manifest, and the link by which the next one names it.
#[derive(Clone, Debug)]
pub struct LinkedManifest {
    pub link: Link,
    pub manifest: Manifest,
}

/// Returns all manifests whose keys come after that of `head`, in no particular order. Takes one LIST per 1,000
/// manifests.
pub async fn read_after(
    state: &Bucket,
    state_prefix: &str,
    head: Option<&Link>,
    until: Millis,
) -> Result<Vec<LinkedManifest>, StoreError> {
    let prefix = format!("{state_prefix}manifests/dt=");
    let keys = state.list_after(&prefix, head.map(|head| head.key.as_str()), until).await?;
    let is_later = |key: &String| head.is_none_or(|head| *key > head.key);
    stream::iter(keys.into_iter().filter(is_later))
        .map(|key| async move { read(state, state_prefix, &key, until).await })
        .buffer_unordered(READS_AT_ONCE)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await
}

/// Returns the newest manifest for which `is_ours` holds, among the newest 100. Another collector may write its
/// manifests beside ours.
pub async fn read_newest(
    state: &Bucket,
    state_prefix: &str,
    is_ours: impl Fn(&Manifest) -> bool,
    until: Millis,
) -> Result<Option<LinkedManifest>, StoreError> {
    let mut days = state.list_folders(&format!("{state_prefix}manifests/"), until).await?;
    days.retain(|folder| folder.contains("/dt=") || folder.starts_with("manifests/dt="));
    days.sort_unstable();
    let mut left = LOOKED_THROUGH;
    for day in days.iter().rev() {
        for key in state.list(day, until).await?.iter().rev() {
            if left == 0 {
                return Ok(None);
            }
            left -= 1;
            if let Some(found) = read(state, state_prefix, key, until).await?.filter(|found| is_ours(&found.manifest)) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Returns none if the object is missing, is no manifest, or is not the manifest that its key names.
pub async fn read(
    state: &Bucket,
    state_prefix: &str,
    key: &str,
    until: Millis,
) -> Result<Option<LinkedManifest>, StoreError> {
    let Some(stored) = state.get(key, until).await? else { return Ok(None) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&stored.bytes) else { return Ok(None) };
    let link = Link {
        number: manifest.number,
        key: key.to_owned(),
        sha256: sha256(&stored.bytes),
        written_at: manifest.written_at,
    };
    let is_named = manifest.link(state_prefix, &String::from_utf8_lossy(&stored.bytes)).key == key;
    Ok(is_named.then_some(LinkedManifest { link, manifest }))
}

/// Returns the longest chain that follows `head`, oldest first. With `any_beginning` the chain may begin anywhere.
pub fn following(all: &[LinkedManifest], head: Option<&Link>, any_beginning: bool) -> Vec<LinkedManifest> {
    let named: HashSet<String> =
        all.iter().filter_map(|found| Some(found.manifest.previous.as_ref()?.sha256.clone())).collect();
    let by_hash: HashMap<&str, &LinkedManifest> = all.iter().map(|found| (found.link.sha256.as_str(), found)).collect();
    let mut ends: Vec<&LinkedManifest> = all.iter().filter(|found| !named.contains(&found.link.sha256)).collect();
    ends.sort_by_key(|end| std::cmp::Reverse((end.link.number, end.link.written_at)));
    for end in ends {
        let mut chain = vec![end.clone()];
        let mut previous = end.manifest.previous.as_ref();
        while let Some(before) = previous.and_then(|link| by_hash.get(link.sha256.as_str())) {
            chain.push((*before).clone());
            previous = before.manifest.previous.as_ref();
        }
        if any_beginning || previous.map(|link| &link.sha256) == head.map(|head| &head.sha256) {
            chain.reverse();
            return chain;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::identity::Identity;
    use crate::core::manifest::FORMAT_VERSION;

    fn manifest(previous: Option<&LinkedManifest>, run_id: &str) -> LinkedManifest {
        let identity = Identity { tenant: None, base_url: "https://a".into(), bucket: "b".into(), prefix: "c/".into() };
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            number: previous.map_or(1, |before| before.link.number + 1),
            previous: previous.map(|before| before.link.clone()),
            run_id: run_id.into(),
            written_at: Millis(0),
            identity,
            indexes: Vec::new(),
            merged: Vec::new(),
            readings: Vec::new(),
        };
        let link = manifest.link("state/", &manifest.to_json());
        LinkedManifest { link, manifest }
    }

    #[test]
    fn the_longest_chain_that_follows_is_found_among_orphans() {
        let head = manifest(None, "a");
        let second = manifest(Some(&head), "b");
        let (orphan, third) = (manifest(Some(&head), "dead"), manifest(Some(&second), "c"));
        let other = manifest(Some(&manifest(None, "x")), "y");
        let all = vec![third.clone(), orphan.clone(), other.clone(), second.clone()];
        let runs =
            |chain: Vec<LinkedManifest>| chain.into_iter().map(|found| found.manifest.run_id).collect::<Vec<_>>();
        assert_eq!(runs(following(&all, Some(&head.link), false)), ["b", "c"]);
        assert_eq!(runs(following(&[orphan, other], Some(&head.link), false)), ["dead"]);
        assert!(following(std::slice::from_ref(&third), Some(&head.link), false).is_empty(), "one between is missing");
        assert_eq!(runs(following(&[third], None, true)), ["c"]);
        assert!(following(&[], None, true).is_empty());
    }
}
