//! Reads manifests: those that the checkpoint names, and those that it doesn't name. The latter are all manifests if
//! the checkpoint is gone, and those after its newest one if it was replaced by an older version of itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::bucket::known::{PAUSE, TRIES};
use crate::bucket::s3::{Bucket, StoreError};
use crate::core::digest::sha256;
use crate::core::manifest::{Link, Manifest, day_prefix};
use crate::core::ndjson;
use crate::core::retry::sleep_within;
use crate::core::time::Millis;

const READS_AT_ONCE: usize = 8;
/// [`read_newest`] looks at this many manifests at most.
const MOST_LOOKED_AT: usize = 100;

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

/// Returns the manifests with the highest number, the last one written first, of those for which `is_ours` holds, among
/// the newest 100. There are several if a run wrote its manifest and no checkpoint. Another collector may write its
/// manifests beside ours.
pub async fn read_newest(
    state: &Bucket,
    state_prefix: &str,
    is_ours: impl Fn(&Manifest) -> bool,
    until: Millis,
) -> Result<Vec<LinkedManifest>, StoreError> {
    let mut days = state.list_folders(&format!("{state_prefix}manifests/"), until).await?;
    days.retain(|folder| folder.contains("/dt=") || folder.starts_with("manifests/dt="));
    days.sort_unstable();

    let mut left = MOST_LOOKED_AT;
    for day in days.iter().rev() {
        let mut newest: Vec<LinkedManifest> = Vec::new();
        // A key begins with the manifest's number.
        for key in state.list(day, until).await?.iter().rev() {
            if left == 0 {
                break;
            }
            left -= 1;

            let found = read(state, state_prefix, key, until).await?.filter(|found| is_ours(&found.manifest));
            let Some(found) = found else { continue };
            if newest.first().is_some_and(|first| first.link.number != found.link.number) {
                break;
            }
            newest.push(found);
        }

        if !newest.is_empty() || left == 0 {
            newest.sort_by_key(|found| std::cmp::Reverse(found.link.written_at));
            return Ok(newest);
        }
    }
    Ok(Vec::new())
}

/// Returns the days that have manifests, for example `2026-11-21`, each with the keys of its indexes.
pub async fn days(
    state: &Bucket,
    state_prefix: &str,
    until: Millis,
) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let prefix = format!("{state_prefix}manifests/");
    let mut days: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in state.list_folders(&prefix, until).await? {
        if let Some(day) = folder.strip_prefix(&prefix).and_then(|folder| folder.strip_prefix("dt=")) {
            days.entry(day.trim_end_matches('/').to_owned()).or_default();
        }
    }

    let prefix = format!("{prefix}index/");
    for key in state.list(&prefix, until).await? {
        let day = key.strip_prefix(&prefix).and_then(|name| Some(name.rsplit_once('-')?.0.to_owned()));
        if let Some(day) = day {
            days.entry(day).or_default().push(key);
        }
    }

    Ok(days)
}

/// Returns the manifests of a day, by number and then by time: those in its indexes, and those that have an object of
/// their own. If an index can't be read, the manifests' own objects are used.
pub async fn read_day(
    state: &Bucket,
    state_prefix: &str,
    day: &str,
    indexes: &[String],
    until: Millis,
) -> Result<Vec<LinkedManifest>, StoreError> {
    let mut found = Vec::new();
    for key in indexes {
        let stored = match state.get(key, until).await {
            Err(StoreError::Archived { .. }) => None,
            stored => stored?,
        };
        let lines = stored.and_then(|stored| ndjson::lines(&stored.bytes).ok()).unwrap_or_default();
        found.extend(lines.iter().filter_map(|line| linked(state_prefix, line.as_bytes())));
    }

    let mut keys: Vec<String> = state.list(&day_prefix(state_prefix, day), until).await?;
    let have: HashSet<&str> = found.iter().map(|found: &LinkedManifest| found.link.key.as_str()).collect();
    keys.retain(|key| !have.contains(key.as_str()));
    let others: Vec<LinkedManifest> = stream::iter(keys)
        .map(|key| async move { read(state, state_prefix, &key, until).await })
        .buffer_unordered(READS_AT_ONCE)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await?;
    found.extend(others);

    found.retain(|found| found.link.day() == day);
    found.sort_by(|a, b| {
        let order = |link: &Link| (link.number, link.written_at);
        order(&a.link).cmp(&order(&b.link)).then_with(|| a.link.sha256.cmp(&b.link.sha256))
    });
    found.dedup_by(|a, b| a.link == b.link);
    Ok(found)
}

