//! Compares bucket and API, record by record, by the records' text.

use std::collections::{BTreeMap, HashMap};

use simulator::compact;

use crate::stage::{PREFIX, SET_ASIDE, Stage};

/// The comparison of one stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub api: u64,
    pub bucket: u64,
    /// At the API and not in the bucket.
    pub lost: u64,
    /// In the bucket more often than at the API.
    pub twice: u64,
    /// In the bucket and not at the API.
    pub altered: u64,
}

pub struct Comparison {
    pub streams: BTreeMap<String, Tally>,
    /// Objects that were overwritten or deleted.
    pub rewritten: usize,
}

impl Comparison {
    pub async fn of(stage: &Stage) -> Self {
        let mut streams = BTreeMap::new();
        for (stream, shown) in stage.at_the_api() {
            let mut stored = stage.sim.stored_lines(&format!("{PREFIX}{stream}/")).await;
            for object in stage.sim.s3.objects(stage.sim.bucket(), &format!("{SET_ASIDE}{stream}/")).await {
                stored.push(String::from_utf8_lossy(&object.bytes).into_owned());
            }
            streams.insert(stream.to_owned(), tally(shown.iter().map(|raw| compact(raw)), stored));
        }
        Self { streams, rewritten: stage.sim.s3.overwritten_or_deleted(PREFIX).len() }
    }

    pub fn of_stream(&self, stream: &str) -> Tally {
        self.streams.get(stream).copied().unwrap_or_default()
    }

    pub fn total(&self) -> Tally {
        self.streams.values().fold(Tally::default(), |sum, tally| Tally {
            api: sum.api + tally.api,
            bucket: sum.bucket + tally.bucket,
            lost: sum.lost + tally.lost,
            twice: sum.twice + tally.twice,
            altered: sum.altered + tally.altered,
        })
    }

    pub fn is_equal(&self) -> bool {
        self.total().lost == 0 && self.is_equal_so_far()
    }

    /// True if everything in the bucket is right, even if something is missing.
    pub fn is_equal_so_far(&self) -> bool {
        self.total().twice == 0 && self.total().altered == 0 && self.rewritten == 0
    }
}

fn tally(api: impl IntoIterator<Item = String>, bucket: impl IntoIterator<Item = String>) -> Tally {
    let mut counts: HashMap<String, (u64, u64)> = HashMap::new();
    api.into_iter().for_each(|text| counts.entry(text).or_default().0 += 1);
    bucket.into_iter().for_each(|text| counts.entry(text).or_default().1 += 1);
    let mut tally = Tally::default();
    for (at_api, in_bucket) in counts.into_values() {
        tally.api += at_api;
        tally.bucket += in_bucket;
        tally.lost += at_api.saturating_sub(in_bucket);
        match at_api {
            0 => tally.altered += in_bucket,
            _ => tally.twice += in_bucket.saturating_sub(at_api),
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_counted_as_what_it_is() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let told = tally(texts(&["a", "a", "b", "c"]), texts(&["a", "a", "a", "c", "x"]));
        assert_eq!((told.api, told.bucket, told.lost, told.twice, told.altered), (4, 5, 1, 1, 1));
    }
}
