//! On each tick, every enabled stream is read in closed windows, each window is stored as one object under a key that
//! only that window can have, and the checkpoint moves only over what is stored.
//!
//! The layers, from the top down. Each knows those below it and no other, which `tests/layers.py` checks:
//!
//! * [`edge`]: an event in, an answer out
//! * [`actions`]: collect, backfill, restart, verify, probe, health; [`respond`]: the responder, a binary of its own, which
//!   knows neither `actions` nor `collect`
//! * [`collect`]: one stream, one run: windows, pages, objects, commit: the story
//! * [`bucket`]: S3; [`incydr`]: the API; [`secrets`]: the API client's credentials. Of these, only `incydr` knows another:
//!   `secrets`
//! * [`core`]: plain values without I/O

pub mod actions;
pub mod bucket;
pub mod collect;
pub mod core;
pub mod edge;
pub mod incydr;
pub mod respond;
pub mod secrets;