/// Whether a day's manifest is an orphan, that is, not on the chain. A run that died may leave one. Then no manifest of
/// the day names it, and another one of the day has its number and is either named by a manifest or was written later.
pub fn is_orphan(found: &LinkedManifest, of_day: &[LinkedManifest]) -> bool {
    let is_named = |other: &LinkedManifest| {
        let mut previous = of_day.iter().filter_map(|next| next.manifest.previous.as_ref());
        previous.any(|previous| previous.sha256 == other.link.sha256)
    };
    let mut others = of_day.iter().filter(|other| other.link.number == found.link.number && other.link != found.link);
    !is_named(found) && others.any(|other| is_named(other) || other.link.written_at > found.link.written_at)
}

/// Returns none if the object is missing, is no manifest, or is not the manifest that its key names.
pub async fn read(
    state: &Bucket,
    state_prefix: &str,
    key: &str,
    until: Millis,
) -> Result<Option<LinkedManifest>, StoreError> {
    read_sound(state, key, until, |bytes| linked(state_prefix, bytes).filter(|found| found.link.key == key)).await
}

/// Reads an object and parses it with `sound`. If that fails, reads it again: the answer may be damaged, and not the
/// object.
async fn read_sound<T>(
    state: &Bucket,
    key: &str,
    until: Millis,
    sound: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    for tries in 1.. {
        let Some(stored) = state.get(key, until).await? else { return Ok(None) };
        let found = sound(&stored.bytes);
        if found.is_some() || tries == TRIES || !sleep_within(PAUSE, until).await {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Returns the manifest that a link names; none if the object is missing, or has another hash.
pub async fn read_named(state: &Bucket, link: &Link, until: Millis) -> Result<Option<Manifest>, StoreError> {
    let named = |bytes: &[u8]| serde_json::from_slice(bytes).ok().filter(|_| sha256(bytes) == link.sha256);
    read_sound(state, &link.key, until, named).await
}

/// Returns the manifest with its link; none if the bytes are no manifest.
fn linked(state_prefix: &str, bytes: &[u8]) -> Option<LinkedManifest> {
    let manifest: Manifest = serde_json::from_slice(bytes).ok()?;
    let Link { key, .. } = manifest.link(state_prefix, &String::from_utf8_lossy(bytes));
    let link = Link { number: manifest.number, key, sha256: sha256(bytes), written_at: manifest.written_at };
    Some(LinkedManifest { link, manifest })
}

/// Returns the longest chain that follows `head`, oldest first.
pub fn following(all: &[LinkedManifest], head: Option<&Link>) -> Vec<LinkedManifest> {
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
        if previous.map(|link| &link.sha256) == head.map(|head| &head.sha256) {
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
        let identity = Identity::example();
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
        assert_eq!(runs(following(&all, Some(&head.link))), ["b", "c"]);
        assert_eq!(runs(following(&[orphan, other], Some(&head.link))), ["dead"]);
        assert!(following(std::slice::from_ref(&third), Some(&head.link)).is_empty(), "one between is missing");
        assert!(following(&[], None).is_empty());
    }

    #[test]
    fn the_manifest_of_a_dead_run_is_told_from_the_one_that_the_next_run_wrote() {
        let head = manifest(None, "a");
        let (mut orphan, mut second) = (manifest(Some(&head), "dead"), manifest(Some(&head), "b"));
        let third = manifest(Some(&second), "c");
        let of_day = [head.clone(), orphan.clone(), second.clone(), third.clone()];
        let orphans: Vec<bool> = of_day.iter().map(|found| is_orphan(found, &of_day)).collect();
        assert_eq!(orphans, [false, true, false, false], "the third names the second");
        (orphan.link.written_at, second.link.written_at) = (Millis(5), Millis(6));
        let of_day = [head, orphan.clone(), second.clone()];
        assert!(is_orphan(&orphan, &of_day) && !is_orphan(&second, &of_day), "the later one is the chain's end");
    }
}
