//! The edge to Lambda: an event in, an answer out, metrics and logs.

pub mod event;
pub mod handler;
pub mod logging;
pub mod metrics;
