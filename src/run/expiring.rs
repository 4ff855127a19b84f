//! What is about to fall out of the API's retention is an error before it is lost.

use std::sync::PoisonError;

use super::Work;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorType, Told};
use crate::ledger::Ledger;
use crate::stream::{Events, Kind, Stream};
use crate::time::{HOUR, MINUTE, Millis};

/// What is not covered is an error so long before the API keeps it no longer: a long weekend.
const EXPIRES_SOON: i64 = 72 * HOUR;
const FEW_TICKS: i64 = 15 * MINUTE;

impl Work<'_> {
    /// A replay owes nothing that would be lost, and a shard is told of by the live run.
    pub(super) fn note_what_expires(&self, checkpoint: &Checkpoint) {
        if !self.settings.is_live {
            return;
        }
        let now = Millis::now();
        let expiring = checkpoint.events.iter().filter_map(|(stream, state)| {
            let Kind::Events(Events { retention: Some(retention), .. }) = stream.kind() else { return None };
            let gap = state.due(now - self.settings.settle(*stream)).first()?;
            (gap.from < now - *retention + EXPIRES_SOON).then_some((*stream, gap))
        });
        *self.expiring.lock().unwrap_or_else(PoisonError::into_inner) = expiring.collect();
    }

    pub(super) fn is_expiring(&self, stream: Stream) -> bool {
        self.expiring.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&stream)
    }

    /// How many spans are due that a few ticks ago should have been covered.
    pub(super) fn old_gaps(&self, ledger: &Ledger<'_>, stream: Stream) -> u64 {
        let horizon = Millis::now() - self.settings.settle(stream) - FEW_TICKS;
        let owed = |checkpoint: &Checkpoint| Some(checkpoint.events.get(&stream)?.due(horizon).iter().count() as u64);
        ledger.read(owed).unwrap_or(0)
    }

    /// An error, before anything is lost: with the hours that are left.
    pub(super) fn with_what_expires(&self, stream: Stream, told: Option<Told>) -> Option<Told> {
        let expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(gap), Kind::Events(Events { retention: Some(retention), .. })) =
            (expiring.get(&stream), stream.kind())
        else {
            return told;
        };
        let (error_type, because) = match told {
            Some(told) => (told.error_type, Some(told.message)),
            None => (ErrorType::ThirdPartyGenericError, None),
        };
        let hours_left = ((gap.from + *retention).0 - Millis::now().0).max(0) / HOUR;
        Some(Told::from(&Error::Expiring { from: gap.from, to: gap.to, hours_left, error_type, because }))
    }
}
