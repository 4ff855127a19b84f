//! Reports spans that are about to expire as an error, while they can still be read.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::collect::error::Error;
use crate::core::checkpoint::Checkpoint;
use crate::core::error_type::{ErrorInfo, ErrorType};
use crate::core::intervals::Span;
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::time::Millis;
use crate::incydr::facts::{Events, Kind};

/// A gap is an error from this long before its expiry. Three days cover a long weekend.
const EXPIRES_SOON: TimeDelta = TimeDelta::hours(72);

/// Returns the first gap of each stream that expires soon. Empty for a replay, which loses nothing, and for a shard,
/// whose span the live run reports.
pub fn expiring(settings: &Settings, checkpoint: &Checkpoint, now: Millis) -> BTreeMap<Stream, Span> {
    if !settings.is_live {
        return BTreeMap::new();
    }
    let expiring = checkpoint.events.iter().filter_map(|(stream, state)| {
        let Kind::Events(Events { retention: Some(retention), .. }) = stream.kind() else { return None };
        let gap = state.due(now - settings.settle(*stream)).first()?;
        (gap.from < now - *retention + EXPIRES_SOON).then_some((*stream, gap))
    });
    expiring.collect()
}

/// Returns the error for a gap that expires soon, with the hours left, or else `error`. The error includes `error` as
/// its cause.
pub fn or_expiring(stream: Stream, gap: Option<&Span>, error: Option<ErrorInfo>) -> Option<ErrorInfo> {
    let (Some(gap), Kind::Events(Events { retention: Some(retention), .. })) = (gap, stream.kind()) else {
        return error;
    };
    let (error_type, because) = match error {
        Some(error) => (error.error_type, Some(error.message)),
        None => (ErrorType::ThirdPartyGenericError, None),
    };
    let hours_left = (gap.from + *retention - Millis::now()).num_hours().max(0);
    Some(ErrorInfo::from(&Error::Expiring { from: gap.from, to: gap.to, hours_left, error_type, because }))
}
