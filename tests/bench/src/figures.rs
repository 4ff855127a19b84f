//! Counts the requests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// The counts since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// API requests by method and path, including refused ones.
    pub requests: BTreeMap<String, u64>,
    /// Answers with 429.
    pub refused: u64,
    pub rows: u64,
    /// The size of the bodies of the API's answers.
    pub bytes: u64,
    /// Requests between their arrival and their answer.
    pub in_flight: u64,
    pub most_in_flight: u64,
    /// S3 calls by method and by `records` or `state`, depending on whether the key is below the records' prefix.
    pub s3: BTreeMap<String, u64>,
    /// Objects below the records' prefix.
    pub objects: u64,
    pub object_bytes: u64,
    /// The sum of their metadata `records`.
    pub records: u64,
}

#[derive(Debug, Default)]
pub struct Counter(Mutex<Figures>);

impl Counter {
    pub fn lock(&self) -> MutexGuard<'_, Figures> {
        locked(&self.0)
    }

    pub fn arrived(&self, request: String) {
        let mut figures = self.lock();
        *figures.requests.entry(request).or_default() += 1;
        figures.in_flight += 1;
        figures.most_in_flight = figures.most_in_flight.max(figures.in_flight);
    }

    pub fn answered(&self, status: u16, bytes: usize) {
        let mut figures = self.lock();
        figures.in_flight = figures.in_flight.saturating_sub(1);
        figures.refused += u64::from(status == 429);
        figures.bytes += bytes as u64;
    }

    /// Keeps the requests under way.
    pub fn reset(&self) {
        let mut figures = self.lock();
        let in_flight = figures.in_flight;
        *figures = Figures { in_flight, most_in_flight: in_flight, ..Figures::default() };
    }
}

/// A lock is never held over anything that could leave a change half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
