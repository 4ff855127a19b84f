//! What one run counts: its requests to the API, and what it stored.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::core::intervals::Intervals;

/// How often the API was asked, and what came of it.
#[derive(Debug, Default)]
pub struct Calls {
    pub requests: AtomicU64,
    /// With a 2xx.
    pub answers: AtomicU64,
    pub retries: AtomicU64,
    /// With a 429.
    pub throttles: AtomicU64,
}

/// One stream's figures in one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub records: AtomicU64,
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
    pub calls: Calls,
    pub set_aside: AtomicU64,
    /// Records that showed up after their window was covered, and how long after their own time that was at the
    /// least, in milliseconds: a settle time as long as the longest would have waited for them all.
    pub late: AtomicU64,
    pub late_by: AtomicI64,
    /// Rows that the API counted when their window was covered, and counts no longer.
    pub vanished: AtomicU64,
    /// What this run had to give up, for the API keeps it no longer.
    pub expired: Mutex<Intervals>,
}
