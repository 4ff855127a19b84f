//! The end dates that the stream `actor_profiles` has read.

use std::collections::HashMap;

use chrono::TimeDelta;
use tracing::warn;

use crate::bucket::s3::Bucket;
use crate::collect::inventory::with_member;
use crate::core::checkpoint::InventoryState;
use crate::core::known::Known;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Kind};

/// The end dates by actor, and an empty text for an actor whose profile has none.
pub type KnownEnds = HashMap<String, String>;

/// A profile that was read longer ago is asked for again.
const BELIEVED_FOR: TimeDelta = TimeDelta::days(7);

/// Loads the known profiles, and those that an unfinished reading has seen. Only if the stream is enabled: otherwise
/// nobody keeps them up to date. Profiles that can't be loaded are asked for, as if they were not known.
pub async fn known_ends(settings: &Settings, state: &Bucket, profiles: &InventoryState, until: Millis) -> KnownEnds {
    let mut ends = KnownEnds::new();
    let Kind::Inventory(facts) = Stream::ActorProfiles.kind() else { return ends };
    if !settings.streams.contains(&Stream::ActorProfiles) {
        return ends;
    }
    let seen = profiles.pass.as_ref().and_then(|pass| pass.seen.as_ref());
    for at in [profiles.stored.known.as_ref(), seen].into_iter().flatten() {
        match Known::load(state, Some(at), until).await {
            Ok(known) => ends.extend(of_known(facts, &known, Millis::now())),
            Err(error) => warn!("the known actor profiles can't be loaded, so they are asked for: {error}"),
        }
    }
    ends
}

fn of_known(facts: &'static Inventory, known: &Known, now: Millis) -> impl Iterator<Item = (String, String)> {
    known.ends().filter_map(move |(key, end)| {
        let id = with_member(facts, key, |member| member.id.to_owned())?;
        let is_recent = known.asked_at(&id).is_some_and(|at| now - at < BELIEVED_FOR);
        is_recent.then(|| (id, end.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::known::RecordVersion;
    use crate::core::time::MILLISECOND;

    #[test]
    fn an_end_date_is_known_for_a_week_after_its_profile_was_read() {
        let Kind::Inventory(facts) = Stream::ActorProfiles.kind() else { panic!("an inventory") };
        let now = Millis(0) + TimeDelta::days(40);
        let version = || RecordVersion::of("{}", &[], now);
        let mut known = Known::default();
        for (id, read) in [("fresh", now), ("recent", now - BELIEVED_FOR + MILLISECOND), ("old", now - BELIEVED_FOR)] {
            let key = format!(r#"["profiles","{id}","{id}"]"#);
            known.add(id, version());
            known.note_requested(id, read);
            known.add(&key, version());
            known.note_end(&key, if id == "fresh" { "2026-12-24".into() } else { String::new() });
        }
        known.add(r#"["profiles","unread","unread"]"#, version());
        let expected = [("fresh".to_owned(), "2026-12-24".to_owned()), ("recent".to_owned(), String::new())];
        assert_eq!(of_known(facts, &known, now).collect::<KnownEnds>(), KnownEnds::from(expected));
    }
}
