//! The responder's real binary, driven through the Runtime API, against the simulator: each action takes effect once or is
//! told as unknown, never twice, and the trail has both records.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod actions;
mod approval;
mod binaries;
mod faults;
mod refusals;
mod rig;
mod schedules;
mod triggers;
