//! Plain values and decisions without I/O. They use no other layer.
//!
//! * [`time`], [`intervals`], [`times`], [`retry`]: instants, spans, what a run's time is for, when to try again; [`clock`]:
//!   whose time it is
//! * [`stream`]: what each stream is called; [`states`]: in which state it is; [`health_records`]: where that is told
//! * [`sign_ins`], [`refusals`]: how the API takes the secret, and what it refuses
//! * [`checkpoint`]: what is covered, what is being read, and who may write; [`identity`]: whose data it is
//! * [`stuck`]: what can't be read; [`round`]: in which order a run asks for what may be stuck
//! * [`manifest`]: what was read and where it is stored; [`known`]: what is known of records
//! * [`ndjson`]: a page's bytes, cut into records, gzipped; [`json`]: state, as it is written
//! * [`settings`], [`dialect`], [`audit_source`], [`version`]: what the operator says
//! * [`tally`], [`error_kind`], [`quote`]: what a run counts, how an error is told, and what of the answer it is about

pub mod audit_source;
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
