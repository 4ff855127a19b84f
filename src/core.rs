//! Plain values and decisions without I/O. They use no other layer.
//!
//! * [`time`], [`intervals`]: instants and spans; [`times`]: the phases of a run; [`retry`]: the retry policies;
//!   [`clock`]: the machine's clock, or a simulated one
//! * [`stream`]: the streams' names and classes; [`states`]: their states; [`health_records`]: the reports of state
//!   changes
//! * [`sign_ins`], [`refusals`]: whether a refusal of the credentials, or of a stream, is believed
//! * [`checkpoint`]: covered time, readings under way, the lease; [`identity`]: the tenant, bucket and prefix that it
//!   belongs to
//! * [`schedule`]: the next step of an event stream; [`density`]: the rows to expect in a span; [`span_search`]: finds
//!   the parts of a failed span that can't be read
//! * [`stuck`]: things that can't be read; [`mod@drift`]: whether rows that can't be read are a change of the API;
//!   [`round`]: the order in which single records are requested; [`failed_pages`]: the pages of a list that failed
//! * [`manifest`]: finished readings and their objects; [`known`]: the fingerprints of stored records
//! * [`ndjson`]: cuts pages into records and packs them; [`json`]: formats the state, and reads counts
//! * [`settings`], with [`dialect`], [`audit_source`] and [`agent_version`]: the operator's configuration
//! * [`tally`]: a run's counters; [`shared`]: values that tasks share; [`digest`]: hashes; [`error_type`]: the types of
//!   errors; [`aws_error`]: the cause and the code of an AWS error; [`quote`]: quotes an answer without secrets;
//!   [`panics`]: turns a panic into a value

pub mod agent_version;
pub mod audit_source;
pub mod aws_error;
pub mod checkpoint;
pub mod clock;
pub mod density;
pub mod dialect;
pub mod digest;
pub mod drift;
pub mod error_type;
pub mod failed_pages;
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
pub mod shared;
pub mod sign_ins;
pub mod span_search;
pub mod states;
pub mod stream;
pub mod stuck;
pub mod tally;
pub mod time;
pub mod times;
