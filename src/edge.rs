//! The interface to Lambda: events, answers, metrics and logs.

pub mod event;
pub mod handler;
pub mod logging;
pub mod metrics;
pub mod replacement;
