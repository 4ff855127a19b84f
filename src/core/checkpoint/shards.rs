//! The shards of a backfill, as the live checkpoint knows them.

use std::collections::BTreeMap;

use super::{Checkpoint, Reserved};
use crate::core::stream::Stream;

impl Checkpoint {
    /// The spans that are left to shards.
    pub fn reserved(&self) -> impl Iterator<Item = (Stream, &Reserved)> {
        self.events.iter().flat_map(|(stream, state)| state.reserved.iter().map(|reserved| (*stream, reserved)))
    }

    /// The requests a minute of the shards of all plans together.
    pub fn requests_of_shards(&self) -> usize {
        // The shards of a plan are named after its run, and have the same share.
        let mut plans: BTreeMap<&str, (usize, &Reserved)> = BTreeMap::new();
        for (_, reserved) in self.reserved() {
            let plan = reserved.shard.rsplit('-').next().unwrap_or_default();
            plans.entry(plan).or_insert((0, reserved)).0 += 1;
        }
        plans.values().map(|(left, shard)| shard.requests_per_minute * shard.at_once.unwrap_or(*left).min(*left)).sum()
    }

    /// Takes over what a shard has covered, together with its manifests.
    pub fn merge(&mut self, stream: Stream, shard: &str, mut theirs: Self) {
        self.identity.tenant = self.identity.tenant.take().or(theirs.identity.tenant);
        let their_events = theirs.events.remove(&stream).unwrap_or_default();
        let their_stuck = theirs.stuck.remove(&stream).unwrap_or_default();
        let (state, stuck) = self.events_and_stuck(stream);
        // A live run may have failed to read it before it was reserved for the shard.
        for done in their_events.covered.iter().chain(their_events.expired.iter()) {
            stuck.cut_out(done);
        }
        stuck.take_over(their_stuck);
        state.merge(shard, their_events);
        self.manifests.unlisted.append(&mut theirs.manifests.unlisted);
        self.manifests.merged.extend(theirs.manifests.head);
    }
}
