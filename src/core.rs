//! Plain values and decisions without I/O. They use no other layer.
//!
//! * [`time`], [`intervals`]: instants and spans; [`times`]: how a run divides its time; [`retry`]: pauses between
//!   attempts; [`clock`]: the real or the simulated clock
//! * [`stream`]: the streams' names and classes; [`states`]: their states; [`health_records`]: the records of state
//!   changes
//! * [`sign_ins`], [`refusals`]: whether a refusal by the API is believed
//! * [`checkpoint`]: what is covered, what is open, and which run may write; [`identity`]: whose data it is
//! * [`stuck`]: what can't be read; [`round`]: the order in which a run requests what may be stuck
//! * [`manifest`]: what was read and where it is stored; [`known`]: the hashes of known records
//! * [`ndjson`]: cuts a page's bytes into records and packs them; [`json`]: formats the state
//! * [`settings`], [`dialect`], [`version`]: the operator's settings
//! * [`tally`], [`error_kind`], [`quote`]: a run's counters, the types of errors, and excerpts without secrets

pub mod checkpoint;
pub mod clock;
pub mod density;
pub mod dialect;
pub mod error_kind;
pub mod health_records;
pub mod identity;
pub mod intervals;
pub mod json;
pub mod known;
pub mod manifest;
pub mod ndjson;
pub mod panics;
pub mod quote;
pub mod refusals;
pub mod retry;
pub mod round;
pub mod schedule;
pub mod settings;
pub mod sign_ins;
pub mod states;
pub mod stream;
pub mod stuck;
pub mod tally;
pub mod time;
pub mod times;
pub mod version;
