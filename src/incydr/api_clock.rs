//! The API's clock, by the `Date` headers of its answers in this run.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::TimeDelta;
use reqwest::header::{AGE, DATE, HeaderMap};
use serde::Serialize;
use tracing::warn;

use crate::core::shared::{Flag, Shared};
use crate::core::time::{Millis, millis};

/// The greatest difference between the API's clock and ours that is believed. Beyond it one of them is wrong, or the
/// date is a cache's.
const BELIEVED: TimeDelta = TimeDelta::minutes(15);

/// A `Date` header that is not believed, and our clock's time when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DoubtedClock {
    pub api: Millis,
    pub ours: Millis,
}

#[derive(Default)]
pub struct ApiClock {
    /// The API's clock minus ours at the last answer, in milliseconds. Never positive.
    behind: AtomicI64,
    has_answered: Flag,
    /// The first date in this run that was not believed.
    doubted: Shared<Option<DoubtedClock>>,
}

impl ApiClock {
    /// Called when a run begins.
    pub fn forget(&self) {
        self.behind.store(0, Ordering::Relaxed);
        self.has_answered.set(false);
        *self.doubted.lock() = None;
    }

    /// Our clock's instant, moved back by as much as the API's clock is behind.
    pub fn at(&self, ours: Millis) -> Millis {
        ours + millis(self.behind.load(Ordering::Relaxed))
    }

    /// Whether the API has answered in this run.
    pub fn has_answered(&self) -> bool {
        self.has_answered.is_set()
    }

    /// The API's clock and ours, if their difference is too great to believe the API's.
    pub fn doubted(&self) -> Option<DoubtedClock> {
        *self.doubted.lock()
    }

    /// Notes the `Date` header of an answer. It is cut to whole seconds, so it is never ahead of the API's clock.
    /// Ignores it if there is an `Age` header: then it is a cache's (RFC 9111).
    pub fn note(&self, headers: &HeaderMap) {
        self.has_answered.set(true);
        let date =
            headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(|date| httpdate::parse_http_date(date).ok());
        let date = date.filter(|_| !headers.contains_key(AGE));
        let Some(date) = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()) else { return };
        let (api, ours) = (Millis(i64::try_from(date.as_millis()).unwrap_or(i64::MAX)), Millis::now());
        let ahead = api - ours;
        if ahead.abs() <= BELIEVED {
            self.behind.store(ahead.num_milliseconds().min(0), Ordering::Relaxed);
            return;
        }
        let mut doubted = self.doubted.lock();
        if doubted.is_none() {
            warn!(%api, %ours, "the API's clock differs from ours by more than 15 minutes, and is not believed");
            *doubted = Some(DoubtedClock { api, ours });
        }
    }
}
