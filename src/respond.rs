//! The responder: does an action in Incydr for a finding, and writes a trail. No module of the collector depends on it.
//!
//! * [`event`]: parses an event from any source; [`handler`]: runs its requests
//! * [`request`], [`action`], [`fields`]: parse and check a request
//! * [`act`]: the steps of a request, from claim to result; [`approval`]: checks who may ask for it; [`sending`]:
//!   sends, and reads back
//! * [`resolve`]: looks up ids and turns an action into a [`goal`]; [`leavers`]: parses an HR system's list
//! * [`goal`]: the wanted state, and the writes that are missing; [`state`]: the present state
//! * [`reads`]: the actions that only read
//! * [`store`]: claims, locks, results and the trail in S3
//! * [`api`]: one exchange with the API; [`answer`], [`connector_answer`], [`error`]: the answer; [`settings`]

pub mod act;
pub mod action;
pub mod answer;
pub mod api;
pub mod approval;
pub mod connector_answer;
pub mod error;
pub mod event;
pub mod fields;
pub mod goal;
pub mod handler;
pub mod leavers;
pub mod reads;
pub mod request;
pub mod resolve;
pub mod sending;
pub mod settings;
pub mod state;
pub mod store;
