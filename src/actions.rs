//! The actions of an invocation.
//!
//! * [`invocation`]: the actions and their arguments; [`call`]: what each is given, with the [`clients`]; [`answer`]:
//!   the answer of a run
//! * [`collect`]: takes the lease, collects all streams side by side, commits
//! * [`backfill`]: covers a long span in shards, beside the schedule; [`restart`]: lets stopped streams be tried again;
//!   [`recover`]: rebuilds the checkpoint from the manifests
//! * [`verify`]: checks that the collected records are whole
//! * [`probe`]: what the API client may read; [`health`]: findings about agents, users and observers; [`status`]: the
//!   streams' states and lag
//! * [`leased_run`]: common to the actions that take the lease; [`stream_states`], [`expiring`], [`attempts`]: the
//!   notes that such a run makes on the checkpoint

pub mod answer;
mod attempts;
pub mod backfill;
pub mod call;
pub mod clients;
pub mod collect;
pub mod expiring;
pub mod health;
pub mod invocation;
pub mod leased_run;
pub mod probe;
pub mod recover;
pub mod restart;
pub mod status;
pub mod stream_states;
pub mod verify;
