//! What an invocation can ask for.
//!
//! * [`request`]: the actions, as they are asked for; [`answer`]: what a run tells its caller
//! * [`collect`]: by the schedule or by hand: the lease, every stream side by side, the commit
//! * [`backfill`]: a long span, in shards beside the schedule; [`restart`]: what was stopped is tried again;
//!   [`recover`]: the checkpoint is made again from the manifests
//! * [`verify`]: whether what was collected is whole
//! * [`probe`]: what the API client may read; [`health`]: how agents, users and observers are;
//!   [`status`]: how collecting goes
//! * [`work`]: what those that hold the lease have in common; [`stream_states`], [`expiring`],
//!   [`attempts`]: what they note besides

pub mod answer;
mod attempts;
pub mod backfill;
pub mod clients;
pub mod collect;
pub mod expiring;
pub mod health;
pub mod probe;
pub mod recover;
pub mod request;
pub mod restart;
pub mod status;
pub mod stream_states;
pub mod verify;
pub mod work;
