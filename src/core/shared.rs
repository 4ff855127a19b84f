//! Values that the tasks of a run share: counters, flags, and values that they lock for a moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Keeps the greater of the two.
    pub fn raise_to(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    /// Keeps the longer of the two times, in milliseconds.
    pub fn raise_to_ms(&self, time: Duration) {
        self.raise_to(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
}

#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A value behind a lock. A panic is one stream's error, so the others go on with the value as it was left.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_after_a_panic_of_whoever_held_it() {
        let value = Shared::new(1);
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut held = value.lock();
            *held = 2;
            panic!("while it is held");
        }));
        assert!(held.is_err());
        assert_eq!(*value.lock(), 2);
        assert_eq!(value.into_inner(), 2);
    }
}
