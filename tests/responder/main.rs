//! The responder's real binary through the Runtime API, against the simulator. Each action takes effect once or is
//! reported as unknown, never twice, and the trail has both records.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod actions;
mod approval;
mod binaries;
mod facts;
mod faults;
mod refusals;
mod rig;
mod schedules;
mod triggers;
